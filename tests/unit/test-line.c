/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line's estimates against simulated lines: a delay each way, a rate, one queue before it, a
 * far end with a time of its own for each ask, and someone who always asks for as much as the
 * window allows. Simulated time only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "block/line.h"

#define MS      1000u
#define SECOND  1000000u
#define MIB     ((uint64_t)1 << 20)
#define MBIT100 12500000u
#define ASKS    1024

struct ask {
    struct line_mark mark;
    uint64_t answered_at; /* when its last byte comes in */
    uint64_t left_at;     /* when its last byte leaves the queue */
};

struct sim {
    struct line line;
    uint64_t now;
    uint64_t rate;     /* bytes a second */
    uint64_t delay;    /* each way */
    uint64_t service;  /* the far end's time for each ask, one after another */
    uint64_t jitter;   /* up to this much more on the way back, at random; order is kept */
    uint64_t batch;    /* answers are looked at only at multiples of this */
    uint64_t mute_to;  /* until then nothing is sent by the far end */
    uint64_t free_at;  /* when the queue will be empty */
    uint64_t last_at;  /* when the latest answer comes in */
    uint64_t received; /* bytes */
    uint64_t queue_max;
    uint32_t seed;
    unsigned asks_max; /* as a far end may limit them */
    struct ask asks[ASKS];
    unsigned first, count;
};

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void sim_init(struct sim *s, uint64_t rate, uint64_t round_trip)
{
    memset(s, 0, sizeof *s);
    line_init(&s->line, 64);
    s->now = SECOND;
    s->rate = rate;
    s->delay = round_trip / 2;
    s->asks_max = 64;
    s->seed = 1;
}

static void sim_ask(struct sim *s, uint32_t bytes)
{
    struct ask *a = &s->asks[(s->first + s->count++) % ASKS];
    uint64_t start = later(later(s->now + s->delay, s->free_at), s->mute_to) + s->service;
    uint64_t shake = 0;

    assert_true(s->count <= ASKS);
    if (s->jitter) {
        s->seed = s->seed * 1103515245u + 12345u;
        shake = (s->seed >> 8) % s->jitter;
    }
    line_asked(&s->line, &a->mark, bytes, s->now);
    a->left_at = start + (uint64_t)bytes * SECOND / s->rate;
    s->free_at = a->left_at;
    a->answered_at = later(a->left_at + s->delay + shake, s->last_at);
    if (s->batch)
        a->answered_at += s->batch - a->answered_at % s->batch;
    s->last_at = a->answered_at;
}

/* How long a byte that is asked for now would wait behind others. */
static uint64_t sim_queue(const struct sim *s)
{
    uint64_t arrives = s->now + s->delay;

    return s->free_at > arrives ? s->free_at - arrives : 0;
}

static void sim_fill(struct sim *s)
{
    while (s->line.in_flight < line_window(&s->line) && s->count < s->asks_max)
        sim_ask(s, line_ask_size(&s->line));
}

/* Takes the next answer. */
static void sim_step(struct sim *s)
{
    struct ask *a = &s->asks[s->first % ASKS];

    assert_true(s->count > 0);
    s->now = later(s->now, a->answered_at);
    s->received += a->mark.bytes;
    s->first++;
    s->count--;
    line_answered(&s->line, &a->mark, a->mark.bytes, s->now);
}

/* Keeps the line as full as the window allows for so long. */
static void sim_run(struct sim *s, uint64_t duration)
{
    uint64_t until = s->now + duration;

    s->queue_max = 0;
    while (s->now < until) {
        sim_fill(s);
        s->queue_max = later(s->queue_max, sim_queue(s));
        sim_step(s);
        while (s->batch && s->count && s->asks[s->first % ASKS].answered_at <= s->now)
            sim_step(s);
    }
}

static void sim_read(struct sim *s, uint64_t bytes)
{
    while (s->received < bytes) {
        sim_fill(s);
        sim_step(s);
    }
}

/* What was received since, in thousandths of what the line could have carried. */
static unsigned sim_share(const struct sim *s, uint64_t since, uint64_t received)
{
    return (unsigned)((s->received - received) * 1000 * SECOND / (s->now - since) / s->rate);
}

