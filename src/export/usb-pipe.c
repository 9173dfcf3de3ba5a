// SPDX-License-Identifier: Apache-2.0
/*
 * The endpoints of a function.
 *
 * Who owns what: transfers are members of the pipe, so a pipe lives until it is quiet. A received
 * buffer may be taken over by whoever looks at the receive (by setting it to NULL). What is sent is
 * the sender's again at once.
 *
 * What always holds: sends leave in the order of the calls, receives are filled in that order and
 * looked at in that order. Every receive asks for whole packets, for a packet that is longer than
 * what is left of a transfer is an error on most controllers. After an error nobody took a transfer
 * back for, nothing more is handed over until usb_pipe_drop(). When the sends are all under way,
 * one of them is not quiet, so whoever waits for a place is woken.
 */
#include "export/usb-pipe.h"

#include <errno.h>
#include <stdlib.h>

#include "export/usb-ear.h"

static void fail(struct usb_pipe *p, int error)
{
    if (p->error == 0)
        p->error = error;
}

/* A refusal: for lack of memory one tries again, else the endpoint is lost. */
static int refused(struct usb_pipe *p, int error)
{
    if (error < 0 && error != -ENOMEM)
        fail(p, error);
    return error;
}

static void sent(struct usb_transfer *t, int64_t result)
{
    struct usb_send *s = list_entry(t, struct usb_send, transfer);
    struct usb_pipe *p = s->pipe;

    s->busy = false;
    p->sending--;
    p->loud -= !t->quiet;
    if (result < 0 && result != -ECONNRESET)
        fail(p, (int)result);
    p->wake(p->arg);
}

static void received(struct usb_transfer *t, int64_t result)
{
    struct usb_receive *r = list_entry(t, struct usb_receive, transfer);
    struct usb_pipe *p = r->pipe;

    r->here = true;
    r->got = result < 0 ? 0 : (uint32_t)result;
    if (result < 0 && result != -ECONNRESET)
        fail(p, (int)result);
    if (p->dropping)
        while (p->receiving > 0 && p->receives[p->first].here)
            usb_pipe_taken(p);
    if (p->receiving == 0)
        p->dropping = false;
    p->wake(p->arg);
}

/* A machine that says something new has fetched what it was sent. */
static void ear_heard(void *arg)
{
    struct usb_pipe *p = arg;
    bool gone = false;

    p->gone = &gone;
    usb_aio_settle(p->aio);
    if (gone)
        return;
    p->gone = NULL;
    p->wake(p->arg);
}

int usb_pipe_init(struct usb_pipe *p, struct loop *loop, struct usb_aio *aio, int out_fd, int in_fd,
                  uint8_t *const places[2], void (*wake)(void *arg), void *arg)
{
    struct usb_ear_config config = {
        .loop = loop,
        .out_fd = out_fd,
        .places = {places[0], places[1]},
        .heard = ear_heard,
        .arg = p,
    };

    *p = (struct usb_pipe){
        .aio = aio,
        .out_fd = out_fd,
        .in_fd = in_fd,
        .packet = 512,
        .wake = wake,
        .arg = arg,
        .places = {places[0], places[1]},
    };
    for (unsigned i = 0; i < USB_PIPE_SENDS; i++)
        p->sends[i] = (struct usb_send){.pipe = p, .transfer.done = sent};
    for (unsigned i = 0; i < USB_PIPE_RECEIVES; i++)
        p->receives[i] = (struct usb_receive){.pipe = p, .transfer.done = received};
    return usb_ear_new(&config, &p->ear);
}

void usb_pipe_done(struct usb_pipe *p)
{
    if (p->gone)
        *p->gone = true;
    usb_ear_free(p->ear);
    for (unsigned i = 0; i < USB_PIPE_RECEIVES; i++)
        free(p->receives[i].buffer);
}

