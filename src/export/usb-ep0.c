// SPDX-License-Identifier: Apache-2.0
/*
 * ep0 is read by a thread of its own, because the kernel has no other way: whoever answers a
 * control request waits in write(2) or read(2) until the machine has fetched the answer
 * (f_fs.c, __ffs_ep0_queue_wait), O_NONBLOCK or not, and a hostile machine never does. The thread
 * knows nothing: it passes each event through a socketpair to the loop, and does with a request
 * what the loop answers.
 *
 * Who owns what: the thread owns nothing; memory and descriptors go when it has been joined. It is
 * called off by closing the socketpair, and by a signal that interrupts what waits for the machine.
 *
 * What always holds: the thread waits for the loop's answer to a request before it reads on, so the
 * loop never has more than one, and it is the last of what the loop has not yet seen. A request
 * that the machine has given up meanwhile makes its answer fail with EIDRM, which changes nothing.
 *
 * The kernel enables all endpoints anew for each interface of a configuration, and forgets an event
 * that a later one outdates (f_fs.c, ffs_func_set_alt and __ffs_event_add). So events are read a
 * moment after the first of them has come, and the loop takes all it has been sent before it acts:
 * between two enablings a command would be received and lost.
 */
#include "export/usb-ep0.h"

#include <endian.h>
#include <errno.h>
#include <linux/usb/functionfs.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "export/usb-thread.h"

#define EVENTS_MAX 4 /* as many as the kernel keeps */
#define SETTLE     2 /* milliseconds; the kernel's round over the interfaces takes microseconds */

/* The class requests (Bulk-Only Transport, sections 3.1 and 3.2). */
#define REQUEST_RESET   0xff
#define REQUEST_MAX_LUN 0xfe
#define TYPE_OUT        0x21 /* class, interface, from the machine */
#define TYPE_IN         0xa1

/* Beside the kernel's enum usb_functionfs_event_type: what the thread itself has to say. */
#define CAUGHT_UP 0xfe
#define FAILED    0xff /* the error stands in the setup's wValue */

/* What the loop answers to a request. */
struct answer {
    uint8_t stall;
    uint8_t length; /* 0, or 1 with: */
    uint8_t data;
};

struct usb_ep0 {
    struct usb_ep0_config config;
    pthread_t thread;
    bool runs;
    int ours, theirs; /* the socketpair: the loop's end, and the thread's */
    struct loop_fd *watch;
    bool *freed; /* set while events are told: where to note that this is no more */
};

enum usb_ep0_answer usb_ep0_decide(const uint8_t bytes[8], unsigned functions, unsigned *function)
{
    struct usb_ctrlrequest setup;

    memcpy(&setup, bytes, sizeof setup);
    /* FunctionFS has made it our own number of the interface. */
    *function = le16toh(setup.wIndex);
    if (*function >= functions || setup.wValue != 0)
        return USB_EP0_STALL;
    if (setup.bRequestType == TYPE_OUT && setup.bRequest == REQUEST_RESET && setup.wLength == 0)
        return USB_EP0_RESET;
    if (setup.bRequestType == TYPE_IN && setup.bRequest == REQUEST_MAX_LUN &&
        le16toh(setup.wLength) == 1)
        return USB_EP0_MAX_LUN;
    return USB_EP0_STALL;
}

/* ---- the thread ---- */

static bool tell(const struct usb_ep0 *e, const struct usb_functionfs_event *event)
{
    return send(e->theirs, event, sizeof *event, MSG_NOSIGNAL) == (ssize_t)sizeof *event;
}

static void tell_failed(const struct usb_ep0 *e, int error)
{
    struct usb_functionfs_event event = {.type = FAILED};

    event.u.setup.wValue = (uint16_t)-error;
    tell(e, &event);
}

/*
 * The opposite direction stalls (f_fs.c, ffs_ep0_read and ffs_ep0_write); in the request's own, no
 * bytes are the acknowledgement. An error means that the machine is gone or has thought better of
 * it, which the next event tells.
 */
static void reply(int fd, const struct usb_ctrlrequest *setup, const struct answer *answer)
{
    bool in = (setup->bRequestType & USB_DIR_IN) != 0;
    ssize_t done;

    if (in != (answer->stall != 0))
        done = write(fd, &answer->data, answer->stall ? 0 : answer->length);
    else
        done = read(fd, NULL, 0);
    (void)done;
}

/* 0: all there is has been passed on; -errno: there is nothing more to come, ever. */
static int pass_events(const struct usb_ep0 *e)
{
    struct usb_functionfs_event events[EVENTS_MAX];
    ssize_t got = read(e->config.fd, events, sizeof events);
    struct answer answer;

    if (got < 0)
        return errno == EIDRM || errno == EAGAIN || errno == EINTR || errno == EL2HLT ? 0 : -errno;
    if ((size_t)got % sizeof events[0] != 0)
        return -EPROTO;
    for (size_t i = 0; i < (size_t)got / sizeof events[0]; i++) {
        if (!tell(e, &events[i]))
            return -EPIPE;
        if (events[i].type != FUNCTIONFS_SETUP)
            continue;
        if (recv(e->theirs, &answer, sizeof answer, 0) != (ssize_t)sizeof answer)
            return -EPIPE;
        reply(e->config.fd, &events[i].u.setup, &answer);
    }
    return 0;
}

