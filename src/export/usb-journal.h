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
#include <stdint.h>

#include "base/medium.h"

#define USB_JOURNAL_DRIVES_MAX 16

struct usb_journal;

/* What is known of a drive, beside the configuration. */
struct usb_journal_drive {
    enum medium_kind kind;
    bool loaded;
    bool writable;
    bool locked;   /* by the machine */
    uint64_t size; /* bytes; of the medium, when loaded */
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

void usb_journal_put_drive(struct usb_journal *j, unsigned drive,
                           const struct usb_journal_drive *put);
/* false: nothing that makes sense is written there. */
bool usb_journal_get_drive(const struct usb_journal *j, unsigned drive,
                           struct usb_journal_drive *out);

#endif