static void show(const char *what, const struct sim *s)
{
    printf("# %s: rate %lu, base %lu us, window %lu KiB, ask %u KiB, queue at most %lu us\n", what,
           (unsigned long)line_rate(&s->line), (unsigned long)s->line.base,
           (unsigned long)(line_window(&s->line) >> 10), line_ask_size(&s->line) >> 10,
           (unsigned long)s->queue_max);
}

static void test_fills_a_long_line(void **state)
{
    static const uint64_t trips[] = {20 * MS, 50 * MS, 100 * MS, 200 * MS};
    static struct sim s;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        uint64_t since, received;

        sim_init(&s, MBIT100, trips[i]);
        sim_read(&s, 2 * MIB); /* as the warm-up does */
        since = s.now;
        received = s.received;
        sim_read(&s, received + 32 * MIB);
        printf("# %lu ms: %u of 1000 from warm, ", (unsigned long)(trips[i] / MS),
               sim_share(&s, since, received));
        assert_true(sim_share(&s, since, received) >= 950);
        sim_init(&s, MBIT100, trips[i]);
        since = s.now;
        sim_read(&s, 64 * MIB);
        printf("%u from cold\n", sim_share(&s, since, 0));
        assert_true(sim_share(&s, since, 0) >= (trips[i] <= 100 * MS ? 940 : 900));
    }
}

/* A jump waits for the queue and then a round trip. */
static void test_queue_stays_short(void **state)
{
    static const uint64_t trips[] = {20 * MS, 50 * MS, 100 * MS, 200 * MS};
    static struct sim s;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        uint64_t since;

        sim_init(&s, MBIT100, trips[i]);
        sim_run(&s, 2 * SECOND);
        show("start", &s);
        /* Or the first window, which is asked for blindly. */
        assert_true(s.queue_max <= later(trips[i] * 5 / 4 + 10 * MS, 66 * MS));
        since = s.received;
        sim_run(&s, 60 * SECOND);
        show("steady", &s);
        assert_true(s.queue_max <= trips[i] / 2 + 12 * MS);
        assert_true(s.received - since >= (uint64_t)MBIT100 * 60 / 100 * 96);
        assert_true(line_round_trip(&s.line) >= trips[i]);
        assert_true(line_round_trip(&s.line) <= trips[i] + trips[i] / 4 + 10 * MS);
        assert_in_range(line_rate(&s.line), MBIT100 / 100 * 97, MBIT100 / 100 * 110);
    }
}

/* A far end in the next process, which answers best when asked for much at once. */
static void test_loopback(void **state)
{
    static struct sim s;

    (void)state;
    sim_init(&s, 150000000, 400);
    s.service = 100;
    sim_run(&s, SECOND);
    show("loopback", &s);
    assert_true(line_window(&s.line) >= MIB / 2);
    sim_run(&s, 30 * SECOND);
    show("loopback", &s);
    assert_true(line_window(&s.line) >= MIB / 2 || s.line.dipping);
    assert_true(s.queue_max <= 25 * MS);
    assert_true(line_ask_size(&s.line) <= 256u << 10);
}

static void test_slow_line(void **state)
{
    static struct sim s;

    (void)state;
    sim_init(&s, 1000000, 30 * MS);
    sim_run(&s, 10 * SECOND);
    sim_run(&s, 30 * SECOND);
    show("slow", &s);
    assert_true(s.queue_max <= 250 * MS);
    assert_int_equal(line_ask_size(&s.line), 64u << 10);
}

static void check_follows(uint64_t trip, uint64_t from, uint64_t to)
{
    static struct sim s;
    uint64_t since, received;

    sim_init(&s, from, trip);
    sim_run(&s, 12 * SECOND);
    s.rate = to;
    /* What is in flight must drain at the new rate before anything can be known of it. */
    sim_run(&s, s.line.in_flight * SECOND / to + 2 * SECOND);
    show("changed", &s);
    assert_in_range(line_rate(&s.line), to / 10 * 9, to / 10 * 12);
    since = s.now;
    received = s.received;
    sim_run(&s, 30 * SECOND);
    show("later", &s);
    assert_true(sim_share(&s, since, received) >= 950);
    assert_true(s.queue_max <= trip + 250 * MS);
}

static void test_rate_changes(void **state)
{
    static const uint64_t trips[] = {20 * MS, 100 * MS, 200 * MS};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        check_follows(trips[i], MBIT100, MBIT100 / 10);
        check_follows(trips[i], MBIT100 / 10, MBIT100);
    }
}

