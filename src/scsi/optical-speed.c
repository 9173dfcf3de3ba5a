/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast the drive says it is: GET PERFORMANCE, SET CD SPEED, SET STREAMING, SET READ AHEAD
 * (MMC-6).
 *
 * How fast it really is, the line to the far end decides. Hosts only show the number, so each disc
 * has that of a usual drive, from beginning to end: CD 48x, DVD 16x, BD 12x. Requests to spin
 * slower are accepted, as a drive may that has one speed; nothing would be gained by heeding them.
 */
#include "base/bytes.h"
#include "scsi/optical-parts.h"

/* kB/s of one-fold speed: 75 sectors of 2352 bytes a second; 11.08 and 35.97 Mbit/s. */
#define CD_SPEED  (uint16_t)(48 * 1764 / 10)
#define DVD_SPEED (uint16_t)(16 * 1385)
#define BD_SPEED  (uint16_t)(12 * 4496)

#define TYPE_PERFORMANCE 0x00
#define TYPE_WRITE_SPEED 0x03

#define STREAMING_PERFORMANCE 0x00
#define STREAMING_LENGTH      28

uint16_t optical_speed(const struct scsi_drive *d)
{
    switch (optical_disc(d)) {
    case OPTICAL_CD:
        return CD_SPEED;
    case OPTICAL_DVD:
        return DVD_SPEED;
    default:
        return BD_SPEED;
    }
}

struct scsi_deed optical_get_performance(struct scsi_drive *d, const uint8_t *cdb)
{
    struct bytes_writer w = bytes_writer(d->bytes, sizeof d->bytes);
    struct bytes_writer head = w;
    uint32_t sectors = optical_sectors(d);
    /* Of reading, nominal: neither writing nor exceptions from it. */
    bool told = cdb[10] == TYPE_PERFORMANCE && !(cdb[1] & 0x07) && sectors > 0;

    if (cdb[10] != TYPE_PERFORMANCE && cdb[10] != TYPE_WRITE_SPEED)
        return drive_bad_cdb(d, 10, 7);
    bytes_put_u32(&w, 0);
    bytes_put_u32(&w, 0); /* nominal values, of reading */
    if (told && optical_be16(cdb + 8) > 0) {
        bytes_put_u32(&w, 0);
        bytes_put_u32(&w, optical_speed(d));
        bytes_put_u32(&w, sectors - 1);
        bytes_put_u32(&w, optical_speed(d));
    }
    bytes_put_u32(&head, told ? 20 : 4); /* of all there is, asked for or not */
    return drive_reply(d, w.used, w.used);
}

struct scsi_deed optical_set_speed(struct scsi_drive *d, const uint8_t *cdb)
{
    (void)cdb;
    return drive_good(d);
}

struct scsi_deed optical_set_streaming(struct scsi_drive *d, const uint8_t *cdb)
{
    uint16_t length = optical_be16(cdb + 9);

    if (cdb[8] != STREAMING_PERFORMANCE)
        return drive_bad_cdb(d, 8, 7);
    if (length != 0 && length != STREAMING_LENGTH) /* PARAMETER LIST LENGTH ERROR */
        return drive_check(d, KEY_ILLEGAL_REQUEST, 0x1A, 0x00);
    return drive_receive(d, length, drive_good);
}

/* Where the host will read on after an address; the engine's own read-ahead sees it read. */
struct scsi_deed optical_set_read_ahead(struct scsi_drive *d, const uint8_t *cdb)
{
    struct scsi_deed refusal;

    if (!drive_range(d, optical_be32(cdb + 2), 1, &refusal) ||
        !drive_range(d, optical_be32(cdb + 6), 1, &refusal))
        return refusal;
    return drive_good(d);
}
