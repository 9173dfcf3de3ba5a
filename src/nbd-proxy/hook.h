/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hook: a program of the system's own, beside the configuration file, that is told of a drive's
 * coming ("start NAME") and going ("stop NAME"), and often makes the USB gadget. One run at a time.
 */
#ifndef PLATTER_NBD_PROXY_HOOK_H
#define PLATTER_NBD_PROXY_HOOK_H

#include <stdbool.h>
#include <stddef.h>

struct hook;
struct loop;

struct hook_config {
    struct loop *loop;
    const char *path;
    const char *name; /* of the configuration */
    const char *lock; /* a file that is locked while the hook runs; all three must outlive it */
    /* A run is over, never from inside a call. `why` says what went wrong, in a phrase; NULL:
     * nothing. */
    void (*done)(void *arg, const char *why);
    void *arg;
};

/* Its path, beside the configuration's. 0 or -ENAMETOOLONG. */
int hook_beside(const char *config_path, char *out, size_t room);
/* Whether there is one: it is there, and may be executed. */
bool hook_is_there(const char *path);

/* 0 or -errno. */
int hook_new(const struct hook_config *config, struct hook **out);
/* One that still runs is killed. NULL is allowed. */
void hook_free(struct hook *hook);

/* Starts it: `done` follows, within `limit` milliseconds, after which it and all its processes are
 * killed; so they are when this process has ended before. Not while one runs. */
void hook_run(struct hook *hook, const char *action, unsigned limit);
/* Kills the run under way, if there is one. */
void hook_kill(struct hook *hook);

#endif
