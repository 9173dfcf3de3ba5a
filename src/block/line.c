/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line's rate and round trip, and from the two the bytes in flight that fill it.
 *
 * The line is one queue before one bottleneck. Asked for too little, it idles; asked for too much,
 * everything waits in the queue and a read that jumps waits behind it. The product of rate and
 * empty round trip lies between the two, and neither factor can be seen directly while the other
 * is at work: a full line hides the round trip, a calm one hides the rate. The way out is that of
 * BBR (Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 14(5), 2016), with a
 * window in the place of pacing, since what leaves here is only small asks:
 *
 * - The rate is the best lately delivered over at least a round trip. A sample taken while fewer
 *   bytes than the line can hold were in flight says what was asked for, not what the line can do:
 *   it may raise the rate and never lower it.
 * - The round trip is that of asks that met no queue of ours. While the line is kept full there are
 *   none; so when the last is ten seconds old, or the rate has fallen (which is how a longer way
 *   looks too), the window dips under the product until a few calm asks have been answered.
 * - The window is the product and a quarter: the margin keeps the queue from running empty, shows
 *   a line that has become faster, and costs a jump a quarter of a round trip. In start-up, and
 *   whenever the rate grows by a quarter, it is twice the product, until a round brings no
 *   growth but a queue, or three bring none.
 * - On a short line the product is a few KiB while the far end works best on many requests at once:
 *   the window is never under ten milliseconds' worth of bytes, up to a bound.
 * - A silence far longer than round trip and rate explain says nothing about either. What was in
 *   flight through it is measured from its end. One silence is so excused, and the next only after
 *   an ask that left since has been answered; so a line that has really become that slow is
 *   believed.
 *
 * What always holds: `in_flight` is the sum of the marks not yet answered or lost; `base` and the
 * rates stay under their bounds, so no product overflows.
 */
#include "block/line.h"

#include <string.h>

#include "base/minmax.h"

#define ASK_STEP (64u << 10)
#define ASK_MAX  (1u << 20)
/*
 * An ask is at most this long on the line, so that others do not wait for it, unless there would be
 * too many. On a fast line it is a quarter of the window, by powers of two: each answer costs both
 * ends about the same whatever its length, and a browser least where its messages have few lengths.
 */
#define ASK_TIME 5000u
#define ASKS_MAX 32

#define WINDOW_FIRST ((uint64_t)768 << 10)
#define WINDOW_MAX   ((uint64_t)32 << 20)
/* A window by time and not by round trip: this many microseconds of the rate, within bounds. */
#define FLOOR_TIME 10000u
#define FLOOR_MIN  ((uint64_t)128 << 10)
#define FLOOR_MAX  ((uint64_t)8 << 20)

#define SECOND      1000000u
#define BASE_MAX    (60u * SECOND)
#define RATE_MAX    ((uint64_t)100 << 30)
#define PERIOD_MIN  (SECOND / 4)
#define BASE_STALE  (10u * SECOND)
#define LEAST_TIME  (10u * SECOND)
#define DIP_SAMPLES 4
#define DIP_GAP     SECOND
#define STALL_MIN   SECOND

void line_init(struct line *line, unsigned places)
{
    memset(line, 0, sizeof *line);
    line->places = places;
    line->starting = true;
    line->first_round = true;
}

uint64_t line_rate(const struct line *line)
{
    return max_u64(line->rate_now, line->rate_before);
}

uint64_t line_round_trip(const struct line *line)
{
    if (!line->least || !line->least_before)
        return max_u64(line->least, line->least_before);
    return min_u64(line->least, line->least_before);
}

/* What the line holds without a queue, in bytes. */
static uint64_t product(const struct line *line)
{
    return line_rate(line) * line->base / SECOND;
}

static uint64_t window_floor(const struct line *line)
{
    uint64_t bytes = line_rate(line) * FLOOR_TIME / SECOND;

    return min_u64(max_u64(bytes, FLOOR_MIN), FLOOR_MAX);
}

