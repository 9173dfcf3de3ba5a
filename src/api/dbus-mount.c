// SPDX-License-Identifier: Apache-2.0
/*
 * What becomes of a drive that is filled by D-Bus: Mount connects to the caller's socket and hands
 * the connection to the slot; each step of the slot then is compared with what was known before,
 * and what has changed is signalled.
 *
 * A slot is its sessions' alone: one that was begun in another way is shown here too, and may be
 * ended by Unmount, but the inactivity limit is not its.
 *
 * What always holds: Mount and Unmount that were answered with true get one Completion each, unless
 * the bus goes first; `ours` only while the slot is busy.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "api/dbus-parts.h"
#include "api/openbmc-offer.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/loop.h"
#include "transport/unix.h"

#define LOOK_EVERY 500 /* milliseconds */

/* Whatever a slot is filled by: the object that tells of it. */
static struct dbus_object *proxy_of(struct dbus_slot *s)
{
    return &s->objects[DBUS_MODE_PROXY];
}

/* ---- signals ---- */

/* Which properties of one interface have changed. */
struct changes {
    char *names[4]; /* and NULL behind the last */
    unsigned count;
};

static void changes_add(struct changes *c, char *name)
{
    c->names[c->count++] = name;
}

/* `r`: of the attempt to send a signal; what is wrong with a connection, the next turn sees too. */
static void emitted(struct dbus_slot *s, int r)
{
    if (r < 0)
        log_debug("slot %u: a D-Bus signal cannot be sent: %s", s->number, strerror(-r));
    dbus_wake(s->dbus);
}

static void emit_changes(struct dbus_slot *s, const char *interface, struct changes *c)
{
    if (s->dbus->bus && c->count > 0)
        emitted(s, sd_bus_emit_properties_changed_strv(s->dbus->bus, proxy_of(s)->path, interface,
                                                       c->names));
}

static void emit_completion(struct dbus_slot *s, int error)
{
    if (s->dbus->bus)
        emitted(s, sd_bus_emit_signal(s->dbus->bus, proxy_of(s)->path, DBUS_PROXY, "Completion",
                                      "i", error));
}

/* ---- the steps of a slot ---- */

/* How a session has ended, as an errno; 0: as it should. */
static int error_of(enum stream_close why)
{
    switch (why) {
    case STREAM_CLOSE_NORMAL:
    case STREAM_CLOSE_EJECTED:
        return 0;
    case STREAM_CLOSE_REFUSED:
        return EMEDIUMTYPE;
    case STREAM_CLOSE_BUSY:
        return EBUSY;
    case STREAM_CLOSE_PROTOCOL:
        return EPROTO;
    case STREAM_CLOSE_FAILED:
        return EIO;
    case STREAM_CLOSE_SHUTDOWN:
        return ESHUTDOWN;
    case STREAM_CLOSE_OTHER:
    case STREAM_CLOSE_OVER:
        return ESTALE;
    }
    return EIO;
}

static void shown_to_machine(struct dbus_slot *s, const struct control_slot *c)
{
    struct dbus *d = s->dbus;

    if (s->mounting) {
        s->mounting = false;
        emit_completion(s, 0);
    }
    if (s->ours && d->config.inactivity > 0) {
        inactivity_begin(&s->inactivity, &c->counters, loop_clock());
        loop_timer_set(d->look, LOOK_EVERY);
    }
}

static void session_over(struct dbus_slot *s, const struct control_slot *c)
{
    int error = error_of(c->why);

    s->ours = false;
    if (s->mounting) {
        s->mounting = false;
        error = error ? error : ECANCELED;
        emit_completion(s, error);
    }
    proxy_of(s)->exit_code = error;
    for (; s->unmounts > 0; s->unmounts--)
        emit_completion(s, 0);
}

/* As people call it: a path where it has one. */
static const char *device_of(const char *uri)
{
    return strncmp(uri, "file://", 7) == 0 ? uri + 7 : uri;
}

static void take_over(struct dbus_slot *s, const struct control_slot *c)
{
    struct dbus_object *o = proxy_of(s);

    s->busy = c->busy;
    o->active = c->shown;
    o->write_protected = !c->medium || c->medium->read_only;
    snprintf(o->uri, sizeof o->uri, "%s", device_of(c->uri));
}

