/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The export `kernel`: an NBD server on one end of a socketpair, whose other end the helper gives
 * to the kernel's nbd driver, and a USB mass-storage gadget on the device that comes of it.
 *
 * Who owns what: this export has the NBD connection; everything else, the device and the gadget,
 * stands in the kernel and is the helper's to make and to remove.
 *
 * What always holds: the connection serves from before the helper is asked to attach until after it
 * has said that all is removed, because the kernel reads through it on both ways. `stopped` is told
 * only then (or when the helper is lost, whose next start removes what is left).
 *
 * The device outlives its socket: a platterd that dies or is replaced leaves the drive standing,
 * and the next one gives the kernel a socket of its own (adopt). Everything after that is the same,
 * so both ways begin in ATTACHING. A machine that ejected in between is told of as one that ejects
 * now.
 *
 * With `device_only` the device stands alone, for this machine's own programs: no USB gadget is on
 * it, so nothing limits a CD, and nobody can eject it.
 *
 * A size that is not a whole number of sectors: the drive ends with the last whole one, as the
 * kernel's own loop devices do. A drive has no parts of sectors, and the image's tail was not
 * reachable on any drive it came from. An image without one whole sector is refused.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop.h"
#include "export/nbd-conn.h"
#include "export/table.h"
#include "priv/priv.h"
#include "transport/unix.h"

/* Where the kernel's mass-storage gadget clamps a CD, silently: 256 * 60 * 75 - 1 blocks. */
#define CD_BLOCKS_MAX 1151999u
/* Linux resets a USB drive that leaves a command unanswered for 30 s, for good. Seconds. */
#define GRACE_MAX 25

enum state {
    IDLE,
    FAILING,   /* the start failed before the helper was asked; `stopped` is on its way */
    ATTACHING, /* or adopting */
    ATTACHED,
    DETACHING,
};

struct kernel_export {
    struct export export;
    struct priv *priv;
    struct loop *loop;
    unsigned slot;
    bool device_only;
    struct loop_later *later; /* tells `stopped` of a start that failed at once */
    struct priv_watch watch;
    struct nbd_conn *conn; /* NULL: over, or not there yet */
    enum state state;
    struct medium medium;
    bool ejected;      /* the kernel has said goodbye on the socket */
    unsigned detaches; /* asked of the helper and not yet answered */
    bool said_dead;    /* by one of them */
    int error;         /* why it ends, if nobody asked for that */
    char reason[256];
    char device[16];
};

static struct kernel_export *of(struct export *e)
{
    return (struct kernel_export *)(void *)e;
}

static double gigabytes(uint64_t size)
{
    return (double)size / 1e9;
}

static int kernel_check(const struct export *e, const struct medium *medium, char *reason,
                        size_t room)
{
    const struct kernel_export *k = (const struct kernel_export *)(const void *)e;
    uint32_t sector = medium_sector(medium->kind);

    if (room > 0)
        reason[0] = '\0';
    if (medium->size < sector) {
        snprintf(reason, room, "The image is smaller than one sector (%u bytes): nothing to show.",
                 sector);
        return -EINVAL;
    }
    if (!k->device_only && medium->kind == MEDIUM_CD && medium->size / sector > CD_BLOCKS_MAX) {
        snprintf(reason, room,
                 "The kernel's USB drive cuts a CD at 2.36 GB and this image has %.2f GB: choose "
                 "Disk instead.",
                 gigabytes(medium->size));
        return -EFBIG;
    }
    return 0;
}

static void finish(struct kernel_export *k)
{
    k->state = IDLE;
    k->device[0] = '\0';
    if (k->conn)
        nbd_conn_close(k->conn);
    k->conn = NULL;
    priv_watch_slot(k->priv, k->slot, NULL);
    k->export.events->stopped(k->export.owner, k->error, k->reason);
}

static void tell_failed(void *arg)
{
    struct kernel_export *k = arg;

    k->state = IDLE;
    k->export.events->stopped(k->export.owner, k->error, k->reason);
}

static void blame(struct kernel_export *k, int error, const char *reason)
{
    if (k->error != 0)
        return;
    k->error = error;
    snprintf(k->reason, sizeof k->reason, "%s", reason);
}

static void detach_done(void *arg, const struct priv_reply *reply)
{
    struct kernel_export *k = arg;

    if (reply->error < 0)
        blame(k, reply->error, reply->reason);
    if (--k->detaches == 0)
        finish(k);
}

/* May be said again: a line that dies while the drive is taken away in good order. */
static void detach(struct kernel_export *k, bool link_alive)
{
    if (k->state == DETACHING && (link_alive || k->said_dead))
        return;
    k->state = DETACHING;
    k->said_dead = !link_alive;
    k->detaches++;
    priv_detach(k->priv, k->slot, link_alive, detach_done, k);
}

/* The socket is over while the drive should stand. */
static void lose_conn(struct kernel_export *k)
{
    if (k->ejected && !k->device_only) {
        k->export.events->ejected(k->export.owner);
        return;
    }
    if (k->ejected)
        blame(k, -ENODEV, "Another program disconnected the nbd device: give it an image again.");
    else
        blame(k, -EPIPE,
              "The kernel's nbd driver closed the drive's socket: see the kernel's log.");
    detach(k, false);
}

