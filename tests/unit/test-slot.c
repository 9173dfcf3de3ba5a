/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slot with a far end that stays: each end of a session, in each state it can come in, leaves
 * the slot idle, the far end told why, and nothing open.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "slot-bench.h"

#define FIRST_WORD "{\"state\":\"opening\",\"uri\":\"\",\"token\":\""

static void test_a_session(void **state)
{
    struct slot_status status;

    (void)state;
    open_session(SERVING);
    slot_get_status(slot, &status);
    assert_true(status.has_medium);
    assert_int_equal(status.medium.size, IMAGE_SIZE);
    assert_int_equal(drive.medium.kind, MEDIUM_CD);
    assert_true(drive.medium.read_only);
    assert_string_equal(status.uri, "nbd+unix:///?socket=/s");
    assert_int_equal(far->told_count, 3);
    assert_memory_equal(far->told[0], FIRST_WORD, sizeof FIRST_WORD - 1);
    assert_string_equal(far->told[0] + sizeof FIRST_WORD - 1 + 32, "\",\"grace\":30,\"keep\":60}");
    assert_string_equal(far->told[2], "{\"state\":\"serving\",\"uri\":\"nbd+unix:///?socket=/s\"}");
    slot_end(slot, STREAM_CLOSE_SHUTDOWN, "Stopping.");
    settle();
    assert_string_equal(slot_state(), "closing");
    assert_true(drive.stopped_alive);
    drive_stopped(0);
    settle();
    expect_end(STREAM_CLOSE_SHUTDOWN, "Stopping.");
}

static void test_refused(void **state)
{
    (void)state;
    drive.refuse = -EFBIG;
    open_session(OPENING);
    far_ready();
    settle();
    expect_end(STREAM_CLOSE_REFUSED, "Too large for a CD.");
    assert_int_equal(drive.starts, 0);
}

static void test_busy(void **state)
{
    (void)state;
    open_session(SERVING);
    slot_open(slot, &line.base, &(struct slot_offer){.kind = MEDIUM_DISK, .name = "b.img"});
    assert_int_equal(line.why, STREAM_CLOSE_BUSY);
    assert_int_equal(line.freed, 1);
    assert_string_equal(slot_state(), "serving");
    drive_ejected();
    settle();
    drive_stopped(0);
    settle();
    expect_end(STREAM_CLOSE_EJECTED, "The machine ejected the drive.");
}

/* A far end that leaves for good, or is lost before it has shown anything, ends the session. */
static void test_left(void **state)
{
    (void)state;
    for (int upto = OPENING; upto <= SERVING; upto++) {
        drive.starts = 0;
        drive.stops = 0;
        open_session((enum upto)upto);
        far_lose(STREAM_CLOSE_NORMAL, upto != OPENING);
        settle();
        if (upto != OPENING) {
            assert_string_equal(slot_state(), "closing");
            assert_int_equal(drive.stops, 1);
            assert_false(drive.stopped_alive);
            drive_stopped(0);
            settle();
        }
        assert_string_equal(slot_state(), "idle");
        assert_int_equal(far->closes, 0);
    }
}

static void test_export_fails(void **state)
{
    (void)state;
    for (int upto = ATTACHING; upto <= SERVING; upto++) {
        drive.starts = 0;
        open_session((enum upto)upto);
        drive_stopped(-EBUSY);
        settle();
        expect_end(STREAM_CLOSE_FAILED, "The gadget is busy.");
        assert_int_equal(drive.stops, 0);
    }
}

/* The first cause is the one that is told, and what comes late changes nothing. */
static void test_events_at_once(void **state)
{
    (void)state;
    open_session(SERVING);
    drive_ejected();
    slot_end(slot, STREAM_CLOSE_SHUTDOWN, "Stopping.");
    settle();
    assert_int_equal(drive.stops, 1);
    drive_stopped(0);
    settle();
    expect_end(STREAM_CLOSE_EJECTED, "The machine ejected the drive.");
    slot_end(slot, STREAM_CLOSE_SHUTDOWN, "Stopping.");
    settle();
}

static unsigned completed;
static int completed_error;

static void on_complete(struct request *request, int error)
{
    (void)request;
    completed++;
    completed_error = error;
}

/* A read that is out when the session ends is answered once, and before the engine goes. */
static void test_read_during_the_end(void **state)
{
    struct request request = {
        .op = REQUEST_READ, .offset = IMAGE_SIZE / 2, .length = 512, .complete = on_complete};

    (void)state;
    open_session(SERVING);
    completed = 0;
    far->hold = true;
    engine_submit(drive.engine, &request);
    assert_true(far->held_count > 0);
    slot_end(slot, STREAM_CLOSE_SHUTDOWN, "Stopping.");
    settle();
    assert_int_equal(completed, 0);
    drive_stopped(0);
    settle();
    assert_int_equal(completed, 1);
    assert_int_equal(completed_error, -EIO);
}

static void test_unknown_export(void **state)
{
    struct slot *none = NULL;

    (void)state;
    assert_int_equal(slot_new(&(struct slot_config){.loop = loop, .export_name = "floppy"}, &none),
                     -EINVAL);
    assert_null(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_session, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_refused, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_busy, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_left, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_export_fails, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_events_at_once, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_read_during_the_end, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_unknown_export, bench_setup, bench_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
