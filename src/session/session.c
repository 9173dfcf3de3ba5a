/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session table. Read it by rows: in this state, each event in turn. A row left out is an event
 * that says nothing new there (or cannot come), and is answered by staying.
 *
 * Taking over what an earlier process left needs no state of its own: to the machine it is a far
 * end lost, and whether the export has finished taking over (or, after a loss while attaching, has
 * finished starting) does not change what any other event means.
 *
 * What always holds: a far end is there, or known to be lost, in OPENING, ATTACHING, SERVING,
 * RESUMING and RETURNING, and there is none in IDLE, SUSPENDED and ABSENT. From ATTACHING on there
 * is an export that will say "stopped"; only CLOSING waits for it. The clock runs exactly in the
 * four states that wait for a far end's return. A record is forgotten before its drive is taken
 * down. RELEASE comes exactly with the step back to IDLE.
 */
#include "session/session.h"

#include <stddef.h>

#define STEP(to, what)                                                                             \
    {                                                                                              \
        .next = SESSION_##to, .actions = (what), .known = 1                                        \
    }

struct row {
    enum session_state next;
    unsigned actions;
    unsigned known;
};

#define BEGIN         SESSION_DO_BEGIN
#define SUSPEND       SESSION_DO_SUSPEND
#define FAIL_REQUESTS SESSION_DO_FAIL_REQUESTS
#define ADOPT_EXPORT  SESSION_DO_ADOPT_EXPORT
#define DROP_FAR_END  SESSION_DO_DROP_FAR_END
#define SEND_AWAY     SESSION_DO_SEND_AWAY
#define OPEN_FAR_END  SESSION_DO_OPEN_FAR_END
#define TURN_AWAY     SESSION_DO_TURN_AWAY
#define USE_FAR_END   SESSION_DO_USE_FAR_END
#define START_EXPORT  SESSION_DO_START_EXPORT
#define RELOAD        SESSION_DO_RELOAD
#define REMEMBER      SESSION_DO_REMEMBER
#define FORGET        SESSION_DO_FORGET
#define STOP_CLOCK    SESSION_DO_STOP_CLOCK
#define START_GRACE   SESSION_DO_START_GRACE
#define START_KEEP    SESSION_DO_START_KEEP
#define STOP_EXPORT   SESSION_DO_STOP_EXPORT
#define STOP_DEAD     SESSION_DO_STOP_EXPORT_DEAD
#define CLOSE_FAR_END SESSION_DO_CLOSE_FAR_END
#define RELEASE       SESSION_DO_RELEASE
#define TELL          SESSION_DO_TELL

/* How every session with an export ends, however it began to. */
#define ENDED STEP(IDLE, FAIL_REQUESTS | FORGET | STOP_CLOCK | CLOSE_FAR_END | RELEASE)
/* Its export is taken down: while the far end still answers, and when it does not. */
#define CLOSE_ALIVE STEP(CLOSING, FORGET | STOP_EXPORT | TELL)
#define CLOSE_DEAD  STEP(CLOSING, FAIL_REQUESTS | FORGET | STOP_CLOCK | STOP_DEAD | TELL)
/* The far end goes while the machine has, or is about to have, its drive. */
#define LOST STEP(SUSPENDED, SUSPEND | DROP_FAR_END | START_GRACE)
/* It comes back before its loss was noticed here. */
#define BACK STEP(RESUMING, SUSPEND | DROP_FAR_END | OPEN_FAR_END | START_GRACE | TELL)

