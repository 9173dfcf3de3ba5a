/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the slot and its export tell each other while the machine has its drive: how it stands with
 * the far end, in one direction, and that the machine has locked the medium in, in the other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "slot-bench.h"

static void lose(void)
{
    far_lose(STREAM_CLOSE_FAILED, false);
    settle();
}

static void test_within_the_grace(void **state)
{
    (void)state;
    serve();
    assert_string_equal(drive.links, ""); /* a start is with a live one */
    lose();
    assert_string_equal(drive.links, "w");
    come_back();
    far_ready();
    settle();
    assert_string_equal(slot_state(), "serving");
    assert_string_equal(drive.links, "wl");
    end_session();
}

static void test_after_the_grace(void **state)
{
    (void)state;
    slot_free(slot);
    make_slot(1, 60);
    serve();
    lose();
    wait_for_state("absent");
    assert_string_equal(drive.links, "wf");
    come_back();
    far_ready();
    settle();
    assert_string_equal(slot_state(), "serving");
    assert_string_equal(drive.links, "wfl");
    end_session();
}

/* A page that leaves for good: requests fail while the drive is taken down; and none is told when
 * the export has ended by itself, for it is gone by then. */
static void test_ends(void **state)
{
    (void)state;
    serve();
    far_lose(STREAM_CLOSE_NORMAL, true);
    settle();
    assert_string_equal(drive.links, "f");
    drive_stopped(0);
    settle();
    assert_string_equal(slot_state(), "idle");
    drive.starts = 0;
    serve();
    drive_stopped(-5);
    settle();
    assert_string_equal(slot_state(), "idle");
    assert_string_equal(drive.links, "");
}

/* While the drive is being built, too. */
static void test_while_attaching(void **state)
{
    (void)state;
    open_session(ATTACHING);
    lose();
    assert_string_equal(drive.links, "w");
    drive_started();
    settle();
    end_session();
}

/* Lets time go by until the far end is told something; what it is told. */
static const char *next_word(void)
{
    unsigned before = far->told_count;
    uint64_t limit = loop_clock() + 20 * 1000000;

    while (far->told_count == before && loop_clock() < limit)
        settle();
    assert_int_equal(far->told_count, before + 1);
    return far->told[before];
}

static void test_locked(void **state)
{
    struct slot_status status;

    (void)state;
    assert_false(slot_is_locked(slot));
    drive.locked = true; /* of no medium: nobody's business */
    open_session(ATTACHING);
    assert_false(slot_is_locked(slot));
    slot_request_eject(slot);
    assert_int_equal(drive.eject_requests, 0);
    drive.locked = false;
    drive_started();
    settle();
    assert_null(strstr(far->told[far->told_count - 1], "locked"));
    drive_lock(true);
    assert_non_null(strstr(next_word(), "\"locked\":true"));
    assert_true(slot_is_locked(slot));
    slot_get_status(slot, &status);
    assert_true(status.locked);
    slot_request_eject(slot);
    assert_int_equal(drive.eject_requests, 1);
    assert_string_equal(slot_state(), "serving");
    /* However often it changes its mind, the page is told what came of it, once. */
    for (unsigned i = 0; i < 1001; i++)
        drive_lock(i & 1);
    assert_null(strstr(next_word(), "locked"));
    drive_lock(true);
    end_session(); /* all the same */
    assert_null(strstr(far->told[far->told_count - 1], "locked"));
    slot_get_status(slot, &status);
    assert_false(status.locked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_within_the_grace, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_after_the_grace, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_ends, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_while_attaching, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_locked, bench_setup, bench_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
