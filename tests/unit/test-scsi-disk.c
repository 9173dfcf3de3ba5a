/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a disk does to blocks: every form of READ, WRITE, VERIFY, SYNCHRONIZE CACHE and WRITE SAME,
 * at the edges of the medium; UNMAP's list at every length; capacities past 2 TiB; what is said of
 * a medium that may be written to and of one that may not.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scsi-host.h"

#define BLOCKS ((uint64_t)0x800) /* 1 MiB */

static struct scsi_drive disk;

static void make(uint64_t blocks, bool writable, bool write_back)
{
    static const struct scsi_identity identity = {"Platter", "Virtual Disk", "0100", "PLATTER01"};

    scsi_drive_init(&disk, MEDIUM_DISK, &identity, write_back);
    scsi_drive_insert(&disk, blocks * 512 + 511, writable); /* part of a sector is none */
    assert_refused(&disk, "00 00 00 00 00 00", 0x062900);
}

static int make_writable(void **state)
{
    (void)state;
    make(BLOCKS, true, false);
    return 0;
}

static void assert_deed(const char *cdb, enum scsi_deed_kind kind, uint64_t lba, uint64_t count)
{
    struct scsi_deed deed = host_execute(&disk, cdb);

    assert_int_equal(deed.kind, kind);
    assert_int_equal(deed.offset, lba * 512);
    assert_int_equal(deed.length, count * 512);
}

static void assert_done(uint64_t moved)
{
    struct scsi_deed deed = scsi_drive_done(&disk, SCSI_FINE, moved);

    assert_int_equal(deed.kind, SCSI_DONE);
    assert_int_equal(deed.status, SCSI_GOOD);
}

/* The command is sent its parameter list; what it says then. */
static struct scsi_deed send_list(const char *cdb, const char *list)
{
    uint8_t bytes[SCSI_PARAMETERS_MAX];
    size_t length = host_bytes(list, bytes, sizeof bytes);
    struct scsi_deed deed = host_execute(&disk, cdb);

    assert_int_equal(deed.kind, SCSI_PARAMETERS);
    assert_int_equal(deed.length, length);
    memcpy(deed.into, bytes, length);
    return scsi_drive_done(&disk, SCSI_FINE, length);
}

struct form {
    const char *head;
    unsigned size; /* of the CDB */
    enum scsi_deed_kind kind;
};

static const struct form forms[] = {
    {"28 00", 10, SCSI_READ},    {"A8 00", 12, SCSI_READ},    {"88 00", 16, SCSI_READ},
    {"2A 00", 10, SCSI_WRITE},   {"AA 00", 12, SCSI_WRITE},   {"8A 00", 16, SCSI_WRITE},
    {"2F 00", 10, SCSI_CHECK},   {"AF 00", 12, SCSI_CHECK},   {"8F 00", 16, SCSI_CHECK},
    {"2F 02", 10, SCSI_COMPARE}, {"AF 02", 12, SCSI_COMPARE}, {"8F 02", 16, SCSI_COMPARE},
};
#define FORMS (sizeof forms / sizeof *forms)

static const char *cdb_of(const struct form *form, uint64_t lba, uint64_t count)
{
    static char text[80];

    if (form->size == 10)
        snprintf(text, sizeof text, "%s %08" PRIX64 " 00 %04" PRIX64 " 00", form->head, lba, count);
    else
        snprintf(text, sizeof text, "%s %0*" PRIX64 " %08" PRIX64 " 00 00", form->head,
                 form->size == 16 ? 16 : 8, lba, count);
    return text;
}

static void test_every_form_at_the_edges(void **state)
{
    static const struct {
        uint64_t lba;
        uint64_t count;
        bool there;
    } ranges[] = {
        {0, 1, true},           {0, BLOCKS, true},      {BLOCKS - 1, 1, true},
        {0, 0, true},           {BLOCKS, 0, true},      {BLOCKS + 1, 0, false},
        {BLOCKS, 1, false},     {BLOCKS - 1, 2, false}, {0, BLOCKS + 1, false},
        {0xFFFFFFFF, 1, false}, {0xFFFFFFFF, 0, false},
    };

    (void)state;
    for (unsigned f = 0; f < FORMS; f++) {
        for (unsigned r = 0; r < sizeof ranges / sizeof *ranges; r++) {
            const char *cdb = cdb_of(&forms[f], ranges[r].lba, ranges[r].count);

            if (!ranges[r].there) {
                assert_refused(&disk, cdb, 0x052100);
            } else if (ranges[r].count == 0) {
                assert_good(&disk, cdb);
            } else {
                assert_deed(cdb, forms[f].kind, ranges[r].lba, ranges[r].count);
                assert_done(ranges[r].count * 512);
            }
        }
    }
}