static void on_step(void *arg, unsigned slot)
{
    struct dbus *d = arg;
    struct dbus_slot *s = &d->slots[slot];
    const struct dbus_object *o = proxy_of(s);
    struct dbus_object old = *o;
    struct changes mount_point = {.count = 0}, process = {.count = 0};
    bool was_busy = s->busy;
    struct control_slot c;

    control_get_slot(d->config.control, slot, &c);
    take_over(s, &c);
    if (o->active && !old.active)
        shown_to_machine(s, &c);
    if (was_busy && !s->busy)
        session_over(s, &c);
    if (strcmp(o->uri, old.uri) != 0)
        changes_add(&mount_point, "Device");
    if (o->write_protected != old.write_protected)
        changes_add(&mount_point, "WriteProtected");
    if (o->active != old.active)
        changes_add(&process, "Active");
    if (o->exit_code != old.exit_code)
        changes_add(&process, "ExitCode");
    emit_changes(s, DBUS_MOUNTPOINT, &mount_point);
    emit_changes(s, DBUS_PROCESS, &process);
}

/* ---- the inactivity limit ---- */

static bool is_limited(const struct dbus_slot *s)
{
    return s->ours && s->objects[DBUS_MODE_PROXY].active && s->dbus->config.inactivity > 0;
}

unsigned dbus_inactivity_left(const struct dbus_slot *s)
{
    return is_limited(s) ? inactivity_left(&s->inactivity, s->dbus->config.inactivity, loop_clock())
                         : 0;
}

static void look(void *arg)
{
    struct dbus *d = arg;
    bool again = false;
    char reason[96];

    snprintf(reason, sizeof reason, "The machine has not used the drive for %u seconds.",
             d->config.inactivity);
    for (unsigned i = 0; i < d->slot_count; i++) {
        struct dbus_slot *s = &d->slots[i];
        struct control_slot c;

        if (!is_limited(s))
            continue;
        again = true;
        control_get_slot(d->config.control, i, &c);
        inactivity_look(&s->inactivity, &c.counters, loop_clock());
        if (dbus_inactivity_left(s) == 0)
            control_end_slot(d->config.control, i, true, reason);
    }
    if (again)
        loop_timer_set(d->look, LOOK_EVERY);
}

/* ---- what callers ask for ---- */

/* A connection to whoever listens there, or -errno; never waits. */
static int dial(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) < 0)
        return -errno;
    return take_fd(&fd);
}

int dbus_mount(struct dbus_slot *s, char *why, size_t room)
{
    const struct dbus_config *config = &s->dbus->config;
    const char *path = config->sockets[s->number];
    struct control_offer offer;
    struct control_slot c;
    struct stream *stream;
    int r;

    control_get_slot(config->control, s->number, &c);
    if (c.busy) {
        snprintf(why, room, "Slot is in use");
        return -EBUSY;
    }
    offer = openbmc_offer(&c);
    r = dial(path);
    if (r >= 0)
        r = stream_unix_new(config->loop, r, &stream);
    if (r < 0) {
        snprintf(why, room, "%s cannot be connected to (%s): listen there before you call Mount%s.",
                 path, strerror(-r),
                 r == -EACCES ? ", and let the user that platterd runs as write to it" : "");
        log_warn("slot %u: %s", s->number, why);
        return r;
    }
    s->ours = s->mounting = true;
    control_open_slot(config->control, s->number, stream, &offer);
    control_get_slot(config->control, s->number, &c);
    if (c.busy)
        return 0;
    s->ours = s->mounting = false;
    snprintf(why, room, "Platter is stopping.");
    return -ESHUTDOWN;
}

int dbus_unmount(struct dbus_slot *s, char *why, size_t room)
{
    switch (control_end_slot(s->dbus->config.control, s->number, true,
                             "The session was ended over D-Bus.")) {
    case CONTROL_EMPTY:
        snprintf(why, room, "This drive is empty, so there is nothing to unmount.");
        return -ENOMEDIUM;
    case CONTROL_ENDS:
    case CONTROL_LOCKED: /* not by force */
        break;
    }
    s->unmounts++;
    return 0;
}

int dbus_mounts_new(struct dbus *d)
{
    int r = loop_timer_new(d->config.loop, look, d, &d->look);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < d->slot_count; i++)
        on_step(d, i);
    control_watch_slots(d->config.control, on_step, d);
    return 0;
}

void dbus_mounts_free(struct dbus *d)
{
    control_watch_slots(d->config.control, NULL, NULL);
    loop_timer_free(d->look);
}
