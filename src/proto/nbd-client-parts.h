/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the NBD client share, and nobody else includes.
 *
 * Steps are those of nbd-held.h; below 0 they return -EPROTO, through nbd_client_fail().
 */
#ifndef PLATTER_PROTO_NBD_CLIENT_PARTS_H
#define PLATTER_PROTO_NBD_CLIENT_PARTS_H

#include "proto/nbd-client.h"

/* Ends the machine; always returns -EPROTO. `reason` is static. */
ssize_t nbd_client_fail(struct nbd_client *c, const char *reason);
/* The same, for a far end that kept the protocol. */
ssize_t nbd_client_refuse(struct nbd_client *c, const char *reason);

ssize_t nbd_client_handshake_step(struct nbd_client *c, const uint8_t *bytes, size_t length,
                                  struct nbd_client_event *event);
ssize_t nbd_client_transmit_step(struct nbd_client *c, const uint8_t *bytes, size_t length,
                                 struct nbd_client_event *event);
/* Copies the next bytes of a read's data to where they go; they must not pass its end. */
void nbd_client_put_data(struct nbd_client *c, const uint8_t *bytes, uint32_t length);
/* The last byte of a read's data (this chunk's) has been copied. 0, or -EPROTO. */
ssize_t nbd_client_data_end(struct nbd_client *c, struct nbd_client_event *event);

#endif
