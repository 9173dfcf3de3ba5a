/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker process does: builds a slot's drive or USB device, gives a drive a new socket,
 * reloads it, takes it away, or cuts its line. Each deed begins by looking at what stands, so it
 * may follow upon any half of another.
 *
 * A drive without a gadget is the nbd device alone. Nobody but us ends it: it is not sealed, for
 * programs open and close it as they like. The record says which of the two it was, since the
 * configuration may have changed, and a gadget of the slot's name may be another helper's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "priv/ops-gadget.h"
#include "priv/ops-nbd.h"
#include "priv/worker.h"

/* Room for other programs that take devices at the same moment. */
#define CONNECT_TRIES 64
/* Seconds by which the device outlives the time for which the helper waits for a new platterd. */
#define DEAD_MARGIN 5

static const struct config_slot *slot_config(const struct worker_job *job)
{
    return &job->config->slots[job->slot];
}

static int connect_one(struct ops_gadget *o, const struct worker_job *job, int fd, unsigned index)
{
    struct nbd_dev_connect how = {
        .index = index,
        .mark = o->mark,
        .fd = fd,
        .size = medium_whole(job->attach.kind, job->attach.size),
        .block_size = medium_sector(job->attach.kind),
        .read_only = job->attach.read_only,
        .dead_seconds = job->restart_grace + DEAD_MARGIN,
    };
    int r;

    /* First the record, then the deed: a helper that dies in between leaves no orphan. */
    o->record.nbd = (int)index;
    o->record.pid = getpid();
    r = ops_gadget_record(o);
    return r < 0 ? r : nbd_dev_connect(&how);
}

static int connect_device(struct ops_gadget *o, const struct worker_job *job, int fd,
                          struct keeper_result *result)
{
    const char *wanted = slot_config(job)->nbd;
    bool any = strncmp(wanted, "nbd", 3) != 0;
    unsigned index = any ? nbd_dev_next_free(0) : (unsigned)strtoul(wanted + 3, NULL, 10);
    int r = -EBUSY;

    for (int i = 0; i < CONNECT_TRIES && r == -EBUSY; i++) {
        r = connect_one(o, job, fd, index);
        if (!any)
            break;
        if (r == -EBUSY)
            index = nbd_dev_next_free(index + 1);
    }
    if (r == -EBUSY && !any)
        snprintf(result->reason, sizeof result->reason,
                 "%s is in use by another program: disconnect it (nbd-client -d /dev/%s) and end "
                 "what has it open, or let the slot say nbd = auto.",
                 wanted, wanted);
    else if (r < 0)
        snprintf(result->reason, sizeof result->reason, "Cannot connect /dev/nbd%u: %s.", index,
                 strerror(-r));
    return r;
}

/* What the configuration says of a USB device: where it is plugged in, and what it is called. */
static void introduce(struct plan_wanted *wanted, const struct worker_job *job)
{
    const struct config_slot *config = slot_config(job);

    if (strcmp(config->udc, "auto") != 0)
        snprintf(wanted->udc, sizeof wanted->udc, "%s", config->udc);
    wanted->vendor_id = config->usb_id.vendor;
    wanted->product_id = config->usb_id.product;
    snprintf(wanted->vendor, sizeof wanted->vendor, "%s", config->vendor);
    snprintf(wanted->product, sizeof wanted->product, "%s", config->product);
    snprintf(wanted->serial, sizeof wanted->serial, "%s", config->serial);
}

static int present(struct ops_gadget *o, const struct worker_job *job, struct keeper_result *result)
{
    struct plan_wanted wanted = {.slot = job->slot,
                                 .carrier = PLAN_MASS_STORAGE,
                                 .kind = job->attach.kind,
                                 .read_only = job->attach.read_only};
    cleanup_fd int held = -1;

    snprintf(wanted.device, sizeof wanted.device, "/dev/nbd%d", o->record.nbd);
    introduce(&wanted, job);
    /* Before anybody opens it, for the readahead counts only for files opened later; and after
     * connecting, which sets the timer to 30 s. */
    nbd_dev_tune((unsigned)o->record.nbd, job->restart_grace > 0);
    if (!slot_config(job)->gadget)
        return 0;
    /*
     * The first open of a device reads from it; done here, it is not done under the gadget's locks.
     * Held until the gadget has it open too: sealed, the device goes when nobody has it open.
     */
    held = open(wanted.device, O_RDONLY | O_CLOEXEC);
    if (held < 0) {
        int r = -errno;

        snprintf(result->reason, sizeof result->reason, "Cannot open %s: %s.", wanted.device,
                 strerror(-r));
        return r;
    }
    return gadget_up(&ops_gadget, o, &wanted, result->reason, sizeof result->reason);
}

