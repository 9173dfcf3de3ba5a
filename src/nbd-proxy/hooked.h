/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An export with the hook around it: "start" once the export has started, and only when that went
 * well is it said to have started; "stop" before it is stopped.
 */
#ifndef PLATTER_NBD_PROXY_HOOKED_H
#define PLATTER_NBD_PROXY_HOOKED_H

#include "export/export.h"

/* The strings must outlive the export. */
struct hooked_config {
    const char *hook;                 /* its path */
    const char *name;                 /* what it is told */
    const char *lock;                 /* a file that is locked while it runs */
    unsigned start_limit, stop_limit; /* milliseconds that it has */
};

/* Takes `take_inner` over when it succeeds. 0 or -errno. */
int hooked_new(struct loop *loop, struct export *take_inner, const struct hooked_config *config,
               struct export **out);

#endif
