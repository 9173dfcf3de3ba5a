/* SPDX-License-Identifier: Apache-2.0 */
/* What the far end tells of zeroes before anybody fetches them; see extents.h. */
#ifndef PLATTER_BLOCK_HOLES_H
#define PLATTER_BLOCK_HOLES_H

#include "block/engine-parts.h"

/* There is a new source: nothing is known. */
void holes_init(struct engine *e);
/* This place is read, or about to be fetched ahead from: asks what is zero there, if it is time. */
void holes_look(struct engine *e, uint64_t position);
/* Marks the block's missing pages that are known to be zero as present; `pages`: those wanted. */
void holes_fill(struct engine *e, struct cache_block *block, uint16_t pages);
/* How far from `from` on, before `to`, all is known to be zero, or, if `*zero` is false, is not;
 * whole units, as both are. */
uint64_t holes_run(const struct engine *e, uint64_t from, uint64_t to, bool *zero);

#endif
