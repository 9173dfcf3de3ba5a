/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a drive outlives its process, so that the next one goes on where this one stopped: the
 * machine's lock, its mode parameters and what it has not been told yet are as much a part of that
 * as the medium. A command in work is not; the transport has a note of its own for it.
 */
#include <errno.h>

#include "base/bytes.h"
#include "scsi/drive-parts.h"

#define NOTE_VERSION 1
#define ATTENTIONS   (DRIVE_ATTENTION_RESET | DRIVE_ATTENTION_MEDIUM)

#define FLAG_LOADED    (1u << 0)
#define FLAG_EJECTED   (1u << 1)
#define FLAG_WRITABLE  (1u << 2)
#define FLAG_LOCKED    (1u << 3)
#define FLAG_CACHING   (1u << 4)
#define FLAG_PROTECTED (1u << 5)
#define FLAG_USED      (1u << 6)
#define FLAG_OPEN      (1u << 7)

static unsigned flags_of(const struct scsi_drive *d)
{
    return (d->loaded ? FLAG_LOADED : 0) | (d->ejected ? FLAG_EJECTED : 0) |
           (d->writable ? FLAG_WRITABLE : 0) | (d->locked ? FLAG_LOCKED : 0) |
           (d->caching ? FLAG_CACHING : 0) | (d->protected ? FLAG_PROTECTED : 0) |
           (d->used ? FLAG_USED : 0) | (d->optical.open ? FLAG_OPEN : 0);
}

size_t scsi_drive_note(const struct scsi_drive *d, uint8_t out[SCSI_NOTE_MAX])
{
    struct bytes_writer w = bytes_writer(out, SCSI_NOTE_MAX);

    bytes_put_u8(&w, NOTE_VERSION);
    bytes_put_u8(&w, d->kind == MEDIUM_CD);
    bytes_put_u8(&w, (uint8_t)flags_of(d));
    bytes_put_u8(&w, (uint8_t)d->attentions);
    bytes_put_u8(&w, (uint8_t)d->deferred);
    bytes_put_u8(&w, d->optical.media_event);
    bytes_put_u8(&w, d->optical.operational_event);
    bytes_put_u8(&w, d->sense.code.key);
    bytes_put_u8(&w, d->sense.code.asc);
    bytes_put_u8(&w, d->sense.code.ascq);
    bytes_put_u64(&w, d->blocks);
    return w.used;
}

/* Whether a medium is described that this drive can have. */
static bool is_possible(const struct scsi_drive *d, unsigned flags, uint64_t blocks)
{
    bool there = flags & (FLAG_LOADED | FLAG_EJECTED);

    return there == (blocks > 0) && blocks <= UINT64_MAX / d->block_size &&
           !(flags & FLAG_LOADED && flags & FLAG_EJECTED) &&
           !(flags & FLAG_WRITABLE && (!there || d->kind == MEDIUM_CD));
}

int scsi_drive_resume(struct scsi_drive *d, const uint8_t *note, size_t length)
{
    struct bytes_reader r = bytes_reader(note, length);
    uint8_t version = bytes_get_u8(&r), optical = bytes_get_u8(&r), flags = bytes_get_u8(&r);
    uint8_t attentions = bytes_get_u8(&r), deferred = bytes_get_u8(&r);
    struct scsi_drive was = *d;

    was.optical.media_event = bytes_get_u8(&r);
    was.optical.operational_event = bytes_get_u8(&r);
    was.sense.code.key = bytes_get_u8(&r);
    was.sense.code.asc = bytes_get_u8(&r);
    was.sense.code.ascq = bytes_get_u8(&r);
    was.blocks = bytes_get_u64(&r);
    if (r.bad || r.left > 0 || version != NOTE_VERSION || optical != (d->kind == MEDIUM_CD) ||
        attentions & ~ATTENTIONS || deferred >= SCSI_CAUSES || !is_possible(d, flags, was.blocks))
        return -EBADMSG;
    was.loaded = flags & FLAG_LOADED;
    was.ejected = flags & FLAG_EJECTED;
    was.writable = flags & FLAG_WRITABLE;
    was.locked = flags & FLAG_LOCKED;
    was.caching = flags & FLAG_CACHING && d->write_back;
    was.protected = flags & FLAG_PROTECTED;
    was.used = flags & FLAG_USED;
    was.optical.open = flags & FLAG_OPEN;
    was.attentions = attentions;
    was.deferred = (enum scsi_cause)deferred;
    *d = was;
    return 0;
}
