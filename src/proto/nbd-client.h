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

#include "proto/nbd-held.h"
#include "proto/nbd-inflight.h"
#include "proto/nbd.h"

/* The most it has to say at once: the flags and an option. */
#define NBD_CLIENT_SAY_MAX 64

enum nbd_client_event_kind {
    NBD_CLIENT_NOTHING, /* all bytes are consumed, nothing to do */
    NBD_CLIENT_SAY,     /* send these bytes */
    NBD_CLIENT_READY,   /* the handshake is over; see `offer` */
    NBD_CLIENT_EXTENT,  /* a part of this BLOCK_STATUS request's answer has come */
    NBD_CLIENT_DONE,    /* this request has been answered */
};

struct nbd_client_event {
    enum nbd_client_event_kind kind;
    uint8_t say[NBD_CLIENT_SAY_MAX];
    size_t say_length;
    unsigned slot;   /* EXTENT, DONE: as nbd_client_ask() returned it; after DONE it is free,
                        but for nbd_client_keep() */
    int error;       /* DONE: 0 or -errno */
    uint32_t holes;  /* DONE: bytes the server said are zero, without sending them */
    uint32_t copied; /* DONE: bytes copied into the asker's memory */
    /*
     * EXTENT, and DONE which may bring the last one with it: the next run of a BLOCK_STATUS
     * request's range. The first begins at the request's offset, each other where the one before
     * ended; the last may reach beyond the range, but not beyond the image. Length 0: none.
     */
    struct nbd_extent extent;
};

/* What is asked. */
struct nbd_ask {
    uint16_t type;  /* NBD_CMD_READ, _WRITE, _FLUSH, _TRIM, _WRITE_ZEROES or _BLOCK_STATUS */
    uint16_t flags; /* NBD_CMD_FLAG_FUA of what writes, NBD_CMD_FLAG_NO_HOLE of WRITE_ZEROES */
    /*
     * Whole blocks of `blocks.minimum`; a READ or WRITE up to `blocks.maximum`, the others as long
     * as the image. A FLUSH's are 0.
     */
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
    bool extents; /* it answers BLOCK_STATUS, of "base:allocation" */
};

enum nbd_client_phase {
    NBD_CLIENT_HELLO,
    NBD_CLIENT_STRUCTURED, /* asked for structured replies */
    NBD_CLIENT_META,       /* asked for "base:allocation" */
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
    bool wants_structured;
    uint16_t hello_flags;
    bool got_export;
    bool got_blocks;
    uint32_t context; /* of `extents`: how the server numbers it */
    unsigned info_count;
    bool in_reply; /* an option reply's header is read, its data are due */
    struct nbd_option_reply reply;

    struct nbd_inflight_table table;
    struct nbd_inflight *slot; /* whose chunk or data is arriving */
    struct nbd_chunk chunk;    /* of that slot; for a simple reply as if it were the only chunk */
    bool in_chunk;   /* the header is read, the payload (a read's data: its head) is due */
    bool in_extents; /* in_chunk, and the payload's head is read: `extents_left` are due */
    uint32_t extents_left;
    const struct part *part; /* where a read's next byte goes: this part ... */
    uint32_t part_at;        /* ... from this byte of it on */
    uint32_t data_left;      /* bytes of the read's data (this chunk's) still to come */

    struct nbd_held held;
};

/* `structured`: whether to ask for structured replies, and with them for what is zero. */
void nbd_client_init(struct nbd_client *c, bool structured);

/*
 * Takes in bytes up to the first event. Returns how many were consumed, more than 0 for any length
 * above 0, or -EPROTO: the machine has failed for good, `reason` says why, and no event is set.
 */
ssize_t nbd_client_feed(struct nbd_client *c, const uint8_t *bytes, size_t length,
                        struct nbd_client_event *event);

/*
 * Returns the slot the request lives in until DONE, with its bytes for the server in `out`; -EAGAIN
 * when NBD_INFLIGHT_MAX are asked already; -EINVAL when it is not what the server offers (past the
 * end, not whole blocks, longer than it takes, a command or a flag it does not know); -ENOTCONN
 * outside of transmission. A WRITE's data, `length` bytes, are to be sent right after its bytes.
 */
int nbd_client_ask(struct nbd_client *c, const struct nbd_ask *ask, uint8_t out[NBD_REQUEST_SIZE]);

/* On DONE: the slot is not used again while it is kept. */
void nbd_client_keep(struct nbd_client *c, unsigned slot, bool kept);

/*
 * The words that end the session properly from where it stands: NBD_CMD_DISC, NBD_OPT_ABORT, or
 * none. Returns their length. "Termination of the session during option haggling", "Terminating the
 * transmission phase".
 */
size_t nbd_client_goodbye(struct nbd_client *c, uint8_t out[NBD_REQUEST_SIZE]);

#endif
