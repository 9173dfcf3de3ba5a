/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One USB device of 1 to 16 drives, each of which is the export of a slot (usb.c): it is plugged
 * in when a drive needs it, or always, and the drives get and lose their media while it stands.
 *
 * Nothing here blocks, and no event comes from inside a call.
 */
#ifndef PLATTER_EXPORT_USB_DEVICE_H
#define PLATTER_EXPORT_USB_DEVICE_H

#include <stdbool.h>

#include "base/medium.h"
#include "export/export.h"

#define USB_DEVICE_DRIVES_MAX 16

struct loop;
struct priv;
struct usb_device;

/* What a drive is, whatever is in it. Strings are printable ASCII. */
struct usb_drive_config {
    bool any_kind;         /* it becomes what its medium is: only of a device with one drive, which
                              is not plugged in always. Else: */
    enum medium_kind kind; /* what it is for good */
    bool write_back;       /* else a write is acknowledged when the far end has it */
    char vendor[9], product[17], serial[33]; /* product "": by its kind */
};

struct usb_device_config {
    struct loop *loop;
    struct priv *priv; /* the helper */
    unsigned slot;     /* the lowest of its drives' */
    bool always;       /* plugged in as long as this exists, not only with a medium in a drive */
    unsigned drive_count;
    const struct usb_drive_config *drives; /* copied */
};

/* A drive that is always there appears on the loop's next turn. 0 or -errno. */
int usb_device_new(const struct usb_device_config *config, struct usb_device **out);
/* Stopped, or never used. NULL is allowed. */
void usb_device_free(struct usb_device *d);

/* For good: it goes, when all media are out. `done` is called once, when nothing is left of it in
 * the system, on the loop's next turn at the earliest. */
void usb_device_stop(struct usb_device *d, void (*done)(void *arg), void *arg);
/*
 * For an end of this process that leaves the device standing for the next one: it is brought to a
 * point at which nothing is in work. `done` is called once, possibly before this returns; from here
 * on the device does nothing more, not even events, and it is not freed.
 */
void usb_device_leave(struct usb_device *d, void (*done)(void *arg), void *arg);

struct usb_drive_events {
    void (*ready)(void *owner);   /* the machine has the drive, with the medium in it */
    void (*ejected)(void *owner); /* by the machine */
    void (*locked)(void *owner, bool locked);
    /* Once for each usb_drive_insert(): the medium is out, the engine is used no more, and the
     * device gone where it goes with its last medium. error 0: as asked. */
    void (*out)(void *owner, int error, const char *reason);
};

/* Whose drive number `n` is. */
void usb_drive_own(struct usb_device *d, unsigned n, const struct usb_drive_events *events,
                   void *owner);
const struct usb_drive_config *usb_drive_get_config(const struct usb_device *d, unsigned n);

/* Into a drive that is empty. `adopts`: an earlier process had put it there, and left it to this
 * one: then `out` comes if that is not so. */
void usb_drive_insert(struct usb_device *d, unsigned n, const struct medium *medium,
                      struct engine *engine, bool adopts);
/* `out` follows, if there is a medium. */
void usb_drive_remove(struct usb_device *d, unsigned n);
void usb_drive_reload(struct usb_device *d, unsigned n);
/* How it stands with the far end; LIVE from an insertion on. */
void usb_drive_set_link(struct usb_device *d, unsigned n, enum export_link link);
bool usb_drive_is_locked(const struct usb_device *d, unsigned n);
void usb_drive_request_eject(struct usb_device *d, unsigned n);

#endif
