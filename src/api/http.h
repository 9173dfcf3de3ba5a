/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP API, docs/protocol.md: GET /api/slots, GET /metrics, POST /api/slots/N/end, and the
 * media WebSocket of each slot.
 */
#ifndef PLATTER_API_HTTP_H
#define PLATTER_API_HTTP_H

#include "api/control.h"
#include "transport/web.h"

/* The routes to register with the web server; `control` must outlive them. */
struct web_route http_api_route(const struct control *control);
struct web_route http_metrics_route(const struct control *control);

#endif
