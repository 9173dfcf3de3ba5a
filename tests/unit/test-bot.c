/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bulk-Only Transport: the thirteen cases of section 6.7, wrappers that are none, data that ends
 * early on either side, resets in every state, and the note by which another process goes on.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scsi-host.h"
#include "scsi/bot.h"

#define SIZE ((uint64_t)1 << 20)
#define TAG  0xA1B2C3D4u

#define TUR     "00 00 00 00 00 00"
#define INQUIRY "12 00 00 00 FF 00"
#define READ_1  "28 00 00 00 00 02 00 00 01 00"
#define READ_2  "28 00 00 00 00 02 00 00 02 00"
#define WRITE_1 "2A 00 00 00 00 02 00 00 01 00"
#define WRITE_2 "2A 00 00 00 00 02 00 00 02 00"

static struct scsi_drive drives[3];
static struct bot bot;

static int make(void **state)
{
    struct scsi_drive *const all[] = {&drives[0], &drives[1], &drives[2]};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        host_drive(&drives[i], MEDIUM_DISK);
        scsi_drive_insert(&drives[i], SIZE, true);
        assert_refused(&drives[i], TUR, 0x062800);
    }
    bot_init(&bot, all, 3);
    return 0;
}

/* A command wrapper; `in` with its direction bit. */
static void wrap(uint8_t cbw[BOT_CBW_LENGTH], unsigned lun, bool in, uint32_t announced,
                 const char *cdb)
{
    memset(cbw, 0, BOT_CBW_LENGTH);
    memcpy(cbw, "USBC", 4);
    for (unsigned i = 0; i < 4; i++) {
        cbw[4 + i] = (uint8_t)(TAG >> (8 * i));
        cbw[8 + i] = (uint8_t)(announced >> (8 * i));
    }
    cbw[12] = in ? 0x80 : 0;
    cbw[13] = (uint8_t)lun;
    cbw[14] = (uint8_t)host_bytes(cdb, cbw + 15, 16);
}

static void command_of(unsigned lun, bool in, uint32_t announced, const char *cdb)
{
    uint8_t cbw[BOT_CBW_LENGTH];

    assert_int_equal(bot_now(&bot)->kind, BOT_COMMAND);
    wrap(cbw, lun, in, announced, cdb);
    bot_command(&bot, cbw, sizeof cbw);
}

static void command(bool in, uint32_t announced, const char *cdb)
{
    command_of(0, in, announced, cdb);
}

/* The deed is there now, so long on the bus, and is done with all of it. */
static void does(enum bot_kind kind, uint64_t length)
{
    assert_int_equal(bot_now(&bot)->kind, kind);
    assert_int_equal(bot_now(&bot)->length, length);
    bot_done(&bot, SCSI_FINE, length);
}

static void does_medium(enum scsi_deed_kind kind, uint64_t length)
{
    assert_int_equal(bot_now(&bot)->kind, BOT_MEDIUM);
    assert_int_equal(bot_now(&bot)->deed.kind, kind);
    does(BOT_MEDIUM, length);
}

static void ends(unsigned status, uint32_t residue)
{
    const struct bot_deed *now = bot_now(&bot);
    const uint8_t csw[BOT_CSW_LENGTH] = {
        'U',
        'S',
        'B',
        'S',
        TAG & 0xFF,
        TAG >> 8 & 0xFF,
        TAG >> 16 & 0xFF,
        TAG >> 24,
        (uint8_t)residue,
        (uint8_t)(residue >> 8),
        (uint8_t)(residue >> 16),
        (uint8_t)(residue >> 24),
        (uint8_t)status,
    };

    assert_int_equal(now->kind, BOT_STATUS);
    assert_int_equal(now->length, BOT_CSW_LENGTH);
    assert_memory_equal(now->data, csw, sizeof csw);
    bot_done(&bot, SCSI_FINE, BOT_CSW_LENGTH);
    assert_int_equal(bot_now(&bot)->kind, BOT_COMMAND);
}

static void test_they_agree(void **state)
{
    (void)state;
    command(false, 0, TUR); /* 1: Hn = Dn */
    does_medium(SCSI_READY, 0);
    ends(0, 0);
    command(true, 0, TUR); /* without data the direction says nothing */
    does_medium(SCSI_READY, 0);
    ends(0, 0);
    command(true, 512, READ_1); /* 6: Hi = Di */
    assert_ptr_equal(bot_now(&bot)->drive, &drives[0]);
    assert_int_equal(bot_now(&bot)->deed.offset, 1024);
    does_medium(SCSI_READ, 512);
    ends(0, 0);
    command(false, 1024, WRITE_2); /* 12: Ho = Do */
    does_medium(SCSI_WRITE, 1024);
    ends(0, 0);
}

