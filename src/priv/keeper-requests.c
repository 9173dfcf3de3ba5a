/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What connections ask of the keeper, and what they are told. The permit table says what is
 * allowed; here it is begun, put into its place to wait, or refused. Every request is answered
 * exactly once, unless its connection is gone.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "priv/keeper-parts.h"

/* ---- what they are told ---- */

struct keeper_result keeper_failure(int error, const char *format, ...)
{
    struct keeper_result result = {.error = error, .device = PRIVMSG_NO_DEVICE};
    va_list args;

    va_start(args, format);
    vsnprintf(result.reason, sizeof result.reason, format, args);
    va_end(args);
    return result;
}

void keeper_report(struct keeper *k, enum privmsg_type type, int client, unsigned n, uint32_t id,
                   const struct keeper_result *result)
{
    struct privmsg m = {
        .type = type,
        .slot = n,
        .id = id,
        .error = result->error,
        .device = result->error ? PRIVMSG_NO_DEVICE : result->device,
        .functions = result->error ? 0 : result->functions,
    };

    privmsg_set_reason(&m, result->reason);
    k->ops->send(k->arg, client, &m, false);
}

void keeper_answer(struct keeper *k, unsigned n, struct pending *p,
                   const struct keeper_result *result)
{
    if (!p->open)
        return;
    p->open = false;
    keeper_report(k, PRIVMSG_REPLY, p->client, n, p->id, result);
}

static void refuse(struct keeper *k, int client, const struct privmsg *m,
                   const struct keeper_result *result)
{
    keeper_report(k, PRIVMSG_REPLY, client, m->slot, m->id, result);
}

static struct keeper_result busy(unsigned n)
{
    return keeper_failure(-EBUSY, "Slot %u is in use: end its session first.", n);
}

static struct keeper_result missing(unsigned n)
{
    return keeper_failure(-ENOENT, "Slot %u has no drive that could be taken over: begin anew.", n);
}

/* ---- who waits for a turn ---- */

static void wait_for_turn(struct keeper *k, int client, const struct privmsg *m, int take_fd)
{
    struct slot *s = &k->slots[m->slot];

    s->next = (struct pending){.open = true, .client = client, .id = m->id};
    s->next_message = *m;
    s->next_fd = take_fd;
}

void keeper_drop_next(struct keeper *k, unsigned n, const struct keeper_result *result)
{
    struct slot *s = &k->slots[n];

    if (s->next_fd >= 0)
        close(s->next_fd);
    s->next_fd = -1;
    if (result)
        keeper_answer(k, n, &s->next, result);
    s->next.open = false;
}

static void attach_begin(struct keeper *k, unsigned n, int client, const struct privmsg *m,
                         int take_fd)
{
    struct slot *s = &k->slots[n];
    struct keeper_result result = {.device = PRIVMSG_NO_DEVICE};

    result.error = k->ops->claim(k->arg, n, result.reason, sizeof result.reason);
    if (result.error < 0) {
        close(take_fd);
        refuse(k, client, m, &result);
        return;
    }
    result.error = keeper_start_main(k, n, KEEPER_ATTACH, m, take_fd);
    if (result.error < 0) {
        k->ops->release(k->arg, n);
        result =
            keeper_failure(result.error, "Slot %u cannot be set up (%s): free memory or processes.",
                           n, strerror(-result.error));
        refuse(k, client, m, &result);
        return;
    }
    s->state = SLOT_ATTACHING;
    s->owner = client;
    s->drive = *m;
    s->attach = (struct pending){.open = true, .client = client, .id = m->id};
}

static bool is_usb(const struct privmsg *m)
{
    return m->type == PRIVMSG_USB_ATTACH || m->type == PRIVMSG_USB_ADOPT;
}

/* The same drive in every respect that a machine could notice. */
static bool is_same_drive(const struct privmsg *a, const struct privmsg *b)
{
    if (is_usb(a) || is_usb(b))
        return is_usb(a) && is_usb(b) && a->drives == b->drives;
    return a->kind == b->kind && a->size == b->size && a->read_only == b->read_only;
}

/* It stands, and goes on as it is: all that the new owner needs is what the old one had. */
static void usb_adopt_begin(struct keeper *k, unsigned n, int client, const struct privmsg *m)
{
    struct slot *s = &k->slots[n];
    struct privmsg reply = {.type = PRIVMSG_REPLY,
                            .slot = n,
                            .id = m->id,
                            .device = PRIVMSG_NO_DEVICE,
                            .functions = s->functions};

    s->state = SLOT_ATTACHED;
    s->owner = client;
    s->deadline = UINT64_MAX;
    k->ops->send(k->arg, client, &reply, true);
}

