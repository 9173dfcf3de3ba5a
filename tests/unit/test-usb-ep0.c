/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control endpoint between a kernel that is played here and a device that writes down what it
 * is told: which requests are answered how, what becomes of several events at once, and that the
 * thread ends wherever it waits.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

/*
 * The kernel's ep0 (f_fs.c), as far as it shows: events of 12 bytes, several a read; a request that
 * was read is answered, or stalled by the other direction, before anything else is read; an answer
 * may wait for the machine.
 */
static ssize_t fake_read(int fd, void *out, size_t room);
static ssize_t fake_write(int fd, const void *bytes, size_t length);
#define read  fake_read
#define write fake_write
#include "export/usb-ep0.c"
#undef read
#undef write

#define TICKS_MAX 10000 /* milliseconds until a test has waited enough */

static struct {
    pthread_mutex_t mutex;
    int ready; /* an eventfd: readable while events are queued */
    struct usb_functionfs_event queue[4];
    unsigned count;
    bool pending; /* a request that was read and is not answered */
    bool pending_in;
    bool mute;          /* the machine never fetches an answer */
    int waits_on;       /* what a mute machine's answer waits on */
    int read_error;     /* of the next read */
    size_t read_length; /* of the next read, if not all */
    char did[128];      /* "stall ", "ack ", "data:00 " */
} k = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static struct {
    struct loop *loop;
    struct usb_ep0 *ep0;
    struct loop_timer *tick;
    unsigned ticks;
    char heard[128];
    bool free_on_reset;
    int error;
} w;

static void did(const char *what)
{
    assert_true(strlen(k.did) + strlen(what) < sizeof k.did);
    strcat(k.did, what);
}

/* What the machine never does anything about: until a signal comes. */
static ssize_t wait_for_machine(void)
{
    uint64_t ignored;

    pthread_mutex_unlock(&k.mutex);
    assert_true((read)(k.waits_on, &ignored, sizeof ignored) < 0);
    pthread_mutex_lock(&k.mutex);
    return -1;
}

static ssize_t answered(const char *what, ssize_t length)
{
    k.pending = false;
    did(what);
    return k.mute ? wait_for_machine() : length;
}

static ssize_t stalled(void)
{
    k.pending = false;
    did("stall ");
    errno = EL2HLT;
    return -1;
}

static ssize_t take_events(void *out, size_t room)
{
    size_t size = k.count * sizeof k.queue[0];
    uint64_t ignored;

    assert_true(k.count > 0 && room >= size);
    memcpy(out, k.queue, size);
    for (unsigned i = 0; i < k.count; i++) {
        k.pending = k.pending || k.queue[i].type == FUNCTIONFS_SETUP;
        if (k.queue[i].type == FUNCTIONFS_SETUP)
            k.pending_in = (k.queue[i].u.setup.bRequestType & USB_DIR_IN) != 0;
    }
    k.count = 0;
    assert_int_equal((read)(k.ready, &ignored, sizeof ignored), sizeof ignored);
    if (k.read_length)
        size = k.read_length;
    k.read_length = 0;
    return (ssize_t)size;
}

static ssize_t fake_read(int fd, void *out, size_t room)
{
    ssize_t r;

    assert_int_equal(fd, k.ready);
    pthread_mutex_lock(&k.mutex);
    if (k.read_error) {
        errno = k.read_error;
        k.read_error = 0;
        r = -1;
    } else if (!k.pending) {
        r = take_events(out, room);
    } else if (k.pending_in) {
        r = stalled();
    } else {
        r = answered("ack ", 0);
    }
    pthread_mutex_unlock(&k.mutex);
    return r;
}

static ssize_t fake_write(int fd, const void *bytes, size_t length)
{
    char text[16] = "none ";
    ssize_t r;

    assert_int_equal(fd, k.ready);
    pthread_mutex_lock(&k.mutex);
    if (length > 0)
        snprintf(text, sizeof text, "data:%02x ", *(const uint8_t *)bytes);
    if (k.pending) {
        r = k.pending_in ? answered(text, (ssize_t)length) : stalled();
    } else {
        errno = ESRCH;
        r = -1;
    }
    pthread_mutex_unlock(&k.mutex);
    return r;
}

