/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine against a source made here: it holds what it is asked and answers when, and in the
 * order, the test says. Its image is a pattern, so any byte in the wrong place shows.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "block/engine.h"

#define KIB 1024u
#define MIB (1024u * KIB)

struct fake_source {
    struct source base;
    struct source_info info;
    struct list held;
    unsigned held_count;
    unsigned held_peak;
    uint64_t asked_bytes;
    bool holes; /* every read is a hole */
    int refuse; /* answers at once, inside submit, with this error */
};

struct client {
    struct engine *engine;
    struct request requests[256];
    int answered[256];
    int errors[256];
    bool release_in_answer;
};

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at ^ at >> 8 ^ at >> 16 ^ at >> 24);
}

static void fake_submit(struct source *source, struct source_request *ask)
{
    struct fake_source *f = (struct fake_source *)source;

    if (f->refuse) {
        ask->complete(ask, f->refuse);
        return;
    }
    if (ask->op == SOURCE_READ) {
        assert_true(ask->length >= 1 && ask->length <= f->info.length_max);
        assert_int_equal(ask->offset % f->info.block_min, 0);
        assert_true(ask->offset + ask->length <= f->info.size);
        assert_true(ask->length % f->info.block_min == 0 ||
                    ask->offset + ask->length == f->info.size);
    }
    f->asked_bytes += ask->length;
    list_append(&f->held, &ask->link);
    if (++f->held_count > f->held_peak)
        f->held_peak = f->held_count;
    assert_true(f->held_count <= f->info.in_flight_max);
}

static const struct source_ops fake_ops = {.submit = fake_submit};

static void fake_init(struct fake_source *f, uint64_t size, uint32_t block_min, uint32_t length_max,
                      unsigned in_flight_max)
{
    *f = (struct fake_source){
        .base.ops = &fake_ops,
        .info = {.size = size,
                 .block_min = block_min,
                 .length_max = length_max,
                 .in_flight_max = in_flight_max,
                 .read_only = true,
                 .can_flush = true},
    };
    list_init(&f->held);
}

static void fake_answer(struct fake_source *f, struct list *link, int error)
{
    struct source_request *ask = list_entry(link, struct source_request, link);

    list_remove(link);
    f->held_count--;
    if (!error && ask->op == SOURCE_READ) {
        for (uint32_t i = 0; i < ask->length; i++)
            ask->parts[0].data[i] = f->holes ? 0 : pattern(ask->offset + i);
        ask->zero_bytes = f->holes ? ask->length : 0;
    }
    ask->complete(ask, error);
}

static void fake_answer_all(struct fake_source *f, int error)
{
    while (!list_is_empty(&f->held))
        fake_answer(f, f->held.next, error);
}

static struct client *current;

static void client_complete(struct request *request, int error)
{
    long index = request - current->requests;

    current->answered[index]++;
    current->errors[index] = error;
    if (error == 0 && request->op == REQUEST_READ) {
        uint64_t at = request->offset;
        uint32_t length = 0;

        for (unsigned s = 0; s < request->segment_count; s++) {
            const struct request_segment *seg = &request->segments[s];

            for (uint32_t i = 0; i < seg->length && seg->data; i++)
                assert_int_equal(seg->data[i], pattern(at + i));
            at += seg->length;
            length += seg->length;
        }
        assert_int_equal(length, request->length);
    }
    if (current->release_in_answer)
        engine_release(current->engine, request);
}

#define LIMIT 25000000u

static uint64_t clock_now;
static uint64_t alarm_at;

static uint64_t host_now(void *arg)
{
    (void)arg;
    return clock_now;
}

static void host_set_alarm(void *arg, uint64_t at)
{
    (void)arg;
    alarm_at = at;
}

static void client_init(struct client *c, size_t memory_max)
{
    memset(c, 0, sizeof *c);
    c->release_in_answer = true;
    clock_now = 0;
    assert_int_equal(
        engine_new(&(struct engine_config){.cache_max = memory_max,
                                           .request_limit = LIMIT,
                                           .host = {.now = host_now, .set_alarm = host_set_alarm}},
                   &c->engine),
        0);
    current = c;
}

