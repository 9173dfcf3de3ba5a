/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every drive does: tells what waits to be told, in its order and once; gives its sense in
 * both formats; says who it is; does not claim a command, or a bit of one, that it does not do;
 * lets go of its medium, or not; and goes on in another process as if nothing had been.
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

#include "scsi-host.h"

#define TUR     "00 00 00 00 00 00"
#define SENSE   "03 00 00 00 FF 00"
#define DESC    "03 01 00 00 FF 00"
#define READ    "28 00 00000000 00 0002 00"
#define EJECT   "1B 00 00 00 02 00"
#define LOAD    "1B 00 00 00 03 00"
#define STOP    "1B 00 00 00 00 00"
#define PREVENT "1E 00 00 00 01 00"
#define ALLOW   "1E 00 00 00 00 00"

#define NO_SENSE "70 00 00 00000000 0A 00000000 0000 00 000000"

static struct scsi_drive drive;

static const struct scsi_identity identity = {"Platter", "Virtual Disk", "0100", "PLATTER01"};

static int make(void **state)
{
    (void)state;
    scsi_drive_init(&drive, MEDIUM_DISK, &identity, true);
    return 0;
}

/* A disk with a writable medium, which its machine knows of. */
static int make_ready(void **state)
{
    make(state);
    scsi_drive_insert(&drive, 1 << 20, true);
    assert_refused(&drive, TUR, 0x062900);
    return 0;
}

static void assert_ready(void)
{
    assert_int_equal(host_execute(&drive, TUR).kind, SCSI_READY);
    assert_int_equal(scsi_drive_done(&drive, SCSI_FINE, 0).status, SCSI_GOOD);
}

/* An earlier write has failed for want of space. */
static void assert_deferred_full(void)
{
    assert_int_equal(host_execute(&drive, READ).status, SCSI_CHECK_CONDITION);
    assert_answer(&drive, SENSE, "71 00 07 00000000 0A 00000000 2707 00 000000");
}

static void test_what_waits_is_told_in_order(void **state)
{
    make(state);
    assert_refused(&drive, TUR, 0x062900);
    assert_refused(&drive, TUR, 0x023A00);
    scsi_drive_insert(&drive, 1 << 20, true);
    scsi_drive_defer(&drive, SCSI_FULL);
    scsi_drive_reset(&drive);
    assert_refused(&drive, TUR, 0x062900);
    assert_refused(&drive, READ, 0x062800);
    assert_deferred_full();
    assert_ready();
    scsi_drive_reset(&drive);
    scsi_drive_reload(&drive);
    assert_refused(&drive, TUR, 0x062900);
    assert_refused(&drive, TUR, 0x062800);
    scsi_drive_reset(&drive);
    scsi_drive_insert(&drive, 1 << 20, true);
    assert_refused(&drive, TUR, 0x062900);
    assert_refused(&drive, TUR, 0x062800);
}

/* A medium that was there before the machine looked is none that has changed. */
static void test_a_medium_from_the_beginning(void **state)
{
    make(state);
    scsi_drive_insert(&drive, 1 << 20, true);
    assert_refused(&drive, TUR, 0x062900);
    assert_ready();
    scsi_drive_remove(&drive);
    scsi_drive_insert(&drive, 1 << 20, true);
    scsi_drive_remove(&drive); /* nothing is left to be told of it */
    assert_refused(&drive, TUR, 0x023A00);
}

static void test_commands_that_meet_no_attention(void **state)
{
    make(state);
    scsi_drive_insert(&drive, 1 << 20, true);
    host_ask(&drive, "12 00 00 00 FF 00");
    host_ask(&drive, "A0 00 00 00 00 00 00 00 00 FF 00 00");
    assert_refused(&drive, "FF 00 00 00 00 00", 0x062900); /* it comes before all else */
    assert_refused(&drive, "FF 00 00 00 00 00", 0x052000);
    scsi_drive_reset(&drive);
    assert_int_equal(host_ask(&drive, SENSE), 18); /* who asks is told, and then it is told */
    assert_int_equal(drive.bytes[2], 6);
    assert_int_equal(drive.bytes[12], 0x29);
    assert_ready();
}

