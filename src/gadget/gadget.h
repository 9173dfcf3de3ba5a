/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks a plan: the steps of gadget/plan.h through one struct of kernel operations, which tests
 * replace by a configfs of their own. Every call may block for as long as the line to the person's
 * computer is mute, so this runs in a worker process and nowhere else.
 */
#ifndef PLATTER_GADGET_GADGET_H
#define PLATTER_GADGET_GADGET_H

#include "gadget/plan.h"

/* Paths are those of the plan. All return 0 or -errno. */
struct gadget_ops {
    int (*make_dir)(void *arg, const char *path);
    int (*remove_dir)(void *arg, const char *path);
    int (*write)(void *arg, const char *path, const char *text);
    /* One line, without its end. */
    int (*read)(void *arg, const char *path, char *out, size_t room);
    int (*link)(void *arg, const char *target, const char *path);
    int (*unlink)(void *arg, const char *path);
    /* 0 when something of this name is there, else -ENOENT. */
    int (*exists)(void *arg, const char *path);
    /* The name of the n-th USB device controller and the gadget it runs ("" for none); -ENOENT past
     * the last one. */
    int (*controller)(void *arg, unsigned n, char *name, size_t room, char *busy, size_t busy_room);
    /*
     * Opens FunctionFS's instance `name`, gives it the descriptors of `functions` functions and
     * opens their endpoints. -EOPNOTSUPP when the kernel has no FunctionFS, or one too old.
     */
    int (*endpoints)(void *arg, const char *name, unsigned functions);
    /* The nbd device of this slot. `connected`: 1, 0 or -errno. */
    int (*seal)(void *arg);
    int (*disconnect)(void *arg);
    int (*connected)(void *arg);
    /* Told which controller carries the gadget now. */
    int (*bound)(void *arg, const char *controller);
};

/* What stands of the slot's drive. 0 or -errno. */
int gadget_look(const struct gadget_ops *ops, void *arg, unsigned slot, struct plan_seen *out);

/*
 * Builds the drive: the steps of plan_up(). Stops at the first that fails, and then leaves what it
 * built: gadget_down() is how anything half-built goes away. 0, or -errno and one sentence; -ENOSPC
 * when a controller that nobody uses will not have it: it has too few endpoints, most likely.
 */
int gadget_up(const struct gadget_ops *ops, void *arg, const struct plan_wanted *wanted,
              char *reason, size_t room);

/*
 * Removes whatever is there of the slot's drive. A step that fails does not keep the later ones
 * from being tried; the first failure is what is returned, 0 when nothing is left.
 */
int gadget_down(const struct gadget_ops *ops, void *arg, unsigned slot, bool link_alive,
                char *reason, size_t room);

#endif
