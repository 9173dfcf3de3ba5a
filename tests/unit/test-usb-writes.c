// SPDX-License-Identifier: Apache-2.0
/* Writes through a USB function: what is acknowledged when, what is left behind and taken up again,
 * and that no retry undoes what came later. */
#include "usb-world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "export/usb-ask.h"
#include "export/usb-pipe.h"

#define WRITE_10    0x2A
#define SYNCHRONIZE 0x35
#define FUA         0x08
#define BLOCK       3000u /* not warmed up */

static const uint8_t test_unit_ready[6];

static struct usb_world *new_world(bool write_back)
{
    struct usb_world *w = usb_world_new(write_back);

    assert_int_equal(usb_world_insist(w, test_unit_ready, 6, false, NULL, 0).status, 0);
    usb_world_settle(w);
    return w;
}

static void end_world(struct usb_world *w)
{
    w->silent = false;
    usb_world_settle(w);
    assert_int_equal(w->resets, 0);
    usb_world_free(w);
}

static struct usb_outcome write_bytes(struct usb_world *w, uint8_t flags, uint32_t block,
                                      uint16_t count, uint8_t byte)
{
    uint8_t *data = malloc(count * 512u);
    struct usb_outcome out;
    uint8_t cdb[10];

    memset(data, byte, count * 512u);
    usb_cdb(cdb, WRITE_10, block, count);
    cdb[1] = flags;
    out = usb_world_command(w, cdb, 10, false, data, count * 512u);
    free(data);
    return out;
}

static struct usb_outcome flush(struct usb_world *w)
{
    uint8_t cdb[10];

    usb_cdb(cdb, SYNCHRONIZE, 0, 0);
    return usb_world_command(w, cdb, 10, false, NULL, 0);
}

static void assert_waiting(struct usb_outcome out)
{
    assert_int_equal(out.status, 1);
    assert_int_equal(out.key << 16 | out.asc << 8 | out.ascq, 0x020401);
}

static void assert_disk(const struct usb_world *w, uint32_t block, unsigned count, uint8_t byte)
{
    for (uint32_t i = 0; i < count * 512u; i++)
        assert_int_equal(w->far->disk[block * 512u + i], byte);
}

/* Write-through: never before the far end has it. */
static void test_through(void **state)
{
    struct usb_world *w = new_world(false);

    (void)state;
    w->silent = true;
    assert_waiting(write_bytes(w, 0, BLOCK, 240, 'a'));
    w->silent = false;
    assert_int_equal(write_bytes(w, 0, BLOCK, 240, 'a').status, 0);
    assert_disk(w, BLOCK, 240, 'a');
    end_world(w);
}

/* The retries are the same asks, so the far end is asked once. */
static void test_taken_up(void **state)
{
    struct usb_world *w = new_world(false);
    unsigned writes;

    (void)state;
    w->silent = true;
    for (unsigned i = 0; i < 20; i++)
        assert_waiting(write_bytes(w, 0, BLOCK, 512, 'b'));
    writes = world_counters(w->far).requests_open;
    assert_in_range(writes, 4, 6);
    w->silent = false;
    assert_int_equal(write_bytes(w, 0, BLOCK, 512, 'b').status, 0);
    assert_int_equal(w->far->writes, writes);
    assert_disk(w, BLOCK, 512, 'b');
    end_world(w);
}

/* What was given up must not come after what was asked later: a, b, then a again while the first a
 * still waits. */
static void test_order_is_kept(void **state)
{
    struct usb_world *w = new_world(false);

    (void)state;
    w->silent = true;
    assert_waiting(write_bytes(w, 0, BLOCK, 8, 'a'));
    assert_waiting(write_bytes(w, 0, BLOCK, 8, 'b'));
    assert_waiting(write_bytes(w, 0, BLOCK, 8, 'a'));
    assert_waiting(write_bytes(w, 0, BLOCK + 4, 8, 'c'));
    assert_waiting(write_bytes(w, 0, BLOCK, 8, 'a'));
    assert_int_equal(world_counters(w->far).requests_open, 5);
    w->silent = false;
    usb_world_settle(w);
    assert_disk(w, BLOCK, 8, 'a');
    assert_disk(w, BLOCK + 8, 4, 'c');
    end_world(w);
}

/* A read that was left behind before a write was acknowledged shows the old bytes: not taken up. */
static void test_read_after_write(void **state)
{
    struct usb_world *w = new_world(true);
    uint8_t data[8 * 512];
    uint8_t cdb[10];

    (void)state;
    usb_cdb(cdb, 0x28, BLOCK, 8);
    w->silent = true;
    assert_waiting(usb_world_command(w, cdb, 10, true, data, sizeof data));
    assert_int_equal(write_bytes(w, 0, BLOCK, 8, 'n').status, 0);
    memset(w->far->model + BLOCK * 512, 'n', sizeof data);
    assert_waiting(usb_world_command(w, cdb, 10, true, data, sizeof data));
    w->silent = false;
    usb_world_read(w, BLOCK, 8);
    end_world(w);
}

static void test_back(void **state)
{
    struct usb_world *w = new_world(true);
    unsigned flushes = w->far->flushes;

    (void)state;
    w->silent = true;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(write_bytes(w, 0, BLOCK + i * 240, 240, (uint8_t)('a' + i)).waited, 0);
    assert_true(usb_port_is_dirty(w->port));
    /* Nothing may say that it is safe. */
    assert_waiting(flush(w));
    assert_waiting(write_bytes(w, FUA, BLOCK + 1000, 8, 'f'));
    assert_int_equal(w->far->flushes, flushes);
    w->silent = false;
    assert_int_equal(flush(w).status, 0);
    assert_false(usb_port_is_dirty(w->port));
    assert_true(w->far->flushes > flushes);
    assert_memory_equal(w->far->disk, w->far->stable, USB_DISK);
    for (unsigned i = 0; i < 4; i++)
        assert_disk(w, BLOCK + i * 240, 240, (uint8_t)('a' + i));
    end_world(w);
}

