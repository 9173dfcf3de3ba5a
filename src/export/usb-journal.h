/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What outlives the process of a USB device: a few pages of shared memory, which the helper keeps
 * beside the endpoints and gives to the next process. One for each USB device.
 *
 * Every change is one store that makes a prepared record valid, so a process killed at any point
 * leaves a journal that can be read. What is read is checked wholly all the same.
 */
#ifndef PLATTER_EXPORT_USB_JOURNAL_H
#define PLATTER_EXPORT_USB_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/medium.h"
#include "scsi/bot.h"

#define USB_JOURNAL_DRIVES_MAX 16

struct usb_journal;

/* A drive, for scsi_drive_resume(). */
struct usb_journal_drive {
    enum medium_kind kind;
    uint8_t note[SCSI_NOTE_MAX];
    size_t length;
    bool owes; /* usb_port_owes(): lost with the process, if it dies now */
};

#define USB_JOURNAL_COMMAND 1024 /* one packet, the longest there is */

/* Where a function stands between two commands of the machine. */
enum usb_stage {
    USB_STAGE_IDLE,   /* the last command's status has been fetched */
    USB_STAGE_WORK,   /* a command is in work, or its data are on their way */
    USB_STAGE_STATUS, /* its data are through, and its status can be fetched */
};

struct usb_note {
    unsigned packet; /* 0: not enabled; or the endpoints' packet size */
    enum usb_stage stage;
    uint8_t place; /* 0 or 1: where the command after this one is heard */
    bool out;      /* the command in work brings data */
    uint8_t note_length;
    uint8_t note[BOT_NOTE_MAX];     /* WORK: bot_note() */
    uint8_t status[BOT_CSW_LENGTH]; /* STATUS */
};

/* A new one, for 1 to USB_JOURNAL_DRIVES_MAX drives, all empty. 0 or -errno. */
int usb_journal_new(unsigned drives, struct usb_journal **out);
/* One that an earlier process made, of so many drives. -EBADMSG: it is not; -EPROTO: of another
 * version. Takes the descriptor also when it fails. */
int usb_journal_open(int take_fd, unsigned drives, struct usb_journal **out);
/* NULL is allowed. Its memory lives on with any other descriptor of it. */
void usb_journal_free(struct usb_journal *j);
/* To be given to the helper; stays the journal's. */
int usb_journal_fd(const struct usb_journal *j);

/* Whoever puts a medium into a drive, or takes one out, writes it down; what the machine does to
 * the drive, its function does. */
void usb_journal_put_drive(struct usb_journal *j, unsigned drive,
                           const struct usb_journal_drive *put);
/* False: nothing, or nothing that makes sense, is written there. */
bool usb_journal_get_drive(const struct usb_journal *j, unsigned drive,
                           struct usb_journal_drive *out);

/* For functions: there is a place for each drive, as there may be a function for each. */
void usb_journal_put_note(struct usb_journal *j, unsigned function, const struct usb_note *put);
bool usb_journal_get_note(const struct usb_journal *j, unsigned function, struct usb_note *out);
/* Where command blocks are heard (usb-ear.h), place 0 or 1: USB_JOURNAL_COMMAND bytes of the shared
 * memory, zeroes in a new journal. */
uint8_t *usb_journal_command(struct usb_journal *j, unsigned function, unsigned place);

#endif
