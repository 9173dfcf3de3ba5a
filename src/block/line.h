/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the line to the far end can carry, judged from the answers alone: how many bytes may be in
 * flight so that it is always busy and a read that jumps still meets only a short queue.
 *
 * Whoever asks may send another ask of line_ask_size() while the bytes in flight are fewer than
 * line_window(): the last ask may pass the window by its own length, and the window is made for
 * that. A small read that the machine waits for need not mind the window.
 *
 * Pure, and of fixed size. Times are microseconds on a clock that only goes forward.
 */
#ifndef PLATTER_BLOCK_LINE_H
#define PLATTER_BLOCK_LINE_H

#include <stdbool.h>
#include <stdint.h>

/* Kept with each ask, from line_asked() to line_answered() or line_lost(). */
struct line_mark {
    uint32_t bytes;        /* asked for */
    unsigned stalls;       /* the line's, when it left */
    bool calm;             /* it met no queue of our own making */
    uint64_t sent_at;      /* when it left */
    uint64_t delivered;    /* the line's, when it left */
    uint64_t delivered_at; /* and when that had last grown */
    uint64_t sent_from;    /* when the ask that made it grow had left */
};

struct line {
    unsigned places;       /* how many asks may be on their way at once */
    uint64_t in_flight;    /* bytes asked for and not answered */
    uint64_t filled_to;    /* what that was when an ask last left */
    uint64_t delivered;    /* payload bytes since line_init() */
    uint64_t delivered_at; /* when that last grew, or when an ask last found the line idle */
    uint64_t sent_from;    /* when the ask last answered had left */
    uint64_t starved_at;   /* when fewer bytes than the line can hold were last in flight */
    bool has_starved;

    /* The rate, bytes a second: the best of this period and the one before. */
    uint64_t rate_now, rate_before;
    uint64_t period_at; /* when this period began */

    /* The round trip, microseconds. */
    uint64_t base;  /* without a queue of our own: what the window is made for; 0: unknown */
    uint64_t least; /* the shortest of this period and the one before, for people */
    uint64_t least_before;
    uint64_t least_at;   /* when this period began */
    uint64_t checked_at; /* when `base` was last confirmed */
    bool dipping;        /* the queue is being emptied to look at it again */
    unsigned dip_count;
    uint64_t dip_sum;

    /* Start-up: the window doubles as long as the rate follows. */
    bool starting;
    bool first_round;    /* nothing is known but the first answers */
    uint64_t full_rate;  /* the best rate when it last grew by a quarter */
    uint64_t round_from; /* `delivered` when this round began */
    uint64_t round_least;
    unsigned flat_rounds;

    /* Silences. */
    unsigned stalls;
    bool excused; /* the last one has not been followed by a sample of its own yet */
    uint64_t resumed_at;
    uint64_t resumed_delivered;
};

/*
 * A new line of which nothing is known but how many asks its far end takes at once, at least 1;
 * also whenever the far end has come back.
 */
void line_init(struct line *line, unsigned places);

/* An ask for `bytes` leaves. The mark is filled in. */
void line_asked(struct line *line, struct line_mark *mark, uint32_t bytes, uint64_t now);

/*
 * It has been answered whole, with `travelled` bytes of payload: less than was asked for when
 * there were holes, 0 for an error.
 */
void line_answered(struct line *line, const struct line_mark *mark, uint32_t travelled,
                   uint64_t now);

/* It has ended without an answer. */
void line_lost(struct line *line, const struct line_mark *mark);

/* Bytes that may be in flight. */
uint64_t line_window(const struct line *line);

/* The best length of one ask ahead: 64 KiB to 1 MiB, a multiple of 64 KiB. */
uint32_t line_ask_size(const struct line *line);

/* The least round trip seen lately, in microseconds; 0: unknown. */
uint64_t line_round_trip(const struct line *line);

/* Bytes a second; 0: unknown. */
uint64_t line_rate(const struct line *line);

#endif
