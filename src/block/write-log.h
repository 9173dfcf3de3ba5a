/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the far end has been told to write and has not made safe: a far end that is lost may have
 * lost it too, though it said it was done. Each piece stays here until a FLUSH after it has been
 * answered, and is asked again of the next source, in the old order, before anything else.
 *
 * Bounded: when it is full the engine flushes by itself, and writes wait. Where the far end knows
 * no FLUSH, its answer is all the safety there is, and nothing is kept.
 */
#ifndef PLATTER_BLOCK_WRITE_LOG_H
#define PLATTER_BLOCK_WRITE_LOG_H

#include "block/engine-parts.h"

/* 0 or -ENOMEM. */
int write_log_init(struct engine *e);
/* Nothing may be at a source. */
void write_log_done(struct engine *e);

/*
 * A piece of up to CACHE_BLOCK bytes, with memory for `data_length` of them in ask.data (none for
 * 0). NULL when the log is full now; it is being emptied then, and the pump comes back.
 */
struct piece *write_log_new_piece(struct engine *e, uint32_t data_length);
/* Where the piece's data are to be put. */
uint8_t *write_log_data(const struct piece *piece);
/* The piece, its ask filled in, may go to the source. */
void write_log_add(struct engine *e, struct piece *piece);
/* Drops what this write has not asked yet. */
void write_log_drop_of(struct engine *e, struct write *write);

/* Flushes for a request or a write (exactly one is set). 0 or -ENOMEM. */
int write_log_flush(struct engine *e, struct request *request, struct write *write);
/* Nobody waits for that flush any more. */
void write_log_forget_flush(struct engine *e, const struct request *request,
                            const struct write *write);

void write_log_send(struct engine *e);
/* There is a source again: what was not safe with the last one is asked again. */
void write_log_resume(struct engine *e);

/* The error that the next flush has to tell, once. */
int write_log_take_broken(struct engine *e);

#endif
