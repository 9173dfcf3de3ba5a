// SPDX-License-Identifier: Apache-2.0
/*
 * A USB device that is left by one process and taken over by the next: what the machine notices
 * (nothing, or what is true), and what the slots hear.
 */
#include <errno.h>
#include <string.h>

#include "fake-timer.h"
#include "usb-device-world.h"

#define REMOVED 0x023a00
#define POWERED 0x062900

static int end(void **state)
{
    (void)state;
    world_end();
    return 0;
}

/* What the process before this one wrote down of a drive; `size` 0: without a medium. */
static void left(unsigned drive, enum medium_kind kind, uint64_t size, bool locked)
{
    static const struct scsi_identity identity = {.vendor = "Platter"};
    static struct scsi_drive d;
    uint8_t unit[6] = {0}, lock[6] = {0x1e, 0, 0, 0, 1, 0};

    scsi_drive_init(&d, kind, &identity, false);
    if (size)
        scsi_drive_insert(&d, size, false);
    scsi_drive_execute(&d, unit, sizeof unit); /* its first unit attention has been told */
    if (locked)
        assert_int_equal(scsi_drive_execute(&d, lock, sizeof lock).status, SCSI_GOOD);
    w.noted[drive].kind = kind;
    w.noted[drive].length = scsi_drive_note(&d, w.noted[drive].note);
    w.is_noted[drive] = true;
}

static void test_the_machine_notices_nothing(void **state)
{
    (void)state;
    world_begin(1, false);
    left(0, MEDIUM_CD, 1 << 20, true);
    world_insert(0, MEDIUM_CD, true);
    export_link(w.exports[0], EXPORT_LINK_WAITING);
    world_turn();
    assert_int_equal(w.attach.count, 0);
    world_answer(&w.adopt, 0, 1);
    assert_true(w.functions.adopted);
    assert_false(w.ports[0].live);
    world_ready();
    world_expect(0, "s");
    assert_true(export_is_locked(w.exports[0]));
    assert_int_equal(world_test_unit(0), 0);
    export_link(w.exports[0], EXPORT_LINK_LIVE);
    assert_true(w.ports[0].live);
    export_link(w.exports[0], EXPORT_LINK_FAILED);
    assert_false(w.ports[0].live);
    world_take_away(0);
    assert_int_equal(w.error[0], 0);
}

/* One drive goes on, one was ejected, and of one the session has ended: its medium comes out. */
static void test_each_drive_as_it_is(void **state)
{
    (void)state;
    world_begin(3, false);
    left(0, MEDIUM_DISK, 1 << 20, false);
    left(1, MEDIUM_CD, 0, false);
    left(2, MEDIUM_CD, 1 << 20, false);
    w.noted[0].owes = w.noted[2].owes = true;
    world_insert(0, MEDIUM_DISK, true);
    world_insert(1, MEDIUM_CD, true);
    world_turn();
    world_answer(&w.adopt, 0, 3);
    assert_int_equal(scsi_drive_size(w.functions.drives[2]), 0);
    /* Its writes may be lost; of the one that goes nobody will ask. */
    assert_true(w.ports[0].owes);
    assert_false(w.ports[2].owes);
    world_ready();
    world_expect(0, "s");
    world_expect(1, "s");
    fake_timer_pass(2000);
    world_expect(1, "e");
    world_expect(2, "");
    assert_int_equal(world_test_unit(0), 0);
    assert_int_equal(world_test_unit(2) >> 8, REMOVED >> 8);
    export_stop(w.exports[1], true);
    world_drop(1);
    world_expect(1, "x");
    world_take_away(0);
}

/* A medium that is not what was left there is a new one to the machine. */
static void test_another_medium(void **state)
{
    (void)state;
    world_begin(2, false);
    left(0, MEDIUM_DISK, 1 << 19, false);
    left(1, MEDIUM_CD, 1 << 20, false);
    world_insert(0, MEDIUM_DISK, true);
    world_insert(1, MEDIUM_CD, false); /* a new session's */
    world_turn();
    world_answer(&w.adopt, 0, 2);
    world_ready();
    for (unsigned i = 0; i < 2; i++) {
        world_expect(i, "s");
        assert_int_equal(scsi_drive_size(w.functions.drives[i]), 1 << 20);
        assert_int_equal(world_test_unit(i), 0x062800);
        export_stop(w.exports[i], true);
        world_drop(i);
    }
    world_detach();
}

/* Whoever wants what is not there is told; whoever wants a new device gets it. */
static void test_nothing_was_left(void **state)
{
    (void)state;
    world_begin(3, false);
    world_insert(0, MEDIUM_DISK, true);
    world_insert(1, MEDIUM_CD, false);
    world_turn();
    world_answer(&w.adopt, -ENOENT, 0);
    world_expect(0, "x");
    assert_int_equal(w.error[0], -ENOENT);
    assert_string_equal(w.reason, "Because.");
    assert_int_equal(w.attach.count, 1);
    world_answer(&w.attach, 0, 3);
    world_ready();
    world_expect(1, "s");
    assert_int_equal(world_test_unit(1), POWERED);
    world_take_away(1);
    /* Only once: what comes later was not left by anybody. */
    assert_int_equal(w.adopt.count, 1);
}

