/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MODE SENSE and MODE SELECT (SPC-4, 6.11, 6.9), and the mode pages that both kinds have.
 *
 * A page writes itself and takes itself over; everything else is here once: headers of two lengths,
 * the block descriptor, which values are asked for, and that nothing but a changeable bit ever
 * changes. A parameter list is looked through to its end before any of it is taken. Nothing is
 * saved (a drive lives as long as its owner), and so pages say: PS is 0, SP is an invalid field,
 * and saved values are not to be had.
 */
#include <string.h>

#include "base/bytes.h"
#include "scsi/drive-parts.h"

#define DBD       0x08 /* byte 1: no block descriptor */
#define LLBAA     0x10 /* byte 1: a long one will do */
#define PF        0x10 /* byte 1: pages, not something of a vendor's */
#define ALL_PAGES 0x3F
#define ALL_SUBS  0xFF
#define PAGE_CODE 0x3F

#define WRITE_PROTECTED 0x80
#define DPOFUA          0x10
#define LONGLBA         0x01

#define SHORT_DESCRIPTOR 8
#define LONG_DESCRIPTOR  16
#define PAGE_MAX         64

#define CONTROL_SWP       0x08 /* byte 4 */
#define EXCEPTIONS_DEXCPT 0x08 /* byte 2: none are reported */

/* 0Ah: control (7.5.8). */
void mode_fill_control(const struct scsi_drive *d, uint8_t *page, enum scsi_values which)
{
    if (which == VALUES_CHANGEABLE || (which == VALUES_CURRENT && d->protected))
        page[4] = CONTROL_SWP;
}

void mode_take_control(struct scsi_drive *d, const uint8_t *page)
{
    d->protected = page[4] & CONTROL_SWP;
}

/* 1Ch: informational exceptions control (7.5.11). */
void mode_fill_exceptions(const struct scsi_drive *d, uint8_t *page, enum scsi_values which)
{
    (void)d;
    page[2] = which == VALUES_CHANGEABLE ? 0 : EXCEPTIONS_DEXCPT;
}

static const struct scsi_pages *pages_of(const struct scsi_drive *d)
{
    return d->kind == MEDIUM_CD ? &optical_pages : &disk_pages;
}

/* The page's bytes; those of its header are the same whatever is asked for. */
static void fill(const struct scsi_drive *d, const struct scsi_page *row, uint8_t *page,
                 enum scsi_values which)
{
    memset(page, 0, row->length);
    row->fill(d, page, which);
    page[0] = row->code;
    page[1] = (uint8_t)(row->length - 2);
}

static void put_descriptor(const struct scsi_drive *d, struct bytes_writer *w, size_t length)
{
    if (length == LONG_DESCRIPTOR) {
        bytes_put_u64(w, d->loaded ? d->blocks : 0);
        bytes_put_u64(w, d->block_size);
    } else if (length == SHORT_DESCRIPTOR) {
        bytes_put_u32(w, !d->loaded                ? 0
                         : d->blocks <= UINT32_MAX ? (uint32_t)d->blocks
                                                   : UINT32_MAX);
        bytes_put_u32(w, d->block_size);
    }
}

static void put_header(const struct scsi_drive *d, uint8_t *out, bool ten, size_t descriptor,
                       size_t used)
{
    uint8_t specific = 0;
    struct bytes_writer w = bytes_writer(out, ten ? 8 : 4);

    if (d->kind == MEDIUM_DISK)
        specific = DPOFUA;
    if (d->protected || (d->loaded && !d->writable && d->kind == MEDIUM_DISK))
        specific |= WRITE_PROTECTED;
    if (ten)
        bytes_put_u16(&w, (uint16_t)(used - 2));
    else
        bytes_put_u8(&w, (uint8_t)(used - 1));
    bytes_put_u8(&w, 0);
    bytes_put_u8(&w, specific);
    if (ten) {
        bytes_put_u8(&w, descriptor == LONG_DESCRIPTOR ? LONGLBA : 0);
        bytes_put_u8(&w, 0);
        bytes_put_u16(&w, (uint16_t)descriptor);
    } else {
        bytes_put_u8(&w, (uint8_t)descriptor);
    }
}

