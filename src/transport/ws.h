/* SPDX-License-Identifier: Apache-2.0 */
/* A WebSocket as a stream: what web.c hands the callbacks of one protocol on to. */
#ifndef PLATTER_TRANSPORT_WS_H
#define PLATTER_TRANSPORT_WS_H

#include <libwebsockets.h>

struct stream;

/*
 * The stream over a WebSocket that has just been established; NULL for want of memory. Owned by
 * whoever it is given to, and by `wsi` until it has closed.
 */
struct stream *ws_new(struct lws *wsi);

/* Every callback after LWS_CALLBACK_ESTABLISHED goes here; returns what libwebsockets shall get. */
int ws_callback(struct lws *wsi, enum lws_callback_reasons reason, void *in, size_t length);

#endif
