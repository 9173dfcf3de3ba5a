/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The edge between the privileged process and everybody else. Nothing passes it but a whole,
 * well-formed message with at most one descriptor, and that one end of a socketpair or a memfd.
 */
#include "priv/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "priv/packet.h"

#define BACKLOG      8
#define INHERITED_FD 3 /* sd_listen_fds(3) */

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

/* The socket that whoever started this process listens on for it; -ENOENT when there is none. */
static int inherited(void)
{
    const char *pid = getenv("LISTEN_PID");
    const char *count = getenv("LISTEN_FDS");
    int type = 0, listens = 0;
    socklen_t length = sizeof type;

    if (!pid || !count || strcmp(count, "1") != 0 || strtol(pid, NULL, 10) != (long)getpid())
        return -ENOENT;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    if (getsockopt(INHERITED_FD, SOL_SOCKET, SO_TYPE, &type, &length) < 0 ||
        getsockopt(INHERITED_FD, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) < 0)
        return -errno;
    if (type != SOCK_SEQPACKET || !listens)
        return -EPROTOTYPE;
    if (fcntl(INHERITED_FD, F_SETFD, FD_CLOEXEC) < 0 ||
        fcntl(INHERITED_FD, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    return INHERITED_FD;
}

int listener_open(const char *path, uid_t user)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int given = inherited();
    cleanup_fd int fd = -1;
    mode_t mask;
    int r;

    if (given != -ENOENT)
        return given;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
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

/*
 * The helper keeps it without ever looking into it, so all that matters is that closing it cannot
 * wait for anybody: memory of the kernel's own, which only a memfd can be sealed as, and no file of
 * a file system that somebody serves.
 */
static bool fits_journal(int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);

    return seals >= 0 && (seals & F_SEAL_SHRINK);
}

static bool fits(const struct privmsg *m, int fd)
{
    return m->type == PRIVMSG_USB_ATTACH ? fits_journal(fd) : fits_nbd(fd);
}

int listener_receive(int fd, struct privmsg *out, int *out_fd)
{
    struct packet packet;
    int r = packet_receive(fd, &packet);

    if (r < 0)
        return r;
    if (packet.fd_count > 1 || (packet.fd_count == 1 && !fits(&packet.m, packet.fds[0]))) {
        packet_close(&packet);
        return -EBADMSG;
    }
    *out = packet.m;
    *out_fd = packet.fd_count == 1 ? packet.fds[0] : -1;
    return 0;
}
