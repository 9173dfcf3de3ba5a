/* SPDX-License-Identifier: Apache-2.0 */
/* The session table: every pair of state and event, and what must hold of any path through it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "session/session.h"

#define IDLE      SESSION_IDLE
#define OPENING   SESSION_OPENING
#define ATTACHING SESSION_ATTACHING
#define SERVING   SESSION_SERVING
#define SUSPENDED SESSION_SUSPENDED
#define RESUMING  SESSION_RESUMING
#define ABSENT    SESSION_ABSENT
#define RETURNING SESSION_RETURNING
#define CLOSING   SESSION_CLOSING
/* Stays, and does nothing. */
#define NONE -1

/* The whole table, said a second time in the test's own words: a row an event, a column a state. */
static const int expected[SESSION_EVENTS][SESSION_STATES] = {
    /* from:  idle, opening, attaching, serving, suspended, resuming, absent, returning, closing */
    [SESSION_FAR_END_CAME] = {OPENING, OPENING, ATTACHING, SERVING, SUSPENDED, RESUMING, ABSENT,
                              RETURNING, CLOSING},
    [SESSION_FAR_END_BACK] = {NONE, OPENING, RESUMING, RESUMING, RESUMING, RESUMING, RETURNING,
                              RETURNING, CLOSING},
    [SESSION_FAR_END_READY] = {NONE, ATTACHING, NONE, NONE, NONE, NONE, NONE, NONE, NONE},
    [SESSION_MEDIUM_REFUSED] = {NONE, IDLE, NONE, NONE, NONE, NONE, NONE, NONE, NONE},
    [SESSION_FAR_END_SAME] = {NONE, NONE, NONE, NONE, NONE, SERVING, NONE, SERVING, NONE},
    [SESSION_FAR_END_DIFFERENT] = {NONE, NONE, NONE, NONE, NONE, SUSPENDED, NONE, ABSENT, NONE},
    [SESSION_FAR_END_LOST] = {NONE, IDLE, SUSPENDED, SUSPENDED, NONE, SUSPENDED, NONE, ABSENT,
                              CLOSING},
    [SESSION_FAR_END_LEFT] = {NONE, IDLE, CLOSING, CLOSING, NONE, CLOSING, NONE, CLOSING, CLOSING},
    [SESSION_EXPORT_STARTED] = {NONE, NONE, SERVING, SERVING, SUSPENDED, RESUMING, ABSENT,
                                RETURNING, NONE},
    [SESSION_EXPORT_STOPPED] = {NONE, NONE, IDLE, IDLE, IDLE, IDLE, IDLE, IDLE, IDLE},
    [SESSION_EJECTED] = {NONE, NONE, CLOSING, CLOSING, CLOSING, CLOSING, CLOSING, CLOSING, NONE},
    [SESSION_END_ASKED] = {NONE, IDLE, CLOSING, CLOSING, CLOSING, CLOSING, CLOSING, CLOSING, NONE},
    [SESSION_GRACE_OVER] = {NONE, NONE, NONE, NONE, ABSENT, RETURNING, NONE, NONE, NONE},
    [SESSION_KEEP_OVER] = {NONE, NONE, NONE, NONE, NONE, NONE, CLOSING, CLOSING, NONE},
    [SESSION_DRIVE_LEFT] = {SUSPENDED, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE},
};

static void for_each_pair(void (*check)(enum session_state, enum session_event,
                                        struct session_step))
{
    for (unsigned s = 0; s < SESSION_STATES; s++) {
        for (unsigned e = 0; e < SESSION_EVENTS; e++)
            check((enum session_state)s, (enum session_event)e,
                  session_step((enum session_state)s, (enum session_event)e));
    }
}

static void check_next(enum session_state s, enum session_event e, struct session_step step)
{
    if (expected[e][s] == NONE) {
        assert_int_equal(step.next, s);
        assert_int_equal(step.actions, 0);
    } else {
        assert_int_equal(step.next, expected[e][s]);
        assert_int_not_equal(step.actions, 0);
    }
}

