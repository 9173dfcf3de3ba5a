// SPDX-License-Identifier: Apache-2.0
/* Whatever happens, at whatever point of whatever command: afterwards the drive works, and the data
 * is right. Each test runs one script of commands again and again, with one thing happening before
 * one turn after another, until the script is over before it happens. */
#include "usb-world.h"

#include <stdlib.h>
#include <string.h>

#define VERIFY_10   0x2F
#define SYNCHRONIZE 0x35

static const uint8_t test_unit_ready[6];
static bool fifo;

static void insist(struct usb_world *w, uint8_t operation, uint8_t flags, uint32_t block,
                   uint16_t count, bool in, uint8_t *data, uint32_t length)
{
    struct usb_outcome out;
    uint8_t cdb[10];

    usb_cdb(cdb, operation, block, count);
    cdb[1] = flags;
    out = usb_world_insist(w, cdb, 10, in, data, length);
    if (out.status != 0)
        fail_msg("%02x: %02x/%02x/%02x", operation, out.key, out.asc, out.ascq);
}

/* One command of each kind of deed. */
static void script(struct usb_world *w)
{
    uint8_t capacity[8];

    usb_world_insist(w, test_unit_ready, 6, false, NULL, 0);
    usb_world_read(w, 3000, 240);
    usb_world_write(w, 3100, 240, (uint8_t)w->trap_at);
    usb_world_read(w, 3000, 400);
    insist(w, VERIFY_10, 0x02, 3100, 200, false, w->far->model + 3100 * 512, 200 * 512);
    insist(w, 0x25, 0, 0, 0, true, capacity, 8);
    assert_int_equal(capacity[7], 0);
    assert_int_equal(capacity[6], 2);
    insist(w, SYNCHRONIZE, 0, 0, 0, false, NULL, 0);
    /* More announced than there is. */
    insist(w, 0x25, 0, 0, 0, true, (uint8_t[1024]){0}, 1024);
    usb_world_read(w, 3099, 3);
}

/* With `trap` before every `step`-th turn, one in each run. How many times the host had to reset by
 * itself. */
static unsigned run_all(void (*trap)(struct usb_world *w), bool write_back, unsigned step)
{
    unsigned resets = 0;

    for (unsigned n = 1;; n += step) {
        struct usb_world *w = usb_world_new(write_back);
        bool over;

        w->bus.fifo = fifo;

        w->trap_at = n;
        w->trap = trap;
        script(w);
        over = w->turns < n;
        w->trap_at = 0;
        usb_world_read(w, 3000, 400);
        usb_world_settle(w);
        assert_memory_equal(w->far->disk, w->far->model, USB_DISK);
        resets += w->resets;
        usb_world_free(w);
        if (over) {
            assert_true(n > 20);
            return resets;
        }
    }
}

static void class_reset(struct usb_world *w)
{
    w->restarted = true;
}

static void replug(struct usb_world *w)
{
    usb_world_unplug(w);
    usb_function_disable(w->function);
    usb_world_plug(w);
    w->restarted = true;
}

/* FunctionFS keeps only the last of DISABLE and ENABLE, when both come between two looks. */
static void replug_unseen(struct usb_world *w)
{
    usb_world_unplug(w);
    usb_world_plug(w);
    w->restarted = true;
}

/* The transfers' ends come before the bus's word. */
static void replug_late(struct usb_world *w)
{
    usb_world_unplug(w);
    usb_world_settle(w);
    usb_world_plug(w);
    w->restarted = true;
}

static void test_class_reset(void **state)
{
    (void)state;
    assert_int_equal(run_all(class_reset, false, 2), 0);
    assert_int_equal(run_all(class_reset, true, 5), 0);
}

static void test_replug(void **state)
{
    (void)state;
    assert_int_equal(run_all(replug, false, 2), 0);
    assert_int_equal(run_all(replug_unseen, false, 3), 0);
    assert_int_equal(run_all(replug_late, true, 3), 0);
}

/* Killed at any point, with a host that is at work: it never has to reset. */
static void test_kill(void **state)
{
    (void)state;
    assert_int_equal(run_all(usb_world_kill, false, 1), 0);
    fifo = true;
    assert_int_equal(run_all(usb_world_kill, false, 1), 0);
    fifo = false;
}

static void one_command(struct usb_world *w, unsigned kind)
{
    if (kind == 0)
        usb_world_insist(w, test_unit_ready, 6, false, NULL, 0);
    else if (kind == 1)
        usb_world_read(w, 3010, 16);
    else
        usb_world_write(w, 3010, 16, 5);
}

/* Killed between two commands: the host notices nothing. */
static void test_killed_between(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        struct usb_world *w = usb_world_new(false);
        uint64_t since;

        usb_world_read(w, 3000, 16);
        usb_world_settle(w);
        assert_true(usb_bus_listens(&w->bus));
        usb_world_kill(w);
        for (unsigned ms = 0; i >= 3 && ms < 3000; ms += 10)
            usb_world_turn(w);
        since = w->now;
        one_command(w, i % 3);
        one_command(w, 1);
        assert_true(w->now - since < 1000);
        assert_int_equal(w->resets, 0);
        usb_world_free(w);
    }
}

static void kill_often(struct usb_world *w)
{
    usb_world_kill(w);
    w->trap_at = w->turns + 101;
}

