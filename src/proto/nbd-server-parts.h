/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the NBD server share, and nobody else includes. Steps are those of
 * nbd-held.h: the handshake's and the requests'; below 0 they return -EPROTO. */
#ifndef PLATTER_PROTO_NBD_SERVER_PARTS_H
#define PLATTER_PROTO_NBD_SERVER_PARTS_H

#include "proto/nbd-server.h"

/* Ends the machine; always returns -EPROTO. `reason` is static. */
ssize_t nbd_server_fail(struct nbd_server *s, const char *reason);

ssize_t nbd_server_options_step(struct nbd_server *s, const uint8_t *bytes, size_t length,
                                struct nbd_server_event *event);
ssize_t nbd_server_transmit_step(struct nbd_server *s, const uint8_t *bytes, size_t length,
                                 struct nbd_server_event *event);

/* All that was to be passed over has been: now say no. */
void nbd_server_refuse_option(struct nbd_server *s, struct nbd_server_event *event);
/* Nothing is said when `write_refusal` is 0. */
void nbd_server_refuse_write(struct nbd_server *s, struct nbd_server_event *event);

#endif
