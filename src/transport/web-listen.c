/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets of our own, so that a bad address gets a sentence with the reason in it, port 0
 * can be told, and accepting can pause when there are connections enough; libwebsockets adopts what
 * is accepted.
 *
 * When the system is short of descriptors or memory, what waits stays in the kernel's queue, and
 * the socket stays readable: so the listener rests for a while instead of trying again at once.
 *
 * Sizes of socket buffers are left to the kernel, which widens them as the line needs it; a size
 * that is set stops that.
 */
#include "transport/web-listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/loop.h"

#define BACKLOG 16
/* How many are accepted before other work gets its turn. */
#define ACCEPTS_A_TURN 8
#define REST_MS        1000

struct web_listener {
    int fd;
    struct loop_fd *watch;
    void (*accepted)(void *arg, int take_fd);
    void *arg;
    struct loop_timer *rest;
    bool wanted;
    bool resting;
    bool complained; /* since it last accepted one */
};

union address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

static socklen_t address_of(const struct web_listen *where, union address *out)
{
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, where->host, &out->four.sin_addr) == 1) {
        out->four.sin_family = AF_INET;
        out->four.sin_port = htons(where->port);
        return sizeof out->four;
    }
    if (inet_pton(AF_INET6, where->host, &out->six.sin6_addr) == 1) {
        out->six.sin6_family = AF_INET6;
        out->six.sin6_port = htons(where->port);
        return sizeof out->six;
    }
    return 0;
}

static void listener_watch(struct web_listener *l)
{
    loop_fd_set(l->watch, l->wanted && !l->resting ? LOOP_READ : 0);
}

static void listener_rested(void *arg)
{
    struct web_listener *l = arg;

    l->resting = false;
    listener_watch(l);
}

/* Every other error is of the one connection, which is gone with it. */
static void listener_failed(struct web_listener *l, int error)
{
    if (error != EMFILE && error != ENFILE && error != ENOBUFS && error != ENOMEM)
        return;
    if (!l->complained)
        log_warn("the page's server cannot take a connection: %s; trying again every second",
                 strerror(error));
    l->complained = true;
    l->resting = true;
    listener_watch(l);
    loop_timer_set(l->rest, REST_MS);
}

static void listener_ready(void *arg, unsigned events)
{
    struct web_listener *l = arg;
    int on = 1;

    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN && l->wanted; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0) {
            listener_failed(l, errno);
            return;
        }
        l->complained = false;
        /* Requests are small and waited for: none is held back to be sent with the next. */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        l->accepted(l->arg, fd);
    }
}

/* The socket, bound and listening, or -errno. */
static int listener_socket(const union address *address, socklen_t length)
{
    cleanup_fd int fd =
        socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;

    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        return -errno;
    /* [::] and 0.0.0.0 are two addresses, each said for itself. */
    if (address->any.sa_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0)
        return -errno;
    if (bind(fd, &address->any, length) < 0 || listen(fd, BACKLOG) < 0)
        return -errno;
    return take_fd(&fd);
}

static void listener_log(int fd, const struct web_listen *where)
{
    union address bound;
    socklen_t length = sizeof bound;
    unsigned port = where->port;

    memset(&bound, 0, sizeof bound);
    if (getsockname(fd, &bound.any, &length) == 0)
        port = ntohs(bound.any.sa_family == AF_INET6 ? bound.six.sin6_port : bound.four.sin_port);
    log_info(strchr(where->host, ':') ? "the page is at http://[%s]:%u/"
                                      : "the page is at http://%s:%u/",
             where->host, port);
}

int web_listener_new(struct loop *loop, const struct web_listen *where,
                     void (*accepted)(void *arg, int take_fd), void *arg, struct web_listener **out,
                     char *error, size_t room)
{
    struct web_listener *l = calloc(1, sizeof *l);
    union address address;
    socklen_t length = address_of(where, &address);
    int r = -ENOMEM;

    if (l) {
        l->accepted = accepted;
        l->arg = arg;
        l->wanted = true;
        l->fd = r = length > 0 ? listener_socket(&address, length) : -EINVAL;
        if (r >= 0)
            r = loop_timer_new(loop, listener_rested, l, &l->rest);
        if (r >= 0)
            r = loop_fd_new(loop, l->fd, LOOP_READ, listener_ready, l, &l->watch);
    }
    if (r < 0) {
        snprintf(error, room,
                 "cannot listen on %s port %u: %s; change listen in the configuration%s.",
                 where->host, where->port, strerror(-r),
                 r == -EADDRINUSE ? " or stop the program that is there" : "");
        web_listener_free(l);
        return r;
    }
    listener_log(l->fd, where);
    *out = l;
    return 0;
}

void web_listener_want(struct web_listener *l, bool on)
{
    l->wanted = on;
    listener_watch(l);
}

void web_listener_free(struct web_listener *l)
{
    if (!l)
        return;
    loop_timer_free(l->rest);
    loop_fd_free(l->watch);
    if (l->fd >= 0)
        close(l->fd);
    free(l);
}
