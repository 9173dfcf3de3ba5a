/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one place where descriptors are taken off a socket. What always holds: a packet that is not
 * whole, well-formed and complete with its descriptors leaves none of them open, whatever the other
 * end put into its control messages.
 */
#include "priv/packet.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Exactly as many as fit: the kernel drops any further ones, and says so with MSG_CTRUNC. */
union control {
    struct cmsghdr align;
    char room[CMSG_SPACE(PRIVMSG_FDS_MAX * sizeof(int))];
};

int packet_send(int socket, const struct privmsg *m, const int *fds, unsigned count)
{
    uint8_t bytes[PRIVMSG_SIZE_MAX];
    union control control = {0};
    struct iovec piece = {.iov_base = bytes, .iov_len = privmsg_encode(m, bytes)};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};

    if (piece.iov_len == 0 || count > PRIVMSG_FDS_MAX)
        return -EINVAL;
    if (count > 0) {
        struct cmsghdr *c;

        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    }
    return sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* All of them are taken over here, so that all of them can be closed. */
static void collect_fds(struct msghdr *message, struct packet *out)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
            /* The control room has no place for more than these. */
            if (out->fd_count < PRIVMSG_FDS_MAX)
                memcpy(&out->fds[out->fd_count++], (char *)c + at, sizeof(int));
        }
    }
}

int packet_receive(int socket, struct packet *out)
{
    uint8_t bytes[PRIVMSG_SIZE_MAX];
    union control control;
    struct iovec piece = {.iov_base = bytes, .iov_len = sizeof bytes};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.room};
    ssize_t got = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    int r;

    out->fd_count = 0;
    if (got < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    collect_fds(&message, out);
    if (got == 0)
        r = -ECONNRESET;
    else if (message.msg_flags & MSG_TRUNC)
        r = -EBADMSG;
    else if (message.msg_flags & MSG_CTRUNC)
        r = -EMFILE;
    else
        r = privmsg_decode(bytes, (size_t)got, &out->m);
    if (r < 0)
        packet_close(out);
    return r;
}

void packet_close(struct packet *p)
{
    while (p->fd_count > 0)
        close(p->fds[--p->fd_count]);
}
