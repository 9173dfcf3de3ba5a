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

/* The longest request, in bytes; exports split longer ones. No kernel's nbd asks for more at once.
 */
#define REQUEST_LENGTH_MAX (2u << 20)

#define REQUEST_SEGMENTS_MAX 8

enum request_op {
    REQUEST_READ,
    REQUEST_FLUSH, /* offset and length are 0 */
};

struct request_segment {
    const uint8_t *data; /* NULL: zeroes */
    uint32_t length;
};

struct request {
    /* Set by the export. */
    enum request_op op;
    uint64_t offset; /* bytes; the whole range lies within the medium */
    uint32_t length; /* 1 to REQUEST_LENGTH_MAX */
    void (*complete)(struct request *request, int error); /* 0 or -errno */

    /* Set by the engine before complete(0) of a read. */
    struct request_segment segments[REQUEST_SEGMENTS_MAX];
    unsigned segment_count;

    /* The engine's own. */
    struct list link;
    struct engine_job *job;
};

#endif
