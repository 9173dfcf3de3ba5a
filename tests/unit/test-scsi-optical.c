/* SPDX-License-Identifier: Apache-2.0 */
/* The optical drive: what it says of itself and of the disc in it, byte by byte, for all discs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "scsi-host.h"

#define SECTOR     ((uint64_t)2048)
#define CD_LAST    449849
#define DVD5_LAST  2298496
#define DVD_LAST   4173824
#define SIX_GB     ((uint64_t)6 << 30)
#define NETINST_MB ((uint64_t)650 << 20) /* 332800 sectors, 00051400 */

#define CD_ROM  0x0008
#define DVD_ROM 0x0010
#define BD_ROM  0x0040

#define GET_PROFILE "46 00 00 00 00 00 00 00 08 00"

static struct scsi_drive drive;

static void insert(uint64_t size)
{
    host_drive_with(&drive, MEDIUM_CD, size);
}

static unsigned profile(void)
{
    assert_int_equal(host_ask(&drive, GET_PROFILE), 8);
    return (unsigned)drive.bytes[6] << 8 | drive.bytes[7];
}

static void test_the_disc_is_the_smallest_that_fits(void **state)
{
    static const struct {
        uint64_t sectors;
        unsigned profile;
    } discs[] = {
        {1, CD_ROM},         {CD_LAST, CD_ROM},      {CD_LAST + 1, DVD_ROM}, {DVD5_LAST, DVD_ROM},
        {DVD_LAST, DVD_ROM}, {DVD_LAST + 1, BD_ROM}, {UINT32_MAX, BD_ROM},
    };

    (void)state;
    host_drive(&drive, MEDIUM_CD);
    assert_int_equal(profile(), 0);
    for (size_t i = 0; i < sizeof discs / sizeof discs[0]; i++) {
        insert(discs[i].sectors * SECTOR);
        assert_int_equal(profile(), discs[i].profile);
    }
    scsi_drive_remove(&drive);
    assert_int_equal(profile(), 0);
}

/* Addresses have 32 bits: the last sector that has one is the last there is. */
static void test_a_disc_of_more_sectors_than_addresses(void **state)
{
    (void)state;
    insert((uint64_t)9 << 40);
    assert_answer(&drive, "52 01 00 00 00 01 00 00 24 00",
                  "00 22 01 01 00 04 01 00 00000000 00000000 00000000 00000000 FFFFFFFF "
                  "00000000 00000000");
    assert_read(&drive, "BE 00 FF FF FF FE 00 00 01 10 00 00", 0xFFFFFFFEull * SECTOR, SECTOR);
    assert_refused(&drive, "BE 00 FF FF FF FF 00 00 01 10 00 00", 0x052100);
}

static const char all_features[] =
    "0000 03 0C 0040 00 00 0010 00 00 0008 01 00 " /* profiles */
    "0001 0B 08 00000008 02 000000 "               /* core: USB */
    "0002 07 04 02 000000 "                        /* morphing */
    "0003 0B 04 39 000000 "                        /* removable medium */
    "0010 01 08 00000800 0001 01 00 "              /* random readable */
    "001D 01 00 "                                  /* multi-read */
    "001E 09 04 00000000 "                         /* CD read */
    "001F 04 04 00000000 "                         /* DVD read */
    "0040 00 1C 00000000 0000000000000000 0000000000000000 0002000000000000 "
    "0100 03 00 "                           /* power management */
    "0105 07 04 00000000 "                  /* timeout */
    "0107 10 04 08000000 "                  /* real time streaming */
    "0108 03 0C 504C41545445523031 202020"; /* the serial number */

static void test_features(void **state)
{
    char wanted[1024];

    (void)state;
    insert(NETINST_MB);
    snprintf(wanted, sizeof wanted, "00000094 0000 0008 %s", all_features);
    assert_answer(&drive, "46 00 00 00 00 00 00 FF FF 00", wanted);
    /* Asked of everything, but room for less: the length is that of all. */
    assert_answer(&drive, GET_PROFILE, "00000094 0000 0008");
    assert_answer(&drive, "46 00 00 00 00 00 00 00 00 00", "");
    /* Those that are current, of a CD, from 0010 on. */
    assert_answer(&drive, "46 01 00 10 00 00 00 00 FF 00",
                  "00000038 0000 0008 0010 01 08 00000800 0001 01 00 001D 01 00 001E 09 04 00000000"
                  "0100 03 00 0105 07 04 00000000 0108 03 0C 504C41545445523031 202020");
    /* One. */
    assert_answer(&drive, "46 02 00 03 00 00 00 00 FF 00",
                  "0000000C 0000 0008 0003 0B 04 39 000000");
    assert_answer(&drive, "46 02 01 06 00 00 00 00 FF 00", "00000004 0000 0008"); /* CSS: no */
    assert_refused(&drive, "46 03 00 00 00 00 00 00 08 00", 0x052400);
}

