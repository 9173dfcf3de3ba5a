/* SPDX-License-Identifier: Apache-2.0 */
/* Which message is allowed when: the helper's whole policy, as one table. Pure. */
#ifndef PLATTER_PRIV_PERMIT_H
#define PLATTER_PRIV_PERMIT_H

#include "proto/privmsg.h"

enum slot_state {
    SLOT_FREE,      /* nothing stands, no lock is held */
    SLOT_ATTACHING, /* a worker builds the drive */
    SLOT_ATTACHED,  /* the drive stands; no worker */
    SLOT_DETACHING, /* the drive is being taken away, by whatever cause */
    SLOT_ORPHANED, /* the drive stands and its owner is gone: for a short while it may be adopted */
    SLOT_STATES,
};

/* Who asks, as seen from the slot. */
enum permit_who {
    PERMIT_NOBODY, /* nobody owns the slot */
    PERMIT_OWNER,  /* the connection that attached it */
    PERMIT_OTHER,  /* another connection */
    PERMIT_WHOS,
};

enum permit {
    PERMIT_REFUSE, /* not a message for the helper at all: the connection is closed */
    PERMIT_BUSY,   /* -EBUSY */
    PERMIT_DENIED, /* -EPERM */
    PERMIT_DO,
    PERMIT_WAIT,    /* done when the slot is free; does nothing towards that */
    PERMIT_NOOP,    /* there is nothing to do: success at once */
    PERMIT_REPLACE, /* what stands is taken away first, then as PERMIT_WAIT */
    PERMIT_MISSING, /* -ENOENT: there is no drive */
};

enum permit permit_check(enum slot_state state, enum privmsg_type type, enum permit_who who);

#endif
