/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See web-reply.h. A connection's opaque pointer is the body it is being sent, or NULL; that of a
 * WebSocket is another's (ws.c), and none of this is called for it.
 */
#include "transport/web-reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_HEAD_MAX 2048
#define BODY_CHUNK     (16 * 1024)

/* What is left to send of a response. */
struct body {
    char *owned; /* or NULL when the bytes are the page's */
    const unsigned char *at;
    size_t left;
};

void web_body_free(struct lws *wsi)
{
    struct body *body = lws_get_opaque_user_data(wsi);

    lws_set_opaque_user_data(wsi, NULL);
    if (body)
        free(body->owned);
    free(body);
}

static int header_add(struct lws *wsi, const char *name, const char *value, unsigned char **at,
                      unsigned char *end)
{
    return lws_add_http_header_by_name(wsi, (const unsigned char *)name,
                                       (const unsigned char *)value, (int)strlen(value), at, end);
}

int web_head_send(struct lws *wsi, const struct web_head *h)
{
    unsigned char head[LWS_PRE + REPLY_HEAD_MAX];
    unsigned char *start = head + LWS_PRE, *at = start, *end = head + sizeof head;
    lws_filepos_t length = h->type ? h->length : LWS_ILLEGAL_HTTP_CONTENT_LEN;

    if (lws_add_http_common_headers(wsi, h->status, h->type, length, &at, end))
        return -1;
    if (header_add(wsi, "cache-control:", h->cache ? h->cache : "no-store", &at, end))
        return -1;
    if (h->header && header_add(wsi, h->header, h->value, &at, end))
        return -1;
    return lws_finalize_write_http_header(wsi, start, &at, end) ? -1 : 0;
}

int web_refuse(struct lws *wsi, unsigned status, const char *sentence)
{
    unsigned char text[LWS_PRE + 256];
    int length = snprintf((char *)text + LWS_PRE, sizeof text - LWS_PRE, "%s\n", sentence);
    struct web_head head = {
        .status = status,
        .type = "text/plain; charset=utf-8",
        .length = (size_t)length,
        .header = status == 405 ? "allow:" : NULL,
        .value = "GET, HEAD",
    };

    if (web_head_send(wsi, &head) == 0)
        lws_write(wsi, text + LWS_PRE, (size_t)length, LWS_WRITE_HTTP_FINAL);
    return -1;
}

int web_body_write(struct lws *wsi)
{
    unsigned char chunk[LWS_PRE + BODY_CHUNK];
    struct body *body = lws_get_opaque_user_data(wsi);
    size_t length;

    if (!body)
        return 0;
    length = body->left < BODY_CHUNK ? body->left : BODY_CHUNK;
    memcpy(chunk + LWS_PRE, body->at, length);
    body->at += length;
    body->left -= length;
    lws_set_timeout(wsi, PENDING_TIMEOUT_HTTP_CONTENT, WEB_REPLY_SECONDS);
    if (lws_write(wsi, chunk + LWS_PRE, length,
                  body->left ? LWS_WRITE_HTTP : LWS_WRITE_HTTP_FINAL) < 0)
        return -1;
    if (body->left > 0) {
        lws_callback_on_writable(wsi);
        return 0;
    }
    web_body_free(wsi);
    return lws_http_transaction_completed(wsi) ? -1 : 0;
}

int web_body_start(struct lws *wsi, char *owned, const unsigned char *bytes, size_t length)
{
    struct body *body = length > 0 && !lws_hdr_total_length(wsi, WSI_TOKEN_HEAD_URI)
                            ? calloc(1, sizeof *body)
                            : NULL;

    if (!body) {
        free(owned);
        return lws_http_transaction_completed(wsi) ? -1 : 0;
    }
    *body = (struct body){.owned = owned, .at = bytes, .left = length};
    lws_set_opaque_user_data(wsi, body);
    lws_callback_on_writable(wsi);
    return 0;
}
