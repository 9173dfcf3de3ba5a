/* SPDX-License-Identifier: Apache-2.0 */
/*
 * READ DISC STRUCTURE (MMC-6; READ DVD STRUCTURE before), of a DVD or a BD: what such a disc
 * has in its lead-in, made up from the image's size. Nothing on it is encrypted or bound to a
 * region, and whoever pressed it wrote nothing about it.
 *
 * Each structure begins with the length of what follows that field, and two zero bytes; lengths in
 * the table are of the whole.
 */
#include "base/bytes.h"
#include "scsi/optical-parts.h"

#define MEDIA_DVD 0
#define MEDIA_BD  1

#define FORMAT_LIST 0xFF
#define READABLE    0x40 /* RDS: by READ DISC STRUCTURE */

#define DVD_FIRST_SECTOR 0x030000u /* physical, of LBA 0 (ECMA-267) */
#define DVD_SECTOR_MASK  0xFFFFFFu

/* Discs of one, two, three and four layers: 25, 50, 100 and 128 GB. */
static const uint32_t bd_sectors[] = {12219392, 24438784, 48878592, 62500864};

#define BD_LAYERS_MAX   4
#define BD_FIRST_SECTOR 0x100000u /* physical, of LBA 0 */
#define BD_UNIT_LENGTH  64        /* of which the first 32 bytes say something */
#define BD_UNIT_USED    32

struct structure {
    uint8_t media, format;
    uint16_t length;
    void (*fill)(const struct scsi_drive *d, struct bytes_writer *w); /* over zeros; NULL: stays */
};

/*
 * Physical format information. A disc of two layers has its second one read from
 * the outside in (OTP): there a sector's address is the complement of that of the one it lies
 * over in layer 0, and layer 0 has the odd block of 16.
 */
static void fill_dvd_physical(const struct scsi_drive *d, struct bytes_writer *w)
{
    uint32_t sectors = optical_sectors(d);
    bool two = sectors > OPTICAL_DVD5_MAX;
    uint32_t layer = two ? ((sectors + 1) / 2 + 15) / 16 * 16 : sectors;
    uint32_t last = DVD_FIRST_SECTOR + layer - 1;

    bytes_put_u8(w, 0x01);              /* DVD-ROM, part version 1 */
    bytes_put_u8(w, 0x0F);              /* 120 mm; the rate is not specified */
    bytes_put_u8(w, two ? 0x31 : 0x01); /* layers; OTP; embossed */
    bytes_put_u8(w, two ? 0x10 : 0x00); /* 0.293 or 0.267 um a bit; 0.74 um a track */
    bytes_put_u32(w, DVD_FIRST_SECTOR);
    bytes_put_u32(w, two ? (~last & DVD_SECTOR_MASK) + (sectors - layer) - 1 : last);
    bytes_put_u32(w, two ? last : 0); /* where layer 0 ends */
}

static unsigned bd_layers(uint32_t sectors)
{
    unsigned layers = 1;

    while (layers < BD_LAYERS_MAX && sectors > bd_sectors[layers - 1])
        layers++;
    return layers;
}

/*
 * Disc Information: a unit for each layer. How addresses go on from layer to layer, only the
 * pressing knows; so they are told of discs of one layer.
 */
static void fill_bd_information(const struct scsi_drive *d, struct bytes_writer *w)
{
    uint32_t sectors = optical_sectors(d);
    unsigned layers = bd_layers(sectors);
    uint32_t last = BD_FIRST_SECTOR + sectors - 1;

    for (unsigned layer = 0; layer < layers; layer++) {
        bytes_put(w, "DI", 2);
        bytes_put_u8(w, 1); /* format of the unit */
        bytes_put_u8(w, (uint8_t)(layers << 3 | layer));
        bytes_put_u8(w, 0);
        bytes_put_u8(w, (uint8_t)layer); /* number of the unit */
        bytes_put_u16(w, BD_UNIT_USED << 8);
        bytes_put(w, "BDO", 3);
        bytes_put_u8(w, 0x01); /* 120 mm; class 0, version 1 */
        bytes_put_u8(w, (uint8_t)(layers << 4 | 0x01));
        bytes_put_u8(w, layers <= 2 ? 0x01 : 0x00); /* no DVD or CD beneath; 25 GB a layer */
        bytes_put_be(w, 0, 6);
        bytes_put_u32(w, layers == 1 ? last : 0);
        bytes_put_u32(w, layers == 1 ? BD_FIRST_SECTOR : 0);
        bytes_put_u32(w, layers == 1 ? last | 31 : 0); /* in whole clusters */
        bytes_put(w, (const uint8_t[BD_UNIT_LENGTH - BD_UNIT_USED]){0},
                  BD_UNIT_LENGTH - BD_UNIT_USED);
    }
}

static const struct structure structures[] = {
    {MEDIA_DVD, 0x00, 4 + 2048, fill_dvd_physical},
    /* Copyright: no protection system, and every region may play it. */
    {MEDIA_DVD, 0x01, 4 + 4, NULL},
    /* Manufacturing information: none. */
    {MEDIA_DVD, 0x04, 4 + 2048, NULL},
    {MEDIA_BD, 0x00, 4 + 4096, fill_bd_information},
};

#define STRUCTURES (sizeof structures / sizeof structures[0])

static struct scsi_deed reply(struct scsi_drive *d, const uint8_t *cdb, size_t length)
{
    struct bytes_writer head = bytes_writer(d->bytes, 2);

    bytes_put_u16(&head, (uint16_t)(length - 2));
    return drive_reply(d, length, optical_be16(cdb + 8));
}

static struct scsi_deed list_structures(struct scsi_drive *d, const uint8_t *cdb, uint8_t media)
{
    struct bytes_writer w = bytes_writer(d->bytes, sizeof d->bytes);

    bytes_put_u32(&w, 0);
    for (size_t i = 0; i < STRUCTURES; i++) {
        if (structures[i].media != media)
            continue;
        bytes_put_u8(&w, structures[i].format);
        bytes_put_u8(&w, READABLE);
        bytes_put_u16(&w, structures[i].length);
    }
    return reply(d, cdb, w.used);
}

struct scsi_deed optical_read_structure(struct scsi_drive *d, const uint8_t *cdb)
{
    unsigned disc = optical_disc(d);
    uint8_t media = cdb[1] & 0x0F;

    _Static_assert(sizeof d->bytes >= 4 + 4096, "the longest structure does not fit the answer");
    if (media > MEDIA_BD)
        return drive_bad_cdb(d, 1, 3);
    if (cdb[7] == FORMAT_LIST)
        return list_structures(d, cdb, media);
    if (disc == OPTICAL_CD) /* CANNOT READ MEDIUM - INCOMPATIBLE FORMAT */
        return drive_check(d, KEY_ILLEGAL_REQUEST, 0x30, 0x02);
    if (disc != (media == MEDIA_BD ? OPTICAL_BD : OPTICAL_DVD))
        return drive_bad_cdb(d, 1, 3);
    for (size_t i = 0; i < STRUCTURES; i++) {
        const struct structure *s = &structures[i];
        struct bytes_writer w = bytes_writer(d->bytes + 4, s->length - 4u);

        if (s->media != media || s->format != cdb[7])
            continue;
        memset(d->bytes, 0, s->length);
        if (s->fill)
            s->fill(d, &w);
        return reply(d, cdb, s->length);
    }
    return drive_bad_cdb(d, 7, 7);
}
