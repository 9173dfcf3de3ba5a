// SPDX-License-Identifier: Apache-2.0
/* The ear, on a socket of packets in bulk-out's place: when it goes on by itself and when not, that
 * what it has heard stands until it is taken, in order, and that it can be stopped at any time with
 * nothing lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop.h"
#include "export/usb-ear.h"

#define PACKET 512

struct bench {
    struct loop *loop;
    struct usb_ear *ear;
    int machine; /* the machine's end */
    int out_fd;
    uint8_t places[2][PACKET];
    unsigned times; /* told */
};

static void heard(void *arg)
{
    struct bench *b = arg;

    b->times++;
    loop_stop(b->loop);
}

static int set_up(void **state)
{
    static struct bench b;
    int pair[2];

    b = (struct bench){0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    b.machine = pair[0];
    b.out_fd = pair[1];
    assert_int_equal(loop_new(&b.loop), 0);
    assert_int_equal(usb_ear_new(
                         &(struct usb_ear_config){
                             .loop = b.loop,
                             .out_fd = b.out_fd,
                             .places = {b.places[0], b.places[1]},
                             .heard = heard,
                             .arg = &b,
                         },
                         &b.ear),
                     0);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    usb_ear_free(b->ear);
    loop_free(b->loop);
    close(b->machine);
    close(b->out_fd);
    return 0;
}

static void command(uint8_t bytes[31], uint8_t tag, bool in, uint8_t length)
{
    memset(bytes, 0, 31);
    memcpy(bytes, "USBC", 4);
    bytes[4] = tag;
    bytes[8] = length;
    bytes[12] = in ? 0x80 : 0;
    bytes[14] = 6;
}

static void say(struct bench *b, const uint8_t *bytes, size_t length)
{
    assert_int_equal(send(b->machine, bytes, length, 0), length);
}

/* Waits for the oldest that is not taken, looks at it and takes it. */
static void expect(struct bench *b, const uint8_t *bytes, size_t length)
{
    const uint8_t *place;
    int64_t result;

    while (!usb_ear_heard(b->ear, &result) || b->times == 0)
        loop_run(b->loop);
    place = b->places[usb_ear_place(b->ear)];
    assert_int_equal(result, length);
    assert_memory_equal(place, bytes, length);
    usb_ear_take(b->ear);
}

/* Nobody reads what the machine says now: it is still there after a while. */
static void expect_deaf(struct bench *b)
{
    uint8_t bytes[PACKET];
    int64_t result;

    assert_false(usb_ear_heard(b->ear, &result));
    usleep(20000);
    assert_true(recv(b->out_fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0);
    assert_false(usb_ear_heard(b->ear, &result));
}

static void test_goes_on(void **state)
{
    struct bench *b = *state;
    uint8_t bytes[31];

    usb_ear_listen(b->ear, PACKET);
    for (uint8_t i = 0; i < 10; i++) {
        command(bytes, i, i % 2, i % 2 ? 13 : 0);
        say(b, bytes, sizeof bytes);
        expect(b, bytes, sizeof bytes);
    }
}

static void test_does_not_go_on(void **state)
{
    struct bench *b = *state;
    uint8_t bytes[31];

    for (unsigned kind = 0; kind < 4; kind++) {
        usb_ear_listen(b->ear, PACKET);
        command(bytes, 1, kind > 0, 13);
        if (kind == 1)
            bytes[0] = 'X';
        say(b, bytes, kind == 2 ? 30 : 31);
        if (kind == 3) {
            /* This one it does, but no further than its places go. */
            say(b, bytes, 31);
            say(b, bytes, 31);
            expect(b, bytes, 31);
            expect(b, bytes, 31);
            expect(b, bytes, 31);
            usb_ear_stop(b->ear);
        } else {
            expect(b, bytes, kind == 2 ? 30 : 31);
        }
        say(b, bytes, 31);
        expect_deaf(b);
    }
}

/* A loop that has not looked yet asks it to listen, though what was heard brings its data next. */
static void test_not_beside_a_command(void **state)
{
    struct bench *b = *state;
    uint8_t bytes[31];
    int64_t result;

    usb_ear_listen(b->ear, PACKET);
    command(bytes, 1, false, 13);
    say(b, bytes, sizeof bytes);
    while (!usb_ear_heard(b->ear, &result))
        loop_run(b->loop);
    usb_ear_listen(b->ear, PACKET);
    expect(b, bytes, sizeof bytes);
    say(b, bytes, 13);
    expect_deaf(b);
}

/* What is said while it does not listen is heard when it does again. */
static void test_stopped(void **state)
{
    struct bench *b = *state;
    uint8_t said = 0;
    uint8_t taken = 0;
    uint8_t bytes[31];
    int64_t result;

    for (unsigned i = 0; i < 300; i++) {
        usb_ear_listen(b->ear, PACKET);
        if (i % 3 > 0) {
            command(bytes, ++said, true, 13);
            say(b, bytes, sizeof bytes);
        }
        usb_ear_stop(b->ear);
        while (usb_ear_heard(b->ear, &result)) {
            const uint8_t *place = b->places[usb_ear_place(b->ear)];

            command(bytes, ++taken, true, 13);
            assert_int_equal(result, 31);
            assert_memory_equal(place, bytes, sizeof bytes);
            usb_ear_take(b->ear);
            for (unsigned k = 0; k < PACKET; k++)
                assert_int_equal(place[k], 0);
        }
    }
    while (recv(b->out_fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        assert_int_equal(bytes[4], ++taken);
    assert_int_equal(taken, said);
}

static void test_error(void **state)
{
    struct bench *b = *state;
    uint8_t bytes[31];
    int64_t result;

    assert_int_equal(fcntl(b->out_fd, F_SETFL, O_NONBLOCK), 0);
    for (unsigned i = 0; i < 2; i++) {
        usb_ear_listen(b->ear, PACKET);
        while (!usb_ear_heard(b->ear, &result))
            loop_run(b->loop);
        assert_int_equal(result, -EAGAIN);
        usb_ear_take(b->ear);
    }
    command(bytes, 1, true, 13);
    say(b, bytes, sizeof bytes);
    expect_deaf(b);
}

static void test_resumed(void **state)
{
    struct bench *b = *state;
    uint8_t bytes[31];

    command(bytes, 7, true, 13);
    memcpy(b->places[1], bytes, sizeof bytes);
    usb_ear_resume(b->ear, 1, sizeof bytes);
    b->times = 1; /* nobody tells of that one */
    usb_ear_listen(b->ear, PACKET);
    expect(b, bytes, sizeof bytes);
    usb_ear_listen(b->ear, PACKET);
    command(bytes, 8, true, 13);
    say(b, bytes, sizeof bytes);
    expect(b, bytes, sizeof bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_does_not_go_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_beside_a_command, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stopped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_resumed, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
