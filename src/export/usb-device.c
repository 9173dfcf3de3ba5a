// SPDX-License-Identifier: Apache-2.0
/*
 * A USB device and its drives, as two small machines: where the device is with the helper (enum
 * usb_device_state), and where each drive is with its medium (enum usb_drive_place, usb-drive.c).
 * Whatever happens only moves one of them; advance(), on the loop's next turn, then does what
 * follows for all.
 *
 * Who owns what: the drives with their SCSI state and ports are here for good. What stands (the
 * functions on their descriptors, usb-functions.h) and its journal are made when the helper has
 * attached or adopted the device, and go with it; the helper has duplicates of the descriptors and
 * of the journal, so all of it outlives this process.
 *
 * What always holds: a drive's `out` comes when its engine's last request is back, and where the
 * device goes with its last medium, when that is gone too. A device that was lost takes all media
 * with it; one that is always plugged in is attached again, empty, after a rest that grows.
 *
 * A drive that an earlier process left goes on as the journal says, and its machine notices
 * nothing. What the journal says to be in a drive that nobody adopts comes out; what the machine
 * has ejected meanwhile is told as an eject.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "export/usb-device-parts.h"
#include "export/usb-functions.h"
#include "export/usb-journal.h"
#include "export/usb-port.h"

/* Between attempts at a device that is always plugged in; milliseconds. */
#define REST_FIRST 1000
#define REST_LAST  30000

static bool has_drive(struct usb_device *d, enum usb_drive_place place)
{
    for_each_drive (x, d) {
        if (x->place == place)
            return true;
    }
    return false;
}

static bool is_wanted(struct usb_device *d)
{
    return (d->config.always && !d->stops) || has_drive(d, WAITING) || has_drive(d, LOADED) ||
           has_drive(d, REMOVING);
}

static void detached(void *arg, const struct priv_reply *reply)
{
    struct usb_device *d = arg;

    d->detaches = false;
    if (reply->error < 0 && !d->failed) {
        d->failed = true;
        snprintf(d->reason, sizeof d->reason, "%s", reply->reason);
        for_each_drive (x, d) {
            if (x->place == REMOVING || x->place == LEAVING)
                x->error = reply->error;
        }
    }
    loop_later_set(d->later);
}

static void closed(void *arg)
{
    struct usb_device *d = arg;

    d->closes = false;
    loop_later_set(d->later);
}

/* The endpoints are let go while the helper unbinds them: one of the two ends every transfer. */
static void detach(struct usb_device *d)
{
    d->state = DETACHING;
    d->detaches = true;
    priv_detach(d->config.priv, d->config.slot, true, detached, d);
    if (d->functions) {
        d->closes = true;
        usb_functions_close(d->functions, closed, d);
    }
}

/* What stands, or was to, cannot go on: all media come out, and then it goes. */
static void fail(struct usb_device *d, int error, const char *reason)
{
    d->failed = true;
    snprintf(d->reason, sizeof d->reason, "%s", reason);
    for_each_drive (x, d)
        usb_drive_take_out(x, error);
}

static void forget(struct usb_device *d)
{
    usb_functions_free(d->functions);
    d->functions = NULL;
    usb_journal_free(d->journal);
    d->journal = NULL;
    priv_watch_slot(d->config.priv, d->config.slot, NULL);
    d->state = GONE;
    if (!d->failed || !d->config.always || d->stops)
        return;
    if (d->rest == REST_FIRST)
        log_warn("slot %u: the USB device is not plugged in, and tried again until it is: %s",
                 d->config.slot, d->reason);
    d->state = RESTING;
    loop_timer_set(d->timer, d->rest);
    d->rest = d->rest * 2 < REST_LAST ? d->rest * 2 : REST_LAST;
}

static void gone(void *arg, int error, const char *reason)
{
    struct usb_device *d = arg;

    if (d->state != OPENING && d->state != STANDING)
        return;
    fail(d, error, reason);
    detach(d);
}

static void functions_failed(void *arg, int error)
{
    gone(arg, error, "The kernel has closed the USB device: see the kernel's log.");
}

