/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel operations by path. All paths begin with the plan's names, which are made from a slot
 * number alone; nothing that came over a socket is ever part of one.
 */
#include "priv/ops-gadget.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/sysfile.h"
#include "priv/module.h"
#include "priv/ops-usb.h"

#define GADGETS OPS_GADGET_CONFIGFS "/usb_gadget"
/* Every kernel has it, all helpers of a machine see the same one, and none but root may open it. */
#define COMMON_LOCK "/sys/bus/platform/uevent"
#define PATH_ROOM   256

static const char *full(const char *path, char out[PATH_ROOM])
{
    snprintf(out, PATH_ROOM, GADGETS "/%s", path);
    return out;
}

static int make_dir(void *arg, const char *path)
{
    char at[PATH_ROOM];

    (void)arg;
    return mkdir(full(path, at), 0755) < 0 ? -errno : 0;
}

static int remove_dir(void *arg, const char *path)
{
    char at[PATH_ROOM];

    (void)arg;
    return rmdir(full(path, at)) < 0 ? -errno : 0;
}

static int write_attribute(void *arg, const char *path, const char *text)
{
    char at[PATH_ROOM];

    (void)arg;
    return sysfile_write(full(path, at), text);
}

static int read_attribute(void *arg, const char *path, char *out, size_t room)
{
    char at[PATH_ROOM];

    (void)arg;
    return sysfile_read(full(path, at), out, room);
}

static int make_link(void *arg, const char *target, const char *path)
{
    char to[PATH_ROOM];
    char at[PATH_ROOM];

    (void)arg;
    return symlink(full(target, to), full(path, at)) < 0 ? -errno : 0;
}

static int remove_link(void *arg, const char *path)
{
    char at[PATH_ROOM];

    (void)arg;
    return unlink(full(path, at)) < 0 ? -errno : 0;
}

static int exists(void *arg, const char *path)
{
    struct stat st;
    char at[PATH_ROOM];

    (void)arg;
    return lstat(full(path, at), &st) < 0 ? -errno : 0;
}

static int controller(void *arg, unsigned n, char *name, size_t room, char *busy, size_t busy_room)
{
    char path[PATH_ROOM];
    int r = sysfile_entry(OPS_GADGET_UDC, n, name, room);

    (void)arg;
    if (r < 0)
        return r;
    busy[0] = '\0';
    snprintf(path, sizeof path, OPS_GADGET_UDC "/%.128s/function", name);
    sysfile_read(path, busy, busy_room);
    return 0;
}

int ops_gadget_device(const struct ops_gadget *o)
{
    if (!o->recorded)
        return -1;
    if (o->record.nbd < 0)
        return nbd_dev_find(o->mark);
    return nbd_dev_is_ours((unsigned)o->record.nbd, o->mark, o->record.pid) ? o->record.nbd : -1;
}

static int endpoints(void *arg, const char *name, unsigned functions)
{
    struct ops_gadget *o = arg;
    int r = ops_usb_open(name, functions, o->fds);

    o->fd_count = r < 0 ? 0 : PRIVMSG_FDS(functions);
    return r;
}

static int seal(void *arg)
{
    struct ops_gadget *o = arg;

    return nbd_dev_seal((unsigned)o->record.nbd, o->mark);
}

static int disconnect(void *arg)
{
    struct ops_gadget *o = arg;
    int device = ops_gadget_device(o);

    return device < 0 ? 0 : nbd_dev_disconnect((unsigned)device);
}

static int connected(void *arg)
{
    struct ops_gadget *o = arg;

    return ops_gadget_device(o) >= 0;
}

static int bound(void *arg, const char *name)
{
    struct ops_gadget *o = arg;

    snprintf(o->record.udc, sizeof o->record.udc, "%s", name);
    return ops_gadget_record(o);
}

const struct gadget_ops ops_gadget = {
    .make_dir = make_dir,
    .remove_dir = remove_dir,
    .write = write_attribute,
    .read = read_attribute,
    .link = make_link,
    .unlink = remove_link,
    .exists = exists,
    .controller = controller,
    .endpoints = endpoints,
    .seal = seal,
    .disconnect = disconnect,
    .connected = connected,
    .bound = bound,
};

void ops_gadget_init(struct ops_gadget *o, const char *state_dir, unsigned slot)
{
    *o = (struct ops_gadget){.state_dir = state_dir, .slot = slot};
    plan_name(slot, o->name);
    snprintf(o->mark, sizeof o->mark, "%s@%s", o->name, state_dir);
    o->recorded = record_read(state_dir, slot, &o->record) != -ENOENT;
}

