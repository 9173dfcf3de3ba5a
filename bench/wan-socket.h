/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two kinds of address that the line joins: `HOST:PORT` (a number each, as 127.0.0.1:10809;
 * port 0: any that is free) and `unix:PATH`.
 */
#ifndef PLATTER_BENCH_WAN_SOCKET_H
#define PLATTER_BENCH_WAN_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

struct address {
    struct sockaddr_storage socket;
    socklen_t length;
};

/* 0, or -EINVAL when it is neither kind. */
int address_parse(const char *text, struct address *out);
void address_format(const struct address *address, char *out, size_t room);

/*
 * Keeps a TCP port from everybody else without listening on it, and puts its number into `address`
 * if that was 0. The descriptor, -errno, or -ENOENT for a unix socket, which needs no keeping.
 */
int address_keep(struct address *address);
/* The non-blocking descriptor, or -errno. A unix socket's file is made anew. */
int address_listen(const struct address *address);
/* Waits for the connection: both ends are on this machine. The descriptor, or -errno. */
int address_connect(const struct address *address);
/* What every descriptor of a connection has: non-blocking, nothing held back, small buffers. */
void socket_tune(int fd);
/* Closes it so that the other side reads an error, not an end of file (TCP). */
void socket_reset(int fd);

#endif
