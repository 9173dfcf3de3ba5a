/* SPDX-License-Identifier: Apache-2.0 */
/* The helper's client, against a helper that is this test: a SEQPACKET socket served by hand. */
#include <errno.h>
#include <fcntl.h>
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
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"
#include "priv/packet.h"
#include "priv/priv.h"

struct world {
    char path[64];
    struct loop *loop;
    struct priv *priv;
    struct loop_timer *limit;
    struct loop_timer *step;
    bool (*until)(struct world *w);
    bool timed_out;
    int listener;
    int line; /* the helper's end of the connection */
    struct priv_watch watch;
    /* What was heard. */
    char order[16]; /* 'a' attach done, 'd' detach done, 'g' gone */
    int attach_error;
    int detach_error;
    int gone_error;
    char device[16];
    char reason[256];
    unsigned functions;
    ino_t came[PRIVMSG_FDS_MAX]; /* which files were behind the descriptors that came */
    unsigned came_count;
};

static void note(struct world *w, char what)
{
    size_t n = strlen(w->order);

    assert_true(n + 1 < sizeof w->order);
    w->order[n] = what;
    w->order[n + 1] = '\0';
}

static void attach_done(void *arg, const struct priv_reply *reply)
{
    struct world *w = arg;

    note(w, 'a');
    w->attach_error = reply->error;
    snprintf(w->device, sizeof w->device, "%s", reply->device);
    snprintf(w->reason, sizeof w->reason, "%s", reply->reason);
}

static ino_t file_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return st.st_ino;
}

/* Takes the descriptors over, as every completion must. */
static void usb_done(void *arg, const struct priv_reply *reply)
{
    struct world *w = arg;

    attach_done(arg, reply);
    w->functions = reply->functions;
    w->came_count = reply->fd_count;
    for (unsigned i = 0; i < reply->fd_count; i++) {
        assert_true(fcntl(reply->fds[i], F_GETFD) & FD_CLOEXEC);
        w->came[i] = file_of(reply->fds[i]);
        close(reply->fds[i]);
    }
}

static void detach_done(void *arg, const struct priv_reply *reply)
{
    struct world *w = arg;

    note(w, 'd');
    w->detach_error = reply->error;
}

static void gone(void *arg, int error, const char *reason)
{
    struct world *w = arg;

    (void)reason;
    note(w, 'g');
    w->gone_error = error;
}

static void give_up(void *arg)
{
    struct world *w = arg;

    w->timed_out = true;
    loop_stop(w->loop);
}

static void look(void *arg)
{
    struct world *w = arg;

    if (w->until(w))
        loop_stop(w->loop);
    else
        loop_timer_set(w->step, 1);
}

/* Runs the loop until the condition holds. */
static void run_until(struct world *w, bool (*until)(struct world *w))
{
    w->until = until;
    loop_timer_set(w->limit, 10000);
    loop_timer_set(w->step, 0);
    assert_int_equal(loop_run(w->loop), 0);
    loop_timer_stop(w->limit);
    loop_timer_stop(w->step);
    assert_false(w->timed_out);
}

static void helper_listen(struct world *w)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    snprintf(at.sun_path, sizeof at.sun_path, "%s", w->path);
    unlink(w->path);
    w->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(w->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(w->listener, 4), 0);
}

static void helper_die(struct world *w)
{
    if (w->line >= 0)
        close(w->line);
    if (w->listener >= 0)
        close(w->listener);
    w->line = w->listener = -1;
    unlink(w->path);
}

static bool helper_accepts(struct world *w)
{
    w->line = accept4(w->listener, NULL, NULL, SOCK_CLOEXEC);
    return w->line >= 0;
}

static struct privmsg helper_hears(struct world *w)
{
    uint8_t bytes[PRIVMSG_SIZE_MAX];
    struct privmsg m;
    ssize_t got = recv(w->line, bytes, sizeof bytes, 0);

    assert_true(got > 0);
    assert_int_equal(privmsg_decode(bytes, (size_t)got, &m), 0);
    return m;
}

static void helper_says(struct world *w, enum privmsg_type type, uint32_t id, int error)
{
    struct privmsg m = {.type = type, .slot = 1, .id = id, .error = error, .device = 3};
    uint8_t bytes[PRIVMSG_SIZE_MAX];

    if (error)
        m.device = PRIVMSG_NO_DEVICE;
    privmsg_set_reason(&m, error ? "Because." : "");
    assert_true(send(w->line, bytes, privmsg_encode(&m, bytes), 0) > 0);
}

