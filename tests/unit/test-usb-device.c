// SPDX-License-Identifier: Apache-2.0
/*
 * The USB device, its drives and their exports: whatever ends a medium's stay, and in whatever
 * order the ends are heard of, `stopped` comes once, when nothing needs the engine any more.
 */
#include <errno.h>
#include <string.h>

#include "fake-timer.h"
#include "usb-device-world.h"

#define REMOVED 0x023a00 /* NOT READY, medium not present */
#define CHANGED 0x062800 /* UNIT ATTENTION, the medium may have changed */
#define POWERED 0x062900

static int end(void **state)
{
    (void)state;
    world_end();
    return 0;
}

static void test_a_session(void **state)
{
    (void)state;
    world_begin(1, false);
    world_turn();
    assert_int_equal(w.attach.count, 0);
    world_insert(0, MEDIUM_CD, false);
    world_turn();
    assert_int_equal(w.attach.count, 1);
    world_answer(&w.attach, 0, 1);
    /* It is in the drive before the machine can ask, and the journal says so. */
    assert_int_equal(w.functions.drive_count, 1);
    assert_false(w.functions.adopted);
    assert_true(w.is_noted[0]);
    assert_int_equal(scsi_drive_size(w.functions.drives[0]), 1 << 20);
    assert_int_equal(w.functions.drives[0]->kind, MEDIUM_CD);
    assert_string_equal(w.functions.drives[0]->identity.product, "Virtual CD");
    world_expect(0, "");
    world_ready();
    world_expect(0, "s");
    assert_int_equal(world_test_unit(0), POWERED);
    assert_int_equal(world_test_unit(0), 0);

    export_stop(w.exports[0], true);
    assert_int_equal(scsi_drive_size(w.functions.drives[0]), 0);
    world_turn();
    assert_int_equal(w.detach.count, 0);
    world_drop(0);
    assert_int_equal(w.detach.count, 1);
    world_answer(&w.detach, 0, 0);
    world_expect(0, "");
    assert_true(w.stands);
    world_close();
    world_expect(0, "x");
    assert_int_equal(w.error[0], 0);
    assert_string_equal(w.reason, "");
    world_expect_closed();

    /* And once more, as the other kind, closed before the helper answers. */
    world_serve(0, MEDIUM_DISK);
    assert_string_equal(w.functions.drives[0]->identity.product, "Virtual Disk");
    export_stop(w.exports[0], false);
    world_drop(0);
    world_close();
    world_expect(0, "");
    world_answer(&w.detach, 0, 0);
    world_expect(0, "x");
}

static void test_stop_before_it_stands(void **state)
{
    (void)state;
    world_begin(1, false);
    /* Before anything was asked. */
    world_insert(0, MEDIUM_DISK, false);
    export_stop(w.exports[0], true);
    world_expect(0, "");
    world_turn();
    world_expect(0, "x");
    assert_int_equal(w.attach.count, 0);

    /* While the helper attaches: it calls it off, or it was too late for that. */
    for (unsigned functions = 0; functions < 2; functions++) {
        world_insert(0, MEDIUM_DISK, false);
        world_turn();
        export_stop(w.exports[0], true);
        world_turn();
        assert_int_equal(w.detach.count, 1 + functions);
        world_answer(&w.attach, functions ? 0 : -ECANCELED, functions);
        assert_false(w.stands);
        world_expect_closed();
        world_expect(0, "");
        world_answer(&w.detach, 0, 0);
        world_expect(0, "x");
        assert_int_equal(w.error[0], 0);
    }

    /* While the control endpoint catches up. */
    world_insert(0, MEDIUM_DISK, false);
    world_turn();
    world_answer(&w.attach, 0, 1);
    world_take_away(0);
    export_stop(w.exports[0], true);
    world_turn();
    world_expect(0, "");
}

static void test_attach_fails(void **state)
{
    (void)state;
    world_begin(1, false);
    world_insert(0, MEDIUM_DISK, false);
    world_turn();
    world_answer(&w.attach, -EBUSY, 0);
    world_expect(0, "x");
    assert_int_equal(w.error[0], -EBUSY);
    assert_string_equal(w.reason, "Because.");
    assert_null(w.watch);
    /* No memory for a journal: the helper is not even asked. */
    w.journal_error = -ENOMEM;
    world_insert(0, MEDIUM_DISK, false);
    world_turn();
    world_expect(0, "x");
    assert_int_equal(w.error[0], -ENOMEM);
    w.journal_error = 0;
    world_serve(0, MEDIUM_DISK);
    world_take_away(0);
}