/* 1: there are events; 0: there are none, within `milliseconds` (-1: ever); -EPIPE: called off. */
static int wait_for_events(const struct usb_ep0 *e, int milliseconds)
{
    struct pollfd on[] = {{.fd = e->config.fd, .events = POLLIN}, {.fd = e->theirs}};

    if (poll(on, 2, milliseconds) <= 0)
        return 0;
    if (on[1].revents != 0 || poll(&on[1], 1, SETTLE) > 0)
        return -EPIPE;
    return (on[0].revents & POLLIN) != 0;
}

static void *run(void *arg)
{
    const struct usb_ep0 *e = arg;
    bool caught_up = false;
    ssize_t ignored;
    int r = 0;

    /* A request that an earlier process has read and not answered is stalled by this, or, where the
     * machine awaits data, gets none. Without one it is an error. */
    ignored = write(e->config.fd, NULL, 0);
    (void)ignored;
    while (r >= 0) {
        r = wait_for_events(e, caught_up ? -1 : 0);
        if (r == 1) {
            r = pass_events(e);
        } else if (r == 0 && !caught_up) {
            caught_up = tell(e, &(struct usb_functionfs_event){.type = CAUGHT_UP});
            r = caught_up ? 0 : -EPIPE;
        }
    }
    tell_failed(e, r);
    return NULL;
}

/* ---- the loop ---- */

static void answer(struct usb_ep0 *e, const struct usb_ctrlrequest *setup)
{
    struct answer answer = {.data = (uint8_t)(e->config.luns - 1)};
    bool freed = false;
    unsigned function;

    switch (usb_ep0_decide((const uint8_t *)setup, e->config.functions, &function)) {
    case USB_EP0_STALL:
        answer.stall = 1;
        break;
    case USB_EP0_MAX_LUN:
        answer.length = 1;
        break;
    case USB_EP0_RESET:
        e->freed = &freed;
        e->config.events->reset(e->config.arg, function);
        if (freed)
            return;
        e->freed = NULL;
        break;
    }
    if (send(e->ours, &answer, sizeof answer, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        log_debug("ep0: the thread takes no answer: %s", strerror(errno));
}

/* What has come since the loop last looked: of the words of the bus, the last one stands. */
struct batch {
    bool enabled, disabled;
    bool caught_up;
    bool failed;
    int error;
    bool asked;
    struct usb_ctrlrequest setup;
};

static void collect(struct batch *b, const struct usb_functionfs_event *event)
{
    switch (event->type) {
    case FUNCTIONFS_ENABLE:
        b->enabled = true;
        b->disabled = false;
        break;
    case FUNCTIONFS_DISABLE:
    case FUNCTIONFS_UNBIND:
        b->enabled = false;
        b->disabled = true;
        break;
    case FUNCTIONFS_SETUP:
        b->asked = true;
        b->setup = event->u.setup;
        break;
    case CAUGHT_UP:
        b->caught_up = true;
        break;
    case FAILED:
        b->failed = true;
        b->error = -(int)event->u.setup.wValue;
        break;
    default:
        /* BIND comes before anything can be enabled; while the bus is suspended the endpoints stay
         * as they are, and the machine does not ask. */
        break;
    }
}

static void readable(void *arg, unsigned ready)
{
    struct usb_ep0 *e = arg;
    const struct usb_ep0_events *events = e->config.events;
    void *owner = e->config.arg;
    struct usb_functionfs_event event;
    struct batch b = {0};
    bool freed = false;

    (void)ready;
    while (!b.failed && recv(e->ours, &event, sizeof event, MSG_DONTWAIT) == sizeof event)
        collect(&b, &event);
    e->freed = &freed;
    if (b.failed)
        loop_fd_set(e->watch, 0);
    if (b.enabled)
        events->enabled(owner);
    if (b.disabled)
        events->disabled(owner);
    if (!freed && b.caught_up)
        events->caught_up(owner);
    if (!freed && b.failed)
        events->failed(owner, b.error);
    if (freed)
        return;
    e->freed = NULL;
    if (b.asked)
        answer(e, &b.setup);
}

int usb_ep0_new(const struct usb_ep0_config *config, struct usb_ep0 **out)
{
    struct usb_ep0 *e = calloc(1, sizeof *e);
    int pair[2];
    int r;

    if (!e)
        return -ENOMEM;
    e->config = *config;
    e->ours = e->theirs = -1;
    r = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ? -errno : 0;
    if (r == 0) {
        e->ours = pair[0];
        e->theirs = pair[1];
        r = loop_fd_new(config->loop, e->ours, LOOP_READ, readable, e, &e->watch);
    }
    if (r == 0) {
        r = usb_thread_start(&e->thread, run, e);
        e->runs = r == 0;
    }
    if (r < 0) {
        usb_ep0_free(e);
        return r;
    }
    *out = e;
    return 0;
}

void usb_ep0_free(struct usb_ep0 *e)
{
    if (!e)
        return;
    if (e->freed)
        *e->freed = true;
    loop_fd_free(e->watch);
    if (e->runs) {
        shutdown(e->ours, SHUT_RDWR);
        usb_thread_join(e->thread);
    }
    if (e->ours >= 0) {
        close(e->ours);
        close(e->theirs);
    }
    free(e);
}