static void test_sense_is_told_once(void **state)
{
    (void)state;
    assert_answer(&drive, SENSE, NO_SENSE);
    assert_refused(&drive, "28 00 00000800 00 0001 00", 0x052100);
    assert_answer(&drive, SENSE, NO_SENSE);
    host_execute(&drive, "28 00 00000800 00 0001 00");
    assert_ready(); /* another command: what there was is gone */
    assert_answer(&drive, SENSE, NO_SENSE);
}

static void test_sense_in_both_formats(void **state)
{
    char cdb[40];

    (void)state;
    host_execute(&drive, "28 00 00000000 00 0001 04"); /* a bit of the control byte */
    assert_answer(&drive, SENSE, "70 00 05 00000000 0A 00000000 2400 00 CA0009");
    host_execute(&drive, "28 00 00000000 00 0001 04");
    assert_answer(&drive, DESC, "72 05 24 00 000000 08 02 06 0000 CA0009 00");
    host_execute(&drive, READ);
    scsi_drive_done(&drive, SCSI_READ_FAILED, 512);
    assert_answer(&drive, SENSE, "F0 00 03 00000001 0A 00000000 1100 00 000000");
    host_execute(&drive, READ);
    scsi_drive_done(&drive, SCSI_READ_FAILED, 512);
    assert_answer(&drive, DESC, "72 03 11 00 000000 0C 00 0A 80 00 0000000000000001");
    scsi_drive_defer(&drive, SCSI_WRITE_FAILED);
    assert_answer(&drive, DESC, "73 03 0C 00 000000 00");
    assert_answer(&drive, DESC, "72 00 00 00 000000 00");
    for (unsigned length = 0; length < 24; length++) {
        snprintf(cdb, sizeof cdb, "03 00 00 00 %02X 00", length);
        assert_int_equal(host_ask(&drive, cdb), length < 18 ? length : 18);
    }
}

/* An address that the fixed format has no room for is not told in it. */
static void test_sense_past_32_bits(void **state)
{
    make(state);
    scsi_drive_insert(&drive, (uint64_t)4 << 40, false);
    assert_refused(&drive, TUR, 0x062900);
    host_execute(&drive, "88 00 00000000FFFFFFFF 00000001 00 00");
    scsi_drive_done(&drive, SCSI_READ_FAILED, 0);
    assert_answer(&drive, SENSE, "F0 00 03 FFFFFFFF 0A 00000000 1100 00 000000");
    host_execute(&drive, "88 00 0000000100000000 00000001 00 00");
    scsi_drive_done(&drive, SCSI_READ_FAILED, 0);
    assert_answer(&drive, SENSE, "70 00 03 00000000 0A 00000000 1100 00 000000");
    host_execute(&drive, "88 00 0000000100000000 00000001 00 00");
    scsi_drive_done(&drive, SCSI_READ_FAILED, 0);
    assert_answer(&drive, DESC, "72 03 11 00 000000 0C 00 0A 80 00 0000000100000000");
}

static void test_manners(void **state)
{
    static const unsigned wanted[SCSI_CAUSES] = {
        [SCSI_WAITING] = 0x020401,      [SCSI_GONE] = 0x020400, [SCSI_READ_FAILED] = 0x031100,
        [SCSI_WRITE_FAILED] = 0x030C00, [SCSI_FULL] = 0x072707, [SCSI_MISCOMPARE] = 0x0E1D00,
        [SCSI_INTERRUPTED] = 0x0B0000,
    };

    (void)state;
    for (unsigned cause = 1; cause < SCSI_CAUSES; cause++) {
        unsigned hold = scsi_manners((enum scsi_cause)cause)->hold;

        host_execute(&drive, READ);
        assert_int_equal(scsi_drive_done(&drive, (enum scsi_cause)cause, 0).status,
                         SCSI_CHECK_CONDITION);
        assert_int_equal(host_sense(&drive), wanted[cause]);
        assert_int_equal(hold, cause == SCSI_WAITING ? 2000 : 0);
    }
    assert_int_equal(scsi_cause_of(0, 0), SCSI_FINE);
    assert_int_equal(scsi_cause_of(-EIO, 0), SCSI_READ_FAILED);
    assert_int_equal(scsi_cause_of(-EIO, 1), SCSI_WRITE_FAILED);
    assert_int_equal(scsi_cause_of(-ENOSPC, 1), SCSI_FULL);
    assert_int_equal(scsi_cause_of(-ETIMEDOUT, 0), SCSI_WAITING);
    assert_int_equal(scsi_cause_of(-ESHUTDOWN, 0), SCSI_GONE);
}