static struct scsi_deed sense(struct scsi_drive *d, const uint8_t *cdb, bool ten,
                              uint64_t allocation)
{
    const struct scsi_pages *pages = pages_of(d);
    enum scsi_values which = cdb[2] >> 6;
    unsigned code = cdb[2] & PAGE_CODE, found = 0;
    size_t header = ten ? 8 : 4;
    size_t descriptor = cdb[1] & DBD || d->kind == MEDIUM_CD ? 0
                        : ten && cdb[1] & LLBAA              ? LONG_DESCRIPTOR
                                                             : SHORT_DESCRIPTOR;
    struct bytes_writer w = bytes_writer(d->bytes + header, sizeof d->bytes - header);

    if (which == VALUES_SAVED)
        return drive_check(d, KEY_ILLEGAL_REQUEST, 0x39, 0x00); /* SAVING ... NOT SUPPORTED */
    if (cdb[3] != 0 && cdb[3] != ALL_SUBS)
        return drive_bad_cdb(d, 3, 7);
    put_descriptor(d, &w, descriptor);
    for (unsigned i = 0; i < pages->count; i++) {
        if (code == ALL_PAGES || code == pages->rows[i].code) {
            uint8_t page[PAGE_MAX];

            fill(d, &pages->rows[i], page, which);
            bytes_put(&w, page, pages->rows[i].length);
            found++;
        }
    }
    if (found == 0)
        return drive_bad_cdb(d, 2, 5);
    put_header(d, d->bytes, ten, descriptor, header + w.used);
    return drive_reply(d, header + w.used, allocation);
}

struct scsi_deed mode_sense_6(struct scsi_drive *d, const uint8_t *cdb)
{
    return sense(d, cdb, false, cdb[4]);
}

struct scsi_deed mode_sense_10(struct scsi_drive *d, const uint8_t *cdb)
{
    return sense(d, cdb, true, (uint64_t)cdb[7] << 8 | cdb[8]);
}

static struct scsi_deed check_length(struct scsi_drive *d)
{
    return drive_check(d, KEY_ILLEGAL_REQUEST, 0x1A, 0x00); /* PARAMETER LIST LENGTH ERROR */
}

/* The field at fault when `given` is not `wanted` but for the bits of `free`; -1: it is. */
static int differs(const uint8_t *given, const uint8_t *wanted, const uint8_t *free, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned wrong = (given[i] ^ wanted[i]) & ~(unsigned)(free ? free[i] : 0) & 0xFF;

        for (unsigned bit = 8; bit-- > 0;)
            if (wrong & 1u << bit)
                return (int)(i * 8 + bit);
    }
    return -1;
}

/* A block descriptor may only say what is so; a count of 0 asks for no change. */
static int look_at_descriptor(struct scsi_drive *d, const uint8_t *given, size_t length)
{
    uint8_t wanted[LONG_DESCRIPTOR];
    size_t count = length / 2;
    struct bytes_writer w = bytes_writer(wanted, sizeof wanted);

    put_descriptor(d, &w, length);
    if (given[0] == 0 && memcmp(given, given + 1, count - 1) == 0)
        memset(wanted, 0, count);
    return differs(given, wanted, NULL, length);
}

static const struct scsi_page *find_page(const struct scsi_drive *d, uint8_t code)
{
    const struct scsi_pages *pages = pages_of(d);

    for (unsigned i = 0; i < pages->count; i++)
        if (pages->rows[i].code == code)
            return &pages->rows[i];
    return NULL;
}

/* One page of a list, `left` bytes of it there: its row, or NULL with the CHECK CONDITION in
 * d->deed. */