/* An answer with `fd_count` descriptors, each of a file of its own, whose inodes are put down. */
static void helper_hands(struct world *w, uint32_t id, unsigned functions, unsigned fd_count,
                         ino_t files[])
{
    struct privmsg m = {.type = PRIVMSG_REPLY,
                        .slot = 1,
                        .id = id,
                        .device = PRIVMSG_NO_DEVICE,
                        .functions = functions};
    int fds[PRIVMSG_FDS_MAX] = {0};

    for (unsigned i = 0; i < fd_count; i++) {
        fds[i] = memfd_create("end", MFD_CLOEXEC);
        files[i] = file_of(fds[i]);
    }
    assert_int_equal(packet_send(w->line, &m, fds, fd_count), 0);
    for (unsigned i = 0; i < fd_count; i++)
        close(fds[i]);
}

static int count_fds(void)
{
    int count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static int set_up(void **state)
{
    static struct world w;

    memset(&w, 0, sizeof w);
    w.line = w.listener = -1;
    snprintf(w.path, sizeof w.path, "/tmp/platter-priv-%d.sock", (int)getpid());
    assert_int_equal(loop_new(&w.loop), 0);
    assert_int_equal(loop_timer_new(w.loop, give_up, &w, &w.limit), 0);
    assert_int_equal(loop_timer_new(w.loop, look, &w, &w.step), 0);
    w.watch = (struct priv_watch){.gone = gone, .arg = &w};
    *state = &w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    priv_free(w->priv);
    helper_die(w);
    loop_timer_free(w->limit);
    loop_timer_free(w->step);
    loop_free(w->loop);
    return 0;
}

static void begin(struct world *w)
{
    assert_int_equal(priv_new(w->loop, w->path, &w->priv), 0);
    priv_watch_slot(w->priv, 1, &w->watch);
}

static void attach(struct world *w)
{
    struct medium medium = {.kind = MEDIUM_CD, .size = 4096, .read_only = true};
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    close(pair[0]);
    priv_attach(w->priv, 1, &medium, pair[1], attach_done, w);
}

static bool heard_one(struct world *w)
{
    return strlen(w->order) >= 1;
}

static bool heard_two(struct world *w)
{
    return strlen(w->order) >= 2;
}

static bool heard_three(struct world *w)
{
    return strlen(w->order) >= 3;
}

static void test_attach_and_detach(void **state)
{
    struct world *w = *state;
    struct privmsg m;

    helper_listen(w);
    begin(w);
    assert_true(helper_accepts(w));
    attach(w);
    m = helper_hears(w);
    assert_int_equal(m.type, PRIVMSG_ATTACH);
    assert_int_equal(m.kind, MEDIUM_CD);
    assert_true(m.read_only && m.size == 4096 && m.slot == 1);
    helper_says(w, PRIVMSG_REPLY, m.id, 0);
    run_until(w, heard_one);
    assert_int_equal(w->attach_error, 0);
    assert_string_equal(w->device, "nbd3");
    priv_detach(w->priv, 1, true, detach_done, w);
    m = helper_hears(w);
    assert_true(m.type == PRIVMSG_DETACH && m.link_alive);
    helper_says(w, PRIVMSG_REPLY, m.id, 0);
    run_until(w, heard_two);
    assert_string_equal(w->order, "ad");
    assert_int_equal(w->detach_error, 0);
}

static void test_detach_behind_an_attach_under_way(void **state)
{
    struct world *w = *state;
    struct privmsg a;
    struct privmsg d;

    helper_listen(w);
    begin(w);
    assert_true(helper_accepts(w));
    attach(w);
    priv_detach(w->priv, 1, false, detach_done, w);
    a = helper_hears(w);
    d = helper_hears(w);
    helper_says(w, PRIVMSG_REPLY, a.id, -ECANCELED);
    helper_says(w, PRIVMSG_REPLY, d.id, 0);
    run_until(w, heard_two);
    assert_string_equal(w->order, "ad");
    assert_int_equal(w->attach_error, -ECANCELED);
}

static void test_adopt_and_reload(void **state)
{
    struct world *w = *state;
    struct medium medium = {.kind = MEDIUM_CD, .size = 4096, .read_only = true};
    struct privmsg m;
    int pair[2];

    helper_listen(w);
    begin(w);
    assert_true(helper_accepts(w));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    close(pair[0]);
    priv_adopt(w->priv, 1, &medium, pair[1], attach_done, w);
    m = helper_hears(w);
    assert_int_equal(m.type, PRIVMSG_ADOPT);
    assert_true(m.kind == MEDIUM_CD && m.read_only && m.size == 4096 && m.slot == 1);
    helper_says(w, PRIVMSG_REPLY, m.id, 0);
    run_until(w, heard_one);
    assert_string_equal(w->device, "nbd3");
    priv_reload(w->priv, 1, NULL, NULL);
    m = helper_hears(w);
    assert_true(m.type == PRIVMSG_RELOAD && m.slot == 1);
    helper_says(w, PRIVMSG_REPLY, m.id, 0);
    /* The drive is still known as this program's: what becomes of it is told. */
    helper_says(w, PRIVMSG_GONE, 0, -ENODEV);
    run_until(w, heard_two);
    assert_string_equal(w->order, "ag");
}

static void test_usb_attach_brings_the_endpoints(void **state)
{
    struct world *w = *state;
    int journal = memfd_create("journal", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    ino_t files[PRIVMSG_FDS_MAX];
    struct packet packet;
    int before;

    helper_listen(w);
    begin(w);
    assert_true(helper_accepts(w));
    before = count_fds();
    priv_usb_attach(w->priv, 1, 3, journal, usb_done, w);
    assert_int_equal(packet_receive(w->line, &packet), 0);
    assert_int_equal(packet.m.type, PRIVMSG_USB_ATTACH);
    assert_true(packet.m.slot == 1 && packet.m.drives == 3 && packet.fd_count == 1);
    assert_true(file_of(packet.fds[0]) == file_of(journal));
    packet_close(&packet);
    helper_hands(w, packet.m.id, 3, 7, files);
    run_until(w, heard_one);
    assert_int_equal(w->attach_error, 0);
    assert_string_equal(w->device, "");
    assert_true(w->functions == 3 && w->came_count == 7);
    assert_memory_equal(w->came, files, 7 * sizeof files[0]);
    assert_int_equal(count_fds(), before);
    /* It is this program's now: what becomes of it is told. */
    helper_says(w, PRIVMSG_GONE, 0, -ENODEV);
    run_until(w, heard_two);
    assert_string_equal(w->order, "ag");
    close(journal);
}

static void test_usb_adopt_brings_the_journal_too(void **state)
{
    struct world *w = *state;
    ino_t files[PRIVMSG_FDS_MAX];
    struct privmsg m;

    helper_listen(w);
    begin(w);
    assert_true(helper_accepts(w));
    priv_usb_adopt(w->priv, 1, PRIVMSG_DRIVES_MAX, usb_done, w);
    m = helper_hears(w);
    assert_true(m.type == PRIVMSG_USB_ADOPT && m.drives == PRIVMSG_DRIVES_MAX);
    helper_hands(w, m.id, 1, 4, files);
    run_until(w, heard_one);
    assert_true(w->attach_error == 0 && w->functions == 1 && w->came_count == 4);
    assert_memory_equal(w->came, files, 4 * sizeof files[0]);
    priv_usb_adopt(w->priv, 1, PRIVMSG_FUNCTIONS_MAX, usb_done, w);
    helper_hands(w, helper_hears(w).id, PRIVMSG_FUNCTIONS_MAX, PRIVMSG_FDS_MAX, files);
    run_until(w, heard_two);
    assert_true(w->came_count == PRIVMSG_FDS_MAX);
    assert_memory_equal(w->came, files, sizeof files);
    priv_usb_adopt(w->priv, 1, 1, usb_done, w);
    helper_says(w, PRIVMSG_REPLY, helper_hears(w).id, -ENOENT);
    run_until(w, heard_three);
    assert_true(w->attach_error == -ENOENT && w->came_count == 0);
}

/* A number of descriptors that does not go with the answer: none is left, nothing is believed. */
static void test_answers_with_the_wrong_descriptors(void **state)
{
    static const struct {
        unsigned functions, fds;
    } wrong[] = {
        {2, 5}, {2, 7}, {2, 0}, {1, 3}, {1, 5}, {3, 8}, {0, 0}, {0, 1}, {1, PRIVMSG_FDS_MAX}};
    struct world *w = *state;
    ino_t files[PRIVMSG_FDS_MAX];
    int before;

    helper_listen(w);
    before = count_fds();
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        w->order[0] = '\0';
        begin(w);
        assert_true(helper_accepts(w));
        priv_usb_adopt(w->priv, 1, 2, usb_done, w);
        helper_hands(w, helper_hears(w).id, wrong[i].functions, wrong[i].fds, files);
        run_until(w, heard_one);
        assert_int_equal(w->attach_error, -ECONNRESET);
        assert_non_null(strstr(w->reason, "another version"));
        assert_int_equal(w->came_count, 0);
        priv_free(w->priv);
        w->priv = NULL;
        close(w->line);
        w->line = -1;
    }
    assert_int_equal(count_fds(), before);
}

/* Descriptors that nobody waits for any more. */
static void test_descriptors_that_nobody_asked_for(void **state)
{
    struct world *w = *state;
    ino_t files[PRIVMSG_FDS_MAX];
    int before;

    helper_listen(w);
    begin(w);
    assert_true(helper_accepts(w));
    before = count_fds();
    helper_hands(w, 4711, 1, 3, files);
    attach(w);
    helper_says(w, PRIVMSG_REPLY, helper_hears(w).id, 0);
    run_until(w, heard_one);
    assert_int_equal(count_fds(), before);
    priv_usb_attach(w->priv, 1, 1, -1, NULL, NULL);
    helper_hands(w, helper_hears(w).id, 1, 3, files);
    helper_says(w, PRIVMSG_GONE, 0, -ENODEV);
    run_until(w, heard_two);
    assert_int_equal(count_fds(), before);
}

static void test_no_helper_then_one(void **state)
{
    struct world *w = *state;

    begin(w);
    attach(w);
    assert_string_equal(w->order, "");
    run_until(w, heard_one);
    assert_int_equal(w->attach_error, -ENOTCONN);
    assert_non_null(strstr(w->reason, w->path));
    assert_non_null(strstr(w->reason, "start it"));
    /* It comes up: the next request finds it at once, without waiting for the back-off. */
    helper_listen(w);
    attach(w);
    assert_true(helper_accepts(w));
    helper_says(w, PRIVMSG_REPLY, helper_hears(w).id, 0);
    run_until(w, heard_two);
    assert_int_equal(w->attach_error, 0);
}

static void test_reconnects_by_itself(void **state)
{
    struct world *w = *state;

    helper_listen(w);
    begin(w);
    assert_true(helper_accepts(w));
    helper_die(w);
    helper_listen(w);
    run_until(w, helper_accepts);
}

/* Requests end first, then the watch hears. */
static void test_helper_dies(void **state)
{
    struct world *w = *state;

    helper_listen(w);
    begin(w);
    assert_true(helper_accepts(w));
    attach(w);
    helper_says(w, PRIVMSG_REPLY, helper_hears(w).id, 0);
    run_until(w, heard_one);
    priv_detach(w->priv, 1, true, detach_done, w);
    helper_die(w);
    run_until(w, heard_three);
    assert_string_equal(w->order, "adg");
    assert_int_equal(w->detach_error, -ECONNRESET);
    assert_int_equal(w->gone_error, -ECONNRESET);
}

static void test_drive_is_gone(void **state)
{
    struct world *w = *state;

    helper_listen(w);
    begin(w);
    assert_true(helper_accepts(w));
    /* Of a slot with no drive this is no news. */
    helper_says(w, PRIVMSG_GONE, 0, -ENODEV);
    attach(w);
    helper_says(w, PRIVMSG_REPLY, helper_hears(w).id, 0);
    run_until(w, heard_one);
    helper_says(w, PRIVMSG_GONE, 0, -ENODEV);
    run_until(w, heard_two);
    assert_string_equal(w->order, "ag");
    assert_int_equal(w->gone_error, -ENODEV);
}

static void test_helper_of_another_version(void **state)
{
    struct world *w = *state;

    helper_listen(w);
    begin(w);
    assert_true(helper_accepts(w));
    attach(w);
    assert_int_equal(send(w->line, "\x04\x03nonsense", 10, 0), 10);
    run_until(w, heard_one);
    assert_int_equal(w->attach_error, -ECONNRESET);
    assert_non_null(strstr(w->reason, "another version"));
}

static void test_free_completes_what_is_open(void **state)
{
    struct world *w = *state;

    helper_listen(w);
    begin(w);
    assert_true(helper_accepts(w));
    attach(w);
    priv_free(w->priv);
    w->priv = NULL;
    assert_string_equal(w->order, "a");
    assert_int_equal(w->attach_error, -ECANCELED);
}

#define PRIV_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PRIV_TEST(test_attach_and_detach),
        PRIV_TEST(test_detach_behind_an_attach_under_way),
        PRIV_TEST(test_adopt_and_reload),
        PRIV_TEST(test_usb_attach_brings_the_endpoints),
        PRIV_TEST(test_usb_adopt_brings_the_journal_too),
        PRIV_TEST(test_answers_with_the_wrong_descriptors),
        PRIV_TEST(test_descriptors_that_nobody_asked_for),
        PRIV_TEST(test_no_helper_then_one),
        PRIV_TEST(test_reconnects_by_itself),
        PRIV_TEST(test_helper_dies),
        PRIV_TEST(test_drive_is_gone),
        PRIV_TEST(test_helper_of_another_version),
        PRIV_TEST(test_free_completes_what_is_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
