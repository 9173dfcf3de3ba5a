/* SPDX-License-Identifier: Apache-2.0 */
/* The cache by itself: its bound, its age, its frames. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "block/cache.h"

#define BLOCKS 8u

static struct cache *new_cache(void)
{
    struct cache *c;

    assert_int_equal(cache_new(BLOCKS * CACHE_BLOCK + 5, &c), 0);
    assert_int_equal(cache_frames(c), BLOCKS);
    return c;
}

static void keep(struct cache *c, uint64_t index, uint16_t pages)
{
    struct cache_block *b = cache_pin(c, index);

    assert_non_null(b);
    assert_true(cache_give_memory(c, b));
    b->present |= pages;
    cache_unpin(c, b);
}

static void test_masks(void **state)
{
    (void)state;
    assert_int_equal(cache_pages(0, CACHE_BLOCK), 0xffff);
    assert_int_equal(cache_pages(0, 1), 1);
    assert_int_equal(cache_pages(4095, 4097), 3);
    assert_int_equal(cache_pages(CACHE_BLOCK - 1, CACHE_BLOCK), 0x8000);
    assert_int_equal(cache_pages_of(2, 0, UINT64_MAX), 0xffff);
    assert_int_equal(cache_pages_of(1, CACHE_BLOCK + 8192, CACHE_BLOCK + 8193), 4);
}

static void test_the_oldest_goes(void **state)
{
    struct cache *c = new_cache();

    (void)state;
    for (uint64_t i = 0; i < BLOCKS; i++)
        keep(c, i * 16, 1); /* all in one bucket */
    keep(c, 0, 2);
    keep(c, 1000, 1);
    assert_non_null(cache_look(c, 0));
    assert_int_equal(cache_look(c, 0)->present, 3);
    assert_null(cache_look(c, 16));
    assert_non_null(cache_look(c, 1000));
    assert_int_equal(cache_memory(c), BLOCKS * CACHE_BLOCK);
    cache_free(c);
}

static void test_pins_hold(void **state)
{
    struct cache *c = new_cache();
    struct cache_block *pinned[BLOCKS];

    (void)state;
    for (uint64_t i = 0; i < BLOCKS; i++) {
        pinned[i] = cache_pin(c, i);
        assert_true(cache_give_memory(c, pinned[i]));
    }
    assert_null(cache_pin(c, 100));
    assert_null(cache_take_frame(c));
    assert_int_equal(cache_frames_loose(c), 0);
    assert_ptr_equal(cache_pin(c, 3), pinned[3]);
    cache_unpin(c, pinned[3]);
    assert_null(cache_pin(c, 100));
    cache_unpin(c, pinned[3]); /* holds nothing: free at once */
    assert_null(cache_look(c, 3));
    pinned[3] = cache_pin(c, 100);
    assert_non_null(pinned[3]);
    for (unsigned i = 0; i < BLOCKS; i++)
        cache_unpin(c, pinned[i]);
    assert_int_equal(cache_memory(c), 0);
    cache_free(c);
}

static void test_frames_are_shared(void **state)
{
    struct cache *c = new_cache();
    uint8_t *frames[BLOCKS];

    (void)state;
    for (uint64_t i = 0; i < BLOCKS; i++)
        keep(c, i, 1);
    for (unsigned i = 0; i < BLOCKS; i++) {
        frames[i] = cache_take_frame(c);
        assert_non_null(frames[i]);
        memset(frames[i], (int)i, CACHE_BLOCK);
        assert_null(cache_look(c, i)); /* went for it */
    }
    assert_null(cache_take_frame(c));
    for (unsigned i = 0; i < BLOCKS; i++) {
        assert_int_equal(frames[i][CACHE_BLOCK - 1], i);
        cache_give_back_frame(c, frames[i]);
    }
    cache_free(c);
}

static void test_zeroes_need_no_frame(void **state)
{
    struct cache *c = new_cache();
    struct cache_block *b = cache_pin(c, 7);

    (void)state;
    b->present = 0x00f0;
    assert_int_equal(cache_memory(c), 0);
    cache_unpin(c, b);
    b = cache_pin(c, 7);
    assert_true(cache_give_memory(c, b)); /* data come beside them */
    for (unsigned i = 4 * CACHE_PAGE; i < 8 * CACHE_PAGE; i++)
        assert_int_equal(b->memory[i], 0);
    cache_drop_memory(c, b);
    assert_int_equal(cache_memory(c), 0);
    cache_unpin(c, b);
    cache_free(c);
}

static void test_dropping(void **state)
{
    struct cache *c = new_cache();

    (void)state;
    for (uint64_t i = 0; i < 4; i++)
        keep(c, i, 0xffff);
    cache_drop(c, CACHE_BLOCK - CACHE_PAGE, 2 * CACHE_BLOCK + CACHE_PAGE);
    assert_int_equal(cache_look(c, 0)->present, 0x7fff);
    assert_null(cache_look(c, 1));
    assert_int_equal(cache_look(c, 2)->present, 0xfffe);
    cache_drop(c, 0, (uint64_t)1 << 50); /* more than there are blocks */
    for (uint64_t i = 0; i < 4; i++)
        assert_null(cache_look(c, i));
    assert_int_equal(cache_memory(c), 0);
    cache_free(c);
}

static void test_asked(void **state)
{
    struct cache *c = new_cache();
    struct cache_block *b = cache_pin(c, 5);

    (void)state;
    b->asked = 1u << 3;
    assert_true(cache_is_asked(c, 5 * CACHE_BLOCK, 6 * CACHE_BLOCK));
    assert_false(cache_is_asked(c, 5 * CACHE_BLOCK, 5 * CACHE_BLOCK + 3 * CACHE_PAGE));
    assert_true(cache_is_asked(c, 0, (uint64_t)1 << 50));
    b->asked = 0;
    cache_unpin(c, b);
    cache_free(c);
}

static void test_waste_is_counted(void **state)
{
    struct cache *c = new_cache();
    struct cache_block *b = cache_pin(c, 5);

    (void)state;
    b->present = 0x0ff0;
    b->unread = 0x00ff;
    cache_unpin(c, b);
    cache_drop(c, 5 * CACHE_BLOCK, 6 * CACHE_BLOCK);
    assert_int_equal(cache_wasted_pages(c), 4);
    cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_masks),
        cmocka_unit_test(test_the_oldest_goes),
        cmocka_unit_test(test_pins_hold),
        cmocka_unit_test(test_frames_are_shared),
        cmocka_unit_test(test_zeroes_need_no_frame),
        cmocka_unit_test(test_dropping),
        cmocka_unit_test(test_asked),
        cmocka_unit_test(test_waste_is_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