int usb_pipe_send(struct usb_pipe *p, const struct iovec *iov, unsigned count, bool quietly)
{
    struct usb_send *s = p->sends;
    int result;

    if (p->error)
        return p->error;
    if (p->sending == USB_PIPE_SENDS)
        return -EBUSY;
    while (s->busy)
        s++;
    s->transfer.quiet = quietly && s != &p->sends[USB_PIPE_SENDS - 1];
    result = refused(p, usb_aio_send(p->aio, &s->transfer, p->in_fd, iov, count));
    if (result < 0)
        return result;
    s->busy = true;
    p->sending++;
    p->loud += !s->transfer.quiet;
    return 0;
}

static uint32_t whole_packets(const struct usb_pipe *p, uint32_t length)
{
    return (length + p->packet - 1) / p->packet * p->packet;
}

int usb_pipe_receive(struct usb_pipe *p, uint32_t length)
{
    struct usb_receive *r = &p->receives[(p->first + p->receiving) % USB_PIPE_RECEIVES];
    struct iovec iov;
    int result;

    if (p->error)
        return p->error;
    if (p->receiving == USB_PIPE_RECEIVES || p->dropping)
        return -EBUSY;
    if (!r->buffer)
        r->buffer = malloc(USB_PIPE_LENGTH);
    if (!r->buffer)
        return -ENOMEM;
    iov = (struct iovec){r->buffer, whole_packets(p, length)};
    result = refused(p, usb_aio_receive(p->aio, &r->transfer, p->out_fd, &iov, 1));
    if (result < 0)
        return result;
    r->wanted = length;
    r->here = false;
    p->receiving++;
    return 0;
}

int usb_pipe_listen(struct usb_pipe *p)
{
    if (!p->error)
        usb_ear_listen(p->ear, p->packet);
    return p->error;
}

struct usb_heard usb_pipe_heard(struct usb_pipe *p)
{
    int64_t result;

    while (usb_ear_heard(p->ear, &result)) {
        if (result >= 0)
            return (struct usb_heard){p->places[usb_ear_place(p->ear)], (size_t)result};
        usb_ear_take(p->ear);
        fail(p, (int)result);
    }
    return (struct usb_heard){0};
}

void usb_pipe_forget(struct usb_pipe *p)
{
    usb_ear_take(p->ear);
}

struct usb_receive *usb_pipe_received(struct usb_pipe *p)
{
    struct usb_receive *r = &p->receives[p->first];

    return p->receiving > 0 && r->here && !p->dropping ? r : NULL;
}

void usb_pipe_taken(struct usb_pipe *p)
{
    p->first = (p->first + 1) % USB_PIPE_RECEIVES;
    p->receiving--;
}

void usb_pipe_drop_sends(struct usb_pipe *p)
{
    for (unsigned i = 0; i < USB_PIPE_SENDS; i++)
        if (p->sends[i].busy)
            usb_aio_cancel(p->aio, &p->sends[i].transfer);
}

void usb_pipe_drop_receives(struct usb_pipe *p)
{
    while (p->receiving > 0 && p->receives[p->first].here)
        usb_pipe_taken(p);
    p->dropping = p->receiving > 0;
    for (unsigned i = 0; i < p->receiving; i++) {
        struct usb_receive *r = &p->receives[(p->first + i) % USB_PIPE_RECEIVES];

        if (!r->here)
            usb_aio_cancel(p->aio, &r->transfer);
    }
}

void usb_pipe_hush(struct usb_pipe *p)
{
    usb_ear_stop(p->ear);
}

void usb_pipe_drop(struct usb_pipe *p)
{
    int64_t result;

    usb_pipe_drop_sends(p);
    usb_pipe_drop_receives(p);
    usb_ear_stop(p->ear);
    while (usb_ear_heard(p->ear, &result))
        usb_ear_take(p->ear);
}

bool usb_pipe_is_quiet(const struct usb_pipe *p)
{
    return p->sending == 0 && p->receiving == 0;
}
