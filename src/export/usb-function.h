/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One USB mass-storage function: a Bulk-Only machine (scsi/bot.h) on a pair of endpoints, with its
 * drives as logical units. It does what the machine says, with transfers (usb-aio.h) and through
 * the drives' ports (usb-port.h), and keeps in the journal (usb-journal.h) what a next process must
 * know to go on.
 *
 * Life: made; either resumed, where an earlier process left it standing, or not; then enabled and
 * disabled as the bus says; closed; freed. Nothing here blocks.
 */
#ifndef PLATTER_EXPORT_USB_FUNCTION_H
#define PLATTER_EXPORT_USB_FUNCTION_H

#include <stdbool.h>

struct loop;
struct scsi_drive;
struct usb_aio;
struct usb_function;
struct usb_journal;
struct usb_port;

/* How many transfers one function has under way at most: its part of usb_aio_new()'s depth. */
#define USB_FUNCTION_DEPTH 32

struct usb_function_config {
    struct loop *loop;
    struct usb_aio *aio;
    int out_fd, in_fd; /* O_NONBLOCK; stay the device's, until usb_function_close() is done */
    struct scsi_drive *const *drives; /* its logical units; the array is copied */
    struct usb_port *const *ports;    /* of each; copied */
    unsigned count;                   /* 1 to BOT_LUNS_MAX */
    struct usb_journal *journal;
    unsigned index;       /* of the function in the journal */
    unsigned first_drive; /* in the journal: the number of drives[0] there */
    /* The machine did something to drive number `drive` of this function: SCSI_EVENT_ bits. Called
     * when the command is over that did it; the function may not be freed from inside. */
    void (*drive_events)(void *arg, unsigned drive, unsigned events);
    void *arg;
};

/* Disabled; the journal stays as it is until the first of the calls below. 0 or -errno. */
int usb_function_new(const struct usb_function_config *config, struct usb_function **out);
/*
 * Right after usb_function_new() of a function that an earlier process left: goes on where the
 * journal says that it was, enabled if it was. The machine's command that was in work then is
 * answered with SCSI_INTERRUPTED; one that had not been begun is
 * done.
 */
void usb_function_resume(struct usb_function *f);

/* The bus's words: FUNCTIONFS_ENABLE (`packet`: the endpoints' wMaxPacketSize, 64, 512 or 1024; one
 * that comes while enabled stands for the DISABLE before it, which FunctionFS drops) and
 * FUNCTIONFS_DISABLE, and so UNBIND. */
void usb_function_enable(struct usb_function *f, unsigned packet);
void usb_function_disable(struct usb_function *f);
/* BULK-ONLY MASS STORAGE RESET: to be called before the control request is acknowledged. When it
 * returns, nothing of before is left on the endpoints. */
void usb_function_reset(struct usb_function *f);

/*
 * For an orderly end of the process, after which another one resumes: the command in work is
 * finished, no other is begun, and `done` is called once, possibly before this returns, when the
 * journal says all and acknowledged writes have been done. Only free it then, also from inside
 * `done`, but not its ports from there. It takes as long as the host takes to fetch what it is
 * sent.
 */
void usb_function_quiesce(struct usb_function *f, void (*done)(void *arg), void *arg);
/*
 * For good: drops what is in work. `done` is called once, possibly before this returns, when
 * nothing of it is under way on the endpoints; only free it then. The ports' requests go on.
 */
void usb_function_close(struct usb_function *f, void (*done)(void *arg), void *arg);
/* NULL is allowed. */
void usb_function_free(struct usb_function *f);

#endif
