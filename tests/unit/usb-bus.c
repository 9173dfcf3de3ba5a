// SPDX-License-Identifier: Apache-2.0
/* The bus of usb-world.h: usb-aio's functions, and the host's side of the endpoints. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/minmax.h"
#include "export/usb-ear.h"
#include "export/usb-pipe.h"
#include "usb-world.h"

/* One transfer under way. Its place is kept where the kernel's would be: in iocb.data. */
struct flight {
    struct list link;
    struct usb_transfer *transfer; /* NULL: it is over, and its bytes are the controller's */
    uint8_t *bytes;                /* to the host: a copy; from it: the owner's buffer */
    size_t length, at;
    bool in;
};

static struct flight *first_of(struct list *queue)
{
    return list_is_empty(queue) ? NULL : list_entry(queue->next, struct flight, link);
}

static void over(struct usb_aio *a, struct usb_transfer *t, int64_t result)
{
    t->result = result;
    list_append(&a->over, &t->link);
    a->over_count++;
    if (!t->quiet)
        usb_aio_look(a);
}

static void finish(struct usb_aio *a, struct flight *f, int64_t result)
{
    list_remove(&f->link);
    if (!f->transfer) {
        free(f->bytes);
        free(f);
        return;
    }
    over(a, f->transfer, result);
    if (!f->in)
        a->out_bytes -= f->length;
    else
        free(f->bytes);
    f->transfer->iocb.data = NULL;
    free(f);
}

static struct flight *begin(struct usb_aio *a, struct usb_transfer *t)
{
    struct flight *f = calloc(1, sizeof *f);

    assert_non_null(f);
    assert_null(t->iocb.data);
    f->transfer = t;
    list_init(&t->link);
    t->iocb.data = f;
    if (++a->under_way > a->peak)
        a->peak = a->under_way;
    assert_true(a->under_way <= USB_FUNCTION_DEPTH);
    return f;
}

static int refuse(struct usb_aio *a)
{
    if (!a->enabled)
        return -EAGAIN;
    if (a->short_memory == 0)
        return 0;
    a->short_memory--;
    return -ENOMEM;
}

int usb_aio_send(struct usb_aio *a, struct usb_transfer *t, int fd, const struct iovec *iov,
                 unsigned count)
{
    int refused = refuse(a);
    struct flight *f;

    assert_int_equal(fd, USB_IN_FD);
    if (refused)
        return refused;
    f = begin(a, t);
    f->in = true;
    for (unsigned i = 0; i < count; i++)
        f->length += iov[i].iov_len;
    f->bytes = malloc(f->length + 1);
    for (unsigned i = 0; i < count; i++) {
        memcpy(f->bytes + f->at, iov[i].iov_base, iov[i].iov_len);
        f->at += iov[i].iov_len;
    }
    f->at = 0;
    if (a->fifo && f->length <= 64 && list_is_empty(&a->in)) {
        f->transfer = NULL;
        t->iocb.data = NULL;
        over(a, t, (int64_t)f->length);
    }
    list_append(&a->in, &f->link);
    return 0;
}

int usb_aio_receive(struct usb_aio *a, struct usb_transfer *t, int fd, const struct iovec *iov,
                    unsigned count)
{
    int refused = refuse(a);
    struct flight *f;

    assert_int_equal(fd, USB_OUT_FD);
    assert_int_equal(count, 1);
    assert_true(iov->iov_len > 0 && iov->iov_len % USB_PACKET == 0);
    if (refused)
        return refused;
    f = begin(a, t);
    assert_false(usb_bus_listens(a));
    f->bytes = iov->iov_base;
    f->length = iov->iov_len;
    a->out_bytes += f->length;
    a->out_peak = (size_t)max_u64(a->out_peak, a->out_bytes);
    list_append(&a->out, &f->link);
    return 0;
}

void usb_aio_cancel(struct usb_aio *a, struct usb_transfer *t)
{
    struct flight *f = t->iocb.data;

    if (f)
        finish(a, f, -ECONNRESET);
    usb_aio_look(a);
}

void usb_aio_look(struct usb_aio *a)
{
    a->due = a->over_count;
}

void usb_aio_settle(struct usb_aio *a)
{
    while (a->over_count > 0) {
        struct usb_transfer *t = list_entry(list_take_first(&a->over), struct usb_transfer, link);

        a->over_count--;
        a->under_way--;
        a->due = 0;
        t->done(t, t->result);
    }
}

int usb_aio_halt_in(struct usb_aio *a, int in_fd)
{
    bool late = a->late_halt;

    assert_int_equal(in_fd, USB_IN_FD);
    a->late_halt = false;
    if (!a->enabled || !list_is_empty(&a->in) || late)
        return -EAGAIN;
    a->halted_in = true;
    return 0;
}

int usb_aio_halt_out(struct usb_aio *a, int out_fd)
{
    assert_int_equal(out_fd, USB_OUT_FD);
    if (!a->enabled || usb_bus_listens(a))
        return -EAGAIN;
    a->halted_out = true;
    return 0;
}

void usb_aio_flush_in(struct usb_aio *a, int in_fd)
{
    (void)a;
    assert_int_equal(in_fd, USB_IN_FD);
}

/* ---- the ear ---- */

