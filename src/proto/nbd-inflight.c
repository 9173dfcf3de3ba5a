// SPDX-License-Identifier: Apache-2.0
/*
 * The table of nbd-inflight.h. Cookies count up from 1 and are never used again, so a late or
 * invented answer can be told from a true one; with so few slots a walk finds one soon enough.
 *
 * What always holds: a used slot's ranges ascend, do not touch each other, and lie within its
 * length. A range that touches a neighbour is joined to it, so replies in order need one range.
 */
#include "proto/nbd-inflight.h"

#include <string.h>

void nbd_inflight_init(struct nbd_inflight_table *table)
{
    memset(table, 0, sizeof *table);
    table->next_cookie = 1;
}

struct nbd_inflight *nbd_inflight_add(struct nbd_inflight_table *table)
{
    for (unsigned i = 0; i < NBD_INFLIGHT_MAX; i++) {
        struct nbd_inflight *slot = &table->slots[i];

        if (slot->used || slot->kept)
            continue;
        memset(slot, 0, sizeof *slot);
        slot->used = true;
        slot->cookie = table->next_cookie++;
        return slot;
    }
    return NULL;
}

struct nbd_inflight *nbd_inflight_find(struct nbd_inflight_table *table, uint64_t cookie)
{
    for (unsigned i = 0; i < NBD_INFLIGHT_MAX; i++) {
        if (table->slots[i].used && table->slots[i].cookie == cookie)
            return &table->slots[i];
    }
    return NULL;
}

void nbd_inflight_remove(struct nbd_inflight *slot)
{
    slot->used = false;
}

unsigned nbd_inflight_index(const struct nbd_inflight_table *table, const struct nbd_inflight *slot)
{
    return (unsigned)(slot - table->slots);
}

enum nbd_cover nbd_inflight_cover(struct nbd_inflight *slot, uint64_t offset, uint32_t length)
{
    struct nbd_range *ranges = slot->ranges;
    unsigned at = 0;

    if (length == 0 || offset < slot->offset || offset - slot->offset > slot->length ||
        length > slot->length - (offset - slot->offset))
        return NBD_COVER_OUTSIDE;

    uint32_t from = (uint32_t)(offset - slot->offset);
    uint32_t to = from + length;

    while (at < slot->range_count && ranges[at].to <= from)
        at++;
    /* All before `at` end at or before us; the one at `at` must begin at or after our end. */
    if (at < slot->range_count && ranges[at].from < to)
        return NBD_COVER_OVERLAP;

    bool joins_left = at > 0 && ranges[at - 1].to == from;
    bool joins_right = at < slot->range_count && ranges[at].from == to;

    if (joins_left && joins_right) {
        ranges[at - 1].to = ranges[at].to;
        slot->range_count--;
        memmove(&ranges[at], &ranges[at + 1], (slot->range_count - at) * sizeof ranges[0]);
    } else if (joins_left) {
        ranges[at - 1].to = to;
    } else if (joins_right) {
        ranges[at].from = from;
    } else {
        if (slot->range_count == NBD_RANGES_MAX)
            return NBD_COVER_SCATTERED;
        memmove(&ranges[at + 1], &ranges[at], (slot->range_count - at) * sizeof ranges[0]);
        ranges[at] = (struct nbd_range){.from = from, .to = to};
        slot->range_count++;
    }
    return NBD_COVER_OK;
}

bool nbd_inflight_is_whole(const struct nbd_inflight *slot)
{
    return slot->range_count == 1 && slot->ranges[0].from == 0 &&
           slot->ranges[0].to == slot->length;
}
