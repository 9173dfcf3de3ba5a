/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stand-in's child: a program with pipes on its stdin and stdout and its stderr on /dev/null.
 *
 * What goes to it waits in a buffer of CHILD_UNREAD_MAX bytes, which is bmcweb's. The owner keeps
 * `argv` and must not free the child from within a callback.
 */
#ifndef PLATTER_OPENBMC_CHILD_H
#define PLATTER_OPENBMC_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"

/* Four replies to reads of 128 KiB, each with its header of 16 bytes. */
#define CHILD_UNREAD_MAX 524352u
/* The most that is read from it at once: what a pipe holds. */
#define CHILD_OUTPUT_MAX 65536u

struct child;

struct child_events {
    /* The bytes are the child's only for the call. */
    void (*output)(void *owner, const uint8_t *bytes, size_t length);
    /* It has closed its stdout; nothing follows. */
    void (*over)(void *owner);
};

/* How it ended. */
struct child_end {
    int status;            /* its exit code, or -1 when a signal ended it */
    int signal;            /* that one, or 0 */
    uint64_t microseconds; /* from SIGTERM to its end */
};

/* Starts the program argv[0], which is looked for as a shell does. 0 or -errno. */
int child_start(struct loop *loop, char *const *argv, const struct child_events *events,
                void *owner, struct child **out);
/* Bytes that were sent to it and that it has not read: in the buffer and in the pipe. */
size_t child_unread(const struct child *child);
/* Sends to it. -ENOBUFS, and nothing is sent, when more than CHILD_UNREAD_MAX would be unread. A
 * child that has closed its stdin is no error: what is sent to it is dropped. */
int child_send(struct child *child, const uint8_t *bytes, size_t length);
/* Whether output() is to be called from now on; at first it is. */
void child_want_output(struct child *child, bool wanted);
/* SIGTERM, and then waits for its end for as long as that takes, as bmcweb does: the loop stands
 * still meanwhile. Frees it. */
void child_end(struct child *child, struct child_end *out);

#endif
