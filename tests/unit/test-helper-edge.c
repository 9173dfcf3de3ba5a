/* SPDX-License-Identifier: Apache-2.0 */
/* The helper's edges: what its socket lets in, and what its locks and records hold. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "priv/listener.h"
#include "priv/record.h"

static char directory[] = "/tmp/platter-edge-XXXXXX";

static int set_up(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/platter-edge-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* A connection that came through the listener: [0] is the client's end, [1] the helper's. */
static void connect_pair(uid_t user, int ends[2])
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int listener;

    snprintf(at.sun_path, sizeof at.sun_path, "%s/helper.sock", directory);
    listener = listener_open(at.sun_path, user);
    assert_true(listener >= 0);
    ends[0] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(ends[0], (struct sockaddr *)&at, sizeof at), 0);
    ends[1] = listener_accept(listener, user);
    close(listener);
}

static void send_with(int to, const void *data, size_t length, const int *fds, size_t count)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE((PRIVMSG_FDS_MAX + 1) * sizeof(int))];
    } control = {0};
    struct iovec piece = {.iov_base = (void *)(uintptr_t)data, .iov_len = length};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};

    if (count > 0) {
        struct cmsghdr *c;

        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    }
    assert_int_equal(sendmsg(to, &message, MSG_NOSIGNAL), length);
}

static int count_fds(void)
{
    int count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void test_good_message_with_its_socket(void **state)
{
    struct privmsg m = {.type = PRIVMSG_ATTACH, .slot = 1, .id = 4, .size = 512};
    uint8_t bytes[PRIVMSG_SIZE_MAX];
    size_t length = privmsg_encode(&m, bytes);
    struct privmsg out;
    int ends[2];
    int pair[2];
    int fd = -1;

    (void)state;
    connect_pair(geteuid(), ends);
    assert_true(ends[1] >= 0);
    assert_int_equal(listener_receive(ends[1], &out, &fd), -EAGAIN);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    send_with(ends[0], bytes, length, pair, 1);
    assert_int_equal(listener_receive(ends[1], &out, &fd), 0);
    assert_int_equal(out.slot, 1);
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    close(pair[0]);
    close(pair[1]);
    close(ends[0]);
    assert_int_equal(listener_receive(ends[1], &out, &fd), -ECONNRESET);
    close(ends[1]);
}

/* Whatever comes along with nonsense is closed with it. */
static void test_nonsense_leaves_no_descriptor(void **state)
{
    struct privmsg m = {.type = PRIVMSG_ATTACH, .slot = 1, .id = 4, .size = 512};
    uint8_t bytes[PRIVMSG_SIZE_MAX + 1] = {0};
    size_t length = privmsg_encode(&m, bytes);
    struct privmsg out;
    int ends[2];
    int pair[2];
    int datagrams[2];
    int many[PRIVMSG_FDS_MAX + 1];
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int before;
    int fd = -1;

    (void)state;
    connect_pair(geteuid(), ends);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams), 0);
    for (size_t i = 0; i < PRIVMSG_FDS_MAX + 1; i++)
        many[i] = pair[0];
    before = count_fds();
    send_with(ends[0], bytes, length - 1, pair, 1);
    assert_int_equal(listener_receive(ends[1], &out, &fd), -EBADMSG);
    send_with(ends[0], bytes, sizeof bytes, pair, 1);
    assert_int_equal(listener_receive(ends[1], &out, &fd), -EBADMSG);
    send_with(ends[0], bytes, length, pair, 2);
    assert_int_equal(listener_receive(ends[1], &out, &fd), -EBADMSG);
    send_with(ends[0], bytes, length, many, PRIVMSG_FDS_MAX);
    assert_int_equal(listener_receive(ends[1], &out, &fd), -EBADMSG);
    send_with(ends[0], bytes, length, many, PRIVMSG_FDS_MAX + 1);
    assert_int_equal(listener_receive(ends[1], &out, &fd), -EMFILE);
    send_with(ends[0], bytes, length, &file, 1);
    assert_int_equal(listener_receive(ends[1], &out, &fd), -EBADMSG);
    send_with(ends[0], bytes, length, datagrams, 1);
    assert_int_equal(listener_receive(ends[1], &out, &fd), -EBADMSG);
    assert_int_equal(fd, -1);
    assert_int_equal(count_fds(), before);
    for (size_t i = 0; i < 2; i++) {
        close(ends[i]);
        close(pair[i]);
        close(datagrams[i]);
    }
    close(file);
}

