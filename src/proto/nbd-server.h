/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An NBD server as a pure machine, for one image: bytes of the client in, events and bytes for the
 * client out. It negotiates, judges every request, and answers by itself whatever needs no work;
 * its driver answers the rest, with the heads made here.
 *
 * How it is driven: send nbd_server_greet()'s bytes, then pass every byte that arrives to
 * nbd_server_feed(), which stops after each event for its driver to act on.
 *
 * A WRITE's bytes are copied from the stream into the driver's memory, in as many stretches as the
 * driver likes: on WRITE, and again on each WRITTEN that leaves `payload_left` above 0, it calls
 * nbd_server_receive() or nbd_server_discard() before it feeds on.
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
    NBD_SERVER_REQUEST,    /* answer this READ, FLUSH, TRIM or WRITE_ZEROES */
    NBD_SERVER_WRITE,      /* answer this WRITE; its bytes come now */
    NBD_SERVER_WRITTEN,    /* the memory that nbd_server_receive() was given is full */
    NBD_SERVER_DISCONNECT, /* the client has left in order */
};

struct nbd_server_event {
    enum nbd_server_event_kind kind;
    uint8_t say[NBD_SERVER_SAY_MAX];
    size_t say_length;
    /*
     * REQUEST, WRITE: lies within the image and is at least 1 byte long (a FLUSH has no range); a
     * READ or WRITE is at most NBD_PAYLOAD_MAX long. Of its flags, those are left that it is to be
     * done with: DF of a READ, FUA of what writes, NO_HOLE of WRITE_ZEROES.
     */
    struct nbd_request request;
};

struct nbd_server_config {
    uint64_t size;      /* the image's, bytes */
    uint32_t whole_max; /* the longest read that the driver answers in one chunk, at least 65536;
                           longer ones that ask for it (NBD_CMD_FLAG_DF) are refused */
    bool writable;      /* it may be written to, trimmed and zeroed, and FUA is kept */
    bool transmit;      /* there is no handshake, and replies are simple ones: how the kernel's nbd
                           driver begins */
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
    uint32_t payload_left; /* bytes of the present WRITE for which there is no memory yet */
    const char *reason;    /* of a failure: one phrase, about "the client" */

    /* Everything below is the machine's own. */
    struct nbd_server_config config;
    uint32_t client_flags;
    bool in_option; /* an option's header is read, its data are due */
    struct nbd_option option;
    uint8_t *into; /* where a WRITE's next byte goes */
    uint32_t into_left;
    uint32_t drain_left;     /* bytes to pass over, before a refusal is said if there is one */
    uint32_t option_refusal; /* in OPTIONS: the error reply's type */
    int write_refusal;       /* in TRANSMIT: -errno; 0: nothing is said */
    struct nbd_request request;
    struct nbd_held held;
};

void nbd_server_init(struct nbd_server *s, const struct nbd_server_config *config);

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
 * Where the next `length` bytes of a WRITE go: 1 to `payload_left`, which is that much less from
 * now on. The memory is written from inside nbd_server_feed() until WRITTEN, or until nobody feeds.
 */
void nbd_server_receive(struct nbd_server *s, uint8_t *data, uint32_t length);
/* Nobody wants the bytes that are left of a WRITE: they are passed over. The driver still answers.
 */
void nbd_server_discard(struct nbd_server *s);

/*
 * The heads of replies; each returns its length. A read is answered, with structured replies, by
 * chunks of data and holes and then by `done`; with simple ones by `done` and all its bytes after
 * it. Anything else is answered by `done`. All are answered by `error` (a -errno) instead; a read
 * after chunks have gone out, too, but not after a simple `done`.
 */
size_t nbd_server_put_done(const struct nbd_server *s, uint64_t cookie, uint8_t *out);
size_t nbd_server_put_error(const struct nbd_server *s, uint64_t cookie, int error, uint8_t *out);
/* Structured only; the data follow. `last`: no chunk and no `done` comes after it. */
size_t nbd_server_put_data(uint64_t cookie, uint64_t offset, uint32_t length, bool last,
                           uint8_t *out);
size_t nbd_server_put_hole(uint64_t cookie, uint64_t offset, uint32_t length, bool last,
                           uint8_t *out);

#endif
