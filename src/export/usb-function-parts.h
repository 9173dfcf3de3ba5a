/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of a function share, and nobody else includes: usb-function.c does what the
 * machine says, usb-resume.c goes on where an earlier process has stopped. */
#ifndef PLATTER_EXPORT_USB_FUNCTION_PARTS_H
#define PLATTER_EXPORT_USB_FUNCTION_PARTS_H

#include "export/usb-function.h"
#include "export/usb-journal.h"
#include "export/usb-medium.h"
#include "export/usb-pipe.h"
#include "scsi/bot.h"

struct loop_timer;

/* How far the command of an earlier process is answered. */
enum usb_resume {
    USB_RESUME_NONE,   /* there is none */
    USB_RESUME_LISTEN, /* perhaps the machine has had its answer, and says so with a new command */
    USB_RESUME_ANSWER, /* its answer can be fetched */
};

enum usb_end { USB_END_NONE, USB_END_QUIESCE, USB_END_CLOSE };

struct usb_function {
    struct usb_function_config config;
    struct scsi_drive *drives[BOT_LUNS_MAX];
    struct usb_port *ports[BOT_LUNS_MAX];
    struct bot bot;
    struct usb_pipe pipe;
    struct usb_medium medium;
    struct usb_note note; /* as the journal has it */
    bool running;         /* enabled, and nothing of before is left on the endpoints */
    bool begun;           /* what the machine says now */
    bool answered;        /* a status is on its way, or has been fetched just now */
    bool later;           /* it goes on in a moment, by itself */
    bool looks;           /* `soon` runs to see whether a status has been fetched */

    struct loop_timer *hold;  /* until the machine is told to ask again */
    struct loop_timer *limit; /* the same, counted from the command's beginning */
    struct loop_timer *soon;  /* `later` */
    bool holding;
    unsigned held_answers; /* of the medium, when `hold` was set */
    bool is_late;          /* `limit` has rung */

    enum usb_resume resume;
    struct loop_timer *patience; /* of `resume` */
    bool out_of_patience;
    bool halted; /* bulk-in, for `resume`, and perhaps the host does not know yet */

    bool busy, again; /* the pump runs; it has to look again */
    enum usb_end end;
    void (*ended)(void *arg);
    void *ended_arg;
};

/* Does all that can be done now. It may be freed then. */
void usb_function_pump(struct usb_function *f);
/* What was heard last has been dealt with, as the note says. */
void usb_function_forget(struct usb_function *f, struct usb_note *note);
/* Writes the note down, if it has changed. */
void usb_function_note(struct usb_function *f, const struct usb_note *note);

/* What the answer of an earlier process's command still needs; true: something has changed. To be
 * called while `resume` is not NONE, before the machine's own deed is done. */
bool usb_resume_step(struct usb_function *f);
/* The machine's own deed has to wait for it. */
bool usb_resume_holds(const struct usb_function *f);

#endif
