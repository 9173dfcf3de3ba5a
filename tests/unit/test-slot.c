/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slot on a real loop, with a source and an export made here: each end of a session, in each
 * state it can come in, leaves the slot idle, the far end told why, and nothing open.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/loop.h"
#include "export/export.h"
#include "slot/slot.h"
#include "source/peer.h"

static struct loop *loop;
static struct slot *slot;

/* ---- the far end ---- */

static struct {
    struct source base;
    bool alive;
    struct stream *stream;
    enum stream_close closed_why;
    char closed_reason[256];
    unsigned closes;
    char told[8][128];
    unsigned told_count;
    struct source_request *held;
} far_end;

static void far_submit(struct source *source, struct source_request *request)
{
    (void)source;
    assert_true(far_end.alive);
    assert_null(far_end.held);
    far_end.held = request;
}

static void far_close(struct source *source, enum stream_close why, const char *reason)
{
    (void)source;
    assert_true(far_end.alive);
    far_end.closed_why = why;
    far_end.closes++;
    strncpy(far_end.closed_reason, reason, sizeof far_end.closed_reason - 1);
}

static void far_tell(struct source *source, const char *text)
{
    (void)source;
    assert_true(far_end.alive && far_end.told_count < 8);
    strncpy(far_end.told[far_end.told_count++], text, sizeof far_end.told[0] - 1);
}

static void far_finish(int error)
{
    struct source_request *request = far_end.held;

    far_end.held = NULL;
    if (request)
        request->complete(request, error);
}

static void far_free(struct source *source)
{
    (void)source;
    far_finish(SOURCE_LOST);
    far_end.alive = false;
}

static const struct source_ops far_ops = {
    .submit = far_submit, .close = far_close, .tell = far_tell, .free = far_free};

int peer_new(struct loop *l, struct stream *stream, const struct source_events *events, void *owner,
             struct source **out)
{
    assert_ptr_equal(l, loop);
    memset(&far_end, 0, sizeof far_end);
    far_end.base = (struct source){.ops = &far_ops, .events = events, .owner = owner};
    far_end.alive = true;
    far_end.stream = stream;
    *out = &far_end.base;
    return 0;
}

static void far_ready(void)
{
    struct source_info info = {.size = 1 << 20,
                               .block_min = 1,
                               .length_max = 1 << 20,
                               .in_flight_max = 4,
                               .read_only = true};

    far_end.base.events->ready(far_end.base.owner, &info);
}

static void far_lost(bool orderly)
{
    far_finish(-EIO);
    far_end.base.events->lost(far_end.base.owner, STREAM_CLOSE_NORMAL, orderly, "cable pulled");
}

/* ---- the export ---- */

static struct {
    struct export base;
    struct engine *engine;
    struct medium medium;
    unsigned starts;
    unsigned stops;
    bool stopped_alive;
    int refuse;
} drive;

static int drive_check(const struct medium *medium, char *reason, size_t room)
{
    (void)medium;
    strncpy(reason, "Too large for a CD.", room);
    return drive.refuse;
}

static void drive_start(struct export *e, const struct medium *medium, struct engine *engine)
{
    (void)e;
    drive.starts++;
    drive.medium = *medium;
    drive.engine = engine;
}

static void drive_stop(struct export *e, bool link_alive)
{
    (void)e;
    drive.stops++;
    drive.stopped_alive = link_alive;
}

static void drive_describe(const struct export *e, char *out, size_t room)
{
    (void)e;
    strncpy(out, "nbd+unix:///?socket=/s", room);
}

static void drive_free(struct export *e)
{
    (void)e;
}

static int drive_new(const struct export_config *config, struct export **out);

static const struct export_ops drive_ops = {
    .name = "unix",
    .check = drive_check,
    .new = drive_new,
    .start = drive_start,
    .stop = drive_stop,
    .describe = drive_describe,
    .free = drive_free,
};

static int drive_new(const struct export_config *config, struct export **out)
{
    assert_int_equal(config->slot, 3);
    drive.base.ops = &drive_ops;
    *out = &drive.base;
    return 0;
}

const struct export_ops *export_find(const char *name)
{
    return strcmp(name, "unix") == 0 ? &drive_ops : NULL;
}

static void drive_started(void)
{
    drive.base.events->started(drive.base.owner);
}

static void drive_stopped(int error)
{
    drive.base.events->stopped(drive.base.owner, error, error ? "The gadget is busy." : "");
}

static void drive_ejected(void)
{
    drive.base.events->ejected(drive.base.owner);
}

