/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session, from the far end's arrival to an empty drive again, as one table: (state, event) ->
 * (state, actions). Pure; the slot turns actions into deeds and deeds into events.
 */
#ifndef PLATTER_SESSION_SESSION_H
#define PLATTER_SESSION_SESSION_H

enum session_state {
    SESSION_IDLE,      /* no far end, nothing shown to the machine */
    SESSION_OPENING,   /* the far end is being asked what it has */
    SESSION_ATTACHING, /* the export is being built; reads pass already */
    SESSION_SERVING,   /* the machine has its drive */
    SESSION_CLOSING,   /* the export is being taken down */
    SESSION_STATES,
};

enum session_event {
    SESSION_FAR_END_CAME,
    SESSION_FAR_END_READY,  /* it has said what it has, and the export takes it */
    SESSION_MEDIUM_REFUSED, /* it has said what it has, and the export cannot take it */
    SESSION_FAR_END_LOST,
    SESSION_EXPORT_STARTED,
    SESSION_EXPORT_STOPPED, /* as asked, or by itself */
    SESSION_EJECTED,        /* the machine gave the medium back */
    SESSION_END_ASKED,      /* by the daemon, or somebody at the device */
    SESSION_EVENTS,
};

/* Done in this order. */
enum session_action {
    SESSION_DO_OPEN_FAR_END = 1 << 0,
    SESSION_DO_TURN_AWAY = 1 << 1,     /* the newcomer; the session goes on */
    SESSION_DO_FAIL_REQUESTS = 1 << 2, /* every request of the machine gets an error from now on */
    SESSION_DO_START_EXPORT = 1 << 3,
    SESSION_DO_STOP_EXPORT = 1 << 4,      /* while reads are still answered */
    SESSION_DO_STOP_EXPORT_DEAD = 1 << 5, /* when they are not */
    SESSION_DO_CLOSE_FAR_END = 1 << 6,    /* with a goodbye that says why; nothing if it is lost */
    SESSION_DO_RELEASE = 1 << 7,          /* everything the session held */
    SESSION_DO_TELL = 1 << 8,             /* the far end, what the state is now */
};
#define SESSION_ACTIONS 9

struct session_step {
    enum session_state next;
    unsigned actions; /* of enum session_action */
};

/* What `event` means in `state`. Every pair has its answer; one that cannot happen changes nothing.
 */
struct session_step session_step(enum session_state state, enum session_event event);

/* A few lower-case words each. */
const char *session_state_name(enum session_state state);
const char *session_event_name(enum session_event event);
/* `bit` is the action's number, 0 to SESSION_ACTIONS - 1. */
const char *session_action_name(unsigned bit);

#endif
