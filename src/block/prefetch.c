/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetching what nobody has asked for yet. Read-ahead comes before the warm-up, and both only when
 * no demand waits and the window has room; so at most a window's worth is ever before a read that
 * the machine waits for.
 *
 * Ranges come from readahead.h and warm.h; here they are cut into asks, leaving out what is there
 * or on its way. What a write holds, or waits for, is not fetched: the write would have to wait for
 * it, and drop it.
 */
#include "block/prefetch.h"

#include "block/asks.h"
#include "block/holes.h"
#include "block/writes.h"

/* How much of the cache is for what nobody has asked for. The rest is for what the machine reads,
 * and for what it has just read. */
static uint64_t cache_room(const struct engine *e)
{
    return (uint64_t)cache_frames(e->cache) * CACHE_BLOCK / 2;
}

void prefetch_init(struct engine *e)
{
    readahead_init(&e->readahead, e->info.size);
    warm_init(&e->warm, e->info.size, e->config.is_cd, cache_room(e));
}

void prefetch_read(struct engine *e, const struct request *request)
{
    readahead_read(&e->readahead, request->offset, request->length, line_window(&e->asks.line),
                   cache_room(e));
}

void prefetch_saw(struct engine *e, uint64_t offset, const uint8_t *bytes, uint32_t length)
{
    warm_saw(&e->warm, offset, bytes, length);
}

void prefetch_stop(struct engine *e)
{
    if (e->ahead.from < e->ahead.to)
        readahead_drop(&e->readahead, e->ahead.from);
    e->ahead.from = e->ahead.to;
}

static bool is_to_be_written(const struct engine *e, uint64_t from, uint64_t to)
{
    if (writes_touch(e, from, to))
        return true;
    list_for_each (it, &e->waiting) {
        const struct request *r = list_entry(it, struct request, link);
        uint64_t held_from;
        uint64_t held_to;

        if (r->op == REQUEST_READ || r->op == REQUEST_FLUSH)
            continue;
        writes_hold(e, r, &held_from, &held_to);
        if (ranges_meet(held_from, held_to, from, to))
            return true;
    }
    return false;
}

/* Widened to whole units; those behind the medium's end are not there. */
static void widen_want(const struct engine *e, uint64_t *from, uint64_t *to)
{
    if (*to > e->info.size)
        *to = e->info.size;
    if (*from > *to)
        *from = *to;
    widen(e->unit, from, to);
}

static bool has_ahead(struct engine *e)
{
    struct readahead_want *want = &e->ahead;

    while (want->from >= want->to) {
        if (!readahead_next(&e->readahead, asks_length_max(e), want))
            return false;
        e->looking_at = want->from;
        widen_want(e, &want->from, &want->to);
    }
    return true;
}

/* What is there already may still tell where to look next. */
static void show_present(struct engine *e, uint64_t from, uint64_t to)
{
    for (uint64_t at = from; at < to; at += CACHE_PAGE) {
        const struct cache_block *b = cache_look(e->cache, at / CACHE_BLOCK);
        uint32_t in_block = (uint32_t)(at % CACHE_BLOCK);
        uint64_t left = e->info.size - at;

        if (b && b->present & 1u << in_block / CACHE_PAGE)
            warm_saw(&e->warm, at, b->memory ? b->memory + in_block : NULL,
                     left < CACHE_PAGE ? (uint32_t)left : CACHE_PAGE);
    }
}

static bool has_warming(struct engine *e)
{
    struct warm_range *range = &e->warming;

    while (range->from >= range->to) {
        if (!warm_next(&e->warm, range))
            return false;
        widen_want(e, &range->from, &range->to);
        show_present(e, range->from, range->to);
    }
    return true;
}

/* The next ask of [*from, to), past what is known to be zero. False: there is none. */
static bool fetch(struct engine *e, uint64_t *from, uint64_t to, enum ask_kind kind)
{
    if (is_to_be_written(e, *from, to))
        return false;
    while (*from < to) {
        bool zero;
        uint64_t run = holes_run(e, *from, to, &zero);
        uint64_t end = *from + run;

        if (!zero && asks_fetch(e, from, end, kind))
            return true;
        if (*from < end && !zero)
            return false; /* no memory now */
        if (zero)
            warm_saw(&e->warm, *from, NULL, (uint32_t)run);
        *from = end;
    }
    return false;
}

void prefetch_send(struct engine *e)
{
    /* A read that waits for a place in the cache is not to find it taken by a guess. */
    while (list_is_empty(&e->waiting) && asks_leave_room(e, ASK_AHEAD)) {
        if (has_ahead(e)) {
            if (!fetch(e, &e->ahead.from, e->ahead.to, ASK_AHEAD))
                prefetch_stop(e);
        } else if (asks_leave_room(e, ASK_WARM) && has_warming(e)) {
            if (!fetch(e, &e->warming.from, e->warming.to, ASK_WARM))
                e->warming.from = e->warming.to;
        } else {
            return;
        }
    }
}
