/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state machine of every slot. What always holds:
 *
 * - A slot that is not FREE holds its lock, from before its first job until after its last.
 * - Every request is answered exactly once, unless its connection is gone.
 * - The way back to FREE leads through one teardown that ran alone: with no attach beside it that
 *   could still build something, and with no cut in flight.
 * - An attach that is called off is killed *and* cut: killed so that it builds nothing more, cut
 *   so that the read it may be waiting for ends and the kill can take effect.
 */
#include "priv/keeper.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DETACHES_MAX  4
#define OWNERS_PLACES 2 /* of them; one for "alive", one for "dead after all" */
#define NOBODY        (-1)

/* One request that is not answered yet. */
struct pending {
    bool open;
    int client;
    uint32_t id;
};

struct slot {
    enum slot_state state;
    int owner;
    struct pending attach;
    struct keeper_result outcome; /* of the attach, while it is being undone */
    struct pending detaches[DETACHES_MAX];
    bool main_runs;
    enum keeper_job main_job;
    bool cut_runs;
    bool retried; /* a teardown that failed is tried a second time, no more */
    /* When to cut what runs, or to start a teardown that could not be; UINT64_MAX for never. */
    uint64_t deadline;
    /* An attach that waits for the slot to be free. */
    struct pending next;
    struct privmsg next_message;
    int next_fd;
};

struct keeper {
    const struct keeper_ops *ops;
    void *arg;
    unsigned slot_count;
    bool stopping;
    struct slot slots[PRIVMSG_SLOTS_MAX];
};

static void slot_down(struct keeper *k, unsigned n, bool link_alive, uint64_t now);
static void attach_begin(struct keeper *k, unsigned n, int client, const struct privmsg *m,
                         int take_fd, uint64_t now);

int keeper_new(const struct keeper_ops *ops, void *arg, unsigned slots, struct keeper **out)
{
    struct keeper *k;

    if (slots > PRIVMSG_SLOTS_MAX)
        return -EINVAL;
    k = calloc(1, sizeof *k);
    if (!k)
        return -ENOMEM;
    k->ops = ops;
    k->arg = arg;
    k->slot_count = slots;
    for (unsigned n = 0; n < PRIVMSG_SLOTS_MAX; n++) {
        k->slots[n].owner = NOBODY;
        k->slots[n].next_fd = -1;
        k->slots[n].deadline = UINT64_MAX;
    }
    *out = k;
    return 0;
}

void keeper_free(struct keeper *k)
{
    if (!k)
        return;
    for (unsigned n = 0; n < PRIVMSG_SLOTS_MAX; n++) {
        if (k->slots[n].next_fd >= 0)
            close(k->slots[n].next_fd);
    }
    free(k);
}

static void report(struct keeper *k, enum privmsg_type type, int client, unsigned n, uint32_t id,
                   const struct keeper_result *result)
{
    struct privmsg m = {
        .type = type,
        .slot = n,
        .id = id,
        .error = result->error,
        .device = result->error ? PRIVMSG_NO_DEVICE : result->device,
    };

    privmsg_set_reason(&m, result->reason);
    k->ops->send(k->arg, client, &m);
}

static void answer(struct keeper *k, unsigned n, struct pending *p,
                   const struct keeper_result *result)
{
    if (!p->open)
        return;
    p->open = false;
    report(k, PRIVMSG_REPLY, p->client, n, p->id, result);
}

__attribute__((format(printf, 2, 3))) static struct keeper_result failure(int error,
                                                                          const char *format, ...)
{
    struct keeper_result result = {.error = error, .device = PRIVMSG_NO_DEVICE};
    va_list args;

    va_start(args, format);
    vsnprintf(result.reason, sizeof result.reason, format, args);
    va_end(args);
    return result;
}

static void refuse(struct keeper *k, int client, const struct privmsg *m,
                   const struct keeper_result *result)
{
    report(k, PRIVMSG_REPLY, client, m->slot, m->id, result);
}

static void call_off_next(struct keeper *k, unsigned n, bool say)
{
    struct slot *s = &k->slots[n];
    struct keeper_result off = failure(-ECANCELED, "The request was called off.");

    if (s->next_fd >= 0)
        close(s->next_fd);
    s->next_fd = -1;
    if (say)
        answer(k, n, &s->next, &off);
    s->next.open = false;
}

