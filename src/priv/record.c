/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks and records. The directory belongs to root and nobody else may write there, which the
 * helper makes sure of before anything else, so a record is checked for sense, not for malice. No
 * fsync: after a crash of the machine there is nothing to clean.
 */
#include "priv/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define PATH_ROOM 160

int record_check_directory(const char *directory)
{
    cleanup_fd int fd = open(directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH)))
        return -EPERM;
    return 0;
}

int record_lock(const char *state_dir, unsigned slot)
{
    char path[PATH_ROOM];
    cleanup_fd int fd = -1;

    snprintf(path, sizeof path, "%s/slot-%u.lock", state_dir, slot);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    return take_fd(&fd);
}

int record_write(const char *state_dir, unsigned slot, const struct record *record)
{
    char path[PATH_ROOM];
    char fresh[PATH_ROOM];
    FILE *file;
    int r = 0;

    snprintf(path, sizeof path, "%s/slot-%u.state", state_dir, slot);
    snprintf(fresh, sizeof fresh, "%s/slot-%u.new", state_dir, slot);
    file = fopen(fresh, "we");
    if (!file)
        return -errno;
    if (fprintf(file, "nbd %d\npid %d\ngadget %d\nudc %s\n", record->nbd, (int)record->pid,
                record->gadget, record->udc) < 0)
        r = -EIO;
    if (fclose(file) != 0 && r == 0)
        r = -errno;
    if (r == 0 && rename(fresh, path) < 0)
        r = -errno;
    return r;
}

int record_read(const char *state_dir, unsigned slot, struct record *out)
{
    char path[PATH_ROOM];
    char line[128];
    cleanup_file FILE *file = NULL;
    int pid, gadget;

    *out = (struct record){.nbd = -1, .gadget = true};
    snprintf(path, sizeof path, "%s/slot-%u.state", state_dir, slot);
    file = fopen(path, "re");
    if (!file)
        return -errno;
    if (fscanf(file, "nbd %d\npid %d\ngadget %d\n", &out->nbd, &pid, &gadget) != 3 ||
        out->nbd < -1 || pid < 0 || !fgets(line, sizeof line, file) ||
        strncmp(line, "udc ", 4) != 0) {
        *out = (struct record){.nbd = -1, .gadget = true};
        return -EBADMSG;
    }
    out->pid = (pid_t)pid;
    out->gadget = gadget != 0;
    line[strcspn(line, "\n")] = '\0';
    snprintf(out->udc, sizeof out->udc, "%.*s", (int)sizeof out->udc - 1, line + 4);
    return 0;
}

int record_remove(const char *state_dir, unsigned slot)
{
    char path[PATH_ROOM];

    snprintf(path, sizeof path, "%s/slot-%u.state", state_dir, slot);
    if (unlink(path) < 0 && errno != ENOENT)
        return -errno;
    return 0;
}
