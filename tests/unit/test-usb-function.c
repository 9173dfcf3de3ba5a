// SPDX-License-Identifier: Apache-2.0
/* The USB function: data right and in order, what is under way bounded, and how long a command is
 * held. */
#include "usb-world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "export/usb-ask.h"
#include "export/usb-pipe.h"

#define READ_10       0x28
#define WRITE_10      0x2A
#define VERIFY_10     0x2F
#define SYNCHRONIZE   0x35
#define WRITE_SAME_10 0x41
#define BYTCHK        0x02

static const uint8_t test_unit_ready[6];

static struct usb_outcome ready(struct usb_world *w)
{
    return usb_world_command(w, test_unit_ready, 6, false, NULL, 0);
}

/* The attention every host meets first. */
static struct usb_world *new_world(bool write_back)
{
    struct usb_world *w = usb_world_new(write_back);

    assert_int_equal(usb_world_insist(w, test_unit_ready, 6, false, NULL, 0).status, 0);
    return w;
}

static void end_world(struct usb_world *w)
{
    assert_int_equal(w->resets, 0);
    usb_world_free(w);
}

static struct usb_outcome command(struct usb_world *w, uint8_t operation, uint8_t flags,
                                  uint32_t block, uint16_t count, bool in, uint8_t *data,
                                  uint32_t length)
{
    uint8_t cdb[10];

    usb_cdb(cdb, operation, block, count);
    cdb[1] = flags;
    return usb_world_command(w, cdb, 10, in, data, length);
}

static void assert_waiting(struct usb_outcome out)
{
    assert_int_equal(out.status, 1);
    assert_int_equal(out.key, 0x02);
    assert_int_equal(out.asc, 0x04);
    assert_int_equal(out.ascq, 0x01);
}

static void assert_held(struct usb_outcome out)
{
    assert_waiting(out);
    assert_in_range(out.waited, scsi_manners(SCSI_WAITING)->hold,
                    scsi_manners(SCSI_WAITING)->hold + 100);
}

/* ---- data ---- */

static void test_reads(void **state)
{
    struct usb_world *w = new_world(false);

    (void)state;
    usb_world_read(w, 0, 1);
    usb_world_read(w, 1, 127);
    usb_world_read(w, 3, 2048);
    usb_world_read(w, USB_DISK / 512 - 240, 240);
    usb_world_read(w, 127, 2);
    usb_world_read(w, 0, 8000);
    end_world(w);
}

static void test_writes(void **state)
{
    (void)state;
    for (int back = 0; back <= 1; back++) {
        struct usb_world *w = new_world(back);

        usb_world_write(w, 0, 1, 1);
        usb_world_write(w, 7, 240, 2);
        usb_world_write(w, 100, 2048, 3);
        usb_world_write(w, 0, 8000, 4);
        usb_world_read(w, 0, 8000);
        usb_world_settle(w);
        assert_memory_equal(w->far->disk, w->far->model, USB_DISK);
        assert_true(w->bus.out_peak <= USB_PIPE_RECEIVES * USB_PIPE_LENGTH);
        end_world(w);
    }
}

static void test_compares(void **state)
{
    struct usb_world *w = new_world(false);
    uint32_t length = 300 * 512;
    uint8_t *data = malloc(length);
    struct usb_outcome out;

    (void)state;
    memcpy(data, w->far->model + 5 * 512, length);
    out = command(w, VERIFY_10, BYTCHK, 5, 300, false, data, length);
    assert_int_equal(out.status, 0);
    data[length - 1] ^= 1;
    out = command(w, VERIFY_10, BYTCHK, 5, 300, false, data, length);
    assert_int_equal(out.status, 1);
    assert_int_equal(out.key, 0x0E);
    data[0] ^= 1;
    out = command(w, VERIFY_10, BYTCHK, 5, 300, false, data, length);
    assert_int_equal(out.key, 0x0E);
    /* Without the data: it can be read. */
    assert_int_equal(command(w, VERIFY_10, 0, 0, 8000, false, NULL, 0).status, 0);
    free(data);
    end_world(w);
}