static void test_killed_often(void **state)
{
    struct usb_world *w = usb_world_new(false);

    (void)state;
    w->trap = kill_often;
    w->trap_at = 1;
    for (unsigned i = 0; i < 5; i++) {
        usb_world_read(w, 3000, 100);
        usb_world_write(w, 3100, 16, (uint8_t)i);
    }
    w->trap_at = 0;
    usb_world_read(w, 3000, 400);
    assert_int_equal(w->resets, 0);
    usb_world_free(w);
}

/* Killed with a host that has its status and wants nothing: whether the process had heard of that
 * or not, nothing is left standing for the next command to find. */
static void test_killed_idle(void **state)
{
    (void)state;
    for (unsigned heard = 0; heard < 4; heard++) {
        struct usb_world *w = usb_world_new(false);

        usb_world_read(w, 3000, 100);
        for (unsigned i = 0; i < heard; i++)
            usb_world_turn(w);
        usb_world_kill(w);
        for (unsigned i = 0; i < 500; i++)
            usb_world_turn(w);
        assert_true(list_is_empty(&w->bus.in));
        usb_world_read(w, 3000, 100);
        usb_world_write(w, 3000, 100, 3);
        assert_int_equal(w->resets, 0);
        usb_world_free(w);
    }
}

static void test_upgrade(void **state)
{
    (void)state;
    assert_int_equal(run_all(usb_world_upgrade, false, 2), 0);
    assert_int_equal(run_all(usb_world_upgrade, true, 3), 0);
}

/* ---- the medium goes ---- */

static void count_gone(void *arg)
{
    ((struct usb_world *)arg)->gone++;
}

static void take_medium(struct usb_world *w)
{
    scsi_drive_remove(&w->drive);
    usb_port_drop_engine(w->port, count_gone, w);
}

static void test_medium_goes(void **state)
{
    bool over = false;

    (void)state;
    for (unsigned n = 1; !over; n++) {
        struct usb_world *w = usb_world_new(false);
        uint8_t *data = calloc(400, 512);
        struct usb_outcome out = {0};
        uint8_t cdb[10];

        usb_world_insist(w, test_unit_ready, 6, false, NULL, 0);
        usb_world_settle(w);
        w->turns = 0;
        w->trap_at = n;
        w->trap = take_medium;
        for (unsigned i = 0; i < 4 && out.status == 0; i++) {
            usb_cdb(cdb, i % 2 ? 0x2A : 0x28, 3000 + i, 400);
            out = usb_world_command(w, cdb, 10, i % 2 == 0, data, 400 * 512);
        }
        over = w->turns < n;
        assert_int_equal(w->resets, 0);
        if (!over) {
            usb_world_settle(w);
            out = usb_world_command(w, test_unit_ready, 6, false, NULL, 0);
            assert_int_equal(out.status, 1);
            assert_int_equal(out.key << 8 | out.asc, 0x023A);
            assert_int_equal(w->gone, 1);
            /* Another one comes. */
            usb_port_set_engine(w->port, w->far->engine);
            scsi_drive_insert(&w->drive, USB_DISK, true);
            usb_cdb(cdb, 0x28, 0, 400);
            assert_int_equal(usb_world_insist(w, cdb, 10, true, data, 400 * 512).status, 0);
            assert_memory_equal(data, w->far->disk, 400 * 512);
        }
        free(data);
        usb_world_free(w);
    }
}

/* The engine goes only when it has answered, and nothing is left at it. */
static void test_engine_stays_for_its_answers(void **state)
{
    struct usb_world *w = usb_world_new(true);
    uint8_t *data = calloc(240, 512);
    uint8_t cdb[10];

    (void)state;
    usb_world_insist(w, test_unit_ready, 6, false, NULL, 0);
    w->silent = true;
    usb_cdb(cdb, 0x28, 3000, 240);
    assert_int_equal(usb_world_command(w, cdb, 10, true, data, 240 * 512).asc, 0x04);
    take_medium(w);
    assert_int_equal(w->gone, 0);
    w->silent = false;
    usb_world_settle(w);
    assert_int_equal(w->gone, 1);
    assert_int_equal(world_counters(w->far).requests_open, 0);
    free(data);
    usb_world_free(w);
}

/* ---- a host that says nonsense ---- */

static void test_nonsense(void **state)
{
    struct usb_world *w = usb_world_new(false);
    uint8_t junk[600] = "USBC";
    uint8_t byte;
    bool stalled, ended;

    (void)state;
    for (size_t length = 1; length <= 512; length += 13) {
        usb_world_settle(w);
        assert_int_equal(usb_host_send(w, junk, length, &stalled), length);
        usb_world_settle(w);
        fake_timer_pass(100);
        /* Halted, and halted again, until the reset. */
        for (unsigned i = 0; i < 3; i++) {
            usb_host_fetch(w, &byte, 1, &stalled, &ended);
            assert_true(stalled);
            usb_host_send(w, junk, 31, &stalled);
            assert_true(stalled);
            w->bus.halted_in = w->bus.halted_out = false;
            fake_timer_pass(100);
        }
        usb_function_reset(w->function);
        w->bus.halted_in = w->bus.halted_out = false;
        fake_timer_pass(100);
        usb_world_settle(w);
        usb_world_read(w, 0, 10);
    }
    usb_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_class_reset),
        cmocka_unit_test(test_replug),
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_killed_between),
        cmocka_unit_test(test_killed_often),
        cmocka_unit_test(test_killed_idle),
        cmocka_unit_test(test_upgrade),
        cmocka_unit_test(test_medium_goes),
        cmocka_unit_test(test_engine_stays_for_its_answers),
        cmocka_unit_test(test_nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
