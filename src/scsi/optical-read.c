/* SPDX-License-Identifier: Apache-2.0 */
/*
 * READ CD and READ CD MSF (MMC-6): of a sector's 2352 bytes, the image has the 2048 of
 * user data, in mode 1. They are read of any disc. Sync, headers, error correction and sub-channels
 * are not made up, and audio is not there.
 */
#include "scsi/optical-parts.h"

#define SECTOR_ANY    0
#define SECTOR_MODE_1 2
#define SECTOR_LAST   5

#define USER_DATA 0x10

static uint32_t be24(const uint8_t *at)
{
    return (uint32_t)at[0] << 16 | optical_be16(at + 1);
}

static struct scsi_deed read_sectors(struct scsi_drive *d, const uint8_t *cdb, uint32_t lba,
                                     uint32_t count)
{
    unsigned type = cdb[1] >> 2 & 0x07;
    struct scsi_deed refusal;

    if (type > SECTOR_LAST)
        return drive_bad_cdb(d, 1, 4);
    if (type != SECTOR_ANY && type != SECTOR_MODE_1)
        return drive_check(d, KEY_ILLEGAL_REQUEST, 0x64, 0x00); /* ILLEGAL MODE FOR THIS TRACK */
    if (cdb[9] & ~USER_DATA)
        return drive_bad_cdb(d, 9, 7);
    if (cdb[10])
        return drive_bad_cdb(d, 10, 2);
    if (!drive_range(d, lba, count, &refusal))
        return refusal;
    /* Nothing of a sector is asked for: the drive is to go there, no more. */
    if (!(cdb[9] & USER_DATA) || count == 0)
        return drive_good(d);
    return drive_blocks(d, SCSI_READ, lba, count);
}

struct scsi_deed optical_read_cd(struct scsi_drive *d, const uint8_t *cdb)
{
    return read_sectors(d, cdb, optical_be32(cdb + 2), be24(cdb + 6));
}

/* Minute, second and frame; false: there is no such time on a disc. */
static bool lba_of_msf(const uint8_t *msf, uint32_t *lba)
{
    uint32_t frames = (msf[0] * 60u + msf[1]) * 75u + msf[2];

    if (msf[1] > 59 || msf[2] > 74 || frames < 150)
        return false;
    *lba = frames - 150;
    return true;
}

struct scsi_deed optical_read_cd_msf(struct scsi_drive *d, const uint8_t *cdb)
{
    uint32_t from, to; /* `to` is not read any more */

    if (!lba_of_msf(cdb + 3, &from))
        return drive_bad_cdb(d, 3, 7);
    if (!lba_of_msf(cdb + 6, &to) || to < from)
        return drive_bad_cdb(d, 6, 7);
    return read_sectors(d, cdb, from, to - from);
}
