/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Read-ahead against readers of every habit. A small cache that never forgets stands behind it and
 * counts: what was read, what was fetched for a reader who waited, what was fetched ahead.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "block/readahead.h"

#define KIB    1024u
#define MIB    ((uint64_t)1 << 20)
#define PAGE   4096u
#define SIZE   (256 * MIB)
#define WINDOW (MIB)
#define ROOM   (16 * MIB)

struct rig {
    struct readahead ahead;
    uint64_t size;
    uint32_t ask;
    uint8_t present[SIZE / PAGE];
    uint8_t touched[SIZE / PAGE];
    uint64_t pages_read, pages_missed, pages_ahead;
    uint32_t seed;
};

static void rig_init(struct rig *g, uint64_t size)
{
    memset(g, 0, sizeof *g);
    g->size = size;
    g->ask = 64 * KIB;
    g->seed = 7;
    readahead_init(&g->ahead, size);
}

static uint32_t rig_random(struct rig *g, uint32_t below)
{
    g->seed = g->seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)(g->seed >> 4) * below) >> 28);
}

static void rig_fetch(struct rig *g, uint64_t most)
{
    struct readahead_want want;

    for (uint64_t n = 0; n < most && readahead_next(&g->ahead, g->ask, &want); n++) {
        assert_true(want.from < want.to);
        assert_true(want.to <= g->size);
        assert_true(want.to - want.from <= g->ask);
        for (uint64_t p = want.from / PAGE; p <= (want.to - 1) / PAGE; p++) {
            g->pages_ahead += !g->present[p];
            g->present[p] = 1;
        }
    }
}

static bool rig_read(struct rig *g, uint64_t offset, uint32_t length)
{
    bool follows = readahead_read(&g->ahead, offset, length, WINDOW, ROOM);

    for (uint64_t p = offset / PAGE; p <= (offset + length - 1) / PAGE; p++) {
        g->pages_read += !g->touched[p];
        g->touched[p] = 1;
        g->pages_missed += !g->present[p];
        g->present[p] = 1;
    }
    rig_fetch(g, UINT64_MAX);
    return follows;
}

static unsigned percent_fetched(const struct rig *g)
{
    return (unsigned)((g->pages_missed + g->pages_ahead) * 100 / g->pages_read);
}

static struct rig rig;

static void test_one_stream(void **state)
{
    static const uint32_t lengths[] = {512, 4 * KIB, 64 * KIB, 128 * KIB, 1024 * KIB};

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        rig_init(&rig, 64 * MIB);
        for (uint64_t at = 0; at < 64 * MIB; at += lengths[i])
            rig_read(&rig, at, lengths[i]);
        /* The first reads find the stream; from then on nobody waits. */
        assert_true(rig.pages_missed * PAGE <= 2 * lengths[i] + 2 * PAGE);
        assert_int_equal(percent_fetched(&rig), 100);
    }
}

/* What has been read is read once more, when nothing of it is in the cache any longer: what the
 * first reading has left behind does not count as read this time. */
static void test_read_again(void **state)
{
    static const uint64_t starts[] = {8 * MIB, 0, 0};

    (void)state;
    rig_init(&rig, 64 * MIB);
    for (unsigned pass = 0; pass < 3; pass++) {
        rig.pages_missed = 0;
        memset(rig.present, 0, sizeof rig.present);
        for (uint64_t at = starts[pass]; at < rig.size; at += 64 * KIB)
            rig_read(&rig, at, 64 * KIB);
        /* Near the old end it may still be taken for the same. */
        assert_in_range(rig.pages_missed * PAGE, 64 * KIB, 512 * KIB);
    }
}

