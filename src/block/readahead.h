/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds up to READAHEAD_STREAMS sequential streams among the machine's interleaved reads and says
 * what to fetch ahead of each.
 *
 * Pure, and of fixed size. Positions are bytes of the medium.
 */
#ifndef PLATTER_BLOCK_READAHEAD_H
#define PLATTER_BLOCK_READAHEAD_H

#include <stdbool.h>
#include <stdint.h>

#define READAHEAD_STREAMS    8
#define READAHEAD_CANDIDATES 16

struct readahead_stream {
    bool used;
    bool held;        /* until it is read on: fetching ahead of it failed */
    uint64_t start;   /* its first byte */
    uint64_t seen;    /* behind its last byte read */
    uint64_t read;    /* bytes read of these; fewer when some are still to come */
    uint64_t fetched; /* behind the last byte handed out; never before `seen` */
    uint64_t ahead;   /* how far beyond `seen` to fetch */
    uint64_t read_at; /* the number of its last read */
};

struct readahead {
    uint64_t size;
    uint64_t reads;          /* so far: the clock of `read_at` */
    uint64_t useful, wasted; /* bytes streams have read, and what was handed out for nothing */
    struct readahead_stream streams[READAHEAD_STREAMS];
    struct readahead_stream candidates[READAHEAD_CANDIDATES]; /* read once */
};

/* A range worth fetching: from < to. */
struct readahead_want {
    uint64_t from, to;
};

void readahead_init(struct readahead *r, uint64_t medium_size);

/*
 * The machine reads this. `window`: bytes the line may hold in flight; `room`: bytes of cache that
 * reading ahead may fill, for all streams together. True when the read continues a stream.
 */
bool readahead_read(struct readahead *r, uint64_t offset, uint32_t length, uint64_t window,
                    uint64_t room);

/*
 * The next range to fetch, at most `length_max` long, of the stream that is nearest to running dry;
 * it counts as fetched from now on. False: nothing now.
 */
bool readahead_next(struct readahead *r, uint32_t length_max, struct readahead_want *out);

/*
 * The range handed out from `from` on could not be fetched after all: the stream starts again from
 * there when it is read on.
 */
void readahead_drop(struct readahead *r, uint64_t from);

#endif