/* The helper says yes, and what it gives is of no use. */
static void test_no_functions(void **state)
{
    (void)state;
    world_begin(3, false);
    world_insert(1, MEDIUM_CD, false);
    world_turn();
    w.functions_error = -EAGAIN;
    world_answer(&w.attach, 0, 3);
    world_expect_closed();
    world_expect(1, "");
    world_drop(1);
    world_detach();
    world_expect(1, "x");
    assert_int_equal(w.error[1], -EAGAIN);
    /* As many functions as there are drives, or one. */
    world_insert(1, MEDIUM_CD, false);
    world_turn();
    world_answer(&w.attach, 0, 2);
    world_expect_closed();
    world_detach();
    world_expect(1, "x");
    assert_int_equal(w.error[1], -EPROTO);
}

static void test_the_machine_ejects(void **state)
{
    (void)state;
    world_begin(1, false);
    world_serve(0, MEDIUM_CD);
    assert_int_equal(world_test_unit(0), POWERED);
    assert_false(export_is_locked(w.exports[0]));
    world_command(0, 0x1e, 1);
    world_expect(0, "l");
    assert_true(export_is_locked(w.exports[0]));
    world_command(0, 0x1e, 0);
    world_expect(0, "u");
    assert_false(export_is_locked(w.exports[0]));
    /* A program may eject and load in one breath; that is no eject. */
    world_command(0, 0x1b, 2);
    fake_timer_pass(1999);
    world_command(0, 0x1b, 3);
    assert_int_equal(world_test_unit(0), CHANGED);
    fake_timer_pass(2000);
    world_expect(0, "");
    world_command(0, 0x1b, 2);
    fake_timer_pass(1999);
    world_expect(0, "");
    fake_timer_pass(1);
    world_expect(0, "e");
    world_take_away(0);
    assert_int_equal(w.error[0], 0);
}

/* A drive comes and goes while the others go on, whether they share a function or not. */
static void test_several_drives(void **state)
{
    (void)state;
    for (unsigned functions = 1; functions <= 3; functions += 2) {
        world_begin(3, false);
        world_insert(0, MEDIUM_DISK, false);
        world_turn();
        world_insert(2, MEDIUM_CD, false);
        world_turn();
        assert_int_equal(w.attach.count, 1);
        world_answer(&w.attach, 0, functions);
        assert_int_equal(w.functions.count, functions);
        assert_int_equal(w.functions.drive_count, 3);
        /* Comes too late for the first look: the machine hears of it as of a change. */
        world_insert(1, MEDIUM_CD, false);
        world_ready();
        world_expect(0, "s");
        world_expect(1, "s");
        world_expect(2, "s");
        assert_int_equal(world_test_unit(0), POWERED);
        assert_int_equal(world_test_unit(0), 0);

        export_stop(w.exports[0], false);
        assert_int_equal(world_test_unit(0), REMOVED);
        world_expect(0, "");
        world_drop(0);
        world_expect(0, "x");
        assert_int_equal(w.detach.count, 0);
        world_insert(0, MEDIUM_DISK, false);
        world_turn();
        world_expect(0, "s");
        assert_int_equal(world_test_unit(0), CHANGED);
        assert_int_equal(world_test_unit(0), 0);

        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(w.detach.count, 0);
            export_stop(w.exports[i], true);
            world_drop(i);
        }
        /* The last one waits for the device to go. */
        world_expect(0, "x");
        world_expect(1, "x");
        world_expect(2, "");
        world_detach();
        world_expect(2, "x");
        if (functions == 1)
            world_end();
    }
}

static void test_start_while_it_goes(void **state)
{
    (void)state;
    world_begin(3, false);
    world_insert(0, MEDIUM_DISK, false);
    world_turn();
    world_answer(&w.attach, 0, 1);
    world_ready();
    export_stop(w.exports[0], true);
    world_drop(0);
    assert_int_equal(w.detach.count, 1);
    world_insert(1, MEDIUM_CD, false);
    world_turn();
    world_detach();
    world_expect(0, "sx");
    assert_int_equal(w.attach.count, 2);
    world_answer(&w.attach, 0, 1);
    world_ready();
    world_expect(1, "s");
    world_take_away(1);
}

