// SPDX-License-Identifier: Apache-2.0
/* Transfers by Linux AIO, on a file, where they are over at once: told of on the loop and never
 * before, quiet ones with others, and refusals at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/loop.h"
#include "export/usb-aio.h"

struct bench {
    struct loop *loop;
    struct loop_timer *bell;
    struct usb_aio *aio;
    int fd;
    bool ends_in_done; /* the last `done` frees the aio */
};

struct told {
    struct usb_transfer transfer;
    struct bench *bench;
    unsigned times;
    int64_t result;
};

static void done(struct usb_transfer *t, int64_t result)
{
    struct told *told = list_entry(t, struct told, transfer);

    told->times++;
    told->result = result;
    if (!told->bench->ends_in_done)
        return;
    usb_aio_free(told->bench->aio);
    told->bench->aio = NULL;
}

static void ring(void *arg)
{
    loop_stop(((struct bench *)arg)->loop);
}

static void turn(struct bench *b)
{
    loop_timer_set(b->bell, 20);
    loop_run(b->loop);
}

static int set_up(void **state)
{
    static struct bench b;

    b = (struct bench){.fd = memfd_create("endpoint", MFD_CLOEXEC)};
    assert_int_equal(loop_new(&b.loop), 0);
    assert_int_equal(loop_timer_new(b.loop, ring, &b, &b.bell), 0);
    assert_int_equal(usb_aio_new(b.loop, 8, &b.aio), 0);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    usb_aio_free(b->aio);
    loop_timer_free(b->bell);
    loop_free(b->loop);
    close(b->fd);
    return 0;
}

static void test_there_and_back(void **state)
{
    struct bench *b = *state;
    struct told sent = {.bench = b, .transfer.done = done};
    struct told got = sent;
    char out[] = "one two";
    char back[16] = "";
    struct iovec parts[2] = {{out, 3}, {out + 3, 4}};
    struct iovec into = {back, sizeof back};

    assert_int_equal(usb_aio_send(b->aio, &sent.transfer, b->fd, parts, 2), 0);
    /* The bytes are the sender's again, and the end is not told from inside. */
    memset(out, 'x', sizeof out);
    assert_int_equal(sent.times, 0);
    turn(b);
    assert_int_equal(sent.times, 1);
    assert_int_equal(sent.result, 7);
    assert_int_equal(usb_aio_receive(b->aio, &got.transfer, b->fd, &into, 1), 0);
    assert_int_equal(got.times, 0);
    turn(b);
    assert_int_equal(got.times, 1);
    assert_int_equal(got.result, 7);
    assert_string_equal(back, "one two");
}

static void test_quiet(void **state)
{
    struct bench *b = *state;
    struct told quiet = {.bench = b, .transfer = {.done = done, .quiet = true}};
    struct told loud = {.bench = b, .transfer.done = done};
    struct iovec iov = {(char[]){"byte"}, 4};

    assert_int_equal(usb_aio_send(b->aio, &quiet.transfer, b->fd, &iov, 1), 0);
    turn(b);
    assert_int_equal(quiet.times, 0);
    assert_int_equal(usb_aio_send(b->aio, &loud.transfer, b->fd, &iov, 1), 0);
    turn(b);
    assert_int_equal(quiet.times, 1);
    assert_int_equal(loud.times, 1);
    assert_int_equal(usb_aio_send(b->aio, &quiet.transfer, b->fd, &iov, 1), 0);
    usb_aio_look(b->aio);
    assert_int_equal(quiet.times, 1);
    turn(b);
    assert_int_equal(quiet.times, 2);
    /* Over already, and not told of: a cancel harms nothing. */
    assert_int_equal(usb_aio_send(b->aio, &quiet.transfer, b->fd, &iov, 1), 0);
    usb_aio_cancel(b->aio, &quiet.transfer);
    turn(b);
    assert_int_equal(quiet.times, 3);
    assert_int_equal(quiet.result, 4);
}

static void test_refused(void **state)
{
    struct bench *b = *state;
    struct told told = {.bench = b, .transfer.done = done};
    struct told fine = told;
    struct iovec nowhere = {(void *)16, 4};
    struct iovec iov = {(char[]){"byte"}, 4};

    assert_int_equal(usb_aio_send(b->aio, &told.transfer, -1, &iov, 1), -EBADF);
    assert_int_equal(usb_aio_send(b->aio, &fine.transfer, b->fd, &iov, 1), 0);
    /* This one the kernel takes, and says its error in the ring. */
    assert_int_equal(usb_aio_receive(b->aio, &told.transfer, b->fd, &nowhere, 1), -EFAULT);
    turn(b);
    assert_int_equal(told.times, 0);
    assert_int_equal(fine.times, 1);
    /* It was not begun, so it can be. */
    assert_int_equal(usb_aio_send(b->aio, &told.transfer, b->fd, &iov, 1), 0);
    turn(b);
    assert_int_equal(told.times, 1);
}

static void test_freed_from_inside(void **state)
{
    struct bench *b = *state;
    struct told told = {.bench = b, .transfer.done = done};
    struct iovec iov = {(char[]){"byte"}, 4};

    b->ends_in_done = true;
    assert_int_equal(usb_aio_send(b->aio, &told.transfer, b->fd, &iov, 1), 0);
    turn(b);
    assert_int_equal(told.times, 1);
    assert_null(b->aio);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_there_and_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_quiet, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_freed_from_inside, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
