/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A platter-helper of this process's own, with a configuration of one drive, in a directory that
 * is root's alone. It goes when this process does, however that ends.
 */
#ifndef PLATTER_NBD_PROXY_HELPER_H
#define PLATTER_NBD_PROXY_HELPER_H

#include <stdbool.h>
#include <stddef.h>

struct loop;
struct own_helper;

struct own_helper_config {
    struct loop *loop;
    const char *program; /* the path of platter-helper */
    const char *run_dir; /* made if it is not there; in it, a directory for each slot */
    unsigned slot;
    const char *keys; /* of the slot, as in platter.conf */
    /* It has ended, or could not be started, and nobody had asked for that: one sentence. */
    void (*lost)(void *arg, const char *reason);
    void *arg;
};

/*
 * Makes all ready and starts it, or will as soon as the helper and the hook of an earlier process,
 * if they still take its drive away, have ended; the socket can be connected to at once. 0, or
 * -errno and one sentence: -EBUSY when another process has this slot.
 */
int own_helper_new(const struct own_helper_config *config, struct own_helper **out, char *error,
                   size_t room);
/* Where it listens. */
const char *own_helper_socket(const struct own_helper *h);
/* A file beside it, for the hook to hold locked while it runs: the next session waits for both. */
const char *own_helper_hook_lock(const struct own_helper *h);
/* Ends it. `done` is called once it has, possibly before this returns. */
void own_helper_stop(struct own_helper *h, void (*done)(void *arg), void *arg);
/* Stopped, or never started. NULL is allowed. */
void own_helper_free(struct own_helper *h);

#endif
