/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the exports, who ask as the machine asks, and the source, who answers as the network
 * allows: takes requests of any alignment, asks the source in pieces it accepts, many at once,
 * within a bound on memory, and answers each request exactly once and before its limit.
 *
 * A source may be lost and another one, of the same medium, may take its place: requests wait
 * meanwhile, and what the lost one left unanswered is asked again.
 *
 * Pure: no I/O and no log; time and alarms are its host's.
 */
#ifndef PLATTER_BLOCK_ENGINE_H
#define PLATTER_BLOCK_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "block/counters.h"
#include "block/request.h"
#include "block/source.h"

struct engine;

/* What the engine needs of its surroundings. Times are microseconds on a clock that only goes
 * forward. */
struct engine_host {
    uint64_t (*now)(void *arg);
    /* engine_tick() is to be called at this time, or soon after; UINT64_MAX: not needed. Only the
     * last call counts. */
    void (*set_alarm)(void *arg, uint64_t at);
    /* A write, trim or zeroing of this range goes to the source now. May be NULL. */
    void (*wrote)(void *arg, uint64_t offset, uint64_t length);
    void *arg;
};

#define ENGINE_CACHE_MIN ((size_t)4 << 20)

struct engine_config {
    size_t cache_max;       /* bytes of the image held at most; at least ENGINE_CACHE_MIN */
    uint64_t request_limit; /* microseconds after which a request is answered with -EIO, whatever
                               the source does; 0: never */
    uint64_t waited;        /* microseconds that requests may have waited with an earlier engine,
                               which are submitted before the first source is set */
    bool is_cd;             /* what a machine reads of it first */
    struct engine_host host;
};

/* 0 or -errno. */
int engine_new(const struct engine_config *config, struct engine **out);
/* Every request must have been answered and released, and no source may have any ask left. NULL is
 * allowed. */
void engine_free(struct engine *engine);

/*
 * Gives the engine a source, with what it said of itself: its first one, or, after engine_suspend()
 * or engine_fail(), the one that came back with the same medium. It stays its owner's. All that the
 * former one was asked must have been completed (source_free() does it), and engine_takes() must
 * allow it. Requests that wait are
 * asked at once, those first that the former one was asked already.
 */
void engine_set_source(struct engine *engine, struct source *source,
                       const struct source_info *info);

/*
 * Whether a source that says this of itself can take over from the one before. What has been begun
 * is in the former's blocks and by its abilities: what was written and is not safe must be taken
 * again as it stands, and pages lie in the cache in whole blocks. A first source always can.
 */
bool engine_takes(const struct engine *engine, const struct source_info *info);

/*
 * The source is gone, or about to go: it is not asked again. Requests wait for the next one, up to
 * their limit. An ask that completes with SOURCE_LOST, now or before this call, waits with them.
 */
void engine_suspend(struct engine *engine);

/*
 * As engine_suspend(), but until engine_set_source() every request, waiting or new, is answered
 * with `error` (-errno) at once.
 */
void engine_fail(struct engine *engine, int error);

/* Asks. The request's `complete` may be called before this returns. */
void engine_submit(struct engine *engine, struct request *request);

/* Gives back a completed read's segments. To be called once for every completed request. */
void engine_release(struct engine *engine, struct request *request);

/* Since when the oldest request waits that has no answer yet; UINT64_MAX: there is none. */
uint64_t engine_oldest(const struct engine *engine);

/* The alarm rings. Too early is harmless. */
void engine_tick(struct engine *engine);

/*
 * Looks into the cache, for comparing a far end that has returned: true if all `length` bytes at
 * `offset` are there, in one run of memory; `*data` is that run until the engine is used again, or
 * NULL for zeroes.
 */
bool engine_peek(const struct engine *engine, uint64_t offset, uint32_t length,
                 const uint8_t **data);

/* Up to `room` offsets of whole 4096-byte pages that engine_peek() would find now, spread over what
 * is there. Returns how many. */
unsigned engine_sample(const struct engine *engine, uint64_t *offsets, unsigned room);

void engine_get_counters(const struct engine *engine, struct engine_counters *out);

#endif