static void test_grows_as_it_is_read(void **state)
{
    (void)state;
    rig_init(&rig, SIZE);
    rig_read(&rig, MIB, 4 * KIB);
    assert_int_equal(rig.pages_ahead, 0);
    rig_read(&rig, MIB + 4 * KIB, 4 * KIB);
    assert_int_equal(rig.pages_ahead * PAGE, 64 * KIB);
    for (uint64_t n = 2; n < 32; n++)
        rig_read(&rig, MIB + n * 4 * KIB, 4 * KIB);
    assert_true(rig.pages_ahead * PAGE <= 256 * KIB);
    for (uint64_t n = 32; n < 1024; n++)
        rig_read(&rig, MIB + n * 4 * KIB, 4 * KIB);
    /* Grown to what the line needs, and no further. */
    assert_in_range(rig.ahead.streams[0].fetched - rig.ahead.streams[0].seen, WINDOW * 5 / 4,
                    WINDOW * 2);
}

/* Whoever looks for a stream where there is none fetches for nothing. */
static void test_no_stream(void **state)
{
    uint64_t at = 200 * MIB;

    (void)state;
    rig_init(&rig, SIZE);
    for (unsigned n = 0; n < 1000; n++, at -= 4 * KIB)
        assert_false(rig_read(&rig, at, 4 * KIB)); /* backwards */
    for (unsigned n = 0; n < 1000; n++)
        assert_false(rig_read(&rig, n * 64 * KIB, 4 * KIB)); /* with steps between */
    for (unsigned n = 0; n < 100; n++)
        assert_false(rig_read(&rig, 210 * MIB, 512 + n * 512)); /* the same again, and longer */
    assert_int_equal(rig.pages_ahead, 0);
    for (unsigned n = 0; n < 4000; n++)
        rig_read(&rig, (uint64_t)rig_random(&rig, SIZE / PAGE) * PAGE, 4 * KIB);
    assert_true(rig.pages_ahead <= rig.pages_read / 20);
}

static void test_eight_streams(void **state)
{
    (void)state;
    rig_init(&rig, SIZE);
    for (uint64_t at = 0; at < 16 * MIB; at += 64 * KIB) {
        for (uint64_t n = 0; n < 8; n++)
            rig_read(&rig, n * 32 * MIB + at, 64 * KIB);
        rig_read(&rig, 20 * MIB + (uint64_t)rig_random(&rig, 1024) * PAGE, 4 * KIB);
    }
    assert_true(rig.pages_missed * PAGE <= (uint64_t)8 * 2 * 64 * KIB + 256 * PAGE);
    for (unsigned i = 0; i < READAHEAD_STREAMS; i++)
        assert_true(rig.ahead.streams[i].ahead <= ROOM / 8);
}

/* As many threads with many requests in flight send them. */
static void test_out_of_order(void **state)
{
    (void)state;
    rig_init(&rig, 128 * MIB);
    for (uint64_t n = 0; n < 512; n += 4) {
        uint64_t order[4] = {n, n + 1, n + 2, n + 3};

        for (uint32_t i = 3; i > 0; i--) {
            uint32_t j = rig_random(&rig, i + 1);
            uint64_t swap = order[i];

            order[i] = order[j];
            order[j] = swap;
        }
        for (unsigned i = 0; i < 4; i++)
            rig_read(&rig, order[i] * 256 * KIB, 256 * KIB);
    }
    assert_int_equal(percent_fetched(&rig), 100);
    assert_true(rig.pages_missed * PAGE <= 4 * MIB);
}

/* A walk that reads a little and skips more looks like a stream only for a moment. */
static void test_walk_with_gaps(void **state)
{
    (void)state;
    rig_init(&rig, SIZE);
    rig_read(&rig, 0, 4 * KIB);
    for (uint64_t at = 4 * KIB; at < 64 * MIB; at += 64 * KIB)
        rig_read(&rig, at, 4 * KIB);
    assert_true(rig.pages_ahead * PAGE <= MIB);
}

