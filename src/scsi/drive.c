/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A drive's life, and the way of a command through it: found in the tables of its kind, held
 * against what is pending and missing, run, its deeds done one after another, its end.
 *
 * What always holds: `bytes` and `ranges` belong to the deed that was given out last. A command
 * that ends with CHECK CONDITION leaves its sense in `sense`, where it stays until REQUEST SENSE
 * has taken it or another command comes (SPC-4, 6.39). What is checked comes in this order: unit
 * attention, an error of an earlier write, the CDB, the medium, its write protection, and then
 * whatever the command itself finds.
 */
#include "scsi/drive.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "scsi/drive-parts.h"

#define REQUEST_SENSE 0x03

void scsi_drive_init(struct scsi_drive *d, enum medium_kind kind,
                     const struct scsi_identity *identity, bool write_back)
{
    memset(d, 0, sizeof *d);
    d->kind = kind;
    d->identity = *identity;
    d->write_back = write_back;
    d->block_size = medium_sector(kind);
    d->units = 1;
    scsi_drive_reset(d);
}

static void drop_command(struct scsi_drive *d)
{
    d->deed = (struct scsi_deed){.kind = SCSI_DONE, .status = SCSI_GOOD};
    d->next = NULL;
    d->needs = 0;
}

void scsi_drive_reset(struct scsi_drive *d)
{
    drop_command(d);
    drive_lock(d, false);
    d->caching = d->write_back;
    d->protected = false;
    d->sense = (struct scsi_sense_data){0};
    d->attentions |= DRIVE_ATTENTION_RESET;
}

void scsi_drive_insert(struct scsi_drive *d, uint64_t size, bool writable)
{
    d->changed = true;
    d->blocks = size / d->block_size;
    d->loaded = d->blocks > 0;
    d->ejected = false;
    d->writable = writable && d->kind == MEDIUM_DISK;
    if (!d->loaded)
        return;
    if (d->used)
        d->attentions |= DRIVE_ATTENTION_MEDIUM;
    if (d->kind == MEDIUM_CD)
        optical_inserted(d);
}

void scsi_drive_remove(struct scsi_drive *d)
{
    if (d->loaded) {
        drive_unload(d);
        drive_lock(d, false);
    }
    d->changed = true;
    d->ejected = false;
    d->blocks = 0;
    d->writable = false;
}

bool scsi_drive_is_loaded(const struct scsi_drive *d)
{
    return d->loaded;
}

uint64_t scsi_drive_size(const struct scsi_drive *d)
{
    return d->loaded ? d->blocks * d->block_size : 0;
}

bool scsi_drive_is_locked(const struct scsi_drive *d)
{
    return d->locked;
}

void scsi_drive_request_eject(struct scsi_drive *d)
{
    if (d->kind == MEDIUM_CD)
        optical_eject_wished(d);
}

void scsi_drive_defer(struct scsi_drive *d, enum scsi_cause cause)
{
    d->deferred = cause;
}

void scsi_drive_reload(struct scsi_drive *d)
{
    if (d->loaded && !d->locked)
        d->attentions |= DRIVE_ATTENTION_MEDIUM;
}

unsigned scsi_drive_take_events(struct scsi_drive *d)
{
    unsigned events = d->events;

    d->events = 0;
    return events;
}

/* The first bit of the CDB that means nothing here is at fault. */
static bool has_stray_bit(struct scsi_drive *d, const struct scsi_command *command)
{
    for (unsigned i = 1; i < command->length; i++) {
        unsigned stray = d->cdb[i] & ~(unsigned)command->usage[i];

        if (i == 1 && command->service != COMMAND_NO_SERVICE)
            stray &= 0xE0;
        for (unsigned bit = 8; bit-- > 0;) {
            if (stray & 1u << bit) {
                drive_bad_cdb(d, i, bit);
                return true;
            }
        }
    }
    return false;
}

