/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MODE SENSE and MODE SELECT of a disk: golden bytes of both headers and every page, and a
 * parameter list that is either taken as a whole or not at all, with every bit that is not
 * changeable flipped and cut at every byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scsi-host.h"

#define CACHING    "08 12 00 00 0000 0000 0000 0000 00 00 0000 00 000000"
#define CACHING_ON "08 12 04 00 0000 0000 0000 0000 00 00 0000 00 000000"
#define CONTROL    "0A 0A 00 00 00 00 0000 0000 0000"
#define CONTROL_WP "0A 0A 00 00 08 00 0000 0000 0000"
#define EXCEPTIONS "1C 0A 08 00 00000000 00000000"
#define BLOCKS     "00000800 00000200"

#define HEADER_6  "00 00 00 00 "
#define HEADER_10 "0000 00 00 00 00 0000 "

static struct scsi_drive disk;

static void make(uint64_t blocks, bool writable, bool write_back)
{
    static const struct scsi_identity identity = {"Platter", "Virtual Disk", "0100", "PLATTER01"};

    scsi_drive_init(&disk, MEDIUM_DISK, &identity, write_back);
    scsi_drive_insert(&disk, blocks * 512, writable);
    assert_refused(&disk, "00 00 00 00 00 00", 0x062900);
}

static int make_back(void **state)
{
    (void)state;
    make(0x800, true, true);
    return 0;
}

/* MODE SELECT of `length` bytes, `came` of which come. */
static struct scsi_deed choose(bool ten, const uint8_t *list, size_t length, size_t came)
{
    uint8_t cdb[10] = {ten ? 0x55 : 0x15, 0x10};
    struct scsi_deed deed;

    if (ten)
        cdb[8] = (uint8_t)length;
    else
        cdb[4] = (uint8_t)length;
    deed = scsi_drive_execute(&disk, cdb, ten ? 10 : 6);
    if (length == 0)
        return deed;
    assert_int_equal(deed.kind, SCSI_PARAMETERS);
    assert_int_equal(deed.length, length);
    memcpy(deed.into, list, came);
    return scsi_drive_done(&disk, SCSI_FINE, came);
}

static struct scsi_deed choose_hex(bool ten, const char *hex)
{
    uint8_t list[255];
    size_t length = host_bytes(hex, list, sizeof list);

    return choose(ten, list, length, length);
}

static void assert_chosen(bool ten, const char *hex)
{
    struct scsi_deed deed = choose_hex(ten, hex);

    assert_int_equal(deed.kind, SCSI_DONE);
    assert_int_equal(deed.status, SCSI_GOOD);
}

static void assert_not_chosen(bool ten, const char *hex, unsigned sense, int field)
{
    struct scsi_deed deed = choose_hex(ten, hex);

    assert_int_equal(deed.kind, SCSI_DONE);
    assert_int_equal(deed.status, SCSI_CHECK_CONDITION);
    assert_int_equal(host_sense(&disk), sense);
    if (field >= 0) {
        assert_int_equal(disk.bytes[15] & 0xC8, 0x88); /* in the list, with its bit */
        assert_int_equal(disk.bytes[16] << 8 | disk.bytes[17], field);
    }
}

static void test_all_pages(void **state)
{
    (void)state;
    assert_answer(&disk, "1A 00 3F 00 FF 00", "37 00 10 08 " BLOCKS CACHING_ON CONTROL EXCEPTIONS);
    assert_answer(&disk, "1A 00 3F FF FF 00", "37 00 10 08 " BLOCKS CACHING_ON CONTROL EXCEPTIONS);
    assert_answer(&disk, "1A 08 3F 00 FF 00", "2F 00 10 00 " CACHING_ON CONTROL EXCEPTIONS);
    assert_answer(&disk, "5A 00 3F 00 000000 00FF 00",
                  "003A 00 10 00 00 0008 " BLOCKS CACHING_ON CONTROL EXCEPTIONS);
    assert_answer(
        &disk, "5A 10 3F 00 000000 00FF 00",
        "0042 00 10 01 00 0010 0000000000000800 0000000000000200" CACHING_ON CONTROL EXCEPTIONS);
    assert_answer(&disk, "5A 18 3F 00 000000 00FF 00",
                  "0032 00 10 00 00 0000 " CACHING_ON CONTROL EXCEPTIONS);
}