static const struct scsi_page *look_at_page(struct scsi_drive *d, size_t at, size_t left)
{
    const struct scsi_page *row = find_page(d, d->bytes[at]);
    uint8_t now[PAGE_MAX], mask[PAGE_MAX];
    int wrong;

    if (!row) { /* or PS, or SPF, is set */
        drive_bad_parameter(d, (unsigned)at, 7);
        return NULL;
    }
    if (left < 2 || left < 2u + d->bytes[at + 1]) {
        check_length(d);
        return NULL;
    }
    if (d->bytes[at + 1] != row->length - 2) {
        drive_bad_parameter(d, (unsigned)at + 1, 7);
        return NULL;
    }
    fill(d, row, now, VALUES_CURRENT);
    fill(d, row, mask, VALUES_CHANGEABLE);
    mask[0] = mask[1] = 0;
    wrong = differs(d->bytes + at, now, mask, row->length);
    if (wrong >= 0) {
        drive_bad_parameter(d, (unsigned)at + (unsigned)wrong / 8, (unsigned)wrong % 8);
        return NULL;
    }
    return row;
}

/* All pages from `at` on are looked at, and then taken. */
static struct scsi_deed take_pages(struct scsi_drive *d, size_t from, size_t length)
{
    bool cached = d->caching;
    const struct scsi_page *row;

    for (size_t at = from; at < length; at += row->length) {
        row = look_at_page(d, at, length - at);
        if (!row)
            return d->deed;
    }
    for (size_t at = from; at < length; at += row->length) {
        row = find_page(d, d->bytes[at]);
        if (row->take)
            row->take(d, d->bytes + at);
    }
    if (!cached || d->caching || !d->loaded || !d->writable)
        return drive_good(d);
    d->deed = (struct scsi_deed){.kind = SCSI_FLUSH}; /* what the cache held until now */
    return d->deed;
}

static struct scsi_deed take_list(struct scsi_drive *d, size_t header, size_t length)
{
    bool ten = header == 8;
    size_t descriptor, at;
    int wrong;

    if (length < header)
        return check_length(d);
    descriptor = ten ? (size_t)d->bytes[6] << 8 | d->bytes[7] : d->bytes[3];
    at = ten ? 6 : 3;
    if (descriptor != 0 &&
        descriptor != (ten && d->bytes[4] & LONGLBA ? LONG_DESCRIPTOR : SHORT_DESCRIPTOR))
        return drive_bad_parameter(d, (unsigned)at, 7);
    if (length < header + descriptor)
        return check_length(d);
    if (d->bytes[ten ? 2 : 1] != 0) /* medium type */
        return drive_bad_parameter(d, ten ? 2 : 1, 7);
    wrong = descriptor ? look_at_descriptor(d, d->bytes + header, descriptor) : -1;
    if (wrong >= 0)
        return drive_bad_parameter(d, (unsigned)header + (unsigned)wrong / 8, (unsigned)wrong % 8);
    return take_pages(d, header + descriptor, length);
}

static struct scsi_deed received_6(struct scsi_drive *d)
{
    return take_list(d, 4, (size_t)d->deed.length);
}

static struct scsi_deed received_10(struct scsi_drive *d)
{
    return take_list(d, 8, (size_t)d->deed.length);
}

static struct scsi_deed select_mode(struct scsi_drive *d, const uint8_t *cdb, uint64_t length,
                                    struct scsi_deed (*received)(struct scsi_drive *d))
{
    if (length > 0 && !(cdb[1] & PF))
        return drive_bad_cdb(d, 1, 4);
    return drive_receive(d, length, received);
}

struct scsi_deed mode_select_6(struct scsi_drive *d, const uint8_t *cdb)
{
    return select_mode(d, cdb, cdb[4], received_6);
}

struct scsi_deed mode_select_10(struct scsi_drive *d, const uint8_t *cdb)
{
    return select_mode(d, cdb, (uint64_t)cdb[7] << 8 | cdb[8], received_10);
}