/* A device that stands alone. What programs wrote to it goes out first, where it still can. */
static int disconnect_alone(const struct ops_gadget *o, bool link_alive,
                            struct keeper_result *result)
{
    int device = ops_gadget_device(o);
    int r;

    if (device < 0)
        return 0;
    if (link_alive)
        nbd_dev_forget((unsigned)device);
    r = nbd_dev_disconnect((unsigned)device);
    if (r < 0)
        snprintf(result->reason, sizeof result->reason, "Cannot disconnect /dev/nbd%d: %s.", device,
                 strerror(-r));
    return r;
}

/* Leaves nothing of the slot's drive: not in the kernel, not in its device's settings, no record.
 */
static int clear(struct ops_gadget *o, const struct worker_job *job, bool link_alive,
                 struct keeper_result *result)
{
    int r = 0;

    if (o->recorded && o->record.gadget)
        r = gadget_down(&ops_gadget, o, job->slot, link_alive, result->reason,
                        sizeof result->reason);
    else if (o->recorded)
        r = disconnect_alone(o, link_alive, result);
    /* The gadget closes it in a moment; a program, when it likes. */
    if (r == 0 && o->record.nbd >= 0 && o->record.gadget)
        nbd_dev_await_close((unsigned)o->record.nbd, o->mark, o->record.pid);
    if (r == 0 && o->record.nbd >= 0)
        nbd_dev_untune((unsigned)o->record.nbd, o->mark, o->record.pid);
    if (r == 0)
        r = record_remove(o->state_dir, o->slot);
    if (r == 0) {
        o->recorded = false;
        o->record = (struct record){.nbd = -1};
    }
    return r;
}

/* Begins from nothing, and makes the gadget's name this helper's own. */
static int make_room(struct ops_gadget *o, const struct worker_job *job,
                     struct keeper_result *result)
{
    int r = clear(o, job, false, result);

    return r < 0 ? r : ops_gadget_claim(o, result->reason, sizeof result->reason);
}

/* The two programs read the same file, but perhaps not at the same time. */
static bool is_exported_by(const struct worker_job *job, const char *name,
                           struct keeper_result *result)
{
    if (strcmp(slot_config(job)->export_name, name) == 0)
        return true;
    snprintf(result->reason, sizeof result->reason,
             "Slot %u has another export than platterd thinks: give it export = %s, or restart "
             "both programs.",
             job->slot, name);
    return false;
}

static int job_attach(struct ops_gadget *o, const struct worker_job *job, int fd,
                      struct keeper_result *result)
{
    bool gadget = slot_config(job)->gadget;
    int r;

    if (!is_exported_by(job, "kernel", result))
        return -EINVAL;
    r = nbd_dev_load(result->reason, sizeof result->reason);
    if (r == 0 && gadget)
        r = ops_gadget_load("usb_f_mass_storage", result->reason, sizeof result->reason);
    if (r == 0)
        r = gadget ? make_room(o, job, result) : clear(o, job, false, result);
    if (r == 0)
        r = connect_device(o, job, fd, result);
    if (r == 0)
        r = present(o, job, result);
    if (r == 0)
        result->device = (uint32_t)o->record.nbd;
    return r;
}

/* How many slots are drives of the USB device of which this slot is the lowest; 0 if it is not. */
static unsigned drives_of(const struct worker_job *job)
{
    unsigned drives = 0;

    for (unsigned n = 0; n < job->config->slot_count; n++)
        drives += strcmp(job->config->slots[n].export_name, "usb") == 0 &&
                  config_usb_first(job->config, n) == job->slot;
    return drives;
}

static int usb_build(struct ops_gadget *o, const struct worker_job *job, unsigned functions,
                     struct keeper_result *result)
{
    struct plan_wanted wanted = {
        .slot = job->slot, .carrier = PLAN_FUNCTIONFS, .functions = functions};
    int r = make_room(o, job, result);

    introduce(&wanted, job);
    if (r == 0)
        r = gadget_up(&ops_gadget, o, &wanted, result->reason, sizeof result->reason);
    if (r == 0) {
        result->functions = functions;
        return 0;
    }
    while (o->fd_count > 0)
        close(o->fds[--o->fd_count]);
    return r;
}

