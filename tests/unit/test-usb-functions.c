// SPDX-License-Identifier: Apache-2.0
/*
 * What stands of a USB device, between a control endpoint and functions that are played here: which
 * drives are whose, when a function goes on where an earlier process was and when it does not, and
 * that the descriptors are closed last.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include <cmocka.h>

static int fake_ioctl(int fd, unsigned long request, void *out);
#define ioctl fake_ioctl
#include "export/usb-functions.c"
#undef ioctl

#define DRIVES 3

struct usb_function {
    struct usb_function_config config;
    unsigned packet; /* 0: disabled */
    void (*done)(void *arg);
    void *done_arg;
};

static struct {
    int fds[1 + 2 * DRIVES];
    unsigned packet; /* of every endpoint; 0: not enabled */
    struct usb_ep0_config ep0;
    bool ep0_is_open, aio_is_open;
    unsigned depth;
    int ep0_error, aio_error;
    struct usb_function made[DRIVES];
    unsigned made_count, free_count, fail_at;
    bool at_once; /* quiesce and close are done before they return */
    char heard[256];
    struct usb_functions *all;
} w;

/* Only their addresses count. */
static struct scsi_drive *const drives[DRIVES] = {(void *)&w.fds[0], (void *)&w.fds[1],
                                                  (void *)&w.fds[2]};
static struct usb_port *const ports[DRIVES] = {(void *)&w.fds[3], (void *)&w.fds[4],
                                               (void *)&w.fds[5]};
static char the_aio, the_ep0, the_journal;

static void hear(const char *format, unsigned a, unsigned b)
{
    char text[32];

    snprintf(text, sizeof text, format, a, b);
    assert_true(strlen(w.heard) + strlen(text) < sizeof w.heard);
    strcat(w.heard, text);
}

static void expect(const char *heard)
{
    assert_string_equal(w.heard, heard);
    w.heard[0] = '\0';
}

static int fake_ioctl(int fd, unsigned long request, void *out)
{
    struct usb_endpoint_descriptor *descriptor = out;

    assert_int_equal(request, FUNCTIONFS_ENDPOINT_DESC);
    assert_true(fcntl(fd, F_GETFD) >= 0);
    if (w.packet == 0) {
        errno = EAGAIN;
        return -1;
    }
    memset(descriptor, 0, sizeof *descriptor);
    descriptor->wMaxPacketSize = htole16((uint16_t)w.packet);
    return 0;
}

int usb_aio_new(struct loop *loop, unsigned depth, struct usb_aio **out)
{
    (void)loop;
    if (w.aio_error)
        return w.aio_error;
    w.depth = depth;
    w.aio_is_open = true;
    *out = (struct usb_aio *)(void *)&the_aio;
    return 0;
}

void usb_aio_free(struct usb_aio *a)
{
    assert_true(!a || w.aio_is_open);
    w.aio_is_open = false;
}

int usb_ep0_new(const struct usb_ep0_config *config, struct usb_ep0 **out)
{
    if (w.ep0_error)
        return w.ep0_error;
    w.ep0 = *config;
    w.ep0_is_open = true;
    *out = (struct usb_ep0 *)(void *)&the_ep0;
    return 0;
}

void usb_ep0_free(struct usb_ep0 *ep0)
{
    if (ep0)
        w.ep0_is_open = false;
}

static unsigned number_of(const struct usb_function *f)
{
    return (unsigned)(f - w.made);
}

int usb_function_new(const struct usb_function_config *config, struct usb_function **out)
{
    struct usb_function *f = &w.made[w.made_count];

    assert_true(w.aio_is_open);
    assert_ptr_equal(config->journal, &the_journal);
    if (w.fail_at && w.made_count + 1 == w.fail_at)
        return -ENOMEM;
    assert_int_equal(config->index, w.made_count++);
    f->config = *config;
    *out = f;
    return 0;
}

void usb_function_resume(struct usb_function *f)
{
    hear("resume:%u ", number_of(f), 0);
}

void usb_function_enable(struct usb_function *f, unsigned packet)
{
    hear("enable:%u/%u ", number_of(f), packet);
}

void usb_function_disable(struct usb_function *f)
{
    hear("disable:%u ", number_of(f), 0);
}

