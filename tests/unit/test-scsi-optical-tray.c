/* SPDX-License-Identifier: Apache-2.0 */
/* What the optical drive has of both kinds' commands: its mode pages, its tray, its reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "scsi-host.h"

#define SECTOR  ((uint64_t)2048)
#define NETINST ((uint64_t)650 << 20)

#define READY       "00 00 00 00 00 00"
#define LOCK        "1E 00 00 00 01 00"
#define UNLOCK      "1E 00 00 00 00 00"
#define EJECT       "1B 00 00 00 02 00"
#define LOAD        "1B 00 00 00 03 00"
#define MEDIA_EVENT "4A 01 00 00 10 00 00 00 08 00"
#define MECHANISM   "BD 00 00 00 00 00 00 00 00 08 00 00"

static const char recovery[] = "01 0A 00000000000000000000";
static const char power[] = "1A 0A 00000000000000000000";
static const char exceptions[] = "1C 0A 08000000000000000000";
static const char timeout[] = "1D 08 00000000 00 1E 00 1E";
static const char capabilities[] = "2A 1E 0B 00 00 00 29 00 2113 0000 0000 2113"
                                   "0000000000000000 0000000000000000";

static struct scsi_drive drive;

static void insert(uint64_t size)
{
    host_drive_with(&drive, MEDIUM_CD, size);
}

static const char *list(const char *head, const char *a, const char *b)
{
    static char out[512];

    snprintf(out, sizeof out, "%s %s %s", head, a, b);
    return out;
}

static void test_pages(void **state)
{
    (void)state;
    insert(NETINST);
    /* As Linux asks (sr_probe): no descriptor, though it may have one. */
    assert_answer(&drive, "5A 00 2A 00 00 00 00 00 80 00",
                  list("0026 00 00 00 00 0000", capabilities, ""));
    assert_answer(&drive, "1A 00 2A 00 80 00", list("23 00 00 00", capabilities, ""));
    assert_answer(&drive, "5A 08 01 00 00 00 00 00 80 00",
                  list("0012 00 00 00 00 0000", recovery, ""));
    assert_answer(&drive, "5A 08 1D 00 00 00 00 00 80 00",
                  list("0010 00 00 00 00 0000", timeout, ""));
    assert_int_equal(host_ask(&drive, "5A 08 3F 00 00 00 00 01 00 00"), 8 + 12 + 12 + 12 + 10 + 32);
    assert_answer(&drive, "5A 08 1A 00 00 00 00 00 80 00",
                  list("0012 00 00 00 00 0000", power, ""));
    assert_answer(&drive, "5A 08 1C 00 00 00 00 00 80 00",
                  list("0012 00 00 00 00 0000", exceptions, ""));
    /* Nothing can be changed; the CD's audio page, and Apple's own, are not there. */
    assert_answer(&drive, "5A 08 5D 00 00 00 00 00 80 00",
                  list("0010 00 00 00 00 0000", "1D 08", "00000000 00 00 00 00"));
    assert_refused(&drive, "5A 08 0E 00 00 00 00 00 80 00", 0x052400);
    assert_refused(&drive, "5A 08 31 00 00 00 00 00 80 00", 0x052400);
}

static void test_the_page_tells_the_lock_and_the_speed(void **state)
{
    (void)state;
    insert((uint64_t)6 << 30);
    assert_good(&drive, LOCK);
    assert_int_equal(host_ask(&drive, "5A 08 2A 00 00 00 00 00 80 00"), 40);
    assert_int_equal(drive.bytes[8 + 6], 0x2B);
    assert_int_equal(drive.bytes[8 + 8] << 8 | drive.bytes[8 + 9], 16 * 1385);
    assert_good(&drive, UNLOCK);
    assert_int_equal(host_ask(&drive, "5A 08 2A 00 00 00 00 00 80 00"), 40);
    assert_int_equal(drive.bytes[8 + 6], 0x29);
}

