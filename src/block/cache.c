/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks by index: a hash table of chains, and a list by age. All block structs are made at once,
 * as many as there are frames; frames lie in one allocation and are handed out lowest first, so
 * that an idle drive has touched little of it.
 *
 * What always holds: a block is free, or in a bucket; one in a bucket is pinned or in `by_age`. A
 * block has at most one frame, and a free one has none. present, asked and unread are 0 in a free
 * block, and asked is 0 in one that is not pinned.
 */
#include "block/cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct cache {
    unsigned count;        /* of blocks, and of frames */
    unsigned bucket_count; /* a power of two */
    unsigned frames_free;
    unsigned frames_held; /* by pinned blocks and other uses */
    uint64_t wasted;
    struct list free_blocks;
    struct list by_age; /* not pinned, the oldest first */
    struct cache_block **buckets;
    struct cache_block *blocks;
    uint8_t *arena;   /* the allocation */
    uint8_t **frames; /* the free ones, the next to hand out last */
};

static void fill_lists(struct cache *c)
{
    uint8_t *first =
        (uint8_t *)(((uintptr_t)c->arena + CACHE_PAGE - 1) & ~(uintptr_t)(CACHE_PAGE - 1));

    list_init(&c->free_blocks);
    list_init(&c->by_age);
    for (unsigned i = 0; i < c->count; i++) {
        list_init(&c->blocks[i].waiters);
        list_append(&c->free_blocks, &c->blocks[i].link);
        c->frames[c->count - 1 - i] = first + (size_t)i * CACHE_BLOCK;
    }
    c->frames_free = c->count;
}

int cache_new(size_t bytes, struct cache **out)
{
    struct cache *c = calloc(1, sizeof *c);

    if (!c)
        return -ENOMEM;
    c->count = (unsigned)(bytes / CACHE_BLOCK);
    for (c->bucket_count = 16; c->bucket_count < c->count; c->bucket_count *= 2)
        ;
    c->buckets = calloc(c->bucket_count, sizeof(struct cache_block *));
    c->blocks = calloc(c->count, sizeof *c->blocks);
    c->frames = calloc(c->count, sizeof *c->frames);
    c->arena = malloc((size_t)c->count * CACHE_BLOCK + CACHE_PAGE);
    if (!c->buckets || !c->blocks || !c->frames || !c->arena) {
        cache_free(c);
        return -ENOMEM;
    }
    fill_lists(c);
    *out = c;
    return 0;
}

void cache_free(struct cache *c)
{
    if (!c)
        return;
    free(c->arena);
    free(c->frames);
    free(c->blocks);
    free(c->buckets);
    free(c);
}

static struct cache_block **bucket_of(const struct cache *c, uint64_t index)
{
    /* Streams read blocks in a row, so the low bits alone spread well. */
    return &c->buckets[index & (c->bucket_count - 1)];
}

struct cache_block *cache_look(const struct cache *c, uint64_t index)
{
    struct cache_block *b = *bucket_of(c, index);

    while (b && b->index != index)
        b = b->next_in_bucket;
    return b;
}

static void waste(struct cache *c, struct cache_block *b, uint16_t pages)
{
    for (unsigned left = b->unread & b->present & pages; left; left &= left - 1)
        c->wasted++;
    b->unread &= (uint16_t)~pages;
}

/* Out of its bucket and without memory; the caller has it out of `by_age` already. */
static void forget(struct cache *c, struct cache_block *b)
{
    struct cache_block **at = bucket_of(c, b->index);

    while (*at != b)
        at = &(*at)->next_in_bucket;
    *at = b->next_in_bucket;
    b->next_in_bucket = NULL;
    waste(c, b, UINT16_MAX);
    b->present = 0;
    if (b->memory)
        c->frames[c->frames_free++] = b->memory;
    b->memory = NULL;
    list_append(&c->free_blocks, &b->link);
}

static bool evict_oldest(struct cache *c)
{
    struct list *link = list_take_first(&c->by_age);

    if (!link)
        return false;
    forget(c, list_entry(link, struct cache_block, link));
    return true;
}

struct cache_block *cache_pin(struct cache *c, uint64_t index)
{
    struct cache_block *b = cache_look(c, index);

