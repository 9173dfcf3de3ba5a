/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection of the local side, between a stream and an engine that do what the test wants:
 * answer at once or late, in any order, with data, zeroes or errors, and get stuck. It stands in
 * for the engine and for the loop's timers.
 */
#ifndef PLATTER_TESTS_CONN_WORLD_H
#define PLATTER_TESTS_CONN_WORLD_H

#include "export/nbd-conn.h"
#include "fake-stream.h"
#include "proto/nbd.h"

#define IMAGE_SIZE (64u << 20)
#define ASKED_MAX  256
#define COMMANDS   64u
#define PIECE      REQUEST_LENGTH_MAX
#define HOLE_EVERY 4096u

/* The engine, as far as a connection knows it. */
struct engine {
    bool at_once; /* answers from inside engine_submit() */
    struct request *asked[ASKED_MAX];
    unsigned asked_count;
    unsigned open; /* asked and not yet released */
    size_t memory;
    uint8_t *data; /* what every read shows */
};

struct conn_world {
    struct engine engine;
    struct fake_stream stream;
    struct nbd_conn *conn;
    bool closed;
    bool by_client;
};

/* Answers the request at this place of those asked; a read with data, or with holes in it. */
void conn_world_answer(struct engine *e, unsigned index, int error, bool holes);
/* The client asks, under the cookie 0xfeed. */
void conn_world_ask(struct conn_world *w, uint16_t flags, uint16_t type, uint64_t offset,
                    uint32_t length);
/* A connection that has said its greeting, if it has one. */
struct conn_world *conn_world_new_fresh(const struct medium *medium, bool negotiate);
/* One in transmission: after a handshake, with structured replies, or as the kernel's. */
struct conn_world *conn_world_new(bool structured);
struct conn_world *conn_world_new_writable(bool structured);
/* The world must be at its end: the stream freed, the engine owed nothing. */
void conn_world_end(struct conn_world *w);
/* Reads the reply at `*at`, filling `got` (the request's range); false at the last chunk. */
bool conn_world_next_chunk(struct conn_world *w, size_t *at, uint64_t base, uint8_t *got,
                           int *error);
void conn_world_assert_pattern(const uint8_t *got, uint32_t length, bool holes);

#endif