static void test_the_machine_ejects_and_loads(void **state)
{
    (void)state;
    insert(NETINST);
    assert_answer(&drive, MEDIA_EVENT, "0006 04 16 02 02 00 00");
    assert_good(&drive, EJECT);
    assert_int_equal(scsi_drive_take_events(&drive), SCSI_EVENT_EJECTED);
    assert_false(scsi_drive_is_loaded(&drive));
    assert_answer(&drive, MEDIA_EVENT, "0006 04 16 03 01 00 00"); /* removed, the tray is open */
    assert_answer(&drive, MECHANISM, "00 10 000000 01 0000");
    assert_refused(&drive, READY, 0x023A02);
    assert_refused(&drive, "25 00 00 00 00 00 00 00 00 00", 0x023A02);
    assert_good(&drive, LOAD);
    assert_true(scsi_drive_is_loaded(&drive));
    assert_answer(&drive, MEDIA_EVENT, "0006 04 16 02 02 00 00");
    assert_refused(&drive, READY, 0x062800);
    assert_answer(&drive, MECHANISM, "00 00 000000 01 0000");
}

/* Its owner has taken away what was ejected: loading closes an empty tray. */
static void test_an_empty_tray(void **state)
{
    (void)state;
    insert(NETINST);
    assert_good(&drive, EJECT);
    scsi_drive_remove(&drive);
    assert_refused(&drive, READY, 0x023A02);
    assert_good(&drive, LOAD);
    assert_refused(&drive, READY, 0x023A01);
    scsi_drive_insert(&drive, 2 * NETINST, false);
    assert_refused(&drive, READY, 0x062800);
    assert_int_equal(host_ask(&drive, "46 00 00 00 00 00 00 00 08 00"), 8);
    assert_int_equal(drive.bytes[7], 0x10); /* a DVD now */
}

static void test_a_locked_tray(void **state)
{
    (void)state;
    insert(NETINST);
    assert_good(&drive, LOCK);
    assert_int_equal(scsi_drive_take_events(&drive), SCSI_EVENT_LOCKED);
    assert_refused(&drive, EJECT, 0x055302);
    assert_true(scsi_drive_is_loaded(&drive));
    /* The person's wish reaches the machine, which lets go. */
    scsi_drive_request_eject(&drive);
    assert_answer(&drive, "4A 01 00 00 10 00 00 00 08 00", "0006 04 16 01 02 00 00");
    assert_good(&drive, UNLOCK);
    assert_good(&drive, EJECT);
    assert_int_equal(scsi_drive_take_events(&drive), SCSI_EVENT_UNLOCKED | SCSI_EVENT_EJECTED);
}

static void test_reads_and_capacity(void **state)
{
    (void)state;
    insert(NETINST);
    assert_answer(&drive, "25 00 00 00 00 00 00 00 00 00", "000513FF 00000800");
    assert_read(&drive, "28 00 00 00 00 10 00 00 02 00", 16 * SECTOR, 2 * SECTOR);
    assert_read(&drive, "A8 00 00 00 00 10 00 00 00 02 00 00", 16 * SECTOR, 2 * SECTOR);
    assert_refused(&drive, "28 00 00 05 14 00 00 00 01 00", 0x052100);
    assert_refused(&drive, "2A 00 00 00 00 10 00 00 01 00", 0x052000);
    insert((uint64_t)9 << 40);
    assert_answer(&drive, "25 00 00 00 00 00 00 00 00 00", "FFFFFFFE 00000800");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_the_page_tells_the_lock_and_the_speed),
        cmocka_unit_test(test_the_machine_ejects_and_loads),
        cmocka_unit_test(test_an_empty_tray),
        cmocka_unit_test(test_a_locked_tray),
        cmocka_unit_test(test_reads_and_capacity),
    };

    return cmocka_run_group_tests_name("scsi-optical-tray", tests, NULL, NULL);
}
