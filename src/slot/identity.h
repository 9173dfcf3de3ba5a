/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an image is known again by: digests of some of its pages, taken when it was given, at places
 * nobody could foresee. An image that was changed, or another of the same name and size, differs at
 * its ends (where file systems, partition tables and boot code keep what is their own) or, the more
 * of it differs the surer, at one of the random places.
 */
#ifndef PLATTER_SLOT_IDENTITY_H
#define PLATTER_SLOT_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#define IDENTITY_PAGE        4096u
#define IDENTITY_SAMPLES_MAX 32
#define IDENTITY_DIGEST      32 /* bytes of a SHA-256 */

/* One page: IDENTITY_PAGE bytes, or as many as the image has left from there. */
struct identity_sample {
    uint64_t offset; /* a multiple of IDENTITY_PAGE, below the image's size */
    bool known;      /* `digest` is that of the page as it should be */
    uint8_t digest[IDENTITY_DIGEST];
};

struct identity {
    uint64_t size; /* of the image, bytes */
    unsigned count;
    struct identity_sample samples[IDENTITY_SAMPLES_MAX];
};

/*
 * Chooses the pages of an image of `size` bytes: the first, the one with a CD's volume descriptor,
 * the last, and random ones; all of them if they are few. None is known yet. 0, or -errno if the
 * kernel gives no random numbers.
 */
int identity_choose(struct identity *identity, uint64_t size);

/* How many bytes the page at `offset` has. */
uint32_t identity_page_length(const struct identity *identity, uint64_t offset);

/* The digest of a page. False when the library fails, as it does without memory. */
bool identity_digest(const uint8_t *bytes, uint32_t length, uint8_t digest[IDENTITY_DIGEST]);

/* The machine writes here: what is known of pages in the range is not so any more. Whether any
 * was. */
bool identity_void(struct identity *identity, uint64_t offset, uint64_t length);

#endif
