/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The beginning of a structure that has not arrived whole: what lets the parts of an NBD machine
 * see each structure in one piece, wherever the stream is cut.
 *
 * A *step* is shown the bytes at hand, from the start of a structure on, and returns as decoders
 * do: below 0, 0 for "more", or what it consumed. It changes nothing when it returns 0, and waits
 * for no more than there is room here.
 */
#ifndef PLATTER_PROTO_NBD_HELD_H
#define PLATTER_PROTO_NBD_HELD_H

#include "proto/nbd.h"

/* The longest structure that is read as a whole: one with a string and some fixed fields around it.
 */
#define NBD_HELD_MAX (NBD_STRING_MAX + 256)

struct nbd_held {
    uint8_t bytes[NBD_HELD_MAX];
    size_t length; /* of the structure that the step has asked more for; 0: none */
};

typedef ssize_t nbd_step_fn(void *machine, const uint8_t *bytes, size_t length, void *event);

/*
 * Shows the step the bytes that arrived, behind those that are held. Returns how many of them were
 * consumed, more than 0 for any length above 0, or what the step returned below 0.
 */
ssize_t nbd_held_feed(struct nbd_held *held, const uint8_t *bytes, size_t length, nbd_step_fn *step,
                      void *machine, void *event);

#endif
