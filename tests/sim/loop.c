// SPDX-License-Identifier: Apache-2.0
/*
 * base/loop.h on the simulated clock, base/log.h into nothing, getrandom(2) from the seed, and
 * flock(2), which a process that only seems to die would keep: what the code under test is linked
 * with in place of libuv, stderr and the kernel.
 *
 * Timers and laters have one life each: a "process", numbered. Killing the process makes every one
 * of its timers mute; all bells hang in one list, so that a leak checker tells only of real leaks.
 */
#include "base/loop.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>

#include "base/log.h"
#include "world.h"

/* A timer or a later: something to ring, at most once a setting. */
struct bell {
    void (*ring)(void *arg);
    void *arg;
    unsigned process;
    unsigned pending; /* entries in the world's heap that lead here */
    bool set;
    uint64_t due; /* when set; entries for any other time are void */
    bool freed;
    struct bell *next;
};

struct loop_timer {
    struct bell bell;
};

struct loop_later {
    struct bell bell;
};

static unsigned process = 1;
static struct bell *bells;

static void bury(struct bell *bell)
{
    struct bell **at = &bells;

    while (*at != bell)
        at = &(*at)->next;
    *at = bell->next;
    free(bell);
}

static void bell_due(void *arg)
{
    struct bell *bell = arg;

    bell->pending--;
    if (bell->freed) {
        if (bell->pending == 0)
            bury(bell);
        return;
    }
    if (bell->process != process || !bell->set || bell->due != world_now())
        return;
    bell->set = false;
    bell->ring(bell->arg);
}

static void bell_set(struct bell *bell, uint64_t delay)
{
    bell->set = true;
    bell->due = world_now() + delay;
    bell->pending++;
    world_after(delay, bell_due, bell);
}

static struct bell *bell_new(void (*ring)(void *arg), void *arg)
{
    struct bell *bell = calloc(1, sizeof *bell);

    if (!bell)
        abort();
    bell->ring = ring;
    bell->arg = arg;
    bell->process = process;
    bell->next = bells;
    bells = bell;
    return bell;
}

static void bell_free(struct bell *bell)
{
    bell->freed = true;
    if (bell->pending == 0)
        bury(bell);
}

void world_kill_loop(void)
{
    process++;
}

int loop_timer_new(struct loop *loop, void (*fire)(void *arg), void *arg, struct loop_timer **out)
{
    (void)loop;
    *out = (struct loop_timer *)bell_new(fire, arg);
    return 0;
}

void loop_timer_set(struct loop_timer *t, uint64_t milliseconds)
{
    bell_set(&t->bell, milliseconds * MS);
}

void loop_timer_stop(struct loop_timer *t)
{
    t->bell.set = false;
}

void loop_timer_free(struct loop_timer *t)
{
    if (t)
        bell_free(&t->bell);
}

int loop_later_new(struct loop *loop, void (*run)(void *arg), void *arg, struct loop_later **out)
{
    (void)loop;
    *out = (struct loop_later *)bell_new(run, arg);
    return 0;
}

void loop_later_set(struct loop_later *l)
{
    if (!l->bell.set)
        bell_set(&l->bell, 0);
}

void loop_later_free(struct loop_later *l)
{
    if (l)
        bell_free(&l->bell);
}

uint64_t loop_clock(void)
{
    return world_now();
}

int flock(int fd, int operation)
{
    (void)fd;
    (void)operation;
    return 0;
}

ssize_t getrandom(void *buffer, size_t length, unsigned flags)
{
    uint8_t *bytes = buffer;

    (void)flags;
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)world_random(256);
    return (ssize_t)length;
}

void log_error(const char *format, ...)
{
    (void)format;
}

void log_warn(const char *format, ...)
{
    (void)format;
}

void log_info(const char *format, ...)
{
    (void)format;
}

void log_debug(const char *format, ...)
{
    (void)format;
}

const char *log_quote(const char *text, char *out, size_t room)
{
    snprintf(out, room, "%s", text);
    return out;
}