#define NAMES "506C617474657220 5669727475616C204469736B20202020 30313030"

static void test_inquiry(void **state)
{
    char cdb[40];

    (void)state;
    assert_answer(&drive, "12 00 00 00 FF 00",
                  "00 80 06 02 45 00 00 00" NAMES
                  "00000000000000000000000000000000000000000000 00A0 0460 1730 04C0 "
                  "0000000000000000");
    for (unsigned length = 0; length < 0x120; length++) {
        snprintf(cdb, sizeof cdb, "12 00 00 %04X 00", length);
        assert_int_equal(host_ask(&drive, cdb), length < 74 ? length : 74);
    }
    assert_refused(&drive, "12 00 80 00 FF 00", 0x052400);
    assert_refused(&drive, "12 02 00 00 FF 00", 0x052400);
    assert_refused(&drive, "12 01 84 00 FF 00", 0x052400);
    scsi_drive_remove(&drive);
    assert_int_equal(host_ask(&drive, "12 00 00 00 24 00"), 36);
    assert_int_equal(drive.bytes[0], 0); /* the drive is there without a medium */
}

static void test_vital_product_data(void **state)
{
    (void)state;
    assert_answer(&drive, "12 01 00 00 FF 00", "00 00 0006 00 80 83 B0 B1 B2");
    assert_answer(&drive, "12 01 80 00 FF 00", "00 80 0009 504C4154544552 3031");
    assert_int_equal(host_ask(&drive, "12 01 83 00 FF 00"), 4 + 12 + 4 + 8 + 9);
    assert_memory_equal(drive.bytes, "\x00\x83\x00\x21\x01\x03\x00\x08", 8);
    assert_int_equal(drive.bytes[8] >> 4, 3); /* NAA, locally assigned */
    assert_memory_equal(drive.bytes + 16, "\x02\x01\x00\x11Platter PLATTER01", 21);
    assert_answer(&drive, "12 01 B0 00 FF 00",
                  "00 B0 003C 01 00 0008 00000000 00000000 00000000 00100000 00000040 00000008 "
                  "00000000 0000000000010000 00000000 00000000 00000000 00000000 00000000");
    assert_answer(&drive, "12 01 B1 00 FF 00",
                  "00 B1 003C 0001 0000 00000000 00000000 00000000 00000000 00000000 00000000 "
                  "00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000");
    assert_answer(&drive, "12 01 B2 00 FF 00", "00 B2 0004 00 E4 02 00");
    assert_int_equal(host_ask(&drive, "12 01 B0 00 05 00"), 5);
    scsi_drive_insert(&drive, 1 << 20, false);
    assert_refused(&drive, TUR, 0x062800);
    assert_answer(&drive, "12 01 B2 00 FF 00", "00 B2 0004 00 00 00 00");
    host_ask(&drive, "12 01 B0 00 FF 00");
    for (unsigned i = 20; i < 64; i++)
        assert_int_equal(drive.bytes[i], 0);
}

/* The name is of vendor and serial alone, and another one for each. */
static void test_the_name_stays(void **state)
{
    struct scsi_identity other = identity;
    uint8_t first[8];

    (void)state;
    host_ask(&drive, "12 01 83 00 FF 00");
    memcpy(first, drive.bytes + 8, 8);
    strcpy(other.product, "Something else");
    scsi_drive_init(&drive, MEDIUM_DISK, &other, false);
    host_ask(&drive, "12 01 83 00 FF 00");
    assert_memory_equal(drive.bytes + 8, first, 8);
    strcpy(other.serial, "PLATTER02");
    scsi_drive_init(&drive, MEDIUM_DISK, &other, false);
    host_ask(&drive, "12 01 83 00 FF 00");
    assert_memory_not_equal(drive.bytes + 8, first, 8);
}

