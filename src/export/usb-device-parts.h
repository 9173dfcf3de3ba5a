/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a USB device, for usb-device.c (the device, and its helper) and usb-drive.c (its
 * drives, and their media) alone.
 */
#ifndef PLATTER_EXPORT_USB_DEVICE_PARTS_H
#define PLATTER_EXPORT_USB_DEVICE_PARTS_H

#include "export/usb-device.h"
#include "priv/priv.h"
#include "scsi/drive.h"

struct loop_later;
struct loop_timer;
struct usb_functions;
struct usb_journal;
struct usb_port;

enum usb_device_state {
    GONE,      /* nothing stands */
    RESTING,   /* nothing stands, after a failure: the next attempt is a while away */
    ADOPTING,  /* the helper is asked for what an earlier process left */
    ATTACHING, /* the helper is asked to make one */
    OPENING,   /* it stands; its control endpoint has not caught up yet */
    STANDING,  /* and is served */
    DETACHING, /* the helper is asked to take it away, and what we have of it is closed */
    LEFT,      /* to the next process */
};

enum usb_drive_place {
    EMPTY,
    WAITING,  /* a medium is given, and not in the drive yet */
    LOADED,   /* in the drive; its owner knows if the device is STANDING */
    REMOVING, /* out, for the machine; the engine still has requests of it */
    LEAVING,  /* out; to be told */
};

struct usb_drive {
    struct usb_device *device;
    unsigned number;
    struct usb_drive_config config;
    const struct usb_drive_events *events;
    void *owner;
    struct scsi_drive scsi;
    struct usb_port *port;
    struct loop_timer *tray; /* runs while the machine has ejected the medium that is LOADED */
    enum usb_drive_place place;
    /* Of the medium that is not EMPTY: */
    bool adopts;
    enum export_link link;
    struct medium medium;
    struct engine *engine;
    int error; /* why it goes, unless it was asked to */
};

struct usb_device {
    struct usb_device_config config;
    struct loop_later *later; /* goes on with what follows from what has happened */
    struct loop_timer *timer; /* of a rest */
    struct priv_watch watch;
    enum usb_device_state state;
    bool untried;  /* nobody has looked yet what an earlier process left */
    bool failed;   /* what stands, or stood last, did not end as asked; then `reason` says why */
    bool asked;    /* the helper, to attach or adopt, and not answered yet */
    bool detaches; /* the helper */
    bool closes;   /* the functions */
    bool stops;    /* for good */
    unsigned rest; /* milliseconds: the next one */
    char reason[256];
    struct usb_functions *functions;
    struct usb_journal *journal;
    void (*stopped)(void *arg);
    void *stopped_arg;
    struct scsi_drive *scsi[USB_DEVICE_DRIVES_MAX];
    struct usb_port *ports[USB_DEVICE_DRIVES_MAX];
    struct usb_drive drives[];
};

#define for_each_drive(x, d)                                                                       \
    for (struct usb_drive *x = (d)->drives; x < (d)->drives + (d)->config.drive_count; x++)

/* As it is when the machine first meets it: empty, and of this kind. */
void usb_drive_reset(struct usb_drive *x, enum medium_kind kind);
/* As the journal has it. 0 or -errno: then it is not to be used. */
int usb_drive_restore(struct usb_drive *x);
/* The medium that is WAITING goes in. */
void usb_drive_load(struct usb_drive *x);
/* Tells that the medium that is LOADED is served. */
void usb_drive_tell_ready(struct usb_drive *x);
/* What the machine has done to the drive whose medium is LOADED: SCSI_EVENT_ bits. */
void usb_drive_tell(struct usb_drive *x, unsigned events);
/* Of the timer `tray`; takes the drive. */
void usb_drive_close_tray(void *arg);
/* The medium, wherever it is, goes; error 0: as asked. */
void usb_drive_take_out(struct usb_drive *x, int error);
/* Tells that the medium that is LEAVING is out. */
void usb_drive_tell_out(struct usb_drive *x);

#endif