/* The helper dies, somebody removes the gadget, or the kernel closes its files. */
static void test_lost(void **state)
{
    (void)state;
    world_begin(3, false);
    for (unsigned how = 0; how < 4; how++) {
        world_insert(0, MEDIUM_DISK, false);
        world_turn();
        world_answer(&w.attach, 0, 3);
        if (how < 2)
            world_ready();
        world_insert(1, MEDIUM_CD, false); /* not in the drive yet */
        if (how % 2 == 0)
            w.watch->gone(w.watch->arg, -ENODEV, "Somebody pulled it.");
        else
            w.functions.events->failed(w.functions.arg, -EBADFD);
        /* What else is heard of it changes nothing. */
        w.watch->gone(w.watch->arg, -ECONNRESET, "Again.");
        w.functions.events->ready(w.functions.arg);
        export_stop(w.exports[0], false);
        world_turn();
        world_answer(&w.detach, -ENOTCONN, 0);
        world_close();
        assert_true(w.stands);
        world_drop(0);
        world_expect(0, how < 2 ? "sx" : "x");
        world_expect(1, "x");
        assert_int_equal(w.error[0], how % 2 == 0 ? -ENODEV : -EBADFD);
        assert_int_equal(w.error[1], w.error[0]);
        assert_non_null(strstr(w.reason, how % 2 == 0 ? "pulled" : "kernel"));
    }
}

static void test_helper_lost_while_it_goes(void **state)
{
    (void)state;
    world_begin(1, false);
    world_serve(0, MEDIUM_DISK);
    export_stop(w.exports[0], true);
    world_drop(0);
    world_answer(&w.detach, -ECONNRESET, 0);
    world_close();
    world_expect(0, "x");
    assert_int_equal(w.error[0], -ECONNRESET);
    assert_string_equal(w.reason, "Because.");
}

/* ---- plugged in always ---- */

static void on_stopped(void *arg)
{
    (void)arg;
    w.stopped++;
}

static void test_always(void **state)
{
    (void)state;
    world_begin(1, true);
    world_turn();
    world_answer(&w.adopt, -ENOENT, 0);
    assert_int_equal(w.attach.count, 1);
    world_answer(&w.attach, 0, 1);
    world_ready();
    assert_int_equal(world_test_unit(0), POWERED);
    assert_int_equal(world_test_unit(0), REMOVED);
    world_insert(0, MEDIUM_DISK, false);
    world_turn();
    world_expect(0, "s");
    assert_int_equal(world_test_unit(0), CHANGED);
    export_stop(w.exports[0], true);
    world_drop(0);
    world_expect(0, "x");
    assert_int_equal(w.detach.count, 0);
    usb_device_stop(w.device, on_stopped, NULL);
    world_turn();
    assert_int_equal(w.stopped, 0);
    world_detach();
    assert_int_equal(w.stopped, 1);
    fake_timer_pass(60000);
    world_turn();
    assert_int_equal(w.stopped, 1);
}

/* The medium goes with the device, which comes back without it. */
static void test_always_and_lost(void **state)
{
    (void)state;
    world_begin(1, true);
    world_insert(0, MEDIUM_DISK, false);
    world_turn();
    world_answer(&w.adopt, -ENOENT, 0);
    world_answer(&w.attach, 0, 1);
    world_ready();
    export_stop(w.exports[0], true);
    world_drop(0);
    world_expect(0, "sx");
    world_insert(0, MEDIUM_DISK, false);
    world_turn();
    w.watch->gone(w.watch->arg, -ECONNRESET, "The helper has gone.");
    world_drop(0);
    world_detach();
    world_expect(0, "sx");
    assert_int_equal(w.error[0], -ECONNRESET);
    assert_int_equal(w.attach.count, 1);
    fake_timer_pass(1000);
    world_turn();
    world_answer(&w.attach, -ENOTCONN, 0);
    fake_timer_pass(1999);
    world_turn();
    assert_int_equal(w.attach.count, 2);
    fake_timer_pass(1);
    world_turn();
    assert_int_equal(w.attach.count, 3);
    world_answer(&w.attach, -ENOTCONN, 0);
    /* Whoever brings a medium does not wait, and hears why if it fails. */
    world_insert(0, MEDIUM_DISK, false);
    world_turn();
    world_answer(&w.attach, -ENOTCONN, 0);
    world_expect(0, "x");
    assert_int_equal(w.error[0], -ENOTCONN);
    for (unsigned i = 0; i < 10; i++) {
        fake_timer_pass(30000);
        world_turn();
        world_answer(&w.attach, -ENOTCONN, 0);
    }
    fake_timer_pass(30000);
    world_turn();
    world_answer(&w.attach, 0, 1);
    world_ready();
    usb_device_stop(w.device, NULL, NULL);
    world_turn();
    world_detach();
}