static void test_the_machine_announces_no_data(void **state)
{
    (void)state;
    command(true, 0, READ_1); /* 2: Hn < Di */
    ends(2, 0);
    command(true, 0, INQUIRY);
    ends(2, 0);
    command(false, 0, WRITE_1); /* 3: Hn < Do */
    ends(2, 0);
}

static void test_the_machine_announces_more_in(void **state)
{
    (void)state;
    command(true, 512, TUR); /* 4: Hi > Dn */
    does_medium(SCSI_READY, 0);
    does(BOT_STALL_IN, 0);
    ends(0, 512);
    command(true, 512, "28 00 00 00 00 02 00 00 00 00"); /* READ of no blocks */
    does(BOT_STALL_IN, 0);
    ends(0, 512);
    command(true, 1024, READ_1); /* 5: Hi > Di, and no packet is short */
    does_medium(SCSI_READ, 512);
    does(BOT_SEND, 0);
    ends(0, 512);
    command(true, 255, INQUIRY); /* 5, and the last packet says it */
    does(BOT_SEND, 74);
    ends(0, 181);
    bot_set_packet(&bot, 1024);
    command(true, 2048, READ_1); /* half a packet */
    does_medium(SCSI_READ, 512);
    ends(0, 1536);
    bot_set_packet(&bot, 64);
    command(true, 255, "12 00 00 00 40 00"); /* INQUIRY, cut to one packet */
    does(BOT_SEND, 64);
    does(BOT_SEND, 0);
    ends(0, 191);
}

static void test_the_machine_announces_less_in(void **state)
{
    (void)state;
    command(true, 512, READ_2); /* 7: Hi < Di */
    assert_int_equal(bot_now(&bot)->deed.length, 512);
    does_medium(SCSI_READ, 512);
    ends(2, 0);
    command(true, 36, INQUIRY);
    does(BOT_SEND, 36);
    ends(2, 0);
}

static void test_the_other_way(void **state)
{
    (void)state;
    command(true, 512, WRITE_1); /* 8: Hi <> Do */
    does(BOT_STALL_IN, 0);
    ends(2, 512);
    command(true, 24, "15 10 00 00 18 00"); /* MODE SELECT */
    does(BOT_STALL_IN, 0);
    ends(2, 24);
    command(false, 512, READ_1); /* 10: Ho <> Di */
    does(BOT_RECEIVE, 512);
    ends(2, 512);
}

static void test_the_machine_announces_more_out(void **state)
{
    (void)state;
    command(false, 5000, TUR); /* 9: Ho > Dn */
    does_medium(SCSI_READY, 0);
    does(BOT_RECEIVE, 4096);
    does(BOT_RECEIVE, 904);
    ends(0, 5000);
    command(false, 1024, WRITE_1); /* 11: Ho > Do */
    does_medium(SCSI_WRITE, 512);
    does(BOT_RECEIVE, 512);
    ends(0, 512);
}

static void test_the_machine_announces_less_out(void **state)
{
    (void)state;
    command(false, 512, WRITE_2); /* 13: Ho < Do: nothing is written */
    does(BOT_RECEIVE, 512);
    ends(2, 512);
    command(false, 8, "15 10 00 00 18 00"); /* MODE SELECT of 24 bytes */
    does(BOT_RECEIVE, 8);
    ends(2, 8);
}

static void test_data_nobody_wants_ends_early(void **state)
{
    (void)state;
    command(false, 9000, TUR);
    does_medium(SCSI_READY, 0);
    does(BOT_RECEIVE, 4096);
    assert_int_equal(bot_now(&bot)->kind, BOT_RECEIVE);
    bot_done(&bot, SCSI_FINE, 100);
    ends(0, 9000);
}

static void test_the_machine_sends_less_than_announced(void **state)
{
    (void)state;
    command(false, 1024, WRITE_2);
    assert_int_equal(bot_now(&bot)->kind, BOT_MEDIUM);
    bot_done(&bot, SCSI_FINE, 700);
    ends(1, 324);
    assert_int_equal(host_sense(&drives[0]), 0x0B4B00);
    command(false, 24, "15 10 00 00 18 00");
    assert_int_equal(bot_now(&bot)->kind, BOT_RECEIVE);
    bot_done(&bot, SCSI_FINE, 23);
    ends(1, 1);
    assert_int_equal(host_sense(&drives[0]), 0x051A00);
}

