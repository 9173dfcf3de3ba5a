// SPDX-License-Identifier: Apache-2.0
/*
 * The engine above a far end that takes few requests at once: those of OpenBMC's web server, which
 * ends a session when more than four replies of 128 KiB are on their way. Every ask is judged by
 * engine-world.c: length, count, and that none goes past the end.
 */
#include "engine-world.h"

#include "source/profile.h"

#define MS     1000u
#define SECOND 1000000u
/* Of a simple reply: its head, and what was asked. */
#define REPLY_HEAD 16u
#define UNREAD_MAX 524352u

static struct world *new_world(uint64_t size, size_t cache)
{
    const struct peer_profile *profile = peer_profile_find("openbmc");
    struct world *w = world_new(size, cache);

    assert_non_null(profile);
    w->info.length_max = profile->length_max;
    w->info.in_flight_max = profile->in_flight_max;
    w->info.can_flush = false;
    return w;
}

/* What the far end's replies to all it has been asked would be together. */
static uint32_t replies(struct world *w)
{
    uint32_t bytes = 0;

    for (unsigned i = 0; i < w->held_count; i++)
        bytes += REPLY_HEAD + world_held(w, i)->length;
    return bytes;
}

static void test_long_requests_are_split(void **state)
{
    struct world *w = new_world(64 * MIB, 16 * MIB);

    (void)state;
    world_ask(w, 0, REQUEST_READ, 32 * MIB, MIB);
    world_ask(w, 1, REQUEST_READ, 40 * MIB, 2 * MIB);
    engine_set_source(w->engine, &w->source, &w->info);
    assert_int_equal(w->held_count, 4);
    assert_int_equal(replies(w), UNREAD_MAX);
    while (!w->asked[0].answered || !w->asked[1].answered) {
        world_answer(w, world_held(w, w->held_count / 2), 0);
        assert_true(replies(w) <= UNREAD_MAX);
    }
    assert_true(!w->asked[0].error && !w->asked[1].error);
    assert_true(w->asks >= 24);
    world_free(w);
}

/* Four reads that jump take the places, and `count` reads in a row wait for them. */
static void queue_behind(struct world *w, unsigned count)
{
    for (unsigned i = 0; i < 4; i++)
        world_ask(w, i, REQUEST_READ, (8 + 4 * (uint64_t)i) * MIB, 64 * KIB);
    for (unsigned i = 0; i < count; i++)
        world_ask(w, 4 + i, REQUEST_READ, 32 * MIB + i * 64 * KIB, 64 * KIB);
    assert_int_equal(w->held_count, 4);
}

static void test_what_queued_leaves_together(void **state)
{
    struct world *w = new_world(64 * MIB, 16 * MIB);
    uint64_t at = 32 * MIB;

    (void)state;
    world_connect(w);
    queue_behind(w, 7);
    for (unsigned i = 0; i < 4; i++)
        world_answer(w, world_held(w, 0), 0);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(world_held(w, i)->offset, at);
        if (i < 3)
            assert_int_equal(world_held(w, i)->length, 128 * KIB);
        at += world_held(w, i)->length;
    }
    assert_true(at <= 32 * MIB + 512 * KIB);
    world_answer_all(w, 0);
    for (unsigned i = 0; i < 11; i++)
        assert_true(w->asked[i].answered == 1 && !w->asked[i].error);
    world_free(w);
}

/* The far end is not without work while the machine is told what has come. */
static void test_a_free_place_is_taken_before_the_answer(void **state)
{
    struct world *w = new_world(64 * MIB, 16 * MIB);

    (void)state;
    world_connect(w);
    queue_behind(w, 1);
    world_answer(w, world_held(w, 0), 0);
    assert_int_equal(w->asked[0].answered, 1);
    assert_int_equal(w->asked[0].beside, 4);
    world_answer_all(w, 0);
    assert_int_equal(w->asked[4].beside, 0);
    world_free(w);
}