void usb_function_reset(struct usb_function *f)
{
    hear("reset:%u ", number_of(f), 0);
}

static void ask(struct usb_function *f, void (*done)(void *arg), void *arg)
{
    if (w.at_once) {
        done(arg);
        return;
    }
    f->done = done;
    f->done_arg = arg;
}

void usb_function_quiesce(struct usb_function *f, void (*done)(void *arg), void *arg)
{
    ask(f, done, arg);
}

void usb_function_close(struct usb_function *f, void (*done)(void *arg), void *arg)
{
    /* From here on nothing of the bus is told to it. */
    assert_false(w.ep0_is_open);
    ask(f, done, arg);
}

void usb_function_free(struct usb_function *f)
{
    if (!f)
        return;
    /* Its transfers need both to the end. */
    assert_true(w.aio_is_open);
    assert_true(fcntl(f->config.in_fd, F_GETFD) >= 0);
    w.free_count++;
}

/* ---- the device ---- */

static void on_ready(void *arg)
{
    assert_ptr_equal(arg, &w);
    hear("ready ", 0, 0);
}

static void on_drive_events(void *arg, unsigned drive, unsigned events)
{
    assert_ptr_equal(arg, &w);
    hear("drive:%u/%u ", drive, events);
}

static void on_failure(void *arg, int error)
{
    assert_ptr_equal(arg, &w);
    hear("failed:%u ", (unsigned)-error, 0);
}

static const struct usb_functions_events events = {
    .ready = on_ready,
    .drive_events = on_drive_events,
    .failed = on_failure,
};

static void on_done(void *arg)
{
    assert_ptr_equal(arg, &w);
    hear("done ", 0, 0);
}