static void test_refused_commands(void **state)
{
    (void)state;
    command(false, 0, "F0 00 00 00 00 00");
    ends(1, 0);
    assert_int_equal(host_sense(&drives[0]), 0x052000);
    command(true, 512, "28 00 00 00 08 00 00 00 01 00"); /* past the end */
    does(BOT_STALL_IN, 0);
    ends(1, 512);
    assert_int_equal(host_sense(&drives[0]), 0x052100);
    command(false, 512, "2A 00 00 00 08 00 00 00 01 00");
    does(BOT_RECEIVE, 512);
    ends(1, 512);
    command(true, 18, "03 00 00 00 12 00");
    assert_memory_equal(bot_now(&bot)->data, "\x70\0\x05\0\0\0\0\x0A\0\0\0\0\x21\0\0\0\0\0", 18);
    does(BOT_SEND, 18);
    ends(0, 0);
}

static void test_a_read_fails_in_the_middle(void **state)
{
    (void)state;
    command(true, 1024, READ_2);
    bot_done(&bot, SCSI_READ_FAILED, 512);
    does(BOT_SEND, 0);
    ends(1, 512);
    assert_int_equal(host_sense(&drives[0]), 0x031100);
    assert_int_equal(drives[0].bytes[0], 0xF0); /* valid: */
    assert_int_equal(drives[0].bytes[6], 3);    /* the second block */
    command(true, 1024, READ_2);
    bot_done(&bot, SCSI_WAITING, 600); /* the data has ended with a short packet */
    ends(1, 424);
    assert_int_equal(host_sense(&drives[0]), 0x020401);
    command(true, 1024, READ_2);
    bot_done(&bot, SCSI_GONE, 1024); /* all was sent before it was known */
    ends(1, 0);
    command(true, 1024, READ_2);
    bot_done(&bot, SCSI_GONE, 0);
    does(BOT_STALL_IN, 0);
    ends(1, 1024);
    assert_int_equal(host_sense(&drives[0]), 0x020400);
}

static void test_a_write_fails_in_the_middle(void **state)
{
    (void)state;
    command(false, 1024, WRITE_2);
    bot_done(&bot, SCSI_FULL, 512);
    does(BOT_RECEIVE, 512);
    ends(1, 1024);
    assert_int_equal(host_sense(&drives[0]), 0x072707);
    command(false, 1024, WRITE_2);
    bot_done(&bot, SCSI_WRITE_FAILED, 1024);
    ends(1, 1024);
    assert_int_equal(host_sense(&drives[0]), 0x030C00);
    assert_int_equal(drives[0].bytes[0], 0x70); /* how much was written is not known */
}

static void test_parameters_then_the_medium(void **state)
{
    (void)state;
    command(false, 24, "42 00 00 00 00 00 00 00 18 00"); /* UNMAP of one range */
    assert_int_equal(bot_now(&bot)->length, 24);
    host_bytes("0016 0010 00000000 0000000000000004 00000002 00000000", bot_now(&bot)->into, 24);
    does(BOT_RECEIVE, 24);
    assert_int_equal(bot_now(&bot)->deed.ranges[0].offset, 2048);
    does_medium(SCSI_TRIM, 0);
    ends(0, 0);
    command(false, 512, "41 00 00 00 00 04 00 00 08 00"); /* WRITE SAME(10) */
    memset(bot_now(&bot)->into, 7, 512);
    does(BOT_RECEIVE, 512);
    assert_int_equal(bot_now(&bot)->deed.length, 8 * 512);
    does_medium(SCSI_FILL, 0);
    ends(0, 0);
}

static void test_bytes_read_well_reach_the_drive(void **state)
{
    (void)state;
    command(false, 0, "2F 00 00 00 00 02 00 00 08 00"); /* VERIFY */
    assert_int_equal(bot_now(&bot)->deed.kind, SCSI_CHECK);
    assert_int_equal(bot_now(&bot)->deed.length, 8 * 512);
    bot_done(&bot, SCSI_READ_FAILED, 3 * 512);
    ends(1, 0);
    assert_int_equal(host_sense(&drives[0]), 0x031100);
    assert_int_equal(drives[0].bytes[6], 5);
}

