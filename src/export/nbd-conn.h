/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One NBD connection of the local side: the NBD server machine (proto/nbd-server) on one side, the
 * engine on the other. Shared by the exports `unix` (a client that negotiates) and `kernel` (the
 * kernel's nbd driver, which begins in the transmission phase and knows simple replies only).
 *
 * Reads and writes longer than REQUEST_LENGTH_MAX are served in pieces. Reading from the stream
 * pauses while too much is in flight. The connection outlives its stream until the engine has
 * answered all it was asked, then frees itself.
 */
#ifndef PLATTER_EXPORT_NBD_CONN_H
#define PLATTER_EXPORT_NBD_CONN_H

#include "base/medium.h"
#include "base/stream.h"
#include "block/engine.h"

struct loop;
struct nbd_conn;

enum nbd_conn_start {
    NBD_CONN_NEGOTIATE, /* a client that starts with the handshake */
    NBD_CONN_TRANSMIT, /* the kernel: the parameters went by netlink, transmission begins at once */
};

struct nbd_conn_config {
    enum nbd_conn_start start;
    const struct medium *medium; /* its `read_only` decides whether it may be written to */
    struct engine *engine;
    /*
     * If given, a client that has not finished the handshake after 15 s is dropped, and so is one
     * that takes nothing of its replies for 30 s, since it would keep the engine's memory from
     * others. NULL: it has all the time it wants.
     */
    struct loop *loop;
};

struct nbd_conn_events {
    /*
     * The connection is over; it may not be touched after this returns. `by_client`: the client
     * sent NBD_CMD_DISC (for the kernel: the device was closed). Never called after
     * nbd_conn_close().
     */
    void (*closed)(void *owner, struct nbd_conn *conn, bool by_client);
};

/*
 * Takes the stream over (also when it fails). 0 or -errno. The engine must outlive the connection's
 * requests: engine_fail() and wait for nothing to be open before it goes.
 */
int nbd_conn_new(struct stream *stream, const struct nbd_conn_config *config,
                 const struct nbd_conn_events *events, void *owner, struct nbd_conn **out);

/* Ends it: the stream is closed at once, requests at the engine are answered into nothing. */
void nbd_conn_close(struct nbd_conn *conn);

#endif
