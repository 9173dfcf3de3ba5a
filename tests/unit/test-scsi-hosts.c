/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What real hosts ask (tests/vectors/hosts), asked of both kinds of drives, over the bus's own
 * machine: every command is understood but those listed here with the reason, the host and the
 * drive never disagree on how much moves which way, and what the drive of the recording answered
 * well, ours does too.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "scsi-host.h"
#include "scsi/bot.h"

#define DISK (1u << MEDIUM_DISK)
#define CD   (1u << MEDIUM_CD)
#define SIZE ((uint64_t)8 << 30) /* more than any of the recordings reads in */

#define INVALID_OPCODE 0x052000

/* What is not understood, of which drive, and why. */
static const struct {
    uint8_t opcode;
    unsigned drives;
    const char *reason;
} not_understood[] = {
    {0x4D, DISK | CD, "LOG SENSE: there are no log pages; it is optional"},
    {0x85, DISK | CD, "ATA PASS-THROUGH: there is no ATA disk behind this one"},
    {0xA4, DISK | CD, "REPORT KEY: nothing is encrypted, and no feature says so"},
    /* Asked of the other kind of drive. */
    {0x43, DISK, "READ TOC is an optical drive's"},
    {0x46, DISK, "GET CONFIGURATION likewise"},
    {0x4A, DISK, "GET EVENT STATUS NOTIFICATION likewise"},
    {0x51, DISK, "READ DISC INFORMATION likewise"},
    {0x52, DISK, "READ TRACK INFORMATION likewise"},
    {0xAC, DISK, "GET PERFORMANCE likewise"},
    {0xAD, DISK, "READ DISC STRUCTURE likewise"},
    {0xBB, DISK, "SET CD SPEED likewise"},
    {0xBD, DISK, "MECHANISM STATUS likewise"},
    {0xBE, DISK, "READ CD likewise"},
    {0x2A, CD, "WRITE(10): it is read-only"},
    {0x88, CD, "READ(16) is a disk's: MMC's addresses have 32 bits"},
    {0x9E, CD, "READ CAPACITY(16) likewise"},
};

#define NOT_UNDERSTOOD (sizeof not_understood / sizeof not_understood[0])

static unsigned met[NOT_UNDERSTOOD]; /* by which drives, in these tests */
static struct scsi_drive drive;
static struct bot bot;
static uint8_t answer[SCSI_REPLY_MAX];
static const char *file_name;
static char line[256];

static void __attribute__((noreturn)) fail_line(const char *why)
{
    fail_msg("%s, %s: %s: %s", file_name, drive.kind == MEDIUM_CD ? "CD" : "disk", line, why);
    abort();
}