static void test_seek(void **state)
{
    uint64_t before;

    (void)state;
    rig_init(&rig, SIZE);
    for (uint64_t at = 0; at < 4 * MIB; at += 64 * KIB)
        rig_read(&rig, at, 64 * KIB);
    before = rig.pages_ahead;
    rig_read(&rig, 100 * MIB, 64 * KIB);
    assert_int_equal(rig.pages_ahead, before);
    rig_read(&rig, 100 * MIB + 64 * KIB, 64 * KIB);
    assert_true((rig.pages_ahead - before) * PAGE <= 128 * KIB);
    /* A jump inside what was fetched goes on from there. */
    for (uint64_t at = 101 * MIB; at < 104 * MIB; at += 64 * KIB)
        rig_read(&rig, at, 64 * KIB);
    before = rig.pages_missed;
    assert_true(rig_read(&rig, 105 * MIB, 64 * KIB));
    assert_int_equal(rig.pages_missed, before);
    for (uint64_t at = 105 * MIB; at < 120 * MIB; at += 64 * KIB)
        rig_read(&rig, at, 64 * KIB);
    assert_int_equal(rig.pages_missed, before);
}

/* What was left behind is not fetched on while others read. */
static void test_forsaken(void **state)
{
    struct readahead r;
    struct readahead_want want;

    (void)state;
    readahead_init(&r, SIZE);
    for (uint64_t at = 0; at < 4 * MIB; at += 64 * KIB)
        readahead_read(&r, at, 64 * KIB, WINDOW, ROOM);
    assert_true(readahead_next(&r, 64 * KIB, &want));
    for (uint64_t n = 0; n < 40; n++)
        readahead_read(&r, 100 * MIB + n * MIB, 4 * KIB, WINDOW, ROOM);
    assert_false(readahead_next(&r, 64 * KIB, &want));
    assert_true(readahead_read(&r, 4 * MIB, 64 * KIB, WINDOW, ROOM));
    assert_true(readahead_next(&r, 64 * KIB, &want));
    assert_int_equal(want.from, 4 * MIB + 64 * KIB);
}

/* Many small files, each read from its start, and two large ones: a boot. */
static void test_boot(void **state)
{
    (void)state;
    rig_init(&rig, SIZE);
    for (unsigned n = 0; n < 400; n++) {
        uint64_t at = (uint64_t)rig_random(&rig, 100 * 256) * PAGE;
        uint32_t pages = 1 + rig_random(&rig, 16);

        for (uint32_t i = 0; i < pages; i++)
            rig_read(&rig, at + (uint64_t)i * PAGE, PAGE);
    }
    for (uint64_t at = 120 * MIB; at < 128 * MIB; at += 32 * KIB)
        rig_read(&rig, at, 32 * KIB);
    for (uint64_t at = 200 * MIB; at < 230 * MIB; at += 32 * KIB)
        rig_read(&rig, at, 32 * KIB);
    printf("# a boot fetches %u of 100\n", percent_fetched(&rig));
    assert_true(percent_fetched(&rig) <= 120);
}

/* Where streams always end early, it learns to be careful. */
static void test_short_streams(void **state)
{
    (void)state;
    rig_init(&rig, SIZE);
    for (unsigned n = 0; n < 2000; n++) {
        uint64_t at = (n * 37 % 250) * MIB + n / 250 * 100 * KIB;

        for (uint64_t i = 0; i < 3; i++)
            rig_read(&rig, at + i * PAGE, PAGE);
    }
    printf("# short streams fetch %u of 100\n", percent_fetched(&rig));
    assert_true(percent_fetched(&rig) <= 130);
}

static void test_end_of_medium(void **state)
{
    struct readahead r;
    struct readahead_want want;

    (void)state;
    readahead_init(&r, 200000);
    readahead_read(&r, 0, 65536, WINDOW, ROOM);
    readahead_read(&r, 65536, 65536, WINDOW, ROOM);
    assert_true(readahead_next(&r, 1 << 20, &want));
    assert_int_equal(want.from, 131072);
    assert_int_equal(want.to, 200000);
    assert_false(readahead_next(&r, 1 << 20, &want));
    readahead_read(&r, 131072, 200000 - 131072, WINDOW, ROOM);
    assert_false(readahead_next(&r, 1 << 20, &want));
}

