/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scope-bound release, for functions with more than one way out.
 *
 *     cleanup_fd int fd = open(...);
 *     cleanup_free char *text = strdup(...);
 *     return take_fd(&fd); // keep it: the scope no longer closes it
 */
#ifndef PLATTER_BASE_CLEANUP_H
#define PLATTER_BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_p(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_fd_p(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void cleanup_file_p(FILE **f)
{
    if (*f)
        fclose(*f);
}

#define cleanup_free __attribute__((cleanup(cleanup_free_p)))
#define cleanup_fd   __attribute__((cleanup(cleanup_fd_p)))
#define cleanup_file __attribute__((cleanup(cleanup_file_p)))

static inline int take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

#endif
