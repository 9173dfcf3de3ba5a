/* SPDX-License-Identifier: Apache-2.0 */
/* Reads on their way through the engine. */
#ifndef PLATTER_BLOCK_READS_H
#define PLATTER_BLOCK_READS_H

#include "block/engine-parts.h"

/*
 * Begins a read of [from, to): of a request, or of a write's edge. 0; -EAGAIN when too much of the
 * cache is pinned now; -ENOMEM.
 */
int reads_begin(struct engine *e, uint64_t from, uint64_t to, struct request *request,
                struct write *edge_of, struct read **out);

/* Pages of this block have come: reads that have all of theirs are through. */
void reads_wake(struct engine *e, struct cache_block *block);
/* The same pages will not come by the ask they were waited for: those who wait ask themselves. */
void reads_ask_again(struct engine *e, struct cache_block *block);

/* Notes how the read ended. The first end counts. */
void reads_note_end(struct engine *e, struct read *read, int error);
/* Answers those that are through. */
void reads_finish(struct engine *e);

/* Unpins what the read shows, and forgets it. */
void reads_free(struct engine *e, struct read *read);

/* Whether a read not yet released touches [from, to). */
bool reads_touch(const struct engine *e, uint64_t from, uint64_t to);

/* Plans anew for a source whose words may differ from the last one's. */
void reads_replan(struct engine *e);

#endif