int ops_gadget_record(struct ops_gadget *o)
{
    int r = record_write(o->state_dir, o->slot, &o->record);

    o->recorded = o->recorded || r == 0;
    return r;
}

/*
 * Gadgets' names are the same for every helper of this machine, locks and records are each
 * state directory's own: what stands without a record is another helper's, whose drive may be in
 * use. Two helpers that look in the same moment are kept apart by the lock. It is not on the
 * directory that both build in, for that can be opened, and so locked for ever, by anybody.
 */
int ops_gadget_claim(struct ops_gadget *o, char *reason, size_t room)
{
    cleanup_fd int lock = open(COMMON_LOCK, O_WRONLY | O_CLOEXEC);
    int r;

    if (lock < 0 || flock(lock, LOCK_EX) < 0)
        return -errno;
    if (exists(o, o->name) == 0) {
        snprintf(reason, room,
                 "The USB gadget %s is not this helper's: stop the other platter-helper, or "
                 "remove " GADGETS "/%s.",
                 o->name, o->name);
        return -EBUSY;
    }
    o->record = (struct record){.nbd = -1, .pid = getpid(), .gadget = true};
    r = ops_gadget_record(o);
    return r < 0 ? r : make_dir(o, o->name);
}

static const char *lun_path(const struct ops_gadget *o, const char *attribute, char out[PATH_ROOM])
{
    char lun[PLAN_PATH_MAX];

    plan_path(o->slot, PLAN_PART_LUN, lun);
    snprintf(out, PATH_ROOM, GADGETS "/%s/%s", lun, attribute);
    return out;
}

bool ops_gadget_is_ejected(const struct ops_gadget *o)
{
    char path[PATH_ROOM];
    char file[PLAN_TEXT_MAX];

    return o->record.gadget && sysfile_read(lun_path(o, "file", path), file, sizeof file) == 0 &&
           file[0] == '\0';
}

/*
 * One write, in which the gadget opens the device anew and only then closes it: so the device
 * always has an opener and stays connected. It would also bring back a medium that the machine has
 * just ejected. So the drive is one that cannot be ejected for as long as it takes to look and to
 * write: an eject in these moments is refused to the machine, not lost.
 */
int ops_gadget_reopen(const struct ops_gadget *o, unsigned device)
{
    char path[PATH_ROOM];
    char name[32];
    int r = sysfile_write(lun_path(o, "removable", path), "0");

    snprintf(name, sizeof name, "/dev/nbd%u", device);
    if (r == 0)
        r = ops_gadget_is_ejected(o) ? -ENOMEDIUM : sysfile_write(lun_path(o, "file", path), name);
    sysfile_write(lun_path(o, "removable", path), "1");
    return r;
}

int ops_gadget_load(const char *function, char *reason, size_t room)
{
    char path[PATH_ROOM];

    if (access(GADGETS, F_OK) < 0) {
        module_load("configfs", NULL);
        if (mount("configfs", OPS_GADGET_CONFIGFS, "configfs", MS_NOSUID | MS_NOEXEC | MS_NODEV,
                  NULL) < 0 &&
            errno != EBUSY) {
            snprintf(reason, room, "Cannot mount configfs on " OPS_GADGET_CONFIGFS ": %s.",
                     strerror(errno));
            return -ENODEV;
        }
        module_load("libcomposite", NULL);
    }
    if (access(GADGETS, F_OK) < 0) {
        snprintf(reason, room,
                 "The kernel has no USB gadgets and `modprobe libcomposite` did not bring them: "
                 "install or build the module, or give the slot export = unix.");
        return -ENODEV;
    }
    /* It may be built in, and the kernel asks for it itself too: making the function will tell. */
    snprintf(path, sizeof path, "/sys/module/%s", function);
    if (access(path, F_OK) < 0)
        module_load(function, NULL);
    return 0;
}

bool ops_gadget_stands(const struct ops_gadget *o, bool nbd, char *reason, size_t room)
{
    char path[PATH_ROOM];
    char gadget[PLAN_TEXT_MAX] = "";

    if (nbd && ops_gadget_device(o) < 0) {
        snprintf(reason, room, "The nbd device behind slot %u was disconnected by another program.",
                 o->slot);
        return false;
    }
    if (!o->record.gadget)
        return true;
    snprintf(path, sizeof path, OPS_GADGET_UDC "/%.128s/function", o->record.udc);
    if (sysfile_read(path, gadget, sizeof gadget) < 0 || strcmp(gadget, o->name) != 0) {
        snprintf(reason, room, "The USB gadget of slot %u was removed by another program.",
                 o->slot);
        return false;
    }
    return true;
}
