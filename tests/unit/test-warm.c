/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The warm-up on small media made here, byte by byte as the specifications say: what it asks for,
 * whatever the pieces it is shown things in, and what it does not fall for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "block/warm.h"

#define KIB    1024u
#define MIB    ((uint64_t)1 << 20)
#define SIZE   (24 * MIB)
#define BUDGET (16 * MIB)

static uint8_t medium[SIZE];
static struct warm warm;
static struct warm_range asked[256];
static unsigned asked_count;

static void put_le(uint64_t at, uint64_t value, unsigned width)
{
    for (unsigned i = 0; i < width; i++)
        medium[at + i] = (uint8_t)(value >> (8 * i));
}

static void put_partition(unsigned n, uint8_t status, uint8_t type, uint32_t start, uint32_t count)
{
    uint64_t at = 446 + 16 * n;

    medium[at] = status;
    medium[at + 4] = type;
    put_le(at + 8, start, 4);
    put_le(at + 12, count, 4);
    put_le(510, 0xaa55, 2);
}

static void put_fat(uint64_t at, uint32_t sectors, uint16_t reserved, uint32_t fat, bool is_32)
{
    medium[at] = 0xeb;
    put_le(at + 11, 512, 2);
    medium[at + 13] = 8; /* sectors a cluster */
    put_le(at + 14, reserved, 2);
    medium[at + 16] = 2; /* tables */
    put_le(at + 17, is_32 ? 0 : 512, 2);
    put_le(at + 19, is_32 ? 0 : sectors, 2);
    put_le(at + 22, is_32 ? 0 : fat, 2);
    put_le(at + 32, is_32 ? sectors : 0, 4);
    put_le(at + 36, is_32 ? fat : 0, 4);
    put_le(at + 44, is_32 ? 2 : 0, 4);
    put_le(at + 510, 0xaa55, 2);
}

/* The first 2 MiB are left free for tables. An EFI system partition from 12 MiB on. */
static void make_gpt(void)
{
    static const uint8_t type[] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
                                   0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};

    memset(medium, 0, sizeof medium);
    put_partition(0, 0, 0xee, 1, SIZE / 512 - 1);
    memcpy(medium + 512, "EFI PART", 8);
    put_le(512 + 72, 3 * MIB / 512, 8); /* the entries: far from the header */
    put_le(512 + 80, 128, 4);
    put_le(512 + 84, 128, 4);
    memcpy(medium + 3 * MIB + 2 * 128, type, 16);
    put_le(3 * MIB + 2 * 128 + 32, 12 * MIB / 512, 8);
    put_le(3 * MIB + 2 * 128 + 40, 20 * MIB / 512 - 1, 8);
    /* FAT32, whose root directory lies 2 * 2048 + 32 sectors behind its start. */
    put_fat(12 * MIB, 8 * MIB / 512, 32, 2048, true);
}

static void put_descriptor(unsigned sector, uint8_t type)
{
    medium[sector * 2048] = type;
    memcpy(medium + sector * 2048 + 1, "CD001\1", 6);
}

static void make_iso(void)
{
    uint64_t catalogue = 4 * MIB;

    memset(medium, 0, sizeof medium);
    put_descriptor(16, 1);
    put_le(16 * 2048 + 158, 5 * MIB / 2048, 4);
    put_le(16 * 2048 + 166, 4096, 4);
    put_descriptor(17, 0);
    strcpy((char *)medium + 17 * 2048 + 7, "EL TORITO SPECIFICATION");
    put_le(17 * 2048 + 71, catalogue / 2048, 4);
    put_descriptor(18, 2);
    put_le(18 * 2048 + 158, 6 * MIB / 2048, 4);
    put_le(18 * 2048 + 166, 100 * MIB, 4); /* too long for what it is */
    put_descriptor(19, 255);
    put_descriptor(20, 1); /* behind the end: not looked at */
    put_le(20 * 2048 + 158, 15 * MIB / 2048, 4);
    put_le(20 * 2048 + 166, 4096, 4);
    medium[catalogue] = 1;
    put_le(catalogue + 30, 0xaa55, 2);
    medium[catalogue + 32] = 0x88; /* for a BIOS: 2 KiB are loaded, which load more */
    put_le(catalogue + 38, 4, 2);
    put_le(catalogue + 40, 7 * MIB / 2048, 4);
    medium[catalogue + 64] = 0x91; /* for EFI: to the end of its file system */
    medium[catalogue + 65] = 0xef;
    put_le(catalogue + 66, 1, 2);
    medium[catalogue + 96] = 0x88;
    put_le(catalogue + 102, 0, 2);
    put_le(catalogue + 104, 8 * MIB / 2048, 4);
    put_fat(8 * MIB, 5760, 1, 9, false);
}

