/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every sector of the image may hold, as seen by the machine: the judge of all data.
 *
 * A sector's bytes are made from its number and a *version*: 0 is the image as it came, every write
 * of the machine makes a new one, and VERSION_ZERO is all zeroes. So four bytes a sector say what
 * any memory should look like, and what a wrong one looks like instead.
 */
#ifndef PLATTER_SIM_CONTENT_H
#define PLATTER_SIM_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECTOR       512u
#define VERSION_ZERO UINT32_MAX

/* An operation of the machine that changes a range; ranges are whole sectors. */
enum change_kind {
    CHANGE_WRITE,  /* the range holds `version` afterwards */
    CHANGE_ZERO,   /* zeroes */
    CHANGE_DISCARD /* zeroes, or what it held */
};

struct change;

/* Forgets everything; the image has `sectors` of them, all of version 0. */
void content_init(size_t sectors);
void content_done(void);

/* The bytes of a version of a sector. Some sectors of version 0 are zeroes: the image's holes. */
void content_fill(uint64_t sector, uint32_t version, uint8_t out[SECTOR]);
/* Whether the image came with zeroes here. */
bool content_is_hole(uint64_t sector);

/* The machine asks for a change now; `order` is the request's place among all it asked. */
struct change *content_begin(enum change_kind kind, uint64_t sector, uint32_t count, uint64_t order,
                             uint32_t version);
/* The answer: 0 made it certain, anything else leaves it open whether it was done. Frees it. */
void content_end(struct change *change, int error);
/* Everything acknowledged but not yet flushed may be lost from now on, each by itself. */
void content_doubt(void);
/* A flush (or FUA of the range) was answered: acknowledged changes are not to be lost any more. */
void content_settle(uint64_t sector, uint64_t count);

/*
 * Whether a read with place `order`, answered now, may show `bytes` for the sector. Says in `why`
 * what it looks like otherwise.
 */
bool content_may_be(uint64_t sector, uint64_t order, const uint8_t bytes[SECTOR], char *why,
                    unsigned room);

#endif