static void client_ask(struct client *c, unsigned index, enum request_op op, uint64_t offset,
                       uint32_t length)
{
    c->requests[index] =
        (struct request){.op = op, .offset = offset, .length = length, .complete = client_complete};
    engine_submit(c->engine, &c->requests[index]);
}

static void client_done(struct client *c)
{
    struct engine_counters n;

    engine_get_counters(c->engine, &n);
    assert_int_equal(n.requests_open, 0);
    assert_int_equal(n.asks_in_flight, 0);
    assert_int_equal(n.memory, 0);
    engine_free(c->engine);
}

static void test_splits_and_widens(void **state)
{
    struct fake_source f;
    struct client c;

    (void)state;
    fake_init(&f, 10 * MIB, 4096, 128 * KIB, 8);
    client_init(&c, 4 * MIB);
    engine_set_source(c.engine, &f.base, &f.info);
    client_ask(&c, 0, REQUEST_READ, 4095, 2 * MIB);
    client_ask(&c, 1, REQUEST_READ, 10 * MIB - 1, 1);
    client_ask(&c, 2, REQUEST_READ, 0, 1);
    assert_int_equal(f.held_count, 8);
    while (!list_is_empty(&f.held))
        fake_answer(&f, f.held.prev, 0); /* the newest first */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(c.answered[i], 1);
        assert_int_equal(c.errors[i], 0);
    }
    client_done(&c);
}

static void test_waits_for_its_source(void **state)
{
    struct fake_source f;
    struct client c;

    (void)state;
    fake_init(&f, MIB, 1, MIB, 16);
    client_init(&c, 4 * MIB);
    client_ask(&c, 0, REQUEST_READ, 5, 100);
    assert_int_equal(c.answered[0], 0);
    engine_set_source(c.engine, &f.base, &f.info);
    assert_int_equal(f.held_count, 1);
    fake_answer_all(&f, 0);
    assert_int_equal(c.answered[0], 1);
    client_done(&c);
}

static void test_many_in_flight_within_memory(void **state)
{
    struct fake_source f;
    struct client c;
    struct engine_counters n;

    (void)state;
    fake_init(&f, 512 * MIB, 512, MIB, 16);
    client_init(&c, 5 * MIB);
    engine_set_source(c.engine, &f.base, &f.info);
    for (unsigned i = 0; i < 100; i++)
        client_ask(&c, i, REQUEST_READ, (uint64_t)i * 2 * MIB, 2 * MIB);
    engine_get_counters(c.engine, &n);
    assert_int_equal(n.memory, 4 * MIB);
    while (!list_is_empty(&f.held)) {
        fake_answer(&f, f.held.next, 0);
        engine_get_counters(c.engine, &n);
        assert_true(n.memory <= 5 * MIB);
    }
    assert_true(f.held_peak > 1);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(c.answered[i], 1);
    assert_int_equal(f.asked_bytes, 200 * MIB);
    client_done(&c);
}

static void test_memory_is_held_until_release(void **state)
{
    struct fake_source f;
    struct client c;

    (void)state;
    fake_init(&f, 64 * MIB, 512, MIB, 16);
    client_init(&c, 3 * MIB);
    c.release_in_answer = false;
    engine_set_source(c.engine, &f.base, &f.info);
    client_ask(&c, 0, REQUEST_READ, 0, 2 * MIB);
    client_ask(&c, 1, REQUEST_READ, 4 * MIB, 2 * MIB);
    fake_answer_all(&f, 0);
    assert_int_equal(c.answered[0], 1);
    assert_int_equal(c.answered[1], 0); /* no room yet */
    engine_release(c.engine, &c.requests[0]);
    fake_answer_all(&f, 0);
    assert_int_equal(c.answered[1], 1);
    engine_release(c.engine, &c.requests[1]);
    client_done(&c);
}

static void test_an_error_is_that_requests_alone(void **state)
{
    struct fake_source f;
    struct client c;

    (void)state;
    fake_init(&f, 64 * MIB, 512, 128 * KIB, 16);
    client_init(&c, 4 * MIB);
    engine_set_source(c.engine, &f.base, &f.info);
    client_ask(&c, 0, REQUEST_READ, 0, 512 * KIB);
    client_ask(&c, 1, REQUEST_READ, MIB, 512 * KIB);
    fake_answer(&f, f.held.next, -EIO);
    assert_int_equal(c.answered[0], 0); /* not before its other pieces are back */
    fake_answer_all(&f, 0);
    assert_int_equal(c.errors[0], -EIO);
    assert_int_equal(c.errors[1], 0);
    client_done(&c);
}

