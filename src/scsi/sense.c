/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is told about a command that went wrong, and what waits to be told: unit attentions and the
 * errors of writes acknowledged before. And REQUEST SENSE, by which the machine asks, since
 * Bulk-Only Transport brings no sense with the status.
 */
#include <string.h>

#include "base/bytes.h"
#include "scsi/drive-parts.h"

#define CURRENT_FIXED    0x70
#define DEFERRED_FIXED   0x71
#define CURRENT_DESCRIP  0x72
#define DEFERRED_DESCRIP 0x73

#define FIELD_VALID  0x80 /* SKSV */
#define FIELD_IN_CDB 0x40 /* C/D */
#define FIELD_BIT    0x08 /* BPV: the bit pointer is valid */

struct scsi_deed drive_check(struct scsi_drive *d, uint8_t key, uint8_t asc, uint8_t ascq)
{
    d->sense = (struct scsi_sense_data){.code = {key, asc, ascq}};
    d->next = NULL;
    d->deed = (struct scsi_deed){.kind = SCSI_DONE, .status = SCSI_CHECK_CONDITION};
    return d->deed;
}

struct scsi_deed drive_check_empty(struct scsi_drive *d)
{
    uint8_t tray = d->optical.open ? 0x02 : 0x01; /* TRAY OPEN, TRAY CLOSED */

    return drive_check(d, KEY_NOT_READY, 0x3A, d->kind == MEDIUM_CD ? tray : 0x00);
}

static struct scsi_deed bad_field(struct scsi_drive *d, uint8_t asc, uint8_t flags, unsigned byte)
{
    drive_check(d, KEY_ILLEGAL_REQUEST, asc, 0x00);
    d->sense.specific[0] = flags;
    d->sense.specific[1] = (uint8_t)(byte >> 8);
    d->sense.specific[2] = (uint8_t)byte;
    return d->deed;
}

struct scsi_deed drive_bad_cdb(struct scsi_drive *d, unsigned byte, unsigned bit)
{
    return bad_field(d, 0x24, (uint8_t)(FIELD_VALID | FIELD_IN_CDB | FIELD_BIT | bit), byte);
}

struct scsi_deed drive_bad_parameter(struct scsi_drive *d, unsigned byte, unsigned bit)
{
    return bad_field(d, 0x26, (uint8_t)(FIELD_VALID | FIELD_BIT | bit), byte);
}

struct scsi_deed drive_fail(struct scsi_drive *d, enum scsi_cause cause, uint64_t moved)
{
    const struct scsi_deed failed = d->deed;
    const struct scsi_sense *s = &scsi_manners(cause)->sense;

    drive_check(d, s->key, s->asc, s->ascq);
    /* Of a write it is not known how much of what was received has reached the medium. */
    if (s->key == KEY_MEDIUM_ERROR && (failed.kind == SCSI_READ || failed.kind == SCSI_CHECK)) {
        d->sense.has_information = true;
        d->sense.information = (failed.offset + moved) / d->block_size;
    }
    return d->deed;
}

bool drive_has_news(const struct scsi_drive *d)
{
    return d->attentions != 0 || d->deferred != SCSI_FINE;
}

void drive_tell_news(struct scsi_drive *d)
{
    if (d->attentions & DRIVE_ATTENTION_RESET) {
        d->attentions &= ~DRIVE_ATTENTION_RESET;
        drive_check(d, KEY_UNIT_ATTENTION, 0x29, 0x00); /* POWER ON, RESET ... OCCURRED */
    } else if (d->attentions & DRIVE_ATTENTION_MEDIUM) {
        d->attentions &= ~DRIVE_ATTENTION_MEDIUM;
        drive_check(d, KEY_UNIT_ATTENTION, 0x28, 0x00); /* ... MEDIUM MAY HAVE CHANGED */
    } else {
        const struct scsi_sense *s = &scsi_manners(d->deferred)->sense;

        d->deferred = SCSI_FINE;
        drive_check(d, s->key, s->asc, s->ascq);
        d->sense.deferred = true;
    }
}

/* Fixed format (SPC-4, 4.5.3). */
static size_t put_fixed(const struct scsi_sense_data *s, uint8_t *out)
{
    bool fits = s->has_information && s->information <= UINT32_MAX;
    struct bytes_writer w = bytes_writer(out, SCSI_SENSE_SIZE);

    bytes_put_u8(&w, (uint8_t)((s->deferred ? DEFERRED_FIXED : CURRENT_FIXED) | (fits ? 0x80 : 0)));
    bytes_put_u8(&w, 0);
    bytes_put_u8(&w, s->code.key);
    bytes_put_u32(&w, fits ? (uint32_t)s->information : 0);
    bytes_put_u8(&w, SCSI_SENSE_SIZE - 8);
    bytes_put_u32(&w, 0);
    bytes_put_u8(&w, s->code.asc);
    bytes_put_u8(&w, s->code.ascq);
    bytes_put_u8(&w, 0);
    bytes_put(&w, s->specific, sizeof s->specific);
    return w.used;
}

/* Descriptor format, with the information and the sense-key-specific descriptor (4.5.2). */
static size_t put_descriptors(const struct scsi_sense_data *s, uint8_t *out)
{
    bool points = s->specific[0] & FIELD_VALID;
    struct bytes_writer w = bytes_writer(out, 8 + 12 + 8);

    bytes_put_u8(&w, s->deferred ? DEFERRED_DESCRIP : CURRENT_DESCRIP);
    bytes_put_u8(&w, s->code.key);
    bytes_put_u8(&w, s->code.asc);
    bytes_put_u8(&w, s->code.ascq);
    bytes_put_be(&w, 0, 3);
    bytes_put_u8(&w, (uint8_t)((s->has_information ? 12 : 0) + (points ? 8 : 0)));
    if (s->has_information) {
        bytes_put_be(&w, 0x000A8000, 4); /* type 0, 10 bytes more, VALID */
        bytes_put_u64(&w, s->information);
    }
    if (points) {
        bytes_put_be(&w, 0x02060000, 4); /* type 2, 6 bytes more */
        bytes_put(&w, s->specific, sizeof s->specific);
        bytes_put_u8(&w, 0);
    }
    return w.used;
}

/* REQUEST SENSE (SPC-4, 6.39): what the last command left, or else what is pending; both are told
 * once. The command itself is good. */
struct scsi_deed sense_request(struct scsi_drive *d, const uint8_t *cdb)
{
    struct scsi_sense_data s;

    if (d->sense.code.key == KEY_NO_SENSE && drive_has_news(d))
        drive_tell_news(d);
    s = d->sense;
    d->sense = (struct scsi_sense_data){0};
    return drive_reply(d, cdb[1] & 1 ? put_descriptors(&s, d->bytes) : put_fixed(&s, d->bytes),
                       cdb[4]);
}
