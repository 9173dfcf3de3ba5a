/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One message with the descriptors that travel beside it: what platterd, the helper and its workers
 * send each other over SEQPACKET sockets.
 */
#ifndef PLATTER_PRIV_PACKET_H
#define PLATTER_PRIV_PACKET_H

#include "proto/privmsg.h"

struct packet {
    struct privmsg m;
    int fds[PRIVMSG_FDS_MAX]; /* close-on-exec; whoever received the packet owns them */
    unsigned fd_count;
};

/*
 * Sends duplicates of `count` (at most PRIVMSG_FDS_MAX) descriptors, which stay the caller's. Never
 * blocks. 0; -EINVAL for a message that cannot be said; or -errno.
 */
int packet_send(int socket, const struct privmsg *m, const int *fds, unsigned count);

/*
 * 0; -EAGAIN for nothing yet; -ECONNRESET at the end; -EMFILE when descriptors were lost on the way
 * for want of room; -EPROTONOSUPPORT or -EBADMSG for what is no message of ours. On failure no
 * descriptor is left over. Never blocks.
 */
int packet_receive(int socket, struct packet *out);

/* Closes what came along and is still there. */
void packet_close(struct packet *p);

#endif