/* Several in one call are read at once. */
static void happen(const struct usb_functionfs_event *events, unsigned count)
{
    uint64_t one = 1;

    pthread_mutex_lock(&k.mutex);
    assert_true(k.count + count <= 4);
    memcpy(k.queue + k.count, events, count * sizeof *events);
    k.count += count;
    pthread_mutex_unlock(&k.mutex);
    assert_int_equal((write)(k.ready, &one, sizeof one), sizeof one);
}

static void happens(uint8_t type)
{
    happen(&(struct usb_functionfs_event){.type = type}, 1);
}

static struct usb_functionfs_event request(uint8_t type, uint8_t number, uint16_t value,
                                           uint16_t index, uint16_t length)
{
    return (struct usb_functionfs_event){
        .type = FUNCTIONFS_SETUP,
        .u.setup = {.bRequestType = type,
                    .bRequest = number,
                    .wValue = htole16(value),
                    .wIndex = htole16(index),
                    .wLength = htole16(length)},
    };
}

/* ---- the device ---- */

static void hear(const char *what)
{
    assert_true(strlen(w.heard) + strlen(what) < sizeof w.heard);
    strcat(w.heard, what);
}

static void on_enabled(void *arg)
{
    (void)arg;
    hear("enabled ");
}

static void on_disabled(void *arg)
{
    (void)arg;
    hear("disabled ");
}

static void on_reset(void *arg, unsigned function)
{
    char text[16];

    (void)arg;
    snprintf(text, sizeof text, "reset:%u ", function);
    /* It is told of before it is acknowledged. */
    pthread_mutex_lock(&k.mutex);
    assert_true(k.pending);
    pthread_mutex_unlock(&k.mutex);
    if (w.free_on_reset) {
        usb_ep0_free(w.ep0);
        w.ep0 = NULL;
    }
    hear(text);
}

static void on_caught_up(void *arg)
{
    (void)arg;
    hear("caught-up ");
}

static void on_failed(void *arg, int error)
{
    (void)arg;
    w.error = error;
    hear("failed ");
}

static const struct usb_ep0_events events = {
    .enabled = on_enabled,
    .disabled = on_disabled,
    .reset = on_reset,
    .caught_up = on_caught_up,
    .failed = on_failed,
};

/* The loop runs until the device has heard all this, and the kernel was asked all that. */
static void expect(const char *heard, const char *asked)
{
    bool same = false;

    for (w.ticks = 0; !same && w.ticks < TICKS_MAX; w.ticks++) {
        loop_timer_set(w.tick, 1);
        assert_int_equal(loop_run(w.loop), 0);
        pthread_mutex_lock(&k.mutex);
        same = strcmp(w.heard, heard) == 0 && strcmp(k.did, asked) == 0;
        pthread_mutex_unlock(&k.mutex);
    }
    pthread_mutex_lock(&k.mutex);
    assert_string_equal(w.heard, heard);
    assert_string_equal(k.did, asked);
    w.heard[0] = k.did[0] = '\0';
    pthread_mutex_unlock(&k.mutex);
}

static void stop(void *arg)
{
    (void)arg;
    loop_stop(w.loop);
}

static void begin(unsigned functions, unsigned luns)
{
    struct usb_ep0_config config = {
        .loop = w.loop,
        .fd = k.ready,
        .functions = functions,
        .luns = luns,
        .events = &events,
    };

    assert_int_equal(usb_ep0_new(&config, &w.ep0), 0);
}

