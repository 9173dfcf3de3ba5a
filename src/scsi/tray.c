/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the machine lets go of a medium: it locks the tray, pushes it out, pulls it in again.
 *
 * What the machine ejects is out of its reach at once, but not gone: until its owner takes it away
 * (scsi_drive_remove()), the machine may load it again. A locked medium is not ejected, only
 * removed.
 */
#include "scsi/drive-parts.h"

/* START STOP UNIT, byte 4 (SBC-3, 5.20). */
#define START_POWER 0xF0
#define START_QUICK 0x04 /* NO_FLUSH */
#define START_LOEJ  0x02
#define START_START 0x01

void drive_lock(struct scsi_drive *d, bool locked)
{
    if (locked != d->locked)
        d->events |= locked ? SCSI_EVENT_LOCKED : SCSI_EVENT_UNLOCKED;
    d->locked = locked;
}

void drive_unload(struct scsi_drive *d)
{
    d->loaded = false;
    d->attentions &= ~DRIVE_ATTENTION_MEDIUM;
    if (d->kind == MEDIUM_CD)
        optical_removed(d);
}

static struct scsi_deed check_locked(struct scsi_drive *d)
{
    return drive_check(d, KEY_ILLEGAL_REQUEST, 0x53, 0x02); /* MEDIUM REMOVAL PREVENTED */
}

static struct scsi_deed eject(struct scsi_drive *d)
{
    if (d->loaded) {
        drive_unload(d);
        d->ejected = true;
        d->events |= SCSI_EVENT_EJECTED;
    }
    if (d->kind == MEDIUM_CD)
        optical_tray(d, true);
    return drive_good(d);
}

/* Who loads it knows of it, and needs no unit attention (SAM-5, 5.14); but MMC hosts expect one. */
static struct scsi_deed load(struct scsi_drive *d)
{
    if (d->loaded)
        return drive_good(d);
    if (d->locked)
        return check_locked(d);
    if (d->kind == MEDIUM_CD)
        optical_tray(d, false);
    else if (!d->ejected)
        return drive_check_empty(d);
    if (d->ejected) {
        d->ejected = false;
        d->loaded = true;
        d->events |= SCSI_EVENT_LOADED;
        if (d->kind == MEDIUM_CD) {
            d->attentions |= DRIVE_ATTENTION_MEDIUM;
            optical_inserted(d);
        }
    }
    return drive_good(d);
}

/* START STOP UNIT. There is no motor, and no power condition: both are agreed to. */
struct scsi_deed tray_start_stop(struct scsi_drive *d, const uint8_t *cdb)
{
    bool start = cdb[4] & START_START;
    bool ejects = cdb[4] & START_LOEJ && !start;

    if (cdb[4] & START_POWER)
        return drive_good(d);
    if (start)
        return cdb[4] & START_LOEJ ? load(d) : drive_good(d);
    if (ejects && d->locked)
        return check_locked(d);
    if (d->loaded && d->writable && !(cdb[4] & START_QUICK)) {
        d->next = ejects ? eject : NULL;
        d->deed = (struct scsi_deed){.kind = SCSI_FLUSH};
        return d->deed;
    }
    return ejects ? eject(d) : drive_good(d);
}

/* PREVENT ALLOW MEDIUM REMOVAL (SPC-4, 6.18). */
struct scsi_deed tray_prevent_allow(struct scsi_drive *d, const uint8_t *cdb)
{
    drive_lock(d, cdb[4] & 1);
    return drive_good(d);
}
