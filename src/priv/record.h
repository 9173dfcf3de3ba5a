/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What outlives a helper, per slot, in its state directory: a lock that says a slot is in
 * somebody's hands, and a record of what was done there, so that the next helper can undo it.
 *
 * The lock is flock(2) on slot-N.lock and dies with the process that holds it. The record is
 * slot-N.state, replaced by rename(2), and written *before* the deed it tells of.
 */
#ifndef PLATTER_PRIV_RECORD_H
#define PLATTER_PRIV_RECORD_H

#include <stdbool.h>
#include <sys/types.h>

struct record {
    int nbd;      /* the number of the nbd device that is ours or was about to be; -1 for none */
    pid_t pid;    /* the process that connected it */
    bool gadget;  /* the gadget of the slot's name is ours too, or was about to be */
    char udc[96]; /* the controller that carries the gadget; "" for none yet */
};

/*
 * Whether what root writes in `directory` stays what root wrote: it is ours (or root's) and nobody
 * else may write there. 0; -EPERM when somebody may; or -errno (-ENOTDIR also for a link).
 */
int record_check_directory(const char *directory);

/* The lock's descriptor, to be closed to let go; -EBUSY when another process holds it; or -errno.
 */
int record_lock(const char *state_dir, unsigned slot);

/* 0 or -errno. */
int record_write(const char *state_dir, unsigned slot, const struct record *record);
/*
 * 0, -ENOENT when there is none, -EBADMSG when it makes no sense; `out` is then empty, but for a
 * gadget that may be there.
 */
int record_read(const char *state_dir, unsigned slot, struct record *out);
int record_remove(const char *state_dir, unsigned slot);

#endif