/* Address and count do not overflow together. */
static void test_the_ends_of_addresses(void **state)
{
    (void)state;
    for (unsigned f = 0; f < FORMS; f++) {
        if (forms[f].size != 16)
            continue;
        assert_refused(&disk, cdb_of(&forms[f], UINT64_MAX, 1), 0x052100);
        assert_refused(&disk, cdb_of(&forms[f], UINT64_MAX, 0), 0x052100);
        assert_refused(&disk, cdb_of(&forms[f], UINT64_MAX, 0xFFFFFFFF), 0x052100);
        assert_refused(&disk, cdb_of(&forms[f], (uint64_t)1 << 55, 1), 0x052100);
        assert_refused(&disk, cdb_of(&forms[f], 1, 0xFFFFFFFF), 0x052100);
    }
    assert_refused(&disk, "28 00 FFFFFFFF 00 FFFF 00", 0x052100);
}

static void test_the_shortest_form(void **state)
{
    (void)state;
    assert_deed("08 00 01 02 03 00", SCSI_READ, 0x102, 3);
    assert_deed("08 00 00 00 00 00", SCSI_READ, 0, 256);
    assert_deed("0A 00 07 FF 01 00", SCSI_WRITE, 0x7FF, 1);
    assert_false(disk.deed.fua);
    assert_deed("0A 00 00 00 00 00", SCSI_WRITE, 0, 256);
    assert_refused(&disk, "08 00 07 01 00 00", 0x052100);
    assert_refused(&disk, "08 1F FF FF 01 00", 0x052100);
    assert_refused(&disk, "08 20 00 00 01 00", 0x052400);
}

/* Protection information is not done; every value but 0 of its field says so. */
static void test_protection_is_refused(void **state)
{
    static const struct form more[] = {{"41 00", 10, SCSI_ZERO}, {"93 00", 16, SCSI_ZERO}};

    (void)state;
    for (unsigned f = 0; f < FORMS + 2; f++) {
        for (unsigned value = 1; value < 8; value++) {
            uint8_t cdb[16];
            size_t length =
                host_bytes(cdb_of(f < FORMS ? &forms[f] : &more[f - FORMS], 0, 1), cdb, sizeof cdb);

            cdb[1] |= (uint8_t)(value << 5);
            assert_int_equal(scsi_drive_execute(&disk, cdb, length).status, SCSI_CHECK_CONDITION);
            assert_int_equal(host_sense(&disk), 0x052400);
            assert_int_equal(disk.bytes[15] & 0xF8, 0xC8); /* in the CDB, with its bit */
            assert_int_equal(disk.bytes[17], 1);
        }
    }
}

static void test_how_safe_a_write_must_be(void **state)
{
    static const struct {
        const char *byte;
        bool through, back, off; /* FUA as it comes; with WCE; with WCE switched off */
    } all[] = {{"00", false, false, true},
               {"08", true, true, true},
               {"10", false, false, true},
               {"02", true, true, true},
               {"1A", true, true, true}};
    char cdb[80];

    (void)state;
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        snprintf(cdb, sizeof cdb, "2A %s 00000000 00 0001 00", all[i].byte);
        make(BLOCKS, true, false);
        assert_int_equal(host_execute(&disk, cdb).fua, all[i].through);
        make(BLOCKS, true, true);
        assert_int_equal(host_execute(&disk, cdb).fua, all[i].back);
        disk.caching = false;
        assert_int_equal(host_execute(&disk, cdb).fua, all[i].off);
    }
    host_execute(&disk, "41 00 00000000 00 0001 00");
    assert_true(scsi_drive_done(&disk, SCSI_FINE, 512).fua);
    disk.caching = true;
    host_execute(&disk, "41 00 00000000 00 0001 00");
    assert_false(scsi_drive_done(&disk, SCSI_FINE, 512).fua);
}

