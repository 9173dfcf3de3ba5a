/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which disc an image passes for, and what READ DISC INFORMATION and READ TRACK INFORMATION
 * (MMC-6) say of it: a finished disc with one session and one data track.
 *
 * The disc is the smallest real one the image fits on. A CD goes as far as its own addresses can
 * express: the lead-out at 99:59:74, which is 921 MB. (Discs are sold up to 80, 90 and 99 minutes;
 * the image does not say which it came from.) A DVD goes as far as two layers do, 8.55 GB, and what
 * is larger is a BD, whatever its size: above 128 GB there is no such disc, but hosts take the size
 * from READ CAPACITY and the profile for what to expect on it.
 *
 * An address has 32 bits in MMC, so optical_inserted() cuts a medium at 2^32 - 1 sectors, just
 * under 8 TiB.
 */
#include "base/bytes.h"
#include "scsi/optical-parts.h"

#define TRACK_BY_LBA     0
#define TRACK_BY_NUMBER  1
#define TRACK_BY_SESSION 2

#define FINISHED     0x0E /* the last session is complete, and so is the disc */
#define UNRESTRICTED 0x20 /* it is for any use (URU) */
#define DATA_TRACK   0x04 /* recorded without a break */
#define DATA_MODE_1  0x01

unsigned optical_disc(const struct scsi_drive *d)
{
    uint32_t sectors = optical_sectors(d);

    if (!d->loaded)
        return OPTICAL_EMPTY;
    if (sectors <= OPTICAL_CD_MAX)
        return OPTICAL_CD;
    return sectors <= OPTICAL_DVD_MAX ? OPTICAL_DVD : OPTICAL_BD;
}

uint32_t optical_sectors(const struct scsi_drive *d)
{
    return d->loaded ? (uint32_t)d->blocks : 0;
}

struct scsi_deed optical_read_disc_information(struct scsi_drive *d, const uint8_t *cdb)
{
    struct bytes_writer w = bytes_writer(d->bytes, sizeof d->bytes);

    if (cdb[1] & 0x07) /* of the standard kind; resources are a writer's */
        return drive_bad_cdb(d, 1, 2);
    bytes_put_u16(&w, 32);
    bytes_put_u8(&w, FINISHED);
    bytes_put_u8(&w, 1); /* the first track */
    bytes_put_u8(&w, 1); /* sessions */
    bytes_put_u8(&w, 1); /* the first track of the last session, and the last */
    bytes_put_u8(&w, 1);
    bytes_put_u8(&w, UNRESTRICTED);
    bytes_put_u8(&w, 0);           /* CD-ROM, where that matters */
    bytes_put_be(&w, 0, 3);        /* high bytes of the numbers above */
    bytes_put_u32(&w, 0);          /* no identification */
    bytes_put_u32(&w, UINT32_MAX); /* no further session: neither its lead-in nor its lead-out */
    bytes_put_u32(&w, UINT32_MAX);
    bytes_put_u64(&w, 0); /* no bar code */
    bytes_put_u16(&w, 0); /* no application code, no laser power tables */
    return drive_reply(d, w.used, optical_be16(cdb + 7));
}

/* The CDB names the one track there is; else false, with the refusal in `*out`. */
static bool names_track(struct scsi_drive *d, const uint8_t *cdb, struct scsi_deed *out)
{
    uint32_t number = optical_be32(cdb + 2);

    switch (cdb[1] & 0x03) {
    case TRACK_BY_LBA:
        return drive_range(d, number, 1, out);
    case TRACK_BY_NUMBER:
    case TRACK_BY_SESSION:
        if (number == 1)
            return true;
        *out = drive_bad_cdb(d, 2, 7);
        return false;
    default:
        *out = drive_bad_cdb(d, 1, 1);
        return false;
    }
}

struct scsi_deed optical_read_track_information(struct scsi_drive *d, const uint8_t *cdb)
{
    struct bytes_writer w = bytes_writer(d->bytes, sizeof d->bytes);
    struct scsi_deed refusal;

    if (!names_track(d, cdb, &refusal))
        return refusal;
    bytes_put_u16(&w, 34);
    bytes_put_u8(&w, 1); /* the track, and its session */
    bytes_put_u8(&w, 1);
    bytes_put_u8(&w, 0);
    bytes_put_u8(&w, DATA_TRACK);
    bytes_put_u8(&w, DATA_MODE_1);
    bytes_put_u8(&w, 0);  /* no next writable address, no last recorded one */
    bytes_put_u32(&w, 0); /* begins here */
    bytes_put_u32(&w, 0);
    bytes_put_u32(&w, 0); /* sectors free; of a packet */
    bytes_put_u32(&w, 0);
    bytes_put_u32(&w, optical_sectors(d));
    bytes_put_u32(&w, 0);
    bytes_put_u32(&w, 0); /* high bytes of the numbers above */
    return drive_reply(d, w.used, optical_be16(cdb + 7));
}
