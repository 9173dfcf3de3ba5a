/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines for the operator, on stderr, one sentence each: what, where, what to do.
 *
 * Under systemd (JOURNAL_STREAM is set) each line carries its priority as "<3>" and so on (see
 * sd-daemon(3)). With PLATTER_SYSLOG in the environment each also goes to syslog(3), as it does
 * for programs whose stderr goes nowhere, and for the children that they start. Never pass a secret
 * or an unescaped byte from the network: log_quote() makes such text safe to print. Pure rooms
 * never log.
 */
#ifndef PLATTER_BASE_LOG_H
#define PLATTER_BASE_LOG_H

#include <stddef.h>

/* The program's name before every line; `name` must outlive the program. */
void log_init(const char *name);

__attribute__((format(printf, 1, 2))) void log_error(const char *format, ...);
__attribute__((format(printf, 1, 2))) void log_warn(const char *format, ...);
__attribute__((format(printf, 1, 2))) void log_info(const char *format, ...);
/* Printed only when PLATTER_DEBUG is set in the environment. */
__attribute__((format(printf, 1, 2))) void log_debug(const char *format, ...);

/* Writes `text` into `out` with every byte outside printable ASCII as '?', cut to fit; returns
 * `out`. */
const char *log_quote(const char *text, char *out, size_t room);

#endif
