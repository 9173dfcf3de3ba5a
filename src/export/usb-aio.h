/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transfers on FunctionFS endpoints that are O_NONBLOCK, by Linux AIO: handed over now, told of
 * when they are over, on the loop. Nothing here blocks.
 *
 * Who owns what: the transfer, its descriptor and the bytes to be received are the owner's, and
 * stay as they are from a send or receive that returned 0 until `done`. Bytes to be sent are copied
 * by the kernel before the call returns (f_fs.c, ffs_epfile_io), and so are all iovecs.
 */
#ifndef PLATTER_EXPORT_USB_AIO_H
#define PLATTER_EXPORT_USB_AIO_H

#include <libaio.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/list.h"

struct loop;
struct usb_aio;

struct usb_transfer {
    /* Exactly once, never from inside the call that began it: the bytes moved, or -errno.
     * -ESHUTDOWN: the endpoint was disabled; -ECONNRESET: cancelled. */
    void (*done)(struct usb_transfer *t, int64_t result);
    /* Nobody waits for its end: `done` comes with that of the next one that is not quiet, or after
     * usb_aio_look(), or a cancel. A turn of the loop is saved. */
    bool quiet;

    /* Private. */
    struct iocb iocb;
    struct list link;
    int64_t result;
};

/* One for each USB device; `depth`: how many transfers may be under way at once, all endpoints
 * together. 0 or -errno. */
int usb_aio_new(struct loop *loop, unsigned depth, struct usb_aio **out);
/* With nothing under way. NULL is allowed. */
void usb_aio_free(struct usb_aio *a);

/*
 * On an endpoint, transfers go out, or are filled, in the order of these calls. 0, or -errno when
 * it was refused at once, and then there is no `done`: -EAGAIN, -ESHUTDOWN or -ENODEV where the
 * endpoint is not enabled, -ENOMEM where the kernel has no memory for a buffer of that length.
 */
int usb_aio_send(struct usb_aio *a, struct usb_transfer *t, int fd, const struct iovec *iov,
                 unsigned count);
int usb_aio_receive(struct usb_aio *a, struct usb_transfer *t, int fd, const struct iovec *iov,
                    unsigned count);

/* One that is under way; harmless when it is over already and has not been told of. `done` follows
 * in any case. What was cancelled is off the endpoint when this returns. */
void usb_aio_cancel(struct usb_aio *a, struct usb_transfer *t);

/* What has ended quietly is told of on the loop's next turn. */
void usb_aio_look(struct usb_aio *a);
/* The same at once, and so only where the loop calls: not from inside a `done`, nor where one is
 * not expected. It may be freed then. */
void usb_aio_settle(struct usb_aio *a);

/*
 * Halts an endpoint, by the way FunctionFS has for it: I/O in the wrong direction (f_fs.c,
 * ffs_epfile_io). 0; -EAGAIN while transfers are queued on it or it is not enabled; another -errno.
 */
int usb_aio_halt_in(struct usb_aio *a, int in_fd);
int usb_aio_halt_out(struct usb_aio *a, int out_fd);
/* What the controller still has in its own memory of bulk-in, if it has such a thing, is dropped.
 */
void usb_aio_flush_in(struct usb_aio *a, int in_fd);

#endif
