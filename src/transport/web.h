/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The web server: the page's files, the routes that an API registers, and WebSockets as streams.
 *
 * Every request passes the guard (web-guard.h) first and every response carries the same security
 * headers, errors included. No TLS yet. permessage-deflate is never negotiated, for images do not
 * compress and it halves the speed.
 */
#ifndef PLATTER_TRANSPORT_WEB_H
#define PLATTER_TRANSPORT_WEB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/stream.h"

#define WEB_SUBPROTOCOL     "platter.media.1"
#define WEB_LISTEN_MAX      8
#define WEB_CONNECTIONS_MAX 64

struct loop;
struct web;

struct web_listen {
    const char *host; /* an address literal, IPv4 or IPv6 without brackets */
    uint16_t port;    /* 0: the system chooses; the log says which */
};

/* What a GET is answered with; all zero at first. `body` comes from malloc() and is taken over. */
struct web_reply {
    unsigned status;
    const char *type;
    char *body;
    size_t length;
    const char *allow; /* with status 405: the methods that are understood; else NULL */
};

/* The arguments of a request's URL, decoded: "key=value" each, not checked in any way. */
#define WEB_ARGUMENTS_MAX 8
struct web_arguments {
    size_t count;
    const char *text[WEB_ARGUMENTS_MAX];
    size_t length[WEB_ARGUMENTS_MAX];
};

/* How a page's WebSocket is spoken to. */
enum web_page {
    /* Platter's own page: it asks for WEB_SUBPROTOCOL, takes and sends text messages beside the
     * bytes, and knows the close codes of docs/protocol.md. */
    WEB_PAGE_OWN,
    /* One that knows nothing but the bytes: any one token is its subprotocol, or none; it is sent
     * no text, closes without a code when it has been disconnected, and knows the close codes of
     * RFC 6455. */
    WEB_PAGE_PLAIN,
};

/* What a plain page's request says of who sends it. Not checked in any way, and never logged. */
struct web_visitor {
    const char *token;  /* the subprotocol it asks for; NULL: none */
    const char *cookie; /* its cookies, as in the header; NULL: none, or more than 1 KiB */
};

/* Paths that begin with `prefix`, and who answers them. */
struct web_route {
    const char *prefix;
    enum web_page page; /* that opens WebSockets here */
    /* GET or HEAD. Sets every member of `reply`. NULL: there is nothing to get. */
    void (*get)(void *owner, const char *path, struct web_reply *reply);
    /*
     * POST without a body, from a page of this server's own (its Origin has been checked). Returns
     * 204, or another status and one sentence. NULL: there is nothing to post to.
     */
    unsigned (*post)(void *owner, const char *path, const struct web_arguments *arguments,
                     const char **sentence);
    /* Whether a plain page may open a WebSocket here; one that may not gets 403. */
    bool (*admit)(void *owner, const struct web_visitor *visitor);
    /*
     * A page has opened a WebSocket here: takes `stream` over. What is wrong with the request is
     * said by closing the stream, since a page cannot see an HTTP error's text. NULL: there are
     * none here.
     */
    void (*open)(void *owner, const char *path, const struct web_arguments *arguments,
                 struct stream *stream);
    void *owner;
};

/* All of it must outlive the server. */
struct web_config {
    struct loop *loop;
    struct web_listen listen[WEB_LISTEN_MAX];
    size_t listen_count;
    const char *const *host_names;
    size_t host_name_count;
    const char *page_dir; /* "": there is no page, only the routes */
    const struct web_route *routes;
    size_t route_count;
};

/*
 * Reads the page, listens, and says where in the log. 0, or -errno and one sentence in `error`;
 * nothing is left then.
 */
int web_new(const struct web_config *config, struct web **out, char *error, size_t room);

/*
 * Lets nobody in any more, and calls `stopped` once the last WebSocket has gone: on a later turn of
 * the loop, and soon when every stream has been closed. May be called again; the first counts.
 */
void web_stop(struct web *web, void (*stopped)(void *arg), void *arg);

/*
 * Drops every connection. Streams still held by their owners live on, closed, until stream_free().
 * Not from inside the loop: it turns the loop until libwebsockets has let go of it. NULL is
 * allowed.
 */
void web_free(struct web *web);

#endif
