/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan, walked. Holds no state of its own: what stands is read back from the kernel each time,
 * because the process that built it may be dead.
 */
#include "gadget/gadget.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CONTROLLERS_MAX 32

static const char no_controller[] =
    "This device has no USB device controller, so it cannot be a drive of another machine: enable "
    "one (Raspberry Pi: dtoverlay=dwc2,dr_mode=peripheral; to try it out: modprobe dummy_hcd).";

static bool there(const struct gadget_ops *ops, void *arg, unsigned slot, enum plan_part part)
{
    char path[PLAN_PATH_MAX];

    plan_path(slot, part, path);
    return ops->exists(arg, path) == 0;
}

int gadget_look(const struct gadget_ops *ops, void *arg, unsigned slot, struct plan_seen *out)
{
    char path[PLAN_PATH_MAX];
    char udc[PLAN_TEXT_MAX] = "";
    int connected = ops->connected(arg);

    memset(out, 0, sizeof *out);
    if (connected < 0)
        return connected;
    out->connected = connected > 0;
    out->gadget = there(ops, arg, slot, PLAN_PART_GADGET);
    if (!out->gadget)
        return 0;
    out->strings = there(ops, arg, slot, PLAN_PART_STRINGS);
    out->config = there(ops, arg, slot, PLAN_PART_CONFIG);
    out->config_strings = there(ops, arg, slot, PLAN_PART_CONFIG_STRINGS);
    out->function = there(ops, arg, slot, PLAN_PART_FUNCTION);
    out->link = there(ops, arg, slot, PLAN_PART_LINK);
    out->usb_function = there(ops, arg, slot, PLAN_PART_USB_FUNCTION);
    out->usb_link = there(ops, arg, slot, PLAN_PART_USB_LINK);
    plan_path(slot, PLAN_PART_UDC, path);
    out->bound = ops->read(arg, path, udc, sizeof udc) == 0 && udc[0] != '\0';
    return 0;
}

static bool nothing(const struct plan_seen *seen)
{
    return !seen->gadget && !seen->connected;
}

/* A controller, as it says of itself. */
struct controller {
    unsigned n;
    char name[PLAN_TEXT_MAX];
    char busy[PLAN_TEXT_MAX]; /* the gadget it runs, or "" */
};

static int look_at(const struct gadget_ops *ops, void *arg, unsigned n, struct controller *c)
{
    c->n = n;
    return ops->controller(arg, n, c->name, sizeof c->name, c->busy, sizeof c->busy);
}

/*
 * 0; -EBUSY when another program's gadget is on it; -ENOSPC, and one sentence, when it is free and
 * refuses ours; or -errno. Kernels before 5.19 say why it refuses, later ones always say EBUSY
 * (drivers/usb/gadget/udc/core.c, usb_gadget_register_driver_owner).
 */
static int bind_one(const struct gadget_ops *ops, void *arg, const char *path, struct controller *c,
                    char *reason, size_t room)
{
    int r = ops->write(arg, path, c->name);

    if (r == 0)
        return ops->bound(arg, c->name);
    if (r == -EBUSY && look_at(ops, arg, c->n, c) == 0 && c->busy[0])
        return r;
    snprintf(reason, room,
             "USB device controller %s refuses the drive (%s): it has too few endpoints, perhaps.",
             c->name, strerror(-r));
    return -ENOSPC;
}

/*
 * A controller that says it is free may be taken by another program before we have it, and one that
 * says it is busy may be let go: so a busy one is left out only while a free one can be had.
 */
static int bind_any(const struct gadget_ops *ops, void *arg, const char *path, char *reason,
                    size_t room)
{
    char taken[2 * PLAN_TEXT_MAX + 16] = "";
    struct controller c;
    int r = -ENODEV;

    for (unsigned n = 0; n < CONTROLLERS_MAX && look_at(ops, arg, n, &c) == 0; n++) {
        int one = c.busy[0] ? -EBUSY : bind_one(ops, arg, path, &c, reason, room);

        if (one == 0)
            return 0;
        if (one == -EBUSY)
            snprintf(taken, sizeof taken, "%s runs %s", c.name, c.busy);
        if (one != -EBUSY || r == -ENODEV)
            r = one;
    }
    if (r == -EBUSY)
        snprintf(reason, room,
                 "Every USB device controller is in use (%s): remove that gadget, or let the slot "
                 "name another controller.",
                 taken);
    else if (r == -ENODEV)
        snprintf(reason, room, "%s", no_controller);
    return r;
}

