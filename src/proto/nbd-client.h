/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An NBD client as a pure machine: bytes of the server in, events and bytes for the server out. It
 * has no stream, no clock and no memory but its own struct, and it believes nothing: whatever a
 * hostile server sends ends in a lawful event or in a failure with a reason for people.
 *
 * How it is driven: pass every byte that arrives to nbd_client_feed(), which stops after each event
 * for its driver to act on, until all are consumed. When the far end's words are ready, `READY`
 * comes once; from then on nbd_client_ask() asks, and each request ends with one `DONE`.
 *
 * A read's bytes are decoded straight into the asker's memory as they arrive, holes as zeroes; that
 * memory may lie in several parts. It is written only from inside nbd_client_feed(), and never
 * after its `DONE`.
 */
#ifndef PLATTER_PROTO_NBD_CLIENT_H
#define PLATTER_PROTO_NBD_CLIENT_H

#include "proto/nbd-inflight.h"
#include "proto/nbd.h"

/* The most it has to say at once: the flags and an option. */
#define NBD_CLIENT_SAY_MAX 64

/* The longest structure it reads as a whole: one with a string and some fixed fields around it. */
#define NBD_CLIENT_HELD_MAX (NBD_STRING_MAX + 64)

enum nbd_client_event_kind {
    NBD_CLIENT_NOTHING, /* all bytes are consumed, nothing to do */
    NBD_CLIENT_SAY,     /* send these bytes */
    NBD_CLIENT_READY,   /* the handshake is over; see `offer` */
    NBD_CLIENT_DONE,    /* this request has been answered */
};

struct nbd_client_event {
    enum nbd_client_event_kind kind;
    uint8_t say[NBD_CLIENT_SAY_MAX];
    size_t say_length;
    unsigned slot;   /* DONE: as nbd_client_ask() returned it, free again now */
    int error;       /* DONE: 0 or -errno */
    uint32_t holes;  /* DONE: bytes the server said are zero, without sending them */
    uint32_t copied; /* DONE: bytes copied into the asker's memory */
};

/* What is asked. */
struct nbd_ask {
    uint16_t type; /* NBD_CMD_READ or NBD_CMD_FLUSH, whose offset and length are 0 */
    uint64_t offset;
    uint32_t length;
    /* A read's destination, together `length` bytes; the array is kept until DONE, too. */
    const struct part *parts;
};

/* What the server has said of itself, once READY. */
struct nbd_client_offer {
    struct nbd_export export;     /* size: 1 to INT64_MAX */
    struct nbd_block_size blocks; /* 1, 4096, 0xffffffff when it did not say */
    bool go;                      /* it knows NBD_OPT_GO, the mark of a modern server */
    bool structured;
};

enum nbd_client_phase {
    NBD_CLIENT_HELLO,
    NBD_CLIENT_STRUCTURED, /* asked for structured replies */
    NBD_CLIENT_GO,         /* asked to go */
    NBD_CLIENT_EXPORT,     /* asked by EXPORT_NAME */
    NBD_CLIENT_TRANSMIT,
    NBD_CLIENT_FAILED,
};

struct nbd_client {
    enum nbd_client_phase phase;
    struct nbd_client_offer offer;
    const char *reason; /* FAILED: one phrase for people, about "the far end" */
    bool refused;       /* FAILED: it kept the protocol, but its medium cannot be used */

    /* Everything below is the machine's own. */
    uint16_t hello_flags;
    bool got_export;
    bool got_blocks;
    unsigned info_count;
    bool in_reply; /* an option reply's header is read, its data are due */
    struct nbd_option_reply reply;

    struct nbd_inflight_table table;
    struct nbd_inflight *slot; /* whose chunk or data is arriving */
    struct nbd_chunk chunk;    /* of that slot; for a simple reply as if it were the only chunk */
    bool in_chunk;           /* the header is read, the payload (a read's data: its head) is due */
    const struct part *part; /* where a read's next byte goes: this part ... */
    uint32_t part_at;        /* ... from this byte of it on */
    uint32_t data_left;      /* bytes of the read's data (this chunk's) still to come */

    uint8_t held[NBD_CLIENT_HELD_MAX]; /* the beginning of a structure that is not whole yet */
    size_t held_length;
};

void nbd_client_init(struct nbd_client *c);

/*
 * Takes in bytes up to the first event. Returns how many were consumed, more than 0 for any length
 * above 0, or -EPROTO: the machine has failed for good, `reason` says why, and no event is set.
 */
ssize_t nbd_client_feed(struct nbd_client *c, const uint8_t *bytes, size_t length,
                        struct nbd_client_event *event);

/*
 * Returns the slot the request lives in until DONE, with its bytes for the server in `out`; -EAGAIN
 * when NBD_INFLIGHT_MAX are asked already; -EINVAL when it is not what the server offers (past the
 * end, not whole blocks, longer than it takes); -ENOTCONN outside of transmission.
 */
int nbd_client_ask(struct nbd_client *c, const struct nbd_ask *ask, uint8_t out[NBD_REQUEST_SIZE]);

/*
 * The words that end the session properly from where it stands: NBD_CMD_DISC, NBD_OPT_ABORT, or
 * none. Returns their length. "Termination of the session during option haggling", "Terminating the
 * transmission phase".
 */
size_t nbd_client_goodbye(struct nbd_client *c, uint8_t out[NBD_REQUEST_SIZE]);

#endif
