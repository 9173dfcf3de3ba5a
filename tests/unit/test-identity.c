/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages an image is known by, and how they are read of sources of every shape: as many at
 * once as the source takes, in whole blocks, in pieces no longer than it answers.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "slot/examine.h"
#include "slot/token.h"

#define IMAGE_MAX (1u << 20)
#define HELD_MAX  64

static uint8_t image[IMAGE_MAX];
static struct source_info info;

/* ---- the source: holds what it is asked, or answers at once ---- */

static struct {
    struct source base;
    bool hold;
    struct source_request *held[HELD_MAX];
    unsigned held_count, held_most, asked;
    uint64_t bad_at; /* a request with this byte fails; UINT64_MAX: none */
} src;

static void answer(struct source_request *r, int error)
{
    const uint8_t *from = image + r->offset;

    if (src.bad_at >= r->offset && src.bad_at < r->offset + r->length && !error)
        error = -EIO;
    for (unsigned i = 0; !error && i < r->part_count; i++) {
        memcpy(r->parts[i].data, from, r->parts[i].length);
        from += r->parts[i].length;
    }
    r->complete(r, error);
}

static void src_submit(struct source *source, struct source_request *r)
{
    (void)source;
    src.asked++;
    assert_int_equal(r->op, SOURCE_READ);
    assert_int_equal(r->offset % info.block_min, 0);
    assert_true(r->length > 0 && r->length <= info.length_max);
    assert_true(r->offset + r->length <= info.size);
    assert_true((r->offset + r->length) % info.block_min == 0 ||
                r->offset + r->length == info.size);
    if (!src.hold) {
        answer(r, 0);
        return;
    }
    assert_true(src.held_count < info.in_flight_max);
    src.held[src.held_count++] = r;
    if (src.held_count > src.held_most)
        src.held_most = src.held_count;
}

static const struct source_ops src_ops = {.submit = src_submit};

/* Answers what came last first. */
static void answer_all(int error)
{
    while (src.held_count > 0)
        answer(src.held[--src.held_count], error);
}

/* ---- the examination ---- */

static struct identity identity;
static unsigned verdicts;
static enum examine_verdict verdict;
static uint64_t where;

static void done(void *arg, enum examine_verdict v, uint64_t offset)
{
    (void)arg;
    verdicts++;
    verdict = v;
    where = offset;
}

static struct examine *start(bool learn)
{
    struct examine_task task = {
        .source = &src.base, .info = &info, .identity = &identity, .learn = learn, .done = done};
    struct examine *x;

    verdicts = 0;
    src.asked = 0;
    src.held_most = 0;
    assert_int_equal(examine_new(&task, &x), 0);
    examine_start(x);
    return x;
}

static void examine(bool learn)
{
    examine_free(start(learn));
    assert_int_equal(verdicts, 1);
}

static void have_image(uint64_t size, uint32_t block_min, uint32_t length_max, unsigned in_flight)
{
    info = (struct source_info){.size = size,
                                .block_min = block_min,
                                .length_max = length_max,
                                .in_flight_max = in_flight,
                                .read_only = true};
    assert_int_equal(identity_choose(&identity, size), 0);
}

static int setup(void **state)
{
    (void)state;
    memset(&src, 0, sizeof src);
    src.base.ops = &src_ops;
    src.bad_at = UINT64_MAX;
    for (uint32_t i = 0; i < IMAGE_MAX; i++)
        image[i] = (uint8_t)(i * 2654435761u >> 24);
    return 0;
}

/* ---- which pages ---- */

static bool chosen(uint64_t offset)
{
    for (unsigned i = 0; i < identity.count; i++) {
        if (identity.samples[i].offset == offset)
            return true;
    }
    return false;
}

