/* SPDX-License-Identifier: Apache-2.0 */
/* A far end that is lost, comes back, or does not: who waits, who is answered, what is repeated. */
#include "engine-world.h"

#include <errno.h>
#include <string.h>

#define MIDDLE (16u * MIB)

static void test_reads_are_asked_again(void **state)
{
    struct world *w = world_new(64 * MIB, 8 * MIB);

    (void)state;
    world_connect(w);
    world_ask(w, 10, REQUEST_READ, 3 * MIDDLE, 4096);
    world_answer_all(w, 0);
    for (unsigned i = 0; i < 8; i++)
        world_ask(w, i, REQUEST_READ, MIDDLE + i * 2 * MIB, MIB / 4);
    world_answer(w, world_held(w, w->held_count - 1), 0);
    world_lose(w, 0);
    world_ask(w, 8, REQUEST_READ, 2 * MIDDLE + 5, 5);
    for (unsigned i = 0; i < 7; i++)
        assert_int_equal(w->asked[i].answered, 0);
    world_ask(w, 9, REQUEST_READ, 3 * MIDDLE + 1, 100); /* the cache still serves */
    assert_int_equal(w->asked[9].answered, 1);
    w->info.length_max = 64 * KIB; /* another server before the same image */
    world_connect(w);
    world_answer_all(w, 0);
    for (unsigned i = 0; i <= 9; i++) {
        assert_int_equal(w->asked[i].answered, 1);
        assert_int_equal(w->asked[i].error, 0);
    }
    assert_int_equal(world_counters(w).suspensions, 1);
    world_free(w);
}

/* Who may take over: the same blocks, or smaller ones where nothing is written; at least the same
 * abilities. */
static void test_terms(void **state)
{
    struct world *w = world_new(4 * MIB, 4 * MIB);
    struct source_info info;

    (void)state;
    w->info.block_min = 8192;
    assert_true(engine_takes(w->engine, &w->info));
    world_connect(w);
    info = w->info;
    assert_true(engine_takes(w->engine, &info));
    info.block_min = 512;
    info.length_max = 4096;
    info.can_flush = false;
    info.can_extents = true;
    assert_true(engine_takes(w->engine, &info));
    info.block_min = 16384;
    assert_false(engine_takes(w->engine, &info));
    info = w->info;
    info.size -= 8192;
    assert_false(engine_takes(w->engine, &info));
    world_free(w);

    w = world_new(4 * MIB, 4 * MIB);
    world_make_disk(w);
    w->info.block_min = 512;
    world_connect(w);
    for (unsigned i = 0; i < 9; i++) {
        info = w->info;
        info.length_max = i == 0 ? 64 * KIB : i == 1 ? 4096 : MIB;
        info.block_min = i == 2 ? 1 : i == 3 ? 4096 : 512;
        info.read_only = i == 4;
        info.can_flush = i != 5;
        info.can_fua = i != 6;
        info.can_trim = i != 7;
        info.can_write_zeroes = i != 8;
        assert_int_equal(engine_takes(w->engine, &info), i == 0);
    }
    world_free(w);
}

/* A request is answered by its limit, and what comes for it later does no harm. */
static void test_limit(void **state)
{
    struct world *w = world_new(64 * MIB, 4 * MIB);
    uint64_t began = w->now;

    (void)state;
    world_connect(w);
    world_ask(w, 0, REQUEST_READ, MIDDLE, MIB);
    assert_int_equal(w->alarm, began + LIMIT);
    w->now = began + 100;
    world_ask(w, 1, REQUEST_READ, 2 * MIDDLE, MIB);
    w->now = began + LIMIT - 1;
    engine_tick(w->engine);
    assert_int_equal(w->asked[0].answered, 0);
    w->now = began + LIMIT;
    engine_tick(w->engine);
    assert_int_equal(w->asked[0].error, -EIO);
    assert_int_equal(w->asked[1].answered, 0);
    assert_int_equal(w->alarm, began + LIMIT + 100);
    world_answer_all(w, 0);
    assert_int_equal(w->asked[1].error, 0);
    world_free(w);
}

static void test_limit_without_any_source(void **state)
{
    struct world *w = world_new(64 * MIB, 4 * MIB);

    (void)state;
    world_ask(w, 0, REQUEST_READ, MIDDLE, MIB);
    world_ask(w, 1, REQUEST_FLUSH, 0, 0);
    w->now += LIMIT;
    engine_tick(w->engine);
    assert_int_equal(w->asked[0].error, -EIO);
    assert_int_equal(w->asked[1].error, -EIO);
    world_free(w);
}

