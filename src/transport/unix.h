/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A struct stream over any connected stream socket (a unix socket, or one end of a socketpair), or
 * over two descriptors of which one is read and one written.
 */
#ifndef PLATTER_TRANSPORT_UNIX_H
#define PLATTER_TRANSPORT_UNIX_H

#include "base/stream.h"

struct loop;

/*
 * Takes the descriptor over, also when it fails, and makes it non-blocking. 0 or -errno.
 *
 * An end of file is an orderly close. The reasons of stream_close() go nowhere, since a socket has
 * no place for them. What the far end is too slow to take before stream_free() is dropped.
 */
int stream_unix_new(struct loop *loop, int take_fd, struct stream **out);

/*
 * The same over two descriptors, which are not the same one: pipes or stream sockets each. That
 * nobody reads the one that is written to (EPIPE) is an orderly close, as the end of the other one
 * is. The program must ignore SIGPIPE.
 */
int stream_pipes_new(struct loop *loop, int take_in, int take_out, struct stream **out);

#endif