static void test_pages(void **state)
{
    static const uint64_t sizes[] = {
        1, 511, 4096, 4097, 131072, 131073, 200000, IMAGE_MAX, (UINT64_C(1) << 63) - 1};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t size = sizes[i];
        uint64_t pages = (size - 1) / IDENTITY_PAGE + 1;

        assert_int_equal(identity_choose(&identity, size), 0);
        assert_int_equal(identity.count,
                         pages < IDENTITY_SAMPLES_MAX ? pages : IDENTITY_SAMPLES_MAX);
        assert_true(chosen(0));
        assert_true(chosen((pages - 1) * IDENTITY_PAGE));
        assert_true(pages < 9 || chosen(32768));
        for (unsigned at = 0; at < identity.count; at++) {
            const struct identity_sample *s = &identity.samples[at];

            assert_false(s->known);
            assert_int_equal(s->offset % IDENTITY_PAGE, 0);
            assert_true(s->offset < size);
            assert_in_range(identity_page_length(&identity, s->offset), 1, IDENTITY_PAGE);
            for (unsigned other = 0; other < at; other++)
                assert_int_not_equal(identity.samples[other].offset, s->offset);
        }
    }
}

/* Nobody can tell beforehand which they will be. */
static void test_pages_are_random(void **state)
{
    struct identity first;
    unsigned same = 0;

    (void)state;
    assert_int_equal(identity_choose(&first, UINT64_C(1) << 50), 0);
    assert_int_equal(identity_choose(&identity, UINT64_C(1) << 50), 0);
    for (unsigned i = 0; i < first.count; i++)
        same += chosen(first.samples[i].offset);
    assert_int_equal(same, 3);
}

/* ---- reading them ---- */

static void test_every_shape(void **state)
{
    static const struct {
        uint64_t size;
        uint32_t block_min, length_max;
        unsigned in_flight;
    } shapes[] = {
        {1, 1, 1, 1},
        {300, 1, 300, 4},
        {5000, 512, 512, 1},
        {100000, 1, 1000, 3},
        {IMAGE_MAX, 1, 1 << 20, 64},
        {IMAGE_MAX, 512, 512, 16},
        {IMAGE_MAX, 65536, 65536, 2},
        {IMAGE_MAX - 100, 65536, 131072, 5},
        {IMAGE_MAX, 4096, 4096, 40},
    };

    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (int hold = 0; hold < 2; hold++) {
            struct examine *x;

            have_image(shapes[i].size, shapes[i].block_min, shapes[i].length_max,
                       shapes[i].in_flight);
            src.hold = hold;
            x = start(true);
            answer_all(0);
            assert_int_equal(verdicts, 1);
            assert_int_equal(verdict, EXAMINE_SAME);
            examine_free(x);
            for (unsigned at = 0; at < identity.count; at++)
                assert_true(identity.samples[at].known);
            x = start(false);
            answer_all(0);
            assert_int_equal(verdicts, 1);
            assert_int_equal(verdict, EXAMINE_SAME);
            examine_free(x);
        }
    }
    have_image(IMAGE_MAX, 1, 1 << 20, 64);
    src.hold = true;
    struct examine *x = start(true);
    /* All in one round trip. */
    assert_int_equal(src.held_most, IDENTITY_SAMPLES_MAX);
    answer_all(0);
    examine_free(x);
}

/* A byte of any chosen page, and only of those. */
static void test_each_page_counts(void **state)
{
    (void)state;
    have_image(IMAGE_MAX - 1000, 512, 1 << 20, 8);
    examine(true);
    for (unsigned i = 0; i < identity.count; i++) {
        uint64_t at = identity.samples[i].offset;
        uint64_t last = at + identity_page_length(&identity, at) - 1;

        image[last] ^= 0x80;
        examine(false);
        assert_int_equal(verdict, EXAMINE_DIFFERENT);
        assert_int_equal(where, at);
        image[last] ^= 0x80;
        /* Once the machine has written there, it may be anything. */
        assert_true(identity_void(&identity, last, 1));
        assert_false(identity_void(&identity, last, 1));
        image[at] ^= 1;
        examine(false);
        assert_int_equal(verdict, EXAMINE_SAME);
    }
    assert_false(identity_void(&identity, 0, UINT64_MAX >> 1));
    examine(false);
    assert_int_equal(src.asked, 0);
    assert_int_equal(verdict, EXAMINE_SAME);
}

