/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel export between a helper, an NBD connection and a slot that are all played by this
 * test: whatever ends the drive, and in whatever order the ends are heard of, `stopped` comes once.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "export/kernel.c"

/* ---- the others ---- */

struct asked {
    void (*done)(void *arg, const struct priv_reply *reply);
    void *arg;
    bool link_alive;
};

static struct {
    struct loop *loop;
    struct export *export;
    struct asked attach; /* or adopt */
    bool adopts;
    unsigned reloads;
    struct asked detaches[4];
    unsigned detach_count;
    struct medium medium; /* what the helper was told */
    const struct priv_watch *watch;
    const struct nbd_conn_events *conn_events;
    void *conn_owner;
    bool conn_open;
    char heard[16]; /* 's'tarted, 'e'jected, 'x' stopped */
    int error;
    char reason[256];
} w;

/* Only its address counts. */
static char the_conn;

void priv_attach(struct priv *priv, unsigned slot, const struct medium *medium, int take_fd,
                 void (*done)(void *arg, const struct priv_reply *reply), void *arg)
{
    assert_non_null(priv);
    assert_int_equal(slot, 2);
    close(take_fd);
    w.medium = *medium;
    w.attach = (struct asked){.done = done, .arg = arg};
    w.adopts = false;
}

void priv_adopt(struct priv *priv, unsigned slot, const struct medium *medium, int take_fd,
                void (*done)(void *arg, const struct priv_reply *reply), void *arg)
{
    priv_attach(priv, slot, medium, take_fd, done, arg);
    w.adopts = true;
}

void priv_reload(struct priv *priv, unsigned slot,
                 void (*done)(void *arg, const struct priv_reply *reply), void *arg)
{
    (void)priv;
    (void)arg;
    assert_int_equal(slot, 2);
    assert_null(done);
    w.reloads++;
}

void priv_detach(struct priv *priv, unsigned slot, bool link_alive,
                 void (*done)(void *arg, const struct priv_reply *reply), void *arg)
{
    (void)priv;
    assert_int_equal(slot, 2);
    assert_true(w.detach_count < 4);
    w.detaches[w.detach_count++] =
        (struct asked){.done = done, .arg = arg, .link_alive = link_alive};
}

void priv_watch_slot(struct priv *priv, unsigned slot, const struct priv_watch *watch)
{
    (void)priv;
    assert_int_equal(slot, 2);
    w.watch = watch;
}

int stream_unix_new(struct loop *loop, int take_fd, struct stream **out)
{
    static struct stream stream;

    (void)loop;
    close(take_fd);
    *out = &stream;
    return 0;
}

int nbd_conn_new(struct stream *stream, const struct nbd_conn_config *config,
                 const struct nbd_conn_events *events, void *owner, struct nbd_conn **out)
{
    (void)stream;
    assert_int_equal(config->start, NBD_CONN_TRANSMIT);
    /* A machine may leave its drive alone for as long as it likes. */
    assert_null(config->loop);
    assert_int_equal(config->medium->size % medium_sector(config->medium->kind), 0);
    w.conn_events = events;
    w.conn_owner = owner;
    w.conn_open = true;
    *out = (struct nbd_conn *)(void *)&the_conn;
    return 0;
}

void nbd_conn_close(struct nbd_conn *conn)
{
    assert_ptr_equal(conn, &the_conn);
    assert_true(w.conn_open);
    w.conn_open = false;
}

static void hear(char what)
{
    size_t n = strlen(w.heard);

    assert_true(n + 1 < sizeof w.heard);
    w.heard[n] = what;
}

static void on_started(void *owner)
{
    (void)owner;
    hear('s');
}

static void on_ejected(void *owner)
{
    (void)owner;
    hear('e');
}

static void on_stopped(void *owner, int error, const char *reason)
{
    (void)owner;
    hear('x');
    w.error = error;
    snprintf(w.reason, sizeof w.reason, "%s", reason);
}

static const struct export_events events = {
    .started = on_started, .ejected = on_ejected, .stopped = on_stopped};

/* ---- what a test does ---- */