static void functions_ready(void *arg)
{
    struct usb_device *d = arg;

    if (d->state != OPENING)
        return;
    d->state = STANDING;
    d->rest = REST_FIRST;
    for_each_drive (x, d) {
        if (x->place == LOADED)
            usb_drive_tell_ready(x);
    }
    loop_later_set(d->later);
}

static void functions_drive_events(void *arg, unsigned number, unsigned events)
{
    struct usb_device *d = arg;
    struct usb_drive *x = &d->drives[number];

    /* Of one that is adopted just now, functions_ready() tells. */
    if (d->state == STANDING && x->place == LOADED)
        usb_drive_tell(x, events);
}

static const struct usb_functions_events functions_events = {
    .ready = functions_ready,
    .drive_events = functions_drive_events,
    .failed = functions_failed,
};

/* Each drive as the journal has it, which is taken. 0 or -errno. */
static int restore(struct usb_device *d, int take_fd)
{
    int r = usb_journal_open(take_fd, d->config.drive_count, &d->journal);

    for_each_drive (x, d) {
        if (r == 0)
            r = usb_drive_restore(x);
    }
    return r;
}

static int open_functions(struct usb_device *d, const struct priv_reply *reply)
{
    return usb_functions_new(
        &(struct usb_functions_config){
            .loop = d->config.loop,
            .take_fds = reply->fds,
            .count = reply->functions,
            .drives = d->scsi,
            .ports = d->ports,
            .drive_count = d->config.drive_count,
            .journal = d->journal,
            .adopted = d->state == ADOPTING,
            .events = &functions_events,
            .arg = d,
        },
        &d->functions);
}

static void close_all(const struct priv_reply *reply)
{
    for (unsigned i = 0; i < reply->fd_count; i++)
        close(reply->fds[i]);
}

/* The helper has what was asked for. */
static void open_device(struct usb_device *d, const struct priv_reply *reply)
{
    bool adopts = d->state == ADOPTING;
    int r = 0;

    if ((reply->functions != 1 && reply->functions != d->config.drive_count) ||
        reply->fd_count != 1 + 2 * reply->functions + adopts) {
        close_all(reply);
        r = -EPROTO;
    } else if (adopts) {
        r = restore(d, reply->fds[reply->fd_count - 1]);
        for (unsigned i = 0; r < 0 && i + 1 < reply->fd_count; i++)
            close(reply->fds[i]);
    }
    for_each_drive (x, d) {
        if (r == 0 && x->place == WAITING)
            usb_drive_load(x);
    }
    if (r == 0)
        r = open_functions(d, reply);
    if (r < 0) {
        fail(d, r,
             adopts ? "What an earlier platterd left of the USB device cannot be taken over: give "
                      "the image again."
                    : "The USB device cannot be served: free memory, or raise fs.aio-max-nr.");
        detach(d);
        return;
    }
    d->state = OPENING;
}

/* Nothing was left, or not what its adopters want; whoever else waits gets a device of his own. */
static void adoption_failed(struct usb_device *d, const struct priv_reply *reply)
{
    snprintf(d->reason, sizeof d->reason, "%s", reply->reason);
    for_each_drive (x, d) {
        if (x->adopts)
            usb_drive_take_out(x, reply->error);
    }
}

static void answered(void *arg, const struct priv_reply *reply)
{
    struct usb_device *d = arg;

    d->asked = false;
    if (d->state != ATTACHING && d->state != ADOPTING) {
        close_all(reply); /* called off; the detach behind it ends the matter */
    } else if (reply->error == 0) {
        open_device(d, reply);
    } else if (d->state == ADOPTING) {
        adoption_failed(d, reply);
        forget(d);
    } else {
        fail(d, reply->error, reply->reason);
        forget(d);
    }
    loop_later_set(d->later);
}

static bool has_adopter(struct usb_device *d)
{
    for_each_drive (x, d) {
        if (x->place == WAITING && x->adopts)
            return true;
    }
    return false;
}

