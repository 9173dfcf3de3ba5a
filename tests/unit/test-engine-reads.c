/* SPDX-License-Identifier: Apache-2.0 */
/* Reads through the engine: what is asked of the far end for them, and how they share it. */
#include "engine-world.h"

#include <errno.h>

/* Takes read-ahead out of what a test counts: no read here continues another. */
#define FAR (16u * MIB)

static void test_a_jump_fetches_its_pages(void **state)
{
    struct world *w = world_new(64 * MIB, 4 * MIB);

    (void)state;
    world_connect(w);
    world_ask(w, 0, REQUEST_READ, FAR + 5000, 512);
    assert_int_equal(world_held(w, 0)->offset, FAR + 4096);
    assert_int_equal(world_held(w, 0)->length, 4096);
    world_ask(w, 1, REQUEST_READ, 2 * FAR + 4095, 2);
    assert_int_equal(world_held(w, 1)->offset, 2 * FAR);
    assert_int_equal(world_held(w, 1)->length, 8192);
    world_ask(w, 2, REQUEST_READ, 3 * FAR + 64 * KIB - 1, 2);
    assert_int_equal(world_held(w, 2)->length, 8192); /* over two blocks, in one ask */
    assert_int_equal(world_held(w, 2)->part_count, 2);
    world_answer_all(w, 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(w->asked[i].answered, 1);
    world_free(w);
}

static void test_large_units_and_odd_ends(void **state)
{
    struct world *w = world_new(7 * MIB + 1000, 8 * MIB);

    (void)state;
    w->info.block_min = 16 * KIB;
    w->info.length_max = 64 * KIB;
    world_connect(w);
    world_ask(w, 0, REQUEST_READ, 2 * MIB + 70000, 10);
    assert_int_equal(world_held(w, 0)->offset, 2 * MIB + 64 * KIB);
    assert_int_equal(world_held(w, 0)->length, 16 * KIB);
    world_ask(w, 1, REQUEST_READ, 7 * MIB + 999, 1);
    world_answer_all(w, 0);
    assert_int_equal(w->asked[1].answered, 1);
    world_ask(w, 2, REQUEST_READ, 2 * MIB + 1001, 2 * MIB); /* in pieces the source takes */
    world_answer_all(w, 0);
    assert_int_equal(w->asked[2].answered, 1);
    assert_int_equal(w->asked[2].error, 0);
    world_free(w);
}

static void test_a_hit_asks_nothing(void **state)
{
    struct world *w = world_new(64 * MIB, 4 * MIB);

    (void)state;
    world_connect(w);
    world_ask(w, 0, REQUEST_READ, FAR, 64 * KIB);
    world_answer_all(w, 0);
    world_ask(w, 1, REQUEST_READ, FAR + 100, 1000);
    assert_int_equal(w->asked[1].answered, 1);
    assert_int_equal(w->asks, 1);
    assert_int_equal(world_counters(w).hits, 1);
    assert_int_equal(world_counters(w).misses, 1);
    assert_int_equal(w->fetched, 64 * KIB);
    world_free(w);
}

static void test_misses_are_joined(void **state)
{
    struct world *w = world_new(64 * MIB, 4 * MIB);

    (void)state;
    world_connect(w);
    world_ask(w, 0, REQUEST_READ, FAR, 16 * KIB);
    world_ask(w, 1, REQUEST_READ, FAR + 4 * KIB, 8 * KIB);
    assert_int_equal(w->held_count, 1);
    world_ask(w, 2, REQUEST_READ, FAR + 8 * KIB, 16 * KIB); /* only what is new */
    assert_int_equal(world_held(w, 1)->offset, FAR + 16 * KIB);
    assert_int_equal(world_held(w, 1)->length, 8 * KIB);
    world_answer(w, world_held(w, 0), 0);
    assert_int_equal(w->asked[0].answered + w->asked[1].answered, 2);
    assert_int_equal(w->asked[2].answered, 0);
    world_answer_all(w, 0);
    assert_int_equal(w->asked[2].answered, 1);
    world_free(w);
}

/* An error is told to those who need those pages, and to nobody else. */
static void test_an_error_is_its_owners(void **state)
{
    struct world *w = world_new(64 * MIB, 4 * MIB);

    (void)state;
    world_connect(w);
    world_ask(w, 0, REQUEST_READ, FAR, 16 * KIB);
    world_ask(w, 1, REQUEST_READ, FAR + 4 * KIB, 4 * KIB); /* joins */
    world_ask(w, 2, REQUEST_READ, 2 * FAR, 4 * KIB);
    world_answer(w, world_held(w, 0), -EIO);
    assert_int_equal(w->asked[0].error, -EIO);
    assert_int_equal(w->asked[1].answered, 0);
    assert_int_equal(w->held_count, 2);
    assert_int_equal(world_held(w, 1)->offset, FAR + 4 * KIB); /* by itself now */
    world_answer_all(w, 0);
    assert_int_equal(w->asked[1].error, 0);
    assert_int_equal(w->asked[2].error, 0);
    world_ask(w, 3, REQUEST_READ, FAR, 4 * KIB); /* an error is not remembered */
    world_answer_all(w, 0);
    assert_int_equal(w->asked[3].error, 0);
    world_free(w);
}

static void test_a_failed_prefetch_fails_nobody(void **state)
{
    struct world *w = world_new(64 * MIB, 8 * MIB);
    struct source_request *ahead = NULL;
    unsigned index = 0;

    (void)state;
    world_connect(w);
    while (!ahead && index < 64) {
        uint64_t behind = FAR + (index + 1) * 64 * KIB;

        world_ask(w, index, REQUEST_READ, FAR + index * 64 * KIB, 64 * KIB);
        index++;
        for (unsigned i = 0; i < w->held_count; i++) {
            if (world_held(w, i)->offset >= behind)
                ahead = world_held(w, i);
        }
        while (!ahead && w->held_count > 0)
            world_answer(w, world_held(w, 0), 0);
    }
    assert_non_null(ahead);
    world_ask(w, 100, REQUEST_READ, ahead->offset, 4 * KIB);
    world_answer(w, ahead, -EIO);
    assert_int_equal(w->asked[100].answered, 0);
    world_answer_all(w, 0);
    assert_int_equal(w->asked[100].answered, 1);
    assert_int_equal(w->asked[100].error, 0);
    world_free(w);
}

/* Every byte once, and no more of them than the machine reads and a little. */
static void test_a_sequential_read(void **state)
{
    struct world *w = world_new(64 * MIB, 8 * MIB);
    struct engine_counters n;

    (void)state;
    world_connect(w);
    for (unsigned i = 0; i < 512; i++) {
        world_ask(w, i, REQUEST_READ, (uint64_t)i * 128 * KIB, 128 * KIB);
        while (!w->asked[i].answered) {
            w->now += 1000;
            world_answer(w, world_held(w, 0), 0);
        }
        assert_int_equal(w->asked[i].error, 0);
    }
    n = world_counters(w);
    assert_int_equal(n.bytes_read, 64 * MIB);
    assert_true(w->fetched <= 64 * MIB && w->fetched + n.bytes_warmed >= 64 * MIB);
    assert_true(n.bytes_copied <= n.bytes_read * 105 / 100);
    assert_true(n.bytes_ahead > n.bytes_read / 2);
    assert_int_equal(n.bytes_wasted, 0);
    assert_true(n.memory <= 8 * MIB);
    world_free(w);
}

static void test_memory_is_bounded(void **state)
{
    struct world *w = world_new(512u * MIB, 4 * MIB);

    (void)state;
    world_connect(w);
    w->keeps = true;
    for (unsigned i = 0; i < 100; i++)
        world_ask(w, i, REQUEST_READ, (uint64_t)i * 5 * MIB + 1, 2 * MIB);
    for (unsigned i = 0; i < 100; i++) {
        while (!w->asked[i].answered)
            world_answer(w, world_held(w, 0), 0);
        assert_int_equal(w->asked[i].error, 0);
        assert_true(world_counters(w).memory <= 4 * MIB);
        if (i < 99) /* 33 of 64 blocks are pinned: no room for the next */
            assert_int_equal(w->asked[i + 1].answered, 0);
        world_release(w, i);
    }
    world_free(w);
}

static void test_holes_need_no_memory(void **state)
{
    struct world *w = world_new(64 * MIB, 4 * MIB);

    (void)state;
    w->holes = true;
    w->keeps = true;
    world_connect(w);
    world_ask(w, 0, REQUEST_READ, FAR + 100, MIB);
    world_answer_all(w, 0);
    assert_int_equal(w->asked[0].answered, 1);
    assert_int_equal(w->asked[0].request.segment_count, 1);
    assert_null(w->asked[0].request.segments[0].data);
    assert_int_equal(world_counters(w).memory, 0);
    assert_int_equal(world_counters(w).bytes_copied, 0);
    assert_int_equal(world_counters(w).bytes_zero, world_counters(w).bytes_fetched);
    world_release(w, 0);
    /* Data beside zeroes: both in one block. */
    w->holes = false;
    world_ask(w, 1, REQUEST_READ, FAR + MIB + 4096, 4096);
    world_answer_all(w, 0);
    assert_true(world_counters(w).memory > 0);
    world_release(w, 1);
    world_free(w);
}

/* However much is wanted, a small read goes at once, and large ones do not fill the line for good.
 */
static void test_small_demand_goes_first(void **state)
{
    struct world *w = world_new(1024u * MIB, 32 * MIB);
    unsigned before;

    (void)state;
    world_connect(w);
    for (unsigned i = 0; i < 8; i++)
        world_ask(w, i, REQUEST_READ, (uint64_t)i * 64 * MIB, 2 * MIB);
    before = w->held_count;
    assert_true(world_counters(w).bytes_in_flight <= world_counters(w).window + MIB);
    world_ask(w, 8, REQUEST_READ, 1000u * MIB, 4096);
    assert_int_equal(w->held_count, before + 1);
    assert_int_equal(world_held(w, before)->offset, 1000u * MIB);
    world_answer_all(w, 0);
    for (unsigned i = 0; i < 9; i++)
        assert_int_equal(w->asked[i].answered, 1);
    world_free(w);
}

static void test_answers_inside_submit(void **state)
{
    struct world *w = world_new(64 * MIB, 4 * MIB);

    (void)state;
    w->refuse = -EIO;
    for (unsigned i = 0; i < 200; i++)
        world_ask(w, i, REQUEST_READ, i * 64 * KIB, 64 * KIB);
    world_connect(w);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(w->asked[i].error, -EIO);
    w->refuse = 0;
    w->at_once = true;
    for (unsigned i = 200; i < 400; i++) {
        world_ask(w, i, REQUEST_READ, i * 64 * KIB, 64 * KIB);
        assert_int_equal(w->asked[i].answered, 1);
        assert_int_equal(w->asked[i].error, 0);
    }
    world_free(w);
}

static void test_looking_into_the_cache(void **state)
{
    struct world *w = world_new(64 * MIB, 4 * MIB);
    const uint8_t *data = NULL;
    static uint64_t offsets[1024];
    unsigned warmed;

    (void)state;
    assert_int_equal(engine_sample(w->engine, offsets, 1024), 0);
    world_connect(w);
    warmed = engine_sample(w->engine, offsets, 1024);
    assert_int_equal(warmed, 2 * MIB / 4096);
    world_ask(w, 0, REQUEST_READ, FAR, 8192);
    world_ask(w, 1, REQUEST_READ, 2 * FAR, 4096);
    world_answer_all(w, 0);
    assert_true(engine_peek(w->engine, FAR + 10, 20, &data));
    assert_int_equal(data[0], world_pattern(FAR + 10));
    assert_false(engine_peek(w->engine, FAR + 8000, 1000, &data));
    assert_false(engine_peek(w->engine, 3 * FAR, 1, &data));
    assert_int_equal(engine_sample(w->engine, offsets, 2), 2);
    assert_int_equal(engine_sample(w->engine, offsets, 1024), warmed + 3);
    for (unsigned i = 0; i < warmed + 3; i++)
        assert_true(engine_peek(w->engine, offsets[i], 4096, &data));
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_jump_fetches_its_pages),
        cmocka_unit_test(test_large_units_and_odd_ends),
        cmocka_unit_test(test_a_hit_asks_nothing),
        cmocka_unit_test(test_misses_are_joined),
        cmocka_unit_test(test_an_error_is_its_owners),
        cmocka_unit_test(test_a_failed_prefetch_fails_nobody),
        cmocka_unit_test(test_a_sequential_read),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_holes_need_no_memory),
        cmocka_unit_test(test_small_demand_goes_first),
        cmocka_unit_test(test_answers_inside_submit),
        cmocka_unit_test(test_looking_into_the_cache),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