static void test_every_pair(void **state)
{
    (void)state;
    for_each_pair(check_next);
}

/* A stranger never disturbs a session, only a session that goes back to idle lets go of things, and
 * the machine is made to look again exactly where it has seen errors. */
static void check_rules(enum session_state s, enum session_event e, struct session_step step)
{
    int releases = (step.actions & SESSION_DO_RELEASE) != 0;
    int reloads = (step.actions & SESSION_DO_RELOAD) != 0;

    assert_int_equal(releases, s != IDLE && step.next == IDLE);
    assert_int_equal(reloads, s == RETURNING && step.next == SERVING);
    if (s != IDLE && e == SESSION_FAR_END_CAME)
        assert_int_equal(step.actions, SESSION_DO_TURN_AWAY);
}

static void test_rules(void **state)
{
    (void)state;
    for_each_pair(check_rules);
}

/* ---- any path through it ---- */

/* What the actions have made and not yet unmade. */
static struct {
    int session, far_end, export, clock, asking, failing, recorded;
} world;

static unsigned walk_seed;

static unsigned draw(unsigned below)
{
    walk_seed = walk_seed * 1103515245u + 12345u;
    return (walk_seed >> 16) % below;
}

static int clock_of(enum session_state s)
{
    if (s == SUSPENDED || s == RESUMING)
        return SESSION_GRACE_OVER;
    return s == ABSENT || s == RETURNING ? SESSION_KEEP_OVER : 0;
}

/* The world sends only what it can: no word from what is not there. */
static int can_come(enum session_state s, enum session_event event)
{
    switch (event) {
    case SESSION_FAR_END_CAME:
        return 1;
    case SESSION_FAR_END_BACK:
        return world.session;
    case SESSION_FAR_END_READY:
    case SESSION_MEDIUM_REFUSED:
        return world.far_end && s == OPENING;
    case SESSION_FAR_END_SAME:
    case SESSION_FAR_END_DIFFERENT:
        return world.far_end && !world.asking;
    case SESSION_FAR_END_LOST:
    case SESSION_FAR_END_LEFT:
        return world.far_end;
    case SESSION_EXPORT_STARTED:
    case SESSION_EXPORT_STOPPED:
    case SESSION_EJECTED:
        return world.export;
    case SESSION_END_ASKED:
        return 1;
    case SESSION_GRACE_OVER:
    case SESSION_KEEP_OVER:
        return world.clock == (int)event;
    default:
        return s == IDLE;
    }
}

static void act_on_far_end(unsigned actions)
{
    if (actions & (SESSION_DO_SUSPEND | SESSION_DO_FAIL_REQUESTS))
        world.asking = 0;
    if (actions & SESSION_DO_FAIL_REQUESTS)
        world.failing = 1;
    if (actions & SESSION_DO_SEND_AWAY)
        assert_int_equal(world.far_end, 1);
    if (actions & (SESSION_DO_DROP_FAR_END | SESSION_DO_SEND_AWAY)) {
        assert_int_equal(world.asking, 0);
        world.far_end = 0;
    }
    if (actions & SESSION_DO_OPEN_FAR_END) {
        assert_int_equal(world.session, 1);
        assert_int_equal(world.far_end++, 0);
    }
    if (actions & SESSION_DO_USE_FAR_END) {
        assert_int_equal(world.far_end, 1);
        assert_int_equal(world.asking++, 0);
        world.failing = 0;
    }
}