static void test_one_page_and_its_values(void **state)
{
    (void)state;
    assert_answer(&disk, "1A 08 08 00 FF 00", "17 00 10 00" CACHING_ON);
    assert_answer(&disk, "1A 08 48 00 FF 00", "17 00 10 00" CACHING_ON); /* changeable: WCE */
    assert_answer(&disk, "1A 08 88 00 FF 00", "17 00 10 00" CACHING_ON); /* default */
    assert_answer(&disk, "1A 08 4A 00 FF 00", "0F 00 10 00" CONTROL_WP);
    assert_answer(&disk, "1A 08 5C 00 FF 00", "0F 00 10 00 1C 0A 00 00 00000000 00000000");
    make(0x800, true, false);
    assert_answer(&disk, "1A 08 08 00 FF 00", "17 00 10 00" CACHING);
    assert_answer(&disk, "1A 08 48 00 FF 00", "17 00 10 00" CACHING);
    assert_refused(&disk, "1A 08 C8 00 FF 00", 0x053900); /* saved */
    assert_refused(&disk, "1A 08 01 00 FF 00", 0x052400); /* no such page */
    assert_refused(&disk, "1A 08 08 01 FF 00", 0x052400); /* nor subpage */
}

/* Defaults stay what they are when the current values are others. */
static void test_defaults(void **state)
{
    (void)state;
    assert_int_equal(choose_hex(false, HEADER_6 CACHING).kind, SCSI_FLUSH);
    scsi_drive_done(&disk, SCSI_FINE, 0);
    assert_chosen(false, HEADER_6 CONTROL_WP);
    assert_answer(&disk, "1A 08 08 00 FF 00", "17 00 90 00" CACHING);
    assert_answer(&disk, "1A 08 88 00 FF 00", "17 00 90 00" CACHING_ON);
    assert_answer(&disk, "1A 08 8A 00 FF 00", "0F 00 90 00" CONTROL);
    scsi_drive_reset(&disk);
    assert_refused(&disk, "00 00 00 00 00 00", 0x062900);
    assert_answer(&disk, "1A 08 08 00 FF 00", "17 00 10 00" CACHING_ON);
    assert_answer(&disk, "1A 08 0A 00 FF 00", "0F 00 10 00" CONTROL);
}

static void test_what_is_cut(void **state)
{
    char cdb[40];

    (void)state;
    for (unsigned length = 0; length < 70; length++) {
        snprintf(cdb, sizeof cdb, "1A 00 3F 00 %02X 00", length);
        assert_int_equal(host_ask(&disk, cdb), length < 56 ? length : 56);
        assert_int_equal(disk.bytes[0], 0x37); /* the length says what there is, not what is sent */
        snprintf(cdb, sizeof cdb, "5A 00 3F 00 000000 %04X 00", length);
        assert_int_equal(host_ask(&disk, cdb), length < 60 ? length : 60);
    }
}

static void test_the_medium_shows(void **state)
{
    (void)state;
    make(0x800, false, true);
    assert_answer(&disk, "1A 00 1C 00 FF 00", "17 00 90 08 " BLOCKS EXCEPTIONS);
    scsi_drive_remove(&disk);
    assert_answer(&disk, "1A 00 1C 00 FF 00", "17 00 10 08 00000000 00000200" EXCEPTIONS);
    make(0x180000000, false, true);
    assert_answer(&disk, "1A 00 1C 00 FF 00", "17 00 90 08 FFFFFFFF 00000200" EXCEPTIONS);
    assert_answer(&disk, "5A 10 1C 00 000000 00FF 00",
                  "0022 00 90 01 00 0010 0000000180000000 0000000000000200" EXCEPTIONS);
}

