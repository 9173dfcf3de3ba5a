/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole reads and writes of small files. Holds nothing open between calls. Any of these may block
 * on a configfs attribute; on sysfs they do not.
 */
#include "base/sysfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

int sysfile_read(const char *path, char *out, size_t room)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got;

    if (fd < 0)
        return -errno;
    got = read(fd, out, room - 1);
    if (got < 0)
        return -errno;
    out[got] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return 0;
}

int sysfile_write(const char *path, const char *text)
{
    cleanup_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
    size_t length = strlen(text);
    ssize_t put;

    if (fd < 0)
        return -errno;
    put = write(fd, text, length);
    if (put < 0)
        return -errno;
    return (size_t)put == length ? 0 : -EIO;
}

static int not_dots(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

int sysfile_entry(const char *directory, unsigned n, char *out, size_t room)
{
    struct dirent **names;
    int count = scandir(directory, &names, not_dots, alphasort);
    int r = -ENOENT;

    if (count < 0)
        return -ENOENT;
    if (n < (unsigned)count && strlen(names[n]->d_name) < room) {
        memcpy(out, names[n]->d_name, strlen(names[n]->d_name) + 1);
        r = 0;
    }
    while (count > 0)
        free(names[--count]);
    free(names);
    return r;
}
