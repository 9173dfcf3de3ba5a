/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's nbd devices over generic netlink. Every call may block (netlink calls share one lock
 * in the kernel): worker processes only, except nbd_dev_is_ours(), which only reads sysfs.
 */
#ifndef PLATTER_PRIV_OPS_NBD_H
#define PLATTER_PRIV_OPS_NBD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define NBD_DEV_MARK_MAX 192 /* the end of a mark included */

struct nbd_dev_connect {
    unsigned index;
    const char *mark; /* kept by the kernel with the device, so that it can be known again */
    int fd;           /* a connected stream socket; stays the caller's */
    uint64_t size;    /* bytes */
    uint32_t block_size;
    bool read_only;
    unsigned dead_seconds; /* for how long requests wait for a new socket when this one dies */
};

/* Makes sure the driver is there, loading it if it must. 0, or -errno and one sentence. */
int nbd_dev_load(char *reason, size_t room);

/* 0; -EBUSY when the device is taken; or -errno. */
int nbd_dev_connect(const struct nbd_dev_connect *how);

/*
 * Gives the device `fd` in the place of `old_fd`, the socket it has had until now, which is shut
 * down. What it was asked and has not answered is asked again, within /sys/block/nbdN/queue/
 * io_timeout. 0; -EBUSY when the driver will not let go of the old one; or -errno. `fd` stays the
 * caller's, `take_old_fd` is taken over: nobody else may hold it for long.
 */
int nbd_dev_reconnect(unsigned index, const char *mark, int fd, int take_old_fd);

/* Forgets what the page cache holds of the device, pages whose reads failed above all; what is to
 * be written is written first. 0 or -errno. */
int nbd_dev_forget(unsigned index);

/* From now on the device disconnects when its last opener closes it. 0 or -errno. */
int nbd_dev_seal(unsigned index, const char *mark);

/* Disconnects it; what is in flight fails. 0 or -errno; a device that is not connected is 0. */
int nbd_dev_disconnect(unsigned index);

/*
 * The device is connected, and by us: it carries `mark`, or, on kernels before 5.14 that keep no
 * mark, was connected by process `pid`.
 */
bool nbd_dev_is_ours(unsigned index, const char *mark, pid_t pid);
/* The first device at or after `from` that nobody has connected. */
unsigned nbd_dev_next_free(unsigned from);
/* The device that carries `mark`, whatever the record says; -1 for none. */
int nbd_dev_find(const char *mark);
/*
 * Settings that are ours: of the kernel's readahead, of what it may keep of the machine's writes,
 * and, for a drive that `outlives` its socket, how soon its requests are asked of the next one.
 * None of them is worth failing for: they change the speed, not the bytes.
 */
void nbd_dev_tune(unsigned index, bool outlives);
/*
 * A device that was disconnected is free when nobody has it open any more: waits for that, but for
 * two seconds at most.
 */
void nbd_dev_await_close(unsigned index, const char *mark, pid_t pid);
/*
 * The kernel's own settings again, for whoever has the device next, once it has been disconnected;
 * nothing if somebody else has it already.
 */
void nbd_dev_untune(unsigned index, const char *mark, pid_t pid);

#endif
