/* SPDX-License-Identifier: Apache-2.0 */
/* The table of contents in all its forms, sub-channel data, and the events of a disc. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scsi-host.h"

#define SECTOR  ((uint64_t)2048)
#define NETINST ((uint64_t)650 << 20) /* 332800 sectors, 00051400, lead-out at 73:59:25 */

#define ALL_EVENTS  "4A 01 00 00 7E 00 00 00 08 00"
#define MEDIA_EVENT "4A 01 00 00 10 00 00 00 08 00" /* as Linux asks (sr_get_events) */

static struct scsi_drive drive;

static void insert(uint64_t size)
{
    host_drive_with(&drive, MEDIUM_CD, size);
}

static void test_toc(void **state)
{
    (void)state;
    insert(NETINST);
    assert_answer(&drive, "43 00 00 00 00 00 00 03 24 00",
                  "0012 01 01  00 14 01 00 00000000  00 14 AA 00 00051400");
    assert_answer(&drive, "43 02 00 00 00 00 01 03 24 00",
                  "0012 01 01  00 14 01 00 00000200  00 14 AA 00 00493B19");
    assert_answer(&drive, "43 00 00 00 00 00 AA 03 24 00", "000A 01 01  00 14 AA 00 00051400");
    /* Cut, as Linux reads the header, and one entry. */
    assert_answer(&drive, "43 00 00 00 00 00 00 00 0C 00", "0012 01 01  00 14 01 00 00000000");
    assert_answer(&drive, "43 00 00 00 00 00 00 00 04 00", "0012 01 01");
    assert_refused(&drive, "43 00 00 00 00 00 02 03 24 00", 0x052400);
    assert_refused(&drive, "43 00 00 00 00 00 A9 03 24 00", 0x052400);
}

static void test_sessions(void **state)
{
    static const char sessions[] = "000A 01 01  00 14 01 00 00000000";

    (void)state;
    insert(NETINST);
    assert_answer(&drive, "43 00 01 00 00 00 00 00 0C 00", sessions);
    /* The format where SFF-8020i had it: Linux's sr_cd_check() asks so. */
    assert_answer(&drive, "43 00 00 00 00 00 00 00 0C 40", sessions);
    assert_answer(&drive, "43 02 01 00 00 00 00 00 0C 00", "000A 01 01  00 14 01 00 00000200");
}

static void test_full_toc(void **state)
{
    static const char full[] = "002E 01 01"
                               "01 14 00 A0 000000 00 01 00 00"
                               "01 14 00 A1 000000 00 01 00 00"
                               "01 14 00 A2 000000 00 49 3B 19"
                               "01 14 00 01 000000 00 00 02 00";

    (void)state;
    insert(NETINST);
    assert_answer(&drive, "43 00 02 00 00 00 00 03 24 00", full);
    assert_answer(&drive, "43 02 02 00 00 00 01 03 24 00", full);
    assert_answer(&drive, "43 00 00 00 00 00 00 03 24 80", full);
    assert_refused(&drive, "43 00 02 00 00 00 02 03 24 00", 0x052400);
}

/* PMA, ATIP and CD-Text are of discs that are not here; and 6 to 15 do not exist. */
static void test_other_formats(void **state)
{
    (void)state;
    insert(NETINST);
    assert_refused(&drive, "43 02 03 00 00 00 00 00 FF 00", 0x052400);
    assert_refused(&drive, "43 02 04 00 00 00 00 00 FF 00", 0x052400);
    assert_refused(&drive, "43 02 05 00 00 00 00 00 FF 00", 0x052400);
    assert_refused(&drive, "43 00 00 00 00 00 00 00 FF C0", 0x052400);
    scsi_drive_remove(&drive);
    assert_refused(&drive, "43 00 00 00 00 00 00 03 24 00", 0x023A01);
}

/* The last lead-out that a time can say, and one more. */
static void test_times_end(void **state)
{
    (void)state;
    insert(1151849 * SECTOR);
    assert_answer(&drive, "43 02 00 00 00 00 AA 00 FF 00", "000A 01 01  00 14 AA 00 00FF3B4A");
    insert(1151848 * SECTOR);
    assert_answer(&drive, "43 02 00 00 00 00 AA 00 FF 00", "000A 01 01  00 14 AA 00 00FF3B49");
    insert(5000000 * SECTOR);
    assert_answer(&drive, "43 02 00 00 00 00 AA 00 FF 00", "000A 01 01  00 14 AA 00 00FF3B4A");
    assert_answer(&drive, "43 00 00 00 00 00 AA 00 FF 00", "000A 01 01  00 14 AA 00 004C4B40");
}

