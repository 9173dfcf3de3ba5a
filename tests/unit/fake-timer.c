// SPDX-License-Identifier: Apache-2.0
/* The timers of fake-timer.h. A ringing timer may free itself and others. */
#include "fake-timer.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/loop.h"

struct loop_timer {
    struct list link; /* in `timers` */
    void (*fire)(void *arg);
    void *arg;
    bool runs;
    uint64_t at; /* milliseconds */
};

static struct list timers = {&timers, &timers};
static uint64_t now;

int loop_timer_new(struct loop *loop, void (*fire)(void *arg), void *arg, struct loop_timer **out)
{
    struct loop_timer *t = calloc(1, sizeof *t);

    (void)loop;
    if (!t)
        return -ENOMEM;
    t->fire = fire;
    t->arg = arg;
    list_append(&timers, &t->link);
    *out = t;
    return 0;
}

void loop_timer_set(struct loop_timer *t, uint64_t milliseconds)
{
    t->runs = true;
    t->at = now + milliseconds;
}

void loop_timer_stop(struct loop_timer *t)
{
    t->runs = false;
}

void loop_timer_free(struct loop_timer *t)
{
    if (t)
        list_remove(&t->link);
    free(t);
}

static struct loop_timer *first_due(uint64_t end)
{
    struct loop_timer *first = NULL;

    list_for_each (it, &timers) {
        struct loop_timer *t = list_entry(it, struct loop_timer, link);

        if (t->runs && t->at <= end && (!first || t->at < first->at))
            first = t;
    }
    return first;
}

void fake_timer_pass(uint64_t milliseconds)
{
    uint64_t end = now + milliseconds;
    struct loop_timer *t;

    while ((t = first_due(end))) {
        now = t->at;
        t->runs = false;
        t->fire(t->arg);
    }
    now = end;
}