/* An adoption that fails leaves nothing, as an attach does: its answer comes when that is so. */
static void adopt_begin(struct keeper *k, unsigned n, int client, const struct privmsg *m,
                        int take_fd, uint64_t now)
{
    struct slot *s = &k->slots[n];
    int r;

    if (is_usb(m) && is_same_drive(&s->drive, m)) {
        usb_adopt_begin(k, n, client, m);
        return;
    }
    s->owner = client;
    s->attach = (struct pending){.open = true, .client = client, .id = m->id};
    if (!is_same_drive(&s->drive, m)) {
        if (take_fd >= 0)
            close(take_fd);
        s->outcome = keeper_failure(-ESTALE, "Slot %u held a drive of another kind or size.", n);
        keeper_slot_down(k, n, false, now);
        return;
    }
    r = keeper_start_main(k, n, KEEPER_ADOPT, m, take_fd);
    if (r < 0) {
        s->outcome = keeper_failure(
            r, "Slot %u cannot be taken over (%s): free memory or processes.", n, strerror(-r));
        keeper_slot_down(k, n, false, now);
        return;
    }
    s->state = SLOT_ATTACHING;
    s->deadline = UINT64_MAX;
}

static bool adopts(enum privmsg_type type)
{
    return type == PRIVMSG_ADOPT || type == PRIVMSG_USB_ADOPT;
}

void keeper_begin_next(struct keeper *k, unsigned n, uint64_t now)
{
    struct slot *s = &k->slots[n];
    struct keeper_result none = missing(n);
    int fd = s->next_fd;

    if (!s->next.open)
        return;
    if (adopts(s->next_message.type) && s->state != SLOT_ORPHANED) {
        keeper_drop_next(k, n, &none);
        return;
    }
    s->next.open = false;
    s->next_fd = -1;
    if (adopts(s->next_message.type))
        adopt_begin(k, n, s->next.client, &s->next_message, fd, now);
    else
        attach_begin(k, n, s->next.client, &s->next_message, fd);
}

/* ---- what they ask ---- */

static void adopt(struct keeper *k, int client, const struct privmsg *m, int take_fd, uint64_t now)
{
    /* Another adoption, of one who died over it, ends first. */
    if (k->slots[m->slot].main_runs)
        wait_for_turn(k, client, m, take_fd);
    else
        adopt_begin(k, m->slot, client, m, take_fd, now);
}

static void reload(struct keeper *k, int client, const struct privmsg *m)
{
    struct slot *s = &k->slots[m->slot];
    struct keeper_result result = {.device = PRIVMSG_NO_DEVICE};

    if (is_usb(&s->drive)) {
        result = keeper_failure(-EOPNOTSUPP,
                                "Slot %u is a USB device of platterd's own: what it reads anew is "
                                "platterd's to say.",
                                m->slot);
        refuse(k, client, m, &result);
        return;
    }
    if (s->reload_runs) {
        result = keeper_failure(-EBUSY, "Slot %u is being reloaded already.", m->slot);
        refuse(k, client, m, &result);
        return;
    }
    result.error = k->ops->start(k->arg, m->slot, KEEPER_RELOAD, NULL, -1);
    if (result.error < 0) {
        result = keeper_failure(result.error, "Slot %u cannot be reloaded (%s).", m->slot,
                                strerror(-result.error));
        refuse(k, client, m, &result);
        return;
    }
    s->reload_runs = true;
    s->reload = (struct pending){.open = true, .client = client, .id = m->id};
}

/* `may`: may bring the drive down, or hurry that up; anybody else only waits for it. */
static void detach(struct keeper *k, int client, const struct privmsg *m, bool may, uint64_t now)
{
    struct slot *s = &k->slots[m->slot];
    struct keeper_result off = keeper_failure(-ECANCELED, "The drive was taken back.");
    struct keeper_result called_off = keeper_failure(-ECANCELED, "The request was called off.");
    struct keeper_result full =
        keeper_failure(-EBUSY, "Slot %u is being cleared already.", m->slot);
    size_t places = may ? KEEPER_DETACHES_MAX : KEEPER_DETACHES_MAX - KEEPER_OWNERS_PLACES;
    size_t i = 0;

    while (i < places && s->detaches[i].open)
        i++;
    if (i == places) {
        refuse(k, client, m, &full);
        return;
    }
    s->detaches[i] = (struct pending){.open = true, .client = client, .id = m->id};
    if (s->attach.client == client)
        keeper_answer(k, m->slot, &s->attach, &off);
    if (s->next.open && s->next.client == client)
        keeper_drop_next(k, m->slot, &called_off);
    if (may)
        keeper_slot_down(k, m->slot, m->link_alive, now);
}

