/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an API may ask of the program that it is part of. The daemon implements it over its slots,
 * so no API knows what a slot is made of, and another program can offer the same APIs.
 */
#ifndef PLATTER_API_CONTROL_H
#define PLATTER_API_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/medium.h"
#include "base/stream.h"
#include "block/counters.h"

/* One drive, as an API tells of it; what it points at is valid until the next control_get_slot().
 */
struct control_slot {
    const char *name;            /* for people; UTF-8 */
    const char *export_name;     /* "usb", "kernel", "unix" */
    const char *drive;           /* what it takes: "disk", "cd", or "auto": either */
    const char *state;           /* one of control_state_name() */
    const char *uri;             /* where programs find the drive; may be "" */
    const char *reason;          /* why the last session ended, or its far end was lost; or "" */
    const struct medium *medium; /* NULL when there is none */
    bool busy;                   /* it has a session, in whatever state */
    bool shown;                  /* the machine has the medium as a drive */
    bool locked;                 /* the machine has locked it in */
    enum stream_close why;       /* with the reason of an end: of what sort it is */
    unsigned grace, keep;        /* seconds, as configured */
    bool waiting;                /* for a far end that was lost: */
    unsigned grace_left;         /* seconds until requests fail; */
    unsigned keep_left;          /* and after that, seconds until the drive goes */
    struct engine_counters counters; /* of this session, or the last */
};

/* What a far end comes with. */
struct control_offer {
    enum medium_kind kind;
    const char *name;    /* valid text */
    int64_t modified;    /* when the file was last changed, milliseconds since 1970; -1: not told */
    const char *resume;  /* the token of the session it comes back to; NULL: it begins one */
    const char *profile; /* what may be asked of it: source/profile.h; NULL: as of our own page */
    bool ends_with_line; /* it cannot come back: a lost line ends its session */
};

/* What came of the wish to end a session. */
enum control_end {
    CONTROL_ENDS,
    CONTROL_EMPTY,  /* there is none */
    CONTROL_LOCKED, /* the machine has the medium locked in; it has been told of the wish */
};

struct control {
    const struct control_ops *ops;
    void *owner;
    const char *version; /* of the program */
};

struct control_ops {
    unsigned (*slot_count)(void *owner);
    /* `slot` is below the count. */
    void (*get_slot)(void *owner, unsigned slot, struct control_slot *out);
    /*
     * Takes the stream over; a busy slot closes it with STREAM_CLOSE_BUSY, unless `offer` resumes
     * its session. `offer` is gone when this returns.
     */
    void (*open_slot)(void *owner, unsigned slot, struct stream *stream,
                      const struct control_offer *offer);
    /*
     * Ends the slot's session, as somebody at the device may; `force`: locked in or not. `reason`:
     * one sentence for the far end, at most 120 bytes of UTF-8.
     */
    enum control_end (*end_slot)(void *owner, unsigned slot, bool force, const char *reason);
    /* Calls `stepped` whenever get_slot() may tell something new of a slot. One watcher. */
    void (*watch_slots)(void *owner, void (*stepped)(void *arg, unsigned slot), void *arg);
    /* The states there are, from 0; NULL past the last. */
    const char *(*state_name)(void *owner, unsigned n);
};

static inline unsigned control_slot_count(const struct control *c)
{
    return c->ops->slot_count(c->owner);
}

static inline void control_get_slot(const struct control *c, unsigned slot,
                                    struct control_slot *out)
{
    c->ops->get_slot(c->owner, slot, out);
}

static inline void control_open_slot(const struct control *c, unsigned slot, struct stream *stream,
                                     const struct control_offer *offer)
{
    c->ops->open_slot(c->owner, slot, stream, offer);
}

static inline enum control_end control_end_slot(const struct control *c, unsigned slot, bool force,
                                                const char *reason)
{
    return c->ops->end_slot(c->owner, slot, force, reason);
}

static inline void control_watch_slots(const struct control *c,
                                       void (*stepped)(void *arg, unsigned slot), void *arg)
{
    c->ops->watch_slots(c->owner, stepped, arg);
}

static inline const char *control_state_name(const struct control *c, unsigned n)
{
    return c->ops->state_name(c->owner, n);
}

#endif
