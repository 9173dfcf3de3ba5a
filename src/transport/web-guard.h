/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which requests may come in at all, judged by their headers: pure functions.
 *
 * A page from anywhere may make its visitor's browser speak to this machine. Two headers, which
 * such a page cannot forge, tell it apart: Host names what the browser believes it is talking to,
 * so a name that is not ours is DNS rebinding; Origin names the page that opened a WebSocket, which
 * browsers let cross origins.
 */
#ifndef PLATTER_TRANSPORT_WEB_GUARD_H
#define PLATTER_TRANSPORT_WEB_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* Characters; libwebsockets agrees on no longer subprotocol. */
#define WEB_GUARD_TOKEN_MAX 62

/*
 * Whether `host`, a Host header's value (RFC 9110, 7.2), is an address literal, "localhost", or one
 * of `names`, with or without a port. NULL, for a missing header, is not.
 */
bool web_guard_host(const char *host, const char *const *names, size_t name_count);

/* Whether `origin`, an Origin header's value (RFC 6454, 7), is a page of this same `host`. */
bool web_guard_origin(const char *origin, const char *host);

/*
 * Whether `text`, the Sec-WebSocket-Protocol header's value (RFC 6455, 11.3.4), is one token and
 * not a list: at most WEB_GUARD_TOKEN_MAX letters, digits, "-", "_" and ".", a letter among them.
 */
bool web_guard_token(const char *text);

/* Whether the comma-separated list of a header holds `token`, letter case aside. */
bool web_guard_list_has(const char *list, const char *token);

#endif
