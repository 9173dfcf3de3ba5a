/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The drive's memory: blocks of CACHE_BLOCK bytes of the medium, each known page by page, so that a
 * read that jumps fetches a page and not a block. Bounded; the block unused longest goes first.
 *
 * A block's pages are each absent, asked for, or present. Data are decoded straight into the
 * block's memory and sent from there; a block of which only zeroes are known has no memory at all.
 *
 * Memory comes in *frames* of CACHE_BLOCK bytes from one arena, of which the system gives only what
 * has been touched. The write log takes its frames from here too, so one bound holds for both.
 *
 * Pure, and without policy: what to ask for, and when, is the engine's.
 */
#ifndef PLATTER_BLOCK_CACHE_H
#define PLATTER_BLOCK_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

#define CACHE_BLOCK       (64u << 10)
#define CACHE_PAGE        (4u << 10)
#define CACHE_BLOCK_PAGES 16u /* the bits of a uint16_t */

struct cache_block {
    struct list link; /* the cache's: by age, or free; a pinned block is in neither */
    struct cache_block *next_in_bucket;
    uint64_t index;      /* of the block in the medium */
    uint8_t *memory;     /* CACHE_BLOCK bytes, or NULL while all that is present is zeroes */
    struct list waiters; /* the engine's: reads that wait for pages of this block */
    uint16_t present;    /* pages whose bytes are known */
    uint16_t asked;      /* asked of the source and not yet answered; never present too */
    uint16_t unread;     /* present or asked thanks to read-ahead, and not yet read */
    unsigned pins;       /* kept while above 0 */
};

struct cache;

/* `bytes`: the bound; at least one block. 0 or -errno. */
int cache_new(size_t bytes, struct cache **out);
/* Nothing may be pinned. NULL is allowed. */
void cache_free(struct cache *cache);

/*
 * The block, pinned once more: as it is, or taken anew with all pages absent. NULL when it is not
 * there and every block is pinned.
 */
struct cache_block *cache_pin(struct cache *cache, uint64_t index);
/* The last pin gone, the block is the youngest; one that holds nothing is free at once. */
void cache_unpin(struct cache *cache, struct cache_block *block);
/* The block if it is there; for looking only. */
struct cache_block *cache_look(const struct cache *cache, uint64_t index);

/* Gives a pinned block memory to decode into, zero where pages are present. False: there is none,
 * as all of it is pinned. */
bool cache_give_memory(struct cache *cache, struct cache_block *block);
/* Takes the memory of a block away again that holds nothing but zeroes. */
void cache_drop_memory(struct cache *cache, struct cache_block *block);

/* One frame for another use, at the cost of the oldest block; NULL when all are pinned. */
uint8_t *cache_take_frame(struct cache *cache);
void cache_give_back_frame(struct cache *cache, uint8_t *frame);

/* Forgets what is present in [from, to) of the medium, pinned or not; both are page boundaries. */
void cache_drop(struct cache *cache, uint64_t from, uint64_t to);
/* Whether any page of [from, to) is asked for. */
bool cache_is_asked(const struct cache *cache, uint64_t from, uint64_t to);

/* Bytes of memory in use, the frames taken included. */
size_t cache_memory(const struct cache *cache);
/* How many frames there are, and how many of them no pinned block and no other use has. */
unsigned cache_frames(const struct cache *cache);
unsigned cache_frames_loose(const struct cache *cache);
/* Pages read ahead and dropped or evicted unread, since cache_new(). */
uint64_t cache_wasted_pages(const struct cache *cache);
/* The blocks that hold anything, for looking: `i` counts from 0 up to cache_frames(); NULL: none
 * there. */
const struct cache_block *cache_nth(const struct cache *cache, unsigned i);

/* The pages of a block that its bytes [from, to) touch; 0 <= from < to <= CACHE_BLOCK. */
static inline uint16_t cache_pages(uint32_t from, uint32_t to)
{
    uint32_t upto = (to + CACHE_PAGE - 1) / CACHE_PAGE;

    return (uint16_t)((1u << upto) - (1u << from / CACHE_PAGE));
}

/* The pages of block `index` that [from, to) of the medium touches; they must meet. */
static inline uint16_t cache_pages_of(uint64_t index, uint64_t from, uint64_t to)
{
    uint64_t start = index * CACHE_BLOCK;

    return cache_pages(from > start ? (uint32_t)(from - start) : 0,
                       to - start < CACHE_BLOCK ? (uint32_t)(to - start) : CACHE_BLOCK);
}

#endif