/* The slot is empty: everybody who waited for that is told, and the next one may begin. */
static void slot_free(struct keeper *k, unsigned n, const struct keeper_result *result,
                      uint64_t now)
{
    struct slot *s = &k->slots[n];
    int fd = s->next_fd;

    s->state = SLOT_FREE;
    s->owner = NOBODY;
    s->retried = false;
    s->deadline = UINT64_MAX;
    k->ops->release(k->arg, n);
    answer(k, n, &s->attach, &s->outcome);
    for (size_t i = 0; i < DETACHES_MAX; i++)
        answer(k, n, &s->detaches[i], result);
    if (s->next.open) {
        s->next.open = false;
        s->next_fd = -1;
        attach_begin(k, n, s->next.client, &s->next_message, fd, now);
    }
}

static void teardown_start(struct keeper *k, unsigned n, bool link_alive, uint64_t now)
{
    struct slot *s = &k->slots[n];
    enum keeper_job job = link_alive ? KEEPER_TEARDOWN_ALIVE : KEEPER_TEARDOWN_DEAD;
    int r = k->ops->start(k->arg, n, job, NULL, -1);

    s->deadline = UINT64_MAX;
    if (r < 0) {
        /* No process to be had now. The drive stands, and nobody else will ever take it down. */
        s->deadline = now + KEEPER_PATIENCE;
        return;
    }
    s->main_runs = true;
    s->main_job = job;
    if (link_alive)
        s->deadline = now + KEEPER_PATIENCE;
}

static void cut_start(struct keeper *k, unsigned n, uint64_t now)
{
    struct slot *s = &k->slots[n];

    s->deadline = UINT64_MAX;
    if (s->cut_runs)
        return;
    if (k->ops->start(k->arg, n, KEEPER_CUT, NULL, -1) == 0)
        s->cut_runs = true;
    else
        s->deadline = now + KEEPER_PATIENCE;
}

/* Brings the slot down from wherever it is, or hurries up what is bringing it down already. */
static void slot_down(struct keeper *k, unsigned n, bool link_alive, uint64_t now)
{
    struct slot *s = &k->slots[n];

    if (s->state == SLOT_FREE)
        return;
    if (s->state == SLOT_DETACHING) {
        if (!link_alive && s->main_runs && s->main_job == KEEPER_TEARDOWN_ALIVE)
            cut_start(k, n, now);
        return;
    }
    s->state = SLOT_DETACHING;
    if (s->main_runs) {
        k->ops->kill(k->arg, n);
        cut_start(k, n, now);
        return;
    }
    teardown_start(k, n, link_alive, now);
}

static void attach_begin(struct keeper *k, unsigned n, int client, const struct privmsg *m,
                         int take_fd, uint64_t now)
{
    struct slot *s = &k->slots[n];
    struct keeper_result result = {.device = PRIVMSG_NO_DEVICE};

    (void)now;
    result.error = k->ops->claim(k->arg, n, result.reason, sizeof result.reason);
    if (result.error < 0) {
        close(take_fd);
        refuse(k, client, m, &result);
        return;
    }
    result.error = k->ops->start(k->arg, n, KEEPER_ATTACH, m, take_fd);
    if (result.error < 0) {
        k->ops->release(k->arg, n);
        result = failure(result.error, "Slot %u cannot be set up (%s): free memory or processes.",
                         n, strerror(-result.error));
        refuse(k, client, m, &result);
        return;
    }
    s->state = SLOT_ATTACHING;
    s->owner = client;
    s->attach = (struct pending){.open = true, .client = client, .id = m->id};
    s->main_runs = true;
    s->main_job = KEEPER_ATTACH;
}

static void attach_wait(struct keeper *k, int client, const struct privmsg *m, int take_fd)
{
    struct slot *s = &k->slots[m->slot];

    if (s->next.open) {
        struct keeper_result busy =
            failure(-EBUSY, "Slot %u is in use: end its session first.", m->slot);

        close(take_fd);
        refuse(k, client, m, &busy);
        return;
    }
    s->next = (struct pending){.open = true, .client = client, .id = m->id};
    s->next_message = *m;
    s->next_fd = take_fd;
}

