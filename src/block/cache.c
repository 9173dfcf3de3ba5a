/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks by index: a hash table of chains, and a list by age. All block structs are made at once;
 * their memory comes when bytes do, and stays with the struct for its next use, since a busy drive
 * fills every block sooner or later.
 *
 * What always holds: a block is in `free_blocks` or in a bucket and in `by_age`; a pinned block is in
 * a bucket and in no list; present, asked and the rest are 0 in a free block.
 */
#include "block/cache.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct cache {
    unsigned block_count;
    unsigned bucket_count; /* a power of two */
    unsigned pinned;
    size_t memory;
    struct list free_blocks;
    struct list by_age; /* unpinned, the oldest first */
    struct cache_block **buckets;
    struct cache_block *blocks;
};

int cache_new(unsigned blocks, struct cache **out)
{
    struct cache *c = calloc(1, sizeof *c);

    if (!c)
        return -ENOMEM;
    c->block_count = blocks;
    for (c->bucket_count = 16; c->bucket_count < blocks; c->bucket_count *= 2)
        ;
    c->buckets = calloc(c->bucket_count, sizeof(struct cache_block *));
    c->blocks = calloc(blocks, sizeof *c->blocks);
    if (!c->buckets || !c->blocks) {
        free(c->buckets);
        free(c->blocks);
        free(c);
        return -ENOMEM;
    }
    list_init(&c->free_blocks);
    list_init(&c->by_age);
    for (unsigned i = 0; i < blocks; i++) {
        list_init(&c->blocks[i].waiters);
        list_append(&c->free_blocks, &c->blocks[i].link);
    }
    *out = c;
    return 0;
}

void cache_free(struct cache *c)
{
    if (!c)
        return;
    for (unsigned i = 0; i < c->block_count; i++)
        free(c->blocks[i].memory);
    free(c->blocks);
    free(c->buckets);
    free(c);
}

static struct cache_block **bucket_of(struct cache *c, uint64_t index)
{
    /* Streams read blocks in a row, so the low bits alone spread well. */
    return &c->buckets[index & (c->bucket_count - 1)];
}

struct cache_block *cache_look(struct cache *c, uint64_t index)
{
    struct cache_block *b = *bucket_of(c, index);

    while (b && b->index != index)
        b = b->next_in_bucket;
    return b;
}

static void forget(struct cache *c, struct cache_block *block)
{
    struct cache_block **at = bucket_of(c, block->index);

    while (*at != block)
        at = &(*at)->next_in_bucket;
    *at = block->next_in_bucket;
    block->next_in_bucket = NULL;
    block->present = 0;
    block->unread = 0;
}

/* A block to use anew, out of all lists; the oldest one where none is free. */
static struct cache_block *take(struct cache *c, uint64_t *evicted_unread)
{
    struct list *link = list_take_first(&c->free_blocks);
    struct cache_block *b;

    if (link)
        return list_entry(link, struct cache_block, link);
    link = list_take_first(&c->by_age);
    if (!link)
        return NULL;
    b = list_entry(link, struct cache_block, link);
    *evicted_unread += (unsigned)__builtin_popcountll(b->unread);
    forget(c, b);
    return b;
}

struct cache_block *cache_pin(struct cache *c, uint64_t index, uint64_t *evicted_unread)
{
    struct cache_block *b = cache_look(c, index);

    if (!b) {
        b = take(c, evicted_unread);
        if (!b)
            return NULL;
        b->index = index;
        b->next_in_bucket = *bucket_of(c, index);
        *bucket_of(c, index) = b;
    }
    if (b->pins++ == 0) {
        list_remove(&b->link);
        c->pinned++;
    }
    return b;
}

void cache_unpin(struct cache *c, struct cache_block *b)
{
    if (--b->pins > 0)
        return;
    c->pinned--;
    if (b->present) {
        list_append(&c->by_age, &b->link);
        return;
    }
    forget(c, b);
    list_append(&c->free_blocks, &b->link);
}