struct usb_ear {
    struct usb_ear_config config;
    struct usb_aio *bus;
    bool wanted, tells;
    unsigned packet, count, place;
    int64_t results[2];
};

int usb_ear_new(const struct usb_ear_config *config, struct usb_ear **out)
{
    struct usb_ear *e = calloc(1, sizeof *e);

    assert_non_null(e);
    e->config = *config;
    e->bus = ((struct usb_pipe *)config->arg)->aio;
    e->bus->ear = e;
    *out = e;
    return 0;
}

void usb_ear_free(struct usb_ear *e)
{
    if (e)
        e->bus->ear = NULL;
    free(e);
}

static void hear(struct usb_ear *e, int64_t result)
{
    unsigned place = (e->place + e->count) % 2;
    const uint8_t *bytes = e->config.places[place];

    e->results[place] = result;
    e->count++;
    e->tells = true;
    e->wanted = result == BOT_CBW_LENGTH && memcmp(bytes, "USBC", 4) == 0 &&
                ((bytes[12] & 0x80) || memcmp(bytes + 8, "\0\0\0\0", 4) == 0);
}

void usb_ear_listen(struct usb_ear *e, unsigned packet)
{
    assert_true(list_is_empty(&e->bus->out));
    e->wanted = true;
    e->packet = packet;
    if (!e->bus->enabled)
        hear(e, -EAGAIN);
}

void usb_ear_stop(struct usb_ear *e)
{
    e->wanted = false;
}

bool usb_ear_heard(struct usb_ear *e, int64_t *result)
{
    *result = e->count > 0 ? e->results[e->place] : 0;
    return e->count > 0;
}

void usb_ear_take(struct usb_ear *e)
{
    assert_true(e->count > 0);
    memset(e->config.places[e->place], 0, USB_PACKET);
    e->place = !e->place;
    e->count--;
}

unsigned usb_ear_place(const struct usb_ear *e)
{
    return e->place;
}

void usb_ear_resume(struct usb_ear *e, unsigned place, size_t length)
{
    e->place = place;
    e->count = length > 0;
    e->results[place] = (int64_t)length;
}

bool usb_bus_listens(const struct usb_aio *a)
{
    return a->ear && a->ear->wanted && a->ear->count < 2;
}

bool usb_bus_tell_heard(struct usb_aio *a)
{
    if (!a->ear || !a->ear->tells)
        return false;
    a->ear->tells = false;
    a->ear->config.heard(a->ear->config.arg);
    return true;
}

/* One packet, of at most USB_PACKET bytes. */
static void tell_ear(struct usb_ear *e, const uint8_t *bytes, size_t length)
{
    uint8_t *place = e->config.places[(e->place + e->count) % 2];

    for (unsigned i = 0; i < BOT_CBW_LENGTH; i++)
        assert_int_equal(place[i], 0);
    memcpy(place, bytes, length);
    hear(e, (int64_t)length);
}

/* ---- the host's side ---- */

size_t usb_host_send(struct usb_world *w, const uint8_t *bytes, size_t length, bool *stalled)
{
    struct usb_aio *a = &w->bus;
    size_t sent = 0;

    *stalled = a->halted_out;
    while (sent < length && !a->halted_out) {
        struct flight *f = first_of(&a->out);
        size_t packet = (size_t)min_u64(length - sent, USB_PACKET);

        if (!f && usb_bus_listens(a)) {
            tell_ear(a->ear, bytes + sent, packet);
            sent += packet;
            continue;
        }
        if (!f)
            break;
        memcpy(f->bytes + f->at, bytes + sent, packet);
        f->at += packet;
        sent += packet;
        if (f->at == f->length || packet < USB_PACKET)
            finish(a, f, (int64_t)f->at);
    }
    return sent;
}

size_t usb_host_fetch(struct usb_world *w, uint8_t *bytes, size_t length, bool *stalled,
                      bool *ended)
{
    struct usb_aio *a = &w->bus;
    size_t got = 0;

    *stalled = a->halted_in;
    *ended = false;
    while (got < length && !a->halted_in && !*ended) {
        struct flight *f = first_of(&a->in);
        size_t packet;

        if (!f)
            break;
        packet = (size_t)min_u64(f->length - f->at, USB_PACKET);
        /* A host's controller calls this an overrun. */
        assert_true(packet <= length - got);
        memcpy(bytes + got, f->bytes + f->at, packet);
        f->at += packet;
        got += packet;
        *ended = packet < USB_PACKET;
        if (f->at == f->length)
            finish(a, f, (int64_t)f->at);
    }
    return got;
}

static void end_all(struct usb_aio *a, struct list *queue, int result)
{
    struct flight *f;

    while ((f = first_of(queue)))
        finish(a, f, result);
}

void usb_world_unplug(struct usb_world *w)
{
    w->bus.enabled = false;
    w->bus.halted_in = w->bus.halted_out = false;
    end_all(&w->bus, &w->bus.in, -ESHUTDOWN);
    end_all(&w->bus, &w->bus.out, -ESHUTDOWN);
    if (usb_bus_listens(&w->bus))
        hear(w->bus.ear, -ESHUTDOWN);
}

void usb_world_plug(struct usb_world *w)
{
    w->bus.enabled = true;
    usb_function_enable(w->function, USB_PACKET);
}
