/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An export with the hook around it: "start" once the export has started, and only when that went
 * well is it said to have started; "stop" before it is stopped.
 */
#ifndef PLATTER_NBD_PROXY_HOOKED_H
#define PLATTER_NBD_PROXY_HOOKED_H

#include "export/export.h"

/* Takes `take_inner` over when it succeeds. The strings must outlive it. 0 or -errno. */
int hooked_new(struct loop *loop, struct export *take_inner, const char *hook_path,
               const char *name, struct export **out);

#endif
