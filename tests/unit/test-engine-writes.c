/* SPDX-License-Identifier: Apache-2.0 */
/* Writes, trims, zeroings and flushes through the engine: what the far end is told, and when. */
#include "engine-world.h"

#include <errno.h>
#include <string.h>

/* A far end that can write; the middle of its medium is not warmed up. */
#define MIDDLE (2u * MIB)

static struct world *writable(void)
{
    struct world *w = world_new(4 * MIB, 4 * MIB);

    world_make_disk(w);
    return w;
}

static void test_a_write_and_a_read_of_it(void **state)
{
    struct world *w = writable();

    (void)state;
    world_connect(w);
    world_ask(w, 0, REQUEST_READ, MIDDLE, 8192);
    world_answer_all(w, 0);
    world_ask(w, 1, REQUEST_WRITE, MIDDLE + 1000, 3000);
    assert_int_equal(w->held_count, 1);
    assert_int_equal(world_held(w, 0)->length, 3000);
    world_ask(w, 2, REQUEST_READ, MIDDLE, 8192); /* waits for it, and for what it wrote */
    assert_int_equal(w->held_count, 1);
    world_ask(w, 3, REQUEST_READ, MIDDLE + 16 * KIB, 512); /* touches nothing of it */
    assert_int_equal(w->held_count, 2);
    world_answer_all(w, 0);
    for (unsigned i = 1; i < 4; i++)
        assert_int_equal(w->asked[i].answered, 1);
    assert_true(w->asked[1].order < w->asked[2].order);
    assert_int_equal(world_counters(w).bytes_written, 3000);
    world_free(w);
}

static void test_a_write_waits_for_readers(void **state)
{
    struct world *w = writable();

    (void)state;
    w->keeps = true;
    world_connect(w);
    world_ask(w, 0, REQUEST_READ, MIDDLE, 4096);
    world_ask(w, 1, REQUEST_WRITE, MIDDLE, 4096);
    world_ask(w, 2, REQUEST_WRITE, MIDDLE + 512, 512);
    world_answer_all(w, 0);
    assert_int_equal(w->asked[0].answered, 1);
    assert_int_equal(w->writes, 0); /* the reader still shows its bytes */
    world_release(w, 0);            /* which are checked again here */
    assert_int_equal(w->writes, 1);
    world_answer_all(w, 0);
    assert_int_equal(w->asked[2].answered, 1);
    assert_true(w->asked[1].order < w->asked[2].order);
    world_release(w, 1);
    world_release(w, 2);
    world_free(w);
}

static void test_what_the_far_end_lacks(void **state)
{
    struct world *w = writable();

    (void)state;
    w->info.can_trim = w->info.can_write_zeroes = w->info.can_fua = false;
    world_connect(w);
    world_ask(w, 0, REQUEST_TRIM, MIDDLE, 4096); /* a hint */
    assert_int_equal(w->asked[0].answered, 1);
    assert_int_equal(w->asks, 0);
    world_ask(w, 1, REQUEST_WRITE_ZEROES, MIDDLE, 200 * KIB);
    world_answer_all(w, 0);
    assert_int_equal(w->asked[1].error, 0);
    assert_true(w->writes >= 4 && w->zeroings == 0);
    world_ask_fua(w, 2, REQUEST_WRITE, MIDDLE, 512);
    world_answer(w, world_held(w, 0), 0);
    assert_int_equal(w->asked[2].answered, 0); /* not before a flush */
    assert_int_equal(world_held(w, 0)->op, SOURCE_FLUSH);
    world_answer_all(w, 0);
    assert_int_equal(w->asked[2].error, 0);
    assert_memory_equal(w->stable + MIDDLE, w->model + MIDDLE, 512);
    world_free(w);

    w = writable();
    w->info.read_only = true;
    w->info.can_trim = w->info.can_write_zeroes = w->info.can_fua = w->info.can_flush = false;
    world_connect(w);
    world_ask(w, 0, REQUEST_WRITE, MIDDLE, 512);
    assert_int_equal(w->asked[0].error, -EPERM);
    world_ask(w, 1, REQUEST_FLUSH, 0, 0); /* never sent to one that does not offer it */
    assert_int_equal(w->asked[1].answered, 1);
    assert_int_equal(w->asked[1].error, 0);
    world_free(w);
}