/* ---- a newcomer's stream ---- */

static struct {
    struct stream base;
    unsigned freed;
    enum stream_close why;
    char reason[128];
} line;

static void line_close(struct stream *s, enum stream_close why, const char *reason)
{
    (void)s;
    line.why = why;
    strncpy(line.reason, reason, sizeof line.reason - 1);
}

static void line_free(struct stream *s)
{
    (void)s;
    line.freed++;
}

static const struct stream_ops line_ops = {.close = line_close, .free = line_free};

/* ---- the bench ---- */

static void stop_loop(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

/* Lets the loop handle all that was posted before this call. */
static void settle(void)
{
    struct loop_timer *timer;

    assert_int_equal(loop_timer_new(loop, stop_loop, NULL, &timer), 0);
    loop_timer_set(timer, 1);
    loop_run(loop);
    loop_timer_free(timer);
}

static const char *slot_state(void)
{
    struct slot_status status;

    slot_get_status(slot, &status);
    return status.state;
}

static int setup(void **state)
{
    struct slot_config config = {
        .name = "Drive", .export_name = "unix", .number = 3, .cache_max = 8 << 20};

    (void)state;
    memset(&drive, 0, sizeof drive);
    memset(&line, 0, sizeof line);
    line.base.ops = &line_ops;
    assert_int_equal(loop_new(&loop), 0);
    config.loop = loop;
    assert_int_equal(slot_new(&config, &slot), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_true(slot_is_idle(slot));
    assert_false(far_end.alive);
    slot_free(slot);
    loop_free(loop);
    return 0;
}

enum upto { OPENING, ATTACHING, SERVING };

static void open_session(enum upto upto)
{
    slot_open(slot, &line.base, &(struct slot_offer){.kind = MEDIUM_CD, .name = "a.iso"});
    assert_string_equal(slot_state(), "opening");
    if (upto == OPENING)
        return;
    far_ready();
    settle();
    assert_string_equal(slot_state(), "attaching");
    assert_int_equal(drive.starts, 1);
    if (upto == ATTACHING)
        return;
    drive_started();
    settle();
    assert_string_equal(slot_state(), "serving");
}

/* The far end was told the reason twice: whole, and in its goodbye. */
static void expect_end(enum stream_close why, const char *reason)
{
    struct slot_status status;
    char word[256];

    assert_int_equal(far_end.closes, 1);
    assert_int_equal(far_end.closed_why, why);
    assert_string_equal(far_end.closed_reason, reason);
    snprintf(word, sizeof word, "{\"state\":\"closing\",\"uri\":\"\",\"reason\":\"%s\"}", reason);
    assert_string_equal(far_end.told[far_end.told_count - 1], word);
    slot_get_status(slot, &status);
    assert_string_equal(status.reason, reason);
}

static void test_a_session(void **state)
{
    struct slot_status status;

    (void)state;
    open_session(SERVING);
    slot_get_status(slot, &status);
    assert_true(status.has_medium);
    assert_int_equal(status.medium.size, 1 << 20);
    assert_int_equal(drive.medium.kind, MEDIUM_CD);
    assert_true(drive.medium.read_only);
    assert_string_equal(status.uri, "nbd+unix:///?socket=/s");
    assert_int_equal(far_end.told_count, 3);
    assert_string_equal(far_end.told[0], "{\"state\":\"opening\",\"uri\":\"\"}");
    assert_string_equal(far_end.told[2],
                        "{\"state\":\"serving\",\"uri\":\"nbd+unix:///?socket=/s\"}");
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

static void test_lost(void **state)
{
    (void)state;
    for (int upto = OPENING; upto <= SERVING; upto++) {
        drive.starts = 0;
        drive.stops = 0;
        open_session((enum upto)upto);
        far_lost(upto == SERVING);
        settle();
        if (upto != OPENING) {
            assert_string_equal(slot_state(), "closing");
            assert_int_equal(drive.stops, 1);
            assert_false(drive.stopped_alive);
            drive_stopped(0);
            settle();
        }
        assert_string_equal(slot_state(), "idle");
        assert_int_equal(far_end.closes, 0);
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
    struct request request = {.op = REQUEST_READ, .length = 512, .complete = on_complete};

    (void)state;
    open_session(SERVING);
    completed = 0;
    engine_submit(drive.engine, &request);
    assert_non_null(far_end.held);
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
        cmocka_unit_test_setup_teardown(test_a_session, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_busy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_export_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_events_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_during_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_export, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
