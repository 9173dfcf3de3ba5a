/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page's files, read into memory when the program starts. So a request's path is only ever
 * compared with names that are known, never given to the file system; no request waits for a disk;
 * and a program that may no longer open files can still serve its page.
 */
#ifndef PLATTER_TRANSPORT_WEB_FILES_H
#define PLATTER_TRANSPORT_WEB_FILES_H

#include <stddef.h>

struct web_files;

struct web_file {
    const char *type; /* for Content-Type */
    const char *etag; /* quoted, as the header wants it */
    const unsigned char *bytes;
    size_t length;
};

/*
 * Reads every plain file below `directory`, without following symbolic links or entering names that
 * begin with a dot. 0, or -errno and one sentence in `error`.
 */
int web_files_read(const char *directory, struct web_files **out, char *error, size_t room);
void web_files_free(struct web_files *files);

/* The file of this path, which begins with '/'; a directory's is its index.html. NULL: none. */
const struct web_file *web_files_find(const struct web_files *files, const char *path);

#endif
