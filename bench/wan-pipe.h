/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One direction of one connection over a line that takes its time: bytes go in when they are read,
 * and come out when the line would have brought them. PURE: `now` is an argument, in nanoseconds of
 * the line's own clock, which stands still while the line is stalled.
 */
#ifndef PLATTER_BENCH_WAN_PIPE_H
#define PLATTER_BENCH_WAN_PIPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

/* One direction of the line, shared by every connection: its bits stand in one queue. */
struct lane {
    uint64_t delay;   /* nanoseconds, one way */
    uint64_t rate;    /* bits per second; 0: as fast as they come */
    uint64_t free_at; /* when the last bit that was taken will have left */
};

enum pipe_end {
    PIPE_OPEN,
    PIPE_FINISHED, /* the sender has said that no more comes */
    PIPE_RESET,    /* the sender has gone */
};

struct pipe {
    struct lane *lane;
    struct list chunks; /* struct chunk, in order */
    uint64_t held;      /* bytes in them */
    uint64_t last_due;  /* when the last of them comes out: nothing after it comes sooner */
    uint64_t passed;    /* bytes that came out, ever */
    enum pipe_end end;
    uint64_t end_due;
};

void pipe_init(struct pipe *pipe, struct lane *lane);
/* Drops what is in it. */
void pipe_done(struct pipe *pipe);

/*
 * Where the next bytes may be put, and how many at most; NULL while the queue before the line is
 * full, so that the sender feels it, or when memory is. Then pipe_filled(), with at least one byte.
 */
uint8_t *pipe_space(struct pipe *pipe, uint64_t now, uint32_t *room);
void pipe_filled(struct pipe *pipe, uint32_t length, uint64_t now);
/* When a queue that is full now will have room. */
uint64_t pipe_room_at(const struct pipe *pipe);
/* The sender's end, which comes out after its last byte; of several the worst counts. */
void pipe_finish(struct pipe *pipe, enum pipe_end end, uint64_t now);

/* Bytes that are due, or NULL; then pipe_sent() with as many of them as went. */
const uint8_t *pipe_due(const struct pipe *pipe, uint64_t now, uint32_t *length);
void pipe_sent(struct pipe *pipe, uint32_t length);
/* What the receiver is to be told by now, once every byte has come out. */
enum pipe_end pipe_ended(const struct pipe *pipe, uint64_t now);
/*
 * When to look again, given that all that was due by `now` has been sent: with the next byte, but
 * at most every PIPE_QUANTUM where bytes follow each other. UINT64_MAX: not before more comes in.
 */
#define PIPE_QUANTUM UINT64_C(500000)
uint64_t pipe_next(const struct pipe *pipe, uint64_t now);

#endif