/* The same rate by a way five times as long: the product is five times what it was. */
static void test_round_trip_changes(void **state)
{
    static struct sim s;
    uint64_t since, received;

    (void)state;
    sim_init(&s, MBIT100, 20 * MS);
    sim_run(&s, 5 * SECOND);
    s.delay = 50 * MS;
    sim_run(&s, 3 * SECOND);
    show("longer", &s);
    since = s.now;
    received = s.received;
    sim_run(&s, 5 * SECOND);
    assert_true(sim_share(&s, since, received) >= 950);
    s.delay = 10 * MS;
    sim_run(&s, 13 * SECOND); /* until it has been looked at again */
    sim_run(&s, 10 * SECOND);
    show("shorter", &s);
    assert_true(s.queue_max <= 30 * MS);
}

static void test_jitter(void **state)
{
    static struct sim s;
    uint64_t since, received;

    (void)state;
    sim_init(&s, MBIT100, 60 * MS);
    s.jitter = 40 * MS;
    sim_run(&s, 3 * SECOND);
    since = s.now;
    received = s.received;
    sim_run(&s, 40 * SECOND);
    show("jitter", &s);
    assert_true(sim_share(&s, since, received) >= 900);
}

static void check_stall(uint64_t stall)
{
    static struct sim s;
    uint64_t rate, base, since, received;

    sim_init(&s, MBIT100, 50 * MS);
    sim_run(&s, 5 * SECOND);
    rate = line_rate(&s.line);
    base = s.line.base;
    s.mute_to = s.now + stall;
    /* What had left the far end comes in; then there is silence. */
    sim_run(&s, stall + 200 * MS);
    show("after a silence", &s);
    assert_true(line_rate(&s.line) >= rate / 2);
    assert_true(s.line.base <= base * 2);
    since = s.now;
    received = s.received;
    sim_run(&s, 2 * SECOND);
    assert_true(sim_share(&s, since, received) >= 900);
    sim_run(&s, 5 * SECOND);
    assert_true(s.queue_max <= 60 * MS);
}

static void test_silences(void **state)
{
    (void)state;
    check_stall(300 * MS);
    check_stall(SECOND);
    check_stall(3 * SECOND);
    check_stall(20 * SECOND);
}

/* Each ask takes longer than what counts as a silence: it must be believed all the same. */
static void test_crawls(void **state)
{
    static struct sim s;

    (void)state;
    sim_init(&s, MBIT100, 20 * MS);
    sim_run(&s, 3 * SECOND);
    s.rate = 20000;
    sim_run(&s, s.line.in_flight * SECOND / s.rate + 10 * SECOND);
    show("crawl", &s);
    assert_in_range(line_rate(&s.line), 15000, 30000);
    assert_true(line_window(&s.line) <= 128u << 10);
}

/* One small read at a time says nothing of the rate, and an idle line forgets nothing. */
static void test_small_reads_keep_the_rate(void **state)
{
    static struct sim s;
    uint64_t rate;

    (void)state;
    sim_init(&s, MBIT100, 50 * MS);
    sim_run(&s, 3 * SECOND);
    rate = line_rate(&s.line);
    while (s.count)
        sim_step(&s);
    for (unsigned i = 0; i < 1000; i++) {
        s.now += 20 * MS;
        sim_ask(&s, 4096);
        sim_step(&s);
    }
    show("small reads", &s);
    assert_true(line_rate(&s.line) >= rate / 10 * 9);
    assert_in_range(s.line.base, 50 * MS, 51 * MS);
    s.now += 3600u * (uint64_t)SECOND;
    sim_run(&s, SECOND);
    assert_true(line_rate(&s.line) >= rate / 10 * 9);
}

/* Answers that are seen several at once, as a busy loop sees them, neither widen the window for
 * good nor keep a line that has slowed down from being seen. */
static void test_batches(void **state)
{
    static struct sim s;

    (void)state;
    sim_init(&s, MBIT100, 20 * MS);
    s.batch = 4 * MS;
    sim_run(&s, 3 * SECOND);
    sim_run(&s, 20 * SECOND);
    show("batches", &s);
    assert_in_range(line_rate(&s.line), MBIT100 / 10 * 9, MBIT100 / 10 * 16);
    assert_true(s.queue_max <= 40 * MS);
    s.rate = MBIT100 / 4;
    sim_run(&s, 3 * SECOND);
    show("slower batches", &s);
    assert_in_range(line_rate(&s.line), s.rate / 10 * 9, s.rate / 10 * 16);
}

