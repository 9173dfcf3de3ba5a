/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Far ends: images on people's computers, and the lines to them. Stands where transports and
 * source/peer.c stand in the programs: peer_new() here takes a far end's stream and makes a source
 * of it, which answers late, out of order, with errors, or not at all, as chance has it.
 */
#ifndef PLATTER_SIM_FAR_END_H
#define PLATTER_SIM_FAR_END_H

#include <stdbool.h>
#include <stdint.h>

#include "base/stream.h"

/* How the world treats its lines; per mille unless said otherwise. */
struct far_end_chances {
    unsigned read_error;  /* of a read */
    unsigned write_error; /* of a write */
    unsigned mute;        /* of a request: it is never answered, until the line goes */
};

struct far_end_image {
    uint64_t size; /* bytes, whole sectors */
    bool writable;
    uint32_t block_min;
    uint32_t length_max;
    unsigned in_flight_max;
    bool can_fua, can_trim, can_write_zeroes, can_extents;
};

/* The one image that the far end has; other ones differ in what a few sectors of it hold. */
void far_end_init(const struct far_end_image *image, const struct far_end_chances *chances);
void far_end_set_chances(const struct far_end_chances *chances);
void far_end_done(void);

/* A line to the image. `other`: to another image of the same name and size. */
struct stream *far_end_call(bool other);
/* The newest line goes. `orderly`: with a goodbye. */
void far_end_cut(bool orderly);
/* The program at the far end goes with its line and comes back without what was not flushed. */
void far_end_restart(void);
/* Whether any flush has had an error so far. */
bool far_end_failed_a_flush(void);
/* Nothing comes through the newest line for so long (microseconds); as in source/peer.c, one that
 * is silent for 8 s is lost. */
void far_end_stall(uint64_t length);
/* Whether a line to it is open now. */
bool far_end_is_there(void);
/* It has answered all it was asked. */
bool far_end_is_done(void);
/* The token that the device has told it in a word; "" before that. */
const char *far_end_token(void);
/* The device's own program has died: its lines are gone, without a word to anybody. */
void far_end_device_died(void);

#endif
