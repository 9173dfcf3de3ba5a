/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FunctionFS is a file system, but nobody needs to find it: it is mounted on no directory, its
 * files are opened through the descriptor of the mount, and the mount goes with that descriptor.
 * So there is no path to the endpoints for anybody else, no sandbox that could hide it, and nothing
 * that a helper which was killed could leave mounted. The instance itself lives for as long as one
 * of its files is open anywhere.
 */
#include "priv/ops-usb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "gadget/descriptors.h"

_Static_assert(PRIVMSG_FUNCTIONS_MAX == DESCRIPTORS_FUNCTIONS_MAX,
               "as many functions can be asked for as can be described");

/* The mount's descriptor, or -errno. */
static int mount_nowhere(const char *name)
{
    cleanup_fd int fs = fsopen("functionfs", FSOPEN_CLOEXEC);
    int mount;

    if (fs < 0)
        return errno == ENODEV || errno == ENOSYS ? -EOPNOTSUPP : -errno;
    if (fsconfig(fs, FSCONFIG_SET_STRING, "source", name, 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    mount = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    return mount < 0 ? -errno : mount;
}

static int write_whole(int fd, const void *data, size_t length)
{
    ssize_t put = write(fd, data, length);

    if (put < 0)
        return -errno;
    return (size_t)put == length ? 0 : -EIO;
}

/* From the second write on, the instance has its endpoints. */
static int describe(int ep0, unsigned functions)
{
    uint8_t descriptors[DESCRIPTORS_ROOM];
    uint8_t strings[DESCRIPTORS_STRINGS_ROOM];
    int r = write_whole(ep0, descriptors, descriptors_write(functions, descriptors));

    return r < 0 ? r : write_whole(ep0, strings, descriptors_write_strings(strings));
}

int ops_usb_open(const char *name, unsigned functions, int fds[PRIVMSG_FDS_MAX])
{
    cleanup_fd int mount = mount_nowhere(name);
    unsigned count = 0;
    int r = mount < 0 ? mount : 0;

    while (r == 0 && count < PRIVMSG_FDS(functions)) {
        char file[16];

        snprintf(file, sizeof file, "ep%u", count);
        fds[count] = openat(mount, file, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fds[count] < 0)
            r = -errno;
        else if (count++ == 0)
            r = describe(fds[0], functions);
    }
    while (r < 0 && count > 0)
        close(fds[--count]);
    return r;
}