/* Much at once and then nothing, again and again. */
static void test_bursts(void **state)
{
    static struct sim s;
    uint64_t rate;

    (void)state;
    sim_init(&s, MBIT100, 50 * MS);
    sim_run(&s, 3 * SECOND);
    rate = line_rate(&s.line);
    for (unsigned i = 0; i < 50; i++) {
        sim_fill(&s);
        while (s.count)
            sim_step(&s);
        s.now += SECOND;
    }
    show("bursts", &s);
    assert_true(line_rate(&s.line) >= rate / 10 * 9);
    assert_in_range(s.line.base, 50 * MS, 70 * MS);
}

/* Holes bring answers and no payload: no sign of a slow line. */
static void test_holes(void **state)
{
    static struct sim s;
    uint64_t rate;

    (void)state;
    sim_init(&s, MBIT100, 50 * MS);
    sim_run(&s, 3 * SECOND);
    rate = line_rate(&s.line);
    while (s.count)
        sim_step(&s);
    for (unsigned i = 0; i < 1000; i++) {
        struct line_mark mark;

        line_asked(&s.line, &mark, 1u << 20, s.now);
        s.now += 50 * MS;
        line_answered(&s.line, &mark, 0, s.now);
    }
    assert_int_equal(s.line.in_flight, 0);
    assert_true(line_rate(&s.line) >= rate / 10 * 9);
}

static void test_lost_and_errors(void **state)
{
    struct line line;
    struct line_mark a, b, c;

    (void)state;
    line_init(&line, 64);
    assert_int_equal(line_round_trip(&line), 0);
    assert_int_equal(line_rate(&line), 0);
    assert_int_equal(line_ask_size(&line), 64u << 10);
    assert_int_equal(line_window(&line), 768u << 10);
    line_asked(&line, &a, 65536, 10);
    line_asked(&line, &b, 4096, 10);
    line_asked(&line, &c, 1, 10);
    assert_int_equal(line.in_flight, 65536 + 4096 + 1);
    line_lost(&line, &a);
    line_answered(&line, &b, 0, 20);
    assert_int_equal(line.in_flight, 1);
    assert_int_equal(line_round_trip(&line), 10);
    line_answered(&line, &c, 1, 20);
    assert_int_equal(line.in_flight, 0);
}

/* A clock that stands still, asks of any length: nothing overflows or divides by zero. */
static void test_extremes(void **state)
{
    static struct sim s;

    (void)state;
    sim_init(&s, (uint64_t)1 << 34, 2);
    sim_run(&s, SECOND / 100);
    assert_true(line_window(&s.line) <= 32 * MIB);
    assert_true(line_ask_size(&s.line) <= MIB);
    sim_init(&s, 1, 20 * MS);
    for (unsigned i = 0; i < 40; i++) {
        sim_fill(&s);
        sim_step(&s);
    }
    assert_true(line_window(&s.line) >= 64u << 10);
}

/* A far end that takes few asks at once, or someone who asks for little, is not a slow line. */
static void test_limited_by_the_far_end(void **state)
{
    static struct sim s;

    (void)state;
    sim_init(&s, MBIT100, 100 * MS);
    sim_run(&s, 3 * SECOND);
    s.asks_max = 2;
    sim_run(&s, 20 * SECOND);
    show("limited", &s);
    assert_true(line_rate(&s.line) >= MBIT100 / 10 * 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fills_a_long_line),
        cmocka_unit_test(test_queue_stays_short),
        cmocka_unit_test(test_loopback),
        cmocka_unit_test(test_slow_line),
        cmocka_unit_test(test_rate_changes),
        cmocka_unit_test(test_round_trip_changes),
        cmocka_unit_test(test_jitter),
        cmocka_unit_test(test_silences),
        cmocka_unit_test(test_crawls),
        cmocka_unit_test(test_small_reads_keep_the_rate),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_bursts),
        cmocka_unit_test(test_holes),
        cmocka_unit_test(test_lost_and_errors),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_limited_by_the_far_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