static void test_void_touches_its_range(void **state)
{
    (void)state;
    have_image(131072, 1, 1 << 20, 8);
    examine(true);
    assert_true(identity_void(&identity, 4095, 2));
    for (unsigned i = 0; i < identity.count; i++)
        assert_int_equal(identity.samples[i].known, identity.samples[i].offset > 4096);
    assert_false(identity_void(&identity, 0, 8192));
    assert_true(identity_void(&identity, 8192, 4096));
    assert_false(identity_void(&identity, 131072, 4096));
}

static void test_unreadable(void **state)
{
    (void)state;
    have_image(131072, 1, 1 << 20, 8);
    src.bad_at = 40000;
    examine(true);
    assert_int_equal(verdict, EXAMINE_SAME);
    for (unsigned i = 0; i < identity.count; i++)
        assert_int_equal(identity.samples[i].known, identity.samples[i].offset != 36864);
    src.bad_at = 50000;
    examine(false);
    assert_int_equal(verdict, EXAMINE_FAILED);
    assert_int_equal(where, 49152);
    src.bad_at = 40000;
    examine(false);
    assert_int_equal(verdict, EXAMINE_SAME);
}

/* The source tells of its loss itself, and the verdict of what is stopped is nobody's business. */
static void test_lost_and_stopped(void **state)
{
    struct examine *x;

    (void)state;
    for (int stopped = 0; stopped < 2; stopped++) {
        have_image(IMAGE_MAX, 1, 512, 8);
        src.hold = true;
        x = start(true);
        answer(src.held[--src.held_count], 0);
        if (stopped)
            examine_stop(x);
        answer_all(SOURCE_LOST);
        assert_int_equal(src.held_count, 0);
        assert_int_equal(verdicts, 0);
        examine_free(x);
    }
}

/* A verdict that is clear asks no more, and comes when nothing is left at the source. */
static void test_a_clear_verdict_is_soon(void **state)
{
    struct examine *x;

    (void)state;
    have_image(IMAGE_MAX, 1, 1 << 20, 4);
    examine(true);
    memset(image, 0, sizeof image);
    src.hold = true;
    x = start(false);
    assert_int_equal(src.held_count, 4);
    answer(src.held[--src.held_count], 0);
    assert_int_equal(verdicts, 0);
    answer_all(0);
    assert_int_equal(verdicts, 1);
    assert_int_equal(verdict, EXAMINE_DIFFERENT);
    assert_int_equal(src.asked, 4);
    examine_free(x);
}

/* ---- tokens ---- */

static void test_tokens(void **state)
{
    char one[TOKEN_DIGITS + 1];
    char two[TOKEN_DIGITS + 1];
    char longer[TOKEN_DIGITS + 2];

    (void)state;
    assert_int_equal(token_make(one), 0);
    assert_int_equal(token_make(two), 0);
    assert_true(token_is_token(one));
    assert_string_not_equal(one, two);
    assert_true(token_is(one, one));
    assert_false(token_is(one, two));
    assert_false(token_is(one, ""));
    snprintf(longer, sizeof longer, "%s0", one);
    assert_false(token_is(one, longer));
    assert_false(token_is_token(longer));
    one[3] = 'A';
    assert_false(token_is_token(one));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_pages, setup),
        cmocka_unit_test_setup(test_pages_are_random, setup),
        cmocka_unit_test_setup(test_every_shape, setup),
        cmocka_unit_test_setup(test_each_page_counts, setup),
        cmocka_unit_test_setup(test_void_touches_its_range, setup),
        cmocka_unit_test_setup(test_unreadable, setup),
        cmocka_unit_test_setup(test_lost_and_stopped, setup),
        cmocka_unit_test_setup(test_a_clear_verdict_is_soon, setup),
        cmocka_unit_test_setup(test_tokens, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