static enum permit_who who_asks(const struct slot *s, int client)
{
    if (s->owner == KEEPER_NOBODY)
        return PERMIT_NOBODY;
    return s->owner == client ? PERMIT_OWNER : PERMIT_OTHER;
}

/* What its descriptor is; NULL for a message that brings none. */
static const char *brought_by(enum privmsg_type type)
{
    switch (type) {
    case PRIVMSG_ATTACH:
    case PRIVMSG_ADOPT:
        return "socket";
    case PRIVMSG_USB_ATTACH:
        return "journal";
    default:
        return NULL;
    }
}

/* What can be said against a message before its slot's state matters. */
static bool refused_outright(struct keeper *k, int client, const struct privmsg *m, int fd)
{
    struct keeper_result result = {.error = 0};

    if (m->slot >= k->slot_count)
        result = keeper_failure(
            -EINVAL, "The helper's configuration has no slot %u: add it and restart.", m->slot);
    else if (k->stopping && m->type != PRIVMSG_DETACH)
        result = keeper_failure(-ESHUTDOWN, "The helper is stopping.");
    else if (brought_by(m->type) && fd < 0)
        result = keeper_failure(-EBADF, "An attach needs a %s with it.", brought_by(m->type));
    if (result.error == 0)
        return false;
    refuse(k, client, m, &result);
    return true;
}

static void begin(struct keeper *k, int client, const struct privmsg *m, int take_fd, uint64_t now)
{
    switch (m->type) {
    case PRIVMSG_ATTACH:
    case PRIVMSG_USB_ATTACH:
        attach_begin(k, m->slot, client, m, take_fd);
        break;
    case PRIVMSG_ADOPT:
    case PRIVMSG_USB_ADOPT:
        adopt(k, client, m, take_fd, now);
        break;
    case PRIVMSG_RELOAD:
        reload(k, client, m);
        break;
    case PRIVMSG_DETACH:
        detach(k, client, m, true, now);
        break;
    case PRIVMSG_REPLY:
    case PRIVMSG_GONE:
        break;
    }
}

/* Does what the table allows. Whether it took the socket over; else `why` is the refusal. */
static bool act(struct keeper *k, int client, const struct privmsg *m, int fd, enum permit permit,
                struct keeper_result *why, uint64_t now)
{
    struct slot *s = &k->slots[m->slot];

    switch (permit) {
    case PERMIT_DO:
        /* One place to wait in: an adoption that finds it taken is one too many. */
        if (adopts(m->type) && s->next.open)
            break;
        begin(k, client, m, fd, now);
        return true;
    case PERMIT_WAIT:
    case PERMIT_REPLACE:
        if (m->type == PRIVMSG_DETACH) {
            detach(k, client, m, false, now);
            return true;
        }
        if (s->next.open)
            break;
        wait_for_turn(k, client, m, fd);
        if (permit == PERMIT_REPLACE)
            keeper_slot_down(k, m->slot, false, now);
        return true;
    case PERMIT_NOOP:
        *why = (struct keeper_result){.device = PRIVMSG_NO_DEVICE};
        return false;
    case PERMIT_DENIED:
        *why = keeper_failure(-EPERM, "Slot %u belongs to another program.", m->slot);
        return false;
    case PERMIT_MISSING:
        *why = missing(m->slot);
        return false;
    case PERMIT_BUSY:
    case PERMIT_REFUSE:
        break;
    }
    *why = busy(m->slot);
    return false;
}

int keeper_message(struct keeper *k, int client, const struct privmsg *m, int take_fd, uint64_t now)
{
    struct keeper_result why;
    enum permit permit;
    int r = 0;

    if (take_fd >= 0 && !brought_by(m->type)) {
        r = -EPROTO;
    } else if (m->type == PRIVMSG_REPLY || m->type == PRIVMSG_GONE) {
        r = -EPROTO;
    } else if (!refused_outright(k, client, m, take_fd)) {
        permit =
            permit_check(k->slots[m->slot].state, m->type, who_asks(&k->slots[m->slot], client));
        if (permit == PERMIT_REFUSE)
            r = -EPROTO;
        else if (act(k, client, m, take_fd, permit, &why, now))
            return 0;
        else
            refuse(k, client, m, &why);
    }
    if (take_fd >= 0)
        close(take_fd);
    return r;
}