/* Without dips, so that the length of asks does not follow them. */
static uint64_t steady_window(const struct line *line)
{
    uint64_t bytes = product(line);

    bytes = line->starting ? bytes * 2 : bytes * 5 / 4;
    if (line->first_round)
        bytes = max_u64(bytes, WINDOW_FIRST);
    return min_u64(max_u64(bytes, window_floor(line)), WINDOW_MAX);
}

static uint64_t dip_window(const struct line *line)
{
    return max_u64(product(line) * 3 / 4, ASK_STEP);
}

uint64_t line_window(const struct line *line)
{
    return line->dipping ? dip_window(line) : steady_window(line);
}

static uint64_t round_up(uint64_t bytes)
{
    return (bytes + ASK_STEP - 1) / ASK_STEP * ASK_STEP;
}

uint32_t line_ask_size(const struct line *line)
{
    uint64_t window = steady_window(line);
    uint64_t most = min_u64(window / 4, line_rate(line) * ASK_TIME / SECOND);
    uint64_t least = window / ASKS_MAX;
    uint64_t bytes = ASK_STEP;

    while (bytes * 2 <= most)
        bytes *= 2;
    bytes = max_u64(bytes, least - least % ASK_STEP);
    /* A few places must hold the window all the same, or they would be the bound and not the line.
     */
    bytes = max_u64(bytes, round_up(window / line->places));
    return (uint32_t)min_u64(max_u64(bytes, ASK_STEP), ASK_MAX);
}

static void note_starved(struct line *line, uint64_t now)
{
    line->starved_at = now;
    line->has_starved = true;
}

void line_asked(struct line *line, struct line_mark *mark, uint32_t bytes, uint64_t now)
{
    if (line->in_flight == 0) {
        line->delivered_at = now;
        line->sent_from = now;
        note_starved(line, now);
    }
    mark->bytes = bytes;
    mark->stalls = line->stalls;
    /* Asks that leave together queue up behind each other; in a dip, answers keep them apart. */
    mark->calm = line->in_flight == 0 || (line->dipping && line->in_flight < product(line) * 3 / 4);
    mark->sent_at = now;
    mark->delivered = line->delivered;
    mark->delivered_at = line->delivered_at;
    mark->sent_from = line->sent_from;
    line->in_flight += bytes;
    line->filled_to = line->in_flight;
}

static void dip_begin(struct line *line, uint64_t now)
{
    line->dipping = true;
    line->dip_count = 0;
    line->dip_sum = 0;
    line->checked_at = now; /* only asks that leave later are calm in this one's sense */
}

/* Where the round trip has become shorter, what was thought to be calm was not: look again. */
static void dip_judge(struct line *line, uint64_t now)
{
    uint64_t mean = line->dip_sum / DIP_SAMPLES;
    bool again = mean < line->base - line->base / 8;

    line->base = mean;
    dip_begin(line, now);
    line->dipping = again;
}

static void note_least(struct line *line, uint64_t took, uint64_t now)
{
    if (now - line->least_at >= LEAST_TIME) {
        line->least_before = line->least;
        line->least = 0;
        line->least_at = now;
    }
    if (!line->least || took < line->least)
        line->least = took;
}

/*
 * `base` is a mean and not a minimum: where answers take now 20 and now 30 ms, a window for 20
 * would not fill the line, the rate would seem to have fallen, and the window would follow it down.
 */
static void note_round_trip(struct line *line, const struct line_mark *mark, uint64_t now)
{
    uint64_t took = min_u64(max_u64(now - mark->sent_at, 1), BASE_MAX);

    note_least(line, took, now);
    if (!line->round_least || took < line->round_least)
        line->round_least = took;
    if (!line->base) {
        line->base = took;
        line->checked_at = now;
    } else if (line->dipping) {
        if (mark->calm && mark->sent_at > line->checked_at) {
            line->dip_sum += took;
            if (++line->dip_count == DIP_SAMPLES)
                dip_judge(line, now);
        }
    } else if (mark->calm) {
        /* One late answer, as of a disk that had to spin up, must not count for many. */
        line->base = (line->base * 3 + min_u64(took, line->base * 2)) / 4;
        line->checked_at = now;
    }
    if (line->base > took + took / 4)
        line->base = took + took / 4; /* a queue only ever adds */
    if (!line->dipping && !line->starting && now - line->checked_at >= BASE_STALE)
        dip_begin(line, now);
}