static void test_holes_need_no_memory(void **state)
{
    struct fake_source f;
    struct client c;
    struct engine_counters n;

    (void)state;
    fake_init(&f, 64 * MIB, 512, 128 * KIB, 16);
    f.holes = true;
    client_init(&c, 4 * MIB);
    c.release_in_answer = false;
    engine_set_source(c.engine, &f.base, &f.info);
    client_ask(&c, 0, REQUEST_READ, 100, MIB);
    fake_answer_all(&f, 0);
    assert_int_equal(c.answered[0], 1);
    assert_null(c.requests[0].segments[0].data);
    engine_get_counters(c.engine, &n);
    assert_int_equal(n.memory, 0);
    engine_release(c.engine, &c.requests[0]);
    client_done(&c);
}

static void test_flush(void **state)
{
    struct fake_source f;
    struct client c;

    (void)state;
    fake_init(&f, MIB, 512, 128 * KIB, 16);
    client_init(&c, 4 * MIB);
    engine_set_source(c.engine, &f.base, &f.info);
    client_ask(&c, 0, REQUEST_FLUSH, 0, 0);
    assert_int_equal(f.held_count, 1);
    fake_answer_all(&f, 0);
    assert_int_equal(c.errors[0], 0);
    assert_int_equal(c.answered[0], 1);
    client_done(&c);

    fake_init(&f, MIB, 512, 128 * KIB, 16);
    f.info.can_flush = false;
    client_init(&c, 4 * MIB);
    engine_set_source(c.engine, &f.base, &f.info);
    client_ask(&c, 0, REQUEST_FLUSH, 0, 0);
    assert_int_equal(f.held_count, 0); /* never sent to a source that does not offer it */
    assert_int_equal(c.answered[0], 1);
    client_done(&c);
}

static void test_fail_answers_everything(void **state)
{
    struct fake_source f;
    struct client c;

    (void)state;
    fake_init(&f, 64 * MIB, 512, 128 * KIB, 2);
    client_init(&c, 4 * MIB);
    engine_set_source(c.engine, &f.base, &f.info);
    for (unsigned i = 0; i < 10; i++)
        client_ask(&c, i, REQUEST_READ, i * MIB, MIB);
    engine_fail(c.engine, -EIO); /* though two pieces are still out */
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(c.answered[i], 1);
    fake_answer_all(&f, SOURCE_LOST);
    client_ask(&c, 10, REQUEST_READ, 0, 1);
    assert_int_equal(c.answered[10], 1);
    for (unsigned i = 0; i <= 10; i++)
        assert_int_equal(c.errors[i], -EIO);

    /* The next source ends it. */
    engine_set_source(c.engine, &f.base, &f.info);
    client_ask(&c, 11, REQUEST_READ, MIB, 512);
    fake_answer_all(&f, 0);
    assert_int_equal(c.errors[11], 0);
    client_done(&c);
}

/* What a lost source left unanswered is asked of the next one, in the old order. */
static void test_suspension(void **state)
{
    struct fake_source f;
    struct client c;
    struct engine_counters n;

    (void)state;
    fake_init(&f, 64 * MIB, 512, 128 * KIB, 4);
    client_init(&c, 4 * MIB);
    engine_set_source(c.engine, &f.base, &f.info);
    for (unsigned i = 0; i < 10; i++)
        client_ask(&c, i, REQUEST_READ, i * MIB, MIB / 4);
    fake_answer(&f, f.held.prev, 0);
    engine_suspend(c.engine);
    while (!list_is_empty(&f.held))
        fake_answer(&f, f.held.prev, SOURCE_LOST);
    client_ask(&c, 10, REQUEST_READ, 5, 5);
    for (unsigned i = 0; i <= 10; i++)
        assert_int_equal(c.answered[i], 0);
    engine_set_source(c.engine, &f.base, &f.info);
    assert_int_equal(list_entry(f.held.next, struct source_request, link)->offset, 0);
    fake_answer_all(&f, 0);
    for (unsigned i = 0; i <= 10; i++) {
        assert_int_equal(c.answered[i], 1);
        assert_int_equal(c.errors[i], 0);
    }
    engine_get_counters(c.engine, &n);
    assert_int_equal(n.suspensions, 1);
    client_done(&c);
}

