/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes, trims and zeroings: through to the far end, in order, and never against the cache.
 *
 * A write begins when no earlier request that touches its range is open, reads until they are
 * *released* (their segments are the cache's memory), and no ask for its pages is out. From then on
 * it holds its range, in whole units: what touches it later waits until the far end has answered.
 * So nobody can see it half done, and the cached pages of the range, which its edges are copied
 * from, are dropped at the end.
 *
 * What does not begin or end on the source's blocks is written with its neighbours: the blocks at
 * its edges are read first, through the cache, and stay pinned until they have been copied.
 *
 * Where the far end lacks something: a FUA becomes the write and a FLUSH; a zeroing is written as
 * zeroes; a trim, which is a hint, does nothing.
 *
 * A write that is answered before its time (its limit has come, or the session's end) goes on
 * holding its range until the far end has answered what it was asked.
 */
#include "block/writes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/reads.h"
#include "block/write-log.h"

static const uint8_t zeroes[CACHE_BLOCK];

/* ---- order ---- */

void writes_hold(const struct engine *e, const struct request *request, uint64_t *from,
                 uint64_t *to)
{
    *from = request->offset;
    *to = request->offset + request->length;
    widen(e->unit, from, to);
}

bool writes_touch(const struct engine *e, uint64_t from, uint64_t to)
{
    list_for_each (it, &e->writes) {
        const struct write *write = list_entry(it, struct write, link);

        if (ranges_meet(write->from, write->to, from, to))
            return true;
    }
    return false;
}

/* ---- the end ---- */

static void free_write(struct engine *e, struct write *write)
{
    for (unsigned i = 0; i < 2; i++) {
        if (write->edges[i])
            reads_free(e, write->edges[i]);
    }
    list_remove(&write->link);
    free(write);
}

/* What was cached of the range is of the past. */
static void end_write(struct engine *e, struct write *write)
{
    cache_drop(e->cache, write->from, write->to);
    extents_forget(&e->extents, write->from, write->to);
    if (write->request) {
        write->request->write = NULL;
        engine_answer(e, write->request, write->error);
    }
    free_write(e, write);
}

static bool is_to_be_flushed(const struct engine *e, const struct write *write)
{
    return write->request && !write->error && write->request->fua && e->info.can_flush &&
           (!e->info.can_fua || write->needs_flush);
}

static void end_if_done(struct engine *e, struct write *write)
{
    bool goes_on = write->request && !write->error && write->at < write->end;

    if (write->pieces > 0 || write->edges_missing > 0 || write->flushing || goes_on)
        return;
    if (is_to_be_flushed(e, write)) {
        write->error = write_log_flush(e, NULL, write);
        write->flushing = !write->error;
        if (write->flushing)
            return;
    }
    end_write(e, write);
}

void writes_piece_done(struct engine *e, struct write *write, int error)
{
    write->pieces--;
    if (error && !write->error) {
        write->error = error;
        write_log_drop_of(e, write);
    }
    end_if_done(e, write);
}

void writes_flushed(struct engine *e, struct write *write, int error)
{
    write->error = error;
    end_write(e, write);
}

void writes_abandon(struct engine *e, struct write *write)
{
    write->request->write = NULL;
    write->request = NULL;
    write_log_drop_of(e, write);
    for (unsigned i = 0; i < 2; i++) {
        if (write->edges[i])
            reads_note_end(e, write->edges[i], -EIO);
    }
    if (write->flushing)
        write_log_forget_flush(e, NULL, write);
    write->flushing = false;
    end_if_done(e, write);
}

/* ---- the beginning ---- */

void writes_edge_done(struct engine *e, struct write *write, struct read *edge)
{
    write->edges_missing--;
    if (edge->error && !write->error)
        write->error = edge->error;
    if (write->edges_missing == 0 && write->request && !write->error)
        extents_forget(&e->extents, write->from, write->to);
    end_if_done(e, write);
}

/* The whole blocks of the source that the write covers, or, of a trim, that lie within it. */
static void set_range(const struct engine *e, const struct request *r, struct write *write)
{
    uint64_t mask = (uint64_t)e->info.block_min - 1;
    uint64_t to = r->offset + r->length;

    if (r->op == REQUEST_TRIM) {
        write->at = (r->offset + mask) & ~mask;
        write->end = to == e->info.size ? to : to & ~mask;
    } else {
        write->at = r->offset & ~mask;
        write->end = (to + mask) & ~mask;
        if (write->end > e->info.size)
            write->end = e->info.size;
    }
    writes_hold(e, r, &write->from, &write->to);
}

static int read_edge(struct engine *e, struct write *write, unsigned which, uint64_t at)
{
    uint64_t to = at + e->info.block_min < e->info.size ? at + e->info.block_min : e->info.size;
    int r = reads_begin(e, at, to, NULL, write, &write->edges[which]);

    write->edges_missing += r == 0;
    return r;
}

static int read_edges(struct engine *e, const struct request *r, struct write *write)
{
    uint64_t last = (write->end - 1) & ~((uint64_t)e->info.block_min - 1);
    bool starts_inside = write->at < r->offset;
    bool ends_inside = write->end > r->offset + r->length;
    int result = 0;

    if (r->op == REQUEST_TRIM)
        return 0;
    if (starts_inside)
        result = read_edge(e, write, 0, write->at);
    if (result == 0 && ends_inside && !(starts_inside && last == write->at))
        result = read_edge(e, write, 1, last);
    return result;
}

int writes_begin(struct engine *e, struct request *r)
{
    struct write *write;
    int result;

    if (e->info.read_only)
        return -EPERM;
    write = calloc(1, sizeof *write);
    if (!write)
        return -ENOMEM;
    write->engine = e;
    write->request = r;
    write->op = r->op;
    list_init(&write->link);
    set_range(e, r, write);
    if (r->op == REQUEST_TRIM && !e->info.can_trim)
        write->at = write->end;
    result = read_edges(e, r, write);
    if (result < 0) {
        free_write(e, write);
        return result;
    }
    r->write = write;
    list_append(&e->writes, &write->link);
    if (write->edges_missing == 0)
        extents_forget(&e->extents, write->from, write->to);
    if (write->at >= write->end)
        end_if_done(e, write);
    return 0;
}

/* ---- pieces ---- */

static void copy_edge(const struct engine *e, uint8_t *to, uint64_t at, size_t length)
{
    const struct cache_block *b = cache_look(e->cache, at / CACHE_BLOCK);

    if (b && b->memory)
        memcpy(to, b->memory + at % CACHE_BLOCK, length);
    else
        memset(to, 0, length);
}

static void fill(const struct engine *e, const struct write *write, const struct piece *piece)
{
    const struct request *r = write->request;
    uint8_t *data = write_log_data(piece);
    uint64_t at = piece->ask.offset;
    uint64_t to = at + piece->ask.length;
    uint64_t from = r->offset > at ? r->offset : at;
    uint64_t upto = r->offset + r->length < to ? r->offset + r->length : to;
    /* All within the piece. */
    size_t before = (size_t)(from - at), length = (size_t)(upto - from);

    copy_edge(e, data, at, before);
    if (r->op == REQUEST_WRITE)
        memcpy(data + before, r->data + (from - r->offset), length);
    else
        memset(data + before, 0, length);
    copy_edge(e, data + before + length, upto, (size_t)(to - upto));
}

/* How far from write->at on the far end can trim or zero by itself; 0: here are data to write. */
static uint64_t plain_length(const struct engine *e, const struct write *write)
{
    const struct request *r = write->request;
    uint64_t mask = (uint64_t)e->info.block_min - 1;
    uint64_t to = r->offset + r->length;
    uint64_t most = UINT32_MAX & ~mask;

    if (r->op == REQUEST_WRITE || (r->op == REQUEST_WRITE_ZEROES && !e->info.can_write_zeroes))
        return 0;
    if (to != e->info.size)
        to &= ~mask;
    if (write->at < r->offset || write->at >= to)
        return 0;
    return to - write->at < most ? to - write->at : most;
}

/* A piece that carries its bytes: up to a block of the cache; only the first or last block of the
 * source where the far end does the rest by itself. */
static struct piece *make_data_piece(struct engine *e, struct write *write)
{
    const struct request *r = write->request;
    uint32_t most = e->info.length_max < CACHE_BLOCK ? e->info.length_max : CACHE_BLOCK;
    bool only_edge = r->op == REQUEST_WRITE_ZEROES && e->info.can_write_zeroes;
    bool whole;
    uint64_t length;
    struct piece *piece;

    most = only_edge ? e->info.block_min : most & ~(e->info.block_min - 1);
    length = write->end - write->at < most ? write->end - write->at : most;
    whole = write->at >= r->offset && write->at + length <= r->offset + r->length;
    piece = write_log_new_piece(e, r->op == REQUEST_WRITE_ZEROES && whole ? 0 : (uint32_t)length);
    if (!piece)
        return NULL;
    piece->ask.op = SOURCE_WRITE;
    piece->ask.offset = write->at;
    piece->ask.length = (uint32_t)length;
    if (piece->frame >= 0)
        fill(e, write, piece);
    else
        piece->ask.data = zeroes;
    return piece;
}

static bool make_piece(struct engine *e, struct write *write)
{
    uint64_t plain = plain_length(e, write);
    struct piece *piece = plain ? write_log_new_piece(e, 0) : make_data_piece(e, write);

    if (!piece)
        return false;
    if (plain) {
        piece->ask.op = write->op == REQUEST_TRIM ? SOURCE_TRIM : SOURCE_WRITE_ZEROES;
        piece->ask.offset = write->at;
        piece->ask.length = (uint32_t)plain;
        piece->ask.no_hole = write->request->no_hole;
    }
    piece->ask.fua = write->request->fua && e->info.can_fua;
    piece->write = write;
    write->pieces++;
    write->at += piece->ask.length;
    write_log_add(e, piece);
    return true;
}

void writes_send(struct engine *e)
{
    bool room = true;

    list_for_each (it, &e->writes) {
        struct write *write = list_entry(it, struct write, link);

        while (room && write->request && !write->error && write->edges_missing == 0 &&
               write->at < write->end)
            room = make_piece(e, write);
    }
    write_log_send(e);
}