static void test_an_optical_drive_says_so(void **state)
{
    (void)state;
    host_drive(&drive, MEDIUM_CD);
    assert_int_equal(host_ask(&drive, "12 00 00 00 FF 00"), 74);
    assert_int_equal(drive.bytes[0], 5);
    assert_int_equal(drive.bytes[64] << 8 | drive.bytes[65], 0x04E0); /* MMC-6 */
    assert_answer(&drive, "12 01 00 00 FF 00", "05 00 0003 00 80 83");
    assert_refused(&drive, "12 01 B0 00 FF 00", 0x052400);
}

static void test_report_luns(void **state)
{
    (void)state;
    assert_answer(&drive, "A0 00 00 000000 000000FF 00 00", "00000008 00000000 0000000000000000");
    assert_answer(&drive, "A0 00 01 000000 000000FF 00 00", "00000000 00000000");
    assert_int_equal(host_ask(&drive, "A0 00 02 000000 00000010 00 00"), 16);
    assert_refused(&drive, "A0 00 00 000000 0000000F 00 00", 0x052400);
    assert_refused(&drive, "A0 00 03 000000 000000FF 00 00", 0x052400);
}

struct known {
    uint8_t code, service, length;
    bool serves;
};

/* Every command the drive tells of, from a list without timeouts and one with them. */
static unsigned list_commands(struct known *out, unsigned room, bool timeouts)
{
    char cdb[60];
    size_t size = timeouts ? 20 : 8, length;
    unsigned count = 0;

    snprintf(cdb, sizeof cdb, "A3 0C %02X 00 0000 0000FFFF 00 00", timeouts ? 0x80 : 0);
    length = host_ask(&drive, cdb);
    assert_int_equal(drive.bytes[0] << 24 | drive.bytes[1] << 16 | drive.bytes[2] << 8 |
                         drive.bytes[3],
                     length - 4);
    for (size_t at = 4; at < length; at += size) {
        const uint8_t *d = drive.bytes + at;

        assert_true(count < room);
        assert_int_equal(d[5] & 2, timeouts ? 2 : 0);
        if (timeouts)
            assert_memory_equal(d + 8, "\0\x0A\0\0\0\0\0\0\0\0\0\0", 12);
        out[count++] = (struct known){d[0], d[3], d[7], d[5] & 1};
    }
    return count;
}

/* One command told of exactly; its usage map. */
static void ask_usage(const struct known *k, uint8_t usage[16])
{
    char cdb[60];

    snprintf(cdb, sizeof cdb, "A3 0C %02X %02X %04X 0000FFFF 00 00", k->serves ? 2 : 1, k->code,
             k->service);
    assert_int_equal(host_ask(&drive, cdb), 4u + k->length);
    assert_memory_equal(drive.bytes, ((uint8_t[]){0, 3, 0, k->length}), 4);
    memcpy(usage, drive.bytes + 4, k->length);
    assert_int_equal(usage[0], k->code);
    snprintf(cdb, sizeof cdb, "A3 0C %02X %02X %04X 0000FFFF 00 00", k->serves ? 1 : 2, k->code,
             k->service);
    assert_refused(&drive, cdb, 0x052400);
}

/* Any bit outside a usage map is refused, and pointed at. */
static void assert_honest(const struct known *k)
{
    uint8_t usage[16];

    ask_usage(k, usage);
    for (unsigned bit = 8; bit < k->length * 8u; bit++) {
        uint8_t cdb[16] = {k->code, k->service};

        if (usage[bit / 8] & 1u << bit % 8 || (k->serves && bit < 13))
            continue;
        cdb[bit / 8] |= (uint8_t)(1u << bit % 8);
        assert_int_equal(scsi_drive_execute(&drive, cdb, k->length).status, SCSI_CHECK_CONDITION);
        assert_int_equal(host_sense(&drive), 0x052400);
        assert_int_equal(drive.bytes[15], 0xC8 | bit % 8);
        assert_int_equal(drive.bytes[17], bit / 8);
    }
}