/* Whether a message of this type that brings this descriptor is let in. */
static bool lets_in_as(enum privmsg_type type, int ends[2], int with)
{
    struct privmsg m = {.type = type, .slot = 1, .id = 4, .size = 512, .drives = 1};
    uint8_t bytes[PRIVMSG_SIZE_MAX];
    size_t length = privmsg_encode(&m, bytes);
    struct privmsg out;
    int fd = -1;
    int r;

    send_with(ends[0], bytes, length, &with, 1);
    r = listener_receive(ends[1], &out, &fd);
    assert_true(r == 0 ? fd >= 0 : r == -EBADMSG && fd == -1);
    if (fd >= 0)
        close(fd);
    return r == 0;
}

static bool lets_in(int ends[2], int with)
{
    return lets_in_as(PRIVMSG_ATTACH, ends, with);
}

/* Closing any other file could wait for whoever serves it. */
static void test_no_journal_but_a_sealed_memfd(void **state)
{
    int sealed = memfd_create("journal", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int open_ended = memfd_create("journal", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int unsealable = memfd_create("journal", MFD_CLOEXEC);
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int ends[2];
    int pair[2];

    (void)state;
    assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    connect_pair(geteuid(), ends);
    assert_true(lets_in_as(PRIVMSG_USB_ATTACH, ends, sealed));
    assert_false(lets_in_as(PRIVMSG_USB_ATTACH, ends, open_ended));
    assert_false(lets_in_as(PRIVMSG_USB_ATTACH, ends, unsealable));
    assert_false(lets_in_as(PRIVMSG_USB_ATTACH, ends, file));
    assert_false(lets_in_as(PRIVMSG_USB_ATTACH, ends, pair[0]));
    assert_false(lets_in(ends, sealed));
    for (size_t i = 0; i < 2; i++) {
        close(ends[i]);
        close(pair[i]);
    }
    close(sealed);
    close(open_ended);
    close(unsealable);
    close(file);
}

/* The kernel would speak as root to whoever listens there. */
static void test_no_socket_but_a_pairs_end(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int service = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int dialled = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int idle = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int ends[2];
    int pair[2];

    (void)state;
    snprintf(at.sun_path, sizeof at.sun_path, "%s/service.sock", directory);
    assert_int_equal(bind(service, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(service, 1), 0);
    assert_int_equal(connect(dialled, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    connect_pair(geteuid(), ends);
    assert_false(lets_in(ends, dialled));
    assert_false(lets_in(ends, service));
    assert_false(lets_in(ends, idle));
    assert_true(lets_in(ends, pair[0]));
    /* Its other end may be gone already: that is for the drive to find out. */
    close(pair[1]);
    assert_true(lets_in(ends, pair[0]));
    close(pair[0]);
    close(ends[0]);
    close(ends[1]);
    close(service);
    close(dialled);
    close(idle);
}

static void test_only_a_dead_socket_makes_room(void **state)
{
    struct stat st;
    char path[64];
    int first;
    int file;

    (void)state;
    snprintf(path, sizeof path, "%s/helper.sock", directory);
    first = listener_open(path, geteuid());
    assert_true(first >= 0);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(listener_open(path, geteuid()), -EADDRINUSE);
    close(first);
    first = listener_open(path, geteuid());
    assert_true(first >= 0);
    close(first);
    assert_int_equal(unlink(path), 0);
    file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(listener_open(path, geteuid()), -EEXIST);
    assert_int_equal(lstat(path, &st), 0);
    close(file);
}

/* What listener_open() makes of the descriptor 3 being `fd`, handed to the process `pid` (0: to
 * this one); in a process of its own, whose exit code tells. */
static int open_handed(int fd, pid_t pid)
{
    pid_t child = fork();
    char text[16];
    int status;

    if (child == 0) {
        snprintf(text, sizeof text, "%d", (int)(pid ? pid : getpid()));
        setenv("LISTEN_PID", text, 1);
        setenv("LISTEN_FDS", "1", 1);
        if (fd == 3 ? fcntl(3, F_SETFD, 0) < 0 : dup2(fd, 3) < 0)
            _exit(200);
        status = listener_open("/nowhere/at/all/helper.sock", geteuid());
        if (status == 3 && (getenv("LISTEN_FDS") || !(fcntl(3, F_GETFD) & FD_CLOEXEC) ||
                            !(fcntl(3, F_GETFL) & O_NONBLOCK)))
            _exit(201);
        _exit(status < 0 ? -status : status);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_a_socket_that_is_handed_over(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    int stream = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    snprintf(at.sun_path, sizeof at.sun_path, "%s/helper.sock", directory);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(open_handed(fd, 0), EPROTOTYPE);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(open_handed(fd, 0), 3);
    /* To another process: the path is what counts, and this one cannot be. */
    assert_int_equal(open_handed(fd, 1), ENOENT);
    assert_int_equal(unlink(at.sun_path), 0);
    assert_int_equal(bind(stream, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(stream, 1), 0);
    assert_int_equal(open_handed(stream, 0), EPROTOTYPE);
    assert_int_equal(open_handed(STDIN_FILENO, 0) == 3, 0);
    close(stream);
    close(fd);
}

static void test_directory_that_others_may_write(void **state)
{
    char path[64];

    (void)state;
    assert_int_equal(record_check_directory(directory), 0);
    assert_int_equal(chmod(directory, 0770), 0);
    assert_int_equal(record_check_directory(directory), -EPERM);
    assert_int_equal(chmod(directory, 0757), 0);
    assert_int_equal(record_check_directory(directory), -EPERM);
    assert_int_equal(chmod(directory, 0755), 0);
    snprintf(path, sizeof path, "%s/link", directory);
    assert_int_equal(symlink(directory, path), 0);
    assert_int_equal(record_check_directory(path), -ENOTDIR);
    snprintf(path, sizeof path, "%s/nowhere", directory);
    assert_int_equal(record_check_directory(path), -ENOENT);
    if (geteuid() == 0) {
        assert_int_equal(chown(directory, 4711, (gid_t)-1), 0);
        assert_int_equal(record_check_directory(directory), -EPERM);
    }
}

static void test_strangers_are_refused(void **state)
{
    int ends[2];

    (void)state;
    /* Root is always let in, so this can only be tried by somebody else. */
    if (geteuid() != 0) {
        connect_pair(geteuid() + 1, ends);
        assert_int_equal(ends[1], -EPERM);
    } else {
        connect_pair(4711, ends);
        assert_true(ends[1] >= 0);
        close(ends[1]);
    }
    close(ends[0]);
}

static void test_lock_is_one_holders(void **state)
{
    int first = record_lock(directory, 3);

    (void)state;
    assert_true(first >= 0);
    assert_int_equal(record_lock(directory, 3), -EBUSY);
    close(record_lock(directory, 4));
    close(first);
    first = record_lock(directory, 3);
    assert_true(first >= 0);
    close(first);
    assert_int_equal(record_lock("/no/such/place", 3), -ENOENT);
}

static void test_record_there_and_back(void **state)
{
    struct record r = {.nbd = 7, .pid = 1234, .gadget = true, .udc = "fe980000.usb"};
    struct record out;

    (void)state;
    assert_int_equal(record_read(directory, 0, &out), -ENOENT);
    assert_int_equal(out.nbd, -1);
    assert_int_equal(record_write(directory, 0, &r), 0);
    assert_int_equal(record_read(directory, 0, &out), 0);
    assert_int_equal(out.nbd, 7);
    assert_int_equal(out.pid, 1234);
    assert_true(out.gadget);
    assert_string_equal(out.udc, "fe980000.usb");
    r.udc[0] = '\0';
    r.gadget = false;
    assert_int_equal(record_write(directory, 0, &r), 0);
    assert_int_equal(record_read(directory, 0, &out), 0);
    assert_false(out.gadget);
    assert_string_equal(out.udc, "");
    assert_int_equal(record_remove(directory, 0), 0);
    assert_int_equal(record_remove(directory, 0), 0);
    assert_int_equal(record_read(directory, 0, &out), -ENOENT);
}

static void test_record_that_makes_no_sense(void **state)
{
    static const char *const texts[] = {"",
                                        "nbd",
                                        "nbd 1\n",
                                        "nbd -2\npid 1\ngadget 1\nudc x\n",
                                        "nbd 1\npid x\ngadget 1\nudc x\n",
                                        "nbd 1\npid 1\nudc x\n",
                                        "nbd 1\npid 1\ngadget no\nudc x\n",
                                        "nbd 1\npid 1\ngadget 1\nwhat\n"};
    char path[128];
    struct record out;

    (void)state;
    snprintf(path, sizeof path, "%s/slot-0.state", directory);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        FILE *file = fopen(path, "w");

        assert_non_null(file);
        fputs(texts[i], file);
        fclose(file);
        assert_int_equal(record_read(directory, 0, &out), -EBADMSG);
        assert_int_equal(out.nbd, -1);
        /* Whatever it said, nothing may be left. */
        assert_true(out.gadget);
    }
}

#define EDGE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EDGE_TEST(test_good_message_with_its_socket),
        EDGE_TEST(test_nonsense_leaves_no_descriptor),
        EDGE_TEST(test_no_journal_but_a_sealed_memfd),
        EDGE_TEST(test_no_socket_but_a_pairs_end),
        EDGE_TEST(test_only_a_dead_socket_makes_room),
        EDGE_TEST(test_a_socket_that_is_handed_over),
        EDGE_TEST(test_directory_that_others_may_write),
        EDGE_TEST(test_strangers_are_refused),
        EDGE_TEST(test_lock_is_one_holders),
        EDGE_TEST(test_record_there_and_back),
        EDGE_TEST(test_record_that_makes_no_sense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
