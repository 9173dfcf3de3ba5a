/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What platterd and platter-helper say to each other: one message a packet of a SEQPACKET socket.
 *
 * Every message has a fixed length that its type decides, and one canonical form: a decoded message
 * encodes to the same bytes again. There are slot numbers, kinds and sizes in it, never a path and
 * never text that anybody acts upon; the one text is a sentence for people, printable ASCII.
 * docs/privileges.md shows the layout as a table. Pure.
 */
#ifndef PLATTER_PROTO_PRIVMSG_H
#define PLATTER_PROTO_PRIVMSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/medium.h"

#define PRIVMSG_VERSION    3
#define PRIVMSG_SLOTS_MAX  16
#define PRIVMSG_DRIVES_MAX 16
/* A pair of endpoints for each function, and USB numbers endpoints from 1 to 15. */
#define PRIVMSG_FUNCTIONS_MAX 15
#define PRIVMSG_REASON_MAX    222 /* bytes of a reason, without its end */
#define PRIVMSG_SIZE_MAX      240 /* the longest message */
#define PRIVMSG_NO_DEVICE     UINT32_MAX

enum privmsg_type {
    PRIVMSG_ATTACH = 1, /* to the helper, with one descriptor: the kernel's end of a socketpair */
    PRIVMSG_DETACH = 2, /* to the helper */
    PRIVMSG_REPLY = 3,  /* from the helper: the end of the request with the same id */
    PRIVMSG_GONE = 4,   /* from the helper: the slot's drive is gone without having been asked */
    PRIVMSG_ADOPT = 5,  /* to the helper, as ATTACH: of the drive that an earlier platterd left */
    PRIVMSG_RELOAD = 6, /* to the helper: the machine is to look at its medium anew */
    /* to the helper, with one descriptor, the journal: a memfd that it keeps and never looks into
     */
    PRIVMSG_USB_ATTACH = 7,
    /* to the helper: the USB device that an earlier platterd left is to be this one's */
    PRIVMSG_USB_ADOPT = 8,
};

/*
 * The descriptors that come with a REPLY of `functions`: ep0, then the out and the in endpoint of
 * each function; last, in answer to a USB_ADOPT, the journal.
 */
#define PRIVMSG_FDS(functions) (1 + 2 * (functions))
#define PRIVMSG_FDS_MAX        (PRIVMSG_FDS(PRIVMSG_FUNCTIONS_MAX) + 1)

struct privmsg {
    enum privmsg_type type;
    unsigned slot; /* below PRIVMSG_SLOTS_MAX; of a USB device, the lowest of its drives' slots */
    uint32_t id;   /* the requester's; 0 in GONE */
    /* ATTACH and ADOPT */
    enum medium_kind kind;
    bool read_only;
    uint64_t size; /* bytes; at least 1 */
    /* USB_ATTACH and USB_ADOPT */
    unsigned drives; /* of the USB device: 1 to PRIVMSG_DRIVES_MAX */
    /* DETACH */
    bool link_alive;
    /* REPLY and GONE */
    int error;          /* 0 or -errno, no lower than -4095 */
    uint32_t device;    /* the nbd device's number, of an attach or adopt that succeeded; else
                           PRIVMSG_NO_DEVICE */
    unsigned functions; /* REPLY only: of a USB_ATTACH or USB_ADOPT that succeeded, 1 to
                           PRIVMSG_FUNCTIONS_MAX: one for each drive, or one whose logical units
                           the drives are; else 0 */
    char reason[PRIVMSG_REASON_MAX + 1];
};

/* Puts `text` into the message as its reason: cut to fit, bytes that are not printable ASCII as
 * '?'. */
void privmsg_set_reason(struct privmsg *m, const char *text);

/* Returns the length; 0 when the message cannot be said (a slot, type or error out of range). */
size_t privmsg_encode(const struct privmsg *m, uint8_t out[PRIVMSG_SIZE_MAX]);

/* 0, -EPROTONOSUPPORT (another version), or -EBADMSG (anything else that is not a message). */
int privmsg_decode(const void *data, size_t length, struct privmsg *out);

#endif