static void test_pieces_and_drop(void **state)
{
    struct readahead r;
    struct readahead_want want;

    (void)state;
    readahead_init(&r, SIZE);
    readahead_read(&r, 0, 256 * KIB, WINDOW, ROOM);
    readahead_read(&r, 256 * KIB, 256 * KIB, WINDOW, ROOM);
    assert_false(readahead_next(&r, 0, &want));
    assert_true(readahead_next(&r, 128 * KIB, &want));
    assert_int_equal(want.from, 512 * KIB);
    assert_int_equal(want.to, 640 * KIB);
    assert_true(readahead_next(&r, 128 * KIB, &want));
    assert_int_equal(want.from, 640 * KIB);
    readahead_drop(&r, 640 * KIB);
    assert_false(readahead_next(&r, 128 * KIB, &want)); /* not again at once */
    readahead_drop(&r, 100 * MIB);                      /* nobody's */
    readahead_read(&r, 512 * KIB, 4 * KIB, WINDOW, ROOM);
    assert_true(readahead_next(&r, 128 * KIB, &want));
    assert_int_equal(want.from, 640 * KIB);
}

static void test_little_room(void **state)
{
    struct readahead r;
    struct readahead_want want;
    uint64_t fetched = 0;

    (void)state;
    readahead_init(&r, SIZE);
    for (uint64_t at = 0; at < 8 * MIB; at += 256 * KIB)
        readahead_read(&r, at, 256 * KIB, 32 * MIB, MIB);
    while (readahead_next(&r, 64 * KIB, &want))
        fetched += want.to - want.from;
    assert_in_range(fetched, MIB / 2, MIB);
    readahead_read(&r, 8 * MIB, 256 * KIB, 32 * MIB, 0);
    assert_false(readahead_next(&r, 64 * KIB, &want));
}

/* Anything at all: what always holds, holds. */
static void test_anything(void **state)
{
    (void)state;
    rig_init(&rig, SIZE - 512);
    for (unsigned n = 0; n < 50000; n++) {
        uint32_t length = 512 * (1 + rig_random(&rig, 1 << rig_random(&rig, 10)));
        uint64_t at = rig_random(&rig, 4) ? (uint64_t)rig_random(&rig, 64) * 512 * KIB
                                          : rig.ahead.streams[rig_random(&rig, 8)].seen;

        at += (uint64_t)rig_random(&rig, 8) * 512;
        at = at < rig.size - length ? at : rig.size - length;
        readahead_read(&rig.ahead, at, length, rig_random(&rig, 1 << 22),
                       rig_random(&rig, 1 << 24));
        rig_fetch(&rig, rig_random(&rig, 8));
        if (rig_random(&rig, 16) == 0)
            readahead_drop(&rig.ahead, (uint64_t)rig_random(&rig, 64) * 512 * KIB);
        for (unsigned i = 0; i < READAHEAD_STREAMS; i++) {
            const struct readahead_stream *s = &rig.ahead.streams[i];

            assert_true(!s->used || (s->start <= s->seen && s->seen <= s->fetched));
            assert_true(!s->used || (s->fetched <= rig.size && s->read <= s->seen - s->start));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_stream),
        cmocka_unit_test(test_read_again),
        cmocka_unit_test(test_grows_as_it_is_read),
        cmocka_unit_test(test_no_stream),
        cmocka_unit_test(test_eight_streams),
        cmocka_unit_test(test_out_of_order),
        cmocka_unit_test(test_walk_with_gaps),
        cmocka_unit_test(test_seek),
        cmocka_unit_test(test_forsaken),
        cmocka_unit_test(test_boot),
        cmocka_unit_test(test_short_streams),
        cmocka_unit_test(test_end_of_medium),
        cmocka_unit_test(test_pieces_and_drop),
        cmocka_unit_test(test_little_room),
        cmocka_unit_test(test_anything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
