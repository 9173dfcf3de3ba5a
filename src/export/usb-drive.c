// SPDX-License-Identifier: Apache-2.0
/*
 * A drive of a USB device, and the medium that comes and goes: between its owner (usb.c), the SCSI
 * machine (scsi/drive.h), its way to the engine (usb-port.h) and the journal.
 *
 * What always holds: the port has an engine exactly while the medium is LOADED or REMOVING. The
 * journal knows of every medium that goes in or out before the machine can; what the machine itself
 * does to a drive, its function writes down.
 */
#include "export/usb-device-parts.h"

#include <errno.h>
#include <stdio.h>

#include "base/loop.h"
#include "export/usb-journal.h"
#include "export/usb-port.h"

/* A medium that the machine has ejected goes for good after this time, in milliseconds: programs
 * eject and load in one breath, and a person who ejects is to see that it was heard. */
#define TRAY_OPEN 2000

static void note_drive(struct usb_drive *x)
{
    struct usb_journal_drive put = {.kind = x->scsi.kind, .owes = usb_port_owes(x->port)};

    if (!x->device->journal)
        return;
    put.length = scsi_drive_note(&x->scsi, put.note);
    usb_journal_put_drive(x->device->journal, x->number, &put);
}

void usb_drive_reset(struct usb_drive *x, enum medium_kind kind)
{
    const struct usb_drive_config *config = &x->config;
    struct scsi_identity identity = {.revision = "0100"};
    const char *product = config->product;

    if (product[0] == '\0')
        product = kind == MEDIUM_CD ? "Virtual CD" : "Virtual Disk";
    snprintf(identity.vendor, sizeof identity.vendor, "%s", config->vendor);
    snprintf(identity.product, sizeof identity.product, "%s", product);
    snprintf(identity.serial, sizeof identity.serial, "%s", config->serial);
    scsi_drive_init(&x->scsi, kind, &identity, config->write_back);
}

int usb_drive_restore(struct usb_drive *x)
{
    struct usb_journal_drive noted;
    int r;

    if (!usb_journal_get_drive(x->device->journal, x->number, &noted))
        return -EBADMSG;
    if (!x->config.any_kind && noted.kind != x->config.kind)
        return -ESTALE;
    usb_drive_reset(x, noted.kind);
    r = scsi_drive_resume(&x->scsi, noted.note, noted.length);
    /* What nobody has come for. */
    if (r == 0 && !(x->place == WAITING && x->adopts)) {
        scsi_drive_remove(&x->scsi);
        note_drive(x);
    } else if (r == 0 && noted.owes) {
        usb_port_lose(x->port);
    }
    return r;
}

/* Of the medium that is WAITING. Whether it is an adopted one's shows in the drive. */
static bool is_in(const struct usb_drive *x)
{
    return scsi_drive_is_loaded(&x->scsi) &&
           scsi_drive_size(&x->scsi) == medium_whole(x->scsi.kind, x->medium.size);
}

void usb_drive_load(struct usb_drive *x)
{
    bool ejected = x->adopts && !scsi_drive_is_loaded(&x->scsi);

    if (!ejected && !(x->adopts && is_in(x))) {
        scsi_drive_remove(&x->scsi);
        scsi_drive_insert(&x->scsi, x->medium.size, !x->medium.read_only);
    }
    usb_port_set_engine(x->port, x->engine);
    usb_port_set_link(x->port, x->link);
    x->place = LOADED;
    note_drive(x);
}

/* What the machine has ejected lies in the tray, from where it may load it again. */
static void watch_tray(struct usb_drive *x)
{
    if (scsi_drive_is_loaded(&x->scsi))
        loop_timer_stop(x->tray);
    else
        loop_timer_set(x->tray, TRAY_OPEN);
}

void usb_drive_close_tray(void *arg)
{
    struct usb_drive *x = arg;

    if (x->device->state == STANDING && x->place == LOADED)
        x->events->ejected(x->owner);
}

void usb_drive_tell_ready(struct usb_drive *x)
{
    x->events->ready(x->owner);
    watch_tray(x);
}

void usb_drive_tell(struct usb_drive *x, unsigned events)
{
    if (events & (SCSI_EVENT_EJECTED | SCSI_EVENT_LOADED))
        watch_tray(x);
    if (events & (SCSI_EVENT_LOCKED | SCSI_EVENT_UNLOCKED))
        x->events->locked(x->owner, scsi_drive_is_locked(&x->scsi));
}

void usb_drive_tell_out(struct usb_drive *x)
{
    x->place = EMPTY;
    x->events->out(x->owner, x->error, x->error ? x->device->reason : "");
}

static void port_dropped(void *arg)
{
    struct usb_drive *x = arg;

    x->place = LEAVING;
    loop_later_set(x->device->later);
}

void usb_drive_take_out(struct usb_drive *x, int error)
{
    if (x->place == WAITING) {
        x->error = error;
        x->place = LEAVING;
        loop_later_set(x->device->later);
    } else if (x->place == LOADED) {
        x->error = error;
        x->place = REMOVING;
        loop_timer_stop(x->tray);
        scsi_drive_remove(&x->scsi);
        note_drive(x);
        usb_port_drop_engine(x->port, port_dropped, x);
    }
}

void usb_drive_own(struct usb_device *d, unsigned n, const struct usb_drive_events *events,
                   void *owner)
{
    d->drives[n].events = events;
    d->drives[n].owner = owner;
}

const struct usb_drive_config *usb_drive_get_config(const struct usb_device *d, unsigned n)
{
    return &d->drives[n].config;
}

void usb_drive_insert(struct usb_device *d, unsigned n, const struct medium *medium,
                      struct engine *engine, bool adopts)
{
    struct usb_drive *x = &d->drives[n];

    x->medium = *medium;
    x->engine = engine;
    x->adopts = adopts;
    x->link = EXPORT_LINK_LIVE;
    x->error = 0;
    x->place = WAITING;
    loop_later_set(d->later);
}

void usb_drive_remove(struct usb_device *d, unsigned n)
{
    if (d->state != LEFT)
        usb_drive_take_out(&d->drives[n], 0);
}

void usb_drive_reload(struct usb_device *d, unsigned n)
{
    struct usb_drive *x = &d->drives[n];

    if (x->place != LOADED)
        return;
    scsi_drive_reload(&x->scsi);
    note_drive(x);
}

void usb_drive_set_link(struct usb_device *d, unsigned n, enum export_link link)
{
    struct usb_drive *x = &d->drives[n];

    x->link = link;
    if (x->place == LOADED)
        usb_port_set_link(x->port, link);
}

bool usb_drive_is_locked(const struct usb_device *d, unsigned n)
{
    const struct usb_drive *x = &d->drives[n];

    return x->place == LOADED && scsi_drive_is_locked(&x->scsi);
}

void usb_drive_request_eject(struct usb_device *d, unsigned n)
{
    if (d->drives[n].place == LOADED)
        scsi_drive_request_eject(&d->drives[n].scsi);
}
