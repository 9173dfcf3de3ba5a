/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of an NBD connection share, and nobody else includes: nbd-conn.c has the
 * stream, nbd-command.c what has been asked and not yet been answered. */
#ifndef PLATTER_EXPORT_NBD_CONN_PARTS_H
#define PLATTER_EXPORT_NBD_CONN_PARTS_H

#include "export/nbd-conn.h"
#include "proto/nbd-server.h"

struct loop_timer;
struct nbd_command;

struct nbd_conn {
    struct stream *stream; /* NULL once over */
    struct nbd_server server;
    struct engine *engine;
    const struct nbd_conn_events *events;
    void *owner;
    struct loop_timer *patience; /* NULL: the client has all the time it wants */
    bool agreed;                 /* the handshake is over */
    unsigned outs;               /* lent to the stream */
    unsigned commands;           /* alive */
    size_t held;                 /* bytes their pieces ask for, or bring */
    struct nbd_command *writing; /* whose bytes are coming; NULL: requests come */
    unsigned users;              /* ways in that are under way */
    bool over;                   /* whichever side ended it; nothing is told or sent any more */
    bool feeding;                /* bytes are passing through the machine */
    uint8_t *rest;               /* what came and could not be taken in yet; NULL: none */
    size_t rest_at;
    size_t rest_length;
};

/* Every way in from outside takes hold first; the last to let go of one that is over frees it. */
void nbd_conn_hold(struct nbd_conn *c);
void nbd_conn_let_go(struct nbd_conn *c);
/* Over, by the client or by the line: tells the owner, once. */
void nbd_conn_finish(struct nbd_conn *c, bool by_client);
/* There may be room again: takes in what had to wait for it. */
void nbd_conn_resume(struct nbd_conn *c);
/* The client has taken something, or there is something new for it to take: see `patience`. */
void nbd_conn_moved(struct nbd_conn *c);

/* Each of these: false when there is no memory for it. Sends words of the machine. */
bool nbd_command_say(struct nbd_conn *c, const uint8_t *words, size_t length);
/* A request begins; a WRITE's bytes are expected from then on. */
bool nbd_command_begin(struct nbd_conn *c, const struct nbd_request *asked);
/* The memory for the bytes of `writing` is full. */
void nbd_command_written(struct nbd_conn *c);
/* Whether more bytes of `writing` are due while the engine has the memory for them. */
bool nbd_command_blocks(const struct nbd_conn *c);
/* The connection is over: no more bytes come for `writing`. */
void nbd_command_abandon(struct nbd_conn *c);

#endif