static void test_supported_commands(void **state)
{
    for (unsigned kind = 0; kind < 2; kind++) {
        struct known all[100], again[100];
        bool listed[256] = {false};
        unsigned count;

        make_ready(state);
        if (kind == 1)
            host_drive_with(&drive, MEDIUM_CD, 1 << 20);
        count = list_commands(all, 100, false);
        assert_int_equal(list_commands(again, 100, true), count);
        assert_memory_equal(all, again, count * sizeof *all);
        for (unsigned i = 0; i < count; i++) {
            listed[all[i].code] = true;
            assert_honest(&all[i]);
        }
        for (unsigned code = 0; code < 256; code++) {
            uint8_t cdb[16] = {(uint8_t)code};
            char ask[60];

            if (listed[code])
                continue;
            assert_int_equal(scsi_drive_execute(&drive, cdb, 16).status, SCSI_CHECK_CONDITION);
            assert_int_equal(host_sense(&drive), 0x052000);
            for (unsigned option = 1; option < 3; option++) {
                snprintf(ask, sizeof ask, "A3 0C %02X %02X 0000 0000FFFF 00 00", option, code);
                assert_answer(&drive, ask, "00 01 0000");
            }
        }
    }
}

static void test_report_of_one_command(void **state)
{
    (void)state;
    assert_answer(&drive, "A3 0C 01 28 0000 0000FFFF 00 00",
                  "00 03 000A 28 1A FFFFFFFF 00 FFFF 00");
    assert_answer(&drive, "A3 0C 81 00 0000 0000FFFF 00 00",
                  "00 83 0006 00 00 00 00 00 00 000A 0000 00000000 00000000");
    assert_answer(&drive, "A3 0C 02 9E 0010 0000FFFF 00 00",
                  "00 03 0010 9E 10 0000000000000000 FFFFFFFF 00 00");
    assert_answer(&drive, "A3 0C 02 9E 0011 0000FFFF 00 00", "00 01 0000");
    assert_answer(&drive, "A3 0C 02 9E 0110 0000FFFF 00 00", "00 01 0000");
    assert_refused(&drive, "A3 0C 03 28 0000 0000FFFF 00 00", 0x052400);
    assert_refused(&drive, "A3 0D 00 00 0000 0000FFFF 00 00", 0x052400);
    assert_int_equal(host_ask(&drive, "A3 0C 00 00 0000 00000004 00 00"), 4);
}

static void test_eject_and_load(void **state)
{
    (void)state;
    assert_int_equal(host_execute(&drive, EJECT).kind, SCSI_FLUSH);
    assert_true(scsi_drive_is_loaded(&drive));
    assert_int_equal(scsi_drive_done(&drive, SCSI_FINE, 0).status, SCSI_GOOD);
    assert_false(scsi_drive_is_loaded(&drive));
    assert_int_equal(scsi_drive_take_events(&drive), SCSI_EVENT_EJECTED);
    assert_int_equal(scsi_drive_take_events(&drive), 0);
    assert_refused(&drive, TUR, 0x023A00);
    assert_good(&drive, EJECT);               /* it is out */
    assert_good(&drive, "1B 00 00 00 01 00"); /* a start is not a load */
    assert_false(scsi_drive_is_loaded(&drive));
    assert_good(&drive, LOAD);
    assert_int_equal(scsi_drive_take_events(&drive), SCSI_EVENT_LOADED);
    assert_ready();
    assert_answer(&drive, "25 00 00000000 00 0000 00", "000007FF 00000200");
    assert_good(&drive, LOAD); /* it is in */
    assert_int_equal(scsi_drive_take_events(&drive), 0);
    assert_good(&drive, "1B 01 00 00 06 00"); /* without a flush */
    scsi_drive_remove(&drive);                /* and its owner takes it */
    assert_refused(&drive, LOAD, 0x023A00);
    assert_int_equal(host_execute(&drive, STOP).status, SCSI_GOOD);
}

