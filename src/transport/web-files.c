/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See web-files.h. The tree is walked once, with descriptors and O_NOFOLLOW all the way down, so
 * neither a link nor a race can lead out of it. Sums are bounded: a wrong directory (somebody's
 * home) is refused instead of eaten.
 */
#include "transport/web-files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/list.h"
#include "base/log.h"

#define FILES_MAX 256
#define BYTES_MAX (16u * 1024 * 1024)
#define DEPTH_MAX 8

struct entry {
    struct list link;
    struct web_file file;
    char *path; /* from the page's root, beginning with '/' */
    unsigned char *bytes;
    char etag[24];
};

struct web_files {
    struct list entries;
    unsigned count;
    size_t bytes;
};

static const struct {
    const char *ending, *type;
} types[] = {
    {".html", "text/html; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".ico", "image/x-icon"},
    {".json", "application/json"},
    {".map", "application/json"},
    {".txt", "text/plain; charset=utf-8"},
};

static const char *type_of(const char *path)
{
    const char *ending = strrchr(path, '.');

    for (size_t i = 0; ending && i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(ending, types[i].ending) == 0)
            return types[i].type;
    }
    return "application/octet-stream";
}

/* FNV-1a: it tells versions of a file apart; it keeps no secret. */
static uint64_t hash(const unsigned char *bytes, size_t length)
{
    uint64_t value = 0xcbf29ce484222325u;

    for (size_t i = 0; i < length; i++)
        value = (value ^ bytes[i]) * 0x100000001b3u;
    return value;
}

static int read_bytes(int fd, unsigned char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t got = read(fd, bytes, length);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            return -EIO; /* it shrank while it was read */
        bytes += got;
        length -= (size_t)got;
    }
    return 0;
}

/* Takes `path` over. */
static int add_file(struct web_files *files, int fd, size_t length, char *path)
{
    struct entry *e = calloc(1, sizeof *e);
    int r;

    if (!e) {
        free(path);
        return -ENOMEM;
    }
    list_append(&files->entries, &e->link);
    e->path = path;
    e->bytes = malloc(length ? length : 1);
    if (!e->bytes)
        return -ENOMEM;
    r = read_bytes(fd, e->bytes, length);
    if (r < 0)
        return r;
    snprintf(e->etag, sizeof e->etag, "\"%016" PRIx64 "\"", hash(e->bytes, length));
    e->file = (struct web_file){
        .type = type_of(path), .etag = e->etag, .bytes = e->bytes, .length = length};
    files->count++;
    files->bytes += length;
    return 0;
}

static int walk(struct web_files *files, int take_fd, const char *prefix, unsigned depth);

static int walk_entry(struct web_files *files, int dir_fd, const char *prefix, const char *name,
                      unsigned depth)
{
    cleanup_fd int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    char *path, quoted[128];
    struct stat st;
    int r;

    if (fd < 0 && errno == ELOOP) {
        log_warn("the page's file %s/%s is a symbolic link and is left out; copy it instead",
                 prefix, log_quote(name, quoted, sizeof quoted));
        return 0;
    }
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return 0;
    if (asprintf(&path, "%s/%s", prefix, name) < 0)
        return -ENOMEM;
    if (S_ISDIR(st.st_mode)) {
        r = depth < DEPTH_MAX ? walk(files, take_fd(&fd), path, depth + 1) : -ELOOP;
        free(path);
        return r;
    }
    if (files->count == FILES_MAX || (uint64_t)st.st_size > BYTES_MAX - files->bytes) {
        free(path);
        return -EFBIG;
    }
    return add_file(files, fd, (size_t)st.st_size, path);
}

static int walk(struct web_files *files, int take_fd, const char *prefix, unsigned depth)
{
    DIR *dir = fdopendir(take_fd);
    struct dirent *entry;
    int r = 0;

    if (!dir) {
        r = -errno;
        close(take_fd);
        return r;
    }
    while (r == 0 && (errno = 0, entry = readdir(dir))) {
        if (entry->d_name[0] != '.')
            r = walk_entry(files, dirfd(dir), prefix, entry->d_name, depth);
    }
    if (r == 0 && errno != 0)
        r = -errno;
    closedir(dir);
    return r;
}

int web_files_read(const char *directory, struct web_files **out, char *error, size_t room)
{
    struct web_files *files = calloc(1, sizeof *files);
    int fd, r = -ENOMEM;

    if (files) {
        list_init(&files->entries);
        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = fd < 0 ? -errno : walk(files, fd, "", 0);
    }
    if (r < 0) {
        snprintf(error, room,
                 "the page's files in %s cannot be read: %s; install them there or name their "
                 "directory with page = in the configuration.",
                 directory, strerror(-r));
        web_files_free(files);
        return r;
    }
    if (!web_files_find(files, "/")) {
        snprintf(error, room,
                 "there is no index.html in %s; build the page or name its directory with page = "
                 "in the configuration.",
                 directory);
        web_files_free(files);
        return -ENOENT;
    }
    *out = files;
    return 0;
}

void web_files_free(struct web_files *files)
{
    struct list *link;

    if (!files)
        return;
    while ((link = list_take_first(&files->entries))) {
        struct entry *e = list_entry(link, struct entry, link);

        free(e->path);
        free(e->bytes);
        free(e);
    }
    free(files);
}

const struct web_file *web_files_find(const struct web_files *files, const char *path)
{
    size_t length = strlen(path);
    bool directory = length > 0 && path[length - 1] == '/';

    list_for_each (it, &files->entries) {
        struct entry *e = list_entry(it, struct entry, link);

        if (strncmp(e->path, path, length) != 0)
            continue;
        if (strcmp(e->path + length, directory ? "index.html" : "") == 0)
            return &e->file;
    }
    return NULL;
}
