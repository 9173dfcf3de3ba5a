/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interface of every source of blocks: an NBD server at the far end of a stream now, a URL
 * later.
 *
 * Life: the slot makes a source; it reports `ready` once, with what the far end has said of itself,
 * or `lost`. Between the two the engine submits requests, many at a time. `lost` is the last event:
 * all requests not yet complete are completed with -EIO before it. source_free() completes what is
 * left with -ECANCELED and then reports nothing more; it may be called from inside `lost`, never
 * from inside a request's `complete`.
 */
#ifndef PLATTER_BLOCK_SOURCE_H
#define PLATTER_BLOCK_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/medium.h"
#include "base/stream.h"

struct source;

/* What the far end offers. Sizes in bytes. */
struct source_info {
    uint64_t size;      /* of the image; at least 1 */
    uint32_t block_min; /* every offset and length must be a multiple; a power of two, 1 to 65536 */
    uint32_t length_max;    /* the longest request it takes; a multiple of block_min */
    unsigned in_flight_max; /* how many requests it may be asked at once; at least 1 */
    bool read_only;
    bool can_flush;
};

enum source_op {
    SOURCE_READ,
    SOURCE_FLUSH,
};

/* One request to the far end. Owned by whoever submits it, until `complete`. */
struct source_request {
    /* Set by the submitter. */
    enum source_op op;
    uint64_t offset;
    uint32_t length;
    uint8_t *data; /* where a read's bytes go: decoded straight into it, `length` long */
    /* Exactly once, 0 or -errno; may be called before source_submit() returns. */
    void (*complete)(struct source_request *request, int error);

    /* Set by the source: how many of the bytes it wrote as zeroes because the far end said "hole".
     */
    uint32_t zero_bytes;

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
