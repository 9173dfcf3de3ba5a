/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that surrounds an engine, made for tests: a clock, an alarm, a machine that asks and checks
 * every byte it gets, and a far end that holds what it is asked and answers when, in what order and
 * how the test says.
 *
 * The far end is a disk with a cache of its own: what was written is in `disk`, and what was made
 * safe is in `stable`; world_crash() falls back to that. Without a disk its image is a pattern.
 */
#ifndef ENGINE_WORLD_H
#define ENGINE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "block/engine.h"

#define KIB 1024u
#define MIB (1024u * KIB)

#define LIMIT   25000000u /* of a request, microseconds */
#define ASK_MAX 512

/* One request of the machine. */
struct machine_ask {
    struct request request;
    unsigned answered; /* how often */
    int error;
    bool held;       /* answered and not yet released */
    uint8_t *data;   /* a write's bytes; what a read must get */
    bool *unknown;   /* a read's bytes that may be anything */
    unsigned order;  /* of its answer */
    unsigned beside; /* asks that the far end held when it came */
};

struct world {
    struct engine *engine;
    uint64_t now;
    uint64_t alarm;

    /* the far end */
    struct source source;
    struct source_info info;
    struct list held;
    unsigned held_count, held_peak;
    uint64_t fetched; /* bytes of READ asked */
    unsigned asks, flushes, writes, trims, zeroings;
    uint8_t *disk, *stable; /* NULL: a pattern that cannot be written */
    bool holes;             /* every read is a hole */
    bool late;              /* tells of extents as they are in `stable` */
    int refuse;             /* answers at once, inside submit, with this error */
    bool at_once;           /* answers at once, inside submit */

    /* the machine */
    struct machine_ask asked[ASK_MAX];
    unsigned answers;
    bool keeps; /* releases only when told */
    uint8_t *model;
    bool *unknown;
};

/* A medium of `size` bytes, a far end that can do all. The source is not set yet. */
struct world *world_new(uint64_t size, size_t cache_max);
/* Ends it, with nothing left anywhere. */
void world_free(struct world *w);
/* Makes it writable; only small media. */
void world_make_disk(struct world *w);

/* Sets the source. What is warmed up while the machine asks nothing comes at once, and is not
 * counted here. The middle of a medium is not warmed up. */
void world_connect(struct world *w);
/* Loses the line. Of what is held, all that `done` says 1 for (bit i % 32) was done before. */
void world_lose(struct world *w, uint32_t done);
/* As world_lose(), and the far end forgets what it has not made safe. */
void world_crash(struct world *w, uint32_t done);

/* Asks as number `index`. Reads and writes check, and change, the model of the medium. */
void world_ask(struct world *w, unsigned index, enum request_op op, uint64_t offset,
               uint32_t length);
void world_ask_fua(struct world *w, unsigned index, enum request_op op, uint64_t offset,
                   uint32_t length);
void world_release(struct world *w, unsigned index);

/* The i-th ask that is held. */
struct source_request *world_held(struct world *w, unsigned i);
void world_answer(struct world *w, struct source_request *ask, int error);
void world_answer_all(struct world *w, int error);
struct engine_counters world_counters(const struct world *w);

/* The byte of the pattern at this offset. */
static inline uint8_t world_pattern(uint64_t at)
{
    return (uint8_t)(at ^ at >> 8 ^ at >> 16 ^ at >> 24);
}

#endif
