/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET EVENT STATUS NOTIFICATION and MECHANISM STATUS (MMC-6): how a host that asks every
 * few seconds hears that a disc has come or gone, or that its person wishes to have it out.
 *
 * Of each class the latest event is kept, until it has been told once. Telling the same again would
 * make Windows ask without end (its cdrom.sys gives up on such a drive). The event of a disc is
 * told in two classes: media, and operational change, since the current profile and features have
 * changed with it. Beside that the host gets its unit attention; asking for events takes nothing
 * of it (COMMAND_CALM).
 */
#include "base/bytes.h"
#include "scsi/optical-parts.h"

#define CLASS_OPERATIONAL 1
#define CLASS_POWER       2
#define CLASS_MEDIA       4
#define CLASSES           (1u << CLASS_OPERATIONAL | 1u << CLASS_POWER | 1u << CLASS_MEDIA)

#define NO_EVENT_AVAILABLE 0x80

#define MEDIA_EJECT_REQUEST 1
#define MEDIA_NEW           2
#define MEDIA_REMOVAL       3

#define OPERATIONAL_CHANGED        2
#define OPERATIONAL_FEATURE_CHANGE 1

#define POWER_ACTIVE 1

#define HEADER_LENGTH 4
#define EVENT_LENGTH  8 /* with its header */

void optical_inserted(struct scsi_drive *d)
{
    if (d->blocks > UINT32_MAX)
        d->blocks = UINT32_MAX;
    d->optical.open = false;
    d->optical.media_event = MEDIA_NEW;
    d->optical.operational_event = OPERATIONAL_CHANGED;
}

void optical_removed(struct scsi_drive *d)
{
    d->optical.media_event = MEDIA_REMOVAL;
    d->optical.operational_event = OPERATIONAL_CHANGED;
}

void optical_eject_wished(struct scsi_drive *d)
{
    d->optical.media_event = MEDIA_EJECT_REQUEST;
}

void optical_tray(struct scsi_drive *d, bool open)
{
    d->optical.open = open;
}

static void put_operational(struct scsi_drive *d, struct bytes_writer *w)
{
    bytes_put_u8(w, d->optical.operational_event);
    bytes_put_u8(w, 0); /* nobody has locked the drive for good; it is available */
    bytes_put_u16(w, d->optical.operational_event ? OPERATIONAL_FEATURE_CHANGE : 0);
}

static void put_power(struct scsi_drive *d, struct bytes_writer *w)
{
    (void)d;
    bytes_put_u8(w, 0);
    bytes_put_u8(w, POWER_ACTIVE);
    bytes_put_u16(w, 0);
}

static void put_media(struct scsi_drive *d, struct bytes_writer *w)
{
    bytes_put_u8(w, d->optical.media_event);
    bytes_put_u8(w, (uint8_t)(d->loaded << 1 | d->optical.open));
    bytes_put_u16(w, 0); /* no slots */
}

/* Where the pending event of a class is kept; NULL: it never has one. */
static uint8_t *event_of(struct scsi_drive *d, unsigned class)
{
    switch (class) {
    case CLASS_OPERATIONAL:
        return &d->optical.operational_event;
    case CLASS_MEDIA:
        return &d->optical.media_event;
    default:
        return NULL;
    }
}

/* Of the classes asked for, the first that has an event, else the first. */
static unsigned choose_class(struct scsi_drive *d, unsigned asked)
{
    unsigned chosen = 0;

    for (unsigned class = CLASS_MEDIA + 1; class -- > CLASS_OPERATIONAL;) {
        const uint8_t *event = event_of(d, class);
        const uint8_t *best = event_of(d, chosen);

        if (asked & 1u << class && (!(best && *best) || (event && *event)))
            chosen = class;
    }
    return chosen;
}

static void put_event(struct scsi_drive *d, struct bytes_writer *w, unsigned class)
{
    if (class == CLASS_OPERATIONAL)
        put_operational(d, w);
    else if (class == CLASS_POWER)
        put_power(d, w);
    else
        put_media(d, w);
}

struct scsi_deed optical_get_event(struct scsi_drive *d, const uint8_t *cdb)
{
    struct bytes_writer w = bytes_writer(d->bytes, sizeof d->bytes);
    unsigned class = choose_class(d, cdb[4] & CLASSES);
    uint16_t allocation = optical_be16(cdb + 7);
    uint8_t *event = event_of(d, class);

    if (!(cdb[1] & 0x01)) /* it would have to be answered when something happens */
        return drive_bad_cdb(d, 1, 0);
    bytes_put_u16(&w, class ? EVENT_LENGTH - 2 : HEADER_LENGTH - 2);
    bytes_put_u8(&w, class ? (uint8_t) class : NO_EVENT_AVAILABLE);
    bytes_put_u8(&w, CLASSES);
    if (class)
        put_event(d, &w, class);
    if (event && allocation >= EVENT_LENGTH)
        *event = 0;
    return drive_reply(d, w.used, allocation);
}

struct scsi_deed optical_mechanism_status(struct scsi_drive *d, const uint8_t *cdb)
{
    struct bytes_writer w = bytes_writer(d->bytes, sizeof d->bytes);

    bytes_put_u8(&w, 0); /* no changer: ready, at slot 0 */
    bytes_put_u8(&w, d->optical.open ? 0x10 : 0);
    bytes_put_be(&w, 0, 3); /* the pick-up is at the beginning */
    bytes_put_u8(&w, 1);    /* one place for a disc, */
    bytes_put_u16(&w, 0);   /* which is not in a table of slots */
    return drive_reply(d, w.used, optical_be16(cdb + 8));
}