/* However much the machine writes while the far end is away: so much is taken, and no more. */
static void test_dirty_is_bounded(void **state)
{
    struct usb_world *w = new_world(true);
    unsigned taken = 0;

    (void)state;
    w->silent = true;
    while (write_bytes(w, 0, BLOCK, 128, (uint8_t)taken).status == 0)
        taken++;
    assert_in_range(taken, 1, USB_PORT_ASKS);
    assert_int_equal(world_counters(w->far).requests_open, USB_PORT_ASKS);
    assert_true(w->bus.out_peak <= USB_PIPE_RECEIVES * USB_PIPE_LENGTH);
    w->silent = false;
    assert_int_equal(write_bytes(w, 0, BLOCK, 128, 'z').status, 0);
    assert_int_equal(flush(w).status, 0);
    assert_disk(w, BLOCK, 128, 'z');
    end_world(w);
}

static void fail_all(struct usb_world *w, int error)
{
    while (!list_is_empty(&w->far->held))
        world_answer(w->far, world_held(w->far, 0), error);
}

static void assert_failed(struct usb_outcome out)
{
    assert_int_equal(out.status, 1);
    assert_int_equal(out.key << 16 | out.asc << 8 | out.ascq, 0x030C00);
}

/* No flush is good, though it is tried again, until something is written anew. */
static void assert_flushes_fail(struct usb_world *w)
{
    w->silent = false;
    for (unsigned i = 0; i < 6; i++)
        assert_failed(flush(w));
    assert_int_equal(write_bytes(w, 0, BLOCK, 8, 'y').status, 0);
    assert_int_equal(flush(w).status, 0);
    assert_disk(w, BLOCK, 8, 'y');
}

/* Write-back: a failure after the acknowledgement is told with the next command, and by the next
 * flush. */
static void test_deferred(void **state)
{
    struct usb_world *w = new_world(true);

    (void)state;
    w->silent = true;
    assert_int_equal(write_bytes(w, 0, BLOCK, 8, 'x').status, 0);
    fail_all(w, -EIO);
    assert_false(usb_port_is_dirty(w->port));
    assert_failed(usb_world_command(w, test_unit_ready, 6, false, NULL, 0));
    assert_flushes_fail(w);
    end_world(w);
}

/* A flush that fails after the machine was told to ask again. */
static void test_flush_fails_late(void **state)
{
    struct usb_world *w = new_world(true);

    (void)state;
    assert_int_equal(write_bytes(w, 0, BLOCK, 8, 'x').status, 0);
    usb_world_settle(w);
    w->silent = true;
    assert_waiting(flush(w));
    fail_all(w, -EIO);
    assert_flushes_fail(w);
    end_world(w);
}

/* What a process that is killed had acknowledged may be gone, and no flush says otherwise. */
static void test_killed_with_debts(void **state)
{
    struct usb_world *w = new_world(true);

    (void)state;
    w->silent = true;
    assert_int_equal(write_bytes(w, 0, BLOCK, 8, 'x').status, 0);
    usb_world_kill(w);
    assert_flushes_fail(w);
    /* And one that owes nothing does no harm. */
    usb_world_settle(w);
    assert_int_equal(usb_world_command(w, test_unit_ready, 6, false, NULL, 0).status, 0);
    usb_world_kill(w);
    assert_int_equal(flush(w).status, 0);
    end_world(w);
}

/* A machine that has heard of it again and again can go on, and eject. */
static void test_failing_has_an_end(void **state)
{
    struct usb_world *w = new_world(true);
    unsigned tries = 0;

    (void)state;
    w->silent = true;
    assert_int_equal(write_bytes(w, 0, BLOCK, 8, 'x').status, 0);
    fail_all(w, -EIO);
    w->silent = false;
    while (flush(w).status != 0 && tries < 100)
        tries++;
    assert_in_range(tries, 6, 20);
    end_world(w);
}

/* Write-through: the very command is told, with what is left of its data dropped. */
static void test_failed(void **state)
{
    static const struct {
        int error;
        unsigned sense;
    } rows[] = {{-EIO, 0x030C00}, {-ENOSPC, 0x072707}};

    (void)state;
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct usb_world *w = new_world(false);
        struct usb_outcome out;

        w->far->refuse = rows[i].error;
        out = write_bytes(w, 0, BLOCK, 4096, 'x');
        w->far->refuse = 0;
        assert_int_equal(out.status, 1);
        assert_int_equal(out.key << 16 | out.asc << 8 | out.ascq, rows[i].sense);
        usb_world_settle(w);
        assert_int_equal(write_bytes(w, 0, BLOCK, 4096, 'y').status, 0);
        assert_disk(w, BLOCK, 4096, 'y');
        end_world(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_through),
        cmocka_unit_test(test_taken_up),
        cmocka_unit_test(test_order_is_kept),
        cmocka_unit_test(test_read_after_write),
        cmocka_unit_test(test_back),
        cmocka_unit_test(test_dirty_is_bounded),
        cmocka_unit_test(test_killed_with_debts),
        cmocka_unit_test(test_deferred),
        cmocka_unit_test(test_failed),
        cmocka_unit_test(test_flush_fails_late),
        cmocka_unit_test(test_failing_has_an_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
