/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hardware of this machine, read from /sys and /proc without any privilege. `root` is put
 * before every path: "" for this machine, a directory for a test.
 */
#ifndef PLATTER_DAEMON_PROBE_H
#define PLATTER_DAEMON_PROBE_H

#include <stdbool.h>

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