static void test_features_follow_the_disc(void **state)
{
    (void)state;
    insert(SIX_GB);
    assert_answer(&drive, "46 01 00 10 00 00 00 01 00 00",
                  "0000003C 0000 0010 0010 01 08 00000800 0010 01 00 001F 05 04 00000000"
                  "0100 03 00 0105 07 04 00000000 0107 11 04 08000000 0108 03 0C "
                  "504C41545445523031 202020");
    insert(2 * SIX_GB);
    assert_answer(&drive, "46 02 00 40 00 00 00 01 00 00",
                  "00000024 0000 0040 0040 01 1C 00000000 0000000000000000 0000000000000000"
                  "0002000000000000");
    assert_answer(&drive, "46 02 00 10 00 00 00 01 00 00",
                  "00000010 0000 0040 0010 01 08 00000800 0020 01 00");
    host_drive(&drive, MEDIUM_CD);
    assert_answer(&drive, "46 01 00 04 00 00 00 01 00 00",
                  "00000020 0000 0000 0100 03 00 0105 07 04 00000000 0108 03 0C "
                  "504C41545445523031 202020");
}

/* The configuration is told whatever else there is to tell, which stays. */
static void test_configuration_leaves_the_unit_attention(void **state)
{
    (void)state;
    insert(NETINST_MB);
    scsi_drive_reset(&drive);
    assert_int_equal(profile(), CD_ROM);
    assert_refused(&drive, "00 00 00 00 00 00", 0x062900);
}

static void test_disc_information(void **state)
{
    (void)state;
    insert(NETINST_MB);
    assert_answer(&drive, "51 00 00 00 00 00 00 00 FF 00",
                  "0020 0E 01 01 01 01 20 00 000000 00000000 FFFFFFFF FFFFFFFF 0000000000000000 "
                  "0000");
    assert_answer(&drive, "51 00 00 00 00 00 00 00 02 00", "0020"); /* udev's cdrom_id does so */
    assert_refused(&drive, "51 01 00 00 00 00 00 00 FF 00", 0x052400);
    scsi_drive_remove(&drive);
    assert_refused(&drive, "51 00 00 00 00 00 00 00 FF 00", 0x023A01);
}

static void test_track_information(void **state)
{
    static const char track[] = "00 22 01 01 00 04 01 00 00000000 00000000 00000000 00000000 "
                                "00051400 00000000 00000000";

    (void)state;
    insert(NETINST_MB);
    assert_answer(&drive, "52 00 00 00 00 00 00 00 FF 00", track); /* by address: the first */
    assert_answer(&drive, "52 00 00 05 13 FF 00 00 FF 00", track); /* the last */
    assert_answer(&drive, "52 01 00 00 00 01 00 00 FF 00", track); /* by number */
    assert_answer(&drive, "52 02 00 00 00 01 00 00 FF 00", track); /* by session */
    assert_refused(&drive, "52 00 00 05 14 00 00 00 FF 00", 0x052100);
    assert_refused(&drive, "52 01 00 00 00 00 00 00 FF 00", 0x052400);
    assert_refused(&drive, "52 01 00 00 00 FF 00 00 FF 00", 0x052400);
    assert_refused(&drive, "52 02 00 00 00 02 00 00 FF 00", 0x052400);
    assert_refused(&drive, "52 03 00 00 00 01 00 00 FF 00", 0x052400);
}

static void assert_structure(const char *cdb, size_t length, const char *begin)
{
    static const uint8_t zeros[SCSI_REPLY_MAX];
    uint8_t wanted[64];
    size_t known = host_bytes(begin, wanted, sizeof wanted);

    assert_int_equal(host_ask(&drive, cdb), length);
    assert_memory_equal(drive.bytes, wanted, known);
    assert_memory_equal(drive.bytes + known, zeros, length - known);
}

