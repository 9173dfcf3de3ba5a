/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One drive of the machine, and the session that fills it: joins a far end (a source over a stream)
 * through the engine to an export. The session table (session/session.h) decides; the slot alone
 * does what it says.
 */
#ifndef PLATTER_SLOT_SLOT_H
#define PLATTER_SLOT_SLOT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/medium.h"
#include "base/stream.h"
#include "block/engine.h"

struct loop;
struct priv;
struct slot;

/* Strings must outlive the slot. */
struct slot_config {
    struct loop *loop;
    unsigned number;
    const char *name;        /* for people */
    const char *export_name; /* "unix" or "kernel" */
    const char *socket_path; /* unix */
    struct priv *priv;       /* kernel; may be NULL */
    size_t memory_max;       /* bytes for requests in flight */
};

struct slot_status {
    unsigned number;
    const char *name;
    const char *export_name;
    const char *state; /* "idle", "opening", "attaching", "serving", "closing" */
    bool has_medium;   /* then: */
    struct medium medium;
    char uri[384];    /* where programs find the drive; may be "" */
    char reason[256]; /* why the last session ended, one sentence; "" before the first */
    struct engine_counters counters; /* of this session, or of the last one */
};

/* 0 or -errno. */
int slot_new(const struct slot_config *config, struct slot **out);
/* Only when slot_is_idle(). NULL is allowed. */
void slot_free(struct slot *slot);

/*
 * A far end has come with a medium of this kind and (untrusted) name: takes the stream over. On a
 * slot that has its session already the stream is closed with STREAM_CLOSE_BUSY.
 */
void slot_open(struct slot *slot, struct stream *stream, enum medium_kind kind, const char *name);

/* Ends the session, if there is one; it is over when slot_is_idle(). */
void slot_end(struct slot *slot, enum stream_close why, const char *reason);
bool slot_is_idle(const struct slot *slot);
/* Called on every turn from busy to idle; for a daemon that waits to stop. One watcher. */
void slot_watch_idle(struct slot *slot, void (*idle)(void *arg), void *arg);

void slot_get_status(const struct slot *slot, struct slot_status *out);

#endif