static void fails_to_be_adopted(unsigned functions, int error)
{
    world_insert(0, MEDIUM_DISK, true);
    world_turn();
    world_answer(&w.adopt, 0, functions);
    world_expect_closed();
    assert_false(w.stands);
    if (w.ports[0].dropped)
        world_drop(0);
    world_detach();
    world_expect(0, "x");
    assert_int_equal(w.error[0], error);
    assert_true(strlen(w.reason) <= 120);
    world_end();
}

static void test_of_no_use(void **state)
{
    (void)state;
    world_begin(2, false); /* no journal at all */
    w.journal_error = -EBADMSG;
    fails_to_be_adopted(2, -EBADMSG);
    world_begin(2, false); /* one without the second drive */
    left(0, MEDIUM_DISK, 1 << 20, false);
    fails_to_be_adopted(1, -EBADMSG);
    world_begin(2, false); /* one whose note makes no sense */
    left(0, MEDIUM_DISK, 1 << 20, false);
    left(1, MEDIUM_CD, 1 << 20, false);
    w.noted[1].length = 1;
    fails_to_be_adopted(2, -EBADMSG);
    world_begin(2, false); /* the configuration has changed */
    left(0, MEDIUM_CD, 1 << 20, false);
    left(1, MEDIUM_CD, 1 << 20, false);
    fails_to_be_adopted(2, -ESTALE);
    world_begin(2, false); /* no memory for transfers */
    left(0, MEDIUM_DISK, 1 << 20, false);
    left(1, MEDIUM_CD, 1 << 20, false);
    w.functions_error = -EAGAIN;
    fails_to_be_adopted(2, -EAGAIN);
    world_begin(3, false); /* a helper that gives something else */
    fails_to_be_adopted(2, -EPROTO);
    world_begin(1, false);
}

static void test_stop_while_adopting(void **state)
{
    (void)state;
    world_begin(1, false);
    for (unsigned functions = 0; functions < 2; functions++) {
        left(0, MEDIUM_DISK, 1 << 20, false);
        world_insert(0, MEDIUM_DISK, true);
        world_turn();
        export_stop(w.exports[0], false);
        world_turn();
        world_answer(&w.adopt, functions ? 0 : -ECANCELED, functions);
        world_expect_closed();
        world_detach();
        world_expect(0, "x");
        world_end();
        world_begin(1, false);
    }
}

/* Always plugged in: adopted without a medium too. */
static void test_empty_and_always(void **state)
{
    (void)state;
    world_begin(1, true);
    left(0, MEDIUM_DISK, 0, false);
    world_turn();
    world_answer(&w.adopt, 0, 1);
    world_ready();
    assert_int_equal(world_test_unit(0), REMOVED);
    world_expect(0, "");
    w.watch->gone(w.watch->arg, -ENODEV, "Somebody pulled it.");
    world_detach();
    usb_device_stop(w.device, NULL, NULL);
    world_turn();
}

/* ---- leaving ---- */

static void on_left(void *arg)
{
    (void)arg;
    w.stopped++;
}

/* The process ends with everything as it stands, so this test's world is not taken down. */
static void test_leave(void **state)
{
    (void)state;
    world_begin(1, false);
    world_serve(0, MEDIUM_DISK);
    usb_device_leave(w.device, on_left, NULL);
    assert_int_equal(w.stopped, 0);
    assert_non_null(w.quiesced);
    assert_int_equal(world_test_unit(0), POWERED);
    /* Whatever happens meanwhile, the device is not touched, and nobody is told. */
    world_command(0, 0x1b, 2);
    export_stop(w.exports[0], true);
    w.watch->gone(w.watch->arg, -ECONNRESET, "The helper has gone.");
    w.functions.events->failed(w.functions.arg, -EBADFD);
    world_turn();
    assert_int_equal(w.detach.count, 0);
    assert_null(w.closed);
    assert_null(w.ports[0].dropped);
    fake_timer_pass(2000);
    world_expect(0, "");
    w.quiesced(w.quiesced_arg);
    assert_int_equal(w.stopped, 1);
}

static void test_leave_before_it_stands(void **state)
{
    (void)state;
    world_begin(1, false);
    world_insert(0, MEDIUM_DISK, false);
    world_turn();
    usb_device_leave(w.device, on_left, NULL);
    assert_int_equal(w.stopped, 1);
    world_answer(&w.attach, 0, 1);
    world_expect_closed();
    assert_false(w.stands);
    world_expect(0, "");
}

#define ADOPTION_TEST(f) cmocka_unit_test_teardown(f, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ADOPTION_TEST(test_the_machine_notices_nothing),
        ADOPTION_TEST(test_each_drive_as_it_is),
        ADOPTION_TEST(test_another_medium),
        ADOPTION_TEST(test_nothing_was_left),
        ADOPTION_TEST(test_of_no_use),
        ADOPTION_TEST(test_stop_while_adopting),
        ADOPTION_TEST(test_empty_and_always),
        cmocka_unit_test(test_leave),
        cmocka_unit_test(test_leave_before_it_stands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