static void act_on_export(unsigned actions, enum session_event event)
{
    if (actions & (SESSION_DO_START_EXPORT | SESSION_DO_ADOPT_EXPORT))
        assert_int_equal(world.export ++, 0);
    if (actions & (SESSION_DO_STOP_EXPORT | SESSION_DO_STOP_EXPORT_DEAD | SESSION_DO_RELOAD))
        assert_int_equal(world.export, 1);
    if (actions & SESSION_DO_STOP_EXPORT)
        assert_true(world.far_end && world.asking);
    if (actions & SESSION_DO_STOP_EXPORT_DEAD)
        assert_true(world.failing);
    if (actions & SESSION_DO_REMEMBER)
        world.recorded = 1;
    if (actions & SESSION_DO_FORGET)
        world.recorded = 0;
    if (actions & SESSION_DO_STOP_CLOCK)
        world.clock = 0;
    if (actions & SESSION_DO_START_GRACE)
        world.clock = SESSION_GRACE_OVER;
    if (actions & SESSION_DO_START_KEEP) {
        assert_int_equal(event, SESSION_GRACE_OVER);
        world.clock = SESSION_KEEP_OVER;
    }
}

static void take_step(enum session_event event, struct session_step step)
{
    unsigned actions = step.actions;

    if (event == SESSION_FAR_END_LOST || event == SESSION_FAR_END_LEFT)
        world.far_end = 0;
    if (event == SESSION_EXPORT_STOPPED)
        world.export = 0;
    if (event == SESSION_DRIVE_LEFT)
        world.recorded = 1;
    if (event == SESSION_GRACE_OVER || event == SESSION_KEEP_OVER)
        world.clock = 0;
    if (actions & SESSION_DO_BEGIN)
        assert_int_equal(world.session++, 0);
    act_on_far_end(actions);
    act_on_export(actions, event);
    if (actions & SESSION_DO_CLOSE_FAR_END)
        world.far_end = 0;
    if (actions & SESSION_DO_RELEASE) {
        assert_int_equal(world.far_end, 0);
        assert_int_equal(world.export, 0);
        assert_int_equal(world.recorded, 0);
        world.session = 0;
        world.asking = 0;
        world.failing = 0;
    }
    assert_int_equal(world.clock, clock_of(step.next));
    /* A machine that has its drive waits, is served, or gets errors: as the state says. */
    if (step.next == SERVING)
        assert_true((world.asking || !world.far_end) && !world.failing);
    if (step.next == SUSPENDED || step.next == RESUMING)
        assert_true(!world.asking && !world.failing);
    if (step.next == ABSENT || step.next == RETURNING)
        assert_true(world.failing);
    if (step.next == CLOSING)
        assert_false(world.recorded);
}

/* Walks at random, keeping account of what the actions opened: nothing twice, nothing left behind,
 * and every pair of state and event that can be is come by. */
static void test_random_walks(void **state)
{
    enum session_state at = IDLE;
    unsigned char seen[SESSION_STATES][SESSION_EVENTS] = {{0}};
    unsigned missed = 0;

    (void)state;
    walk_seed = 7;
    for (int i = 0; i < 1000000; i++) {
        enum session_event event = (enum session_event)draw(SESSION_EVENTS);
        struct session_step step = session_step(at, event);

        if (!can_come(at, event))
            continue;
        seen[at][event] = 1;
        take_step(event, step);
        at = step.next;
    }
    for (unsigned s = 0; s < SESSION_STATES; s++) {
        for (unsigned e = 0; e < SESSION_EVENTS; e++)
            missed += expected[e][s] != NONE && !seen[s][e];
    }
    assert_int_equal(missed, 0);
}

static void test_names(void **state)
{
    (void)state;
    for (unsigned s = 0; s < SESSION_STATES; s++)
        assert_non_null(session_state_name((enum session_state)s));
    for (unsigned e = 0; e < SESSION_EVENTS; e++)
        assert_non_null(session_event_name((enum session_event)e));
    for (unsigned a = 0; a < SESSION_ACTIONS; a++)
        assert_non_null(session_action_name(a));
    assert_null(session_action_name(SESSION_ACTIONS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pair),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_random_walks),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
