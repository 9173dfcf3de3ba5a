/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request of the machine, on its way through the engine. Exports make these; the engine
 * answers.
 *
 * The export owns the struct and keeps it until `complete` has been called, which happens exactly
 * once, possibly before engine_submit() returns. A read's data is then shown as segments, in order
 * and without gaps from `offset` on; they are the engine's memory, pinned until the export calls
 * engine_release(). Segments, not one buffer, so that replies can be sent from cache blocks in
 * place and zeroes need no memory at all.
 */
#ifndef PLATTER_BLOCK_REQUEST_H
#define PLATTER_BLOCK_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

/* The longest READ and WRITE, in bytes; exports split longer ones. No kernel's nbd asks for more at
 * once. */
#define REQUEST_LENGTH_MAX (2u << 20)

/* The longest read over cache blocks of 64 KiB, with both ends inside a block. */
#define REQUEST_SEGMENTS_MAX 33

enum request_op {
    REQUEST_READ,
    REQUEST_WRITE,
    REQUEST_FLUSH, /* offset and length are 0 */
    REQUEST_TRIM,
    REQUEST_WRITE_ZEROES,
};

struct request_segment {
    const uint8_t *data; /* NULL: zeroes */
    uint32_t length;
};

struct request {
    /* Set by the export. */
    enum request_op op;
    bool fua;            /* WRITE, TRIM, WRITE_ZEROES: complete only when it is on stable storage */
    bool no_hole;        /* WRITE_ZEROES: the range must stay allocated */
    uint64_t offset;     /* bytes; the whole range lies within the medium */
    uint32_t length;     /* READ, WRITE: 1 to REQUEST_LENGTH_MAX; TRIM, WRITE_ZEROES: at least 1 */
    const uint8_t *data; /* WRITE: stays as it is until `complete` */
    void (*complete)(struct request *request, int error); /* 0 or -errno */

    /* Set by the engine before complete(0) of a read. */
    struct request_segment segments[REQUEST_SEGMENTS_MAX];
    unsigned segment_count;

    /* The engine's own. */
    struct list link;
    struct list by_age;
    uint64_t since; /* when it was submitted */
    int error;
    struct read *read;
    struct write *write;
};

#endif