static void test_fail_answers_all_until_the_next_source(void **state)
{
    struct world *w = world_new(64 * MIB, 4 * MIB);

    (void)state;
    world_connect(w);
    for (unsigned i = 0; i < 10; i++)
        world_ask(w, i, REQUEST_READ, MIDDLE + i * MIB, MIB);
    engine_fail(w->engine, -EIO);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(w->asked[i].error, -EIO);
    world_answer_all(w, SOURCE_LOST);
    world_ask(w, 10, REQUEST_READ, 0, 1);
    assert_int_equal(w->asked[10].error, -EIO);
    world_connect(w);
    world_ask(w, 11, REQUEST_READ, MIDDLE, 512);
    world_answer_all(w, 0);
    assert_int_equal(w->asked[11].answered, 1);
    assert_int_equal(w->asked[11].error, 0);
    world_free(w);
}

static struct world *writable(void)
{
    struct world *w = world_new(4 * MIB, 4 * MIB);

    world_make_disk(w);
    world_connect(w);
    return w;
}

/* What was answered and not flushed is asked again, in order and before anything else. */
static void test_unsafe_writes_come_first(void **state)
{
    struct world *w = writable();

    (void)state;
    world_ask(w, 0, REQUEST_WRITE, 2 * MIB, 512);
    world_answer_all(w, 0);
    world_ask(w, 1, REQUEST_WRITE, 2 * MIB + 256, 512);
    world_answer_all(w, 0);
    world_ask(w, 2, REQUEST_WRITE_ZEROES, 2 * MIB + 700, 512);
    world_answer_all(w, 0);
    world_ask(w, 3, REQUEST_READ, 3 * MIB - 4096, 4096);
    world_crash(w, 0);
    world_connect(w);
    assert_int_equal(w->held_count, 1);
    assert_int_equal(world_held(w, 0)->offset, 2 * MIB);
    world_answer(w, world_held(w, 0), 0);
    assert_int_equal(world_held(w, 0)->offset, 2 * MIB + 256);
    world_answer(w, world_held(w, 0), 0);
    assert_int_equal(world_held(w, 0)->op, SOURCE_WRITE_ZEROES);
    world_lose(w, 0); /* and again, as far as they had not come */
    world_connect(w);
    world_answer_all(w, 0);
    assert_int_equal(w->asked[3].error, 0);
    assert_memory_equal(w->disk, w->model, 4 * MIB);
    world_free(w);
}

/* A write lost on its way is done again, whether it had been done or not, and nobody is told. */
static void test_writes_under_way(void **state)
{
    (void)state;
    for (uint32_t done = 0; done < 4; done++) {
        struct world *w = writable();

        world_ask(w, 0, REQUEST_WRITE, 2 * MIB, 4096);
        world_ask(w, 1, REQUEST_WRITE, 2 * MIB + 64 * KIB, 4096);
        world_ask(w, 2, REQUEST_WRITE, 2 * MIB + 100, 50);
        world_ask(w, 3, REQUEST_FLUSH, 0, 0);
        world_crash(w, done);
        assert_int_equal(w->answers, 0);
        world_connect(w);
        world_answer_all(w, 0);
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(w->asked[i].error, 0);
        assert_memory_equal(w->disk, w->model, 4 * MIB);
        world_free(w);
    }
}

/* A server with a cache before the image may call a hole what it has not flushed, and does so to
 * whoever asks it after a return. */
static void test_what_is_unsafe_is_no_hole(void **state)
{
    struct world *w = world_new(4 * MIB, 4 * MIB);

    (void)state;
    world_make_disk(w);
    memset(w->disk + 2 * MIB, 0, MIB);
    memset(w->stable + 2 * MIB, 0, MIB);
    memset(w->model + 2 * MIB, 0, MIB);
    w->info.can_extents = true;
    w->info.can_fua = false;
    w->late = true;
    world_connect(w);
    world_ask(w, 0, REQUEST_WRITE, 2 * MIB + 64 * KIB, 64 * KIB);
    world_answer_all(w, 0);
    world_lose(w, 0);
    world_connect(w);
    world_answer_all(w, 0);
    world_ask(w, 1, REQUEST_READ, 2 * MIB, 4096);
    world_answer_all(w, 0);
    world_ask(w, 2, REQUEST_READ, 2 * MIB + 64 * KIB, 64 * KIB);
    world_answer_all(w, 0);
    assert_int_equal(w->asked[2].error, 0);
    world_free(w);
}

static void test_a_flush_forgets(void **state)
{
    struct world *w = writable();

    (void)state;
    world_ask(w, 0, REQUEST_WRITE, 2 * MIB, 512);
    world_answer_all(w, 0);
    world_ask(w, 1, REQUEST_FLUSH, 0, 0);
    world_ask(w, 2, REQUEST_WRITE, 3 * MIB - 512, 512);
    world_answer(w, world_held(w, 1), 0); /* answered after the flush had left: not covered */
    world_answer(w, world_held(w, 0), 0);
    world_crash(w, 0);
    engine_set_source(w->engine, &w->source, &w->info);
    assert_int_equal(w->held_count, 1);
    assert_int_equal(world_held(w, 0)->offset, 3 * MIB - 512);
    world_answer_all(w, 0);
    assert_memory_equal(w->disk, w->model, 4 * MIB);
    world_free(w);
}

