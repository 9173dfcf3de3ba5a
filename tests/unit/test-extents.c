/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of zeroes, beside a plain array that knows the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "block/extents.h"

#define KIB  ((uint64_t)1 << 10)
#define MIB  ((uint64_t)1 << 20)
#define SIZE (1000 * MIB)

static struct extents map;

static uint64_t run(uint64_t from, uint64_t to, bool zero)
{
    bool is_zero;
    uint64_t length = extents_run(&map, from, to, &is_zero);

    assert_true(length > 0 && length <= to - from);
    assert_int_equal(is_zero, zero);
    return length;
}

static void ask(uint64_t position, uint64_t offset, uint64_t length)
{
    uint64_t asked_offset;
    uint32_t asked_length;

    assert_true(extents_ask(&map, position, &asked_offset, &asked_length));
    assert_int_equal(asked_offset, offset);
    assert_int_equal(asked_length, length);
}

static bool asks(uint64_t position)
{
    uint64_t offset;
    uint32_t length;

    return extents_ask(&map, position, &offset, &length);
}

static void test_question_and_answer(void **state)
{
    static const struct source_extent list[] = {
        {1 << 20, false}, {2 << 20, true}, {1 << 20, true}, {60 << 20, false}};

    (void)state;
    extents_init(&map, SIZE, 512, true);
    assert_int_equal(run(0, SIZE, false), SIZE);
    ask(10, 0, 64 * MIB);
    assert_false(asks(500 * MIB)); /* one at a time */
    extents_answered(&map, 0, list, 4);
    assert_int_equal(run(0, SIZE, false), MIB);
    assert_int_equal(run(MIB, SIZE, true), 3 * MIB);
    assert_int_equal(run(2 * MIB, 2 * MIB + 4096, true), 4096);
    assert_int_equal(run(4 * MIB, SIZE, false), SIZE - 4 * MIB);
    assert_false(asks(0));
    assert_false(asks(32 * MIB));
    ask(33 * MIB, 64 * MIB, 64 * MIB); /* before anyone gets there */
}

/* Less than was asked, or more: neither is more than what it says. */
static void test_short_and_long_answers(void **state)
{
    static const struct source_extent little = {4096, true}, much = {UINT32_MAX, true};

    (void)state;
    extents_init(&map, SIZE, 512, true);
    ask(0, 0, 64 * MIB);
    extents_answered(&map, 0, &little, 1);
    assert_int_equal(run(0, SIZE, true), 4096);
    ask(0, 4096, 64 * MIB);
    extents_answered(&map, 0, &much, 1);
    assert_int_equal(run(0, SIZE, true), 64 * MIB + 4096);
    /* Up to what is known, and up to the end. */
    ask(SIZE - 10, SIZE - 512, 512);
    extents_answered(&map, 0, &much, 1);
    ask(SIZE - 5 * MIB, SIZE - 5 * MIB, 5 * MIB - 512);
    extents_answered(&map, 0, NULL, 0);
    assert_int_equal(run(SIZE - 512, SIZE, true), 512);
    assert_int_equal(run(SIZE - 5 * MIB, SIZE, false), 5 * MIB - 512);
}

static void test_errors(void **state)
{
    (void)state;
    extents_init(&map, SIZE, 512, false);
    assert_false(asks(0));
    extents_init(&map, SIZE, 512, true);
    assert_true(asks(0));
    extents_answered(&map, SOURCE_LOST, NULL, 0);
    assert_true(asks(0));
    extents_answered(&map, -EINVAL, NULL, 0);
    assert_false(asks(0));
    assert_int_equal(run(0, SIZE, false), SIZE);
}

static void test_writes(void **state)
{
    static const struct source_extent zeroes = {64 << 20, true};

    (void)state;
    extents_init(&map, SIZE, 512, true);
    assert_true(asks(0));
    extents_answered(&map, 0, &zeroes, 1);
    extents_forget(&map, 8 * MIB, 9 * MIB);
    assert_int_equal(run(0, SIZE, true), 8 * MIB);
    assert_int_equal(run(8 * MIB, SIZE, false), MIB);
    assert_int_equal(run(9 * MIB, SIZE, true), 55 * MIB);
    assert_false(asks(0)); /* what was written is not asked about again */
    ask(64 * MIB, 64 * MIB, 64 * MIB);
    extents_forget(&map, 70 * MIB, 71 * MIB); /* under the question's nose */
    extents_answered(&map, 0, &zeroes, 1);
    assert_int_equal(run(64 * MIB, SIZE, false), SIZE - 64 * MIB);
    ask(64 * MIB, 64 * MIB, 6 * MIB);
    extents_forget(&map, 80 * MIB, 81 * MIB); /* beside it */
    extents_answered(&map, 0, &zeroes, 1);
    assert_int_equal(run(9 * MIB, SIZE, true), 61 * MIB);
}