/* Bytes a second that this answer stands for; 0 when it shows nothing. */
static uint64_t rate_sample(const struct line *line, const struct line_mark *mark, uint64_t now)
{
    uint64_t bytes = line->delivered - mark->delivered;
    uint64_t took = max_u64(now - mark->delivered_at, mark->sent_at - mark->sent_from);

    if (mark->stalls != line->stalls) {
        bytes = line->delivered - line->resumed_delivered;
        took = now - line->resumed_at;
        if (took < line->base)
            return 0;
    }
    if (took == 0)
        took = 1;
    return bytes > RATE_MAX ? RATE_MAX : min_u64(bytes * SECOND / took, RATE_MAX);
}

/* A period ends: what was best before it is forgotten. */
static void turn_period(struct line *line, uint64_t now)
{
    uint64_t was = line_rate(line);

    line->rate_before = line->rate_now;
    line->rate_now = 0;
    line->period_at = now;
    if (line->starting)
        return;
    if (line_rate(line) < was - was / 5 && !line->dipping && now - line->checked_at >= DIP_GAP)
        dip_begin(line, now);
    line->full_rate = line_rate(line);
}

static void note_rate(struct line *line, const struct line_mark *mark, uint64_t now)
{
    uint64_t sample = rate_sample(line, mark, now);
    bool starved = line->has_starved && line->starved_at >= mark->delivered_at;

    if (sample == 0 || (starved && sample <= line_rate(line)))
        return;
    if (now - line->period_at >= max_u64(PERIOD_MIN, line->base * 2) && line->rate_now)
        turn_period(line, now);
    line->rate_now = max_u64(line->rate_now, sample);
}

/* A round is over when an ask that left in it is answered. */
static void note_round(struct line *line, const struct line_mark *mark)
{
    uint64_t rate = line_rate(line);
    bool queue;

    if (rate >= line->full_rate + line->full_rate / 4 && rate > 0) {
        line->full_rate = rate;
        line->flat_rounds = 0;
        line->starting = true;
    }
    if (mark->delivered < line->round_from)
        return;
    if (line->round_from > 0)
        line->first_round = false;
    queue = line->round_least > line->base + line->base / 2;
    line->round_from = line->delivered;
    line->round_least = 0;
    if (!line->starting || (line->has_starved && line->starved_at >= mark->sent_at))
        return;
    if (++line->flat_rounds >= (queue ? 2 : 4))
        line->starting = false;
}

static void note_silence(struct line *line, uint64_t now)
{
    uint64_t quiet = now - line->delivered_at;
    uint64_t rate = line_rate(line);
    uint64_t usual = max_u64(STALL_MIN, line->base * 4);

    if (rate > 0)
        usual = max_u64(usual, line_ask_size(line) * (uint64_t)SECOND * 4 / rate);
    if (!line->base || quiet < usual || line->excused)
        return;
    line->stalls++;
    line->excused = true;
    line->resumed_at = now;
    line->resumed_delivered = line->delivered;
    line->period_at += min_u64(quiet, now - line->period_at);
}

void line_answered(struct line *line, const struct line_mark *mark, uint32_t travelled,
                   uint64_t now)
{
    note_silence(line, now);
    /* Several answers at once are no sign: what counts is how far it was filled after the last. */
    if (travelled < mark->bytes || line->filled_to < product(line))
        note_starved(line, now);
    line->in_flight -= mark->bytes;
    line->delivered += travelled;
    line->delivered_at = now;
    line->sent_from = max_u64(line->sent_from, mark->sent_at);
    if (mark->stalls == line->stalls) {
        line->excused = false;
        note_round_trip(line, mark, now);
    }
    note_rate(line, mark, now);
    note_round(line, mark);
}

void line_lost(struct line *line, const struct line_mark *mark)
{
    line->in_flight -= mark->bytes;
}