static int set_up(void **state)
{
    (void)state;
    memset(&w, 0, sizeof w);
    k.count = 0;
    k.pending = k.mute = false;
    k.read_error = 0;
    k.did[0] = '\0';
    k.ready = eventfd(0, EFD_CLOEXEC);
    k.waits_on = eventfd(0, EFD_CLOEXEC);
    assert_true(k.ready >= 0 && k.waits_on >= 0);
    assert_int_equal(loop_new(&w.loop), 0);
    assert_int_equal(loop_timer_new(w.loop, stop, NULL, &w.tick), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    usb_ep0_free(w.ep0);
    loop_timer_free(w.tick);
    loop_free(w.loop);
    close(k.ready);
    close(k.waits_on);
    return 0;
}

static void test_the_bus(void **state)
{
    (void)state;
    begin(1, 1);
    expect("caught-up ", "");
    happens(FUNCTIONFS_ENABLE);
    expect("enabled ", "");
    /* The power management is no concern of the device's. */
    happens(FUNCTIONFS_SUSPEND);
    happens(FUNCTIONFS_RESUME);
    happens(FUNCTIONFS_ENABLE);
    expect("enabled ", "");
    happens(FUNCTIONFS_DISABLE);
    expect("disabled ", "");
    happens(FUNCTIONFS_UNBIND);
    expect("disabled ", "");
    happens(FUNCTIONFS_BIND);
    happens(17);
    happens(FUNCTIONFS_ENABLE);
    expect("enabled ", "");
}

/* What had happened before is told before "caught up"; of several, the last word counts. */
static void test_several_at_once(void **state)
{
    struct usb_functionfs_event both[] = {
        {.type = FUNCTIONFS_ENABLE}, {.type = FUNCTIONFS_SUSPEND}, {.type = FUNCTIONFS_RESUME}};
    struct usb_functionfs_event with_request[] = {{.type = FUNCTIONFS_ENABLE},
                                                  request(TYPE_IN, REQUEST_MAX_LUN, 0, 0, 1)};
    struct usb_functionfs_event request_first[] = {request(TYPE_OUT, REQUEST_RESET, 0, 0, 0),
                                                   {.type = FUNCTIONFS_SUSPEND}};

    (void)state;
    happen(both, 3);
    begin(1, 3);
    expect("enabled caught-up ", "");
    happen(with_request, 2);
    expect("enabled ", "data:02 ");
    happen(request_first, 2);
    expect("reset:0 ", "ack ");
    happens(FUNCTIONFS_DISABLE);
    expect("disabled ", "");
}

static void asks(uint8_t type, uint8_t number, uint16_t value, uint16_t index, uint16_t length)
{
    struct usb_functionfs_event event = request(type, number, value, index, length);

    happen(&event, 1);
}

static void test_requests(void **state)
{
    (void)state;
    begin(3, 1);
    expect("caught-up ", "");
    asks(TYPE_OUT, REQUEST_RESET, 0, 2, 0);
    expect("reset:2 ", "ack ");
    asks(TYPE_IN, REQUEST_MAX_LUN, 0, 1, 1);
    expect("", "data:00 ");
    /* Each of these but for one thing is one of those. */
    asks(TYPE_IN, REQUEST_MAX_LUN, 1, 1, 1);
    expect("", "stall ");
    asks(TYPE_OUT, REQUEST_RESET, 0, 3, 0);
    expect("", "stall ");
}

static void test_decide(void **state)
{
    struct {
        uint8_t bytes[8];
        enum usb_ep0_answer answer;
    } rows[] = {
        {{0x21, 0xff, 0, 0, 0, 0, 0, 0}, USB_EP0_RESET},
        {{0x21, 0xff, 0, 0, 1, 0, 0, 0}, USB_EP0_RESET},
        {{0xa1, 0xfe, 0, 0, 1, 0, 1, 0}, USB_EP0_MAX_LUN},
        {{0x21, 0xff, 0, 0, 2, 0, 0, 0}, USB_EP0_STALL}, /* no such interface */
        {{0x21, 0xff, 0, 0, 0, 1, 0, 0}, USB_EP0_STALL},
        {{0x21, 0xff, 1, 0, 0, 0, 0, 0}, USB_EP0_STALL}, /* a value */
        {{0x21, 0xff, 0, 0, 0, 0, 1, 0}, USB_EP0_STALL}, /* with data */
        {{0xa1, 0xff, 0, 0, 0, 0, 0, 0}, USB_EP0_STALL}, /* the other way */
        {{0x21, 0xfe, 0, 0, 0, 0, 1, 0}, USB_EP0_STALL},
        {{0xa1, 0xfe, 0, 0, 0, 0, 0, 0}, USB_EP0_STALL}, /* without data */
        {{0xa1, 0xfe, 0, 0, 0, 0, 2, 0}, USB_EP0_STALL},
        {{0xa1, 0xfe, 0, 0, 0, 0, 1, 1}, USB_EP0_STALL},
        {{0xa2, 0xfe, 0, 0, 0, 0, 1, 0}, USB_EP0_STALL}, /* of an endpoint */
        {{0xc1, 0xfe, 0, 0, 0, 0, 1, 0}, USB_EP0_STALL}, /* a vendor's */
        {{0x81, 0x06, 0, 0x22, 0, 0, 64, 0}, USB_EP0_STALL},
        {{0x00, 0x00, 0, 0, 0, 0, 0, 0}, USB_EP0_STALL},
    };
    unsigned function;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(usb_ep0_decide(rows[i].bytes, 2, &function), rows[i].answer);
        if (rows[i].answer != USB_EP0_STALL)
            assert_int_equal(function, rows[i].bytes[4]);
    }
}

