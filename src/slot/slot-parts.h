/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a slot, for slot.c (the session's events and deeds), far-end.c (whoever stands at
 * the other end of its line) and status.c (what it tells of itself) alone.
 */
#ifndef PLATTER_SLOT_SLOT_PARTS_H
#define PLATTER_SLOT_SLOT_PARTS_H

#include "base/loop.h"
#include "export/export.h"
#include "session/session.h"
#include "slot/examine.h"
#include "slot/record.h"
#include "slot/slot.h"

/* A session reports each event but the arrivals at most a few times; see slot_post(). */
#define EVENTS_MAX 16

/* The far end there is, or the one there was. */
struct far_end {
    struct source *source; /* NULL: none */
    bool gone;             /* lost, or told goodbye: nothing more is said to it */
    bool greeted;          /* it knows the session's token */
    struct source_info info;
    struct examine *examine;
    unsigned violations; /* of the protocol, in this session, by any far end */
    enum stream_close lost_why;
    bool lost_orderly;
    char lost_phrase[160]; /* why the last one was lost */
    char difference[384];  /* what the one that is sent away has that the session has not */
};

struct slot {
    struct slot_config config;
    unsigned grace; /* seconds: what the export bears of what was configured */
    struct loop_later *later;
    struct loop_timer *heartbeat;
    bool beats_soon;          /* for the lock has changed */
    struct loop_timer *alarm; /* the engine's */
    uint64_t alarm_at;        /* of loop_clock(): when it rings; UINT64_MAX: it does not */
    struct loop_timer *clock; /* of the grace or the keep time */
    enum session_event clock_event;
    uint64_t clock_end;   /* microseconds of loop_clock() */
    uint64_t grace_spent; /* microseconds of the next grace that went by in an earlier process */
    struct export *export;
    bool export_runs;    /* from its start or adoption until it has stopped */
    bool export_started; /* and has said so */
    int record;          /* the session's, held; -1: it has none */
    uint64_t served_at;  /* when the machine was last known to be served; goes with the record */

    enum session_state state;
    enum session_event events[EVENTS_MAX];
    unsigned event_count;

    struct stream *newcomer; /* these two only while slot_open() runs */
    const struct slot_offer *offer;
    struct far_end far;
    struct engine *engine;
    struct slot_record session;
    bool ends_with_line; /* the session's: slot_offer */

    bool has_cause;
    enum stream_close cause;
    char reason[256];
    struct engine_counters last_counters;

    void (*stepped)(void *arg, unsigned number);
    void *stepped_arg;
    void (*cut)(void *arg);
    void *cut_arg;
};

/* An event for the loop's next turn. */
void slot_post(struct slot *slot, enum session_event event);
/* Takes back the queued events from `first` to `last`, in the order of their enum. */
void slot_unpost(struct slot *slot, enum session_event first, enum session_event last);
/* Why the session ends; the first one that is said counts. */
void slot_blame(struct slot *slot, enum stream_close why, const char *reason);

/* The newcomer cannot be meant for this session, whatever its state: it has been told why and is
 * gone. */
bool far_end_refuse(struct slot *slot);
/* One sentence of why the last far end was lost; `also`: what came of that, or "". */
void far_end_explain(const struct slot *slot, const char *also, char *out, size_t room);

/* What the session table asks for, in its words. */
void far_end_open(struct slot *slot);
void far_end_turn_away(struct slot *slot);
void far_end_drop(struct slot *slot);
void far_end_send_away(struct slot *slot);
void far_end_close(struct slot *slot);
void far_end_tell(struct slot *slot);

#endif
