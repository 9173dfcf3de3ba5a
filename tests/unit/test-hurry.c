/* SPDX-License-Identifier: Apache-2.0 */
/* Closing what somebody else has prepared to be waited for. */
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "priv/hurry.h"

#define LINGER 20 /* seconds */

static long now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A socket whose peer never reads, and which is full; its last close takes LINGER seconds. */
static int lingering_socket(int *peer)
{
    static const char bytes[65536];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger linger = {.l_onoff = 1, .l_linger = LINGER};
    socklen_t length = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &length), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    *peer = accept(listener, NULL, NULL);
    assert_true(*peer >= 0);
    close(listener);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    while (send(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
    return fd;
}

static void closing_waits_for_nobody(void **state)
{
    int peer;
    int fd = lingering_socket(&peer);
    long began = now_ms();

    (void)state;
    hurry_begin();
    close(fd);
    hurry_end();
    assert_true(now_ms() - began < LINGER * 1000 / 2);
    close(peer);
}

/* Nor does what lies unread in another's queue, which the kernel closes with that. */
static void what_is_unread_waits_for_nobody(void **state)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec piece = {.iov_base = "m", .iov_len = 1};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.room};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    int peer;
    int fd = lingering_socket(&peer);
    int pair[2];
    long began;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    *(int *)(void *)CMSG_DATA(c) = fd;
    assert_int_equal(sendmsg(pair[0], &message, 0), 1);
    close(fd);
    close(pair[0]);
    began = now_ms();
    hurry_begin();
    close(pair[1]);
    hurry_end();
    assert_true(now_ms() - began < LINGER * 1000 / 2);
    close(peer);
}

static void afterwards_nothing_is_interrupted(void **state)
{
    (void)state;
    hurry_begin();
    hurry_end();
    assert_int_equal(poll(NULL, 0, 100), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closing_waits_for_nobody),
        cmocka_unit_test(what_is_unread_waits_for_nobody),
        cmocka_unit_test(afterwards_nothing_is_interrupted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