/* Questions keep to the far end's blocks whatever is forgotten, and where the size is none. */
static void test_blocks(void **state)
{
    static const struct source_extent zeroes = {64 << 20, true};

    (void)state;
    extents_init(&map, 64 * MIB + 100, 4096, true);
    ask(5000, 4096, 64 * MIB - 4096);
    extents_answered(&map, 0, &zeroes, 1);
    extents_forget(&map, 10000, 10001);
    for (unsigned n = 0; n < 3; n++) {
        uint64_t offset;
        uint32_t length;

        if (!extents_ask(&map, 4096, &offset, &length))
            break;
        assert_int_equal(offset % 4096, 0);
        assert_int_equal(length % 4096, 0);
        assert_true(length > 0);
        extents_answered(&map, 0, &zeroes, 1);
    }
    extents_init(&map, 100, 4096, true);
    assert_false(asks(0));
}

static void test_bounded(void **state)
{
    struct source_extent list[EXTENTS_ROOM];
    uint64_t last = 0;

    (void)state;
    for (unsigned i = 0; i < EXTENTS_ROOM; i++)
        list[i] = (struct source_extent){4096, i % 2 == 0};
    extents_init(&map, SIZE, 512, true);
    for (;;) {
        uint32_t length;

        if (!extents_ask(&map, last, &last, &length))
            break;
        extents_answered(&map, 0, list, EXTENTS_ROOM);
        assert_true(map.count <= EXTENTS_MAX);
        /* What was told last is known whole. */
        for (unsigned i = 0; i < EXTENTS_ROOM; i++)
            run(last + i * 4096, last + i * 4096 + 4096, i % 2 == 0);
        last += EXTENTS_ROOM * 4096;
    }
    assert_true(last > EXTENTS_MAX * 4096u); /* until it was plain that not all could be kept */
    assert_false(asks(SIZE / 2));
    run(last - 8192, last - 4096, true);
}

static uint32_t seed = 3;

static uint32_t random_below(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)(seed >> 4) * below) >> 28);
}

/* Never is anything called zero that was not said to be, or was written since. */
static void test_beside_an_array(void **state)
{
    enum { BLOCKS = 4096 };
    static bool zero[BLOCKS];
    struct source_extent list[EXTENTS_ROOM];

    (void)state;
    extents_init(&map, BLOCKS * KIB, 1024, true);
    for (unsigned n = 0; n < 6000; n++) {
        uint64_t offset, at;
        uint32_t length, count = 1 + random_below(EXTENTS_ROOM);

        at = random_below(BLOCKS);
        if (random_below(3) > 0) {
            uint64_t to = at + 1 + random_below((uint32_t)(BLOCKS - at)) / 8;

            extents_forget(&map, at * KIB, to * KIB);
            memset(zero + at, 0, (size_t)(to - at));
        } else if (extents_ask(&map, at * KIB, &offset, &length)) {
            assert_true(length > 0 && offset + length <= BLOCKS * KIB);
            for (unsigned i = 0; i < count; i++)
                list[i] = (struct source_extent){1024 * (1 + random_below(9)), random_below(2)};
            at = offset / KIB;
            for (unsigned i = 0; i < count; i++) {
                for (uint32_t k = 0; k < list[i].length / 1024 && at < (offset + length) / KIB; k++)
                    zero[at++] = list[i].zero;
            }
            extents_answered(&map, 0, list, count);
        }
        for (uint64_t block = 0; block < BLOCKS; block++) {
            bool is_zero;

            extents_run(&map, block * KIB, (block + 1) * KIB, &is_zero);
            assert_true(!is_zero || zero[block]);
        }
        for (unsigned i = 0; i < map.count; i++) {
            assert_true(map.ranges[i].from < map.ranges[i].to);
            assert_true(i == 0 || map.ranges[i - 1].to <= map.ranges[i].from);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_question_and_answer),
        cmocka_unit_test(test_short_and_long_answers),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_writes),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_beside_an_array),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
