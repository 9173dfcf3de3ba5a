/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this machine's kernel can do, read from /sys and /lib/modules without any privilege. `root`
 * is put before every path: "" for this machine, a directory for a test.
 */
#ifndef PLATTER_DAEMON_PROBE_H
#define PLATTER_DAEMON_PROBE_H

#include <stdbool.h>
#include <stddef.h>

enum probe_driver {
    PROBE_THERE,    /* loaded, or built in */
    PROBE_LOADABLE, /* a module that is not loaded */
    PROBE_MISSING,
};

/* `release` as uname(2) says it; the module's name as modprobe takes it, with underscores. */
enum probe_driver probe_driver(const char *root, const char *release, const char *module);

struct probe_controller {
    char name[64];
    char gadget[96]; /* which gadget it runs; "" when it is free */
    char state[32];  /* of its link to the machine: "configured", "not attached" */
};

/* The n-th USB device controller. 0, or -ENOENT past the last one. */
int probe_controller(const char *root, unsigned n, struct probe_controller *out);

/* The device tree names a Raspberry Pi. */
bool probe_is_raspberry_pi(const char *root);

#endif
