/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The unprivileged side of the helper: requests with completions, never blocking.
 *
 * priv_new() succeeds whether or not the helper is there; the connection is made in the background
 * and made again, with back-off, when it is lost. A request made while there is no connection is
 * completed with -ENOTCONN and a sentence that says how to start the helper.
 */
#ifndef PLATTER_PRIV_PRIV_H
#define PLATTER_PRIV_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/medium.h"

struct loop;
struct priv;

/* 0 or -errno: only memory and the loop can fail. `socket_path` must outlive it. */
int priv_new(struct loop *loop, const char *socket_path, struct priv **out);
/* Outstanding requests are completed with -ECANCELED. */
void priv_free(struct priv *priv);

/* 0 or -errno (what went wrong, with one sentence for people; never NULL, "" on success). */
struct priv_reply {
    int error;
    const char *reason;
    char device[16]; /* of an attach: "nbd3" */
    /*
     * Of a USB device: how many functions it has, one for each drive or one for all; and its
     * descriptors: ep0, then the out and the in endpoint of each function (opened O_NONBLOCK), and
     * after an adoption the journal. The completion takes the descriptors over: each is its to
     * close. 0, and none, in every other reply.
     */
    unsigned functions;
    const int *fds;
    unsigned fd_count;
};

struct priv_watch {
    /*
     * Something ended the slot's drive without being asked: the helper died or was restarted, the
     * gadget was removed. All the slot's outstanding requests are completed first.
     */
    void (*gone)(void *arg, int error, const char *reason);
    void *arg;
};

/* Who hears of `slot`; NULL: nobody. The watch must outlive its use. */
void priv_watch_slot(struct priv *priv, unsigned slot, const struct priv_watch *watch);

/*
 * Connects the slot's nbd device to `take_fd` (one end of a stream socketpair whose other end
 * serves NBD transmission with simple replies; taken over, also on failure) and presents it to the
 * machine as a USB drive. Reads pass through the socket before this completes, so the caller must
 * serve them meanwhile. One at a time a slot.
 */
void priv_attach(struct priv *priv, unsigned slot, const struct medium *medium, int take_fd,
                 void (*done)(void *arg, const struct priv_reply *reply), void *arg);

/*
 * As priv_attach(), of the drive that this program's predecessor attached with this very medium and
 * left: the device gets `take_fd` in the place of the socket that died, and what the machine has
 * asked meanwhile comes through it. -ENOENT when nothing was left; -ENOMEDIUM when the machine has
 * ejected it since. When it fails nothing is left.
 */
void priv_adopt(struct priv *priv, unsigned slot, const struct medium *medium, int take_fd,
                void (*done)(void *arg, const struct priv_reply *reply), void *arg);

/*
 * Builds a USB device of `drives` drives (1 to PRIVMSG_DRIVES_MAX, as the configuration has it) on
 * FunctionFS and presents it to the machine, which asks for the drives over the endpoints that the
 * reply brings: whoever completes this must serve them from then on. `slot` is the lowest of its
 * drives' slots, here and in what follows. `journal_fd`, a memfd sealed against shrinking, stays
 * the caller's; the helper keeps a duplicate, unread, for the one who adopts the device.
 */
void priv_usb_attach(struct priv *priv, unsigned slot, unsigned drives, int journal_fd,
                     void (*done)(void *arg, const struct priv_reply *reply), void *arg);

/*
 * The USB device that this program's predecessor left, as it stands: the machine has noticed
 * nothing but silence. -ENOENT when nothing was left; -ESTALE when what was left is another thing,
 * and then nothing is left.
 */
void priv_usb_adopt(struct priv *priv, unsigned slot, unsigned drives,
                    void (*done)(void *arg, const struct priv_reply *reply), void *arg);

/*
 * Makes the machine look at its medium anew, whose reads had failed and work again: a change of
 * medium, unless it has locked the tray, for then it would lose what it has open. Not for a USB
 * device. `done` may be NULL.
 */
void priv_reload(struct priv *priv, unsigned slot,
                 void (*done)(void *arg, const struct priv_reply *reply), void *arg);

/*
 * Takes the slot's drive (or USB device) away again; accepted at any time, also while an attach is
 * still under way (which is then completed with -ECANCELED). `link_alive`: the socket still answers
 * reads. When it completes nothing is left: no gadget, no connected nbd device.
 */
void priv_detach(struct priv *priv, unsigned slot, bool link_alive,
                 void (*done)(void *arg, const struct priv_reply *reply), void *arg);

#endif
