/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranges the far end says are zero cost one question for many, and no payload. Nobody waits for the
 * answer: it is asked beside the reads, one question at a time, and what is known by the time that
 * pages are wanted need not be fetched.
 *
 * A write makes the engine forget what it knew of the range when it begins, and again when it ends,
 * since an answer in between may be of either time.
 */
#include "block/holes.h"

#include <string.h>

void holes_init(struct engine *e)
{
    extents_init(&e->extents, e->info.size, e->info.block_min, e->info.can_extents);
}

static void question_answered(struct source_request *request, int error)
{
    struct engine *e = list_entry(request, struct engine, question);

    engine_enter(e);
    e->counters.asks_in_flight--;
    if (error == SOURCE_LOST)
        e->source = NULL; /* never asked from inside the news that it is lost */
    extents_answered(&e->extents, error, request->extents, error ? 0 : request->extent_count);
    engine_leave(e);
}

/* The source's last place is left to whatever this was called on the way to. */
void holes_look(struct engine *e, uint64_t position)
{
    struct source_request *question = &e->question;
    uint64_t offset;
    uint32_t length;

    if (!e->source || !e->info.can_extents || e->log.replaying > 0 ||
        e->counters.asks_in_flight + 1 >= e->info.in_flight_max ||
        !extents_ask(&e->extents, position, &offset, &length))
        return;
    /* None is under way, so the struct is free. */
    *question = (struct source_request){
        .op = SOURCE_EXTENTS,
        .offset = offset,
        .length = length,
        .extents = e->question_room,
        .extent_room = EXTENTS_ROOM,
        .complete = question_answered,
    };
    list_init(&question->link);
    e->counters.asks++;
    e->counters.asks_in_flight++;
    source_submit(e->source, question);
}

uint64_t holes_run(const struct engine *e, uint64_t from, uint64_t to, bool *zero)
{
    uint64_t end = to < e->info.size ? to : e->info.size;
    uint64_t mask = (uint64_t)e->unit - 1;
    uint64_t run = extents_run(&e->extents, from, end, zero);

    if (from + run >= end)
        return to - from;
    if (!*zero)
        return (run + mask) & ~mask;
    if (run > mask)
        return run & ~mask;
    *zero = false; /* less than a unit: that is fetched */
    return e->unit;
}

void holes_fill(struct engine *e, struct cache_block *block, uint16_t pages)
{
    uint64_t start = block->index * CACHE_BLOCK;
    uint16_t missing = pages & (uint16_t) ~(block->present | block->asked);
    uint64_t step;

    if (!e->info.can_extents || !missing)
        return;
    for (uint64_t at = start; at < start + CACHE_BLOCK && at < e->info.size; at += step) {
        bool zero;
        uint32_t in_block = (uint32_t)(at - start);
        uint16_t found;

        step = holes_run(e, at, start + CACHE_BLOCK, &zero);
        found = missing & cache_pages(in_block, in_block + (uint32_t)step);
        if (!zero || !found)
            continue;
        block->present |= found;
        for (unsigned i = 0; i < CACHE_BLOCK_PAGES; i++) {
            e->counters.bytes_zero += found & 1u << i ? CACHE_PAGE : 0;
            if (block->memory && found & 1u << i)
                memset(block->memory + (size_t)i * CACHE_PAGE, 0, CACHE_PAGE);
        }
    }
}
