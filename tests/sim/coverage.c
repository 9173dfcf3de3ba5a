// SPDX-License-Identifier: Apache-2.0
/*
 * Two looks at the session table. What the slots ask it passes through here (the linker wraps
 * session_step()), and is ticked off. And a walk by chance through the table alone asks it
 * everything, also what no slot would, and follows its actions in a small model: what happens to
 * the machine's requests, and which clock runs. Each state has one right answer to both.
 */
#include "coverage.h"

#include <stdio.h>

#include "session/session.h"
#include "world.h"

#define WALK_MAX 1000000

enum requests { NOWHERE, WAIT, SERVED, FAIL, ANY };
enum clock { STILL, GRACE, KEEP };

static bool asked_by_slots[SESSION_STATES][SESSION_EVENTS];

/* The names are the linker's. */
struct session_step __real_session_step(enum session_state state, enum session_event event);
struct session_step __wrap_session_step(enum session_state state, enum session_event event);

struct session_step __wrap_session_step(enum session_state state, enum session_event event)
{
    asked_by_slots[state][event] = true;
    return __real_session_step(state, event);
}

/* What must hold in each state; CLOSING begins from anywhere. */
static const struct {
    enum requests requests;
    enum clock clock;
} right[SESSION_STATES] = {
    [SESSION_IDLE] = {NOWHERE, STILL},     [SESSION_OPENING] = {WAIT, STILL},
    [SESSION_ATTACHING] = {SERVED, STILL}, [SESSION_SERVING] = {SERVED, STILL},
    [SESSION_SUSPENDED] = {WAIT, GRACE},   [SESSION_RESUMING] = {WAIT, GRACE},
    [SESSION_ABSENT] = {FAIL, KEEP},       [SESSION_RETURNING] = {FAIL, KEEP},
    [SESSION_CLOSING] = {ANY, STILL},
};

struct model {
    enum session_state state;
    enum requests requests;
    enum clock clock;
    bool has_export;
};

static void require(bool holds, const struct model *was, enum session_event event, const char *what)
{
    if (!holds)
        world_fail("the session table, %s + %s: %s", session_state_name(was->state),
                   session_event_name(event), what);
}

static void follow_requests(struct model *m, unsigned actions)
{
    if (actions & SESSION_DO_BEGIN)
        m->requests = WAIT;
    if (actions & SESSION_DO_SUSPEND)
        m->requests = WAIT;
    if (actions & SESSION_DO_FAIL_REQUESTS)
        m->requests = FAIL;
    if (actions & SESSION_DO_USE_FAR_END)
        m->requests = SERVED;
    if (actions & SESSION_DO_RELEASE)
        m->requests = NOWHERE;
}

static void follow_clock(struct model *m, unsigned actions)
{
    if (actions & SESSION_DO_STOP_CLOCK)
        m->clock = STILL;
    if (actions & SESSION_DO_START_GRACE)
        m->clock = GRACE;
    if (actions & SESSION_DO_START_KEEP)
        m->clock = KEEP;
    if (actions & SESSION_DO_RELEASE)
        m->clock = STILL;
}

static void follow(struct model *m, enum session_event event)
{
    struct session_step step = __real_session_step(m->state, event);
    struct model was = *m;
    unsigned starts = SESSION_DO_START_EXPORT | SESSION_DO_ADOPT_EXPORT;
    unsigned stops = SESSION_DO_STOP_EXPORT | SESSION_DO_STOP_EXPORT_DEAD;

    follow_requests(m, step.actions);
    follow_clock(m, step.actions);
    m->state = step.next;
    require(!!(step.actions & SESSION_DO_BEGIN) ==
                (was.state == SESSION_IDLE && step.next != SESSION_IDLE),
            &was, event, "a session begins exactly on the way out of idle");
    require(!!(step.actions & SESSION_DO_RELEASE) ==
                (was.state != SESSION_IDLE && step.next == SESSION_IDLE),
            &was, event, "a session is released exactly on the way into idle");
    require(!(step.actions & starts) || !was.has_export, &was, event, "a second export");
    require(!(step.actions & stops) || was.has_export, &was, event, "no export to stop");
    require(!(step.actions & SESSION_DO_RELOAD) || was.state == SESSION_RETURNING, &was, event,
            "a reload without failed requests before it");
    require(was.state != SESSION_RETURNING || step.next != SESSION_SERVING ||
                step.actions & SESSION_DO_RELOAD,
            &was, event, "failed requests without a reload after them");
    m->has_export = (was.has_export || step.actions & starts) && step.next != SESSION_IDLE;
    require(right[m->state].requests == ANY || right[m->state].requests == m->requests, &was, event,
            "the machine's requests are not treated as the new state says");
    require(right[m->state].clock == m->clock, &was, event,
            "the clock does not run as the new state says");
}

void coverage_walk(void)
{
    bool asked[SESSION_STATES][SESSION_EVENTS] = {{false}};
    unsigned left = SESSION_STATES * SESSION_EVENTS;
    struct model m = {.state = SESSION_IDLE};

    world_init(1);
    for (unsigned i = 0; i < WALK_MAX && left > 0; i++) {
        enum session_event event = (enum session_event)world_random(SESSION_EVENTS);

        left -= !asked[m.state][event];
        asked[m.state][event] = true;
        follow(&m, event);
    }
    if (left > 0)
        world_fail("the session table: %u pairs of state and event are out of reach", left);
    world_done();
    printf("sim: all %d pairs of the session table were walked\n", SESSION_STATES * SESSION_EVENTS);
}

void coverage_print(void)
{
    unsigned count = 0;

    for (unsigned s = 0; s < SESSION_STATES; s++) {
        for (unsigned e = 0; e < SESSION_EVENTS; e++)
            count += asked_by_slots[s][e];
    }
    printf("sim: slots asked for %u of the session table's %d pairs\n", count,
           SESSION_STATES * SESSION_EVENTS);
}
