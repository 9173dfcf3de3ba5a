// SPDX-License-Identifier: Apache-2.0
/*
 * Linux AIO on FunctionFS endpoints. The kernel copies what is sent when it is submitted, queues
 * the transfer at the controller and comes back at once; when the transfer is over it writes an
 * event into a ring and counts up an eventfd, which the loop watches.
 *
 * FunctionFS says that it refuses a transfer (the endpoint is not enabled, no memory) with an event
 * too, where io_submit() has said yes. A stream of transfers with a piece missing in its middle is
 * wrong data, so a submission looks at the ring at once and tells its caller instead: an error that
 * comes this early has moved nothing.
 *
 * Who owns what: transfers are their owners'. Between a submission and `done` the kernel has them,
 * or, once their event has been taken from the ring, `over`.
 *
 * What always holds: every event but a quiet transfer's was counted on the eventfd, so whatever
 * lies in `over` has a turn of the loop coming, or nobody who waits for it.
 */
#include "export/usb-aio.h"

#include <errno.h>
#include <linux/usb/functionfs.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/loop.h"

#define REAP_MAX 32

struct usb_aio {
    io_context_t context;
    int event_fd;
    struct loop_fd *watch;
    struct list over; /* transfers that are over and were not told of */
    bool telling;
    bool freed; /* from inside a `done` */
};

static void destroy(struct usb_aio *a)
{
    loop_fd_free(a->watch);
    close(a->event_fd);
    io_destroy(a->context);
    free(a);
}

/* From the ring to `over`. Costs no system call when the ring is empty. */
static void reap(struct usb_aio *a)
{
    struct io_event events[REAP_MAX];
    struct timespec at_once = {0};
    int count;

    do {
        count = io_getevents(a->context, 0, REAP_MAX, events, &at_once);
        for (int i = 0; i < count; i++) {
            struct usb_transfer *t = events[i].data;

            /* libaio shows the kernel's signed result as unsigned. */
            t->result = (long)events[i].res;
            list_append(&a->over, &t->link);
        }
    } while (count == REAP_MAX);
}

void usb_aio_settle(struct usb_aio *a)
{
    struct list over;
    struct list *link;

    reap(a);
    list_init(&over);
    list_move_all(&a->over, &over);
    a->telling = true;
    while ((link = list_take_first(&over))) {
        struct usb_transfer *t = list_entry(link, struct usb_transfer, link);

        t->done(t, t->result);
    }
    a->telling = false;
    if (a->freed)
        destroy(a);
}

static void tell(void *arg, unsigned ready)
{
    struct usb_aio *a = arg;
    uint64_t count;

    (void)ready;
    if (read(a->event_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        log_error("the USB drive's transfers cannot be waited for (errno %d)", errno);
    usb_aio_settle(a);
}

int usb_aio_new(struct loop *loop, unsigned depth, struct usb_aio **out)
{
    struct usb_aio *a = calloc(1, sizeof *a);
    int result;

    if (!a)
        return -ENOMEM;
    list_init(&a->over);
    result = io_setup((int)depth, &a->context);
    if (result < 0) {
        free(a);
        return result;
    }
    a->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    result =
        a->event_fd < 0 ? -errno : loop_fd_new(loop, a->event_fd, LOOP_READ, tell, a, &a->watch);
    if (result < 0) {
        if (a->event_fd >= 0)
            close(a->event_fd);
        io_destroy(a->context);
        free(a);
        return result;
    }
    *out = a;
    return 0;
}

void usb_aio_free(struct usb_aio *a)
{
    if (!a)
        return;
    if (a->telling)
        a->freed = true;
    else
        destroy(a);
}

static int submit(struct usb_aio *a, struct usb_transfer *t)
{
    struct iocb *one = &t->iocb;
    int result;

    if (!t->quiet)
        io_set_eventfd(one, a->event_fd);
    one->data = t;
    t->result = 0;
    list_init(&t->link);
    result = io_submit(a->context, 1, &one);
    if (result < 0)
        return result;
    reap(a);
    if (t->result < 0) {
        list_remove(&t->link);
        return (int)t->result;
    }
    return 0;
}

int usb_aio_send(struct usb_aio *a, struct usb_transfer *t, int fd, const struct iovec *iov,
                 unsigned count)
{
    io_prep_pwritev(&t->iocb, fd, iov, (int)count, 0);
    return submit(a, t);
}

int usb_aio_receive(struct usb_aio *a, struct usb_transfer *t, int fd, const struct iovec *iov,
                    unsigned count)
{
    io_prep_preadv(&t->iocb, fd, iov, (int)count, 0);
    return submit(a, t);
}

void usb_aio_cancel(struct usb_aio *a, struct usb_transfer *t)
{
    struct io_event unused;

    /* Whatever it says: the event comes through the ring (aio.c, io_cancel). */
    io_cancel(a->context, &t->iocb, &unused);
    usb_aio_look(a);
}

void usb_aio_look(struct usb_aio *a)
{
    /* It fails only where 2^64 - 1 events were counted already. */
    eventfd_write(a->event_fd, 1);
}

static int halted(ssize_t moved)
{
    if (moved >= 0)
        return -EIO;
    return errno == EBADMSG ? 0 : -errno;
}

int usb_aio_halt_in(struct usb_aio *a, int in_fd)
{
    uint8_t nothing;

    (void)a;
    return halted(read(in_fd, &nothing, 1));
}

int usb_aio_halt_out(struct usb_aio *a, int out_fd)
{
    uint8_t nothing = 0;

    (void)a;
    return halted(write(out_fd, &nothing, 1));
}

void usb_aio_flush_in(struct usb_aio *a, int in_fd)
{
    (void)a;
    /* Refused where there is nothing to flush, or the endpoint is not enabled. */
    ioctl(in_fd, FUNCTIONFS_FIFO_FLUSH);
}