static void conn_closed(void *owner, struct nbd_conn *conn, bool by_client)
{
    struct kernel_export *k = owner;

    (void)conn;
    k->conn = NULL;
    k->ejected = by_client;
    /* While attaching the helper's answer comes first; while detaching this is as it should be. */
    if (k->state == ATTACHED)
        lose_conn(k);
}

static const struct nbd_conn_events conn_events = {.closed = conn_closed};

static void attach_done(void *arg, const struct priv_reply *reply)
{
    struct kernel_export *k = arg;

    if (k->state != ATTACHING)
        return; /* called off: the detach behind it ends the matter */
    if (reply->error == -ENOMEDIUM) {
        /* Nothing is left of the drive; it remains to tell why. */
        if (k->conn)
            nbd_conn_close(k->conn);
        k->conn = NULL;
        k->ejected = true;
    } else if (reply->error < 0) {
        blame(k, reply->error, reply->reason);
        finish(k);
        return;
    }
    k->state = ATTACHED;
    snprintf(k->device, sizeof k->device, "%s", reply->device);
    k->export.events->started(k->export.owner);
    if (k->state == ATTACHED && !k->conn)
        lose_conn(k);
}

static void drive_gone(void *arg, int error, const char *reason)
{
    struct kernel_export *k = arg;

    if (k->state != ATTACHED)
        return;
    blame(k, error, reason);
    detach(k, false);
}

static int kernel_new(const struct export_config *config, struct export **out)
{
    struct kernel_export *k = calloc(1, sizeof *k);
    int r;

    if (!k)
        return -ENOMEM;
    k->export.ops = &export_kernel;
    k->priv = config->priv;
    k->loop = config->loop;
    k->slot = config->slot;
    k->device_only = config->device_only;
    k->watch = (struct priv_watch){.gone = drive_gone, .arg = k};
    r = loop_later_new(k->loop, tell_failed, k, &k->later);
    if (r < 0) {
        free(k);
        return r;
    }
    *out = &k->export;
    return 0;
}

static void kernel_free(struct export *e)
{
    struct kernel_export *k = of(e);

    loop_later_free(k->later);
    free(k);
}

/* The serving end is set up; `theirs` is what the kernel gets. 0 or -errno. */
static int open_conn(struct kernel_export *k, struct engine *engine, int *theirs)
{
    struct stream *stream;
    int pair[2];
    int r;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    r = stream_unix_new(k->loop, pair[0], &stream);
    if (r == 0)
        r = nbd_conn_new(stream,
                         &(struct nbd_conn_config){
                             .start = NBD_CONN_TRANSMIT, .medium = &k->medium, .engine = engine},
                         &conn_events, k, &k->conn);
    if (r < 0) {
        close(pair[1]);
        return r;
    }
    *theirs = pair[1];
    return 0;
}

/* What priv_attach() and priv_adopt() have in common. */
typedef void present_call(struct priv *priv, unsigned slot, const struct medium *medium,
                          int take_fd, void (*done)(void *arg, const struct priv_reply *reply),
                          void *arg);

static void begin(struct kernel_export *k, const struct medium *medium, struct engine *engine,
                  present_call *present)
{
    int theirs = -1;
    int r;

    k->medium = *medium;
    /* What the device is told; requests beyond it are then refused by us as well. */
    k->medium.size = medium_whole(medium->kind, medium->size);
    k->ejected = false;
    k->error = 0;
    k->reason[0] = '\0';
    k->said_dead = false;
    k->state = FAILING;
    if (!k->priv) {
        blame(k, -ENOTCONN, "This slot needs platter-helper, and none is configured.");
        loop_later_set(k->later);
        return;
    }
    r = open_conn(k, engine, &theirs);
    if (r < 0) {
        blame(k, r, "Cannot make the drive's socket: free memory or descriptors.");
        loop_later_set(k->later);
        return;
    }
    k->state = ATTACHING;
    priv_watch_slot(k->priv, k->slot, &k->watch);
    present(k->priv, k->slot, &k->medium, theirs, attach_done, k);
}

static void kernel_start(struct export *e, const struct medium *medium, struct engine *engine)
{
    begin(of(e), medium, engine, priv_attach);
}

static void kernel_adopt(struct export *e, const struct medium *medium, struct engine *engine)
{
    begin(of(e), medium, engine, priv_adopt);
}

/* Errors cut the readahead of the file that the gadget has open, and it opens it again. */
static void kernel_reload(struct export *e)
{
    struct kernel_export *k = of(e);

    if (k->state == ATTACHED)
        priv_reload(k->priv, k->slot, NULL, NULL);
}

static void kernel_stop(struct export *e, bool link_alive)
{
    struct kernel_export *k = of(e);

    if (k->state != IDLE && k->state != FAILING)
        detach(k, link_alive);
}

static void kernel_describe(const struct export *e, char *out, size_t room)
{
    const struct kernel_export *k = (const struct kernel_export *)(const void *)e;

    out[0] = '\0';
    if (k->device[0] != '\0')
        snprintf(out, room, "file:///dev/%s", k->device);
}

const struct export_ops export_kernel = {
    .name = "kernel",
    .check = kernel_check,
    .new = kernel_new,
    .grace_max = GRACE_MAX,
    .start = kernel_start,
    .adopt = kernel_adopt,
    .reload = kernel_reload,
    .stop = kernel_stop,
    .describe = kernel_describe,
    .free = kernel_free,
};