/* READ with FUA sees what is on the medium, so what the cache holds goes there first. */
static void test_a_read_from_the_medium(void **state)
{
    (void)state;
    assert_deed("28 08 00000001 00 0002 00", SCSI_READ, 1, 2);
    make(BLOCKS, true, true);
    assert_deed("28 00 00000001 00 0002 00", SCSI_READ, 1, 2);
    assert_int_equal(host_execute(&disk, "28 08 00000001 00 0002 00").kind, SCSI_FLUSH);
    assert_int_equal(scsi_drive_done(&disk, SCSI_FINE, 0).kind, SCSI_READ);
    assert_int_equal(disk.deed.offset, 512);
    assert_int_equal(disk.deed.length, 1024);
    assert_done(1024);
    assert_int_equal(host_execute(&disk, "28 08 00000800 00 0001 00").kind, SCSI_FLUSH);
    assert_int_equal(scsi_drive_done(&disk, SCSI_FINE, 0).status, SCSI_CHECK_CONDITION);
    assert_int_equal(host_sense(&disk), 0x052100);
}

static void test_synchronize(void **state)
{
    (void)state;
    assert_deed("35 00 00000000 00 0000 00", SCSI_FLUSH, 0, 0);
    assert_deed("35 06 00000001 00 0001 00", SCSI_FLUSH, 0, 0);
    assert_deed("91 00 0000000000000000 00000000 00 00", SCSI_FLUSH, 0, 0);
    assert_refused(&disk, "35 00 00000801 00 0000 00", 0x052100);
    assert_refused(&disk, "91 00 0000000000000000 00000801 00 00", 0x052100);
    make(BLOCKS, false, false);
    assert_good(&disk, "35 00 00000000 00 0000 00");
}

static void test_write_same(void **state)
{
    static const char ten[] = "41 00 00000010 00 0020 00";
    struct scsi_deed deed;

    (void)state;
    for (unsigned unmap = 0; unmap < 2; unmap++) {
        char sixteen[80];

        snprintf(sixteen, sizeof sixteen, "93 %02X 0000000000000010 00000020 00 00", unmap * 8);
        deed = host_execute(&disk, sixteen);
        assert_int_equal(deed.kind, SCSI_PARAMETERS);
        assert_int_equal(deed.length, 512);
        memset(deed.into, 0, 512);
        disk.bytes[512] = 1; /* what lies behind the block is not of it */
        deed = scsi_drive_done(&disk, SCSI_FINE, 512);
        assert_int_equal(deed.kind, SCSI_ZERO);
        assert_false(deed.fua);
        assert_int_equal(deed.no_hole, !unmap);
        assert_int_equal(deed.offset, 0x10 * 512);
        assert_int_equal(deed.length, 0x20 * 512);
        assert_done(0);
    }
    for (unsigned at = 0; at < 512; at += 511) {
        deed = host_execute(&disk, ten);
        memset(deed.into, 0, 512);
        deed.into[at] = 1;
        deed = scsi_drive_done(&disk, SCSI_FINE, 512);
        assert_int_equal(deed.kind, SCSI_FILL);
        assert_ptr_equal(deed.data, disk.bytes);
        assert_int_equal(deed.block_length, 512);
        assert_int_equal(deed.length, 0x20 * 512);
        assert_done(0);
    }
}

static void test_write_same_refused(void **state)
{
    (void)state;
    make(0x20000, true, false);
    assert_refused(&disk, "41 00 00000000 00 0000 00", 0x052400); /* WSNZ */
    assert_int_equal(disk.bytes[17], 7);
    assert_refused(&disk, "93 00 0000000000000000 00000000 00 00", 0x052400);
    assert_int_equal(disk.bytes[17], 10);
    assert_refused(&disk, "93 00 0000000000000000 00010001 00 00", 0x052400);
    assert_int_equal(host_execute(&disk, "93 08 0000000000000000 00010000 00 00").kind,
                     SCSI_PARAMETERS);
    assert_refused(&disk, "93 00 000000000001FFFF 00000002 00 00", 0x052100);
    assert_refused(&disk, "93 18 0000000000000000 00000001 00 00", 0x052400); /* ANCHOR */
    assert_refused(&disk, "93 10 0000000000000000 00000001 00 00", 0x052400);
    host_execute(&disk, "93 00 0000000000000000 00000001 00 00");
    assert_int_equal(scsi_drive_done(&disk, SCSI_FINE, 511).status, SCSI_CHECK_CONDITION);
    assert_int_equal(host_sense(&disk), 0x051A00);
}

