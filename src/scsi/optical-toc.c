/* SPDX-License-Identifier: Apache-2.0 */
/*
 * READ TOC/PMA/ATIP (MMC-6) and READ SUB-CHANNEL (MMC-5): the disc as a CD's table of
 * contents tells it, which hosts ask of DVDs and BDs as well. It has one session with one data
 * track, from the first sector to the last.
 *
 * A time of day on the disc, MSF, is minutes, seconds and frames of 1/75 s, one a sector, the first
 * sector being at 00:02:00. What is later than 255:59:74 is told as that.
 *
 * Formats 3 to 5 are about what is written on discs that can be written to, and about titles: this
 * drive has neither.
 */
#include "base/bytes.h"
#include "scsi/optical-parts.h"

#define TRACK        1
#define SESSION      1
#define LEAD_OUT     0xAA
#define ADR_CONTROL  0x14 /* Q sub-channel mode 1; a data track, recorded without a break */
#define MSF_OFFSET   150u
#define MSF_LAST_LBA 1151849u /* 255:59:74 */

#define FORMAT_TOC      0
#define FORMAT_SESSIONS 1
#define FORMAT_FULL     2

#define NO_AUDIO_STATUS 0x15

static void put_msf(struct bytes_writer *w, uint32_t lba)
{
    uint32_t frames = (lba < MSF_LAST_LBA ? lba : MSF_LAST_LBA) + MSF_OFFSET;

    bytes_put_u8(w, (uint8_t)(frames / (60 * 75)));
    bytes_put_u8(w, (uint8_t)(frames / 75 % 60));
    bytes_put_u8(w, (uint8_t)(frames % 75));
}

static void put_address(struct bytes_writer *w, uint32_t lba, bool msf)
{
    if (!msf) {
        bytes_put_u32(w, lba);
        return;
    }
    bytes_put_u8(w, 0);
    put_msf(w, lba);
}

static void put_track(struct bytes_writer *w, uint8_t number, uint32_t lba, bool msf)
{
    bytes_put_u8(w, 0);
    bytes_put_u8(w, ADR_CONTROL);
    bytes_put_u8(w, number);
    bytes_put_u8(w, 0);
    put_address(w, lba, msf);
}

/* One entry of the lead-in's own list: at `point` it says `minute`:`second`:`frame`. */
static void put_point(struct bytes_writer *w, uint8_t point, uint8_t minute)
{
    static const uint8_t zeros[4];

    bytes_put_u8(w, SESSION);
    bytes_put_u8(w, ADR_CONTROL);
    bytes_put_u8(w, 0);
    bytes_put_u8(w, point);
    bytes_put(w, zeros, 4); /* the running time in the lead-in, which is not told */
    if (minute > 0) {
        bytes_put_u8(w, minute);
        bytes_put_u16(w, 0);
    }
}

static void put_full(struct bytes_writer *w, uint32_t sectors)
{
    put_point(w, 0xA0, TRACK); /* the first track; the disc is a CD-ROM */
    put_point(w, 0xA1, TRACK); /* the last */
    put_point(w, 0xA2, 0);
    put_msf(w, sectors);
    put_point(w, TRACK, 0);
    put_msf(w, 0);
}

static void put_tracks(struct bytes_writer *w, uint8_t from, uint32_t sectors, bool msf)
{
    if (from <= TRACK)
        put_track(w, TRACK, 0, msf);
    put_track(w, LEAD_OUT, sectors, msf);
}

struct scsi_deed optical_read_toc(struct scsi_drive *d, const uint8_t *cdb)
{
    struct bytes_writer w = bytes_writer(d->bytes, sizeof d->bytes);
    struct bytes_writer head = w;
    bool msf = cdb[1] & 0x02;
    /* SFF-8020i had the format in the control byte; Linux asks for sessions so (sr_vendor.c). */
    unsigned format = cdb[2] & 0x0F ? cdb[2] & 0x0F : cdb[9] >> 6;
    uint8_t from = cdb[6];

    if (format > FORMAT_FULL)
        return drive_bad_cdb(d, 2, 3);
    if (from > 1 && !(format == FORMAT_TOC && from == LEAD_OUT) && format != FORMAT_SESSIONS)
        return drive_bad_cdb(d, 6, 7);
    bytes_put_u16(&w, 0);
    bytes_put_u8(&w, 1); /* the first and the last, track or session */
    bytes_put_u8(&w, 1);
    if (format == FORMAT_TOC)
        put_tracks(&w, from, optical_sectors(d), msf);
    else if (format == FORMAT_SESSIONS)
        put_track(&w, TRACK, 0, msf);
    else
        put_full(&w, optical_sectors(d));
    bytes_put_u16(&head, (uint16_t)(w.used - 2));
    return drive_reply(d, w.used, optical_be16(cdb + 7));
}

/* Of the medium's catalogue number, and of the track's recording code: there is none. */
static void put_no_code(struct bytes_writer *w, uint8_t format)
{
    static const uint8_t zeros[16];

    bytes_put_u8(w, format);
    bytes_put_u8(w, format == 3 ? ADR_CONTROL : 0);
    bytes_put_u8(w, format == 3 ? TRACK : 0);
    bytes_put_u8(w, 0);
    bytes_put(w, zeros, sizeof zeros);
}

/* The pick-up stands where it has been put: at the beginning. */
static void put_position(struct bytes_writer *w, bool msf)
{
    bytes_put_u8(w, 1);
    bytes_put_u8(w, ADR_CONTROL);
    bytes_put_u8(w, TRACK);
    bytes_put_u8(w, 1); /* the index in it */
    put_address(w, 0, msf);
    bytes_put_u32(w, 0); /* from the track's beginning, in either notation */
}

struct scsi_deed optical_read_sub_channel(struct scsi_drive *d, const uint8_t *cdb)
{
    struct bytes_writer w = bytes_writer(d->bytes, sizeof d->bytes);
    struct bytes_writer head = w;
    uint8_t format = cdb[3];

    bytes_put_u8(&w, 0);
    bytes_put_u8(&w, NO_AUDIO_STATUS);
    bytes_put_u16(&w, 0);
    if (cdb[2] & 0x40) { /* SubQ */
        if (format < 1 || format > 3)
            return drive_bad_cdb(d, 3, 7);
        if (format == 3 && cdb[6] != TRACK)
            return drive_bad_cdb(d, 6, 7);
        if (format == 1)
            put_position(&w, cdb[1] & 0x02);
        else
            put_no_code(&w, format);
    }
    bytes_put_u16(&head, NO_AUDIO_STATUS);
    bytes_put_u16(&head, (uint16_t)(w.used - 4));
    return drive_reply(d, w.used, optical_be16(cdb + 7));
}