static void test_fills(void **state)
{
    struct usb_world *w = new_world(false);
    uint8_t block[512];
    uint8_t *model = w->far->model;

    (void)state;
    for (unsigned i = 0; i < sizeof block; i++)
        block[i] = (uint8_t)(i * 3 + 1);
    assert_int_equal(command(w, WRITE_SAME_10, 0, 9, 1000, false, block, 512).status, 0);
    for (unsigned i = 9; i < 1009; i++)
        memcpy(model + i * 512u, block, 512);
    usb_world_read(w, 0, 1100);
    memset(block, 0, sizeof block);
    assert_int_equal(command(w, WRITE_SAME_10, 0, 20, 500, false, block, 512).status, 0);
    memset(model + 20 * 512, 0, 500 * 512);
    usb_world_read(w, 0, 1100);
    end_world(w);
}

static void test_trims(void **state)
{
    struct usb_world *w = new_world(false);
    uint8_t cdb[10] = {0x42, [8] = 24};
    uint8_t list[24] = {[1] = 22, [3] = 16, [15] = 100, [18] = 1};

    (void)state;
    assert_int_equal(usb_world_command(w, cdb, 10, false, list, sizeof list).status, 0);
    assert_int_equal(w->far->zeroings, 1);
    memset(w->far->model + 100 * 512, 0, 256 * 512);
    usb_world_read(w, 0, 500);
    end_world(w);
}

/* A short packet where one is due only at the end would end the host's transfer. */
static void test_packets(void **state)
{
    struct usb_world *w = new_world(false);

    (void)state;
    usb_function_enable(w->function, 1024);
    usb_world_settle(w);
    list_for_each (it, &w->bus.in)
        fail_msg("something is sent unasked");
    usb_function_enable(w->function, USB_PACKET);
    usb_world_settle(w);
    for (uint32_t block = 0; block < 130; block++)
        usb_world_read(w, block, 260);
    end_world(w);
}

/* The data of a command and its status stand on the endpoint before the host has fetched a byte,
 * when the data is there. */
static void test_one_turn(void **state)
{
    struct usb_world *w = new_world(false);
    uint8_t cbw[31] = "USBC";
    bool stalled;

    (void)state;
    usb_world_read(w, 0, 128);
    usb_world_settle(w);
    cbw[10] = 1; /* 64 KiB */
    cbw[12] = 0x80;
    cbw[14] = 10;
    usb_cdb(cbw + 15, READ_10, 0, 128);
    assert_int_equal(usb_host_send(w, cbw, sizeof cbw, &stalled), sizeof cbw);
    usb_world_turn(w);
    assert_int_equal(w->bus.under_way, 64 * KIB / (32 * KIB) + 1);
    assert_true(list_is_empty(&w->bus.out));
    usb_function_reset(w->function);
    usb_world_settle(w);
    end_world(w);
}

static void test_little_memory(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 40; n += 3) {
        struct usb_world *w = new_world(false);

        w->bus.short_memory = n;
        usb_world_read(w, 10, 400);
        w->bus.short_memory = n;
        usb_world_write(w, 10, 400, 7);
        w->bus.short_memory = n;
        w->bus.late_halt = true;
        /* Asked for more than there is: a halt ends it. */
        assert_int_equal(command(w, READ_10, 0, 0, 1, true, w->far->model, 1024).residue, 512);
        usb_world_read(w, 10, 400);
        end_world(w);
    }
}

/* ---- the hold ---- */

static void test_held(void **state)
{
    struct usb_world *w = new_world(false);
    uint8_t *data = malloc(240 * 512);
    unsigned asks;

    (void)state;
    w->silent = true;
    assert_held(command(w, READ_10, 0, 4000, 240, true, data, 240 * 512));
    asks = w->far->asks;
    for (unsigned i = 0; i < 50; i++)
        assert_held(command(w, READ_10, 0, 4000, 240, true, data, 240 * 512));
    /* Taken up every time, and the same engine requests still. */
    assert_int_equal(w->far->asks, asks);
    assert_in_range(world_counters(w->far).requests_open, 1, 3);
    w->silent = false;
    usb_world_read(w, 4000, 240);
    free(data);
    end_world(w);
}

/* Another range every time: what is left behind is bounded, and the rest waits for room. */
static void test_left_behind_is_bounded(void **state)
{
    struct usb_world *w = new_world(false);
    uint8_t *data = malloc(32 * KIB);

    (void)state;
    w->silent = true;
    for (uint32_t i = 0; i < 60; i++)
        assert_held(command(w, READ_10, 0, 2100 + i * 64, 64, true, data, 32 * KIB));
    assert_int_equal(world_counters(w->far).requests_open, USB_PORT_ASKS);
    w->silent = false;
    usb_world_settle(w);
    assert_int_equal(world_counters(w->far).requests_open, 0);
    usb_world_read(w, 0, 8000);
    free(data);
    end_world(w);
}