static void test_dvd_structures(void **state)
{
    (void)state;
    insert((uint64_t)DVD5_LAST * SECTOR);
    memset(drive.bytes, 0xEE, sizeof drive.bytes);
    assert_structure("AD 00 00 00 00 00 00 00 FF FF 00 00", 2052,
                     "0802 0000 01 0F 01 00 00030000 0026127F 00000000");
    assert_answer(&drive, "AD 00 00 00 00 00 00 01 00 08 00 00", "0006 0000 00 00 0000");
    memset(drive.bytes, 0xEE, sizeof drive.bytes);
    assert_structure("AD 00 00 00 00 00 00 04 FF FF 00 00", 2052, "0802");
    assert_answer(&drive, "AD 00 00 00 00 00 00 FF 00 FF 00 00",
                  "000E 0000 00 40 0804 01 40 0008 04 40 0804");
    assert_refused(&drive, "AD 00 00 00 00 00 00 03 00 FF 00 00", 0x052400); /* no BCA */
    assert_refused(&drive, "AD 01 00 00 00 00 00 00 00 FF 00 00", 0x052400); /* no BD */
    assert_refused(&drive, "AD 02 00 00 00 00 00 00 00 FF 00 00", 0x052400);
}

/*
 * Two layers, 33 sectors more than one takes: 2298529 are 1149280 (a multiple of 16) below and
 * 1149249 above, beginning at the complement of where the lower ends.
 */
static void test_a_dvd_of_two_layers(void **state)
{
    (void)state;
    insert((uint64_t)(DVD5_LAST + 33) * SECTOR);
    assert_structure("AD 00 00 00 00 00 00 00 FF FF 00 00", 2052,
                     "0802 0000 01 0F 31 10 00030000 00FCFFE0 0014895F");
}

static void test_bd_structures(void **state)
{
    (void)state;
    insert(SIX_GB * 2);
    assert_structure("AD 01 00 00 00 00 00 00 FF FF 00 00", 4100,
                     "1002 0000 44 49 01 08 00 00 20 00 42 44 4F 01 11 01 000000000000 "
                     "006FFFFF 00100000 006FFFFF");
    assert_answer(&drive, "AD 01 00 00 00 00 00 FF 00 FF 00 00", "0006 0000 00 40 1004");
    assert_refused(&drive, "AD 00 00 00 00 00 00 00 00 FF 00 00", 0x052400);
}

/* A unit a layer. */
static void test_a_bd_of_several_layers(void **state)
{
    static const uint64_t sectors[] = {12219392, 24438784, 48878592, UINT32_MAX};
    uint8_t unit[14];

    (void)state;
    for (unsigned layers = 1; layers <= 4; layers++) {
        insert(sectors[layers - 1] * SECTOR);
        assert_int_equal(host_ask(&drive, "AD 01 00 00 00 00 00 00 FF FF 00 00"), 4100);
        for (unsigned layer = 0; layer < layers; layer++) {
            host_bytes("44 49 01 00 00 00 20 00 42 44 4F 01 00 01", unit, sizeof unit);
            unit[3] = (uint8_t)(layers << 3 | layer);
            unit[5] = (uint8_t)layer;
            unit[12] = (uint8_t)(layers << 4 | 1);
            unit[13] = layers <= 2;
            assert_memory_equal(drive.bytes + 4 + (size_t)layer * 64, unit, sizeof unit);
        }
        assert_int_equal(drive.bytes[4 + layers * 64], 0); /* and no more */
    }
}

static void test_a_cd_has_no_structures(void **state)
{
    (void)state;
    insert(NETINST_MB);
    assert_refused(&drive, "AD 00 00 00 00 00 00 00 00 FF 00 00", 0x053002);
    assert_answer(&drive, "AD 00 00 00 00 00 00 FF 00 04 00 00", "000E 0000");
}

static void test_read_cd(void **state)
{
    (void)state;
    insert(NETINST_MB);
    assert_read(&drive, "BE 00 00 00 00 10 00 00 02 10 00 00", 16 * SECTOR, 2 * SECTOR);
    assert_read(&drive, "BE 08 00 00 00 10 00 00 02 10 00 00", 16 * SECTOR, 2 * SECTOR);
    assert_read(&drive, "BE 00 00 05 13 FF 00 00 01 10 00 00", 332799 * SECTOR, SECTOR);
    assert_good(&drive, "BE 00 00 00 00 10 00 00 00 10 00 00");
    assert_good(&drive, "BE 00 00 00 00 10 00 00 02 00 00 00");
    assert_refused(&drive, "BE 04 00 00 00 10 00 00 02 10 00 00", 0x056400); /* audio */
    assert_refused(&drive, "BE 10 00 00 00 10 00 00 02 10 00 00", 0x056400); /* mode 2 */
    assert_refused(&drive, "BE 1C 00 00 00 10 00 00 02 10 00 00", 0x052400);
    assert_refused(&drive, "BE 00 00 00 00 10 00 00 02 F8 00 00", 0x052400); /* raw */
    assert_refused(&drive, "BE 00 00 00 00 10 00 00 02 12 00 00", 0x052400); /* C2 */
    assert_refused(&drive, "BE 00 00 00 00 10 00 00 02 10 01 00", 0x052400); /* sub-channel */
    assert_refused(&drive, "BE 00 00 05 13 FF 00 00 02 10 00 00", 0x052100);
    assert_refused(&drive, "BE 00 FF FF FF FF 00 00 01 10 00 00", 0x052100);
}