/* A request is answered by its limit, whatever the source does, and what comes late is dropped. */
static void test_limit(void **state)
{
    struct fake_source f;
    struct client c;

    (void)state;
    fake_init(&f, 64 * MIB, 512, 128 * KIB, 4);
    client_init(&c, 4 * MIB);
    engine_set_source(c.engine, &f.base, &f.info);
    clock_now = 7;
    client_ask(&c, 0, REQUEST_READ, 0, MIB);
    assert_int_equal(alarm_at, LIMIT + 7);
    clock_now = 100;
    client_ask(&c, 1, REQUEST_READ, MIB, MIB);
    clock_now = LIMIT + 6;
    engine_tick(c.engine);
    assert_int_equal(c.answered[0], 0);
    clock_now = LIMIT + 7;
    engine_tick(c.engine);
    assert_int_equal(c.answered[0], 1);
    assert_int_equal(c.errors[0], -EIO);
    assert_int_equal(c.answered[1], 0);
    assert_int_equal(alarm_at, LIMIT + 100);
    fake_answer_all(&f, 0);
    assert_int_equal(c.answered[0], 1);
    assert_int_equal(c.errors[1], 0);
    assert_true(alarm_at == UINT64_MAX);
    client_done(&c);
}

static void test_answers_inside_submit(void **state)
{
    struct fake_source f;
    struct client c;

    (void)state;
    fake_init(&f, 64 * MIB, 512, 4 * KIB, 2);
    f.refuse = -EIO;
    client_init(&c, 4 * MIB);
    for (unsigned i = 0; i < 200; i++)
        client_ask(&c, i, REQUEST_READ, i * 64 * KIB, 64 * KIB);
    engine_set_source(c.engine, &f.base, &f.info);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(c.answered[i], 1);
    client_done(&c);
}

/* Random requests, random answers: each is answered once, with the right bytes, within the bounds.
 */
static void test_random_schedule(void **state)
{
    struct fake_source f;
    struct client c;
    struct engine_counters n;
    unsigned seed = 20180425;
    unsigned used = 0;

    (void)state;
    fake_init(&f, 9 * MIB + 512, 512, 64 * KIB, 7);
    client_init(&c, 3 * MIB);
    engine_set_source(c.engine, &f.base, &f.info);
    while (used < 256 || !list_is_empty(&f.held)) {
        seed = seed * 1103515245u + 12345u;
        if ((seed >> 16) % 3 && used < 256) {
            uint64_t offset = (uint64_t)(seed >> 4) % (f.info.size - 1);
            uint64_t room = f.info.size - offset;
            uint64_t length = 1 + (seed >> 7) % (2 * MIB);

            client_ask(&c, used++, REQUEST_READ, offset, (uint32_t)(length < room ? length : room));
        } else if (!list_is_empty(&f.held)) {
            fake_answer(&f, (seed >> 20) & 1 ? f.held.next : f.held.prev,
                        (seed >> 21) % 16 ? 0 : -EIO);
        }
        engine_get_counters(c.engine, &n);
        assert_true(n.memory <= 3 * MIB);
    }
    for (unsigned i = 0; i < 256; i++)
        assert_int_equal(c.answered[i], 1);
    client_done(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_splits_and_widens),
        cmocka_unit_test(test_waits_for_its_source),
        cmocka_unit_test(test_many_in_flight_within_memory),
        cmocka_unit_test(test_memory_is_held_until_release),
        cmocka_unit_test(test_an_error_is_that_requests_alone),
        cmocka_unit_test(test_holes_need_no_memory),
        cmocka_unit_test(test_flush),
        cmocka_unit_test(test_fail_answers_everything),
        cmocka_unit_test(test_suspension),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_answers_inside_submit),
        cmocka_unit_test(test_random_schedule),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
