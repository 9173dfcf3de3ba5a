/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done to blocks of either kind of medium: read, verify, seek, make safe, and count them.
 *
 * A range is looked at before anything is done, also when it is empty. Every CDB that names blocks
 * has one of four layouts, which its operation code's group tells.
 */
#include "base/bytes.h"
#include "scsi/drive-parts.h"

#define CDB_FUA     0x0A /* FUA, and FUA_NV, which asks for less */
#define CDB_BYTCHK  0x02
#define FORMATTED   0x02
#define NO_MEDIUM   0x03
#define CAPACITY_10 0xFFFFFFFFu

struct scsi_extent drive_extent(const uint8_t *cdb)
{
    struct bytes_reader r = bytes_reader(cdb + 2, SCSI_CDB_MAX - 2);
    struct scsi_extent e = {0};

    switch (cdb[0] >> 5) {
    case 0: /* 6 bytes: 0 means 256 */
        e.lba = (uint64_t)(cdb[1] & 0x1F) << 16 | bytes_get_u16(&r);
        e.count = cdb[4] ? cdb[4] : 256;
        break;
    case 4: /* 16 */
        e.lba = bytes_get_u64(&r);
        e.count = bytes_get_u32(&r);
        break;
    case 5: /* 12 */
        e.lba = bytes_get_u32(&r);
        e.count = bytes_get_u32(&r);
        break;
    default: /* 10 */
        e.lba = bytes_get_u32(&r);
        bytes_get_u8(&r);
        e.count = bytes_get_u16(&r);
    }
    return e;
}

static struct scsi_deed over_range(struct scsi_drive *d, enum scsi_deed_kind kind)
{
    struct scsi_extent e = drive_extent(d->cdb);
    struct scsi_deed bad;

    if (!drive_range(d, e.lba, e.count, &bad))
        return bad;
    return e.count == 0 ? drive_good(d) : drive_blocks(d, kind, e.lba, e.count);
}

static struct scsi_deed read_now(struct scsi_drive *d)
{
    return over_range(d, SCSI_READ);
}

/* READ. With FUA the data must come from the medium, so what is not there yet goes first. */
struct scsi_deed blocks_read(struct scsi_drive *d, const uint8_t *cdb)
{
    if (cdb[0] >> 5 == 0 || !(cdb[1] & CDB_FUA) || !d->writable || !d->caching)
        return read_now(d);
    d->next = read_now;
    d->deed = (struct scsi_deed){.kind = SCSI_FLUSH};
    return d->deed;
}

/* VERIFY: BYTCHK 0 reads, 1 compares. */
struct scsi_deed blocks_verify(struct scsi_drive *d, const uint8_t *cdb)
{
    return over_range(d, cdb[1] & CDB_BYTCHK ? SCSI_COMPARE : SCSI_CHECK);
}

struct scsi_deed blocks_seek(struct scsi_drive *d, const uint8_t *cdb)
{
    struct scsi_deed bad;

    if (!drive_range(d, drive_extent(cdb).lba, 1, &bad))
        return bad;
    return drive_good(d);
}

/* SYNCHRONIZE CACHE: all of it, whatever the range; a count of 0 means to the end. */
struct scsi_deed blocks_synchronize(struct scsi_drive *d, const uint8_t *cdb)
{
    struct scsi_extent e = drive_extent(cdb);
    struct scsi_deed bad;

    if (!drive_range(d, e.lba, e.count, &bad))
        return bad;
    if (!d->writable)
        return drive_good(d);
    d->deed = (struct scsi_deed){.kind = SCSI_FLUSH};
    return d->deed;
}

/* READ CAPACITY(10) (SBC-3, 5.14): all ones say "ask READ CAPACITY(16)". */
struct scsi_deed blocks_read_capacity(struct scsi_drive *d, const uint8_t *cdb)
{
    struct bytes_writer w = bytes_writer(d->bytes, 8);
    uint64_t last = d->blocks - 1;

    (void)cdb;
    bytes_put_u32(&w, last < CAPACITY_10 ? (uint32_t)last : CAPACITY_10);
    bytes_put_u32(&w, d->block_size);
    return drive_reply(d, w.used, w.used);
}

/* READ FORMAT CAPACITIES (MMC-6, 6.24): the one there is. */
struct scsi_deed blocks_read_format_capacities(struct scsi_drive *d, const uint8_t *cdb)
{
    struct bytes_writer w = bytes_writer(d->bytes, 12);
    uint64_t blocks = d->blocks < CAPACITY_10 ? d->blocks : CAPACITY_10;

    bytes_put_u32(&w, 8); /* one descriptor follows */
    bytes_put_u32(&w, d->loaded ? (uint32_t)blocks : CAPACITY_10);
    bytes_put_u8(&w, d->loaded ? FORMATTED : NO_MEDIUM);
    bytes_put_be(&w, d->block_size, 3);
    return drive_reply(d, w.used, (uint64_t)cdb[7] << 8 | cdb[8]);
}
