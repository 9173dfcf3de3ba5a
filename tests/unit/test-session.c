/* SPDX-License-Identifier: Apache-2.0 */
/* The session table: every pair of state and event, and what must hold of any path through it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "session/session.h"

/* The whole table, said a second time in the test's own words. -1: stays, and does nothing. */
static const int expected_next[SESSION_STATES][SESSION_EVENTS] = {
    [SESSION_IDLE] = {SESSION_OPENING, -1, -1, -1, -1, -1, -1, -1},
    [SESSION_OPENING] = {SESSION_OPENING, SESSION_ATTACHING, SESSION_IDLE, SESSION_IDLE, -1, -1, -1,
                         SESSION_IDLE},
    [SESSION_ATTACHING] = {SESSION_ATTACHING, -1, -1, SESSION_CLOSING, SESSION_SERVING,
                           SESSION_IDLE, SESSION_CLOSING, SESSION_CLOSING},
    [SESSION_SERVING] = {SESSION_SERVING, -1, -1, SESSION_CLOSING, -1, SESSION_IDLE,
                         SESSION_CLOSING, SESSION_CLOSING},
    [SESSION_CLOSING] = {SESSION_CLOSING, -1, -1, SESSION_CLOSING, -1, SESSION_IDLE, -1, -1},
};

static void test_every_pair(void **state)
{
    (void)state;
    for (unsigned s = 0; s < SESSION_STATES; s++) {
        for (unsigned e = 0; e < SESSION_EVENTS; e++) {
            struct session_step step = session_step((enum session_state)s, (enum session_event)e);

            if (expected_next[s][e] < 0) {
                assert_int_equal(step.next, s);
                assert_int_equal(step.actions, 0);
            } else {
                assert_int_equal(step.next, expected_next[s][e]);
                assert_int_not_equal(step.actions, 0);
            }
        }
    }
}

/* A newcomer never disturbs a session, and only a session that goes back to idle lets go of things.
 */
static void test_busy_and_release(void **state)
{
    (void)state;
    for (unsigned s = 0; s < SESSION_STATES; s++) {
        for (unsigned e = 0; e < SESSION_EVENTS; e++) {
            struct session_step step = session_step((enum session_state)s, (enum session_event)e);
            int releases = (step.actions & SESSION_DO_RELEASE) != 0;

            assert_int_equal(releases, s != SESSION_IDLE && step.next == SESSION_IDLE);
            if (s != SESSION_IDLE && e == SESSION_FAR_END_CAME)
                assert_int_equal(step.actions, SESSION_DO_TURN_AWAY);
        }
    }
}

/* Walks at random, keeping account of what the actions opened: nothing twice, nothing left behind.
 */
static void test_random_walks(void **state)
{
    unsigned seed = 7;
    enum session_state at = SESSION_IDLE;
    int far_end = 0;
    int export = 0;
    unsigned reached = 0;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        enum session_event event;
        struct session_step step;

        seed = seed * 1103515245u + 12345u;
        event = (enum session_event)((seed >> 16) % SESSION_EVENTS);
        /* The world sends only what it can: no word from what is not there. */
        if (event >= SESSION_FAR_END_READY && event <= SESSION_FAR_END_LOST && !far_end)
            continue;
        if (event >= SESSION_EXPORT_STARTED && event <= SESSION_EJECTED && !export)
            continue;
        if ((event == SESSION_FAR_END_READY || event == SESSION_MEDIUM_REFUSED) && export)
            continue;
        step = session_step(at, event);
        if (event == SESSION_FAR_END_LOST)
            far_end = 0;
        if (event == SESSION_EXPORT_STOPPED)
            export = 0;
        if (step.actions & SESSION_DO_OPEN_FAR_END)
            assert_int_equal(far_end++, 0);
        if (step.actions & SESSION_DO_START_EXPORT)
            assert_int_equal(export ++, 0);
        if (step.actions & (SESSION_DO_STOP_EXPORT | SESSION_DO_STOP_EXPORT_DEAD))
            assert_int_equal(export, 1);
        if (step.actions & SESSION_DO_STOP_EXPORT)
            assert_int_equal(far_end, 1);
        if (step.actions & SESSION_DO_CLOSE_FAR_END)
            far_end = 0;
        if (step.actions & SESSION_DO_RELEASE) {
            assert_int_equal(far_end, 0);
            assert_int_equal(export, 0);
        }
        at = step.next;
        reached |= 1u << at;
    }
    assert_int_equal(reached, (1u << SESSION_STATES) - 1);
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
        cmocka_unit_test(test_busy_and_release),
        cmocka_unit_test(test_random_walks),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
