/* SPDX-License-Identifier: Apache-2.0 */
/* A WebSocket as a stream: what web.c hands its callbacks on to. */
#ifndef PLATTER_TRANSPORT_WS_H
#define PLATTER_TRANSPORT_WS_H

#include <libwebsockets.h>

#include "transport/web.h"

/*
 * The stream over a WebSocket that has just been established; NULL for want of memory. Owned by
 * whoever it is given to, and by `wsi` until it has closed.
 */
struct stream *ws_new(struct lws *wsi, enum web_page page);

/* Every callback of a WebSocket after LWS_CALLBACK_ESTABLISHED goes here; returns what
 * libwebsockets shall get. */
int ws_callback(struct lws *wsi, enum lws_callback_reasons reason, void *in, size_t length);

#endif