static void test_unmap(void **state)
{
    struct scsi_deed deed;

    (void)state;
    deed = send_list("42 00 00000000 00 0038 00",
                     "0036 0030 00000000 0000000000000010 00000020 00000000 "
                     "0000000000000001 00000000 00000000 00000000000007FF 00000001 00000000");
    assert_int_equal(deed.kind, SCSI_TRIM);
    assert_int_equal(deed.range_count, 2); /* the empty one is none */
    assert_int_equal(deed.ranges[0].offset, 0x10 * 512);
    assert_int_equal(deed.ranges[0].length, 0x20 * 512);
    assert_int_equal(deed.ranges[1].offset, 0x7FF * 512);
    assert_int_equal(deed.ranges[1].length, 512);
    assert_done(0);
    assert_good(&disk, "42 00 00000000 00 0000 00");
    deed = send_list("42 00 00000000 00 0008 00", "0006 0000 00000000");
    assert_int_equal(deed.kind, SCSI_DONE);
    assert_int_equal(deed.status, SCSI_GOOD);
    deed = send_list("42 00 00000000 00 0018 00",
                     "0016 0010 00000000 0000000000000800 00000000 00000000");
    assert_int_equal(deed.status, SCSI_GOOD); /* nothing, at the very end */
    assert_int_equal(deed.kind, SCSI_DONE);
}

static void assert_unmap_refused(const char *cdb, const char *list, unsigned sense)
{
    assert_int_equal(send_list(cdb, list).status, SCSI_CHECK_CONDITION);
    assert_int_equal(disk.deed.kind, SCSI_DONE);
    assert_int_equal(host_sense(&disk), sense);
}

static void test_unmap_refused(void **state)
{
    (void)state;
    make(0x200000, true, false);
    assert_unmap_refused("42 00 00000000 00 0028 00", /* nothing is trimmed before all is known */
                         "0026 0020 00000000 0000000000000000 00000001 00000000 "
                         "0000000000200000 00000001 00000000",
                         0x052100);
    assert_unmap_refused("42 00 00000000 00 0018 00",
                         "0016 0010 00000000 FFFFFFFFFFFFFFFF FFFFFFFF 00000000", 0x052100);
    assert_unmap_refused("42 00 00000000 00 0018 00", /* more than the limit */
                         "0016 0010 00000000 0000000000000000 00100001 00000000", 0x052600);
    assert_unmap_refused("42 00 00000000 00 0028 00", /* and in sum */
                         "0026 0020 00000000 0000000000000000 00100000 00000000 "
                         "0000000000100000 00000001 00000000",
                         0x052600);
    assert_int_equal(disk.bytes[15], 0x8F); /* in the list, bit 7 */
    assert_int_equal(disk.bytes[17], 8 + 16 + 8);
    assert_refused(&disk, "42 01 00000000 00 0018 00", 0x052400); /* ANCHOR */
    assert_refused(&disk, "42 00 00000000 00 FFFF 00", 0x051A00);
    assert_refused(&disk, "42 00 00000000 00 1001 00", 0x051A00);
    assert_int_equal(host_execute(&disk, "42 00 00000000 00 1000 00").kind, SCSI_PARAMETERS);
}

static void test_too_many_ranges(void **state)
{
    uint8_t list[8 + 16 * (SCSI_RANGES_MAX + 1)] = {0};

    (void)state;
    for (unsigned count = SCSI_RANGES_MAX; count <= SCSI_RANGES_MAX + 1; count++) {
        char cdb[80];
        size_t length = 8 + 16 * (size_t)count;
        struct scsi_deed deed;

        list[2] = (uint8_t)(count * 16 >> 8);
        list[3] = (uint8_t)(count * 16);
        for (unsigned i = 0; i < count; i++) {
            list[8 + 16 * i + 7] = (uint8_t)i;
            list[8 + 16 * i + 11] = 1;
        }
        snprintf(cdb, sizeof cdb, "42 00 00000000 00 %04X 00", (unsigned)length);
        deed = host_execute(&disk, cdb);
        memcpy(deed.into, list, length);
        deed = scsi_drive_done(&disk, SCSI_FINE, length);
        if (count <= SCSI_RANGES_MAX) {
            assert_int_equal(deed.range_count, count);
        } else {
            assert_int_equal(deed.status, SCSI_CHECK_CONDITION);
            assert_int_equal(host_sense(&disk), 0x052600);
        }
    }
}

