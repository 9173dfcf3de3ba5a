/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interface of every source of blocks: an NBD server at the far end of a stream now, a URL
 * later.
 *
 * Life: the slot makes a source; it reports `ready` once, with what the far end has said of itself,
 * or `lost`. Between the two the engine submits requests, many at a time; the source answers them
 * in whatever order the far end does, and keeps none of them from overtaking another. `lost` is the
 * last event: all requests not yet complete are completed with SOURCE_LOST before it, also when the
 * far end ends the session by answering that it is shutting down. source_free() does the same and
 * then reports nothing more; it may be called from inside `lost`, never from inside a request's
 * `complete`.
 */
#ifndef PLATTER_BLOCK_SOURCE_H
#define PLATTER_BLOCK_SOURCE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/medium.h"
#include "base/part.h"
#include "base/stream.h"

struct source;

/* What the far end offers. Sizes in bytes. */
struct source_info {
    uint64_t size;      /* of the image; at least 1 */
    uint32_t block_min; /* every offset and length must be a multiple; a power of two, 1 to 65536 */
    uint32_t length_max;    /* the longest READ and WRITE it takes; a multiple of block_min, and at
                               least 4096 or the whole image */
    unsigned in_flight_max; /* how many requests it may be asked at once; at least 1 */
    bool read_only;         /* if so, of the following only can_flush and can_extents may be true */
    bool can_flush;
    bool can_fua;
    bool can_trim;
    bool can_write_zeroes;
    bool can_extents; /* it tells which ranges are zero */
};

enum source_op {
    SOURCE_READ,
    SOURCE_WRITE,
    SOURCE_FLUSH, /* offset and length are 0 */
    SOURCE_TRIM,
    SOURCE_WRITE_ZEROES,
    SOURCE_EXTENTS, /* which parts of the range are zero? */
};

/* One run of the medium, as the far end tells of it. */
struct source_extent {
    uint32_t length; /* bytes; at least 1 */
    bool zero;       /* it reads as zeroes; if not, nobody knows */
};

/* A request's error: the far end was lost before it answered. A write may or may not have been
 * done. No far end's own answer is ever this. */
#define SOURCE_LOST (-ENOTCONN)

/* One request to the far end. Owned by whoever submits it, until `complete`. */
struct source_request {
    /* Set by the submitter. */
    enum source_op op;
    bool fua;     /* WRITE, TRIM, WRITE_ZEROES: answered only when it is on stable storage */
    bool no_hole; /* WRITE_ZEROES: the range must stay allocated */
    uint64_t offset;
    uint32_t length; /* READ, WRITE: up to length_max; the others: any multiple of block_min */
    /* READ: where the bytes go, decoded straight into them; together `length` long. Their memory
     * and this array stay as they are until `complete`. */
    const struct part *parts;
    unsigned part_count;
    const uint8_t *data; /* WRITE: `length` bytes that stay as they are until `complete` */
    struct source_extent *extents; /* EXTENTS: where the answer goes */
    unsigned extent_room;          /* at least 1 */
    /* Exactly once: 0, the -errno the far end said, or SOURCE_LOST; may be called before
     * source_submit() returns. */
    void (*complete)(struct source_request *request, int error);

    /* Set by the source before `complete`. */
    uint32_t zero_bytes;   /* READ: bytes written as zeroes because the far end said "hole" */
    uint32_t copied_bytes; /* READ: bytes copied into the parts */
    /* EXTENTS: how many were told, at least 1; from `offset` on, without gaps. They may cover less
     * than was asked, and the last may go past it, but not past the medium. */
    unsigned extent_count;

    /* The source's own. */
    struct list link;
    uint64_t cookie;
};

struct source_events {
    void (*ready)(void *owner, const struct source_info *info);
    /*
     * `why` is how the end is named to people; `orderly` when the far end said goodbye itself;
     * `reason` is one phrase, never NULL.
     */
    void (*lost)(void *owner, enum stream_close why, bool orderly, const char *reason);
};

struct source_ops {
    void (*submit)(struct source *source, struct source_request *request);
    /* Ends the line to the far end with a goodbye that names the reason; no `lost` follows. */
    void (*close)(struct source *source, enum stream_close why, const char *reason);
    /* A word for the far end beside the bytes, where its transport has such a thing. */
    void (*tell)(struct source *source, const char *text);
    void (*free)(struct source *source);
};

/* The first member of every implementation's own struct. */
struct source {
    const struct source_ops *ops;
    const struct source_events *events;
    void *owner;
};

static inline void source_submit(struct source *s, struct source_request *request)
{
    s->ops->submit(s, request);
}

static inline void source_close(struct source *s, enum stream_close why, const char *reason)
{
    s->ops->close(s, why, reason);
}

static inline void source_tell(struct source *s, const char *text)
{
    s->ops->tell(s, text);
}

static inline void source_free(struct source *s)
{
    if (s)
        s->ops->free(s);
}

#endif
