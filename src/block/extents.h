/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which parts of the medium are known to be zero, because the far end said so when it was asked
 * (NBD protocol, "Metadata querying", context base:allocation): they need not be fetched.
 *
 * Nobody waits for a question: until it is answered, its range is merely not known to be zero.
 *
 * Pure, and of fixed size: what has been known longest is forgotten first. Positions are bytes.
 */
#ifndef PLATTER_BLOCK_EXTENTS_H
#define PLATTER_BLOCK_EXTENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "block/source.h"

#define EXTENTS_MAX 512
#define EXTENTS_ROOM                                                                               \
    128 /* how many a question should have room for: source_request.extent_room                    \
         */

struct extents_range {
    uint64_t from, to;
    uint64_t age; /* the number of the answer it came with */
    bool zero;    /* else: known to be worth fetching */
};

struct extents {
    uint64_t size;
    uint32_t block; /* what the far end's ranges are multiples of */
    bool off;       /* not to be asked */
    bool asking;
    bool spoilt;         /* what is being asked about has been written to meanwhile */
    uint64_t asked_from; /* the question's range */
    uint64_t asked_to;
    uint64_t answers;
    unsigned count;
    struct extents_range ranges[EXTENTS_MAX]; /* in order, apart, none empty */
};

/* Nothing is known. `can_ask`: the far end offers to tell; if not, nothing ever will be. */
void extents_init(struct extents *e, uint64_t medium_size, uint32_t block_min, bool can_ask);

/*
 * What to ask the far end next, when `position` is read or about to be fetched ahead from. False:
 * nothing, since enough is known there or a question is under way. Otherwise it is under way from
 * now on, until extents_answered().
 */
bool extents_ask(struct extents *e, uint64_t position, uint64_t *offset, uint32_t *length);

/*
 * The question has been answered: `error` 0 and what source_request has, or an -errno. After any
 * error but SOURCE_LOST the far end is not asked again.
 */
void extents_answered(struct extents *e, int error, const struct source_extent *list,
                      unsigned count);

/* How many bytes from `from` on, and before `to`, are alike; *zero: they are known to be zero. */
uint64_t extents_run(const struct extents *e, uint64_t from, uint64_t to, bool *zero);

/* This range is written to, or trimmed: it counts as data from now on. */
void extents_forget(struct extents *e, uint64_t from, uint64_t to);

#endif
