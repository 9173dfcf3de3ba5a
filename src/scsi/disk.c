/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only a disk does (SBC-3): writing, giving space back, the long and the short forms of READ,
 * counting past 2 TiB.
 *
 * A disk's medium is provisioned thinly when it can be written to. UNMAP and WRITE SAME with UNMAP
 * leave zeros behind (LBPRZ), which is more than the far end's own TRIM promises: SCSI_TRIM means
 * it.
 */
#include <string.h>

#include "base/bytes.h"
#include "scsi/drive-parts.h"

#define CDB_FUA     0x0A /* FUA, and FUA_NV, which asks for less */
#define SAME_UNMAP  0x08
#define PROVISIONED 0xC0 /* LBPME, LBPRZ */

#define UNMAP_HEADER     8
#define UNMAP_DESCRIPTOR 16

#define CACHING_WCE  0x04 /* byte 2 */
#define CACHING_SIZE 20

/* 08h: caching (6.4.5). WCE is the machine's to switch where it was given. */
static void fill_caching(const struct scsi_drive *d, uint8_t *page, enum scsi_values which)
{
    page[2] = (which == VALUES_CURRENT ? d->caching : d->write_back) ? CACHING_WCE : 0;
}

static void take_caching(struct scsi_drive *d, const uint8_t *page)
{
    d->caching = page[2] & CACHING_WCE;
}

static const struct scsi_page page_rows[] = {
    {0x08, CACHING_SIZE, fill_caching, take_caching},
    {0x0A, 12, mode_fill_control, mode_take_control},
    {0x1C, 12, mode_fill_exceptions, NULL},
};

const struct scsi_pages disk_pages = {page_rows, sizeof page_rows / sizeof *page_rows};

/* READ CAPACITY(16) (5.15). */
static struct scsi_deed read_capacity(struct scsi_drive *d, const uint8_t *cdb)
{
    struct bytes_reader r = bytes_reader(cdb + 10, 4);
    struct bytes_writer w = bytes_writer(d->bytes, 32);

    memset(d->bytes, 0, 32);
    bytes_put_u64(&w, d->blocks - 1);
    bytes_put_u32(&w, d->block_size);
    bytes_put_u16(&w, 0); /* no protection; a physical block is a logical one */
    bytes_put_u8(&w, d->writable ? PROVISIONED : 0);
    return drive_reply(d, 32, bytes_get_u32(&r));
}

/* WRITE. Without WCE, where there could be one, everything goes to stable storage. */
static struct scsi_deed write_blocks(struct scsi_drive *d, const uint8_t *cdb)
{
    struct scsi_extent e = drive_extent(cdb);
    struct scsi_deed bad;

    if (!drive_range(d, e.lba, e.count, &bad))
        return bad;
    if (e.count == 0)
        return drive_good(d);
    drive_blocks(d, SCSI_WRITE, e.lba, e.count);
    d->deed.fua = (cdb[0] >> 5 != 0 && cdb[1] & CDB_FUA) || (d->write_back && !d->caching);
    return d->deed;
}

static bool is_zero(const uint8_t *data, size_t length)
{
    return data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
}

/* WRITE SAME's block is here. */
static struct scsi_deed received_same(struct scsi_drive *d)
{
    struct scsi_extent e = drive_extent(d->cdb);

    if (is_zero(d->bytes, d->block_size)) {
        drive_blocks(d, SCSI_ZERO, e.lba, e.count);
        d->deed.no_hole = !(d->cdb[1] & SAME_UNMAP);
    } else {
        drive_blocks(d, SCSI_FILL, e.lba, e.count);
        d->deed.data = d->bytes;
    }
    d->deed.fua = d->write_back && !d->caching;
    return d->deed;
}

/* WRITE SAME (5.43). No blocks would mean "to the end", which is not done here (WSNZ). */
static struct scsi_deed write_same(struct scsi_drive *d, const uint8_t *cdb)
{
    struct scsi_extent e = drive_extent(cdb);
    struct scsi_deed bad;

    if (e.count == 0 || e.count > DISK_SAME_BLOCKS_MAX)
        return drive_bad_cdb(d, cdb[0] >> 5 == 4 ? 10 : 7, 7);
    if (!drive_range(d, e.lba, e.count, &bad))
        return bad;
    return drive_receive(d, d->block_size, received_same);
}

