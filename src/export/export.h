/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interface of every export: the way a medium reaches the machine.
 *
 * Life: export_check() says whether a medium can go out this way at all; export_start() then
 * begins, or export_adopt() where an earlier process left it standing, and exactly one of `started`
 * or `stopped` follows. After `started`, `ejected` may come
 * (the machine gave the medium back), and `locked` whenever the machine locks the medium in or lets
 * go of it; `stopped` comes exactly once: by itself when the export
 * failed, or after export_stop(). After `stopped` nothing is left of it in the system and it may be
 * started again. Free it only when it is stopped; export_free() may be called from inside
 * `stopped`.
 *
 * No event comes before export_start(), export_adopt() or export_stop() has returned. Nothing here
 * blocks.
 */
#ifndef PLATTER_EXPORT_EXPORT_H
#define PLATTER_EXPORT_EXPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/medium.h"
#include "block/engine.h"

struct export;
struct loop;
struct priv;
struct usb_device;

/* What an export is made from; the strings must outlive it. */
struct export_config {
    struct loop *loop;
    unsigned slot;
    const char *socket_path;       /* unix: where to listen */
    struct priv *priv;             /* kernel: the helper; NULL where there is none */
    bool device_only;              /* kernel: an nbd device without a USB drive on it */
    struct usb_device *usb_device; /* usb: stays its owner's, and must outlive the export; */
    unsigned usb_drive;            /* and which of its drives this is, from 0 */
};

/* How it stands with the far end of the engine that an export was given. */
enum export_link {
    EXPORT_LINK_LIVE,
    EXPORT_LINK_WAITING, /* lost, and requests wait for it */
    EXPORT_LINK_FAILED,  /* lost for so long that requests fail, at once and with -EIO */
};

struct export_events {
    void (*started)(void *owner);
    void (*ejected)(void *owner);
    /* The machine has locked the medium in, or lets go of it; is_locked() tells the same. */
    void (*locked)(void *owner, bool locked);
    /* error 0: as asked. Else -errno and one sentence for people: what, where, what to do. */
    void (*stopped)(void *owner, int error, const char *reason);
};

struct export_ops {
    const char *name; /* "usb", "kernel", "unix": as in the configuration */
    /* 0, or -errno and the sentence that says why this medium cannot go out this way. */
    int (*check)(const struct export *e, const struct medium *medium, char *reason, size_t room);
    /* 0 or -errno. */
    int (*new)(const struct export_config *config, struct export **out);
    /* For how many seconds, at most, the machine bears to wait for an answer; 0: not at all. */
    unsigned grace_max;
    void (*start)(struct export *e, const struct medium *medium, struct engine *engine);
    /*
     * As start, of the drive with this very medium that an earlier process started and left without
     * stopping it; the machine is to notice nothing. `stopped` with an error when there is none.
     */
    void (*adopt)(struct export *e, const struct medium *medium, struct engine *engine);
    /*
     * The medium can be read again after reads of it have failed: the machine is made to look at it
     * anew, where errors leave a trace. Only once started; no event tells of it.
     */
    void (*reload)(struct export *e);
    /*
     * How it stands with the far end, whenever that changes; before the engine acts on it. A start
     * is with a live one; an adoption without one, which is told right after it. Only between start
     * or adopt and stopped. NULL: it makes no difference.
     */
    void (*link)(struct export *e, enum export_link link);
    /* Whether the machine has locked the medium in; false when there is none. NULL: never. */
    bool (*is_locked)(const struct export *e);
    /*
     * The machine is told that a person wants the medium out; `ejected` may come of it, and nothing
     * may. Only once started. NULL: there is no way to tell it.
     */
    void (*request_eject)(struct export *e);
    /*
     * `link_alive`: the engine still answers, so an orderly teardown may read through it. When it
     * is false, the engine answers every request with an error by now.
     */
    void (*stop)(struct export *e, bool link_alive);
    /* Where a program finds it, as a URI; "" when it is not to be found. */
    void (*describe)(const struct export *e, char *out, size_t room);
    void (*free)(struct export *e);
};

/* The first member of every implementation's own struct. */
struct export
{
    const struct export_ops *ops;
    const struct export_events *events; /* set by export_own() before start */
    void *owner;
};

/* The export of this name, or NULL. The table has one row an export. */
const struct export_ops *export_find(const char *name);

static inline void export_own(struct export *e, const struct export_events *events, void *owner)
{
    e->events = events;
    e->owner = owner;
}

static inline void export_start(struct export *e, const struct medium *medium,
                                struct engine *engine)
{
    e->ops->start(e, medium, engine);
}

static inline void export_adopt(struct export *e, const struct medium *medium,
                                struct engine *engine)
{
    e->ops->adopt(e, medium, engine);
}

static inline void export_reload(struct export *e)
{
    e->ops->reload(e);
}

static inline void export_link(struct export *e, enum export_link link)
{
    if (e->ops->link)
        e->ops->link(e, link);
}

static inline bool export_is_locked(const struct export *e)
{
    return e->ops->is_locked && e->ops->is_locked(e);
}

static inline void export_request_eject(struct export *e)
{
    if (e->ops->request_eject)
        e->ops->request_eject(e);
}

static inline void export_stop(struct export *e, bool link_alive)
{
    e->ops->stop(e, link_alive);
}

static inline void export_free(struct export *e)
{
    if (e)
        e->ops->free(e);
}

#endif