static void test_wrappers_that_are_none(void **state)
{
    static const struct {
        unsigned at;
        uint8_t value;
    } wrong[] = {{0, 'X'},   {1, 'X'},   {2, 'X'}, {3, 'S'}, {12, 0x01}, {12, 0x40},    {13, 3},
                 {13, 0x10}, {13, 0xF0}, {14, 0},  {14, 17}, {14, 32},   {14, 0x40 + 6}};
    uint8_t cbw[64];

    (void)state;
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        wrap(cbw, 0, false, 0, TUR);
        cbw[wrong[i].at] = wrong[i].value;
        bot_command(&bot, cbw, BOT_CBW_LENGTH);
        assert_int_equal(bot_now(&bot)->kind, BOT_HALT);
        bot_done(&bot, SCSI_FINE, 0);
        assert_int_equal(bot_now(&bot)->kind, BOT_HALT);
        bot_reset(&bot, false);
        assert_int_equal(bot_now(&bot)->kind, BOT_COMMAND);
    }
    for (size_t length = 0; length <= sizeof cbw; length++) {
        memset(cbw, 0, sizeof cbw);
        wrap(cbw, 0, false, 0, TUR);
        bot_command(&bot, cbw, length);
        assert_int_equal(bot_now(&bot)->kind, length == BOT_CBW_LENGTH ? BOT_MEDIUM : BOT_HALT);
        bot_reset(&bot, false);
    }
    test_they_agree(state);
}

static void test_units(void **state)
{
    (void)state;
    scsi_drive_remove(&drives[1]);
    command_of(1, false, 0, TUR);
    ends(1, 0);
    assert_int_equal(host_sense(&drives[1]), 0x023A00);
    command_of(2, true, 512, READ_1);
    assert_ptr_equal(bot_now(&bot)->drive, &drives[2]);
    assert_int_equal(bot_now(&bot)->lun, 2);
    does_medium(SCSI_READ, 512);
    ends(0, 0);
    command_of(2, true, 255, "A0 00 00 00 00 00 00 00 00 FF 00 00"); /* REPORT LUNS */
    does(BOT_SEND, 32);
    ends(0, 223);
    assert_memory_equal(drives[2].bytes, "\0\0\0\x18\0\0\0\0", 8);
    assert_int_equal(drives[2].bytes[25], 2);
}

/* The unit in the command block, as SCSI-2 had it, is passed over; another value there is not. */
static void test_the_unit_in_the_command_block(void **state)
{
    (void)state;
    command_of(2, true, 512, "28 40 00 00 00 02 00 00 01 00");
    does_medium(SCSI_READ, 512);
    ends(0, 0);
    command_of(2, true, 512, "28 20 00 00 00 02 00 00 01 00");
    does(BOT_STALL_IN, 0);
    ends(1, 512);
    assert_int_equal(host_sense(&drives[2]), 0x052400);
    command_of(0, true, 512, "28 40 00 00 00 02 00 00 01 00");
    does(BOT_STALL_IN, 0);
    ends(1, 512);
}

/* Bytes past the command's own length mean nothing; those it lacks are zeros. */
static void test_lengths_of_command_blocks(void **state)
{
    (void)state;
    command(false, 0, "00 00 00 00 00 00 FF FF FF FF FF FF FF FF FF FF");
    does_medium(SCSI_READY, 0);
    ends(0, 0);
    command(false, 0, "00");
    does_medium(SCSI_READY, 0);
    ends(0, 0);
}

/* Starts a command that is two deeds long, does `steps` of it. */
static void begin_one(unsigned which, unsigned steps)
{
    static const struct {
        bool in;
        uint32_t announced;
        const char *cdb;
    } all[] = {
        {true, 1024, READ_1},  {false, 1024, WRITE_1},
        {true, 255, INQUIRY},  {false, 512, "41 00 00 00 00 04 00 00 08 00"},
        {false, 9000, TUR},    {true, 512, WRITE_1},
        {false, 512, READ_1},  {true, 512, TUR},
        {false, 512, WRITE_2},
    };

    command(all[which].in, all[which].announced, all[which].cdb);
    while (steps-- > 0 && bot_now(&bot)->kind != BOT_COMMAND)
        bot_done(&bot, SCSI_FINE, bot_now(&bot)->length);
}

static void test_resets_at_any_time(void **state)
{
    for (unsigned which = 0; which < 9; which++) {
        for (unsigned steps = 0; steps < 6; steps++) {
            begin_one(which, steps);
            bot_reset(&bot, false);
            assert_int_equal(bot_now(&bot)->kind, BOT_COMMAND);
            assert_int_equal(bot_note(&bot, (uint8_t[BOT_NOTE_MAX]){0}), 0);
            test_they_agree(state);
            begin_one(which, steps);
            bot_reset(&bot, true);
            assert_int_equal(bot_now(&bot)->kind, BOT_COMMAND);
            for (unsigned i = 0; i < 3; i++)
                assert_refused(&drives[i], TUR, 0x062900);
            test_they_agree(state);
        }
    }
}

