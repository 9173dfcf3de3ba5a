/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libuv, narrowed to what Platter uses. Each object holds one uv handle as its first member and is
 * freed by the handle's close callback, so a caller may free it from inside its own callback; the
 * callback pointer is cleared at once, so a freed object is never heard of again.
 */
#include "base/loop.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <uv.h>

#include "base/log.h"

struct loop {
    uv_loop_t uv;
};

struct loop_fd {
    uv_poll_t handle;
    void (*ready)(void *arg, unsigned events);
    void *arg;
    unsigned events;
};

struct loop_timer {
    uv_timer_t handle;
    void (*fire)(void *arg);
    void *arg;
};

struct loop_signal {
    uv_signal_t handle;
    void (*caught)(void *arg);
    void *arg;
};

/* A timer of zero: unlike uv_idle it does not keep the loop spinning, and one start is one call. */
struct loop_later {
    uv_timer_t handle;
    void (*run)(void *arg);
    void *arg;
};

/* Every object above begins with its handle, so the handle's address is the object's. */
static void free_closed(uv_handle_t *handle)
{
    free(handle);
}

int loop_new(struct loop **out)
{
    struct loop *loop = calloc(1, sizeof *loop);
    int r;

    if (!loop)
        return -ENOMEM;
    r = uv_loop_init(&loop->uv);
    if (r < 0) {
        free(loop);
        return r;
    }
    *out = loop;
    return 0;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    /* The handles are closing already; a turn lets their memory go. */
    uv_run(&loop->uv, UV_RUN_NOWAIT);
    if (uv_loop_close(&loop->uv) != 0)
        log_error("a watcher was not freed before its loop; this is a bug, please report it");
    free(loop);
}

int loop_run(struct loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    return 0;
}

void loop_stop(struct loop *loop)
{
    uv_stop(&loop->uv);
}

uint64_t loop_clock(void)
{
    return uv_hrtime() / 1000;
}

void *loop_uv(struct loop *loop)
{
    return &loop->uv;
}

static void fd_ready(uv_poll_t *handle, int status, int events)
{
    struct loop_fd *w = (struct loop_fd *)handle;
    unsigned ready = 0;

    if (status < 0 || (events & UV_DISCONNECT))
        ready = LOOP_READ | LOOP_WRITE;
    if (events & UV_READABLE)
        ready |= LOOP_READ;
    if (events & UV_WRITABLE)
        ready |= LOOP_WRITE;
    if (w->ready)
        w->ready(w->arg, ready);
}

int loop_fd_set(struct loop_fd *w, unsigned events)
{
    int wanted = 0;

    if (events == w->events)
        return 0;
    w->events = events;
    if (events == 0)
        return uv_poll_stop(&w->handle);
    if (events & LOOP_READ)
        wanted |= UV_READABLE;
    if (events & LOOP_WRITE)
        wanted |= UV_WRITABLE;
    if (events & LOOP_HANGUP)
        wanted |= UV_DISCONNECT;
    return uv_poll_start(&w->handle, wanted, fd_ready);
}

int loop_fd_new(struct loop *loop, int fd, unsigned events,
                void (*ready)(void *arg, unsigned events), void *arg, struct loop_fd **out)
{
    struct loop_fd *w = calloc(1, sizeof *w);
    int r;

    if (!w)
        return -ENOMEM;
    r = uv_poll_init(&loop->uv, &w->handle, fd);
    if (r < 0) {
        free(w);
        return r;
    }
    w->ready = ready;
    w->arg = arg;
    r = loop_fd_set(w, events);
    if (r < 0) {
        loop_fd_free(w);
        return r;
    }
    *out = w;
    return 0;
}

void loop_fd_free(struct loop_fd *w)
{
    if (!w)
        return;
    w->ready = NULL;
    uv_close((uv_handle_t *)&w->handle, free_closed);
}

static void timer_fired(uv_timer_t *handle)
{
    struct loop_timer *t = (struct loop_timer *)handle;

    if (t->fire)
        t->fire(t->arg);
}

int loop_timer_new(struct loop *loop, void (*fire)(void *arg), void *arg, struct loop_timer **out)
{
    struct loop_timer *t = calloc(1, sizeof *t);

    if (!t)
        return -ENOMEM;
    uv_timer_init(&loop->uv, &t->handle);
    t->fire = fire;
    t->arg = arg;
    *out = t;
    return 0;
}

void loop_timer_set(struct loop_timer *t, uint64_t milliseconds)
{
    /* The loop's idea of now may be old when a callback has taken long. */
    uv_update_time(t->handle.loop);
    uv_timer_start(&t->handle, timer_fired, milliseconds, 0);
}

void loop_timer_stop(struct loop_timer *t)
{
    uv_timer_stop(&t->handle);
}

void loop_timer_free(struct loop_timer *t)
{
    if (!t)
        return;
    t->fire = NULL;
    uv_close((uv_handle_t *)&t->handle, free_closed);
}

static void signal_caught(uv_signal_t *handle, int number)
{
    struct loop_signal *s = (struct loop_signal *)handle;

    (void)number;
    if (s->caught)
        s->caught(s->arg);
}

int loop_signal_new(struct loop *loop, int signal_number, void (*caught)(void *arg), void *arg,
                    struct loop_signal **out)
{
    struct loop_signal *s = calloc(1, sizeof *s);
    int r;

    if (!s)
        return -ENOMEM;
    r = uv_signal_init(&loop->uv, &s->handle);
    if (r < 0) {
        free(s);
        return r;
    }
    s->caught = caught;
    s->arg = arg;
    r = uv_signal_start(&s->handle, signal_caught, signal_number);
    if (r < 0) {
        loop_signal_free(s);
        return r;
    }
    *out = s;
    return 0;
}

void loop_signal_free(struct loop_signal *s)
{
    if (!s)
        return;
    s->caught = NULL;
    uv_close((uv_handle_t *)&s->handle, free_closed);
}

static void later_fired(uv_timer_t *handle)
{
    struct loop_later *l = (struct loop_later *)handle;

    if (l->run)
        l->run(l->arg);
}

int loop_later_new(struct loop *loop, void (*run)(void *arg), void *arg, struct loop_later **out)
{
    struct loop_later *l = calloc(1, sizeof *l);

    if (!l)
        return -ENOMEM;
    uv_timer_init(&loop->uv, &l->handle);
    l->run = run;
    l->arg = arg;
    *out = l;
    return 0;
}

void loop_later_set(struct loop_later *l)
{
    uv_timer_start(&l->handle, later_fired, 0, 0);
}

void loop_later_free(struct loop_later *l)
{
    if (!l)
        return;
    l->run = NULL;
    uv_close((uv_handle_t *)&l->handle, free_closed);
}
