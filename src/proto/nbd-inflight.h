/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an NBD client has asked and not yet heard the end of: a fixed table of requests, and for
 * each read the ranges that have arrived. A far end that answers twice, overlaps itself, or leaves
 * bytes out is caught here. Pure, and of fixed size.
 */
#ifndef PLATTER_PROTO_NBD_INFLIGHT_H
#define PLATTER_PROTO_NBD_INFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/part.h"

#define NBD_INFLIGHT_MAX 64

/*
 * The most separate ranges one reply may be scattered into while it grows. Servers send their
 * chunks in order, where one range is enough; the rest is room for those that read in parallel.
 */
#define NBD_RANGES_MAX 32

struct nbd_range {
    uint32_t from; /* relative to the request's offset */
    uint32_t to;   /* the first byte after it */
};

struct nbd_inflight {
    bool used;
    bool kept;     /* not to be used again yet */
    uint16_t type; /* NBD_CMD_... */
    uint64_t cookie;
    uint64_t offset;
    uint32_t length;
    const struct part *parts; /* a read's destination, together `length` bytes, the asker's */
    uint32_t holes;           /* bytes of it the far end said are zero without sending them */
    uint32_t copied;          /* bytes of it the far end has sent */
    uint64_t told;            /* bytes of its range whose status has come */
    int error;                /* -errno of the first error chunk; 0 */
    unsigned range_count;
    struct nbd_range ranges[NBD_RANGES_MAX]; /* ascending, apart from each other */
};

struct nbd_inflight_table {
    uint64_t next_cookie;
    struct nbd_inflight slots[NBD_INFLIGHT_MAX];
};

enum nbd_cover {
    NBD_COVER_OK,
    NBD_COVER_OUTSIDE,   /* not within the request, or empty */
    NBD_COVER_OVERLAP,   /* some of it has come before */
    NBD_COVER_SCATTERED, /* lawful, but more ranges than the table holds */
};

void nbd_inflight_init(struct nbd_inflight_table *table);
/* A free slot under a fresh cookie, all else zero; NULL when all are used. */
struct nbd_inflight *nbd_inflight_add(struct nbd_inflight_table *table);
/* The request with this cookie, or NULL. */
struct nbd_inflight *nbd_inflight_find(struct nbd_inflight_table *table, uint64_t cookie);
void nbd_inflight_remove(struct nbd_inflight *slot);
unsigned nbd_inflight_index(const struct nbd_inflight_table *table,
                            const struct nbd_inflight *slot);

/* Notes that `length` bytes at the image's `offset` arrive now. */
enum nbd_cover nbd_inflight_cover(struct nbd_inflight *slot, uint64_t offset, uint32_t length);
/* Whether every byte that was asked has arrived. */
bool nbd_inflight_is_whole(const struct nbd_inflight *slot);

#endif
