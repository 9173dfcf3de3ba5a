// SPDX-License-Identifier: Apache-2.0
/*
 * What a drive has asked of its engine.
 *
 * Who owns what: asks are the port's, from a pool. Whoever asked has one until it releases it or
 * leaves it behind; then the port releases it when it is answered. A buffer is its ask's.
 *
 * What always holds: an ask is idle, or its user's (in whatever list that keeps), or `left`. An
 * engine that is to go is kept until nothing is asked of it that has not been released.
 *
 * Taking up again. A command that was held for too long ends with "ask again", and the machine asks
 * again while the engine still has the first asks. The same ask, left behind, is then taken up,
 * which is right because
 *
 * - a read shows the medium as it is when it is answered, and a write of the same bytes does the
 *   same; what the machine was told of it so far was "not done", never "done";
 * - nothing that changes any of its range was asked after it. Else that would have to come first,
 *   and the engine, which keeps the order of whatever touches, sees to it when it is asked anew;
 * - a write that was acknowledged before it was done (`owed`) is never taken up: it is not asked
 *   again but asked once more.
 *
 * A write that was acknowledged and then failed is told twice: with the next command, as SCSI has
 * it (scsi_drive_defer()), and by the next flush. For Linux does a command again that was told of
 * an earlier one's error (scsi_error.c, scsi_check_sense()), and would take the flush after it for
 * a promise. A flush too it does again, five times at once, so flushes fail (`lost`) until
 * something else is written, or it cannot be missed any more.
 *
 * A write left behind may be done although the machine was told "not done" and has given up. SCSI
 * leaves open what a failed write has written, and whatever the machine asks next of that range
 * waits for it in the engine.
 */
#include "export/usb-port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/engine.h"
#include "export/usb-ask.h"
#include "scsi/drive.h"

/* More often than any machine does a flush again that has failed (Linux: 5). */
#define LOST_TELLS 8

struct usb_port {
    struct scsi_drive *drive;
    bool write_back;
    enum export_link link;
    struct engine *engine; /* NULL: none */
    bool leaving;          /* the engine; `gone` waits for it */
    void (*gone)(void *arg);
    void *gone_arg;
    void (*wake)(void *arg); /* NULL: nobody listens */
    void *wake_arg;
    bool asking; /* inside engine_submit() */

    struct usb_ask asks[USB_PORT_ASKS];
    struct list idle;
    struct list left;
    unsigned used; /* asks that are not idle */
    unsigned owed;
    enum scsi_cause lost; /* why an acknowledged write, or a flush, failed; else SCSI_FINE */
    unsigned lost_told;   /* by so many flushes */
    uint64_t numbers;
};

int usb_port_new(struct scsi_drive *drive, bool write_back, struct usb_port **out)
{
    struct usb_port *p = calloc(1, sizeof *p);

    if (!p)
        return -ENOMEM;
    p->drive = drive;
    p->write_back = write_back;
    list_init(&p->idle);
    list_init(&p->left);
    for (unsigned i = 0; i < USB_PORT_ASKS; i++) {
        p->asks[i].port = p;
        list_append(&p->idle, &p->asks[i].link);
    }
    *out = p;
    return 0;
}

void usb_port_free(struct usb_port *p)
{
    free(p);
}

static void wake(struct usb_port *p)
{
    if (p->wake && !p->asking)
        p->wake(p->wake_arg);
}

/* The engine goes when the last ask has been given back. */
static void let_go(struct usb_port *p)
{
    if (!p->leaving || p->used > 0)
        return;
    p->leaving = false;
    p->engine = NULL;
    p->lost = SCSI_FINE;
    p->gone(p->gone_arg);
}

void usb_ask_release(struct usb_ask *a)
{
    struct usb_port *p = a->port;

    list_remove(&a->link);
    engine_release(p->engine, &a->request);
    free(a->buffer);
    a->buffer = NULL;
    list_append(&p->idle, &a->link);
    p->used--;
    let_go(p);
}

static void set_lost(struct usb_port *p, enum scsi_cause cause)
{
    /* It is not done again, and so not waited for. */
    p->lost = cause == SCSI_WAITING ? SCSI_WRITE_FAILED : cause;
    p->lost_told = 0;
}

enum scsi_cause usb_port_lost(struct usb_port *p)
{
    if (++p->lost_told > LOST_TELLS)
        p->lost = SCSI_FINE;
    return p->lost;
}

/* Nobody waits for it any more; what it owed is settled. */
static void end_left(struct usb_ask *a)
{
    struct usb_port *p = a->port;

    if (a->owed) {
        p->owed--;
        if (a->error) {
            set_lost(p, usb_port_cause(p, a->error, true));
            scsi_drive_defer(p->drive, p->lost);
        }
    }
    usb_ask_release(a);
}

/* The engine says so once, perhaps when nobody waits for it any more. What the far end has not been
 * asked yet is not lost. */
static void flush_failed(struct usb_port *p, int error)
{
    enum scsi_cause cause = usb_port_cause(p, error, true);

    if (cause != SCSI_WAITING && cause != SCSI_GONE)
        set_lost(p, cause);
}

