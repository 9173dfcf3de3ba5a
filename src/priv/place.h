/* SPDX-License-Identifier: Apache-2.0 */
/* Where a helper stands, and for whom: its directories, made where they are missing, and its user.
 * What is wrong is said in the log, with what to do about it. */
#ifndef PLATTER_PRIV_PLACE_H
#define PLATTER_PRIV_PLACE_H

#include <sys/types.h>

/* The user of this name or number. 0, or -ENOENT (logged). */
int place_find_user(const char *name, uid_t *out);

/* Makes the state directory if it must, and takes it: only one helper may stand in it. The lock's
 * descriptor, to be kept for life, or -errno (logged). */
int place_take(const char *state_dir);

/* Makes the directory that the socket is to be in. 0 or -errno (logged). */
int place_take_parent(const char *socket_path);

#endif
