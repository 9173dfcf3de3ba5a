/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's asks to the source for pages, and how many may be on their way. */
#ifndef PLATTER_BLOCK_ASKS_H
#define PLATTER_BLOCK_ASKS_H

#include "block/engine-parts.h"

void asks_init(struct asks *asks);

/*
 * Queues demand asks for every page of the read that is neither present nor asked for. False: there
 * was no memory for all of them.
 */
bool asks_demand(struct engine *e, struct read *read);

/*
 * Asks for the first run of missing pages in [*at, to), whole units, and moves *at behind it.
 * False: nothing was asked, since nothing is missing (*at is `to`) or there is no memory now.
 */
bool asks_fetch(struct engine *e, uint64_t *at, uint64_t to, enum ask_kind kind);

/* Sends what demand may be sent. */
void asks_send(struct engine *e);
/* Whether a prefetch of this kind may be sent. */
bool asks_leave_room(const struct engine *e, enum ask_kind kind);

/* The read wants nothing any more: what only it has asked for is taken back, or left to come. */
void asks_abandon(struct engine *e, struct read *read);

/* There is a new source, whose words may differ from the last one's: what is queued is made anew.
 */
void asks_replan(struct engine *e);

/* The longest ask to make now, a multiple of the unit. */
uint32_t asks_length_max(const struct engine *e);

#endif