static void answered(struct request *request, int error)
{
    struct usb_ask *a = list_entry(request, struct usb_ask, request);
    struct usb_port *p = a->port;

    a->answered = true;
    a->error = error;
    if (request->op == REQUEST_FLUSH && error)
        flush_failed(p, error);
    if (a->left)
        end_left(a);
    wake(p);
}

void usb_ask_leave(struct usb_ask *a, bool owed)
{
    struct usb_port *p = a->port;

    list_remove(&a->link);
    list_append(&p->left, &a->link);
    a->left = true;
    a->owed = owed;
    p->owed += owed;
    if (a->answered)
        end_left(a);
}

static bool changes(const struct request *r)
{
    return r->op != REQUEST_READ && r->op != REQUEST_FLUSH;
}

static bool meet(const struct request *a, const struct request *b)
{
    return a->offset < b->offset + b->length && b->offset < a->offset + a->length;
}

/* Whether something was asked after it that it has to stay behind of. */
static bool is_passed(const struct usb_port *p, const struct usb_ask *a)
{
    for (unsigned i = 0; i < USB_PORT_ASKS; i++) {
        const struct usb_ask *other = &p->asks[i];

        /* An idle one's number is of its last use. */
        if (other->number > a->number && !other->answered && changes(&other->request) &&
            meet(&a->request, &other->request))
            return true;
    }
    return false;
}

static bool is_same(const struct request *a, const struct request *b)
{
    return a->op == b->op && a->offset == b->offset && a->length == b->length && a->fua == b->fua &&
           a->no_hole == b->no_hole &&
           (a->op != REQUEST_WRITE || memcmp(a->data, b->data, a->length) == 0);
}

static struct usb_ask *take_up(struct usb_port *p, const struct request *want, uint8_t *buffer)
{
    list_for_each (it, &p->left) {
        struct usb_ask *a = list_entry(it, struct usb_ask, link);

        if (a->owed || want->op == REQUEST_FLUSH || !is_same(&a->request, want) || is_passed(p, a))
            continue;
        list_remove(&a->link);
        a->left = false;
        if (want->op == REQUEST_WRITE) {
            /* The engine reads the first one's. */
            free(buffer);
        } else {
            free(a->buffer);
            a->buffer = buffer;
        }
        return a;
    }
    return NULL;
}

bool usb_port_has_room(const struct usb_port *p)
{
    return p->engine && !p->leaving && !list_is_empty(&p->idle);
}

struct usb_ask *usb_port_ask(struct usb_port *p, const struct request *want, uint8_t *take_buffer)
{
    struct request asked = *want;
    struct usb_ask *a;

    if (!p->engine || p->leaving)
        return NULL;
    if (want->op == REQUEST_WRITE)
        asked.data = take_buffer;
    a = take_up(p, &asked, take_buffer);
    if (a)
        return a;
    if (list_is_empty(&p->idle))
        return NULL;
    if (p->lost_told > 0 && changes(want))
        p->lost = SCSI_FINE;
    a = list_entry(list_take_first(&p->idle), struct usb_ask, link);
    a->request = asked;
    a->request.complete = answered;
    a->buffer = take_buffer;
    a->number = ++p->numbers;
    a->answered = a->left = a->owed = false;
    a->error = 0;
    p->used++;
    p->asking = true;
    engine_submit(p->engine, &a->request);
    p->asking = false;
    return a;
}

void usb_port_listen(struct usb_port *p, void (*on_wake)(void *arg), void *arg)
{
    p->wake = on_wake;
    p->wake_arg = arg;
}

void usb_port_set_engine(struct usb_port *p, struct engine *engine)
{
    p->engine = engine;
    p->link = EXPORT_LINK_LIVE;
    wake(p);
}

void usb_port_drop_engine(struct usb_port *p, void (*done)(void *arg), void *arg)
{
    if (!p->engine) {
        done(arg);
        return;
    }
    p->leaving = true;
    p->gone = done;
    p->gone_arg = arg;
    /* Once the last listener has left its asks behind, let_go() may come at any ask's end. */
    p->used++;
    wake(p);
    p->used--;
    let_go(p);
}

void usb_port_set_link(struct usb_port *p, enum export_link link)
{
    p->link = link;
    wake(p);
}

bool usb_port_is_dirty(const struct usb_port *p)
{
    return p->owed > 0;
}

bool usb_port_owes(const struct usb_port *p)
{
    return p->owed > 0 || p->lost != SCSI_FINE;
}

void usb_port_lose(struct usb_port *p)
{
    set_lost(p, SCSI_WRITE_FAILED);
}

bool usb_port_is_empty(const struct usb_port *p)
{
    return p->leaving || !scsi_drive_is_loaded(p->drive);
}

enum export_link usb_port_link(const struct usb_port *p)
{
    return p->link;
}

bool usb_port_writes_back(const struct usb_port *p)
{
    return p->write_back;
}

enum scsi_cause usb_port_cause(const struct usb_port *p, int error, bool writing)
{
    return p->link == EXPORT_LINK_FAILED ? SCSI_GONE : scsi_cause_of(error, writing);
}