/* The ranges of an UNMAP whose list is here (5.28.2). All are looked at before any is trimmed. */
static struct scsi_deed received_unmap(struct scsi_drive *d)
{
    size_t length = (size_t)d->deed.length, described;
    struct bytes_reader r = bytes_reader(d->bytes + 2, length >= 4 ? 2 : 0);
    uint64_t total = 0;
    struct scsi_deed bad;
    unsigned count = 0;

    described = bytes_get_u16(&r);
    if (length < UNMAP_HEADER || described > length - UNMAP_HEADER)
        return drive_check(d, KEY_ILLEGAL_REQUEST, 0x1A, 0x00); /* PARAMETER LIST LENGTH ERROR */
    if (described / UNMAP_DESCRIPTOR > SCSI_RANGES_MAX)
        return drive_bad_parameter(d, 2, 7);
    r = bytes_reader(d->bytes + UNMAP_HEADER, described);
    while (r.left >= UNMAP_DESCRIPTOR) {
        uint64_t lba = bytes_get_u64(&r), blocks = bytes_get_u32(&r);

        bytes_get_u32(&r);
        if (!drive_range(d, lba, blocks, &bad))
            return bad;
        total += blocks;
        if (total > DISK_UNMAP_BLOCKS_MAX)
            return drive_bad_parameter(d, (unsigned)(r.at - d->bytes) - 8, 7);
        if (blocks > 0)
            d->ranges[count++] = (struct scsi_range){lba * d->block_size, blocks * d->block_size};
    }
    if (count == 0)
        return drive_good(d);
    d->deed = (struct scsi_deed){.kind = SCSI_TRIM, .ranges = d->ranges, .range_count = count};
    return d->deed;
}

static struct scsi_deed unmap(struct scsi_drive *d, const uint8_t *cdb)
{
    return drive_receive(d, (uint64_t)cdb[7] << 8 | cdb[8], received_unmap);
}

#define ALL    0xFF
#define LBA4   ALL, ALL, ALL, ALL
#define LBA8   LBA4, LBA4
#define ANY    COMMAND_NO_SERVICE
#define READS  COMMAND_MEDIUM
#define WRITES (COMMAND_MEDIUM | COMMAND_WRITABLE)

static const struct scsi_command rows[] = {
    {0x08, ANY, 6, READS, {0x08, 0x1F, ALL, ALL, ALL}, blocks_read},
    {0x0A, ANY, 6, WRITES, {0x0A, 0x1F, ALL, ALL, ALL}, write_blocks},
    {0x2A, ANY, 10, WRITES, {0x2A, 0x1A, LBA4, 0, ALL, ALL}, write_blocks},
    {0x41, ANY, 10, WRITES, {0x41, SAME_UNMAP, LBA4, 0, ALL, ALL}, write_same},
    {0x42, ANY, 10, WRITES, {0x42, 0, 0, 0, 0, 0, 0, ALL, ALL}, unmap},
    {0x88, ANY, 16, READS, {0x88, 0x1A, LBA8, LBA4}, blocks_read},
    {0x8A, ANY, 16, WRITES, {0x8A, 0x1A, LBA8, LBA4}, write_blocks},
    {0x8F, ANY, 16, READS, {0x8F, 0x12, LBA8, LBA4}, blocks_verify},
    {0x91, ANY, 16, READS, {0x91, 0x06, LBA8, LBA4}, blocks_synchronize},
    {0x93, ANY, 16, WRITES, {0x93, SAME_UNMAP, LBA8, LBA4}, write_same},
    {0x9E, 0x10, 16, READS, {0x9E, 0, 0, 0, 0, 0, 0, 0, 0, 0, LBA4}, read_capacity},
    {0xAA, ANY, 12, WRITES, {0xAA, 0x1A, LBA4, LBA4}, write_blocks},
    {0xAF, ANY, 12, READS, {0xAF, 0x12, LBA4, LBA4}, blocks_verify},
};

const struct scsi_commands disk_commands = {rows, sizeof rows / sizeof *rows};
