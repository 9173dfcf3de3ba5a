/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an engine counts, apart from the engine, so that an API can tell of it without knowing one.
 * Running totals since engine_new(), unless "now" is said. Whoever adds a number here adds its row
 * to the table in api/metrics.c.
 */
#ifndef PLATTER_BLOCK_COUNTERS_H
#define PLATTER_BLOCK_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

struct engine_counters {
    uint64_t requests;        /* answered, with or without an error */
    uint64_t errors;          /* of those, with an error */
    uint64_t reads;           /* answered */
    uint64_t writes;          /* answered: WRITE, TRIM, WRITE_ZEROES */
    uint64_t bytes_read;      /* answered to the machine */
    uint64_t bytes_written;   /* answered to the machine */
    uint64_t hits, misses;    /* reads answered without waiting, and with waiting, for the source */
    uint64_t bytes_fetched;   /* received from the source for whatever reason, zeroes included */
    uint64_t bytes_warmed;    /* of these, by the warm-up */
    uint64_t bytes_ahead;     /* of these, by read-ahead */
    uint64_t bytes_wasted;    /* of these, by read-ahead, and evicted or dropped unread */
    uint64_t bytes_zero;      /* known to be zero without a payload */
    uint64_t bytes_copied;    /* image bytes copied in memory, on reads */
    uint64_t asks;            /* requests to the source */
    uint64_t round_trip;      /* microseconds, the least seen lately; 0: not known yet */
    uint64_t line_rate;       /* bytes per second; 0: not known yet */
    uint64_t window;          /* bytes that may be in flight now */
    unsigned requests_open;   /* not yet answered, now */
    unsigned asks_in_flight;  /* asked of the source and not yet answered, now */
    uint64_t bytes_in_flight; /* of those, now */
    size_t memory;            /* bytes of the image held, now */
    unsigned suspensions;     /* how often the source was lost and waited for */
};

#endif