static void test_the_medium_goes_in_the_middle(void **state)
{
    (void)state;
    command(true, 512, READ_1);
    scsi_drive_remove(&drives[0]);
    bot_done(&bot, SCSI_READ_FAILED, 0);
    does(BOT_STALL_IN, 0);
    ends(1, 512);
    assert_int_equal(host_sense(&drives[0]), 0x023A00);
}

/* Another process: the machine is fresh, the drive has got its own note. */
static void die(void)
{
    struct scsi_drive *const all[] = {&drives[0], &drives[1], &drives[2]};
    uint8_t note[BOT_NOTE_MAX], drive_note[SCSI_NOTE_MAX];
    size_t length = bot_note(&bot, note), drive_length = scsi_drive_note(&drives[1], drive_note);
    static const struct scsi_identity identity = {"Platter", "Virtual CD", "0100", "PLATTER01"};

    assert_true(length > 0 && length <= sizeof note);
    scsi_drive_init(&drives[1], MEDIUM_DISK, &identity, false);
    assert_int_equal(scsi_drive_resume(&drives[1], drive_note, drive_length), 0);
    bot_init(&bot, all, 3);
    assert_int_equal(bot_resume(&bot, note, length), 0);
}

static void test_another_process_ends_the_command(void **state)
{
    (void)state;
    command_of(1, true, 512, READ_1);
    die();
    does(BOT_STALL_IN, 0);
    ends(1, 512);
    assert_int_equal(host_sense(&drives[1]), 0x0B0000);
    command_of(1, false, 512, WRITE_1);
    die();
    does(BOT_STALL_OUT, 0);
    ends(1, 512);
    command_of(1, false, 0, TUR);
    die();
    ends(1, 0);
    assert_int_equal(host_sense(&drives[1]), 0x0B0000);
    command_of(1, true, 512, READ_1);
    does_medium(SCSI_READ, 512);
    die(); /* its status was perhaps not out */
    does(BOT_STALL_IN, 0);
    ends(1, 512);
    command_of(1, true, 512, READ_1); /* and it goes on */
    does_medium(SCSI_READ, 512);
    ends(0, 0);
}

static void test_notes_that_make_no_sense(void **state)
{
    uint8_t note[BOT_NOTE_MAX + 1] = {0}, bad[sizeof note];
    size_t length;

    (void)state;
    assert_int_equal(bot_note(&bot, note), 0);
    command_of(1, true, 512, READ_1);
    length = bot_note(&bot, note);
    bot_reset(&bot, false);
    for (size_t i = 0; i <= sizeof note; i++) {
        assert_int_equal(bot_resume(&bot, note, i), i == length ? 0 : -EBADMSG);
        bot_reset(&bot, false);
    }
    for (unsigned i = 0; i < 3; i++) { /* version, flags, unit */
        memcpy(bad, note, sizeof bad);
        bad[i] = 3;
        assert_int_equal(bot_resume(&bot, bad, length), -EBADMSG);
        assert_int_equal(bot_now(&bot)->kind, BOT_COMMAND);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_they_agree, make),
        cmocka_unit_test_setup(test_the_machine_announces_no_data, make),
        cmocka_unit_test_setup(test_the_machine_announces_more_in, make),
        cmocka_unit_test_setup(test_the_machine_announces_less_in, make),
        cmocka_unit_test_setup(test_the_other_way, make),
        cmocka_unit_test_setup(test_the_machine_announces_more_out, make),
        cmocka_unit_test_setup(test_the_machine_announces_less_out, make),
        cmocka_unit_test_setup(test_data_nobody_wants_ends_early, make),
        cmocka_unit_test_setup(test_the_machine_sends_less_than_announced, make),
        cmocka_unit_test_setup(test_refused_commands, make),
        cmocka_unit_test_setup(test_a_read_fails_in_the_middle, make),
        cmocka_unit_test_setup(test_a_write_fails_in_the_middle, make),
        cmocka_unit_test_setup(test_parameters_then_the_medium, make),
        cmocka_unit_test_setup(test_bytes_read_well_reach_the_drive, make),
        cmocka_unit_test_setup(test_wrappers_that_are_none, make),
        cmocka_unit_test_setup(test_units, make),
        cmocka_unit_test_setup(test_the_unit_in_the_command_block, make),
        cmocka_unit_test_setup(test_lengths_of_command_blocks, make),
        cmocka_unit_test_setup(test_resets_at_any_time, make),
        cmocka_unit_test_setup(test_the_medium_goes_in_the_middle, make),
        cmocka_unit_test_setup(test_another_process_ends_the_command, make),
        cmocka_unit_test_setup(test_notes_that_make_no_sense, make),
    };

    return cmocka_run_group_tests_name("bot", tests, NULL, NULL);
}