/* Whether something stands in the way of a command; then d->deed says what. */
static bool is_barred(struct scsi_drive *d, const struct scsi_command *command, bool known)
{
    if (!(command && command->needs & COMMAND_CALM) && drive_has_news(d))
        drive_tell_news(d);
    else if (!command && known)
        drive_bad_cdb(d, 1, 4);
    else if (!command)
        drive_check(d, KEY_ILLEGAL_REQUEST, 0x20, 0x00); /* INVALID COMMAND OPERATION CODE */
    else if (has_stray_bit(d, command))
        return true;
    else if (command->needs & COMMAND_MEDIUM && !d->loaded)
        drive_check_empty(d);
    else if (command->needs & COMMAND_WRITABLE && (!d->writable || d->protected))
        drive_check(d, KEY_DATA_PROTECT, 0x27, 0x00); /* WRITE PROTECTED */
    else
        return false;
    return true;
}

struct scsi_deed scsi_drive_execute(struct scsi_drive *d, const uint8_t *cdb, size_t length)
{
    bool known = false;
    const struct scsi_command *command;

    memset(d->cdb, 0, sizeof d->cdb);
    memcpy(d->cdb, cdb, length < sizeof d->cdb ? length : sizeof d->cdb);
    drop_command(d);
    d->used = true;
    if (d->cdb[0] != REQUEST_SENSE)
        d->sense = (struct scsi_sense_data){0};
    command = drive_find_command(d, d->cdb[0], d->cdb[1] & 0x1F, &known);
    if (is_barred(d, command, known))
        return d->deed;
    d->needs = command->needs;
    d->changed = false;
    return command->run(d, d->cdb);
}

struct scsi_deed scsi_drive_done(struct scsi_drive *d, enum scsi_cause cause, uint64_t moved)
{
    struct scsi_deed (*next)(struct scsi_drive * d) = d->next;

    d->next = NULL;
    if (d->needs & COMMAND_MEDIUM && d->changed) {
        if (!d->loaded)
            return drive_check_empty(d);
        drive_tell_news(d);
        return d->deed;
    }
    if (cause != SCSI_FINE)
        return drive_fail(d, cause, moved);
    if (d->deed.kind == SCSI_PARAMETERS && moved < d->deed.length)
        return drive_check(d, KEY_ILLEGAL_REQUEST, 0x1A, 0x00); /* PARAMETER LIST LENGTH ERROR */
    if ((d->deed.kind == SCSI_WRITE || d->deed.kind == SCSI_COMPARE) && moved < d->deed.length)
        return drive_check(d, KEY_ABORTED_COMMAND, 0x4B, 0x00); /* DATA PHASE ERROR */
    return next ? next(d) : drive_good(d);
}

struct scsi_deed drive_good(struct scsi_drive *d)
{
    d->deed = (struct scsi_deed){.kind = SCSI_DONE, .status = SCSI_GOOD};
    return d->deed;
}

struct scsi_deed drive_reply(struct scsi_drive *d, size_t length, uint64_t allocation)
{
    d->deed = (struct scsi_deed){
        .kind = SCSI_REPLY,
        .data = d->bytes,
        .length = length < allocation ? length : allocation,
    };
    return d->deed;
}

struct scsi_deed drive_receive(struct scsi_drive *d, uint64_t length,
                               struct scsi_deed (*next)(struct scsi_drive *d))
{
    if (length == 0)
        return drive_good(d);
    if (length > SCSI_PARAMETERS_MAX)
        return drive_check(d, KEY_ILLEGAL_REQUEST, 0x1A, 0x00); /* PARAMETER LIST LENGTH ERROR */
    d->next = next;
    d->deed = (struct scsi_deed){.kind = SCSI_PARAMETERS, .into = d->bytes, .length = length};
    return d->deed;
}

bool drive_range(struct scsi_drive *d, uint64_t lba, uint64_t count, struct scsi_deed *out)
{
    if (lba <= d->blocks && count <= d->blocks - lba)
        return true;
    /* LOGICAL BLOCK ADDRESS OUT OF RANGE */
    *out = drive_check(d, KEY_ILLEGAL_REQUEST, 0x21, 0x00);
    return false;
}

struct scsi_deed drive_blocks(struct scsi_drive *d, enum scsi_deed_kind kind, uint64_t lba,
                              uint64_t count)
{
    d->deed = (struct scsi_deed){
        .kind = kind,
        .offset = lba * d->block_size,
        .length = count * d->block_size,
        .block_length = d->block_size,
    };
    return d->deed;
}
