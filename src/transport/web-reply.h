/* SPDX-License-Identifier: Apache-2.0 */
/* The answers to requests, on their way out: a head, and a body piece by piece. For web.c alone. */
#ifndef PLATTER_TRANSPORT_WEB_REPLY_H
#define PLATTER_TRANSPORT_WEB_REPLY_H

#include <libwebsockets.h>
#include <stddef.h>

/* For so many seconds a connection that must go on may stand still. */
#define WEB_REPLY_SECONDS 20

/* What stands in a response's head. */
struct web_head {
    unsigned status;
    const char *type;   /* NULL: there is no body, and the connection ends with the head */
    size_t length;      /* bytes of body that follow */
    const char *cache;  /* NULL: "no-store" */
    const char *header; /* one header more: its name with the colon, or NULL */
    const char *value;
};

/* Sends a response's head. 0, or -1 to drop the connection. */
int web_head_send(struct lws *wsi, const struct web_head *h);

/* A refusal: the head and one line of text. Always -1, for the connection is then closed. */
int web_refuse(struct lws *wsi, unsigned status, const char *sentence);

/*
 * The body of `length` bytes behind a head: `owned`, from malloc(), is taken over and freed when
 * all is sent; if it is NULL, `bytes` live as long as the server. Returns what the callback shall.
 */
int web_body_start(struct lws *wsi, char *owned, const unsigned char *bytes, size_t length);
/* Sends the next piece of it. Returns what the callback shall. */
int web_body_write(struct lws *wsi);
/* What is left of it is not sent. */
void web_body_free(struct lws *wsi);

#endif