static int set_up(void **state)
{
    struct export_config config = {.slot = 2, .priv = (struct priv *)(void *)&the_conn};

    (void)state;
    memset(&w, 0, sizeof w);
    assert_int_equal(loop_new(&w.loop), 0);
    config.loop = w.loop;
    assert_int_equal(export_kernel.new(&config, &w.export), 0);
    export_own(w.export, &events, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_false(w.conn_open);
    assert_null(w.watch);
    export_free(w.export);
    loop_free(w.loop);
    return 0;
}

static void start(enum medium_kind kind, uint64_t size)
{
    struct medium medium = {.kind = kind, .size = size, .read_only = true};

    export_start(w.export, &medium, NULL);
    assert_string_equal(w.heard, "");
}

static void answer(const struct asked *asked, int error)
{
    struct priv_reply reply = {.error = error, .reason = error ? "Because." : "", .device = "nbd7"};

    asked->done(asked->arg, &reply);
}

static void kernel_closes(bool by_client)
{
    w.conn_open = false;
    w.conn_events->closed(w.conn_owner, (struct nbd_conn *)(void *)&the_conn, by_client);
}

static void serve(void)
{
    start(MEDIUM_DISK, 1 << 20);
    answer(&w.attach, 0);
    assert_string_equal(w.heard, "s");
}

static void test_start_and_stop(void **state)
{
    char uri[64];

    (void)state;
    start(MEDIUM_CD, 5000);
    /* Whole sectors only. */
    assert_int_equal(w.medium.size, 4096);
    answer(&w.attach, 0);
    w.export->ops->describe(w.export, uri, sizeof uri);
    assert_string_equal(uri, "file:///dev/nbd7");
    export_stop(w.export, true);
    assert_true(w.detaches[0].link_alive);
    /* The kernel says goodbye on its way: no eject, for nobody asks any more. */
    kernel_closes(true);
    answer(&w.detaches[0], 0);
    assert_string_equal(w.heard, "sx");
    assert_int_equal(w.error, 0);
    w.export->ops->describe(w.export, uri, sizeof uri);
    assert_string_equal(uri, "");
}

static void test_eject(void **state)
{
    (void)state;
    serve();
    kernel_closes(true);
    assert_string_equal(w.heard, "se");
    export_stop(w.export, true);
    answer(&w.detaches[0], 0);
    assert_string_equal(w.heard, "sex");
    assert_int_equal(w.error, 0);
}

/* A firmware may eject before the helper's word has come. */
static void test_eject_before_the_attach_is_answered(void **state)
{
    (void)state;
    start(MEDIUM_DISK, 512);
    kernel_closes(true);
    assert_string_equal(w.heard, "");
    answer(&w.attach, 0);
    assert_string_equal(w.heard, "se");
    export_stop(w.export, true);
    answer(&w.detaches[0], 0);
    assert_string_equal(w.heard, "sex");
}

static void adopt(void)
{
    struct medium medium = {.kind = MEDIUM_DISK, .size = 1 << 20, .read_only = true};

    export_adopt(w.export, &medium, NULL);
    assert_true(w.adopts);
    assert_string_equal(w.heard, "");
}

static void test_adopt_and_stop(void **state)
{
    char uri[64];

    (void)state;
    adopt();
    assert_true(w.conn_open);
    answer(&w.attach, 0);
    assert_string_equal(w.heard, "s");
    w.export->ops->describe(w.export, uri, sizeof uri);
    assert_string_equal(uri, "file:///dev/nbd7");
    export_stop(w.export, true);
    answer(&w.detaches[0], 0);
    assert_string_equal(w.heard, "sx");
}

static void test_nothing_to_adopt(void **state)
{
    (void)state;
    adopt();
    answer(&w.attach, -ENOENT);
    assert_string_equal(w.heard, "x");
    assert_int_equal(w.error, -ENOENT);
}

/* The machine ejected while nobody served: told as an eject, whatever the socket has said. */
static void test_ejected_before_the_adoption(void **state)
{
    (void)state;
    for (int goodbye = 0; goodbye < 2; goodbye++) {
        adopt();
        if (goodbye)
            kernel_closes(true);
        answer(&w.attach, -ENOMEDIUM);
        assert_string_equal(w.heard, "se");
        export_stop(w.export, true);
        answer(&w.detaches[goodbye], 0);
        assert_string_equal(w.heard, "sex");
        assert_int_equal(w.error, 0);
        memset(w.heard, 0, sizeof w.heard);
    }
}

static void test_reload(void **state)
{
    (void)state;
    start(MEDIUM_DISK, 512);
    w.export->ops->reload(w.export);
    assert_int_equal(w.reloads, 0);
    answer(&w.attach, 0);
    w.export->ops->reload(w.export);
    assert_int_equal(w.reloads, 1);
    export_stop(w.export, true);
    w.export->ops->reload(w.export);
    assert_int_equal(w.reloads, 1);
    answer(&w.detaches[0], 0);
    assert_string_equal(w.heard, "sx");
}

static void test_attach_fails(void **state)
{
    (void)state;
    start(MEDIUM_DISK, 512);
    answer(&w.attach, -EBUSY);
    assert_string_equal(w.heard, "x");
    assert_int_equal(w.error, -EBUSY);
    assert_string_equal(w.reason, "Because.");
    /* And may be tried again. */
    w.heard[0] = '\0';
    serve();
    export_stop(w.export, false);
    assert_false(w.detaches[0].link_alive);
    answer(&w.detaches[0], 0);
}

static void test_stop_while_attaching(void **state)
{
    (void)state;
    start(MEDIUM_DISK, 512);
    export_stop(w.export, false);
    answer(&w.attach, -ECANCELED);
    assert_string_equal(w.heard, "");
    answer(&w.detaches[0], 0);
    assert_string_equal(w.heard, "x");
    assert_int_equal(w.error, 0);
}

static void test_line_dies_in_an_orderly_stop(void **state)
{
    (void)state;
    serve();
    export_stop(w.export, true);
    export_stop(w.export, false);
    export_stop(w.export, false);
    assert_int_equal(w.detach_count, 2);
    assert_false(w.detaches[1].link_alive);
    answer(&w.detaches[0], 0);
    assert_string_equal(w.heard, "s");
    answer(&w.detaches[1], 0);
    assert_string_equal(w.heard, "sx");
}

static void test_drive_goes_unasked(void **state)
{
    (void)state;
    serve();
    w.watch->gone(w.watch->arg, -ENODEV, "Somebody pulled it.");
    /* The slot may hear of the line meanwhile. */
    export_stop(w.export, false);
    assert_int_equal(w.detach_count, 1);
    answer(&w.detaches[0], -ENOTCONN);
    assert_string_equal(w.heard, "sx");
    assert_int_equal(w.error, -ENODEV);
    assert_string_equal(w.reason, "Somebody pulled it.");
}

static void test_socket_breaks(void **state)
{
    (void)state;
    serve();
    kernel_closes(false);
    assert_string_equal(w.heard, "s");
    answer(&w.detaches[0], 0);
    assert_string_equal(w.heard, "sx");
    assert_int_equal(w.error, -EPIPE);
}

static void test_without_a_helper(void **state)
{
    struct export_config config = {.loop = w.loop, .slot = 2};

    (void)state;
    export_free(w.export);
    assert_int_equal(export_kernel.new(&config, &w.export), 0);
    export_own(w.export, &events, NULL);
    start(MEDIUM_DISK, 512);
    export_stop(w.export, true);
    assert_int_equal(loop_run(w.loop), 0);
    assert_string_equal(w.heard, "x");
    assert_int_equal(w.error, -ENOTCONN);
}

/* The export is made anew: a device that stands alone. */
static void device_only(void)
{
    struct export_config config = {
        .loop = w.loop, .slot = 2, .priv = (struct priv *)(void *)&the_conn, .device_only = true};

    export_free(w.export);
    assert_int_equal(export_kernel.new(&config, &w.export), 0);
    export_own(w.export, &events, NULL);
}

/* Nobody can eject it; its being disconnected is somebody's deed, and said as that. */
static void test_a_device_alone(void **state)
{
    char uri[64];

    (void)state;
    device_only();
    serve();
    w.export->ops->describe(w.export, uri, sizeof uri);
    assert_string_equal(uri, "file:///dev/nbd7");
    kernel_closes(true);
    assert_string_equal(w.heard, "s");
    assert_false(w.detaches[0].link_alive);
    answer(&w.detaches[0], 0);
    assert_string_equal(w.heard, "sx");
    assert_int_equal(w.error, -ENODEV);
    assert_non_null(strstr(w.reason, "Another program disconnected"));
}

static int check(enum medium_kind kind, uint64_t size, char *reason, size_t room)
{
    struct medium medium = {.kind = kind, .size = size, .read_only = true};

    return export_kernel.check(w.export, &medium, reason, room);
}

static void test_check_of_a_device_alone(void **state)
{
    char reason[256];

    (void)state;
    device_only();
    assert_int_equal(check(MEDIUM_CD, UINT64_C(99) << 40, reason, sizeof reason), 0);
    assert_string_equal(reason, "");
    assert_int_equal(check(MEDIUM_CD, 2047, reason, sizeof reason), -EINVAL);
}

static void test_check(void **state)
{
    char reason[256];

    (void)state;
    assert_int_equal(check(MEDIUM_CD, UINT64_C(1151999) * 2048, reason, sizeof reason), 0);
    assert_string_equal(reason, "");
    assert_int_equal(check(MEDIUM_CD, UINT64_C(1152000) * 2048, reason, sizeof reason), -EFBIG);
    assert_non_null(strstr(reason, "choose Disk"));
    /* It is to fit into a WebSocket's close frame. */
    assert_int_equal(check(MEDIUM_CD, UINT64_C(99) << 40, reason, sizeof reason), -EFBIG);
    assert_true(strlen(reason) <= 120);
    assert_int_equal(check(MEDIUM_DISK, UINT64_C(1) << 42, reason, sizeof reason), 0);
    assert_int_equal(check(MEDIUM_DISK, 511, reason, sizeof reason), -EINVAL);
    assert_int_equal(check(MEDIUM_CD, 2047, reason, sizeof reason), -EINVAL);
}

#define KERNEL_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        KERNEL_TEST(test_start_and_stop),
        KERNEL_TEST(test_eject),
        KERNEL_TEST(test_eject_before_the_attach_is_answered),
        KERNEL_TEST(test_adopt_and_stop),
        KERNEL_TEST(test_nothing_to_adopt),
        KERNEL_TEST(test_ejected_before_the_adoption),
        KERNEL_TEST(test_reload),
        KERNEL_TEST(test_attach_fails),
        KERNEL_TEST(test_stop_while_attaching),
        KERNEL_TEST(test_line_dies_in_an_orderly_stop),
        KERNEL_TEST(test_drive_goes_unasked),
        KERNEL_TEST(test_socket_breaks),
        KERNEL_TEST(test_without_a_helper),
        KERNEL_TEST(test_a_device_alone),
        KERNEL_TEST(test_check),
        KERNEL_TEST(test_check_of_a_device_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