/* A list that is cut anywhere, by its CDB or by the transport, is either whole or refused. */
static void test_unmap_lists_of_every_length(void **state)
{
    uint8_t list[40];

    (void)state;
    host_bytes("0026 0020 00000000 0000000000000000 00000001 00000000 "
               "0000000000000002 00000001 00000000",
               list, sizeof list);
    for (size_t told = 1; told <= sizeof list; told++) {
        for (size_t came = 0; came <= told; came++) {
            char cdb[80];
            struct scsi_deed deed;

            snprintf(cdb, sizeof cdb, "42 00 00000000 00 %04X 00", (unsigned)told);
            deed = host_execute(&disk, cdb);
            assert_int_equal(deed.length, told);
            memcpy(deed.into, list, came);
            deed = scsi_drive_done(&disk, SCSI_FINE, came);
            if (told == sizeof list && came == told) {
                assert_int_equal(deed.range_count, 2);
                continue;
            }
            assert_int_equal(deed.status, SCSI_CHECK_CONDITION);
            assert_int_equal(host_sense(&disk), 0x051A00);
        }
    }
}

static void test_capacities(void **state)
{
    static const struct {
        uint64_t blocks;
        const char *ten, *sixteen, *formats;
    } all[] = {
        {BLOCKS, "000007FF 00000200", "00000000000007FF 00000200", "00000008 00000800 02 000200"},
        {1, "00000000 00000200", "0000000000000000 00000200", "00000008 00000001 02 000200"},
        {0xFFFFFFFF, "FFFFFFFE 00000200", "00000000FFFFFFFE 00000200",
         "00000008 FFFFFFFF 02 000200"},
        {0x100000000, "FFFFFFFF 00000200", "00000000FFFFFFFF 00000200",
         "00000008 FFFFFFFF 02 000200"},
        {0x180000000, "FFFFFFFF 00000200", "000000017FFFFFFF 00000200",
         "00000008 FFFFFFFF 02 000200"},
    };
    char wanted[200];

    (void)state;
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        for (unsigned writable = 0; writable < 2; writable++) {
            make(all[i].blocks, writable, false);
            assert_answer(&disk, "25 00 00000000 00 0000 00", all[i].ten);
            snprintf(wanted, sizeof wanted, "%s 00 00 %s 00 00000000 00000000 00000000 00000000",
                     all[i].sixteen, writable ? "C0" : "00");
            assert_answer(&disk, "9E 10 0000000000000000 000000FF 00 00", wanted);
            assert_answer(&disk, "23 00 00000000 00 00FF 00", all[i].formats);
        }
    }
    assert_deed("88 00 000000017FFFFFFF 00000001 00 00", SCSI_READ, 0x17FFFFFFF, 1);
    assert_refused(&disk, "88 00 0000000180000000 00000001 00 00", 0x052100);
    assert_refused(&disk, "25 00 00000001 00 0000 00", 0x052400);
    assert_refused(&disk, "9E 11 0000000000000000 000000FF 00 00", 0x052400);
    for (unsigned length = 0; length <= 40; length++) {
        char cdb[80];

        snprintf(cdb, sizeof cdb, "9E 10 0000000000000000 %08X 00 00", length);
        assert_int_equal(host_ask(&disk, cdb), length < 32 ? length : 32);
    }
}

static void test_a_medium_that_may_not_be_written(void **state)
{
    static const char *const writes[] = {
        "0A 00 0000 01 00",
        "2A 00 00000000 00 0001 00",
        "2A 00 00000000 00 0000 00",
        "AA 00 00000000 00000001 00 00",
        "8A 00 0000000000000000 00000001 00 00",
        "41 00 00000000 00 0001 00",
        "93 08 0000000000000000 00000001 00 00",
        "42 00 00000000 00 0018 00",
    };

    (void)state;
    make(BLOCKS, false, false);
    for (unsigned i = 0; i < sizeof writes / sizeof *writes; i++)
        assert_refused(&disk, writes[i], 0x072700);
    assert_deed("28 00 00000000 00 0001 00", SCSI_READ, 0, 1);
}

