/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories and the lock that keeps a second helper out of this one's state. Both directories are
 * root's own, which is checked before anything in them is believed.
 */
#include "priv/place.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "priv/record.h"

int place_find_user(const char *name, uid_t *out)
{
    const struct passwd *user = getpwnam(name);
    char *end;
    unsigned long number = strtoul(name, &end, 10);

    if (user) {
        *out = user->pw_uid;
        return 0;
    }
    if (name[0] != '\0' && *end == '\0') {
        *out = (uid_t)number;
        return 0;
    }
    log_error("[helper] user: there is no user %s: create it, or name another", name);
    return -ENOENT;
}

/* Makes the directory if it must, and says why it cannot be used, if so. */
static int take_directory(const char *path)
{
    int r = mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;

    if (r == 0)
        r = record_check_directory(path);
    if (r == -EPERM)
        log_error("others than root may write in %s: name a directory of root's own in [helper]",
                  path);
    else if (r < 0)
        log_error("cannot use %s: %s: name another directory in [helper]", path, strerror(-r));
    return r;
}

int place_take(const char *state_dir)
{
    char path[128];
    cleanup_fd int fd = -1;
    int r = take_directory(state_dir);

    if (r < 0)
        return r;
    snprintf(path, sizeof path, "%s/helper.lock", state_dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return take_fd(&fd);
    r = -errno;
    if (r == -EWOULDBLOCK)
        log_error("another platter-helper runs with %s: stop it first", state_dir);
    else
        log_error("cannot lock %s: %s", path, strerror(-r));
    return r;
}

int place_take_parent(const char *socket_path)
{
    char parent[128];
    char *slash;

    snprintf(parent, sizeof parent, "%s", socket_path);
    slash = strrchr(parent, '/');
    if (!slash || slash == parent)
        return 0;
    *slash = '\0';
    return take_directory(parent);
}