/* `owner`: may bring the drive down, or hurry that up; anybody else only waits for it. */
static void detach(struct keeper *k, int client, const struct privmsg *m, bool owner, uint64_t now)
{
    struct slot *s = &k->slots[m->slot];
    struct keeper_result off = failure(-ECANCELED, "The drive was taken back.");
    struct keeper_result full = failure(-EBUSY, "Slot %u is being cleared already.", m->slot);
    size_t places = owner ? DETACHES_MAX : DETACHES_MAX - OWNERS_PLACES;
    size_t i = 0;

    while (i < places && s->detaches[i].open)
        i++;
    if (i == places) {
        refuse(k, client, m, &full);
        return;
    }
    s->detaches[i] = (struct pending){.open = true, .client = client, .id = m->id};
    if (s->attach.client == client)
        answer(k, m->slot, &s->attach, &off);
    if (s->next.open && s->next.client == client)
        call_off_next(k, m->slot, true);
    if (owner)
        slot_down(k, m->slot, m->link_alive, now);
}

static enum permit_who who_asks(const struct slot *s, int client)
{
    if (s->owner == NOBODY)
        return PERMIT_NOBODY;
    return s->owner == client ? PERMIT_OWNER : PERMIT_OTHER;
}

/* What can be said against a message before its slot's state matters. */
static bool refused_outright(struct keeper *k, int client, const struct privmsg *m, int fd)
{
    struct keeper_result result = {.error = 0};

    if (m->slot >= k->slot_count)
        result = failure(-EINVAL, "The helper's configuration has no slot %u: add it and restart.",
                         m->slot);
    else if (k->stopping && m->type == PRIVMSG_ATTACH)
        result = failure(-ESHUTDOWN, "The helper is stopping.");
    else if (m->type == PRIVMSG_ATTACH && fd < 0)
        result = failure(-EBADF, "An attach needs a socket with it.");
    if (result.error == 0)
        return false;
    refuse(k, client, m, &result);
    return true;
}

int keeper_message(struct keeper *k, int client, const struct privmsg *m, int take_fd, uint64_t now)
{
    struct keeper_result result = {.device = PRIVMSG_NO_DEVICE};
    struct slot *s;
    int fd = take_fd;

    if (m->type != PRIVMSG_ATTACH && fd >= 0) {
        close(fd);
        return -EPROTO;
    }
    if (m->type != PRIVMSG_ATTACH && m->type != PRIVMSG_DETACH)
        return -EPROTO;
    if (refused_outright(k, client, m, fd)) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    s = &k->slots[m->slot];
    switch (permit_check(s->state, m->type, who_asks(s, client))) {
    case PERMIT_DO:
        if (m->type == PRIVMSG_ATTACH)
            attach_begin(k, m->slot, client, m, fd, now);
        else
            detach(k, client, m, true, now);
        return 0;
    case PERMIT_WAIT:
        if (m->type == PRIVMSG_ATTACH)
            attach_wait(k, client, m, fd);
        else
            detach(k, client, m, false, now);
        return 0;
    case PERMIT_NOOP:
        refuse(k, client, m, &result);
        return 0;
    case PERMIT_BUSY:
        result = failure(-EBUSY, "Slot %u is in use: end its session first.", m->slot);
        break;
    case PERMIT_DENIED:
        result = failure(-EPERM, "Slot %u belongs to another program.", m->slot);
        break;
    case PERMIT_REFUSE:
        if (fd >= 0)
            close(fd);
        return -EPROTO;
    }
    if (fd >= 0)
        close(fd);
    refuse(k, client, m, &result);
    return 0;
}

void keeper_client_gone(struct keeper *k, int client, uint64_t now)
{
    for (unsigned n = 0; n < k->slot_count; n++) {
        struct slot *s = &k->slots[n];

        if (s->next.open && s->next.client == client)
            call_off_next(k, n, false);
        for (size_t i = 0; i < DETACHES_MAX; i++) {
            if (s->detaches[i].client == client)
                s->detaches[i].open = false;
        }
        if (s->owner != client)
            continue;
        s->owner = NOBODY;
        s->attach.open = false;
        /* Its end of the socket went with it. */
        slot_down(k, n, false, now);
    }
}