/* What is smaller than the source's block keeps its neighbours. */
static void test_edges(void **state)
{
    struct world *w = writable();

    (void)state;
    w->info.block_min = 8192;
    world_connect(w);
    world_ask(w, 0, REQUEST_WRITE, MIDDLE + 100, 50);
    world_ask(w, 1, REQUEST_WRITE, MIDDLE + 300 * KIB + 1, 64 * KIB);
    world_ask(w, 2, REQUEST_WRITE_ZEROES, MIDDLE + 600 * KIB - 7, 64 * KIB);
    world_ask(w, 3, REQUEST_TRIM, MIDDLE + 900 * KIB - 7, 64 * KIB);
    world_answer_all(w, 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(w->asked[i].error, 0);
    for (uint64_t at = 0; at < 4 * MIB; at++) {
        if (w->disk[at] != w->model[at] && !w->unknown[at])
            fail_msg("byte %llu is wrong", (unsigned long long)at);
    }
    /* A trim never takes more than it was told. */
    assert_int_equal(w->disk[MIDDLE + 900 * KIB - 8], world_pattern(MIDDLE + 900 * KIB - 8));
    world_free(w);
}

static void expect_disk(const struct world *w)
{
    for (uint64_t at = 0; at < w->info.size; at++) {
        if (w->disk[at] != w->model[at] && !w->unknown[at])
            fail_msg("byte %llu is wrong", (unsigned long long)at);
    }
}

/* The edges of a write that has no room in the log yet stay what they are, whatever comes into
 * the rest of their block meanwhile. */
static void edges_wait_for_room(bool edge_is_hole)
{
    struct world *w = writable();
    uint64_t hole = edge_is_hole ? MIDDLE : MIDDLE + 8192;

    memset(w->disk + hole, 0, 8192);
    memset(w->model + hole, 0, 8192);
    w->info.block_min = 8192;
    world_connect(w);
    world_ask(w, 0, REQUEST_WRITE, MIDDLE - MIB, MIB); /* all that the log takes */
    while (!w->asked[0].answered)
        world_answer(w, world_held(w, 0), 0);
    world_ask(w, 1, REQUEST_WRITE, MIDDLE + 100, 50);
    w->holes = edge_is_hole;
    while (world_held(w, 0)->op == SOURCE_READ)
        world_answer(w, world_held(w, 0), 0);
    assert_int_equal(world_held(w, 0)->op, SOURCE_FLUSH); /* for room */
    world_ask(w, 2, REQUEST_READ, MIDDLE + 8192, 8192);
    w->holes = !edge_is_hole;
    world_answer(w, world_held(w, w->held_count - 1), 0);
    assert_int_equal(w->asked[2].answered, 1);
    w->holes = false;
    world_answer_all(w, 0);
    assert_int_equal(w->asked[1].error, 0);
    expect_disk(w);
    world_ask(w, 3, REQUEST_READ, MIDDLE, 16384);
    world_answer_all(w, 0);
    world_free(w);
}

static void test_edges_wait_for_room(void **state)
{
    (void)state;
    edges_wait_for_room(false);
    edges_wait_for_room(true);
}

static void test_an_edge_that_cannot_be_read(void **state)
{
    struct world *w = writable();

    (void)state;
    w->info.block_min = 8192;
    world_connect(w);
    world_ask(w, 0, REQUEST_WRITE, MIDDLE + 100, 50);
    assert_int_equal(world_held(w, 0)->op, SOURCE_READ);
    world_answer(w, world_held(w, 0), -EIO);
    assert_int_equal(w->asked[0].error, -EIO);
    assert_int_equal(w->writes, 0);
    world_free(w);
}

/* A large write is cut, and more unsafe data than the log holds is flushed by the engine itself. */
static void test_the_log_is_bounded(void **state)
{
    struct world *w = writable();

    (void)state;
    world_connect(w);
    for (unsigned i = 0; i < 20; i++) {
        world_ask(w, i, REQUEST_WRITE, (i % 2) * 2 * MIB, 2 * MIB);
        assert_true(world_counters(w).memory <= 4 * MIB);
    }
    world_answer_all(w, 0);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(w->asked[i].error, 0);
    assert_true(w->flushes >= 19);
    world_free(w);
}

static void test_many_small_pieces(void **state)
{
    struct world *w = writable();
    unsigned unsafe = 0;

    (void)state;
    w->at_once = true;
    world_connect(w);
    for (unsigned i = 0; i < 4000; i++) {
        unsigned index = i % ASK_MAX;

        world_ask(w, index, REQUEST_WRITE, (uint64_t)(i * 37 % 4000) * 512, 512);
        assert_int_equal(w->asked[index].error, 0);
    }
    for (uint64_t at = 0; at < 4 * MIB; at++)
        unsafe += w->stable[at] != w->disk[at];
    assert_true(w->flushes >= 2 && unsafe > 0); /* neither after each, nor never */
    world_free(w);
}

static void test_errors(void **state)
{
    struct world *w = writable();

    (void)state;
    world_connect(w);
    world_ask(w, 0, REQUEST_WRITE, MIDDLE, MIB);
    world_ask(w, 1, REQUEST_FLUSH, 0, 0);
    world_answer(w, world_held(w, 0), -ENOSPC);
    world_answer_all(w, 0);
    assert_int_equal(w->asked[0].error, -ENOSPC);
    assert_int_equal(w->asked[1].error, 0);
    world_ask(w, 2, REQUEST_FLUSH, 0, 0);
    world_answer_all(w, -EIO);
    assert_int_equal(w->asked[2].error, -EIO);
    world_ask(w, 3, REQUEST_READ, MIDDLE, MIB); /* as it is, not as it was */
    world_answer_all(w, 0);
    assert_int_equal(w->asked[3].error, 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_write_and_a_read_of_it),
        cmocka_unit_test(test_a_write_waits_for_readers),
        cmocka_unit_test(test_what_the_far_end_lacks),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_edges_wait_for_room),
        cmocka_unit_test(test_an_edge_that_cannot_be_read),
        cmocka_unit_test(test_the_log_is_bounded),
        cmocka_unit_test(test_many_small_pieces),
        cmocka_unit_test(test_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
