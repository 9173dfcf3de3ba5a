/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A USB device while it stands: its control endpoint and its functions, on the descriptors that the
 * helper gave. One function for each drive, or one for all, whose logical units they are then.
 */
#ifndef PLATTER_EXPORT_USB_FUNCTIONS_H
#define PLATTER_EXPORT_USB_FUNCTIONS_H

#include <stdbool.h>

struct loop;
struct scsi_drive;
struct usb_functions;
struct usb_journal;
struct usb_port;

/* None comes before usb_functions_new() has returned, and none after usb_functions_quiesce() or
 * usb_functions_close(). */
struct usb_functions_events {
    /* Once, unless `failed` came: the machine is served from here on. */
    void (*ready)(void *arg);
    /* The machine did something to a drive: SCSI_EVENT_ bits. */
    void (*drive_events)(void *arg, unsigned drive, unsigned events);
    /* -errno: the device cannot be served (any more). */
    void (*failed)(void *arg, int error);
};

struct usb_functions_config {
    struct loop *loop;
    const int *take_fds; /* ep0, then out and in of each function; taken also on failure */
    unsigned count;      /* functions: 1 or `drive_count` */
    struct scsi_drive *const *drives; /* these arrays must outlive it, and so the journal */
    struct usb_port *const *ports;
    unsigned drive_count;
    struct usb_journal *journal;
    bool adopted; /* it goes on where the journal says that an earlier process was */
    const struct usb_functions_events *events;
    void *arg;
};

/* 0 or -errno. */
int usb_functions_new(const struct usb_functions_config *config, struct usb_functions **out);

/*
 * Both call `done` once, possibly before they return. Quiesced: no command is in work, none is
 * taken, and the journal says how to go on. Closed: nothing is under way on the endpoints any more;
 * that comes of itself, for good, once the device is unbound.
 */
void usb_functions_quiesce(struct usb_functions *f, void (*done)(void *arg), void *arg);
void usb_functions_close(struct usb_functions *f, void (*done)(void *arg), void *arg);
/* Closed. NULL is allowed. */
void usb_functions_free(struct usb_functions *f);

#endif