/* What could not be made safe is not let go of. */
static void test_an_eject_that_fails(void **state)
{
    (void)state;
    host_execute(&drive, EJECT);
    assert_int_equal(scsi_drive_done(&drive, SCSI_WAITING, 0).status, SCSI_CHECK_CONDITION);
    assert_int_equal(host_sense(&drive), 0x020401);
    assert_true(scsi_drive_is_loaded(&drive));
    assert_int_equal(scsi_drive_take_events(&drive), 0);
}

static void test_stopping_and_power(void **state)
{
    char cdb[40];

    (void)state;
    assert_int_equal(host_execute(&drive, STOP).kind, SCSI_FLUSH);
    assert_int_equal(scsi_drive_done(&drive, SCSI_FINE, 0).status, SCSI_GOOD);
    assert_good(&drive, "1B 00 00 00 04 00");
    assert_good(&drive, "1B 00 00 00 01 00");
    for (unsigned power = 1; power < 16; power++) { /* START and LOEJ mean nothing then */
        snprintf(cdb, sizeof cdb, "1B 01 00 00 %X2 00", power);
        assert_good(&drive, cdb);
        assert_true(scsi_drive_is_loaded(&drive));
    }
    scsi_drive_insert(&drive, 1 << 20, false);
    assert_refused(&drive, TUR, 0x062800);
    assert_good(&drive, STOP); /* nothing to make safe */
}

static void test_lock(void **state)
{
    (void)state;
    assert_good(&drive, PREVENT);
    assert_good(&drive, PREVENT);
    assert_true(scsi_drive_is_locked(&drive));
    assert_int_equal(scsi_drive_take_events(&drive), SCSI_EVENT_LOCKED);
    assert_refused(&drive, EJECT, 0x055302);
    assert_ready();
    scsi_drive_reload(&drive); /* not under a lock */
    assert_ready();
    assert_good(&drive, ALLOW);
    assert_int_equal(scsi_drive_take_events(&drive), SCSI_EVENT_UNLOCKED);
    scsi_drive_reload(&drive);
    assert_refused(&drive, TUR, 0x062800);
    assert_good(&drive, "1B 00 00 00 06 00");
    assert_good(&drive, PREVENT);
    assert_refused(&drive, LOAD, 0x055302);
    assert_good(&drive, ALLOW);
    assert_good(&drive, LOAD);
    assert_int_equal(scsi_drive_take_events(&drive), /* what happened, in whatever order */
                     SCSI_EVENT_LOCKED | SCSI_EVENT_UNLOCKED | SCSI_EVENT_EJECTED |
                         SCSI_EVENT_LOADED);
    assert_good(&drive, PREVENT);
    scsi_drive_remove(&drive); /* by force */
    assert_false(scsi_drive_is_locked(&drive));
    assert_int_equal(scsi_drive_take_events(&drive), SCSI_EVENT_LOCKED | SCSI_EVENT_UNLOCKED);
    assert_good(&drive, PREVENT);
    scsi_drive_reset(&drive);
    assert_false(scsi_drive_is_locked(&drive));
}

/* The drive of another process that takes this one's note. */
static struct scsi_drive heir(enum medium_kind kind)
{
    struct scsi_drive other;
    uint8_t note[SCSI_NOTE_MAX];
    size_t length = scsi_drive_note(&drive, note);

    assert_true(length <= sizeof note);
    scsi_drive_init(&other, kind, &identity, true);
    assert_int_equal(scsi_drive_resume(&other, note, length), 0);
    return other;
}

