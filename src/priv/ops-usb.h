/* SPDX-License-Identifier: Apache-2.0 */
/* FunctionFS: from the name of an instance to the open endpoints of its functions. */
#ifndef PLATTER_PRIV_OPS_USB_H
#define PLATTER_PRIV_OPS_USB_H

#include "proto/privmsg.h"

/*
 * Opens the instance `name`, which configfs has made, writes the descriptors of `functions`
 * functions (1 to PRIVMSG_FUNCTIONS_MAX) and opens, non-blocking, what PRIVMSG_FDS(functions) tells
 * of into `fds`, the caller's to close. 0; -EOPNOTSUPP when the kernel has no FunctionFS, or no
 * fsopen(2) (before 5.2); or -errno. On failure nothing is open.
 */
int ops_usb_open(const char *name, unsigned functions, int fds[PRIVMSG_FDS_MAX]);

#endif