/* With a medium in it, which comes out first; while resting; and without ever having been used. */
static void test_stop(void **state)
{
    (void)state;
    world_begin(1, true);
    world_insert(0, MEDIUM_DISK, false);
    world_turn();
    world_answer(&w.adopt, -ENOENT, 0);
    world_answer(&w.attach, 0, 1);
    world_ready();
    usb_device_stop(w.device, on_stopped, NULL);
    world_turn();
    assert_int_equal(w.detach.count, 0);
    export_stop(w.exports[0], true);
    world_drop(0);
    world_detach();
    world_expect(0, "sx");
    assert_int_equal(w.stopped, 1);
    world_end();

    world_begin(1, true);
    world_turn();
    world_answer(&w.adopt, -ENOENT, 0);
    world_answer(&w.attach, -EBUSY, 0);
    usb_device_stop(w.device, on_stopped, NULL);
    world_turn();
    assert_int_equal(w.stopped, 1);
    world_end();

    world_begin(1, true);
    world_turn();
    usb_device_stop(w.device, on_stopped, NULL);
    world_turn();
    world_answer(&w.adopt, -ECANCELED, 0);
    assert_int_equal(w.stopped, 0);
    world_detach();
    assert_int_equal(w.stopped, 1);
    world_end();

    world_begin(2, false);
    usb_device_stop(w.device, on_stopped, NULL);
    assert_int_equal(w.stopped, 0);
    world_turn();
    assert_int_equal(w.stopped, 1);
}

static void test_check(void **state)
{
    struct medium medium = {.kind = MEDIUM_CD, .size = 2048, .read_only = true};
    char reason[256];

    (void)state;
    world_begin(2, false);
    assert_int_equal(w.exports[1]->ops->check(w.exports[1], &medium, reason, sizeof reason), 0);
    assert_string_equal(reason, "");
    assert_int_equal(w.exports[0]->ops->check(w.exports[0], &medium, reason, sizeof reason),
                     -EMEDIUMTYPE);
    assert_string_equal(reason, "This drive is a disk drive: choose Disk instead.");
    medium.kind = MEDIUM_DISK;
    assert_int_equal(w.exports[1]->ops->check(w.exports[1], &medium, reason, sizeof reason),
                     -EMEDIUMTYPE);
    assert_string_equal(reason, "This drive is a CD drive: choose CD instead.");
    world_end();

    world_begin(1, false);
    for (int kind = MEDIUM_DISK; kind <= MEDIUM_CD; kind++) {
        medium.kind = (enum medium_kind)kind;
        medium.size = medium_sector(medium.kind) - 1;
        assert_int_equal(w.exports[0]->ops->check(w.exports[0], &medium, reason, sizeof reason),
                         -EINVAL);
        medium.size = UINT64_C(1) << 42;
        assert_int_equal(w.exports[0]->ops->check(w.exports[0], &medium, reason, sizeof reason), 0);
    }
    medium.size = UINT64_C(1) << 43;
    assert_int_equal(w.exports[0]->ops->check(w.exports[0], &medium, reason, sizeof reason),
                     -EFBIG);
    assert_true(strlen(reason) <= 120);
}

#define DEVICE_TEST(f) cmocka_unit_test_teardown(f, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DEVICE_TEST(test_a_session),
        DEVICE_TEST(test_stop_before_it_stands),
        DEVICE_TEST(test_attach_fails),
        DEVICE_TEST(test_no_functions),
        DEVICE_TEST(test_the_machine_ejects),
        DEVICE_TEST(test_several_drives),
        DEVICE_TEST(test_start_while_it_goes),
        DEVICE_TEST(test_lost),
        DEVICE_TEST(test_helper_lost_while_it_goes),
        DEVICE_TEST(test_always),
        DEVICE_TEST(test_always_and_lost),
        DEVICE_TEST(test_stop),
        DEVICE_TEST(test_check),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
