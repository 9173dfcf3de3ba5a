/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flock(2) on files that only root can reach. They are never removed: who removed one could let two
 * processes hold what has the same name.
 */
#include "nbd-proxy/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

#include "base/cleanup.h"

int lock_take(const char *path)
{
    cleanup_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return -errno;
    return take_fd(&fd);
}
