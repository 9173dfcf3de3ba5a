/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The drive's memory: blocks of CACHE_BLOCK bytes of the medium, each known page by page, so that a
 * read that jumps fetches a page and not a block. Bounded; the block unused longest goes first.
 *
 * A block's pages are each absent, asked for, or present. Data are decoded straight into the block's
 * memory and sent from there; a block that was only ever found to be zeroes has no memory at all.
 *
 * Pure, and without policy: what to ask for, and when, is the engine's.
 */
#ifndef PLATTER_BLOCK_CACHE_H
#define PLATTER_BLOCK_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

#define CACHE_BLOCK       (256u << 10)
#define CACHE_PAGE        (4u << 10)
#define CACHE_BLOCK_PAGES 64 /* so that a block's pages are the bits of a uint64_t */

struct cache_block {
    struct list link; /* the cache's: by age, or free */
    struct cache_block *next_in_bucket;
    uint64_t index;  /* of the block in the medium */
    uint8_t *memory; /* CACHE_BLOCK bytes, or NULL while all that is present is zeroes */
    uint64_t present;
    uint64_t asked;  /* asked of the source and not yet answered; never in `present` too */
    uint64_t unread; /* present or asked, by read-ahead, and not yet read by the machine */
    unsigned pins;   /* in use by requests and by asks: kept while above 0 */
    struct list waiters; /* the engine's, of those who wait for pages of this block */
};

struct cache;

/* `blocks`: the bound, at least 1. 0 or -errno. */
int cache_new(unsigned blocks, struct cache **out);
/* Nothing may be pinned. NULL is allowed. */
void cache_free(struct cache *cache);

/*
 * The block, pinned once more for the caller: as it is, or taken anew with all pages absent. NULL
 * when it is not there and every block is pinned, or there is no memory. `*evicted_unread` grows by
 * the pages that read-ahead fetched in vain and that had to go for it.
 */
struct cache_block *cache_pin(struct cache *cache, uint64_t index, uint64_t *evicted_unread);
/* The block if it is there, not pinned; for looking only. */
struct cache_block *cache_look(struct cache *cache, uint64_t index);
void cache_unpin(struct cache *cache, struct cache_block *block);

/* Gives the block memory to decode into, filled with zeroes where pages are present. 0 or -ENOMEM. */
int cache_give_memory(struct cache *cache, struct cache_block *block);
/* Takes the memory of a block away again in which nothing but zeroes is present. */
void cache_drop_memory(struct cache *cache, struct cache_block *block);

/* How many more blocks could be pinned now that are not there yet. */
unsigned cache_room(const struct cache *cache);
/* Bytes of block memory held now. */
size_t cache_memory(const struct cache *cache);

/* The pages of a block that the bytes [from, to) of it touch; 0 <= from < to <= CACHE_BLOCK. */
uint64_t cache_pages(uint32_t from, uint32_t to);

#endif