static void test_read_cd_msf(void **state)
{
    (void)state;
    insert(NETINST_MB);
    assert_read(&drive, "B9 00 00 00 02 10 00 02 12 10 00 00", 16 * SECTOR, 2 * SECTOR);
    assert_good(&drive, "B9 00 00 00 02 10 00 02 10 10 00 00");
    assert_refused(&drive, "B9 00 00 00 01 4A 00 02 12 10 00 00", 0x052400); /* in the lead-in */
    assert_refused(&drive, "B9 00 00 00 02 4B 00 03 12 10 00 00", 0x052400); /* frame 75 */
    assert_refused(&drive, "B9 00 00 00 3C 00 01 00 12 10 00 00", 0x052400); /* second 60 */
    assert_refused(&drive, "B9 00 00 00 02 10 00 02 0F 10 00 00", 0x052400); /* backwards */
    assert_refused(&drive, "B9 00 00 63 3B 4A 63 3B 4A 10 00 00", 0x052100);
}

static void test_speeds(void **state)
{
    (void)state;
    insert(NETINST_MB);
    assert_answer(&drive, "AC 10 00 00 00 00 00 00 00 04 00 00",
                  "00000014 00000000 00000000 00002113 000513FF 00002113");
    assert_answer(&drive, "AC 10 00 00 00 00 00 00 00 00 00 00", "00000014 00000000");
    assert_answer(&drive, "AC 14 00 00 00 00 00 00 00 04 00 00", "00000004 00000000"); /* write */
    assert_answer(&drive, "AC 00 00 00 00 00 00 00 00 04 03 00", "00000004 00000000");
    assert_refused(&drive, "AC 00 00 00 00 00 00 00 00 04 01 00", 0x052400);
    assert_good(&drive, "BB 00 02 C2 FF FF 00 00 00 00 00 00");
    assert_good(&drive, "A7 00 00 00 00 00 00 05 13 FF 00 00");
    assert_refused(&drive, "A7 00 00 00 00 00 00 05 14 00 00 00", 0x052100);
    insert(SIX_GB);
    assert_answer(&drive, "AC 10 00 00 00 00 00 00 00 01 00 00",
                  "00000014 00000000 00000000 00005690 002FFFFF 00005690");
}

static void test_streaming(void **state)
{
    struct scsi_deed deed;

    (void)state;
    insert(SIX_GB);
    deed = host_execute(&drive, "B6 00 00 00 00 00 00 00 00 00 1C 00");
    assert_int_equal(deed.kind, SCSI_PARAMETERS);
    assert_int_equal(deed.length, 28);
    memset(deed.into, 0xFF, 28);
    assert_int_equal(scsi_drive_done(&drive, SCSI_FINE, 28).status, SCSI_GOOD);
    assert_good(&drive, "B6 00 00 00 00 00 00 00 00 00 00 00");
    assert_refused(&drive, "B6 00 00 00 00 00 00 00 00 00 1B 00", 0x051A00);
    assert_refused(&drive, "B6 00 00 00 00 00 00 00 05 00 1C 00", 0x052400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_disc_is_the_smallest_that_fits),
        cmocka_unit_test(test_a_disc_of_more_sectors_than_addresses),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_features_follow_the_disc),
        cmocka_unit_test(test_configuration_leaves_the_unit_attention),
        cmocka_unit_test(test_disc_information),
        cmocka_unit_test(test_track_information),
        cmocka_unit_test(test_dvd_structures),
        cmocka_unit_test(test_a_dvd_of_two_layers),
        cmocka_unit_test(test_bd_structures),
        cmocka_unit_test(test_a_bd_of_several_layers),
        cmocka_unit_test(test_a_cd_has_no_structures),
        cmocka_unit_test(test_read_cd),
        cmocka_unit_test(test_read_cd_msf),
        cmocka_unit_test(test_speeds),
        cmocka_unit_test(test_streaming),
    };

    return cmocka_run_group_tests_name("scsi-optical", tests, NULL, NULL);
}
