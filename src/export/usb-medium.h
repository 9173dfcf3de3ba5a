/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One deed of a drive with its medium (BOT_MEDIUM of scsi/bot.h), done through the drive's port and
 * over the function's endpoints, both pipelined: while data is on the bus, the next is asked of the
 * engine; while the machine sends, what it has sent is written.
 */
#ifndef PLATTER_EXPORT_USB_MEDIUM_H
#define PLATTER_EXPORT_USB_MEDIUM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "scsi/cause.h"
#include "scsi/drive.h"

struct usb_pipe;
struct usb_port;

/* One transfer to the machine is so long at most, in bytes. */
#define USB_MEDIUM_SEND (32u << 10)

struct usb_medium {
    struct usb_port *port;
    struct usb_pipe *pipe;
    struct scsi_deed deed; /* its memory stays the drive's, until it is over */
    bool active;
    bool over; /* nothing of it is under way any more; `cause` and `moved` stand */
    enum scsi_cause cause;
    uint64_t moved;   /* bytes over the bus; CHECK: bytes read well */
    unsigned answers; /* of the engine so far */
    bool later; /* it goes on when it is stepped again in a moment: it has done much by now, or
                   the kernel was short of memory */

    struct list asks; /* struct usb_ask, in order */
    uint32_t sent;    /* READ: of the first ask, bytes */
    uint64_t asked;   /* bytes of the range (TRIM: the present one) that were asked for */
    unsigned range;   /* TRIM: the present one */
    uint64_t called;  /* WRITE, COMPARE: bytes for which the endpoint was called */
    bool ended;       /* WRITE, COMPARE: the machine has sent all it will */
};

/* Nothing of an earlier one may be active. */
void usb_medium_begin(struct usb_medium *m, struct usb_port *port, struct usb_pipe *pipe,
                      const struct scsi_deed *deed);
/* Goes on as far as it can now: to be called when something was answered, sent or received. */
void usb_medium_step(struct usb_medium *m);
/* Whether it waits for nothing but the far end. */
bool usb_medium_waits(const struct usb_medium *m);
/* Ends it for this cause as soon as the bus allows: what the machine is sending is received still.
 * What was asked of the engine is left behind. */
void usb_medium_give_up(struct usb_medium *m, enum scsi_cause cause);
/* Ends it now, for the bus was reset: whatever is on the endpoints is the caller's to take back. */
void usb_medium_drop(struct usb_medium *m);

#endif