    if (!b) {
        if (list_is_empty(&c->free_blocks) && !evict_oldest(c))
            return NULL;
        b = list_entry(list_take_first(&c->free_blocks), struct cache_block, link);
        b->index = index;
        b->next_in_bucket = *bucket_of(c, index);
        *bucket_of(c, index) = b;
    }
    if (b->pins++ == 0) {
        list_remove(&b->link);
        c->frames_held += b->memory != NULL;
    }
    return b;
}

void cache_unpin(struct cache *c, struct cache_block *b)
{
    if (--b->pins > 0)
        return;
    c->frames_held -= b->memory != NULL;
    if (b->present)
        list_append(&c->by_age, &b->link);
    else
        forget(c, b);
}

uint8_t *cache_take_frame(struct cache *c)
{
    while (c->frames_free == 0) {
        if (!evict_oldest(c))
            return NULL;
    }
    c->frames_held++;
    return c->frames[--c->frames_free];
}

void cache_give_back_frame(struct cache *c, uint8_t *frame)
{
    c->frames_held--;
    c->frames[c->frames_free++] = frame;
}

bool cache_give_memory(struct cache *c, struct cache_block *b)
{
    if (b->memory)
        return true;
    b->memory = cache_take_frame(c);
    if (!b->memory)
        return false;
    for (unsigned i = 0; i < CACHE_BLOCK_PAGES; i++) {
        if (b->present & 1u << i)
            memset(b->memory + (size_t)i * CACHE_PAGE, 0, CACHE_PAGE);
    }
    return true;
}

void cache_drop_memory(struct cache *c, struct cache_block *b)
{
    if (!b->memory)
        return;
    cache_give_back_frame(c, b->memory);
    b->memory = NULL;
}

/* Of an unpinned block nothing may be left without its being free. */
static void drop_pages(struct cache *c, struct cache_block *b, uint16_t pages)
{
    waste(c, b, pages & b->present);
    b->present &= (uint16_t)~pages;
    if (b->pins == 0 && !b->present) {
        list_remove(&b->link);
        forget(c, b);
    }
}

static bool meets(const struct cache_block *b, uint64_t from, uint64_t to)
{
    uint64_t start = b->index * CACHE_BLOCK;

    return (b->present | b->asked) && start < to && start + CACHE_BLOCK > from;
}

void cache_drop(struct cache *c, uint64_t from, uint64_t to)
{
    uint64_t first = from / CACHE_BLOCK;
    uint64_t end = (to + CACHE_BLOCK - 1) / CACHE_BLOCK;

    for (uint64_t i = first; end - first <= c->count && i < end; i++) {
        struct cache_block *b = cache_look(c, i);

        if (b)
            drop_pages(c, b, cache_pages_of(i, from, to));
    }
    for (unsigned i = 0; end - first > c->count && i < c->count; i++) {
        struct cache_block *b = &c->blocks[i];

        if (meets(b, from, to))
            drop_pages(c, b, cache_pages_of(b->index, from, to));
    }
}

bool cache_is_asked(const struct cache *c, uint64_t from, uint64_t to)
{
    uint64_t first = from / CACHE_BLOCK;
    uint64_t end = (to + CACHE_BLOCK - 1) / CACHE_BLOCK;
    bool asked = false;

    for (uint64_t i = first; end - first <= c->count && i < end && !asked; i++) {
        struct cache_block *b = cache_look(c, i);

        asked = b && b->asked & cache_pages_of(i, from, to);
    }
    for (unsigned i = 0; end - first > c->count && i < c->count && !asked; i++) {
        const struct cache_block *b = &c->blocks[i];

        asked = meets(b, from, to) && b->asked & cache_pages_of(b->index, from, to);
    }
    return asked;
}

size_t cache_memory(const struct cache *c)
{
    return (size_t)(c->count - c->frames_free) * CACHE_BLOCK;
}

unsigned cache_frames(const struct cache *c)
{
    return c->count;
}

unsigned cache_frames_loose(const struct cache *c)
{
    return c->count - c->frames_held;
}

uint64_t cache_wasted_pages(const struct cache *c)
{
    return c->wasted;
}

const struct cache_block *cache_nth(const struct cache *c, unsigned i)
{
    return c->blocks[i].present ? &c->blocks[i] : NULL;
}
