/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's side of gadget/gadget.h: configfs, /sys/class/udc, and the slot's nbd device or the
 * endpoints of its USB device.
 */
#ifndef PLATTER_PRIV_OPS_GADGET_H
#define PLATTER_PRIV_OPS_GADGET_H

#include <stdbool.h>
#include <stddef.h>

#include "gadget/gadget.h"
#include "priv/ops-nbd.h"
#include "priv/record.h"
#include "proto/privmsg.h"

#define OPS_GADGET_CONFIGFS "/sys/kernel/config"
#define OPS_GADGET_UDC      "/sys/class/udc"

/* The `arg` of ops_gadget; for a slot without a gadget as well, which has the device alone. */
struct ops_gadget {
    const char *state_dir;
    unsigned slot;
    char name[PLAN_TEXT_MAX];    /* the gadget's */
    char mark[NBD_DEV_MARK_MAX]; /* the nbd device's: no other helper's is like it */
    /* Whether there is a record at all. Without one, what goes by the slot's name is not ours. */
    bool recorded;
    struct record record; /* as it stands on disk */
    /* The endpoints that a plan opened; whoever has it run closes them. */
    int fds[PRIVMSG_FDS_MAX];
    unsigned fd_count;
};

extern const struct gadget_ops ops_gadget;

/* Reads the slot's record; a missing one is an empty one. */
void ops_gadget_init(struct ops_gadget *o, const char *state_dir, unsigned slot);

/*
 * Makes sure configfs is mounted and the gadget modules are there, that of this function
 * ("usb_f_fs") too. 0, or -errno and one sentence.
 */
int ops_gadget_load(const char *function, char *reason, size_t room);

/*
 * Makes the slot's gadget, empty, and so the slot's name this helper's own on this machine; the
 * record is written first. 0; -EBUSY when it is another helper's, with one sentence; or -errno.
 */
int ops_gadget_claim(struct ops_gadget *o, char *reason, size_t room);

/* Whether the gadget stands with no medium in it: the machine has ejected it. May block. */
bool ops_gadget_is_ejected(const struct ops_gadget *o);

/*
 * Has the gadget open its medium again, so that what errors did to the open file is undone; the
 * machine sees a change of medium. 0; -EBUSY while the machine holds the tray locked; -ENOMEDIUM
 * when the machine has ejected it; or -errno. May block.
 */
int ops_gadget_reopen(const struct ops_gadget *o, unsigned device);

/* Writes o->record. 0 or -errno. */
int ops_gadget_record(struct ops_gadget *o);

/* The slot's nbd device: the recorded one if it is still ours; where the record is damaged, one
 * that carries the slot's mark. -1 for none. Never blocks. */
int ops_gadget_device(const struct ops_gadget *o);

/*
 * Whether the slot's drive still stands, for a watch that must not block: reads sysfs only. `nbd`:
 * on an nbd device. If not, one sentence.
 */
bool ops_gadget_stands(const struct ops_gadget *o, bool nbd, char *reason, size_t room);

#endif
