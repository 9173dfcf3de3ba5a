/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the drive says it is: INQUIRY with its vital product data, and REPORT LUNS.
 *
 * All of it is made of the identity, so that a machine knows the drive again between sessions, and
 * of what the medium allows. The drive claims SPC-4 and SBC-3 or MMC-6, and what it does not do of
 * them it does not claim to.
 */
#include <string.h>

#include "base/bytes.h"
#include "scsi/drive-parts.h"

#define TYPE_DISK      0x00
#define TYPE_OPTICAL   0x05
#define REMOVABLE      0x80
#define VERSION_SPC4   0x06
#define FORMAT_SPC     0x02
#define STANDARD_SIZE  74
#define VENDOR_SIZE    8
#define PRODUCT_SIZE   16
#define REVISION_SIZE  4
#define LIMITS_SIZE    0x3C
#define GRANULARITY    8 /* blocks: 4 KiB, in which the cache thinks */
#define NON_ROTATING   0x0001
#define PROVISIONING   (0x80 | 0x40 | 0x20 | 0x04) /* LBPU, LBPWS, LBPWS10, LBPRZ */
#define THIN           2
#define NAA_LOCAL      (UINT64_C(3) << 60)
#define CODE_BINARY    1
#define CODE_ASCII     2
#define DESIGNATOR_T10 1
#define DESIGNATOR_NAA 3

/* Version descriptors (SPC-4, table 142): SAM-5, SPC-4, Bulk-Only Transport 1.0. */
static const uint16_t versions[] = {0x00A0, 0x0460, 0x1730};
#define VERSION_SBC3 0x04C0
#define VERSION_MMC6 0x04E0

static uint8_t type_of(const struct scsi_drive *d)
{
    return d->kind == MEDIUM_CD ? TYPE_OPTICAL : TYPE_DISK;
}

static void put_padded(struct bytes_writer *w, const char *text, size_t size)
{
    size_t length = strnlen(text, size);

    bytes_put(w, text, length);
    while (length++ < size)
        bytes_put_u8(w, ' ');
}

static void put_zeros(struct bytes_writer *w, size_t count)
{
    while (count-- > 0)
        bytes_put_u8(w, 0);
}

/* Standard INQUIRY data (SPC-4, 6.6.2). */
static void put_standard(const struct scsi_drive *d, struct bytes_writer *w)
{
    bytes_put_u8(w, type_of(d));
    bytes_put_u8(w, REMOVABLE);
    bytes_put_u8(w, VERSION_SPC4);
    bytes_put_u8(w, FORMAT_SPC);
    bytes_put_u8(w, STANDARD_SIZE - 5);
    put_zeros(w, 3);
    put_padded(w, d->identity.vendor, VENDOR_SIZE);
    put_padded(w, d->identity.product, PRODUCT_SIZE);
    put_padded(w, d->identity.revision, REVISION_SIZE);
    put_zeros(w, 58 - 36);
    for (unsigned i = 0; i < sizeof versions / sizeof *versions; i++)
        bytes_put_u16(w, versions[i]);
    bytes_put_u16(w, d->kind == MEDIUM_CD ? VERSION_MMC6 : VERSION_SBC3);
    put_zeros(w, STANDARD_SIZE - w->used);
}

/* 80h: the unit's serial number. */
static void put_serial(const struct scsi_drive *d, struct bytes_writer *w)
{
    bytes_put(w, d->identity.serial, strnlen(d->identity.serial, sizeof d->identity.serial));
}

/* 60 bits of FNV-1a over vendor and serial: a name that stays, from a registry that nobody needs.
 */
static uint64_t name_of(const struct scsi_identity *identity)
{
    const char *parts[] = {identity->vendor, identity->serial};
    uint64_t hash = UINT64_C(0xCBF29CE484222325);

    for (unsigned i = 0; i < 2; i++)
        for (const char *c = parts[i]; *c; c++)
            hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001B3);
    return hash & ~(UINT64_C(0xF) << 60);
}

/* 83h: device identification (SPC-4, 7.8.6): NAA locally assigned, and T10 vendor. */
static void put_identification(const struct scsi_drive *d, struct bytes_writer *w)
{
    size_t serial = strnlen(d->identity.serial, sizeof d->identity.serial);

    bytes_put_u8(w, CODE_BINARY);
    bytes_put_u8(w, DESIGNATOR_NAA);
    bytes_put_u16(w, 8);
    bytes_put_u64(w, NAA_LOCAL | name_of(&d->identity));
    bytes_put_u8(w, CODE_ASCII);
    bytes_put_u8(w, DESIGNATOR_T10);
    bytes_put_u16(w, (uint16_t)(VENDOR_SIZE + serial));
    put_padded(w, d->identity.vendor, VENDOR_SIZE);
    bytes_put(w, d->identity.serial, serial);
}