static void test_write_protection_by_the_machine(void **state)
{
    (void)state;
    assert_chosen(false, HEADER_6 CONTROL_WP);
    assert_answer(&disk, "1A 08 0A 00 FF 00", "0F 00 90 00" CONTROL_WP);
    assert_refused(&disk, "2A 00 00000000 00 0001 00", 0x072700);
    assert_chosen(true, HEADER_10 CONTROL);
    assert_int_equal(host_execute(&disk, "2A 00 00000000 00 0001 00").kind, SCSI_WRITE);
}

/* Without a cache from now on: what it holds goes to the medium first. */
static void test_the_cache_is_switched_off(void **state)
{
    (void)state;
    assert_int_equal(choose_hex(true, HEADER_10 CACHING).kind, SCSI_FLUSH);
    assert_int_equal(scsi_drive_done(&disk, SCSI_FINE, 0).status, SCSI_GOOD);
    assert_true(host_execute(&disk, "2A 00 00000000 00 0001 00").fua);
    assert_chosen(false, HEADER_6 CACHING); /* it is off already */
    assert_chosen(false, HEADER_6 CACHING_ON);
    assert_false(host_execute(&disk, "2A 00 00000000 00 0001 00").fua);
    make(0x800, true, false);
    assert_not_chosen(false, HEADER_6 CACHING_ON, 0x052600, 4 + 2);
    make(0x800, false, true);
    assert_chosen(false, HEADER_6 CACHING); /* nothing can be in it */
}

static void test_block_descriptors(void **state)
{
    (void)state;
    assert_chosen(false, "00 00 00 08 " BLOCKS CONTROL);
    assert_chosen(false, "00 00 80 08 00000000 00000200" CONTROL); /* no change of the count */
    assert_chosen(true, "0000 00 00 00 00 0008 " BLOCKS);
    assert_chosen(true, "0000 00 00 01 00 0010 0000000000000800 0000000000000200" CONTROL);
    assert_chosen(true, "0000 00 00 01 00 0010 0000000000000000 0000000000000200" CONTROL);
    assert_not_chosen(false, "00 00 00 08 00000801 00000200" CONTROL, 0x052600, 4 + 3);
    assert_not_chosen(false, "00 00 00 08 00000800 00000400" CONTROL, 0x052600, 4 + 6);
    assert_not_chosen(false, "00 00 00 08 00000800 01000200" CONTROL, 0x052600, 4 + 4);
    assert_not_chosen(true, "0000 00 00 01 00 0010 0000000000000801 0000000000000200", 0x052600,
                      8 + 7);
    assert_not_chosen(true, "0000 00 00 01 00 0008 " BLOCKS, 0x052600, 6);
    assert_not_chosen(true, "0000 00 00 00 00 0010 " BLOCKS BLOCKS, 0x052600, 6);
    assert_not_chosen(false, "00 00 00 10 " BLOCKS BLOCKS, 0x052600, 3);
    assert_not_chosen(false, "00 01 00 00 " CONTROL, 0x052600, 1); /* medium type */
    assert_not_chosen(true, "0000 01 00 00 00 0000 " CONTROL, 0x052600, 2);
}

static void test_pages_that_are_none(void **state)
{
    (void)state;
    assert_chosen(false, HEADER_6);
    assert_chosen(true, HEADER_10);
    assert_int_equal(choose(false, NULL, 0, 0).status, SCSI_GOOD);
    assert_not_chosen(false, HEADER_6 "01 0A 00 00 00 00 0000 0000 0000", 0x052600, 4);
    assert_not_chosen(false, HEADER_6 "8A 0A 00 00 00 00 0000 0000 0000", 0x052600, 4); /* PS */
    assert_not_chosen(false, HEADER_6 "4A 01 0000", 0x052600, 4);                       /* SPF */
    assert_not_chosen(false, HEADER_6 "0A 06 00 00 00 00 0000", 0x052600, 5); /* its length */
    assert_not_chosen(false, HEADER_6 CONTROL_WP "3F 00", 0x052600, 4 + 12);
    assert_refused(&disk, "15 11 00 00 10 00", 0x052400);             /* SP: nothing is saved */
    assert_refused(&disk, "15 00 00 00 10 00", 0x052400);             /* PF: no page format */
    assert_answer(&disk, "1A 08 0A 00 FF 00", "0F 00 10 00" CONTROL); /* none of it was taken */
}