static void test_without_a_medium(void **state)
{
    static const char *const all[] = {
        "00 00 00 00 00 00",
        "08 00 0000 01 00",
        "25 00 00000000 00 0000 00",
        "28 00 00000000 00 0001 00",
        "2A 00 00000000 00 0001 00",
        "2F 00 00000000 00 0001 00",
        "35 00 00000000 00 0000 00",
        "42 00 00000000 00 0018 00",
        "93 00 0000000000000000 00000001 00 00",
        "9E 10 0000000000000000 00000020 00 00",
    };

    (void)state;
    scsi_drive_remove(&disk);
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
        assert_refused(&disk, all[i], 0x023A00);
    assert_answer(&disk, "23 00 00000000 00 00FF 00", "00000008 FFFFFFFF 03 000200");
    scsi_drive_insert(&disk, 511, true); /* not a sector */
    assert_false(scsi_drive_is_loaded(&disk));
    assert_refused(&disk, "00 00 00 00 00 00", 0x023A00);
}

/* A medium goes while its command is in work: 3A, whatever else is said of it. */
static void test_the_medium_goes_meanwhile(void **state)
{
    (void)state;
    for (unsigned cause = 0; cause < SCSI_CAUSES; cause++) {
        make(BLOCKS, true, false);
        host_execute(&disk, "28 00 00000000 00 0001 00");
        scsi_drive_remove(&disk);
        assert_int_equal(scsi_drive_done(&disk, (enum scsi_cause)cause, 0).status,
                         SCSI_CHECK_CONDITION);
        assert_int_equal(host_sense(&disk), 0x023A00);
    }
}

/* And comes back as another one, on which a command of two steps must not fall. */
static void test_another_medium_meanwhile(void **state)
{
    (void)state;
    host_execute(&disk, "93 00 00000000000007FF 00000001 00 00");
    scsi_drive_remove(&disk);
    scsi_drive_insert(&disk, 512, true);
    assert_int_equal(scsi_drive_done(&disk, SCSI_FINE, 512).status, SCSI_CHECK_CONDITION);
    assert_int_equal(host_sense(&disk), 0x062800);
    assert_deed("2A 00 00000000 00 0001 00", SCSI_WRITE, 0, 1); /* it was told */
    scsi_drive_insert(&disk, BLOCKS * 512, false);
    assert_int_equal(scsi_drive_done(&disk, SCSI_FINE, 512).status, SCSI_CHECK_CONDITION);
    assert_int_equal(host_sense(&disk), 0x062800);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_every_form_at_the_edges, make_writable),
        cmocka_unit_test_setup(test_the_ends_of_addresses, make_writable),
        cmocka_unit_test_setup(test_the_shortest_form, make_writable),
        cmocka_unit_test_setup(test_protection_is_refused, make_writable),
        cmocka_unit_test_setup(test_how_safe_a_write_must_be, make_writable),
        cmocka_unit_test_setup(test_a_read_from_the_medium, make_writable),
        cmocka_unit_test_setup(test_synchronize, make_writable),
        cmocka_unit_test_setup(test_write_same, make_writable),
        cmocka_unit_test_setup(test_write_same_refused, make_writable),
        cmocka_unit_test_setup(test_unmap, make_writable),
        cmocka_unit_test_setup(test_unmap_refused, make_writable),
        cmocka_unit_test_setup(test_too_many_ranges, make_writable),
        cmocka_unit_test_setup(test_unmap_lists_of_every_length, make_writable),
        cmocka_unit_test_setup(test_capacities, make_writable),
        cmocka_unit_test_setup(test_a_medium_that_may_not_be_written, make_writable),
        cmocka_unit_test_setup(test_without_a_medium, make_writable),
        cmocka_unit_test_setup(test_the_medium_goes_meanwhile, make_writable),
        cmocka_unit_test_setup(test_another_medium_meanwhile, make_writable),
    };

    return cmocka_run_group_tests_name("scsi-disk", tests, NULL, NULL);
}