static const struct row table[SESSION_STATES][SESSION_EVENTS] = {
    [SESSION_IDLE] =
        {
            [SESSION_FAR_END_CAME] = STEP(OPENING, BEGIN | OPEN_FAR_END | TELL),
            [SESSION_DRIVE_LEFT] = STEP(SUSPENDED, BEGIN | SUSPEND | ADOPT_EXPORT | START_GRACE),
        },
    [SESSION_OPENING] =
        {
            [SESSION_FAR_END_CAME] = STEP(OPENING, TURN_AWAY),
            [SESSION_FAR_END_BACK] = STEP(OPENING, DROP_FAR_END | OPEN_FAR_END | TELL),
            [SESSION_FAR_END_READY] = STEP(ATTACHING, USE_FAR_END | START_EXPORT | TELL),
            [SESSION_MEDIUM_REFUSED] = STEP(IDLE, CLOSE_FAR_END | RELEASE),
            [SESSION_FAR_END_LOST] = STEP(IDLE, RELEASE),
            [SESSION_FAR_END_LEFT] = STEP(IDLE, RELEASE),
            [SESSION_END_ASKED] = STEP(IDLE, CLOSE_FAR_END | RELEASE),
        },
    [SESSION_ATTACHING] =
        {
            [SESSION_FAR_END_CAME] = STEP(ATTACHING, TURN_AWAY),
            [SESSION_FAR_END_BACK] = BACK,
            [SESSION_FAR_END_LOST] = LOST,
            [SESSION_FAR_END_LEFT] = CLOSE_DEAD,
            [SESSION_EXPORT_STARTED] = STEP(SERVING, REMEMBER | TELL),
            [SESSION_EXPORT_STOPPED] = ENDED,
            [SESSION_EJECTED] = CLOSE_ALIVE,
            [SESSION_END_ASKED] = CLOSE_ALIVE,
        },
    [SESSION_SERVING] =
        {
            [SESSION_FAR_END_CAME] = STEP(SERVING, TURN_AWAY),
            [SESSION_FAR_END_BACK] = BACK,
            [SESSION_FAR_END_LOST] = LOST,
            [SESSION_FAR_END_LEFT] = CLOSE_DEAD,
            [SESSION_EXPORT_STARTED] = STEP(SERVING, REMEMBER | TELL),
            [SESSION_EXPORT_STOPPED] = ENDED,
            [SESSION_EJECTED] = CLOSE_ALIVE,
            [SESSION_END_ASKED] = CLOSE_ALIVE,
        },
    [SESSION_SUSPENDED] =
        {
            [SESSION_FAR_END_CAME] = STEP(SUSPENDED, TURN_AWAY),
            [SESSION_FAR_END_BACK] = STEP(RESUMING, OPEN_FAR_END | TELL),
            [SESSION_EXPORT_STARTED] = STEP(SUSPENDED, REMEMBER),
            [SESSION_EXPORT_STOPPED] = ENDED,
            [SESSION_EJECTED] = CLOSE_DEAD,
            [SESSION_END_ASKED] = CLOSE_DEAD,
            [SESSION_GRACE_OVER] = STEP(ABSENT, FAIL_REQUESTS | START_KEEP),
        },
    [SESSION_RESUMING] =
        {
            [SESSION_FAR_END_CAME] = STEP(RESUMING, TURN_AWAY),
            [SESSION_FAR_END_BACK] = STEP(RESUMING, DROP_FAR_END | OPEN_FAR_END | TELL),
            [SESSION_FAR_END_SAME] = STEP(SERVING, USE_FAR_END | STOP_CLOCK | TELL),
            [SESSION_FAR_END_DIFFERENT] = STEP(SUSPENDED, SEND_AWAY),
            [SESSION_FAR_END_LOST] = STEP(SUSPENDED, DROP_FAR_END),
            [SESSION_FAR_END_LEFT] = CLOSE_DEAD,
            [SESSION_EXPORT_STARTED] = STEP(RESUMING, REMEMBER),
            [SESSION_EXPORT_STOPPED] = ENDED,
            [SESSION_EJECTED] = CLOSE_DEAD,
            [SESSION_END_ASKED] = CLOSE_DEAD,
            [SESSION_GRACE_OVER] = STEP(RETURNING, FAIL_REQUESTS | START_KEEP | TELL),
        },
    [SESSION_ABSENT] =
        {
            [SESSION_FAR_END_CAME] = STEP(ABSENT, TURN_AWAY),
            [SESSION_FAR_END_BACK] = STEP(RETURNING, OPEN_FAR_END | TELL),
            [SESSION_EXPORT_STARTED] = STEP(ABSENT, REMEMBER),
            [SESSION_EXPORT_STOPPED] = ENDED,
            [SESSION_EJECTED] = CLOSE_DEAD,
            [SESSION_END_ASKED] = CLOSE_DEAD,
            [SESSION_KEEP_OVER] = CLOSE_DEAD,
        },
    [SESSION_RETURNING] =
        {
            [SESSION_FAR_END_CAME] = STEP(RETURNING, TURN_AWAY),
            [SESSION_FAR_END_BACK] = STEP(RETURNING, DROP_FAR_END | OPEN_FAR_END | TELL),
            [SESSION_FAR_END_SAME] = STEP(SERVING, USE_FAR_END | RELOAD | STOP_CLOCK | TELL),
            [SESSION_FAR_END_DIFFERENT] = STEP(ABSENT, SEND_AWAY),
            [SESSION_FAR_END_LOST] = STEP(ABSENT, DROP_FAR_END),
            [SESSION_FAR_END_LEFT] = CLOSE_DEAD,
            [SESSION_EXPORT_STARTED] = STEP(RETURNING, REMEMBER),
            [SESSION_EXPORT_STOPPED] = ENDED,
            [SESSION_EJECTED] = CLOSE_DEAD,
            [SESSION_END_ASKED] = CLOSE_DEAD,
            [SESSION_KEEP_OVER] = CLOSE_DEAD,
        },
    [SESSION_CLOSING] =
        {
            [SESSION_FAR_END_CAME] = STEP(CLOSING, TURN_AWAY),
            [SESSION_FAR_END_BACK] = STEP(CLOSING, TURN_AWAY),
            [SESSION_FAR_END_LOST] = STEP(CLOSING, FAIL_REQUESTS),
            [SESSION_FAR_END_LEFT] = STEP(CLOSING, FAIL_REQUESTS),
            [SESSION_EXPORT_STOPPED] = ENDED,
        },
};

