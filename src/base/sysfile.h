/* SPDX-License-Identifier: Apache-2.0 */
/* The one-line files by which the kernel is asked and told: sysfs, configfs, and small records. */
#ifndef PLATTER_BASE_SYSFILE_H
#define PLATTER_BASE_SYSFILE_H

#include <stddef.h>

/* The first line without its end, cut to fit. 0 or -errno. */
int sysfile_read(const char *path, char *out, size_t room);
/* One write(2) of the whole text: configfs takes it as one. 0 or -errno. */
int sysfile_write(const char *path, const char *text);
/* The n-th name of a directory in alphabetical order, "." and ".." left out. 0, or -ENOENT past the
 * end. */
int sysfile_entry(const char *directory, unsigned n, char *out, size_t room);

#endif
