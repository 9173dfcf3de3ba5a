/* SPDX-License-Identifier: Apache-2.0 */
/* The helper's socket: who is let in, and what counts as a message. */
#ifndef PLATTER_PRIV_LISTENER_H
#define PLATTER_PRIV_LISTENER_H

#include <sys/types.h>

#include "proto/privmsg.h"

/*
 * A listening SEQPACKET socket at `path`, in the place of any dead one; `user` may connect. Where
 * whoever started this process hands one over (sd_listen_fds(3): one, with LISTEN_FDS), it is that
 * one, and `path` is not looked at. The descriptor; -EADDRINUSE when somebody serves there, -EEXIST
 * when it is no socket; -EPROTOTYPE when what was handed over is none to listen on; or -errno.
 */
int listener_open(const char *path, uid_t user);

/*
 * The next connection, if it is root's or `user`'s by the kernel's word. The descriptor; -EPERM for
 * anybody else (logged); or -errno.
 */
int listener_accept(int listener, uid_t user);

/*
 * One message and the descriptor that came with it, or -1. 0; -EAGAIN for nothing yet; -ECONNRESET
 * at the end; -EPROTONOSUPPORT, -EBADMSG or -EMFILE for what is no message of ours. On failure no
 * descriptor is left over.
 */
int listener_receive(int fd, struct privmsg *out, int *out_fd);

#endif
