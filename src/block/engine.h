/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the exports, who ask as the machine asks, and the source, who answers as the network
 * allows: takes requests of any alignment up to REQUEST_LENGTH_MAX, asks the source in pieces it
 * accepts, many at once, within a bound on memory, and answers each request exactly once.
 *
 * Pure: no I/O, no clock, no log.
 */
#ifndef PLATTER_BLOCK_ENGINE_H
#define PLATTER_BLOCK_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "block/counters.h"
#include "block/request.h"
#include "block/source.h"

struct engine;

struct engine_config {
    size_t memory_max; /* bytes held for reads at once; at least REQUEST_LENGTH_MAX + 128 KiB */
};

/* 0 or -errno. */
int engine_new(const struct engine_config *config, struct engine **out);
/* Every request must have been answered and released. NULL is allowed. */
void engine_free(struct engine *engine);

/*
 * Gives the engine its source, once, with what it said of itself; it stays its owner's. Waiting
 * requests are asked at once.
 */
void engine_set_source(struct engine *engine, struct source *source,
                       const struct source_info *info);

/*
 * From now on the source is not asked again and every request, waiting or new, is answered with
 * `error` (-errno). Those the source has are answered as it completes them: free the source to end
 * them all.
 */
void engine_fail(struct engine *engine, int error);

/* Asks. The request's `complete` may be called before this returns. */
void engine_submit(struct engine *engine, struct request *request);

/* Gives back a completed read's segments. To be called once for every completed request. */
void engine_release(struct engine *engine, struct request *request);

void engine_get_counters(const struct engine *engine, struct engine_counters *out);

#endif