static void attach_ended(struct keeper *k, unsigned n, const struct keeper_result *result,
                         uint64_t now)
{
    struct slot *s = &k->slots[n];

    if (s->state == SLOT_ATTACHING && result->error == 0) {
        s->state = SLOT_ATTACHED;
        answer(k, n, &s->attach, result);
        return;
    }
    /* Whatever it built before it failed has to go; the requester hears of it when it is gone. */
    s->outcome = *result;
    if (s->outcome.error == 0)
        s->outcome = failure(-ECANCELED, "The drive was taken back.");
    s->state = SLOT_DETACHING;
    if (!s->cut_runs)
        teardown_start(k, n, false, now);
}

static void teardown_ended(struct keeper *k, unsigned n, const struct keeper_result *result,
                           uint64_t now)
{
    struct slot *s = &k->slots[n];

    s->deadline = UINT64_MAX;
    /* A cut beside it may have pulled the ground from under one of its steps. */
    if (result->error < 0 && !s->retried) {
        s->retried = true;
        if (!s->cut_runs)
            teardown_start(k, n, false, now);
        return;
    }
    if (!s->cut_runs)
        slot_free(k, n, result, now);
}

void keeper_job_ended(struct keeper *k, unsigned n, enum keeper_job job,
                      const struct keeper_result *result, uint64_t now)
{
    struct slot *s = &k->slots[n];

    if (job == KEEPER_CUT) {
        s->cut_runs = false;
        if (s->state != SLOT_DETACHING)
            return;
        /* The slot waited for it alone; or else, should what it was to wake sleep on, once more. */
        if (!s->main_runs)
            teardown_start(k, n, false, now);
        else
            s->deadline = now + KEEPER_PATIENCE;
        return;
    }
    s->main_runs = false;
    if (job == KEEPER_ATTACH)
        attach_ended(k, n, result, now);
    else
        teardown_ended(k, n, result, now);
}

void keeper_drive_gone(struct keeper *k, unsigned n, const char *reason, uint64_t now)
{
    struct slot *s = &k->slots[n];
    struct keeper_result result = failure(-ENODEV, "%s", reason);

    if (s->state != SLOT_ATTACHED)
        return;
    if (s->owner != NOBODY)
        report(k, PRIVMSG_GONE, s->owner, n, 0, &result);
    slot_down(k, n, false, now);
}

void keeper_begin(struct keeper *k)
{
    char reason[PRIVMSG_REASON_MAX + 1];

    for (unsigned n = 0; n < k->slot_count; n++) {
        if (k->ops->claim(k->arg, n, reason, sizeof reason) < 0)
            continue;
        k->slots[n].state = SLOT_DETACHING;
        teardown_start(k, n, false, 0);
    }
}

void keeper_stop(struct keeper *k, uint64_t now)
{
    struct keeper_result result = failure(-ESHUTDOWN, "The helper is stopping.");

    k->stopping = true;
    for (unsigned n = 0; n < k->slot_count; n++) {
        struct slot *s = &k->slots[n];

        if (s->next.open) {
            close(s->next_fd);
            s->next_fd = -1;
            answer(k, n, &s->next, &result);
        }
        if (s->state == SLOT_ATTACHED && s->owner != NOBODY)
            report(k, PRIVMSG_GONE, s->owner, n, 0, &result);
        if (s->state == SLOT_ATTACHING)
            answer(k, n, &s->attach, &result);
        slot_down(k, n, true, now);
    }
}

bool keeper_is_idle(const struct keeper *k)
{
    for (unsigned n = 0; n < k->slot_count; n++) {
        if (k->slots[n].state != SLOT_FREE)
            return false;
    }
    return true;
}

void keeper_tick(struct keeper *k, uint64_t now)
{
    for (unsigned n = 0; n < k->slot_count; n++) {
        if (k->slots[n].deadline > now)
            continue;
        if (k->slots[n].main_runs)
            cut_start(k, n, now);
        else
            teardown_start(k, n, false, now);
    }
}

uint64_t keeper_next_tick(const struct keeper *k)
{
    uint64_t next = UINT64_MAX;

    for (unsigned n = 0; n < k->slot_count; n++) {
        if (k->slots[n].deadline < next)
            next = k->slots[n].deadline;
    }
    return next;
}

enum slot_state keeper_state(const struct keeper *k, unsigned slot)
{
    return slot < k->slot_count ? k->slots[slot].state : SLOT_FREE;
}
