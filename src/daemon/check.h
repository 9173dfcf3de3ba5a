/* SPDX-License-Identifier: Apache-2.0 */
/* `platterd --check`: what this machine can do with this configuration, and what to do about the
 * rest. */
#ifndef PLATTER_DAEMON_CHECK_H
#define PLATTER_DAEMON_CHECK_H

struct config;

/* Prints lines to stdout. 0 when a drive can be offered, else 1: a program's exit status. */
int check_run(const struct config *config);

#endif
