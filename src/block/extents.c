/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A map of what the far end has told of its zeroes: ranges in order, those known to be zero and
 * those known not to be worth the question again; what lies between is unknown.
 *
 * One question is under way at a time, about a large range, so that a medium of many GiB costs
 * few. It is put before read-ahead comes near the end of what is known. A range that is written to
 * is not asked about again, since servers with a cache before the image may call it a hole until
 * the next flush; and a write spoils the question that covers it.
 *
 * What always holds: the ranges are in order, none is empty, none touches another of its kind, and
 * all lie within the medium.
 */
#include "block/extents.h"

#include <string.h>

#include "base/minmax.h"

#define QUESTION_MAX ((uint64_t)64 << 20)
/* This far beyond a position is to be known. */
#define AHEAD ((uint64_t)32 << 20)
/* The map is to have room for the ranges of so many answers. */
#define ANSWERS_KEPT 16

void extents_init(struct extents *e, uint64_t medium_size, uint32_t block_min, bool can_ask)
{
    memset(e, 0, sizeof *e);
    e->size = medium_size;
    e->block = block_min;
    e->off = !can_ask;
}

/* The number of ranges that end at or before it. */
static unsigned ranges_before(const struct extents *e, uint64_t position)
{
    unsigned low = 0, high = e->count;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (e->ranges[middle].to <= position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void remove_ranges(struct extents *e, unsigned at, unsigned count)
{
    memmove(&e->ranges[at], &e->ranges[at + count], (e->count - at - count) * sizeof e->ranges[0]);
    e->count -= count;
}

static void insert_range(struct extents *e, unsigned at, struct extents_range range)
{
    memmove(&e->ranges[at + 1], &e->ranges[at], (e->count - at) * sizeof e->ranges[0]);
    e->ranges[at] = range;
    e->count++;
}

static void erase(struct extents *e, uint64_t from, uint64_t to)
{
    unsigned first = ranges_before(e, from);
    unsigned behind;

    if (first < e->count && e->ranges[first].from < from) {
        struct extents_range rest = e->ranges[first];

        e->ranges[first++].to = from;
        if (rest.to > to) {
            rest.from = to;
            if (e->count < EXTENTS_MAX) /* else it is forgotten with the others */
                insert_range(e, first, rest);
            return;
        }
    }
    behind = ranges_before(e, to);
    if (behind > first)
        remove_ranges(e, first, behind - first);
    if (first < e->count && e->ranges[first].from < to)
        e->ranges[first].from = to;
}

/* A medium in more pieces than fit is not worth the questions: one would chase the other. */
static void forget_oldest(struct extents *e)
{
    unsigned oldest = 0;

    for (unsigned i = 1; i < e->count; i++) {
        if (e->ranges[i].age < e->ranges[oldest].age)
            oldest = i;
    }
    if (e->ranges[oldest].age + ANSWERS_KEPT > e->answers)
        e->off = true;
    remove_ranges(e, oldest, 1);
}

static void add(struct extents *e, uint64_t from, uint64_t to, bool zero)
{
    struct extents_range range = {.from = from, .to = to, .age = e->answers, .zero = zero};
    unsigned at;

    erase(e, from, to);
    if (e->count == EXTENTS_MAX)
        forget_oldest(e);
    at = ranges_before(e, from);
    if (at < e->count && e->ranges[at].from == to && e->ranges[at].zero == zero) {
        range.to = e->ranges[at].to;
        remove_ranges(e, at, 1);
    }
    if (at > 0 && e->ranges[at - 1].to == from && e->ranges[at - 1].zero == zero) {
        range.from = e->ranges[at - 1].from;
        remove_ranges(e, --at, 1);
    }
    insert_range(e, at, range);
}

bool extents_ask(struct extents *e, uint64_t position, uint64_t *offset, uint32_t *length)
{
    uint64_t from = position - position % e->block;
    uint64_t end = e->size - e->size % e->block;
    unsigned at;

    if (e->off || e->asking)
        return false;
    for (at = ranges_before(e, from); at < e->count && e->ranges[at].from <= from; at++)
        from = e->ranges[at].to + (e->block - e->ranges[at].to % e->block) % e->block;
    if (from >= end || from >= position + AHEAD)
        return false;
    end = min_u64(end, from + QUESTION_MAX);
    if (at < e->count && e->ranges[at].from - e->ranges[at].from % e->block > from)
        end = min_u64(end, e->ranges[at].from - e->ranges[at].from % e->block);
    e->asking = true;
    e->spoilt = false;
    e->asked_from = from;
    e->asked_to = end;
    *offset = from;
    *length = (uint32_t)(end - from);
    return true;
}

void extents_answered(struct extents *e, int error, const struct source_extent *list,
                      unsigned count)
{
    uint64_t from = e->asked_from;

    e->asking = false;
    if (error && error != SOURCE_LOST)
        e->off = true;
    if (error || e->spoilt)
        return;
    e->answers++;
    for (unsigned i = 0; i < count && from < e->asked_to; i++) {
        uint64_t to = min_u64(from + list[i].length, e->asked_to);

        if (to > from)
            add(e, from, to, list[i].zero);
        from = to;
    }
}

uint64_t extents_run(const struct extents *e, uint64_t from, uint64_t to, bool *zero)
{
    unsigned at = ranges_before(e, from);

    *zero = at < e->count && e->ranges[at].from <= from && e->ranges[at].zero;
    if (*zero)
        return min_u64(to, e->ranges[at].to) - from;
    while (at < e->count && e->ranges[at].from < to && !e->ranges[at].zero)
        at++;
    return at < e->count ? min_u64(to, max_u64(e->ranges[at].from, from)) - from : to - from;
}

void extents_forget(struct extents *e, uint64_t from, uint64_t to)
{
    erase(e, from, to);
    if (!e->off)
        add(e, from, to, false);
    if (e->asking && from < e->asked_to && to > e->asked_from)
        e->spoilt = true;
}
