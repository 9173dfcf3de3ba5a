/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The edge between the privileged process and everybody else. Nothing passes it but a whole,
 * well-formed message with at most one descriptor, and that one end of a socketpair.
 */
#include "priv/listener.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

#define BACKLOG 8

/* Takes a dead socket out of the way, and nothing else: neither a file nor what somebody serves. */
static int make_room(const struct sockaddr_un *at)
{
    cleanup_fd int fd = -1;
    struct stat st;

    if (lstat(at->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)at, sizeof *at) == 0 || errno != ECONNREFUSED)
        return -EADDRINUSE;
    return unlink(at->sun_path) < 0 ? -errno : 0;
}

int listener_open(const char *path, uid_t user)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t mask;
    int r;

    if (fd < 0)
        return -errno;
    if (strlen(path) >= sizeof at.sun_path)
        return -ENAMETOOLONG;
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    r = make_room(&at);
    if (r < 0)
        return r;
    /* Peer credentials decide; the mode only keeps honest people out. Set by the mask, and the
     * owner without following links: a chmod(2) here would act on whatever has this name by then.
     */
    mask = umask(0177);
    r = bind(fd, (struct sockaddr *)&at, sizeof at) < 0 ? -errno : 0;
    umask(mask);
    if (r < 0)
        return r;
    if (geteuid() == 0 && lchown(at.sun_path, user, (gid_t)-1) < 0)
        return -errno;
    if (listen(fd, BACKLOG) < 0)
        return -errno;
    return take_fd(&fd);
}

int listener_accept(int listener, uid_t user)
{
    cleanup_fd int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct ucred who = {.uid = (uid_t)-1};
    socklen_t length = sizeof who;

    if (fd < 0)
        return -errno;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length) < 0 ||
        (who.uid != 0 && who.uid != user)) {
        log_warn("refused a connection of user %u: only root and user %u may speak here",
                 (unsigned)who.uid, (unsigned)user);
        return -EPERM;
    }
    return take_fd(&fd);
}

/* The first descriptor that came along, or -1; any further ones are closed and counted. */
static int first_fd(struct msghdr *message, unsigned *further)
{
    int kept = -1;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
            int fd;

            memcpy(&fd, (char *)c + at, sizeof fd);
            if (kept < 0) {
                kept = fd;
                continue;
            }
            close(fd);
            (*further)++;
        }
    }
    return kept;
}

/*
 * The kernel will read and write this with root's credentials for as long as the drive stands. So
 * it must be one end of a socketpair, which no peer with a name is: not a connection to a service
 * that would take the kernel's word for root's.
 */
static bool fits_nbd(int fd)
{
    struct sockaddr_un peer;
    int type = 0;
    int domain = 0;
    socklen_t length = sizeof type;

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type != SOCK_STREAM)
        return false;
    length = sizeof domain;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0 || domain != AF_UNIX)
        return false;
    length = sizeof peer;
    return getpeername(fd, (struct sockaddr *)&peer, &length) == 0 && length == sizeof(sa_family_t);
}

int listener_receive(int fd, struct privmsg *out, int *out_fd)
{
    uint8_t bytes[PRIVMSG_SIZE_MAX];
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct iovec piece = {.iov_base = bytes, .iov_len = sizeof bytes};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    cleanup_fd int came = -1;
    unsigned further = 0;
    int r;

    if (got < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    came = first_fd(&message, &further);
    if (got == 0)
        return -ECONNRESET;
    if (further > 0 || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        return -EBADMSG;
    r = privmsg_decode(bytes, (size_t)got, out);
    if (r < 0)
        return r;
    if (came >= 0 && !fits_nbd(came))
        return -EBADMSG;
    *out_fd = take_fd(&came);
    return 0;
}
