/* SPDX-License-Identifier: Apache-2.0 */
/* `platterd --check`: what this machine can do with this configuration, and what to do about the
 * rest. */
#ifndef PLATTER_DAEMON_CHECK_H
#define PLATTER_DAEMON_CHECK_H

#include <stdio.h>

struct config;

/* Prints lines to stdout. 0 when every slot can offer a drive, else 1: a program's exit status. */
int check_run(const struct config *config);

/* The same for a kernel of this release whose /sys, /proc and /lib stand below `root`. */
int check_report(const struct config *config, const char *root, const char *release, FILE *out);

#endif