static void test_another_process_goes_on(void **state)
{
    uint8_t first[SCSI_NOTE_MAX], second[SCSI_NOTE_MAX];
    size_t length;

    (void)state;
    assert_good(&drive, PREVENT);
    scsi_drive_take_events(&drive);
    length = scsi_drive_note(&drive, first);
    drive = heir(MEDIUM_DISK);
    assert_int_equal(scsi_drive_note(&drive, second), length);
    assert_memory_equal(first, second, length);
    assert_ready(); /* no attention */
    assert_true(scsi_drive_is_locked(&drive));
    assert_int_equal(scsi_drive_take_events(&drive), 0);
    assert_int_equal(host_execute(&drive, "2A 00 000007FF 00 0001 00").kind, SCSI_WRITE);
    drive.caching = false;
    drive = heir(MEDIUM_DISK);
    assert_true(host_execute(&drive, "2A 00 00000000 00 0001 00").fua);
    host_execute(&drive, "28 00 00000800 00 0001 00"); /* sense that was not fetched yet */
    drive = heir(MEDIUM_DISK);
    assert_int_equal(host_sense(&drive), 0x052100);
    assert_good(&drive, ALLOW);
    assert_good(&drive, "1B 00 00 00 06 00");
    drive = heir(MEDIUM_DISK);
    assert_refused(&drive, TUR, 0x023A00);
    assert_good(&drive, LOAD);
    scsi_drive_defer(&drive, SCSI_FULL);
    scsi_drive_reset(&drive);
    drive = heir(MEDIUM_DISK);
    assert_refused(&drive, TUR, 0x062900);
    assert_deferred_full();
    host_drive_with(&drive, MEDIUM_CD, 1 << 20);
    drive = heir(MEDIUM_CD);
    assert_ready();
}

/* No command has come yet, in either process. */
static void test_another_process_begins(void **state)
{
    make(state);
    drive = heir(MEDIUM_DISK);
    scsi_drive_insert(&drive, 1 << 20, true);
    assert_refused(&drive, TUR, 0x062900);
    assert_ready();
}

static void assert_no_note(enum medium_kind kind, const uint8_t *note, size_t length)
{
    struct scsi_drive other, before;

    scsi_drive_init(&other, kind, &identity, true);
    before = other;
    assert_int_equal(scsi_drive_resume(&other, note, length), -EBADMSG);
    assert_memory_equal(&other, &before, sizeof other);
}

static void test_notes_that_make_no_sense(void **state)
{
    /* Byte and value: version, kind, loaded and ejected, writable without a medium, attentions,
     * deferred, too many blocks. */
    static const uint8_t wrong[][2] = {{0, 9}, {1, 2},           {2, 0x03}, {2, 0x04},
                                       {3, 4}, {4, SCSI_CAUSES}, {10, 0x80}};
    uint8_t note[SCSI_NOTE_MAX + 1] = {0}, bad[sizeof note];
    size_t length = scsi_drive_note(&drive, note);

    (void)state;
    for (size_t i = 0; i <= sizeof note; i++)
        if (i != length)
            assert_no_note(MEDIUM_DISK, note, i);
    assert_no_note(MEDIUM_CD, note, length);
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        memcpy(bad, note, sizeof bad);
        bad[wrong[i][0]] = wrong[i][1];
        assert_no_note(MEDIUM_DISK, bad, length);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_waits_is_told_in_order),
        cmocka_unit_test(test_a_medium_from_the_beginning),
        cmocka_unit_test(test_commands_that_meet_no_attention),
        cmocka_unit_test_setup(test_sense_is_told_once, make_ready),
        cmocka_unit_test_setup(test_sense_in_both_formats, make_ready),
        cmocka_unit_test(test_sense_past_32_bits),
        cmocka_unit_test_setup(test_manners, make_ready),
        cmocka_unit_test_setup(test_inquiry, make_ready),
        cmocka_unit_test_setup(test_vital_product_data, make_ready),
        cmocka_unit_test_setup(test_the_name_stays, make_ready),
        cmocka_unit_test(test_an_optical_drive_says_so),
        cmocka_unit_test_setup(test_report_luns, make_ready),
        cmocka_unit_test(test_supported_commands),
        cmocka_unit_test_setup(test_report_of_one_command, make_ready),
        cmocka_unit_test_setup(test_eject_and_load, make_ready),
        cmocka_unit_test_setup(test_an_eject_that_fails, make_ready),
        cmocka_unit_test_setup(test_stopping_and_power, make_ready),
        cmocka_unit_test_setup(test_lock, make_ready),
        cmocka_unit_test_setup(test_another_process_goes_on, make_ready),
        cmocka_unit_test(test_another_process_begins),
        cmocka_unit_test_setup(test_notes_that_make_no_sense, make_ready),
    };

    return cmocka_run_group_tests_name("scsi-drive", tests, NULL, NULL);
}
