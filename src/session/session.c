/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session table. Read it by rows: in this state, each event in turn. A row left out is an event
 * that says nothing new there (or cannot come), and is answered by staying.
 *
 * What always holds: OPENING and later own a far end or know it is lost; ATTACHING and SERVING have
 * an export that will say "stopped"; only CLOSING waits for it; RELEASE comes exactly with the step
 * back to IDLE.
 */
#include "session/session.h"

#include <stddef.h>

#define STEP(to, what)                                                                             \
    {                                                                                              \
        .next = (to), .actions = (what), .known = 1                                                \
    }

struct row {
    enum session_state next;
    unsigned actions;
    unsigned known;
};

/* How every session with an export ends, however it began to. */
#define ENDED                                                                                      \
    STEP(SESSION_IDLE, SESSION_DO_FAIL_REQUESTS | SESSION_DO_CLOSE_FAR_END | SESSION_DO_RELEASE)
#define CLOSE_ALIVE STEP(SESSION_CLOSING, SESSION_DO_STOP_EXPORT | SESSION_DO_TELL)
#define CLOSE_DEAD  STEP(SESSION_CLOSING, SESSION_DO_FAIL_REQUESTS | SESSION_DO_STOP_EXPORT_DEAD)

/* clang-format off */
static const struct row table[SESSION_STATES][SESSION_EVENTS] = {
    [SESSION_IDLE] = {
        [SESSION_FAR_END_CAME] = STEP(SESSION_OPENING, SESSION_DO_OPEN_FAR_END | SESSION_DO_TELL),
    },
    [SESSION_OPENING] = {
        [SESSION_FAR_END_CAME] = STEP(SESSION_OPENING, SESSION_DO_TURN_AWAY),
        [SESSION_FAR_END_READY] = STEP(SESSION_ATTACHING, SESSION_DO_START_EXPORT | SESSION_DO_TELL),
        [SESSION_MEDIUM_REFUSED] = STEP(SESSION_IDLE, SESSION_DO_CLOSE_FAR_END | SESSION_DO_RELEASE),
        [SESSION_FAR_END_LOST] = STEP(SESSION_IDLE, SESSION_DO_RELEASE),
        [SESSION_END_ASKED] = STEP(SESSION_IDLE, SESSION_DO_CLOSE_FAR_END | SESSION_DO_RELEASE),
    },
    [SESSION_ATTACHING] = {
        [SESSION_FAR_END_CAME] = STEP(SESSION_ATTACHING, SESSION_DO_TURN_AWAY),
        [SESSION_FAR_END_LOST] = CLOSE_DEAD,
        [SESSION_EXPORT_STARTED] = STEP(SESSION_SERVING, SESSION_DO_TELL),
        [SESSION_EXPORT_STOPPED] = ENDED,
        [SESSION_EJECTED] = CLOSE_ALIVE,
        [SESSION_END_ASKED] = CLOSE_ALIVE,
    },
    [SESSION_SERVING] = {
        [SESSION_FAR_END_CAME] = STEP(SESSION_SERVING, SESSION_DO_TURN_AWAY),
        [SESSION_FAR_END_LOST] = CLOSE_DEAD,
        [SESSION_EXPORT_STOPPED] = ENDED,
        [SESSION_EJECTED] = CLOSE_ALIVE,
        [SESSION_END_ASKED] = CLOSE_ALIVE,
    },
    [SESSION_CLOSING] = {
        [SESSION_FAR_END_CAME] = STEP(SESSION_CLOSING, SESSION_DO_TURN_AWAY),
        [SESSION_FAR_END_LOST] = STEP(SESSION_CLOSING, SESSION_DO_FAIL_REQUESTS),
        [SESSION_EXPORT_STOPPED] = ENDED,
    },
};
/* clang-format on */

static const char *const state_names[SESSION_STATES] = {
    [SESSION_IDLE] = "idle",       [SESSION_OPENING] = "opening", [SESSION_ATTACHING] = "attaching",
    [SESSION_SERVING] = "serving", [SESSION_CLOSING] = "closing",
};

static const char *const event_names[SESSION_EVENTS] = {
    [SESSION_FAR_END_CAME] = "far end came",
    [SESSION_FAR_END_READY] = "far end ready",
    [SESSION_MEDIUM_REFUSED] = "medium refused",
    [SESSION_FAR_END_LOST] = "far end lost",
    [SESSION_EXPORT_STARTED] = "export started",
    [SESSION_EXPORT_STOPPED] = "export stopped",
    [SESSION_EJECTED] = "ejected",
    [SESSION_END_ASKED] = "end asked",
};

static const char *const action_names[SESSION_ACTIONS] = {
    "open far end",       "turn away",     "fail requests", "start export", "stop export",
    "stop export (dead)", "close far end", "release",       "tell",
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