/* Whatever differs in one byte from what is known is refused, but for the interface's number. */
static void test_decide_near_misses(void **state)
{
    static const uint8_t known[2][8] = {{0x21, 0xff, 0, 0, 0, 0, 0, 0},
                                        {0xa1, 0xfe, 0, 0, 0, 0, 1, 0}};
    static const enum usb_ep0_answer answers[2] = {USB_EP0_RESET, USB_EP0_MAX_LUN};
    unsigned function;

    (void)state;
    for (unsigned i = 0; i < 2 * 8 * 256; i++) {
        const uint8_t *of = known[i >> 11];
        unsigned at = i >> 8 & 7;
        uint8_t bytes[8];
        bool same;

        memcpy(bytes, of, sizeof bytes);
        bytes[at] = (uint8_t)i;
        same = bytes[at] == of[at] || (at == 4 && bytes[at] < 16);
        assert_int_equal(usb_ep0_decide(bytes, 16, &function),
                         same ? answers[i >> 11] : USB_EP0_STALL);
    }
}

/* A request that its reader has not lived to answer is not left to block what comes after it. */
static void test_left_by_another(void **state)
{
    (void)state;
    k.pending = true;
    k.pending_in = false;
    happens(FUNCTIONFS_ENABLE);
    begin(1, 1);
    expect("enabled caught-up ", "stall ");
    usb_ep0_free(w.ep0);
    k.pending = true;
    k.pending_in = true;
    begin(1, 1);
    expect("caught-up ", "none ");
}

/* The machine asks and goes away; a read in between says so, and nothing is lost. */
static void test_errors(void **state)
{
    static const int passing[] = {EIDRM, EAGAIN, EINTR};

    (void)state;
    begin(1, 1);
    expect("caught-up ", "");
    for (unsigned i = 0; i < 3; i++) {
        k.read_error = passing[i];
        happens(FUNCTIONFS_ENABLE);
        expect("enabled ", "");
    }
    k.read_error = EBADFD;
    happens(FUNCTIONFS_ENABLE);
    expect("failed ", "");
    assert_int_equal(w.error, -EBADFD);
}

static void test_half_an_event(void **state)
{
    (void)state;
    begin(1, 1);
    expect("caught-up ", "");
    k.read_length = 7;
    happens(FUNCTIONFS_ENABLE);
    expect("failed ", "");
    assert_int_equal(w.error, -EPROTO);
}

/* The loop goes on, and it can be freed, while the thread waits for a machine that is mute. */
static void test_mute_machine(void **state)
{
    (void)state;
    k.mute = true;
    begin(1, 1);
    expect("caught-up ", "");
    asks(TYPE_IN, REQUEST_MAX_LUN, 0, 0, 1);
    expect("", "data:00 ");
    usb_ep0_free(w.ep0);
    begin(1, 1);
    expect("caught-up ", "");
    asks(TYPE_OUT, REQUEST_RESET, 0, 0, 0);
    expect("reset:0 ", "ack ");
}

static void test_freed_in_an_event(void **state)
{
    (void)state;
    begin(1, 1);
    expect("caught-up ", "");
    w.free_on_reset = true;
    asks(TYPE_OUT, REQUEST_RESET, 0, 0, 0);
    expect("reset:0 ", "");
    assert_null(w.ep0);
}

#define EP0_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EP0_TEST(test_the_bus),
        EP0_TEST(test_several_at_once),
        EP0_TEST(test_requests),
        cmocka_unit_test(test_decide),
        cmocka_unit_test(test_decide_near_misses),
        EP0_TEST(test_left_by_another),
        EP0_TEST(test_errors),
        EP0_TEST(test_half_an_event),
        EP0_TEST(test_mute_machine),
        EP0_TEST(test_freed_in_an_event),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
