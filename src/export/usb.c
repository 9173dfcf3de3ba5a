// SPDX-License-Identifier: Apache-2.0
/*
 * The export `usb`: platterd is itself the USB drive. This is one drive of a USB device
 * (usb-device.h), with which it shares the words of export.h; the device does the work.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "export/table.h"
#include "export/usb-device.h"

/*
 * No limit of the machine's: a command is answered within a few seconds with "becoming ready", and
 * asked again (scsi/cause.c). How long the machine asks is its own affair; Linux does for 180 s.
 */
#define GRACE_MAX 3600

/* Sectors of a CD are counted in 32 bits (MMC-6, READ CAPACITY). */
#define CD_SIZE_MAX (UINT64_C(0xffffffff) * 2048)

struct usb_export {
    struct export export;
    struct usb_device *device;
    unsigned drive;
};

static struct usb_export *of(const struct export *e)
{
    return (struct usb_export *)(void *)e;
}

static int usb_check(const struct export *e, const struct medium *medium, char *reason, size_t room)
{
    const struct usb_drive_config *drive = usb_drive_get_config(of(e)->device, of(e)->drive);
    uint32_t sector = medium_sector(medium->kind);

    if (room > 0)
        reason[0] = '\0';
    if (!drive->any_kind && medium->kind != drive->kind) {
        snprintf(reason, room, "This drive is a %s: choose %s instead.",
                 drive->kind == MEDIUM_CD ? "CD drive" : "disk drive",
                 drive->kind == MEDIUM_CD ? "CD" : "Disk");
        return -EMEDIUMTYPE;
    }
    if (medium->size < sector) {
        snprintf(reason, room, "The image is smaller than one sector (%u bytes): nothing to show.",
                 sector);
        return -EINVAL;
    }
    if (medium->kind == MEDIUM_CD && medium->size > CD_SIZE_MAX) {
        snprintf(reason, room, "A CD has 8 TiB at most and this image more: choose Disk instead.");
        return -EFBIG;
    }
    return 0;
}

static void on_ready(void *owner)
{
    struct usb_export *u = owner;

    u->export.events->started(u->export.owner);
}

static void on_ejected(void *owner)
{
    struct usb_export *u = owner;

    u->export.events->ejected(u->export.owner);
}

static void on_locked(void *owner, bool locked)
{
    struct usb_export *u = owner;

    u->export.events->locked(u->export.owner, locked);
}

static void on_out(void *owner, int error, const char *reason)
{
    struct usb_export *u = owner;

    u->export.events->stopped(u->export.owner, error, reason);
}

static const struct usb_drive_events drive_events = {
    .ready = on_ready,
    .ejected = on_ejected,
    .locked = on_locked,
    .out = on_out,
};

static int usb_new(const struct export_config *config, struct export **out)
{
    struct usb_export *u;

    if (!config->usb_device)
        return -EINVAL;
    u = calloc(1, sizeof *u);
    if (!u)
        return -ENOMEM;
    u->export.ops = &export_usb;
    u->device = config->usb_device;
    u->drive = config->usb_drive;
    usb_drive_own(u->device, u->drive, &drive_events, u);
    *out = &u->export;
    return 0;
}

static void usb_free(struct export *e)
{
    free(of(e));
}

static void usb_start(struct export *e, const struct medium *medium, struct engine *engine)
{
    usb_drive_insert(of(e)->device, of(e)->drive, medium, engine, false);
}

static void usb_adopt(struct export *e, const struct medium *medium, struct engine *engine)
{
    usb_drive_insert(of(e)->device, of(e)->drive, medium, engine, true);
}

static void usb_reload(struct export *e)
{
    usb_drive_reload(of(e)->device, of(e)->drive);
}

static void usb_link(struct export *e, enum export_link link)
{
    usb_drive_set_link(of(e)->device, of(e)->drive, link);
}

static bool usb_is_locked(const struct export *e)
{
    return usb_drive_is_locked(of(e)->device, of(e)->drive);
}

static void usb_request_eject(struct export *e)
{
    usb_drive_request_eject(of(e)->device, of(e)->drive);
}

/* Nothing is read on the way out, so it makes no difference whether the far end answers. */
static void usb_stop(struct export *e, bool link_alive)
{
    (void)link_alive;
    usb_drive_remove(of(e)->device, of(e)->drive);
}

static void usb_describe(const struct export *e, char *out, size_t room)
{
    (void)e;
    if (room > 0)
        out[0] = '\0';
}

const struct export_ops export_usb = {
    .name = "usb",
    .check = usb_check,
    .new = usb_new,
    .grace_max = GRACE_MAX,
    .start = usb_start,
    .adopt = usb_adopt,
    .reload = usb_reload,
    .link = usb_link,
    .is_locked = usb_is_locked,
    .request_eject = usb_request_eject,
    .stop = usb_stop,
    .describe = usb_describe,
    .free = usb_free,
};
