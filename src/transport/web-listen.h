/* SPDX-License-Identifier: Apache-2.0 */
/* The sockets that a server listens on: one an address, each handing on what it accepts. */
#ifndef PLATTER_TRANSPORT_WEB_LISTEN_H
#define PLATTER_TRANSPORT_WEB_LISTEN_H

#include <stdbool.h>
#include <stddef.h>

#include "transport/web.h"

struct web_listener;

/*
 * Listens on one address and logs where. `accepted` takes the descriptor over. 0, or -errno and one
 * sentence in `error`.
 */
int web_listener_new(struct loop *loop, const struct web_listen *where,
                     void (*accepted)(void *arg, int take_fd), void *arg, struct web_listener **out,
                     char *error, size_t room);
/* While off, connections wait in the kernel's queue. */
void web_listener_want(struct web_listener *l, bool on);
/* NULL is allowed. */
void web_listener_free(struct web_listener *l);

#endif
