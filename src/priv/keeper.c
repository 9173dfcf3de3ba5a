/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state machine of every slot. What always holds:
 *
 * - A slot that is not FREE holds its lock, from before its first job until after its last.
 * - The way to FREE leads through one teardown that ran alone and succeeded: with no attach beside
 *   it that could still build something, and with no cut in flight. One that fails is tried again
 *   for as long as the helper lives; a slot that cannot be cleared is never called free.
 * - A reload has its place beside the main job: it may wait for a line that only an adoption brings
 *   back. It keeps nothing up but the teardown.
 * - An attach that is called off is killed *and* cut: killed so that it builds nothing more, cut
 *   so that the read it may be waiting for ends and the kill can take effect.
 * - A drive stands without an owner only in ORPHANED, and only until its deadline.
 */
#include "priv/keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "priv/keeper-parts.h"

int keeper_new(const struct keeper_ops *ops, void *arg, unsigned slots, uint64_t grace,
               struct keeper **out)
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
    k->grace = grace;
    for (unsigned n = 0; n < PRIVMSG_SLOTS_MAX; n++) {
        k->slots[n].owner = KEEPER_NOBODY;
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

/* The slot is empty: everybody who waited for that is told, and the next one may begin. */
static void slot_free(struct keeper *k, unsigned n, const struct keeper_result *result,
                      uint64_t now)
{
    struct slot *s = &k->slots[n];

    s->state = SLOT_FREE;
    s->owner = KEEPER_NOBODY;
    s->failures = 0;
    s->deadline = UINT64_MAX;
    k->ops->release(k->arg, n);
    keeper_answer(k, n, &s->attach, &s->outcome);
    for (size_t i = 0; i < KEEPER_DETACHES_MAX; i++)
        keeper_answer(k, n, &s->detaches[i], result);
    keeper_begin_next(k, n, now);
}

/* Everybody who waits for the slot hears why it is not free; it is tried again later. */
static void slot_stuck(struct keeper *k, unsigned n, const struct keeper_result *result,
                       uint64_t now)
{
    struct slot *s = &k->slots[n];

    s->deadline = now + KEEPER_AGAIN;
    keeper_answer(k, n, &s->attach, &s->outcome);
    for (size_t i = 0; i < KEEPER_DETACHES_MAX; i++)
        keeper_answer(k, n, &s->detaches[i], result);
    keeper_drop_next(k, n, result);
}

int keeper_start_main(struct keeper *k, unsigned n, enum keeper_job job, const struct privmsg *m,
                      int take_fd)
{
    struct slot *s = &k->slots[n];
    int r = k->ops->start(k->arg, n, job, m, take_fd);

    if (r < 0)
        return r;
    s->main_runs = true;
    s->main_job = job;
    return 0;
}

/* What a machine has written may lie in the kernel still, and goes out on the way down. */
static uint64_t patience(const struct keeper *k, const struct slot *s)
{
    if (s->drive.read_only)
        return KEEPER_PATIENCE;
    return k->stopping ? KEEPER_PATIENCE_STOP : KEEPER_PATIENCE_WRITES;
}

static void teardown_start(struct keeper *k, unsigned n, bool link_alive, uint64_t now)
{
    struct slot *s = &k->slots[n];
    enum keeper_job job = link_alive ? KEEPER_TEARDOWN_ALIVE : KEEPER_TEARDOWN_DEAD;

    if (keeper_start_main(k, n, job, NULL, -1) < 0)
        /* No process to be had now. The drive stands, and nobody else will ever take it down. */
        s->deadline = now + KEEPER_PATIENCE;
    else
        s->deadline = link_alive ? now + patience(k, s) : UINT64_MAX;
}

static void cut_start(struct keeper *k, unsigned n, uint64_t now)
{
    struct slot *s = &k->slots[n];

    s->deadline = UINT64_MAX;
    s->link_alive = false;
    if (s->cut_runs)
        return;
    if (k->ops->start(k->arg, n, KEEPER_CUT, NULL, -1) == 0)
        s->cut_runs = true;
    else
        s->deadline = now + KEEPER_PATIENCE;
}

/* A job that reads through the line on its way, and needs to be woken when that is dead. */
static bool reads(const struct slot *s)
{
    return s->reload_runs || (s->main_runs && s->main_job == KEEPER_TEARDOWN_ALIVE);
}

/* Whether anything must end before a teardown may begin, but for a cut. */
static bool works(const struct slot *s)
{
    return s->main_runs || s->reload_runs;
}

/* A job of a slot that is to go has ended: the teardown begins when it was the last one. */
static void go_down(struct keeper *k, unsigned n, bool link_alive, uint64_t now)
{
    struct slot *s = &k->slots[n];

    if (s->cut_runs)
        return;
    if (!works(s)) {
        teardown_start(k, n, link_alive, now);
    } else if (s->deadline == UINT64_MAX) {
        k->ops->kill(k->arg, n);
        cut_start(k, n, now);
    }
}

void keeper_slot_down(struct keeper *k, unsigned n, bool link_alive, uint64_t now)
{
    struct slot *s = &k->slots[n];

    if (s->state == SLOT_FREE)
        return;
    if (s->state == SLOT_DETACHING) {
        if (!link_alive && reads(s))
            cut_start(k, n, now);
        return;
    }
    /* The line of a drive without an owner died with that. */
    s->link_alive = link_alive && s->state != SLOT_ORPHANED;
    s->state = SLOT_DETACHING;
    s->deadline = UINT64_MAX;
    if (!works(s)) {
        teardown_start(k, n, s->link_alive, now);
    } else if (!s->main_runs && s->link_alive) {
        s->deadline = now + patience(k, s);
    } else {
        k->ops->kill(k->arg, n);
        cut_start(k, n, now);
    }
}

/* Whether the drive of an owner who died may wait for the next one. */
static bool may_be_orphaned(const struct keeper *k, const struct slot *s)
{
    if (k->grace == 0 || k->stopping)
        return false;
    /* A drive that was being adopted stands; one that was being built does not yet. */
    return s->state == SLOT_ATTACHED || (s->state == SLOT_ATTACHING && s->main_job == KEEPER_ADOPT);
}

void keeper_client_gone(struct keeper *k, int client, uint64_t now)
{
    for (unsigned n = 0; n < k->slot_count; n++) {
        struct slot *s = &k->slots[n];

        if (s->next.open && s->next.client == client)
            keeper_drop_next(k, n, NULL);
        for (size_t i = 0; i < KEEPER_DETACHES_MAX; i++) {
            if (s->detaches[i].client == client)
                s->detaches[i].open = false;
        }
        if (s->owner != client)
            continue;
        s->owner = KEEPER_NOBODY;
        s->attach.open = false;
        s->reload.open = false;
        if (may_be_orphaned(k, s)) {
            s->state = SLOT_ORPHANED;
            s->deadline = now + k->grace;
        } else {
            /* Its end of the socket went with it. */
            keeper_slot_down(k, n, false, now);
        }
    }
}

/* An attach or an adoption has ended. */
static void attach_ended(struct keeper *k, unsigned n, const struct keeper_result *result,
                         uint64_t now)
{
    struct slot *s = &k->slots[n];

    if (s->state == SLOT_ATTACHING && result->error == 0) {
        s->state = SLOT_ATTACHED;
        s->functions = result->functions;
        keeper_answer(k, n, &s->attach, result);
        return;
    }
    if (s->state == SLOT_ORPHANED && result->error == 0) {
        keeper_begin_next(k, n, now);
        return;
    }
    /* Whatever it built before it failed has to go; the requester hears of it when it is gone. */
    s->outcome = *result;
    if (s->outcome.error == 0)
        s->outcome = keeper_failure(-ECANCELED, "The drive was taken back.");
    if (s->state != SLOT_DETACHING)
        s->deadline = UINT64_MAX;
    s->state = SLOT_DETACHING;
    go_down(k, n, false, now);
}

static void reload_ended(struct keeper *k, unsigned n, const struct keeper_result *result,
                         uint64_t now)
{
    struct slot *s = &k->slots[n];

    keeper_answer(k, n, &s->reload, result);
    if (s->state == SLOT_DETACHING)
        go_down(k, n, s->link_alive, now);
}

static void teardown_ended(struct keeper *k, unsigned n, const struct keeper_result *result,
                           uint64_t now)
{
    struct slot *s = &k->slots[n];

    s->deadline = UINT64_MAX;
    if (result->error < 0) {
        s->failures++;
        if (s->failures > 1)
            slot_stuck(k, n, result, now);
        else if (!s->cut_runs)
            /* A cut beside it may have pulled the ground from under one of its steps. */
            teardown_start(k, n, false, now);
        return;
    }
    if (!s->cut_runs)
        slot_free(k, n, result, now);
}

static void cut_ended(struct keeper *k, unsigned n, uint64_t now)
{
    struct slot *s = &k->slots[n];

    s->cut_runs = false;
    if (s->state != SLOT_DETACHING)
        return;
    /* The slot waited for it alone; or else, should what it was to wake sleep on, once more. */
    if (!works(s))
        teardown_start(k, n, false, now);
    else
        s->deadline = now + KEEPER_PATIENCE;
}

void keeper_job_ended(struct keeper *k, unsigned n, enum keeper_job job,
                      const struct keeper_result *result, uint64_t now)
{
    if (job == KEEPER_RELOAD)
        k->slots[n].reload_runs = false;
    else if (job != KEEPER_CUT)
        k->slots[n].main_runs = false;
    switch (job) {
    case KEEPER_ATTACH:
    case KEEPER_ADOPT:
        attach_ended(k, n, result, now);
        break;
    case KEEPER_RELOAD:
        reload_ended(k, n, result, now);
        break;
    case KEEPER_TEARDOWN_ALIVE:
    case KEEPER_TEARDOWN_DEAD:
        teardown_ended(k, n, result, now);
        break;
    case KEEPER_CUT:
        cut_ended(k, n, now);
        break;
    }
}

void keeper_drive_gone(struct keeper *k, unsigned n, const char *reason, uint64_t now)
{
    struct slot *s = &k->slots[n];
    struct keeper_result result = keeper_failure(-ENODEV, "%s", reason);

    if (s->state != SLOT_ATTACHED)
        return;
    if (s->owner != KEEPER_NOBODY)
        keeper_report(k, PRIVMSG_GONE, s->owner, n, 0, &result);
    keeper_slot_down(k, n, false, now);
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
    struct keeper_result result = keeper_failure(-ESHUTDOWN, "The helper is stopping.");

    k->stopping = true;
    for (unsigned n = 0; n < k->slot_count; n++) {
        struct slot *s = &k->slots[n];

        keeper_drop_next(k, n, &result);
        if (s->state == SLOT_ATTACHED && s->owner != KEEPER_NOBODY)
            keeper_report(k, PRIVMSG_GONE, s->owner, n, 0, &result);
        if (s->state == SLOT_ATTACHING)
            keeper_answer(k, n, &s->attach, &result);
        keeper_slot_down(k, n, true, now);
        /* What is going already was given more time than is left now. */
        if (s->deadline != UINT64_MAX && s->deadline > now + patience(k, s))
            s->deadline = now + patience(k, s);
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
        struct slot *s = &k->slots[n];

        if (s->deadline > now)
            continue;
        if (s->state == SLOT_ORPHANED)
            keeper_slot_down(k, n, false, now);
        else if (works(s))
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
