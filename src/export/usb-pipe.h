/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two endpoints of a mass-storage function, as its function sees them: what was sent and is not
 * out yet, what is being received, the commands that are waited for, and how all of it is taken
 * back.
 * Everything is told by `wake`, after which one looks.
 */
#ifndef PLATTER_EXPORT_USB_PIPE_H
#define PLATTER_EXPORT_USB_PIPE_H

#include <stdbool.h>
#include <stdint.h>

#include "export/usb-aio.h"

#define USB_PIPE_SENDS    16
#define USB_PIPE_RECEIVES 4
/* The longest receive, in bytes; a multiple of every packet size. */
#define USB_PIPE_LENGTH (64u << 10)

struct loop;
struct usb_ear;
struct usb_pipe;

struct usb_send {
    struct usb_transfer transfer;
    struct usb_pipe *pipe;
    bool busy;
};

struct usb_receive {
    struct usb_transfer transfer;
    struct usb_pipe *pipe;
    uint8_t *buffer; /* USB_PIPE_LENGTH bytes, from malloc; NULL: taken */
    uint32_t wanted; /* bytes of data */
    uint32_t got;
    bool here; /* it is over */
};

struct usb_pipe {
    struct usb_aio *aio;
    int out_fd, in_fd;
    unsigned packet;
    void (*wake)(void *arg);
    void *arg;
    int error; /* of a transfer that was not taken back: the endpoints are lost; 0: none */

    struct usb_send sends[USB_PIPE_SENDS];
    unsigned sending; /* of these, on their way */
    unsigned loud;    /* of those, the ones that wake when they are over */

    struct usb_receive receives[USB_PIPE_RECEIVES]; /* a ring */
    unsigned first, receiving;
    bool dropping; /* what comes of them is not wanted any more */

    struct usb_ear *ear;
    uint8_t *places[2]; /* the ear's */
    bool *gone;         /* set while ends are told of: where to note that this is no more */
};

/* What the machine said last and nobody has taken yet. */
struct usb_heard {
    const uint8_t *bytes; /* NULL: nothing */
    size_t length;
};

/* `places`: as the ear has them (usb-ear.h), for the pipe's life. 0 or -errno. */
int usb_pipe_init(struct usb_pipe *p, struct loop *loop, struct usb_aio *aio, int out_fd, int in_fd,
                  uint8_t *const places[2], void (*wake)(void *arg), void *arg);
/* Only when it is quiet, or where usb_pipe_init() has failed. */
void usb_pipe_done(struct usb_pipe *p);

/*
 * Each: 0; -ENOMEM: later; -EBUSY: that many are under way; another -errno, which is `error` too.
 * `quietly`: `wake` does not tell of its end but with that of another, or when all places were
 * taken.
 */
int usb_pipe_send(struct usb_pipe *p, const struct iovec *iov, unsigned count, bool quietly);
/* `length` bytes of data, up to USB_PIPE_LENGTH; fewer come when the machine ends with a short
 * packet. */
int usb_pipe_receive(struct usb_pipe *p, uint32_t length);
/* Commands are waited for, as usb_ear_listen() does it. 0, or the pipe's error. */
int usb_pipe_listen(struct usb_pipe *p);
/* It stands until usb_pipe_forget(). */
struct usb_heard usb_pipe_heard(struct usb_pipe *p);
void usb_pipe_forget(struct usb_pipe *p);
/* No more are waited for when this returns. */
void usb_pipe_hush(struct usb_pipe *p);

/* The oldest receive if it is over, NULL if not; usb_pipe_taken() then ends it. */
struct usb_receive *usb_pipe_received(struct usb_pipe *p);
void usb_pipe_taken(struct usb_pipe *p);

/* Takes back what is being sent, or received. They are over when `sending` or `receiving` is 0. */
void usb_pipe_drop_sends(struct usb_pipe *p);
void usb_pipe_drop_receives(struct usb_pipe *p);
/* Takes back everything, forgets commands that have come and any error; over when it is quiet. */
void usb_pipe_drop(struct usb_pipe *p);
/* Nothing is under way; commands may be waited for. */
bool usb_pipe_is_quiet(const struct usb_pipe *p);

#endif