/* Slow, but there: as long as answers come the command goes on, up to the limit. */
static void test_slow(void **state)
{
    struct usb_world *w = new_world(false);
    uint8_t *data = malloc(1024 * KIB);
    struct usb_outcome out;
    uint8_t cbw[31] = "USBC";
    bool stalled, ended;
    size_t got = 0;

    (void)state;
    /* 512 KiB, of which something comes every 1.5 s. */
    w->silent = true;
    usb_world_settle(w);
    cbw[10] = 8;
    cbw[12] = 0x80;
    cbw[14] = 10;
    usb_cdb(cbw + 15, READ_10, 2048, 1024);
    assert_int_equal(usb_host_send(w, cbw, sizeof cbw, &stalled), sizeof cbw);
    for (unsigned i = 0; i < 1000 && got < 512 * KIB; i++) {
        for (unsigned ms = 0; ms < 1500; ms += 10)
            usb_world_turn(w);
        got += usb_host_fetch(w, data + got, 512 * KIB - got, &stalled, &ended);
        assert_false(stalled || ended);
        if (!list_is_empty(&w->far->held))
            world_answer(w->far, world_held(w->far, 0), 0);
    }
    assert_int_equal(got, 512 * KIB);
    assert_memory_equal(data, w->far->model + 2048 * 512, got);
    assert_true(w->now > 3000);
    usb_function_reset(w->function);
    usb_world_settle(w);
    w->silent = false;
    out = ready(w);
    assert_int_equal(out.status, 0);
    free(data);
    end_world(w);
}

static void test_ready(void **state)
{
    struct usb_world *w = new_world(false);
    struct usb_outcome out;

    (void)state;
    usb_port_set_link(w->port, EXPORT_LINK_WAITING);
    assert_held(ready(w));
    usb_port_set_link(w->port, EXPORT_LINK_FAILED);
    out = ready(w);
    assert_int_equal(out.status, 1);
    assert_int_equal(out.key, 0x02);
    assert_int_equal(out.waited, 0);
    usb_port_set_link(w->port, EXPORT_LINK_LIVE);
    assert_int_equal(ready(w).status, 0);
    end_world(w);
}

/* A host that is slow to fetch is not the far end's fault. */
static void test_slow_host(void **state)
{
    struct usb_world *w = new_world(false);
    uint8_t cbw[31] = "USBC";
    uint8_t *data = malloc(4 * MIB);
    bool stalled, ended;
    size_t got;

    (void)state;
    usb_world_settle(w);
    cbw[10] = 0x20; /* 2 MiB */
    cbw[12] = 0x80;
    cbw[14] = 10;
    usb_cdb(cbw + 15, READ_10, 0, 4096);
    assert_int_equal(usb_host_send(w, cbw, sizeof cbw, &stalled), sizeof cbw);
    for (unsigned ms = 0; ms < 40000; ms += 10)
        usb_world_turn(w);
    assert_true(w->bus.under_way <= USB_PIPE_SENDS + 1);
    got = usb_host_fetch(w, data, 2 * MIB, &stalled, &ended);
    for (unsigned i = 0; i < 10000 && got < 2 * MIB; i++) {
        usb_world_turn(w);
        got += usb_host_fetch(w, data + got, 2 * MIB - got, &stalled, &ended);
    }
    assert_int_equal(got, 2 * MIB);
    assert_memory_equal(data, w->far->model, got);
    usb_function_reset(w->function);
    usb_world_settle(w);
    free(data);
    end_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),     cmocka_unit_test(test_writes),
        cmocka_unit_test(test_compares),  cmocka_unit_test(test_fills),
        cmocka_unit_test(test_trims),     cmocka_unit_test(test_packets),
        cmocka_unit_test(test_one_turn),  cmocka_unit_test(test_little_memory),
        cmocka_unit_test(test_held),      cmocka_unit_test(test_left_behind_is_bounded),
        cmocka_unit_test(test_slow),      cmocka_unit_test(test_ready),
        cmocka_unit_test(test_slow_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