static void put_le32(uint8_t *p, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get_le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

struct outcome {
    uint8_t status; /* of the wrapper */
    uint32_t residue;
};

static struct outcome transfer(const uint8_t *cdb, size_t cdb_length, bool in, uint32_t length)
{
    uint8_t cbw[BOT_CBW_LENGTH] = "USBC";
    const struct bot_deed *now;

    put_le32(cbw + 8, length);
    cbw[12] = in ? 0x80 : 0;
    cbw[14] = (uint8_t)cdb_length;
    memcpy(cbw + 15, cdb, cdb_length);
    bot_command(&bot, cbw, sizeof cbw);
    while ((now = bot_now(&bot))->kind != BOT_STATUS) {
        assert_int_not_equal(now->kind, BOT_COMMAND);
        assert_int_not_equal(now->kind, BOT_HALT);
        if (now->kind == BOT_SEND)
            memcpy(answer, now->data, (size_t)now->length);
        if (now->kind == BOT_RECEIVE)
            memset(now->into, 0, (size_t)now->length);
        bot_done(&bot, SCSI_FINE, now->length);
    }
    struct outcome outcome = {now->data[12], get_le32(now->data + 8)};
    bot_done(&bot, SCSI_FINE, now->length);
    return outcome;
}

static unsigned ask_sense(void)
{
    static const uint8_t request_sense[6] = {0x03, [4] = SCSI_SENSE_SIZE};

    assert_int_equal(transfer(request_sense, 6, true, SCSI_SENSE_SIZE).status, 0);
    return (answer[2] & 0x0Fu) << 16 | (unsigned)answer[12] << 8 | answer[13];
}

static bool is_listed(uint8_t opcode)
{
    for (size_t i = 0; i < NOT_UNDERSTOOD; i++) {
        if (not_understood[i].opcode == opcode && not_understood[i].drives & 1u << drive.kind) {
            met[i] |= 1u << drive.kind;
            return true;
        }
    }
    return false;
}

/* Moves something else on the other kind of drive: its blocks have another size, or the code means
 * another command. */
static bool differs_by_kind(uint8_t opcode)
{
    return opcode == 0x28 || opcode == 0x2A || opcode == 0x88 || opcode == 0xA8 || opcode == 0x42;
}

/* `told`: what the line says behind "#". */
static void check(const struct outcome *outcome, uint8_t opcode, const char *told, bool own)
{
    bool asks_state = opcode == 0x00 || opcode == 0x03;

    if (outcome->status == 2 && (own || !differs_by_kind(opcode)))
        fail_line("a phase error");
    if (outcome->status != 1)
        return;
    if (own && !asks_state && strstr(told, ": good"))
        fail_line("it was answered well once");
    /* A host that asks for sense next finds it: only what is not a state is looked at. */
    if (!asks_state && ask_sense() == INVALID_OPCODE && !is_listed(opcode))
        fail_line("it is not understood");
}

static void replay_line(enum medium_kind recorded)
{
    char hex[2 * SCSI_CDB_MAX + 1], way[5];
    uint8_t cdb[SCSI_CDB_MAX];
    unsigned length;
    struct outcome outcome;
    size_t cdb_length;

    if (sscanf(line, "%32s %4s %u", hex, way, &length) != 3)
        fail_line("not in the form of these files");
    cdb_length = host_bytes(hex, cdb, sizeof cdb);
    outcome = transfer(cdb, cdb_length, strcmp(way, "in") == 0, length);
    check(&outcome, cdb[0], strstr(line, "# ") ? strstr(line, "# ") : "", recorded == drive.kind);
}

static void begin(enum medium_kind kind)
{
    static const struct scsi_identity identity = {"Platter", "Virtual Drive", "0100", "PLATTER01"};
    struct scsi_drive *drives[] = {&drive};

    scsi_drive_init(&drive, kind, &identity, false);
    scsi_drive_insert(&drive, SIZE, true);
    bot_init(&bot, drives, 1);
}

static unsigned replay_file(const char *name, enum medium_kind kind)
{
    enum medium_kind recorded = strstr(name, "-cd.") ? MEDIUM_CD : MEDIUM_DISK;
    cleanup_free char *path = NULL;
    cleanup_file FILE *file = NULL;
    unsigned lines = 0;

    file_name = name;
    assert_true(asprintf(&path, HOSTS_DIR "/%s", name) > 0);
    file = fopen(path, "re");
    assert_non_null(file);
    begin(kind);
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '#' || line[0] == '\0')
            continue;
        replay_line(recorded);
        lines++;
    }
    return lines;
}

static void replay_all(enum medium_kind kind)
{
    DIR *directory = opendir(HOSTS_DIR);
    struct dirent *entry;
    unsigned files = 0;

    assert_non_null(directory);
    while ((entry = readdir(directory))) {
        if (!strstr(entry->d_name, ".txt"))
            continue;
        assert_true(replay_file(entry->d_name, kind) > 0);
        files++;
    }
    closedir(directory);
    assert_true(files >= 12);
}

static void test_a_disk_understands(void **state)
{
    (void)state;
    replay_all(MEDIUM_DISK);
}

static void test_an_optical_drive_understands(void **state)
{
    (void)state;
    replay_all(MEDIUM_CD);
}

/* What is listed and not met is a reason for nothing. */
static void test_the_list_is_no_longer_than_it_must_be(void **state)
{
    (void)state;
    for (size_t i = 0; i < NOT_UNDERSTOOD; i++) {
        if (met[i] != not_understood[i].drives)
            fail_msg("%02X is understood, or not asked: %s", not_understood[i].opcode,
                     not_understood[i].reason);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_disk_understands),
        cmocka_unit_test(test_an_optical_drive_understands),
        cmocka_unit_test(test_the_list_is_no_longer_than_it_must_be),
    };

    return cmocka_run_group_tests_name("scsi-hosts", tests, NULL, NULL);
}
