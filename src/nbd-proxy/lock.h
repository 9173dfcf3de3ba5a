/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks between the processes of one configuration: files that whoever holds them has open.
 */
#ifndef PLATTER_NBD_PROXY_LOCK_H
#define PLATTER_NBD_PROXY_LOCK_H

/* Makes the file if need be, and locks it. Its descriptor, whose last duplicate holds the lock, in
 * children too; -EWOULDBLOCK when another has it; or -errno. */
int lock_take(const char *path);

#endif
