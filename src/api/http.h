/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP API, docs/protocol.md: GET /api/slots, and the media WebSocket of each slot. */
#ifndef PLATTER_API_HTTP_H
#define PLATTER_API_HTTP_H

#include "api/control.h"
#include "transport/web.h"

/* The route to register with the web server; `control` must outlive it. */
struct web_route http_api_route(const struct control *control);

#endif