/* Every bit of every page: the two that may change are taken, any other is refused and told. */
static void test_every_bit(void **state)
{
    static const struct {
        const char *hex;
        unsigned changeable; /* as a bit's number, from the page's third byte on */
    } pages[] = {
        {CACHING_ON, 0 * 8 + 2},
        {CONTROL, 2 * 8 + 3},
        {EXCEPTIONS, 1000},
    };

    (void)state;
    for (unsigned p = 0; p < 3; p++) {
        uint8_t list[255] = {0};
        size_t length = 4 + host_bytes(pages[p].hex, list + 4, sizeof list - 4);

        for (unsigned bit = 0; bit < (length - 6) * 8; bit++) {
            struct scsi_deed deed;

            make(0x800, true, true);
            list[6 + bit / 8] ^= (uint8_t)(1u << bit % 8);
            deed = choose(false, list, length, length);
            list[6 + bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (bit == pages[p].changeable) {
                assert_true(deed.kind == SCSI_FLUSH || deed.status == SCSI_GOOD);
                assert_true(disk.caching == (p != 0) && disk.protected == (p == 1));
                continue;
            }
            assert_int_equal(deed.status, SCSI_CHECK_CONDITION);
            assert_int_equal(host_sense(&disk), 0x052600);
            assert_int_equal(disk.bytes[15], 0x88 | bit % 8);
            assert_int_equal(disk.bytes[17], 6 + bit / 8);
            assert_true(disk.caching && !disk.protected);
        }
    }
}

/* Cut at every byte, by the CDB or by the transport: taken only where it is whole between pages. */
static void test_lists_of_every_length(void **state)
{
    static const struct {
        bool ten;
        const char *hex;
        size_t whole[4];
    } lists[] = {
        {false, "00 00 00 08 " BLOCKS CONTROL_WP CACHING_ON, {0, 12, 24, 44}},
        {true, "0000 00 00 00 00 0008 " BLOCKS CONTROL_WP CACHING_ON, {0, 16, 28, 48}},
        {true,
         "0000 00 00 01 00 0010 0000000000000800 0000000000000200" CONTROL_WP CACHING_ON,
         {0, 24, 36, 56}},
    };

    (void)state;
    for (unsigned l = 0; l < 3; l++) {
        uint8_t list[255];
        size_t length = host_bytes(lists[l].hex, list, sizeof list);

        for (size_t told = 0; told <= length; told++) {
            for (size_t came = 0; came <= told; came++) {
                bool whole = false;
                struct scsi_deed deed;

                make(0x800, true, true);
                for (unsigned i = 0; i < 4; i++)
                    whole |= told == came && told == lists[l].whole[i];
                deed = choose(lists[l].ten, list, told, came);
                assert_int_equal(deed.kind, SCSI_DONE);
                assert_int_equal(deed.status, whole ? SCSI_GOOD : SCSI_CHECK_CONDITION);
                assert_int_equal(disk.protected, whole && told >= lists[l].whole[2]);
                if (!whole)
                    assert_int_equal(host_sense(&disk), 0x051A00);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_all_pages, make_back),
        cmocka_unit_test_setup(test_one_page_and_its_values, make_back),
        cmocka_unit_test_setup(test_defaults, make_back),
        cmocka_unit_test_setup(test_what_is_cut, make_back),
        cmocka_unit_test_setup(test_the_medium_shows, make_back),
        cmocka_unit_test_setup(test_write_protection_by_the_machine, make_back),
        cmocka_unit_test_setup(test_the_cache_is_switched_off, make_back),
        cmocka_unit_test_setup(test_block_descriptors, make_back),
        cmocka_unit_test_setup(test_pages_that_are_none, make_back),
        cmocka_unit_test_setup(test_every_bit, make_back),
        cmocka_unit_test_setup(test_lists_of_every_length, make_back),
    };

    return cmocka_run_group_tests_name("scsi-mode", tests, NULL, NULL);
}