/* A FUA write is safe, but an older one that is not must not be repeated over it. */
static void test_fua_over_an_unsafe_write(void **state)
{
    struct world *w = writable();

    (void)state;
    world_ask(w, 0, REQUEST_WRITE, 2 * MIB, 512);
    world_answer_all(w, 0);
    world_ask_fua(w, 1, REQUEST_WRITE, 2 * MIB, 512);
    world_answer_all(w, 0);
    world_crash(w, 0);
    world_connect(w);
    world_answer_all(w, 0);
    assert_memory_equal(w->disk, w->model, 4 * MIB);
    world_free(w);
}

/* The machine was told that a write is done; when that turns out wrong, its next flush says so. */
static void test_a_replay_that_fails(void **state)
{
    struct world *w = writable();

    (void)state;
    world_ask(w, 0, REQUEST_WRITE, 2 * MIB, 512);
    world_answer_all(w, 0);
    world_lose(w, 0);
    engine_set_source(w->engine, &w->source, &w->info);
    world_answer(w, world_held(w, 0), -ENOSPC);
    world_ask(w, 1, REQUEST_FLUSH, 0, 0);
    world_ask(w, 2, REQUEST_FLUSH, 0, 0);
    world_answer_all(w, 0);
    assert_int_equal(w->asked[1].error, -ENOSPC);
    assert_int_equal(w->asked[2].error, 0);
    world_free(w);
}

/* A write that is to be safe at once is, where a flush makes it so; that flush is not the
 * machine's, and what was lost before waits for one that is. */
static void test_fua_does_not_hear_of_others(void **state)
{
    struct world *w = writable();

    (void)state;
    w->info.can_fua = false;
    world_lose(w, 0);
    world_connect(w);
    world_ask(w, 0, REQUEST_WRITE, 2 * MIB, 512);
    world_answer_all(w, 0);
    world_lose(w, 0);
    engine_set_source(w->engine, &w->source, &w->info);
    world_answer(w, world_held(w, 0), -ENOSPC);
    world_ask_fua(w, 1, REQUEST_WRITE, 3 * MIB - 512, 512);
    world_answer_all(w, 0);
    world_ask(w, 2, REQUEST_FLUSH, 0, 0);
    world_answer_all(w, 0);
    assert_int_equal(w->asked[1].error, 0);
    assert_int_equal(w->asked[2].error, -ENOSPC);
    world_free(w);
}

/* A write answered by its limit holds its range until the far end has answered, or is gone. */
static void test_a_write_past_its_limit(void **state)
{
    struct world *w = writable();

    (void)state;
    world_ask(w, 0, REQUEST_WRITE, 2 * MIB, 4096);
    w->now += LIMIT;
    engine_tick(w->engine);
    assert_int_equal(w->asked[0].error, -EIO);
    world_ask(w, 1, REQUEST_WRITE, 2 * MIB, 4096);
    assert_int_equal(w->writes, 1);
    world_lose(w, 0);
    world_connect(w);
    assert_int_equal(w->held_count, 1); /* the second; the first is asked no more */
    world_answer_all(w, 0);
    assert_int_equal(w->asked[1].error, 0);
    assert_memory_equal(w->disk, w->model, 4 * MIB);
    world_free(w);
}

/* Requests of both kinds in every stage end with the session. */
static void test_fail_with_writes(void **state)
{
    struct world *w = writable();

    (void)state;
    w->info.block_min = 8192;
    world_lose(w, 0);
    world_connect(w);
    world_ask(w, 0, REQUEST_WRITE, 2 * MIB, MIB);
    world_ask(w, 1, REQUEST_WRITE, 2 * MIB, MIB);     /* waits */
    world_ask(w, 2, REQUEST_WRITE, 3 * MIB - 100, 7); /* waits, too */
    world_ask(w, 3, REQUEST_WRITE, MIB + 77, 7);      /* reads its edge */
    world_ask(w, 4, REQUEST_FLUSH, 0, 0);
    world_ask_fua(w, 5, REQUEST_WRITE, MIB + 64 * KIB, 8192);
    engine_fail(w->engine, -EIO);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(w->asked[i].error, -EIO);
    world_answer_all(w, SOURCE_LOST);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_are_asked_again),
        cmocka_unit_test(test_terms),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_limit_without_any_source),
        cmocka_unit_test(test_fail_answers_all_until_the_next_source),
        cmocka_unit_test(test_unsafe_writes_come_first),
        cmocka_unit_test(test_writes_under_way),
        cmocka_unit_test(test_what_is_unsafe_is_no_hole),
        cmocka_unit_test(test_a_flush_forgets),
        cmocka_unit_test(test_fua_over_an_unsafe_write),
        cmocka_unit_test(test_a_replay_that_fails),
        cmocka_unit_test(test_fua_does_not_hear_of_others),
        cmocka_unit_test(test_a_write_past_its_limit),
        cmocka_unit_test(test_fail_with_writes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