static int begin(unsigned count, bool adopted)
{
    struct usb_functions_config config = {
        .take_fds = w.fds,
        .count = count,
        .drives = drives,
        .ports = ports,
        .drive_count = DRIVES,
        .journal = (struct usb_journal *)(void *)&the_journal,
        .adopted = adopted,
        .events = &events,
        .arg = &w,
    };

    for (unsigned i = 0; i < 1 + 2 * count; i++) {
        w.fds[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
        assert_true(w.fds[i] >= 0);
    }
    return usb_functions_new(&config, &w.all);
}

static void end(unsigned count)
{
    usb_functions_free(w.all);
    assert_int_equal(w.free_count, w.made_count);
    assert_false(w.aio_is_open);
    assert_false(w.ep0_is_open);
    for (unsigned i = 0; i < 1 + 2 * count; i++)
        assert_int_equal(fcntl(w.fds[i], F_GETFD), -1);
}

static int set_up(void **state)
{
    (void)state;
    memset(&w, 0, sizeof w);
    return 0;
}

static void test_a_function_each(void **state)
{
    (void)state;
    w.at_once = true;
    assert_int_equal(begin(DRIVES, false), 0);
    assert_int_equal(w.ep0.functions, DRIVES);
    assert_int_equal(w.ep0.luns, 1);
    assert_int_equal(w.depth, DRIVES * USB_FUNCTION_DEPTH);
    assert_int_equal(w.made_count, 0);
    w.ep0.events->caught_up(w.ep0.arg);
    expect("ready ");
    for (unsigned i = 0; i < DRIVES; i++) {
        assert_int_equal(w.made[i].config.out_fd, w.fds[1 + 2 * i]);
        assert_int_equal(w.made[i].config.in_fd, w.fds[2 + 2 * i]);
        assert_int_equal(w.made[i].config.count, 1);
        assert_int_equal(w.made[i].config.first_drive, i);
        assert_ptr_equal(w.made[i].config.drives[0], drives[i]);
        assert_ptr_equal(w.made[i].config.ports[0], ports[i]);
    }
    w.packet = 512;
    w.ep0.events->enabled(w.ep0.arg);
    expect("enable:0/512 enable:1/512 enable:2/512 ");
    w.ep0.events->reset(w.ep0.arg, 1);
    expect("reset:1 ");
    w.made[2].config.drive_events(w.made[2].config.arg, 0, 5);
    expect("drive:2/5 ");
    /* The endpoints know best. */
    w.packet = 0;
    w.ep0.events->enabled(w.ep0.arg);
    expect("disable:0 disable:1 disable:2 ");
    w.packet = 1024;
    w.ep0.events->disabled(w.ep0.arg);
    expect("enable:0/1024 enable:1/1024 enable:2/1024 ");
    w.ep0.events->failed(w.ep0.arg, -EBADFD);
    expect("failed:77 ");
    usb_functions_close(w.all, on_done, &w);
    expect("done ");
    w.made[2].config.drive_events(w.made[2].config.arg, 0, 5);
    expect("");
    end(DRIVES);
}

static void test_one_for_all(void **state)
{
    (void)state;
    assert_int_equal(begin(1, false), 0);
    assert_int_equal(w.ep0.functions, 1);
    assert_int_equal(w.ep0.luns, DRIVES);
    w.packet = 64;
    w.ep0.events->enabled(w.ep0.arg); /* before there is any function */
    expect("");
    w.ep0.events->caught_up(w.ep0.arg);
    expect("enable:0/64 ready ");
    assert_int_equal(w.made[0].config.count, DRIVES);
    assert_ptr_equal(w.made[0].config.drives[2], drives[2]);
    w.made[0].config.drive_events(w.made[0].config.arg, 2, 1);
    expect("drive:2/1 ");
    usb_functions_close(w.all, on_done, &w);
    expect("");
    w.made[0].done(w.made[0].done_arg);
    expect("done ");
    end(1);
}

/* A function goes on where it was if nothing has happened to the bus since; else it begins anew. */
static void test_adopted(void **state)
{
    static const char *const wants[] = {
        "resume:0 resume:1 resume:2 ready ",
        "enable:0/512 enable:1/512 enable:2/512 ready ",
        "ready ",
        "enable:0/512 enable:1/512 enable:2/512 ready ",
    };

    for (unsigned i = 0; i < 4; i++) {
        set_up(state);
        w.at_once = true;
        assert_int_equal(begin(DRIVES, true), 0);
        w.packet = i == 2 ? 0 : 512;
        if (i == 1)
            w.ep0.events->enabled(w.ep0.arg);
        else if (i == 2)
            w.ep0.events->disabled(w.ep0.arg);
        else if (i == 3)
            w.ep0.events->reset(w.ep0.arg, 0);
        w.ep0.events->caught_up(w.ep0.arg);
        expect(wants[i]);
        usb_functions_close(w.all, on_done, &w);
        expect("done ");
        end(DRIVES);
    }
}

static void test_quiesce(void **state)
{
    (void)state;
    for (int caught_up = 0; caught_up < 2; caught_up++) {
        set_up(state);
        assert_int_equal(begin(DRIVES, false), 0);
        if (caught_up) {
            w.ep0.events->caught_up(w.ep0.arg);
            expect("ready ");
        }
        usb_functions_quiesce(w.all, on_done, &w);
        assert_false(w.ep0_is_open);
        for (unsigned i = 0; i < w.made_count; i++) {
            expect("");
            w.made[i].done(w.made[i].done_arg);
        }
        expect("done ");
        w.at_once = true;
        usb_functions_close(w.all, on_done, &w);
        expect("done ");
        end(DRIVES);
    }
}

static void test_failures(void **state)
{
    (void)state;
    w.aio_error = -EAGAIN;
    assert_int_equal(begin(DRIVES, false), -EAGAIN);
    w.all = NULL;
    end(DRIVES);
    w.aio_error = 0;
    w.ep0_error = -EMFILE;
    assert_int_equal(begin(DRIVES, false), -EMFILE);
    w.all = NULL;
    end(DRIVES);
    w.ep0_error = 0;
    w.fail_at = 2;
    w.at_once = true;
    assert_int_equal(begin(DRIVES, false), 0);
    w.ep0.events->caught_up(w.ep0.arg);
    expect("failed:12 ");
    usb_functions_close(w.all, on_done, &w);
    expect("done ");
    end(DRIVES);
}

#define FUNCTIONS_TEST(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FUNCTIONS_TEST(test_a_function_each), FUNCTIONS_TEST(test_one_for_all),
        FUNCTIONS_TEST(test_adopted),         FUNCTIONS_TEST(test_quiesce),
        FUNCTIONS_TEST(test_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
