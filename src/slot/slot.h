/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One drive of the machine, and the session that fills it: joins a far end (a source over a stream)
 * through the engine to an export. The session table (session/session.h) decides; the slot alone
 * does what it says. docs/architecture.md, "The life of a session".
 */
#ifndef PLATTER_SLOT_SLOT_H
#define PLATTER_SLOT_SLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/medium.h"
#include "base/stream.h"
#include "block/engine.h"

struct export;
struct loop;
struct priv;
struct slot;
struct usb_device;

/* Strings must outlive the slot. */
struct slot_config {
    struct loop *loop;
    unsigned number;
    const char *name;              /* for people */
    const char *export_name;       /* "usb", "kernel" or "unix" */
    const char *socket_path;       /* unix */
    struct priv *priv;             /* kernel; may be NULL */
    bool device_only;              /* kernel: an nbd device without a USB drive on it */
    struct usb_device *usb_device; /* usb */
    unsigned usb_drive;            /* usb: which of its drives */
    struct export *take_export;    /* the export to use, taken over when slot_new() succeeds; NULL:
                                      one is made, of the keys above */
    bool read_only;                /* the machine may not write, even where the far end lets it */
    size_t cache_max;              /* bytes of the image held in memory at most */
    unsigned grace;         /* seconds the machine's requests wait for a lost far end; cut to what
                               the export can bear */
    unsigned keep;          /* seconds its drive then stays, giving errors */
    const char *record_dir; /* where sessions are recorded for the next process; NULL: nowhere */
};

/* What a far end comes with. */
struct slot_offer {
    enum medium_kind kind;
    const char *name;   /* untrusted; well-formed UTF-8 */
    int64_t modified;   /* when the image was last changed, milliseconds since 1970; -1: not told */
    const char *resume; /* the token of the session it comes back to; NULL: it begins one */
    const char *profile; /* what may be asked of it: peer_profile_find(); NULL: "platter" */
    /* It cannot come back, so a lost line ends its session as a goodbye does, and nothing is kept
     * of it for a return. */
    bool ends_with_line;
};

struct slot_status {
    unsigned number;
    const char *name;
    const char *export_name;
    const char *state; /* session_state_name(): "idle", "serving", "suspended" ... */
    bool has_medium;   /* then: */
    struct medium medium;
    bool shown;            /* the machine has it as a drive */
    bool locked;           /* the machine has locked it in */
    char uri[384];         /* where programs find the drive; may be "" */
    char reason[256];      /* why the last session ended, or the far end of this one was lost; one
                              sentence, or "" */
    enum stream_close why; /* with the reason of an end: of what sort it is */
    unsigned grace_left;   /* while a far end is waited for: seconds until requests fail; */
    unsigned keep_left;    /* and after that, seconds until the drive goes */
    struct engine_counters counters; /* of this session, or of the last one */
};

/* 0 or -errno. */
int slot_new(const struct slot_config *config, struct slot **out);
/*
 * Only when slot_is_idle(). NULL is allowed. A process that leaves its drives to the next one does
 * not free its slots: it just ends.
 */
void slot_free(struct slot *slot);

/*
 * Once after slot_new(): if an earlier process left a session's record and drive, takes both over
 * and waits for the far end. A record that makes no sense is removed, with a line in the log.
 */
void slot_restore(struct slot *slot);

/*
 * A far end has come: takes the stream over; `offer` is gone when this returns. It begins a session
 * on an idle slot, or comes back to the one whose token it brings, whose old far end, if it still
 * seems to be there, then goes. Else the stream is closed: with STREAM_CLOSE_BUSY, _OTHER (not the
 * session's image) or _OVER (the token is of no session here).
 */
void slot_open(struct slot *slot, struct stream *stream, const struct slot_offer *offer);

/*
 * Ends the session, if there is one; it is over when slot_is_idle(). A medium that the machine has
 * locked in is taken from it all the same: whoever would rather not asks slot_is_locked() first.
 */
void slot_end(struct slot *slot, enum stream_close why, const char *reason);
/*
 * The far end is gone for good, as the caller knows better than its line does: ends the session
 * without waiting for anything that would have to be read. `reason`: one sentence.
 */
void slot_cut(struct slot *slot, const char *reason);
bool slot_is_idle(const struct slot *slot);
/* Whether the machine has locked the medium in: it has mounted it, say. */
bool slot_is_locked(const struct slot *slot);
/* Lets the machine know that a person wants the medium out; it may eject it then. */
void slot_request_eject(struct slot *slot);
/*
 * Calls `stepped` with the slot's number after each step of its session, when slot_get_status() may
 * tell something else than before. Not to free the slot in. One watcher.
 */
void slot_watch(struct slot *slot, void (*stepped)(void *arg, unsigned number), void *arg);
/* Called when a session is ending whose far end is gone, perhaps more than once: from here on
 * nothing can be read or written any more, and only the teardown is left. One watcher. */
void slot_watch_cut(struct slot *slot, void (*cut)(void *arg), void *arg);

void slot_get_status(const struct slot *slot, struct slot_status *out);

#endif