/* An error is that of the first: what left with it is asked for by itself. */
static void test_what_left_together_fails_apart(void **state)
{
    struct world *w = new_world(64 * MIB, 16 * MIB);
    struct source_request *both;

    (void)state;
    world_connect(w);
    queue_behind(w, 2);
    world_answer(w, world_held(w, 0), 0);
    both = world_held(w, 3);
    assert_int_equal(both->length, 128 * KIB);
    world_answer(w, both, -EIO);
    assert_int_equal(w->asked[4].error, -EIO);
    assert_int_equal(w->asked[5].answered, 0);
    assert_int_equal(world_held(w, 3)->offset, 32 * MIB + 64 * KIB);
    assert_int_equal(world_held(w, 3)->length, 64 * KIB);
    world_answer_all(w, 0);
    assert_true(w->asked[5].answered == 1 && !w->asked[5].error);
    world_free(w);
}

static uint32_t seed;

static uint32_t roll(uint32_t sides)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % sides;
}

/* Reads of all lengths everywhere, and flushes that the far end does not know, answered in any
 * order, of an image that ends in the middle of a page. */
static void test_random_load(void **state)
{
    static const uint64_t sizes[] = {3 * MIB + 777, 2 * MIB + 4097, 131073, 511, 1};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct world *w = new_world(sizes[i], 4 * MIB);
        uint32_t most = 0;

        seed = (uint32_t)i * 2654435761u + 1;
        world_connect(w);
        for (unsigned n = 0; n < ASK_MAX; n++) {
            uint64_t offset = roll((uint32_t)sizes[i]);
            uint32_t length = 1 + roll(n % 4 ? 9000 : MIB);

            if (offset + length > sizes[i])
                length = (uint32_t)(sizes[i] - offset);
            if (n % 16 == 0)
                world_ask(w, n, REQUEST_FLUSH, 0, 0);
            else
                world_ask(w, n, REQUEST_READ, offset, length);
            most = replies(w) > most ? replies(w) : most;
            while (w->held_count > 0 && roll(3) == 0)
                world_answer(w, world_held(w, roll(w->held_count)), 0);
        }
        assert_true(most <= UNREAD_MAX);
        while (world_counters(w).requests_open > 0)
            world_answer(w, world_held(w, 0), 0);
        assert_true(w->held_peak <= 4);
        assert_int_equal(w->flushes, 0);
        for (unsigned n = 0; n < ASK_MAX; n++)
            assert_true(w->asked[n].answered == 1 && !w->asked[n].error);
        world_free(w);
    }
}

/* ---- on a line with a round trip and a rate ---- */

struct way {
    uint64_t trip; /* microseconds */
    uint64_t rate; /* bytes a second */
    uint64_t free_at;
};

/* Lets time pass until the next answer, which comes. */
static void next_answer(struct world *w, struct way *way)
{
    struct source_request *first = NULL;

    /* What has been asked since the last time arrives behind what is still being sent. */
    for (unsigned i = 0; i < w->held_count; i++) {
        struct source_request *ask = world_held(w, i);
        uint64_t arrives = w->now + way->trip / 2;

        if (ask->cookie == 0) {
            way->free_at = (way->free_at > arrives ? way->free_at : arrives) +
                           ask->length * (uint64_t)SECOND / way->rate;
            ask->cookie = way->free_at + way->trip / 2;
        }
        if (!first || ask->cookie < first->cookie)
            first = ask;
    }
    assert_non_null(first);
    if (first->cookie > w->now)
        w->now = first->cookie;
    world_answer(w, first, 0);
}

/* The image has come, and what every boot reads is warmed up. */
static void warm_up(struct world *w, struct way *way)
{
    engine_set_source(w->engine, &w->source, &w->info);
    while (w->held_count > 0)
        next_answer(w, way);
}

/* Reads `length` bytes in a row by commands of so many bytes, of which each comes as reads of 64
 * KiB; bytes a second. */
static uint64_t read_by(struct world *w, struct way *way, uint32_t command, uint64_t from,
                        uint64_t length)
{
    unsigned reads = command / (64 * KIB);
    uint64_t began = w->now;

    for (uint64_t at = from; at < from + length; at += command) {
        for (unsigned i = 0; i < reads; i++)
            world_ask(w, i, REQUEST_READ, at + i * 64 * KIB, 64 * KIB);
        for (unsigned i = 0; i < reads; i++) {
            while (!w->asked[i].answered)
                next_answer(w, way);
        }
    }
    return length * SECOND / (w->now - began);
}

