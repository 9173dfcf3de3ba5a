/* SPDX-License-Identifier: Apache-2.0 */
/* Writes, trims and zeroings on their way through the engine. */
#ifndef PLATTER_BLOCK_WRITES_H
#define PLATTER_BLOCK_WRITES_H

#include "block/engine-parts.h"

/* The range that nobody else may touch while this request, not a read, is under way. */
void writes_hold(const struct engine *e, const struct request *request, uint64_t *from,
                 uint64_t *to);
/* Whether a write under way holds any of [from, to). */
bool writes_touch(const struct engine *e, uint64_t from, uint64_t to);

/* Begins a write that nothing stands in the way of. 0; -EAGAIN when too much of the cache is pinned
 * now; another -errno to answer it with. */
int writes_begin(struct engine *e, struct request *request);
/* An edge has been read, or could not be. */
void writes_edge_done(struct engine *e, struct write *write, struct read *edge);
/* The request is answered before its time: what has not been asked is dropped, the rest runs out.
 */
void writes_abandon(struct engine *e, struct write *write);

/* One piece less to wait for. */
void writes_piece_done(struct engine *e, struct write *write, int error);
/* What was written is safe, or not. */
void writes_flushed(struct engine *e, struct write *write, int error);

/* Makes pieces as far as the log has room, and sends what may be sent. */
void writes_send(struct engine *e);

#endif