enum order { WHOLE, PIECES, BACKWARDS };

static void show(uint64_t from, uint64_t to, enum order order, uint32_t piece)
{
    uint64_t rest = from + 128 * KIB; /* behind it nothing is worth cutting */

    if (order != WHOLE && rest < to) {
        show(rest, to, WHOLE, 0);
        to = rest;
    }
    if (order == WHOLE) {
        warm_saw(&warm, from, medium + from, (uint32_t)(to - from));
        return;
    }
    for (uint64_t n = 0; n * piece < to - from; n++) {
        uint64_t pieces = (to - from + piece - 1) / piece;
        uint64_t at = from + (order == BACKWARDS ? pieces - 1 - n : n) * piece;

        warm_saw(&warm, at, medium + at, (uint32_t)(to - at < piece ? to - at : piece));
    }
}

static void run(bool is_cd, uint64_t size, uint64_t budget, enum order order, uint32_t piece)
{
    struct warm_range r;

    warm_init(&warm, size, is_cd, budget);
    asked_count = 0;
    while (warm_next(&warm, &r)) {
        assert_true(r.from < r.to && r.to <= size);
        assert_true(asked_count < 256);
        asked[asked_count++] = r;
        show(r.from, r.to, order, piece);
    }
}

static uint64_t asked_bytes(void)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < asked_count; i++)
        total += asked[i].to - asked[i].from;
    return total;
}

/* Whether every page of the range has been asked for. */
static bool covers(uint64_t from, uint64_t length)
{
    for (uint64_t page = from - from % 4096; page < from + length; page += 4096) {
        bool found = false;

        for (unsigned i = 0; i < asked_count && !found; i++)
            found = asked[i].from <= page && page < asked[i].to;
        if (!found)
            return false;
    }
    return true;
}

static void check_gpt(void)
{
    assert_true(covers(0, MIB) && covers(SIZE - MIB, MIB));
    assert_true(covers(3 * MIB, 2048));
    assert_true(covers(12 * MIB, MIB));
    assert_true(covers(12 * MIB + (32 + 4096) * 512, 128 * KIB));
    assert_false(covers(16 * MIB, 4096));
    assert_true(asked_bytes() < 4 * MIB);
}

static void check_iso(void)
{
    assert_true(covers(0, MIB) && covers(SIZE - MIB, MIB));
    assert_true(covers(4 * MIB, 2048));
    assert_true(covers(5 * MIB, 4096));
    assert_true(covers(6 * MIB, 128 * KIB) && !covers(6 * MIB, 256 * KIB));
    assert_true(covers(7 * MIB, 128 * KIB));
    assert_true(covers(8 * MIB, 5760 * 512) && !covers(11 * MIB, 4096));
    assert_false(covers(15 * MIB, 4096));
}

static void test_gpt_disk(void **state)
{
    (void)state;
    make_gpt();
    run(false, SIZE, BUDGET, WHOLE, 0);
    check_gpt();
    run(true, SIZE, BUDGET, WHOLE, 0); /* no firmware looks for partitions on a CD */
    assert_false(covers(3 * MIB, 2048));
}

static void test_iso(void **state)
{
    (void)state;
    make_iso();
    run(true, SIZE, BUDGET, WHOLE, 0);
    check_iso();
    run(false, SIZE, BUDGET, WHOLE, 0); /* the same image as a disk */
    check_iso();
}

static void test_mbr_disk(void **state)
{
    (void)state;
    memset(medium, 0, sizeof medium);
    put_partition(1, 0x80, 0x83, 5 * MIB / 512, MIB / 512);
    put_partition(2, 0, 0x0e, 8 * MIB / 512, 8 * MIB / 512);
    put_partition(3, 0, 0xef, 0xfffffff0, 0xffffffff);
    put_fat(8 * MIB, 8 * MIB / 512, 1, 3000, false);
    run(false, SIZE, BUDGET, WHOLE, 0);
    assert_true(covers(5 * MIB, 64 * KIB) && !covers(5 * MIB, 128 * KIB));
    assert_true(covers(8 * MIB, MIB));
    assert_true(covers(8 * MIB + 6001 * 512, 32 * 512));
}

/* A file system on the bare disk. */
static void test_no_table(void **state)
{
    (void)state;
    memset(medium, 0, sizeof medium);
    put_fat(0, SIZE / 512, 8, 4096, true);
    run(false, SIZE, BUDGET, WHOLE, 0);
    assert_true(covers((8 + 8192) * 512, 128 * KIB));
}

