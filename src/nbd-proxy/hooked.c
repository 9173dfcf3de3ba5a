/* SPDX-License-Identifier: Apache-2.0 */
/*
 * To the slot this is the export; to the export inside, it is the slot.
 *
 * The hook often makes a gadget on the nbd device, and reads through the engine while it does; so
 * it runs while everything is served, on the way up and on the way down. On a way down with a dead
 * line the engine answers every read with an error, at once, so a hook that takes its gadget away
 * is not held up. If it takes long all the same, this process ends first, for whoever started it is
 * waiting (main.c, LEAVE_MS); the hook has its time nevertheless (hook.c).
 *
 * What always holds: the hook's "stop" is run exactly once for each "start" that was run, and
 * `stopped` comes after both it and the inner export are over.
 */
#include "nbd-proxy/hooked.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "nbd-proxy/hook.h"

enum state {
    IDLE,
    STARTING, /* the inner export is */
    HOOK_STARTS,
    RUNS,
    HOOK_LEAVES, /* a "start" is being ended */
    HOOK_STOPS,
    STOPPING, /* the inner export is */
};

struct hooked {
    struct export export;
    struct export_ops ops; /* hooked_ops, with what the inner export bears */
    struct export *inner;
    struct hook *hook;
    struct hooked_config config;
    enum state state;
    bool link_alive;    /* of the stop to come, or under way */
    bool inner_runs;    /* from its start until it has stopped */
    bool ejected_early; /* before `started` could be told */
    int error;          /* why it ends, if nobody asked for that */
    char reason[256];
};

static struct hooked *of(struct export *e)
{
    return (struct hooked *)(void *)e;
}

static const struct hooked *of_const(const struct export *e)
{
    return (const struct hooked *)(const void *)e;
}

static void finish(struct hooked *h)
{
    h->state = IDLE;
    h->export.events->stopped(h->export.owner, h->error, h->reason);
}

static void blame(struct hooked *h, int error, const char *reason)
{
    if (h->error != 0)
        return;
    h->error = error;
    snprintf(h->reason, sizeof h->reason, "%s", reason);
}

/* The hook is done with; the inner export remains to be stopped, if it has not by itself. */
static void stop_inner(struct hooked *h)
{
    h->state = STOPPING;
    if (h->inner_runs)
        export_stop(h->inner, h->link_alive);
    else
        finish(h);
}

static void run_stop(struct hooked *h)
{
    h->state = HOOK_STOPS;
    hook_run(h->hook, "stop", h->config.stop_limit);
}

/* Begins the way down from wherever it is, or hurries up what goes down already. */
static void go_down(struct hooked *h, bool link_alive)
{
    h->link_alive = link_alive;
    switch (h->state) {
    case IDLE:
        break;
    case STARTING:
    case STOPPING:
        stop_inner(h);
        break;
    case HOOK_STARTS:
        h->state = HOOK_LEAVES;
        hook_kill(h->hook);
        break;
    case RUNS:
        run_stop(h);
        break;
    case HOOK_LEAVES:
    case HOOK_STOPS:
        break; /* under way */
    }
}

static void start_over(struct hooked *h, const char *why)
{
    char reason[sizeof h->reason];

    if (!why) {
        h->state = RUNS;
        h->export.events->started(h->export.owner);
        if (h->ejected_early)
            h->export.events->ejected(h->export.owner);
        return;
    }
    snprintf(reason, sizeof reason, "The hook `%s start %s` failed: %s; see what it does.",
             h->config.hook, h->config.name, why);
    blame(h, -EIO, reason);
    h->link_alive = true;
    run_stop(h);
}

static void hook_over(void *arg, const char *why)
{
    struct hooked *h = arg;

    switch (h->state) {
    case HOOK_STARTS:
        start_over(h, why);
        break;
    case HOOK_LEAVES:
        run_stop(h);
        break;
    case HOOK_STOPS:
        if (why)
            log_warn("the hook `%s stop %s` failed: %s", h->config.hook, h->config.name, why);
        stop_inner(h);
        break;
    default:
        break;
    }
}