static int bind_named(const struct gadget_ops *ops, void *arg, const struct plan_step *step,
                      char *reason, size_t room)
{
    struct controller c;
    int r;

    for (unsigned n = 0; n < CONTROLLERS_MAX && look_at(ops, arg, n, &c) == 0; n++) {
        if (strcmp(c.name, step->text) != 0)
            continue;
        r = bind_one(ops, arg, step->path, &c, reason, room);
        if (r == -EBUSY)
            snprintf(reason, room,
                     "USB device controller %s is in use by %s: remove that gadget, or let the "
                     "slot name another controller.",
                     c.name, c.busy);
        return r;
    }
    snprintf(reason, room,
             "There is no USB device controller %s: put a name from /sys/class/udc, or auto, in "
             "the slot's configuration.",
             step->text);
    return -ENODEV;
}

static int step_deed(const struct gadget_ops *ops, void *arg, const struct plan_step *step)
{
    switch (step->deed) {
    case PLAN_MAKE_DIR:
        return ops->make_dir(arg, step->path);
    case PLAN_REMOVE_DIR:
        return ops->remove_dir(arg, step->path);
    case PLAN_WRITE:
        return ops->write(arg, step->path, step->text);
    case PLAN_LINK:
        return ops->link(arg, step->text, step->path);
    case PLAN_UNLINK:
        return ops->unlink(arg, step->path);
    case PLAN_ENDPOINTS:
        return ops->endpoints(arg, step->text, step->functions);
    case PLAN_SEAL:
        return ops->seal(arg);
    case PLAN_DISCONNECT:
        return ops->disconnect(arg);
    case PLAN_BIND:
        break;
    }
    return -EINVAL;
}

static const char *deed_words(enum plan_deed deed)
{
    switch (deed) {
    case PLAN_MAKE_DIR:
        return "make the directory";
    case PLAN_REMOVE_DIR:
        return "remove the directory";
    case PLAN_WRITE:
        return "write";
    case PLAN_LINK:
        return "make the link";
    case PLAN_UNLINK:
        return "remove the link";
    case PLAN_ENDPOINTS:
        return "open the endpoints of";
    case PLAN_SEAL:
        return "set up the nbd device behind";
    case PLAN_DISCONNECT:
        return "disconnect the nbd device behind";
    case PLAN_BIND:
        return "bind";
    }
    return "do";
}

static int step_run(const struct gadget_ops *ops, void *arg, const struct plan_step *step,
                    char *reason, size_t room)
{
    int r;

    reason[0] = '\0';
    if (step->deed == PLAN_BIND)
        return step->text[0] ? bind_named(ops, arg, step, reason, room)
                             : bind_any(ops, arg, step->path, reason, room);
    r = step_deed(ops, arg, step);
    if (r == -ENOENT && step->optional)
        return 0;
    if (r == -ENOENT && step->deed == PLAN_MAKE_DIR)
        snprintf(reason, room,
                 "The kernel cannot make the USB gadget's %s: it lacks %s; load or build it.",
                 step->path, step->text);
    else if (r == -EOPNOTSUPP && step->deed == PLAN_ENDPOINTS)
        snprintf(reason, room,
                 "The kernel's FunctionFS is missing or older than Linux 5.2: build it, or give "
                 "the slot export = kernel.");
    else if (r < 0)
        snprintf(reason, room, "Cannot %s usb_gadget/%s: %s.", deed_words(step->deed), step->path,
                 strerror(-r));
    return r;
}

int gadget_up(const struct gadget_ops *ops, void *arg, const struct plan_wanted *wanted,
              char *reason, size_t room)
{
    struct plan plan;
    int r;

    plan_up(wanted, &plan);
    for (size_t i = 0; i < plan.count; i++) {
        r = step_run(ops, arg, &plan.steps[i], reason, room);
        if (r < 0)
            return r;
    }
    return 0;
}

int gadget_down(const struct gadget_ops *ops, void *arg, unsigned slot, bool link_alive,
                char *reason, size_t room)
{
    struct plan_seen seen;
    struct plan plan;
    char why[256];
    int first = gadget_look(ops, arg, slot, &seen);

    reason[0] = '\0';
    if (first < 0) {
        snprintf(reason, room, "Cannot look for the drive of slot %u: %s.", slot, strerror(-first));
        return first;
    }
    plan_down(slot, &seen, link_alive, &plan);
    for (size_t i = 0; i < plan.count; i++) {
        int r = step_run(ops, arg, &plan.steps[i], why, sizeof why);

        if (r < 0 && first == 0) {
            first = r;
            snprintf(reason, room, "%s", why);
        }
    }
    /* What counts is what stands, not who removed it: parts may go by themselves meanwhile. */
    if (first < 0 && gadget_look(ops, arg, slot, &seen) == 0 && nothing(&seen)) {
        reason[0] = '\0';
        return 0;
    }
    return first;
}
