// SPDX-License-Identifier: Apache-2.0
/*
 * For every sector two small sets of versions: `now`, what a read may show, and `since`, everything
 * it may have been since the last flush, which is what a loss of unflushed writes could bring back.
 *
 * What the engine promises, and this file holds it to: requests that overlap are done in the order
 * in which they were asked. So a read is judged after every earlier change of its sectors has been
 * answered, and before any later one is: an open earlier change is a fault by itself.
 */
#include "content.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define SET_MAX 12

struct set {
    uint32_t versions[SET_MAX];
    unsigned count; /* SET_MAX + 1: more than are kept, anything goes */
};

struct cell {
    struct set now;
    struct set since;
};

struct change {
    enum change_kind kind;
    uint64_t sector;
    uint32_t count;
    uint64_t order;
    uint32_t version;
    struct change *next;
};

static struct cell *cells;
static size_t cell_count;
static struct change *open_changes;

void content_init(size_t sectors)
{
    cells = calloc(sectors, sizeof *cells);
    if (!cells)
        abort();
    cell_count = sectors;
    for (size_t i = 0; i < sectors; i++) {
        cells[i].now.count = 1; /* version 0 */
        cells[i].since.count = 1;
    }
}

void content_done(void)
{
    while (open_changes)
        content_end(open_changes, -1);
    free(cells);
    cells = NULL;
}

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 33)) * 0xff51afd7ed558ccdu;
    z = (z ^ (z >> 33)) * 0xc4ceb9fe1a85ec53u;
    return z ^ (z >> 33);
}

bool content_is_hole(uint64_t sector)
{
    /* Runs of 48 KiB, so that pages and blocks are holes in whole and in part. */
    return mix(sector / 96 + 7) % 5 == 0;
}

void content_fill(uint64_t sector, uint32_t version, uint8_t out[SECTOR])
{
    uint64_t words[SECTOR / 8];
    bool zero = version == VERSION_ZERO || (version == 0 && content_is_hole(sector));

    /* The first two words tell a reader of a failure what he sees. */
    words[0] = ~sector; /* never zero */
    words[1] = version;
    for (unsigned i = 2; i < SECTOR / 8; i++)
        words[i] = mix(sector * 0x9e3779b97f4a7c15u + version * 64u + i);
    if (zero)
        memset(out, 0, SECTOR);
    else
        memcpy(out, words, SECTOR);
}

static void set_add(struct set *s, uint32_t version)
{
    for (unsigned i = 0; i < s->count && i < SET_MAX; i++) {
        if (s->versions[i] == version)
            return;
    }
    if (s->count < SET_MAX)
        s->versions[s->count] = version;
    if (s->count <= SET_MAX)
        s->count++;
}

static void set_join(struct set *s, const struct set *other)
{
    if (other->count > SET_MAX)
        s->count = SET_MAX + 1;
    for (unsigned i = 0; i < other->count && i < SET_MAX; i++)
        set_add(s, other->versions[i]);
}

struct change *content_begin(enum change_kind kind, uint64_t sector, uint32_t count, uint64_t order,
                             uint32_t version)
{
    struct change *change = malloc(sizeof *change);

    if (!change)
        abort();
    *change = (struct change){.kind = kind,
                              .sector = sector,
                              .count = count,
                              .order = order,
                              .version = kind == CHANGE_WRITE ? version : VERSION_ZERO,
                              .next = open_changes};
    open_changes = change;
    return change;
}

void content_end(struct change *change, int error)
{
    struct change **at = &open_changes;
    bool certain = !error && change->kind != CHANGE_DISCARD;

    while (*at != change)
        at = &(*at)->next;
    *at = change->next;
    for (uint64_t i = change->sector; i < change->sector + change->count; i++) {
        if (certain)
            cells[i].now.count = 0;
        set_add(&cells[i].now, change->version);
        set_add(&cells[i].since, change->version);
    }
    free(change);
}

void content_doubt(void)
{
    for (size_t i = 0; i < cell_count; i++)
        set_join(&cells[i].now, &cells[i].since);
}

void content_settle(uint64_t sector, uint64_t count)
{
    for (uint64_t i = sector; i < sector + count; i++)
        cells[i].since = cells[i].now;
}

bool content_may_be(uint64_t sector, uint64_t order, const uint8_t bytes[SECTOR], char *why,
                    unsigned room)
{
    const struct set *now = &cells[sector].now;
    uint8_t right[SECTOR];
    uint64_t words[2];

    for (struct change *c = open_changes; c; c = c->next) {
        if (c->order < order && sector >= c->sector && sector < c->sector + c->count) {
            snprintf(why, room, "an earlier change of it (request %" PRIu64 ") is not answered yet",
                     c->order);
            return false;
        }
    }
    if (now->count > SET_MAX)
        return true;
    for (unsigned i = 0; i < now->count; i++) {
        content_fill(sector, now->versions[i], right);
        if (memcmp(bytes, right, SECTOR) == 0)
            return true;
    }
    memcpy(words, bytes, sizeof words);
    snprintf(why, room,
             "it begins as sector %" PRIu64 ", version %" PRIu64 "; version %u (one of %u) was due",
             ~words[0], words[1], now->versions[0], now->count);
    return false;
}