/* B0h: block limits (SBC-3, 6.5.3). Zeros say "no limit", or "not done" of what is unmapped. */
static void put_limits(const struct scsi_drive *d, struct bytes_writer *w)
{
    bytes_put_u8(w, 0x01); /* WSNZ: WRITE SAME of 0 blocks is not "to the end" here */
    bytes_put_u8(w, 0);
    bytes_put_u16(w, GRANULARITY);
    put_zeros(w, 12);
    bytes_put_u32(w, d->writable ? DISK_UNMAP_BLOCKS_MAX : 0);
    bytes_put_u32(w, d->writable ? SCSI_RANGES_MAX : 0);
    bytes_put_u32(w, d->writable ? GRANULARITY : 0);
    bytes_put_u32(w, 0);
    bytes_put_u64(w, d->writable ? DISK_SAME_BLOCKS_MAX : 0);
    put_zeros(w, LIMITS_SIZE - w->used + 4);
}

/* B1h: block device characteristics (6.5.2). */
static void put_characteristics(const struct scsi_drive *d, struct bytes_writer *w)
{
    (void)d;
    bytes_put_u16(w, NON_ROTATING);
    put_zeros(w, LIMITS_SIZE - 2);
}

/* B2h: logical block provisioning (6.5.4). */
static void put_provisioning(const struct scsi_drive *d, struct bytes_writer *w)
{
    bytes_put_u8(w, 0);
    bytes_put_u8(w, d->writable ? PROVISIONING : 0);
    bytes_put_u8(w, d->writable ? THIN : 0);
    bytes_put_u8(w, 0);
}

static void put_pages(const struct scsi_drive *d, struct bytes_writer *w);

/* Vital product data, by ascending code. */
static const struct {
    uint8_t code;
    bool disk_only;
    void (*put)(const struct scsi_drive *d, struct bytes_writer *w);
} pages[] = {
    {0x00, false, put_pages}, {0x80, false, put_serial},         {0x83, false, put_identification},
    {0xB0, true, put_limits}, {0xB1, true, put_characteristics}, {0xB2, true, put_provisioning},
};
#define PAGES (sizeof pages / sizeof *pages)

/* 00h: which there are. */
static void put_pages(const struct scsi_drive *d, struct bytes_writer *w)
{
    for (unsigned i = 0; i < PAGES; i++)
        if (!pages[i].disk_only || d->kind == MEDIUM_DISK)
            bytes_put_u8(w, pages[i].code);
}

struct scsi_deed inquiry_inquire(struct scsi_drive *d, const uint8_t *cdb)
{
    struct bytes_writer w = bytes_writer(d->bytes, sizeof d->bytes);
    uint64_t allocation = (uint64_t)cdb[3] << 8 | cdb[4];
    unsigned i = 0;

    if (!(cdb[1] & 1)) { /* EVPD */
        if (cdb[2] != 0)
            return drive_bad_cdb(d, 2, 7);
        put_standard(d, &w);
        return drive_reply(d, w.used, allocation);
    }
    while (i < PAGES && (pages[i].code != cdb[2] || (pages[i].disk_only && d->kind == MEDIUM_CD)))
        i++;
    if (i == PAGES)
        return drive_bad_cdb(d, 2, 7);
    bytes_put_u8(&w, type_of(d));
    bytes_put_u8(&w, cdb[2]);
    bytes_put_u16(&w, 0);
    pages[i].put(d, &w);
    d->bytes[2] = (uint8_t)((w.used - 4) >> 8);
    d->bytes[3] = (uint8_t)(w.used - 4);
    return drive_reply(d, w.used, allocation);
}

/* REPORT LUNS (SPC-4, 6.33): peripheral device addressing. There are no well-known ones. */
struct scsi_deed inquiry_report_luns(struct scsi_drive *d, const uint8_t *cdb)
{
    struct bytes_reader r = bytes_reader(cdb + 6, 4);
    struct bytes_writer w = bytes_writer(d->bytes, sizeof d->bytes);
    uint64_t allocation = bytes_get_u32(&r);
    unsigned units = cdb[2] == 0x01 ? 0 : d->units;

    if (cdb[2] > 0x02)
        return drive_bad_cdb(d, 2, 7);
    if (allocation < 16)
        return drive_bad_cdb(d, 6, 7);
    bytes_put_u32(&w, 8 * units);
    bytes_put_u32(&w, 0);
    for (unsigned i = 0; i < units; i++)
        bytes_put_u64(&w, (uint64_t)i << 48);
    return drive_reply(d, w.used, allocation);
}
