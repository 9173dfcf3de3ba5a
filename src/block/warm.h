/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every boot reads, found by looking at the medium itself, so that it can be fetched while the
 * machine is still counting its memory: the first and the last MiB; of a disk, its partition tables
 * and EFI system partitions; of an ISO 9660 image, its volume descriptors, its root directories,
 * and the boot images in its El Torito catalogue.
 *
 * A range from warm_next() is to be fetched, where it is not held already, and all its bytes are to
 * be shown to warm_saw(), those already held too: a small range is asked for because something in
 * it says where to look next, and may have been asked for before. Showing more than that, or in
 * other pieces, or again, does no harm; showing less only finds less.
 *
 * Pure, and of fixed size. The bytes are hostile: each number in them is checked.
 */
#ifndef PLATTER_BLOCK_WARM_H
#define PLATTER_BLOCK_WARM_H

#include <stdbool.h>
#include <stdint.h>

#define WARM_RANGES_MAX 32
#define WARM_LOOKS_MAX  8
#define WARM_LOOK_SIZE  2048

struct warm_range {
    uint64_t from, to; /* bytes: from < to */
};

enum warm_kind {
    WARM_NOTHING, /* the place is free */
    WARM_MBR,
    WARM_GPT,
    WARM_GPT_ENTRIES,
    WARM_FAT,
    WARM_DESCRIPTOR,
    WARM_CATALOGUE,
};

/* A structure whose bytes are awaited. */
struct warm_look {
    enum warm_kind kind;
    uint64_t offset;
    uint32_t length;
    uint32_t unit;    /* the length of one entry, of WARM_GPT_ENTRIES */
    uint64_t limit;   /* where the partition of WARM_FAT ends; 0: it is an image of its own */
    uint32_t missing; /* bytes */
    uint8_t bytes[WARM_LOOK_SIZE];
    uint8_t seen[WARM_LOOK_SIZE / 8]; /* one bit a byte */
};

struct warm {
    uint64_t size;
    uint64_t budget; /* bytes that may still be asked for */
    bool is_cd;
    unsigned looks_left; /* how many structures may still be looked at */
    struct warm_look looks[WARM_LOOKS_MAX];
    unsigned range_count;
    struct {
        struct warm_range range;
        bool given;
    } ranges[WARM_RANGES_MAX];
};

/* `budget`: how many bytes may be asked for in all, but for a few KiB. */
void warm_init(struct warm *w, uint64_t medium_size, bool is_cd, uint64_t budget);

/* The next range to fetch, of whole pages of 4096 bytes but at the end of the medium; false: none
 * now. */
bool warm_next(struct warm *w, struct warm_range *out);

/* These bytes are on the medium at `offset`; NULL: zeroes. There may be more to fetch then. */
void warm_saw(struct warm *w, uint64_t offset, const uint8_t *bytes, uint32_t length);

#endif
