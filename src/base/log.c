/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines on stderr, and to the system's log for a program whose stderr nobody reads. Holds one piece
 * of global state, the program's name and who is listening; it is set once, before any other thread
 * or process exists.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>

static const char *program = "platter";
static bool for_journal;
static bool to_syslog;
static bool debug;

void log_init(const char *name)
{
    program = name;
    for_journal = getenv("JOURNAL_STREAM") != NULL;
    to_syslog = getenv("PLATTER_SYSLOG") != NULL;
    debug = getenv("PLATTER_DEBUG") != NULL;
}

__attribute__((format(printf, 2, 0))) static void log_line(int priority, const char *format,
                                                           va_list args)
{
    char text[1024];

    vsnprintf(text, sizeof text, format, args);
    /* One fprintf, so that lines of several processes on one stderr do not mix. */
    if (for_journal)
        fprintf(stderr, "<%d>%s\n", priority, text);
    else
        fprintf(stderr, "%s: %s\n", program, text);
    if (!to_syslog)
        return;
    /* Opened for each line: whoever forks may close every descriptor that it does not know. */
    openlog(program, LOG_PID, LOG_DAEMON);
    syslog(priority, "%s", text);
    closelog();
}

void log_error(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_line(3, format, args);
    va_end(args);
}

void log_warn(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_line(4, format, args);
    va_end(args);
}

void log_info(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_line(6, format, args);
    va_end(args);
}

void log_debug(const char *format, ...)
{
    va_list args;

    if (!debug)
        return;
    va_start(args, format);
    log_line(7, format, args);
    va_end(args);
}

const char *log_quote(const char *text, char *out, size_t room)
{
    size_t n = 0;

    for (; text[n] && n + 1 < room; n++)
        out[n] = (text[n] >= ' ' && text[n] <= '~') ? text[n] : '?';
    if (room > 0)
        out[n] = '\0';
    return out;
}
