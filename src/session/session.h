/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session, from the far end's arrival to an empty drive again, as one table: (state, event) ->
 * (state, actions). Pure; the slot turns actions into deeds and deeds into events.
 *
 * A session outlives its line: a far end that is lost is waited for, first with the machine's
 * requests waiting too (the grace), then with requests failing while the drive keeps its place (the
 * keep time). One that comes back is examined before it is asked anything for the machine.
 */
#ifndef PLATTER_SESSION_SESSION_H
#define PLATTER_SESSION_SESSION_H

enum session_state {
    SESSION_IDLE,      /* no far end, nothing shown to the machine */
    SESSION_OPENING,   /* the far end is being asked what it has */
    SESSION_ATTACHING, /* the export is being built; reads pass already */
    SESSION_SERVING,   /* the machine has its drive */
    SESSION_SUSPENDED, /* no far end: requests wait for it, and the grace runs */
    SESSION_RESUMING,  /* one that came back is being examined: requests wait, the grace runs on */
    SESSION_ABSENT,    /* no far end, the grace is over: requests fail, and the keep time runs */
    SESSION_RETURNING, /* one that came back then is being examined: requests fail meanwhile */
    SESSION_CLOSING,   /* the export is being taken down */
    SESSION_STATES,
};

enum session_event {
    SESSION_FAR_END_CAME,   /* a stranger */
    SESSION_FAR_END_BACK,   /* one that knows this session's token */
    SESSION_FAR_END_READY,  /* it has said and shown what it has, and the export takes it */
    SESSION_MEDIUM_REFUSED, /* it has said what it has, and the export cannot take it */
    SESSION_FAR_END_SAME,   /* what came back has the session's medium */
    SESSION_FAR_END_DIFFERENT,
    SESSION_FAR_END_LOST, /* without a goodbye: it may come back */
    SESSION_FAR_END_LEFT, /* for good */
    SESSION_EXPORT_STARTED,
    SESSION_EXPORT_STOPPED, /* as asked, or by itself */
    SESSION_EJECTED,        /* the machine gave the medium back */
    SESSION_END_ASKED,      /* by the daemon, or somebody at the device */
    SESSION_GRACE_OVER,
    SESSION_KEEP_OVER,
    SESSION_DRIVE_LEFT, /* an earlier process recorded a session and left its drive standing */
    SESSION_EVENTS,
};

/* Done in this order. */
enum session_action {
    SESSION_DO_BEGIN = 1 << 0,         /* makes what the session holds until it is released */
    SESSION_DO_SUSPEND = 1 << 1,       /* the machine's requests wait from now on */
    SESSION_DO_FAIL_REQUESTS = 1 << 2, /* they get an error from now on */
    SESSION_DO_ADOPT_EXPORT = 1 << 3,
    SESSION_DO_DROP_FAR_END = 1 << 4, /* lets go of the one there is, lost or not */
    SESSION_DO_SEND_AWAY = 1 << 5,    /* the same, telling it that its medium is another */
    SESSION_DO_OPEN_FAR_END = 1 << 6, /* takes the newcomer as this session's */
    SESSION_DO_TURN_AWAY = 1 << 7,    /* the newcomer; the session goes on */
    SESSION_DO_USE_FAR_END = 1 << 8,  /* requests go to it from now on */
    SESSION_DO_START_EXPORT = 1 << 9,
    SESSION_DO_RELOAD = 1 << 10,   /* the machine is to look at its drive anew */
    SESSION_DO_REMEMBER = 1 << 11, /* record the session for a process that comes after this one */
    SESSION_DO_FORGET = 1 << 12,
    SESSION_DO_STOP_CLOCK = 1 << 13,
    SESSION_DO_START_GRACE = 1 << 14,
    SESSION_DO_START_KEEP = 1 << 15,
    SESSION_DO_STOP_EXPORT = 1 << 16,      /* while reads are still answered */
    SESSION_DO_STOP_EXPORT_DEAD = 1 << 17, /* when they are not */
    SESSION_DO_CLOSE_FAR_END = 1 << 18,    /* with a goodbye that says why; nothing if it is lost */
    SESSION_DO_RELEASE = 1 << 19,          /* everything the session held */
    SESSION_DO_TELL = 1 << 20,             /* the far end, what the state is now */
};
#define SESSION_ACTIONS 21

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