static void test_sub_channel(void **state)
{
    (void)state;
    insert(NETINST);
    assert_answer(&drive, "42 00 00 00 00 00 00 00 FF 00", "00 15 0000");
    assert_answer(&drive, "42 00 40 01 00 00 00 00 FF 00",
                  "00 15 000C 01 14 01 01 00000000 00000000");
    assert_answer(&drive, "42 02 40 01 00 00 00 00 FF 00",
                  "00 15 000C 01 14 01 01 00000200 00000000");
    /* As Linux asks for the catalogue number (cdrom_get_mcn): not valid. */
    assert_answer(&drive, "42 00 40 02 00 00 00 00 18 00",
                  "00 15 0014 02 00 00 00 00000000 00000000 00000000 00000000");
    assert_answer(&drive, "42 00 40 03 00 00 01 00 18 00",
                  "00 15 0014 03 14 01 00 00000000 00000000 00000000 00000000");
    assert_refused(&drive, "42 00 40 03 00 00 02 00 18 00", 0x052400);
    assert_refused(&drive, "42 00 40 00 00 00 00 00 18 00", 0x052400);
    assert_refused(&drive, "42 00 40 04 00 00 00 00 18 00", 0x052400);
}

static void test_events_of_a_disc(void **state)
{
    (void)state;
    host_drive(&drive, MEDIUM_CD);
    assert_answer(&drive, MEDIA_EVENT, "0006 04 16 00 00 00 00"); /* nothing new, no disc */
    scsi_drive_insert(&drive, NETINST, false);
    /* The unit attention does not stand in the way, and stays. */
    assert_answer(&drive, MEDIA_EVENT, "0006 04 16 02 02 00 00");
    assert_answer(&drive, MEDIA_EVENT, "0006 04 16 00 02 00 00"); /* told once */
    assert_refused(&drive, "00 00 00 00 00 00", 0x062800);
    scsi_drive_remove(&drive);
    assert_answer(&drive, MEDIA_EVENT, "0006 04 16 03 00 00 00");
    assert_answer(&drive, MEDIA_EVENT, "0006 04 16 00 00 00 00");
    scsi_drive_insert(&drive, NETINST, false);
    scsi_drive_remove(&drive);
    scsi_drive_insert(&drive, NETINST, false);
    assert_answer(&drive, MEDIA_EVENT, "0006 04 16 02 02 00 00");
}

/* Several classes: the first with an event; then the first. Power never has one. */
static void test_classes(void **state)
{
    (void)state;
    host_drive(&drive, MEDIUM_CD);
    scsi_drive_insert(&drive, NETINST, false);
    assert_answer(&drive, ALL_EVENTS, "0006 01 16 02 00 00 01");
    assert_answer(&drive, ALL_EVENTS, "0006 04 16 02 02 00 00");
    assert_answer(&drive, ALL_EVENTS, "0006 01 16 00 00 00 00");
    assert_answer(&drive, "4A 01 00 00 04 00 00 00 08 00", "0006 02 16 00 01 00 00");
    assert_answer(&drive, "4A 01 00 00 14 00 00 00 08 00", "0006 02 16 00 01 00 00");
    /* Classes nobody has, or none: what there is. */
    assert_answer(&drive, "4A 01 00 00 48 00 00 00 08 00", "0002 80 16");
    assert_answer(&drive, "4A 01 00 00 00 00 00 00 08 00", "0002 80 16");
    assert_answer(&drive, "4A 01 00 00 01 00 00 00 08 00", "0002 80 16");
    assert_refused(&drive, "4A 00 00 00 10 00 00 00 08 00", 0x052400); /* when it happens */
}

static void test_an_event_is_not_lost_with_its_header(void **state)
{
    (void)state;
    host_drive(&drive, MEDIUM_CD);
    scsi_drive_insert(&drive, NETINST, false);
    assert_answer(&drive, "4A 01 00 00 10 00 00 00 04 00", "0006 04 16");
    assert_answer(&drive, MEDIA_EVENT, "0006 04 16 02 02 00 00");
}

static void test_the_wish_to_eject(void **state)
{
    (void)state;
    insert(NETINST);
    assert_answer(&drive, MEDIA_EVENT, "0006 04 16 02 02 00 00");
    scsi_drive_request_eject(&drive);
    assert_answer(&drive, MEDIA_EVENT, "0006 04 16 01 02 00 00");
    assert_answer(&drive, MEDIA_EVENT, "0006 04 16 00 02 00 00");
}

static void test_mechanism(void **state)
{
    (void)state;
    host_drive(&drive, MEDIUM_CD);
    assert_answer(&drive, "BD 00 00 00 00 00 00 00 00 08 00 00", "00 00 000000 01 0000");
    assert_answer(&drive, "BD 00 00 00 00 00 00 00 00 02 00 00", "00 00");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_toc),
        cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_full_toc),
        cmocka_unit_test(test_other_formats),
        cmocka_unit_test(test_times_end),
        cmocka_unit_test(test_sub_channel),
        cmocka_unit_test(test_events_of_a_disc),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_an_event_is_not_lost_with_its_header),
        cmocka_unit_test(test_the_wish_to_eject),
        cmocka_unit_test(test_mechanism),
    };

    return cmocka_run_group_tests_name("scsi-optical-toc", tests, NULL, NULL);
}