/* ---- what the inner export reports ---- */

static void on_started(void *owner)
{
    struct hooked *h = owner;

    if (h->state != STARTING)
        return; /* called off: it will say that it has stopped */
    h->state = HOOK_STARTS;
    hook_run(h->hook, "start", h->config.start_limit);
}

static void on_ejected(void *owner)
{
    struct hooked *h = owner;

    if (h->state == RUNS)
        h->export.events->ejected(h->export.owner);
    else
        h->ejected_early = true;
}

static void on_locked(void *owner, bool locked)
{
    struct hooked *h = owner;

    if (h->state == RUNS)
        h->export.events->locked(h->export.owner, locked);
}

static void on_stopped(void *owner, int error, const char *reason)
{
    struct hooked *h = owner;

    h->inner_runs = false;
    if (error)
        blame(h, error, reason);
    if (h->state == STARTING || h->state == STOPPING)
        finish(h);
    else
        go_down(h, false);
}

static const struct export_events inner_events = {
    .started = on_started,
    .ejected = on_ejected,
    .locked = on_locked,
    .stopped = on_stopped,
};

/* ---- what the slot asks for ---- */

static int hooked_check(const struct export *e, const struct medium *medium, char *reason,
                        size_t room)
{
    const struct export *inner = of_const(e)->inner;

    return inner->ops->check(inner, medium, reason, room);
}

static void hooked_start(struct export *e, const struct medium *medium, struct engine *engine)
{
    struct hooked *h = of(e);

    h->state = STARTING;
    h->inner_runs = true;
    h->ejected_early = false;
    h->error = 0;
    h->reason[0] = '\0';
    export_start(h->inner, medium, engine);
}

static void hooked_reload(struct export *e)
{
    if (of(e)->state == RUNS)
        export_reload(of(e)->inner);
}

static void hooked_link(struct export *e, enum export_link link)
{
    struct hooked *h = of(e);

    if (h->inner_runs)
        export_link(h->inner, link);
    if (link == EXPORT_LINK_FAILED)
        h->link_alive = false;
}

static bool hooked_is_locked(const struct export *e)
{
    return of_const(e)->inner_runs && export_is_locked(of_const(e)->inner);
}

static void hooked_request_eject(struct export *e)
{
    if (of(e)->inner_runs)
        export_request_eject(of(e)->inner);
}

static void hooked_stop(struct export *e, bool link_alive)
{
    go_down(of(e), link_alive);
}

static void hooked_describe(const struct export *e, char *out, size_t room)
{
    const struct export *inner = of_const(e)->inner;

    inner->ops->describe(inner, out, room);
}

static void hooked_free(struct export *e)
{
    struct hooked *h = of(e);

    hook_free(h->hook);
    export_free(h->inner);
    free(h);
}

static const struct export_ops hooked_ops = {
    .name = "hooked",
    .check = hooked_check,
    /* No .adopt: no process comes after this one. */
    .start = hooked_start,
    .reload = hooked_reload,
    .link = hooked_link,
    .is_locked = hooked_is_locked,
    .request_eject = hooked_request_eject,
    .stop = hooked_stop,
    .describe = hooked_describe,
    .free = hooked_free,
};

int hooked_new(struct loop *loop, struct export *take_inner, const struct hooked_config *config,
               struct export **out)
{
    struct hooked *h = calloc(1, sizeof *h);
    int r;

    if (!h)
        return -ENOMEM;
    h->ops = hooked_ops;
    h->ops.grace_max = take_inner->ops->grace_max;
    h->export.ops = &h->ops;
    h->config = *config;
    r = hook_new(
        &(struct hook_config){
            .loop = loop,
            .path = config->hook,
            .name = config->name,
            .lock = config->lock,
            .done = hook_over,
            .arg = h,
        },
        &h->hook);
    if (r < 0) {
        free(h);
        return r;
    }
    h->inner = take_inner;
    export_own(h->inner, &inner_events, h);
    *out = &h->export;
    return 0;
}
