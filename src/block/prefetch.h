/* SPDX-License-Identifier: Apache-2.0 */
/* What is fetched before anybody asks: read-ahead, and behind it the warm-up. */
#ifndef PLATTER_BLOCK_PREFETCH_H
#define PLATTER_BLOCK_PREFETCH_H

#include "block/engine-parts.h"

/* The medium is known now. */
void prefetch_init(struct engine *e);
/* The machine reads this. */
void prefetch_read(struct engine *e, const struct request *request);
/* These bytes have come. */
void prefetch_saw(struct engine *e, uint64_t offset, const uint8_t *bytes, uint32_t length);
/* Asks as far as demand leaves room. */
void prefetch_send(struct engine *e);
/* Nothing more is to be fetched of what was planned: the source is gone. */
void prefetch_stop(struct engine *e);

#endif