/* Whatever the pieces, the ranges are the same. */
static void test_any_pieces(void **state)
{
    static const uint32_t sizes[] = {1, 2, 3, 7, 64, 511, 512, 513, 1000, 2047, 2048, 4096, 65536};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        make_gpt();
        run(false, SIZE, BUDGET, PIECES, sizes[i]);
        check_gpt();
        run(false, SIZE, BUDGET, BACKWARDS, sizes[i]);
        check_gpt();
        make_iso();
        run(true, SIZE, BUDGET, PIECES, sizes[i]);
        check_iso();
        run(true, SIZE, BUDGET, BACKWARDS, sizes[i]);
        check_iso();
    }
}

/* Two pieces, cut at every byte of a structure, the second first. */
static void test_cut_at_every_byte(void **state)
{
    (void)state;
    make_iso();
    for (uint64_t cut = 1; cut < 2048; cut++) {
        struct warm_range r;

        warm_init(&warm, SIZE, true, BUDGET);
        asked_count = 0;
        while (warm_next(&warm, &r)) {
            asked[asked_count++] = r;
            for (uint64_t at = r.from; at < r.to; at += 2048) {
                if (at >= 16 * 2048 + 65536 && r.to - r.from > 65536)
                    break; /* nothing there to cut */
                warm_saw(&warm, at + cut, medium + at + cut, (uint32_t)(2048 - cut));
                warm_saw(&warm, at, medium + at, (uint32_t)cut);
            }
        }
        check_iso();
    }
}

/* The machine reads some of it before the warm-up comes to it: that counts too. */
static void test_what_others_read(void **state)
{
    (void)state;
    make_iso();
    warm_init(&warm, SIZE, true, BUDGET);
    for (unsigned sector = 16; sector < 20; sector++)
        show(sector * 2048, (sector + 1) * 2048, WHOLE, 0);
    show(4 * MIB, 4 * MIB + 2048, WHOLE, 0);
    asked_count = 0;
    while (warm_next(&warm, &asked[asked_count]))
        asked_count++;
    assert_true(covers(7 * MIB, 128 * KIB));
    assert_true(covers(8 * MIB, 512));
}

static void test_bounds(void **state)
{
    (void)state;
    make_iso();
    for (uint64_t budget = 0; budget < 8 * MIB; budget += 256 * KIB) {
        run(true, SIZE, budget, WHOLE, 0);
        assert_true(asked_bytes() <= budget + 64 * 4096);
    }
    for (uint64_t size = 1; size < 3 * MIB; size += size < 70000 ? 509 : 65537) {
        run(true, size, BUDGET, WHOLE, 0);
        assert_true(covers(0, size < MIB ? size : MIB));
        run(false, size, BUDGET, WHOLE, 0);
    }
}

/* Every number at its largest, everything pointing to itself. */
static void test_malice(void **state)
{
    (void)state;
    for (unsigned fill = 1; fill < 256; fill += 14) {
        memset(medium, (int)fill, sizeof medium);
        for (unsigned n = 0; n < 4; n++)
            put_partition(n, 0x80, 0xef, fill, 0xffffffff);
        memcpy(medium + 512, "EFI PART", 8);
        run(false, SIZE, BUDGET, WHOLE, 0);
        assert_true(asked_bytes() <= BUDGET + MIB);
    }
    make_iso();
    for (unsigned sector = 16; sector < 400; sector++) {
        put_descriptor(sector, 0);
        strcpy((char *)medium + sector * 2048 + 7, "EL TORITO SPECIFICATION");
        put_le(sector * 2048 + 71, sector, 4);
    }
    run(true, SIZE, BUDGET, WHOLE, 0);
    assert_true(asked_count < 100);
    /* A catalogue of nothing but entries. */
    make_iso();
    for (uint64_t at = 4 * MIB + 96; at < 4 * MIB + 2048; at += 32) {
        medium[at] = 0x88;
        put_le(at + 6, 0xffff, 2);
        put_le(at + 8, 2 * at / 2048, 4);
    }
    put_le(4 * MIB + 66, 0xffff, 2);
    run(true, SIZE, BUDGET, WHOLE, 0);
    assert_true(asked_bytes() <= BUDGET + 64 * 4096);
}

/* A look that has room for nothing but zeroes says nothing. */
static void test_zeroes(void **state)
{
    struct warm_range r;

    (void)state;
    warm_init(&warm, SIZE, false, BUDGET);
    warm_saw(&warm, 0, NULL, SIZE);
    for (unsigned i = 0; i < WARM_LOOKS_MAX; i++)
        assert_int_equal(warm.looks[i].kind, WARM_NOTHING);
    assert_true(warm_next(&warm, &r) && warm_next(&warm, &r));
    assert_false(warm_next(&warm, &r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpt_disk),         cmocka_unit_test(test_iso),
        cmocka_unit_test(test_mbr_disk),         cmocka_unit_test(test_no_table),
        cmocka_unit_test(test_any_pieces),       cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_what_others_read), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_malice),           cmocka_unit_test(test_zeroes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