static uint64_t read_in_a_row(struct world *w, struct way *way, uint64_t from, uint64_t length)
{
    return read_by(w, way, 64 * KIB, from, length);
}

/* By commands as long as at high speed, and at SuperSpeed, where they ask for more than is on its
 * way. */
static void test_reads_in_a_row_keep_all_places_busy(void **state)
{
    static const uint32_t commands[] = {64 * KIB, MIB};
    static const struct {
        uint64_t trip, rate;
    } ways[] = {
        {100 * MS, 125000000}, {100 * MS, 12500000}, {20 * MS, 125000000},
        {100 * MS, 2000000},   {1 * MS, 50000000},
    };

    (void)state;
    for (size_t i = 0; i < 2 * sizeof ways / sizeof ways[0]; i++) {
        struct world *w = new_world(48 * MIB, 16 * MIB);
        struct way way = {.trip = ways[i / 2].trip, .rate = ways[i / 2].rate};
        uint64_t places, rate, bound;

        warm_up(w, &way);
        rate = read_by(w, &way, commands[i % 2], 4 * MIB, 32 * MIB);
        /* Each place is busy for the round trip and the time its own reply takes. */
        places =
            4 * 128 * KIB * (uint64_t)SECOND / (way.trip + 128 * KIB * (uint64_t)SECOND / way.rate);
        bound = places < way.rate ? places : way.rate;
        print_message("# %lu ms, %lu kB/s: %lu kB/s, %lu of 1000\n", (unsigned long)(way.trip / MS),
                      (unsigned long)(way.rate / 1000), (unsigned long)(rate / 1000),
                      (unsigned long)(rate * 1000 / bound));
        assert_true(rate >= bound / 100 * 92);
        assert_int_equal(w->held_peak, 4);
        world_free(w);
    }
}

/* While reading ahead has every place, what the machine waits for gets the next one. */
static void test_demand_gets_the_next_place(void **state)
{
    struct world *w = new_world(256 * MIB, 16 * MIB);
    struct way way = {.trip = 100 * MS, .rate = 125000000};

    (void)state;
    warm_up(w, &way);
    read_in_a_row(w, &way, 4 * MIB, 8 * MIB);
    assert_int_equal(w->held_count, 4);
    for (unsigned i = 0; i < 20; i++) {
        uint64_t at = (64 + 8 * (uint64_t)i) * MIB;
        uint64_t began = w->now;

        world_ask(w, 1, REQUEST_READ, at, 4096);
        next_answer(w, &way);
        assert_int_equal(world_held(w, w->held_count - 1)->offset, at);
        while (!w->asked[1].answered)
            next_answer(w, &way);
        assert_true(w->now - began <= 2 * way.trip + 10 * MS);
        read_in_a_row(w, &way, (12 + (uint64_t)i) * MIB, MIB);
    }
    world_free(w);
}

/* What nobody has asked for leaves a place to whoever does. */
static void test_warm_up_leaves_a_place(void **state)
{
    struct world *w = new_world(64 * MIB, 16 * MIB);

    (void)state;
    engine_set_source(w->engine, &w->source, &w->info);
    assert_int_equal(w->held_count, 3);
    world_ask(w, 0, REQUEST_READ, 32 * MIB, 4096);
    assert_int_equal(w->held_count, 4);
    assert_int_equal(world_held(w, 3)->offset, 32 * MIB);
    world_answer_all(w, 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_requests_are_split),
        cmocka_unit_test(test_what_queued_leaves_together),
        cmocka_unit_test(test_a_free_place_is_taken_before_the_answer),
        cmocka_unit_test(test_what_left_together_fails_apart),
        cmocka_unit_test(test_random_load),
        cmocka_unit_test(test_reads_in_a_row_keep_all_places_busy),
        cmocka_unit_test(test_demand_gets_the_next_place),
        cmocka_unit_test(test_warm_up_leaves_a_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
