/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An NBD server as a pure machine, for one read-only image: bytes of the client in, events and
 * bytes for the client out. It negotiates, judges every request, and answers by itself whatever
 * needs no data; its driver answers the rest, with the heads made here.
 *
 * How it is driven: send nbd_server_greet()'s bytes, then pass every byte that arrives to
 * nbd_server_feed(), which stops after each event for its driver to act on.
 */
#ifndef PLATTER_PROTO_NBD_SERVER_H
#define PLATTER_PROTO_NBD_SERVER_H

#include "proto/nbd-held.h"
#include "proto/nbd.h"

/* The most it says at once: the answer to EXPORT_NAME, zeroes included. */
#define NBD_SERVER_SAY_MAX 160
/* The longest head of a reply's data. */
#define NBD_SERVER_HEAD_MAX 32
enum nbd_server_event_kind {
    NBD_SERVER_NOTHING,    /* all bytes are consumed, nothing to do */
    NBD_SERVER_SAY,        /* send these bytes */
    NBD_SERVER_SAY_LAST,   /* send these bytes, then close */
    NBD_SERVER_READ,       /* answer this read: within the image, 1 to NBD_PAYLOAD_MAX bytes */
    NBD_SERVER_FLUSH,      /* answer this flush */
    NBD_SERVER_DISCONNECT, /* the client has left in order */
};

struct nbd_server_event {
    enum nbd_server_event_kind kind;
    uint8_t say[NBD_SERVER_SAY_MAX];
    size_t say_length;
    struct nbd_request request; /* READ, FLUSH */
};

enum nbd_server_phase {
    NBD_SERVER_CLIENT_FLAGS,
    NBD_SERVER_OPTIONS,
    NBD_SERVER_TRANSMIT,
    NBD_SERVER_ENDED,
};

struct nbd_server {
    enum nbd_server_phase phase;
    bool structured;
    const char *reason; /* of a failure: one phrase, about "the client" */

    /* Everything below is the machine's own. */
    uint64_t size;
    uint32_t whole_max;
    uint32_t client_flags;
    bool in_option; /* an option's header is read, its data are due */
    struct nbd_option option;
    uint32_t drain_left;     /* bytes to pass over before `refusal` is said */
    uint32_t option_refusal; /* in OPTIONS: the error reply's type */
    struct nbd_request request;
    struct nbd_held held;
};

/*
 * `size`: the image's, bytes. `whole_max`: the longest read the driver answers in one chunk, at
 * least 65536; longer ones that ask for it (NBD_CMD_FLAG_DF) are refused. `transmit`: there is no
 * handshake, and replies are simple ones: how the kernel's nbd driver begins.
 */
void nbd_server_init(struct nbd_server *s, uint64_t size, uint32_t whole_max, bool transmit);

/* What the server says first; nothing in transmission. */
size_t nbd_server_greet(const struct nbd_server *s, uint8_t out[NBD_HELLO_SIZE]);

/*
 * Takes in bytes up to the first event. Returns how many were consumed, more than 0 for any length
 * above 0, or -EPROTO: the client broke the protocol beyond an answer, `reason` says how, and the
 * line is to be dropped.
 */
ssize_t nbd_server_feed(struct nbd_server *s, const uint8_t *bytes, size_t length,
                        struct nbd_server_event *event);

/*
 * The heads of replies; each returns its length. A read is answered, with structured replies, by
 * chunks of data and holes and then by `done`; with simple ones by `done` and all its bytes after
 * it. A flush is answered by `done`. Either is answered by `error` (a -errno) instead; after chunks
 * have gone out, too, but not after a simple `done`.
 */
size_t nbd_server_put_done(const struct nbd_server *s, uint64_t cookie, uint8_t *out);
size_t nbd_server_put_error(const struct nbd_server *s, uint64_t cookie, int error, uint8_t *out);
/* Structured only; the data follow. `last`: no chunk and no `done` comes after it. */
size_t nbd_server_put_data(uint64_t cookie, uint64_t offset, uint32_t length, bool last,
                           uint8_t *out);
size_t nbd_server_put_hole(uint64_t cookie, uint64_t offset, uint32_t length, bool last,
                           uint8_t *out);

#endif