static void begin(struct usb_device *d)
{
    bool adopts = d->untried && (d->config.always || has_adopter(d));
    int r;

    loop_timer_stop(d->timer);
    d->untried = false;
    d->failed = false;
    for_each_drive (x, d)
        usb_drive_reset(x, x->config.any_kind ? x->medium.kind : x->config.kind);
    if (!adopts) {
        r = usb_journal_new(d->config.drive_count, &d->journal);
        if (r < 0) {
            fail(d, r, "The USB device cannot be made: free memory.");
            forget(d);
            loop_later_set(d->later);
            return;
        }
    }
    d->asked = true;
    priv_watch_slot(d->config.priv, d->config.slot, &d->watch);
    d->state = adopts ? ADOPTING : ATTACHING;
    if (adopts)
        priv_usb_adopt(d->config.priv, d->config.slot, d->config.drive_count, answered, d);
    else
        priv_usb_attach(d->config.priv, d->config.slot, d->config.drive_count,
                        usb_journal_fd(d->journal), answered, d);
}

static void tell_out(struct usb_device *d)
{
    for_each_drive (x, d) {
        if (x->place == LEAVING)
            usb_drive_tell_out(x);
    }
}

static void advance_absent(struct usb_device *d)
{
    tell_out(d);
    if (is_wanted(d)) {
        if (d->state == GONE || has_drive(d, WAITING))
            begin(d);
        return;
    }
    loop_timer_stop(d->timer);
    d->state = GONE;
    if (d->stops && d->stopped) {
        void (*stopped)(void *arg) = d->stopped;

        d->stopped = NULL;
        stopped(d->stopped_arg);
    }
}

static void advance_present(struct usb_device *d)
{
    if (!is_wanted(d)) {
        detach(d);
        return;
    }
    tell_out(d);
    for_each_drive (x, d) {
        if (d->state == STANDING && x->place == WAITING) {
            usb_drive_load(x);
            usb_drive_tell_ready(x);
        }
    }
}

static void advance(void *arg)
{
    struct usb_device *d = arg;

    switch (d->state) {
    case GONE:
    case RESTING:
        advance_absent(d);
        break;
    case ADOPTING:
    case ATTACHING:
    case OPENING:
    case STANDING:
        advance_present(d);
        break;
    case DETACHING:
        if (d->asked || d->detaches || d->closes || has_drive(d, REMOVING))
            return;
        forget(d);
        advance_absent(d);
        break;
    case LEFT:
        break;
    }
}

static void rested(void *arg)
{
    struct usb_device *d = arg;

    if (d->state != RESTING)
        return;
    d->state = GONE;
    loop_later_set(d->later);
}

int usb_device_new(const struct usb_device_config *config, struct usb_device **out)
{
    struct usb_device *d = calloc(1, sizeof *d + config->drive_count * sizeof d->drives[0]);
    int r;

    if (!d)
        return -ENOMEM;
    d->config = *config;
    d->untried = true;
    d->rest = REST_FIRST;
    d->watch = (struct priv_watch){.gone = gone, .arg = d};
    r = loop_later_new(config->loop, advance, d, &d->later);
    if (r == 0)
        r = loop_timer_new(config->loop, rested, d, &d->timer);
    for (unsigned i = 0; i < config->drive_count; i++) {
        struct usb_drive *x = &d->drives[i];

        *x = (struct usb_drive){.device = d, .number = i, .config = config->drives[i]};
        d->scsi[i] = &x->scsi;
        if (r == 0)
            r = loop_timer_new(config->loop, usb_drive_close_tray, x, &x->tray);
        if (r == 0)
            r = usb_port_new(&x->scsi, x->config.write_back, &d->ports[i]);
        x->port = d->ports[i];
    }
    if (r < 0) {
        usb_device_free(d);
        return r;
    }
    if (config->always)
        loop_later_set(d->later);
    *out = d;
    return 0;
}

void usb_device_free(struct usb_device *d)
{
    if (!d)
        return;
    for_each_drive (x, d) {
        usb_port_free(x->port);
        loop_timer_free(x->tray);
    }
    loop_timer_free(d->timer);
    loop_later_free(d->later);
    free(d);
}

void usb_device_stop(struct usb_device *d, void (*done)(void *arg), void *arg)
{
    d->stops = true;
    d->stopped = done;
    d->stopped_arg = arg;
    loop_later_set(d->later);
}

void usb_device_leave(struct usb_device *d, void (*done)(void *arg), void *arg)
{
    bool stands = d->state == OPENING || d->state == STANDING;

    d->state = LEFT;
    if (stands)
        usb_functions_quiesce(d->functions, done, arg);
    else
        done(arg);
}
