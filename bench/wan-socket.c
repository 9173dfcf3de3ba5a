// SPDX-License-Identifier: Apache-2.0
/*
 * Sockets of the line. The receive buffers are small, for what the kernel takes in before the line
 * does is a queue that no real line has: the sender must feel when the line is full.
 */
#include "wan-socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

#define RECEIVE_BUFFER (128 << 10) /* the kernel doubles it for its own use */
#define BACKLOG        16

int address_parse(const char *text, struct address *out)
{
    const char *colon = strrchr(text, ':');
    char host[INET_ADDRSTRLEN];
    char *end;

    memset(out, 0, sizeof *out);
    if (strncmp(text, "unix:", 5) == 0) {
        struct sockaddr_un *un = (struct sockaddr_un *)&out->socket;

        if (strlen(text + 5) >= sizeof un->sun_path)
            return -EINVAL;
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, text + 5, strlen(text + 5));
        out->length = sizeof *un;
        return 0;
    }

    struct sockaddr_in *in = (struct sockaddr_in *)&out->socket;

    if (!colon || (size_t)(colon - text) >= sizeof host)
        return -EINVAL;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';

    unsigned long port = strtoul(colon + 1, &end, 10);

    if (end == colon + 1 || *end || port > 65535 || inet_pton(AF_INET, host, &in->sin_addr) != 1)
        return -EINVAL;
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)port);
    out->length = sizeof *in;
    return 0;
}

void address_format(const struct address *address, char *out, size_t room)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)&address->socket;
    char host[INET_ADDRSTRLEN] = "";

    if (address->socket.ss_family == AF_UNIX) {
        snprintf(out, room, "unix:%s", ((const struct sockaddr_un *)&address->socket)->sun_path);
        return;
    }
    inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
    snprintf(out, room, "%s:%u", host, ntohs(in->sin_port));
}

static int socket_new(const struct address *address)
{
    int fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int yes = 1;
    int small = RECEIVE_BUFFER;

    if (fd < 0)
        return -errno;
    if (address->socket.ss_family == AF_INET) {
        /* Two sockets on one port: address_keep()'s and the one that listens. */
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        /* Before the connection is made, for its window depends on it. */
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    }
    return fd;
}

int address_keep(struct address *address)
{
    if (address->socket.ss_family != AF_INET)
        return -ENOENT;

    cleanup_fd int fd = socket_new(address);

    if (fd < 0)
        return fd;
    if (bind(fd, (const struct sockaddr *)&address->socket, address->length) < 0 ||
        getsockname(fd, (struct sockaddr *)&address->socket, &address->length) < 0)
        return -errno;
    return take_fd(&fd);
}

int address_listen(const struct address *address)
{
    cleanup_fd int fd = socket_new(address);

    if (fd < 0)
        return fd;
    if (address->socket.ss_family == AF_UNIX)
        unlink(((const struct sockaddr_un *)&address->socket)->sun_path);
    if (bind(fd, (const struct sockaddr *)&address->socket, address->length) < 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || listen(fd, BACKLOG) < 0)
        return -errno;
    return take_fd(&fd);
}

int address_connect(const struct address *address)
{
    cleanup_fd int fd = socket_new(address);

    if (fd < 0)
        return fd;
    if (connect(fd, (const struct sockaddr *)&address->socket, address->length) < 0)
        return -errno;
    return take_fd(&fd);
}

void socket_tune(int fd)
{
    int yes = 1;

    fcntl(fd, F_SETFL, O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

void socket_reset(int fd)
{
    struct linger at_once = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}
