/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET CONFIGURATION (MMC-6): what the drive can do, feature by feature, and which profile is
 * current. It may be asked at any time, disc or not, and tells nothing of a unit attention.
 *
 * The table is honest: a feature is in it when its commands are answered, and it is current while
 * the disc in the drive is one of those it is about. Hosts choose by the current profile: udev
 * names the disc by it, Windows and UEFI their file systems.
 */
#include "base/bytes.h"
#include "scsi/optical-parts.h"

#define PROFILE_NONE    0x0000
#define PROFILE_CD_ROM  0x0008
#define PROFILE_DVD_ROM 0x0010
#define PROFILE_BD_ROM  0x0040

#define RT_ALL     0
#define RT_CURRENT 1
#define RT_ONE     2

#define ALL_DISCS (OPTICAL_CD | OPTICAL_DVD | OPTICAL_BD)
#define ALWAYS    (ALL_DISCS | OPTICAL_EMPTY)

#define PERSISTENT 0x02
#define CURRENT    0x01

struct feature {
    uint16_t code;
    uint8_t version;
    uint8_t discs; /* it is current with these; ALWAYS: persistent */
    uint8_t length;
    uint8_t data[28];
    void (*fill)(const struct scsi_drive *d, struct bytes_writer *w); /* instead of `data` */
};

/* The one a host should prefer comes first. */
static const struct {
    uint16_t profile;
    uint8_t disc;
} profiles[] = {
    {PROFILE_BD_ROM, OPTICAL_BD},
    {PROFILE_DVD_ROM, OPTICAL_DVD},
    {PROFILE_CD_ROM, OPTICAL_CD},
};

#define PROFILES (sizeof profiles / sizeof profiles[0])

static void fill_profiles(const struct scsi_drive *d, struct bytes_writer *w)
{
    for (size_t i = 0; i < PROFILES; i++) {
        bytes_put_u16(w, profiles[i].profile);
        bytes_put_u8(w, optical_disc(d) == profiles[i].disc ? CURRENT : 0);
        bytes_put_u8(w, 0);
    }
}

/* How many sectors lie in one block of the disc's error correction. */
static void fill_random_readable(const struct scsi_drive *d, struct bytes_writer *w)
{
    unsigned disc = optical_disc(d);

    bytes_put_u32(w, 2048);
    bytes_put_u16(w, disc == OPTICAL_DVD ? 16 : disc == OPTICAL_BD ? 32 : 1);
    bytes_put_u8(w, 1); /* there is a mode page 01 */
    bytes_put_u8(w, 0);
}

/* Its length is a multiple of four. */
static void fill_serial(const struct scsi_drive *d, struct bytes_writer *w)
{
    size_t length = strlen(d->identity.serial);

    bytes_put(w, d->identity.serial, length);
    for (; length % 4 != 0; length++)
        bytes_put_u8(w, ' ');
}

/* By ascending code, as they are to be sent. */
static const struct feature features[] = {
    {.code = 0x0000, .discs = ALWAYS, .fill = fill_profiles},
    /* Core: the interface is USB; INQUIRY checks EVPD and its long allocation length (INQ2). */
    {.code = 0x0001, .version = 2, .discs = ALWAYS, .length = 8, .data = {0, 0, 0, 8, 2}},
    /* Morphing: operational change events are told (OCEvent), when polled for. */
    {.code = 0x0002, .version = 1, .discs = ALWAYS, .length = 4, .data = {2}},
    /* Removable Medium: a tray that opens and closes, and can be locked. */
    {.code = 0x0003, .version = 2, .discs = ALWAYS, .length = 4, .data = {0x39}},
    {.code = 0x0010, .discs = ALL_DISCS, .fill = fill_random_readable},
    /* Multi-Read, CD Read (user data alone: no C2 pointers, no CD-Text), DVD Read, BD Read (of
     * BD-ROM class 0, version 1). */
    {.code = 0x001D, .discs = OPTICAL_CD},
    {.code = 0x001E, .version = 2, .discs = OPTICAL_CD, .length = 4},
    {.code = 0x001F, .version = 1, .discs = OPTICAL_DVD, .length = 4},
    {.code = 0x0040, .discs = OPTICAL_BD, .length = 28, .data = {[21] = 0x02}},
    /* Power Management, Timeout; Real Time Streaming with SET CD SPEED (SCS). */
    {.code = 0x0100, .discs = ALWAYS},
    {.code = 0x0105, .version = 1, .discs = ALWAYS, .length = 4},
    {.code = 0x0107, .version = 4, .discs = OPTICAL_DVD | OPTICAL_BD, .length = 4, .data = {8}},
    {.code = 0x0108, .discs = ALWAYS, .fill = fill_serial},
};

#define FEATURES (sizeof features / sizeof features[0])

static uint16_t current_profile(const struct scsi_drive *d)
{
    for (size_t i = 0; i < PROFILES; i++) {
        if (optical_disc(d) == profiles[i].disc)
            return profiles[i].profile;
    }
    return PROFILE_NONE;
}

static void put_feature(const struct scsi_drive *d, const struct feature *f, struct bytes_writer *w)
{
    uint8_t *length;
    size_t begin;

    bytes_put_u16(w, f->code);
    bytes_put_u8(w, (uint8_t)(f->version << 2 | (f->discs == ALWAYS ? PERSISTENT : 0) |
                              (f->discs & optical_disc(d) ? CURRENT : 0)));
    length = w->at;
    bytes_put_u8(w, f->length);
    begin = w->used;
    if (f->fill)
        f->fill(d, w);
    else
        bytes_put(w, f->data, f->length);
    *length = (uint8_t)(w->used - begin);
}

static bool is_wanted(const struct scsi_drive *d, const struct feature *f, unsigned rt,
                      uint16_t starting)
{
    if (rt == RT_ONE)
        return f->code == starting;
    return f->code >= starting && (rt == RT_ALL || f->discs & optical_disc(d));
}

struct scsi_deed optical_get_configuration(struct scsi_drive *d, const uint8_t *cdb)
{
    struct bytes_writer w = bytes_writer(d->bytes, sizeof d->bytes);
    struct bytes_writer head = w;
    unsigned rt = cdb[1] & 0x03;

    if (rt > RT_ONE)
        return drive_bad_cdb(d, 1, 1);
    bytes_put_u32(&w, 0);
    bytes_put_u16(&w, 0);
    bytes_put_u16(&w, current_profile(d));
    for (size_t i = 0; i < FEATURES; i++) {
        if (is_wanted(d, &features[i], rt, optical_be16(cdb + 2)))
            put_feature(d, &features[i], &w);
    }
    bytes_put_be(&head, w.used - 4, 4); /* what follows this field */
    return drive_reply(d, w.used, optical_be16(cdb + 7));
}