/*
 * A function for each drive, since much firmware looks at the first logical unit only; or one for
 * all of them, where the controller has no endpoints for more.
 */
static int job_usb_attach(struct ops_gadget *o, const struct worker_job *job,
                          struct keeper_result *result)
{
    unsigned drives = job->attach.drives;
    unsigned functions = drives <= PRIVMSG_FUNCTIONS_MAX ? drives : 1;
    int r;

    if (!is_exported_by(job, "usb", result))
        return -EINVAL;
    if (drives_of(job) != drives) {
        snprintf(result->reason, sizeof result->reason,
                 "The USB device of slot %u has %u drives, not the %u that platterd thinks: "
                 "restart both programs.",
                 job->slot, drives_of(job), drives);
        return -EINVAL;
    }
    r = ops_gadget_load("usb_f_fs", result->reason, sizeof result->reason);
    if (r == 0)
        r = usb_build(o, job, functions, result);
    if (r == -ENOSPC && functions > 1)
        r = usb_build(o, job, 1, result);
    return r;
}

/*
 * The machine may eject at any moment, also in the one between the death of one platterd and the
 * coming of the next, of whom nobody is told then: so it is looked at once the new one is there to
 * be told. A device that has no medium's opener any more is disconnected if it has outlived that.
 */
static int job_adopt(struct ops_gadget *o, const struct worker_job *job, int fd, int old_fd,
                     struct keeper_result *result)
{
    int device = ops_gadget_device(o);
    int r = -ENODEV;

    if (device >= 0)
        r = nbd_dev_reconnect((unsigned)device, o->mark, fd, old_fd);
    if (ops_gadget_is_ejected(o)) {
        snprintf(result->reason, sizeof result->reason,
                 "The machine ejected the drive of slot %u while platterd was away.", job->slot);
        return -ENOMEDIUM;
    }
    if (r < 0)
        snprintf(result->reason, sizeof result->reason,
                 "The drive of slot %u cannot be taken over (%s): begin anew.", job->slot,
                 strerror(-r));
    else
        result->device = (uint32_t)device;
    return r;
}

/* What has failed is forgotten in any case; the rest only where the machine has nothing open. */
static int job_reload(struct ops_gadget *o, const struct worker_job *job,
                      struct keeper_result *result)
{
    int device = ops_gadget_device(o);
    int r;

    if (device < 0)
        return -ENODEV;
    r = nbd_dev_forget((unsigned)device);
    if (r == 0 && o->record.gadget)
        r = ops_gadget_reopen(o, (unsigned)device);
    /* A tray that is locked stays as it is; of one that was opened platterd hears on its socket. */
    if (r == -EBUSY || r == -ENOMEDIUM)
        r = 0;
    if (r < 0)
        snprintf(result->reason, sizeof result->reason, "Cannot reload slot %u: %s.", job->slot,
                 strerror(-r));
    return r;
}

static int job_cut(struct ops_gadget *o)
{
    int device = ops_gadget_device(o);

    return device < 0 ? 0 : nbd_dev_disconnect((unsigned)device);
}

void job_run(const struct worker_job *job, int fd, int old_fd, struct keeper_result *result,
             int fds[PRIVMSG_FDS_MAX])
{
    struct ops_gadget o;

    ops_gadget_init(&o, job->state_dir, job->slot);
    switch (job->job) {
    case KEEPER_ATTACH:
        result->error = job->attach.type == PRIVMSG_USB_ATTACH ? job_usb_attach(&o, job, result)
                                                               : job_attach(&o, job, fd, result);
        break;
    case KEEPER_ADOPT:
        result->error = job_adopt(&o, job, fd, old_fd, result);
        break;
    case KEEPER_RELOAD:
        result->error = job_reload(&o, job, result);
        break;
    case KEEPER_TEARDOWN_ALIVE:
        result->error = clear(&o, job, true, result);
        break;
    case KEEPER_TEARDOWN_DEAD:
        result->error = clear(&o, job, false, result);
        break;
    case KEEPER_CUT:
        result->error = job_cut(&o);
        break;
    }
    if (result->error < 0 && result->reason[0] == '\0')
        snprintf(result->reason, sizeof result->reason, "Slot %u: %s.", job->slot,
                 strerror(-result->error));
    if (result->error == 0)
        result->reason[0] = '\0';
    memcpy(fds, o.fds, o.fd_count * sizeof fds[0]);
}
