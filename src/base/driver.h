/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether this machine's kernel has a driver, read from /sys and /lib/modules without any
 * privilege; nothing is loaded. `root` is put before every path: "" for this machine, a directory
 * for a test.
 */
#ifndef PLATTER_BASE_DRIVER_H
#define PLATTER_BASE_DRIVER_H

enum driver {
    DRIVER_THERE,    /* loaded, or built in */
    DRIVER_LOADABLE, /* a module that is not loaded */
    DRIVER_MISSING,
};

/* `release` as uname(2) says it; the module's name as modprobe takes it, with underscores. */
enum driver driver_find(const char *root, const char *release, const char *module);
/* The same of the kernel that runs. */
enum driver driver_find_here(const char *module);

#endif