static const char *const state_names[SESSION_STATES] = {
    [SESSION_IDLE] = "idle",           [SESSION_OPENING] = "opening",
    [SESSION_ATTACHING] = "attaching", [SESSION_SERVING] = "serving",
    [SESSION_SUSPENDED] = "suspended", [SESSION_RESUMING] = "resuming",
    [SESSION_ABSENT] = "absent",       [SESSION_RETURNING] = "returning",
    [SESSION_CLOSING] = "closing",
};

static const char *const event_names[SESSION_EVENTS] = {
    [SESSION_FAR_END_CAME] = "far end came",
    [SESSION_FAR_END_BACK] = "far end back",
    [SESSION_FAR_END_READY] = "far end ready",
    [SESSION_MEDIUM_REFUSED] = "medium refused",
    [SESSION_FAR_END_SAME] = "far end same",
    [SESSION_FAR_END_DIFFERENT] = "far end different",
    [SESSION_FAR_END_LOST] = "far end lost",
    [SESSION_FAR_END_LEFT] = "far end left",
    [SESSION_EXPORT_STARTED] = "export started",
    [SESSION_EXPORT_STOPPED] = "export stopped",
    [SESSION_EJECTED] = "ejected",
    [SESSION_END_ASKED] = "end asked",
    [SESSION_GRACE_OVER] = "grace over",
    [SESSION_KEEP_OVER] = "keep over",
    [SESSION_DRIVE_LEFT] = "drive left",
};

static const char *const action_names[SESSION_ACTIONS] = {
    "begin",         "suspend",      "fail requests",
    "adopt export",  "drop far end", "send away",
    "open far end",  "turn away",    "use far end",
    "start export",  "reload",       "remember",
    "forget",        "stop clock",   "start grace",
    "start keep",    "stop export",  "stop export (dead)",
    "close far end", "release",      "tell",
};

struct session_step session_step(enum session_state state, enum session_event event)
{
    const struct row *row = &table[state][event];

    if (!row->known)
        return (struct session_step){.next = state, .actions = 0};
    return (struct session_step){.next = row->next, .actions = row->actions};
}

const char *session_state_name(enum session_state state)
{
    return state_names[state];
}

const char *session_event_name(enum session_event event)
{
    return event_names[event];
}

const char *session_action_name(unsigned bit)
{
    return bit < SESSION_ACTIONS ? action_names[bit] : NULL;
}
