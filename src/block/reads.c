/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads: from a range to pages that must be present, and from present pages to segments.
 *
 * A read pins every block it touches, with memory for what is missing, before anything is asked: so
 * one that has begun can always go on, and one that could not waits without holding anything. It
 * then waits in every block of which pages are missing, and is through when the last has come.
 *
 * Who owns what: a read is allocated here. A request's is freed when the request is released, or
 * when it has failed; an edge's by its write.
 *
 * What always holds: the pages that a read waits for are asked for, by whomever, or the read is
 * noted as through. How a read ended is noted at once and told later, from the pump, because the
 * lists it stands in may be being walked.
 */
#include "block/reads.h"

#include <errno.h>
#include <stdlib.h>

#include "block/asks.h"
#include "block/holes.h"
#include "block/writes.h"

/* ---- beginning ---- */

static bool pin_span(struct engine *e, struct read *read, uint64_t index, uint64_t from,
                     uint64_t to)
{
    struct read_span *span = &read->spans[read->span_count];
    struct cache_block *b = cache_pin(e->cache, index);

    if (!b)
        return false;
    read->span_count++;
    list_init(&span->link);
    span->read = read;
    span->block = b;
    span->need = cache_pages_of(index, from, to);
    holes_fill(e, b, span->need);
    return !(span->need & ~(b->present | b->asked)) || cache_give_memory(e->cache, b);
}

static bool pin_spans(struct engine *e, struct read *read)
{
    uint64_t from = read->from;
    uint64_t to = read->to;

    widen(e->unit, &from, &to);
    for (uint64_t at = from / CACHE_BLOCK; at * CACHE_BLOCK < to; at++) {
        if (!pin_span(e, read, at, from, to))
            return false;
    }
    return true;
}

static void unpin_spans(struct engine *e, struct read *read)
{
    for (unsigned i = 0; i < read->span_count; i++) {
        list_remove(&read->spans[i].link);
        cache_unpin(e->cache, read->spans[i].block);
    }
    read->span_count = 0;
}

static void wait_for_spans(struct engine *e, struct read *read)
{
    for (unsigned i = 0; i < read->span_count; i++) {
        struct read_span *span = &read->spans[i];

        span->block->unread &= (uint16_t)~span->need;
        if (!(span->need & ~span->block->present))
            continue;
        list_append(&span->block->waiters, &span->link);
        read->missing++;
    }
    if (read->missing == 0)
        reads_note_end(e, read, 0);
    else if (!asks_demand(e, read))
        reads_note_end(e, read, -ENOMEM);
}

int reads_begin(struct engine *e, uint64_t from, uint64_t to, struct request *request,
                struct write *edge_of, struct read **out)
{
    unsigned spans = (unsigned)((to + e->unit - 1) / CACHE_BLOCK - from / CACHE_BLOCK + 1);
    struct read *read = calloc(1, sizeof *read + spans * sizeof read->spans[0]);

    if (!read)
        return -ENOMEM;
    read->request = request;
    read->edge_of = edge_of;
    read->from = from;
    read->to = to;
    list_init(&read->link);
    list_init(&read->through);
    list_init(&read->asks);
    if (!pin_spans(e, read)) {
        unpin_spans(e, read);
        free(read);
        return -EAGAIN;
    }
    list_append(&e->reads, &read->link);
    *out = read;
    wait_for_spans(e, read);
    return 0;
}

/* ---- waiting ---- */

void reads_wake(struct engine *e, struct cache_block *block)
{
    list_for_each_safe (it, &block->waiters) {
        struct read_span *span = list_entry(it, struct read_span, link);

        if (span->need & ~block->present)
            continue;
        list_remove(it);
        if (--span->read->missing == 0)
            reads_note_end(e, span->read, 0);
    }
}

void reads_ask_again(struct engine *e, struct cache_block *block)
{
    list_for_each (it, &block->waiters) {
        struct read *read = list_entry(it, struct read_span, link)->read;

        if (list_is_empty(&read->through) && !asks_demand(e, read))
            reads_note_end(e, read, -ENOMEM);
    }
}

void reads_replan(struct engine *e)
{
    list_for_each (it, &e->reads) {
        struct read *read = list_entry(it, struct read, link);

        if (read->missing > 0 && !read->ended && list_is_empty(&read->through) &&
            !asks_demand(e, read))
            reads_note_end(e, read, -ENOMEM);
    }
}

bool reads_touch(const struct engine *e, uint64_t from, uint64_t to)
{
    list_for_each (it, &e->reads) {
        const struct read *read = list_entry(it, struct read, link);

        if (ranges_meet(read->from, read->to, from, to))
            return true;
    }
    return false;
}

/* ---- the end ---- */

void reads_note_end(struct engine *e, struct read *read, int error)
{
    if (read->ended || !list_is_empty(&read->through))
        return;
    read->error = error;
    list_append(&e->through, &read->through);
}

/* The bytes that the read wants of its span; zeroes behind zeroes are one segment. */
static void show_span(const struct read *read, const struct read_span *span, struct request *r)
{
    uint64_t start = span->block->index * CACHE_BLOCK;
    uint32_t from = read->from > start ? (uint32_t)(read->from - start) : 0;
    uint32_t to = read->to - start < CACHE_BLOCK ? (uint32_t)(read->to - start) : CACHE_BLOCK;
    struct request_segment *last = r->segment_count ? &r->segments[r->segment_count - 1] : NULL;

    if (read->to <= start || from >= to)
        return; /* of a wider unit only */
    if (last && !last->data && !span->block->memory) {
        last->length += to - from;
        return;
    }
    r->segments[r->segment_count++] = (struct request_segment){
        .data = span->block->memory ? span->block->memory + from : NULL,
        .length = to - from,
    };
}

static void finish(struct engine *e, struct read *read)
{
    struct request *request = read->request;
    int error = read->error;

    read->ended = true;
    if (error) {
        unpin_spans(e, read);
        asks_abandon(e, read);
    }
    if (!request) {
        writes_edge_done(e, read->edge_of, read);
        return;
    }
    for (unsigned i = 0; i < read->span_count; i++)
        show_span(read, &read->spans[i], request);
    if (error) {
        request->read = NULL;
        reads_free(e, read);
    }
    engine_answer(e, request, error);
}

void reads_finish(struct engine *e)
{
    struct list *link;

    while ((link = list_take_first(&e->through))) {
        struct read *read = list_entry(link, struct read, through);

        finish(e, read);
    }
}

void reads_free(struct engine *e, struct read *read)
{
    list_remove(&read->link);
    list_remove(&read->through);
    unpin_spans(e, read);
    asks_abandon(e, read);
    free(read);
}
