/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NBD protocol on the wire: its numbers, and one encode and one decode for each structure.
 *
 * The specification is doc/proto.md of the NBD project; its section titles are cited in quotes.
 * What a value means, and whether it is lawful at this moment, is for the machines to judge
 * (nbd-client.h, nbd-server.h); here only layouts are known.
 *
 * Every decoder of a message that comes off the stream takes what has arrived so far and returns:
 * less than 0 (-EPROTO): malformed, whatever follows; 0: more is needed; more than 0: the bytes
 * consumed. Decoders of data whose length is known already (an option's data, an info, a chunk's
 * payload) return 0 or -EPROTO. Nothing is written to *out unless the whole was there.
 */
#ifndef PLATTER_PROTO_NBD_H
#define PLATTER_PROTO_NBD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/bytes.h"

/* "Newstyle negotiation", "Oldstyle negotiation". */
#define NBD_MAGIC          0x4e42444d41474943u /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC   0x49484156454f5054u /* "IHAVEOPT" */
#define NBD_OLDSTYLE_MAGIC 0x00420281861253u
#define NBD_REPLY_MAGIC    0x0003e889045565a9u /* of option replies */

/* "Handshake flags" and "Client flags": the same two bits. */
#define NBD_FLAG_FIXED_NEWSTYLE 1u
#define NBD_FLAG_NO_ZEROES      2u

/* "Transmission flags". */
#define NBD_FLAG_HAS_FLAGS         (1u << 0)
#define NBD_FLAG_READ_ONLY         (1u << 1)
#define NBD_FLAG_SEND_FLUSH        (1u << 2)
#define NBD_FLAG_SEND_FUA          (1u << 3)
#define NBD_FLAG_SEND_TRIM         (1u << 5)
#define NBD_FLAG_SEND_WRITE_ZEROES (1u << 6)
#define NBD_FLAG_SEND_DF           (1u << 7)
#define NBD_FLAG_CAN_MULTI_CONN    (1u << 8)

/* "Option types". */
#define NBD_OPT_EXPORT_NAME      1u
#define NBD_OPT_ABORT            2u
#define NBD_OPT_LIST             3u
#define NBD_OPT_INFO             6u
#define NBD_OPT_GO               7u
#define NBD_OPT_STRUCTURED_REPLY 8u
#define NBD_OPT_SET_META_CONTEXT 10u

/* "Option reply types". */
#define NBD_REP_ACK          1u
#define NBD_REP_SERVER       2u
#define NBD_REP_INFO         3u
#define NBD_REP_META_CONTEXT 4u
#define NBD_REP_ERROR        (1u << 31) /* set in every error */
#define NBD_REP_ERR_UNSUP    (NBD_REP_ERROR + 1)
#define NBD_REP_ERR_POLICY   (NBD_REP_ERROR + 2)
#define NBD_REP_ERR_INVALID  (NBD_REP_ERROR + 3)
#define NBD_REP_ERR_PLATFORM (NBD_REP_ERROR + 4)
#define NBD_REP_ERR_TLS_REQD (NBD_REP_ERROR + 5)
#define NBD_REP_ERR_UNKNOWN  (NBD_REP_ERROR + 6)
#define NBD_REP_ERR_SHUTDOWN (NBD_REP_ERROR + 7)
#define NBD_REP_ERR_TOO_BIG  (NBD_REP_ERROR + 9)

#define NBD_INFO_EXPORT     0u
#define NBD_INFO_BLOCK_SIZE 3u

/* "Request message", "Command flags", "Request types". */
#define NBD_REQUEST_MAGIC    0x25609513u
#define NBD_CMD_FLAG_FUA     (1u << 0)
#define NBD_CMD_FLAG_NO_HOLE (1u << 1)
#define NBD_CMD_FLAG_DF      (1u << 2)

#define NBD_CMD_READ         0u
#define NBD_CMD_WRITE        1u
#define NBD_CMD_DISC         2u
#define NBD_CMD_FLUSH        3u
#define NBD_CMD_TRIM         4u
#define NBD_CMD_WRITE_ZEROES 6u
#define NBD_CMD_BLOCK_STATUS 7u

/* "Simple reply message", "Structured reply chunk message", "Structured reply types". */
#define NBD_SIMPLE_REPLY_MAGIC     0x67446698u
#define NBD_STRUCTURED_REPLY_MAGIC 0x668e33efu
#define NBD_REPLY_FLAG_DONE        1u

#define NBD_REPLY_TYPE_NONE         0u
#define NBD_REPLY_TYPE_OFFSET_DATA  1u
#define NBD_REPLY_TYPE_OFFSET_HOLE  2u
#define NBD_REPLY_TYPE_BLOCK_STATUS 5u
#define NBD_REPLY_TYPE_IS_ERROR     (1u << 15) /* set in every error chunk's type */
#define NBD_REPLY_TYPE_ERROR        (NBD_REPLY_TYPE_IS_ERROR + 1)
#define NBD_REPLY_TYPE_ERROR_OFFSET (NBD_REPLY_TYPE_IS_ERROR + 2)

/* "The `base:` metadata namespace", and the flags of its extents. */
#define NBD_BASE_ALLOCATION "base:allocation"
#define NBD_STATE_HOLE      (1u << 0)
#define NBD_STATE_ZERO      (1u << 1)

/* "Error values". */
#define NBD_EPERM     1u
#define NBD_EIO       5u
#define NBD_ENOMEM    12u
#define NBD_EINVAL    22u
#define NBD_ENOSPC    28u
#define NBD_EOVERFLOW 75u
#define NBD_ENOTSUP   95u
#define NBD_ESHUTDOWN 108u

/* Bytes on the wire. */
#define NBD_HELLO_SIZE              18u
#define NBD_CLIENT_FLAGS_SIZE       4u
#define NBD_OPTION_SIZE             16u /* the header of an option; its data follow */
#define NBD_OPTION_REPLY_SIZE       20u /* the header; its data follow */
#define NBD_EXPORT_REPLY_SIZE       10u
#define NBD_EXPORT_ZEROES           124u
#define NBD_INFO_EXPORT_SIZE        12u
#define NBD_INFO_BLOCK_SIZE_SIZE    14u
#define NBD_REQUEST_SIZE            28u
#define NBD_SIMPLE_REPLY_SIZE       16u
#define NBD_CHUNK_SIZE              20u /* the header; the payload follows */
#define NBD_CHUNK_DATA_SIZE         8u  /* the payload's head; the data follow */
#define NBD_CHUNK_HOLE_SIZE         12u
#define NBD_CHUNK_STATUS_SIZE       4u /* the payload's head; the extents follow */
#define NBD_EXTENT_SIZE             8u
#define NBD_CHUNK_ERROR_SIZE        6u /* without the message */
#define NBD_CHUNK_ERROR_OFFSET_SIZE 14u

#define NBD_STRING_MAX  4096u       /* "Conventions": the longest name or message */
#define NBD_PAYLOAD_MAX (32u << 20) /* "Size constraints": what every server should take */

struct nbd_option {
    uint32_t option;
    uint32_t length; /* of the data that follow */
};

struct nbd_option_reply {
    uint32_t option;
    uint32_t type;
    uint32_t length; /* of the data that follow */
};

/* The answer to EXPORT_NAME, and NBD_INFO_EXPORT. */
struct nbd_export {
    uint64_t size;
    uint16_t flags;
};

struct nbd_block_size {
    uint32_t minimum;
    uint32_t preferred;
    uint32_t maximum;
};

/* The data of the options INFO and GO; both point into the bytes that were decoded. */
struct nbd_info_request {
    const uint8_t *name;
    uint32_t name_length;
    const uint8_t *infos; /* big-endian, 16 bits each: see nbd_info_asked() */
    uint16_t info_count;
};

/* The data of REP_SERVER; borrowed as above. */
struct nbd_listed {
    const uint8_t *name;
    uint32_t name_length;
    const uint8_t *detail;
    uint32_t detail_length;
};

/* The data of REP_META_CONTEXT; borrowed as above. */
struct nbd_meta_context {
    uint32_t id;
    const uint8_t *name;
    uint32_t name_length;
};

struct nbd_request {
    uint16_t flags;
    uint16_t type;
    uint64_t cookie;
    uint64_t offset;
    uint32_t length;
};

struct nbd_simple_reply {
    uint32_t error;
    uint64_t cookie;
};

struct nbd_chunk {
    uint16_t flags;
    uint16_t type;
    uint64_t cookie;
    uint32_t length; /* of the payload that follows */
};

struct nbd_hole {
    uint64_t offset;
    uint32_t length;
};

/* One descriptor of a BLOCK_STATUS chunk. */
struct nbd_extent {
    uint32_t length;
    uint32_t flags; /* NBD_STATE_... */
};

/* An ERROR or ERROR_OFFSET chunk's payload; the message is borrowed. */
struct nbd_chunk_error {
    uint32_t error;
    const uint8_t *message;
    uint16_t message_length;
    uint64_t offset; /* ERROR_OFFSET only */
};

/* "Newstyle negotiation". Oldstyle is told apart so that people can be told: -EPROTONOSUPPORT. */
void nbd_put_hello(struct bytes_writer *w, uint16_t flags);
ssize_t nbd_get_hello(const uint8_t *bytes, size_t length, uint16_t *flags);
void nbd_put_client_flags(struct bytes_writer *w, uint32_t flags);
ssize_t nbd_get_client_flags(const uint8_t *bytes, size_t length, uint32_t *flags);
void nbd_put_option(struct bytes_writer *w, const struct nbd_option *option);
ssize_t nbd_get_option(const uint8_t *bytes, size_t length, struct nbd_option *out);
void nbd_put_option_reply(struct bytes_writer *w, const struct nbd_option_reply *reply);
ssize_t nbd_get_option_reply(const uint8_t *bytes, size_t length, struct nbd_option_reply *out);
/* With or without the 124 zero bytes, whose content nobody reads. */
void nbd_put_export_reply(struct bytes_writer *w, const struct nbd_export *export, bool zeroes);
ssize_t nbd_get_export_reply(const uint8_t *bytes, size_t length, bool zeroes,
                             struct nbd_export *out);

/* The data of options and option replies: "Option types", "Option reply types". */
void nbd_put_info_request(struct bytes_writer *w, const char *name, const uint16_t *infos,
                          uint16_t info_count);
int nbd_get_info_request(const uint8_t *data, size_t length, struct nbd_info_request *out);
bool nbd_info_asked(const struct nbd_info_request *request, uint16_t info);
void nbd_put_info_export(struct bytes_writer *w, const struct nbd_export *export);
int nbd_get_info_export(const uint8_t *data, size_t length, struct nbd_export *out);
void nbd_put_info_block_size(struct bytes_writer *w, const struct nbd_block_size *sizes);
int nbd_get_info_block_size(const uint8_t *data, size_t length, struct nbd_block_size *out);
void nbd_put_listed(struct bytes_writer *w, const struct nbd_listed *listed);
int nbd_get_listed(const uint8_t *data, size_t length, struct nbd_listed *out);
/* One query; servers may be asked more at once, but are not by us. */
void nbd_put_meta_request(struct bytes_writer *w, const char *name, const char *query);
void nbd_put_meta_context(struct bytes_writer *w, const struct nbd_meta_context *context);
int nbd_get_meta_context(const uint8_t *data, size_t length, struct nbd_meta_context *out);

/* "Request message" and the replies to it. */
void nbd_put_request(struct bytes_writer *w, const struct nbd_request *request);
ssize_t nbd_get_request(const uint8_t *bytes, size_t length, struct nbd_request *out);
void nbd_put_simple_reply(struct bytes_writer *w, const struct nbd_simple_reply *reply);
ssize_t nbd_get_simple_reply(const uint8_t *bytes, size_t length, struct nbd_simple_reply *out);
void nbd_put_chunk(struct bytes_writer *w, const struct nbd_chunk *chunk);
ssize_t nbd_get_chunk(const uint8_t *bytes, size_t length, struct nbd_chunk *out);
void nbd_put_chunk_data(struct bytes_writer *w, uint64_t offset);
ssize_t nbd_get_chunk_data(const uint8_t *bytes, size_t length, uint64_t *offset);
void nbd_put_chunk_hole(struct bytes_writer *w, const struct nbd_hole *hole);
int nbd_get_chunk_hole(const uint8_t *data, size_t length, struct nbd_hole *out);
/* The head of a BLOCK_STATUS chunk's payload, then each of its extents; none is empty. */
void nbd_put_chunk_status(struct bytes_writer *w, uint32_t context);
ssize_t nbd_get_chunk_status(const uint8_t *bytes, size_t length, uint32_t *context);
void nbd_put_extent(struct bytes_writer *w, const struct nbd_extent *extent);
ssize_t nbd_get_extent(const uint8_t *bytes, size_t length, struct nbd_extent *out);
/* `type` says which of the two layouts; any other error type is read as far as they agree. */
void nbd_put_chunk_error(struct bytes_writer *w, uint16_t type, const struct nbd_chunk_error *e);
int nbd_get_chunk_error(const uint8_t *data, size_t length, uint16_t type,
                        struct nbd_chunk_error *out);

/*
 * "Error values". A -errno as the number that stands for it on the wire (EIO for those that have
 * none), and back: an unexpected number is -EINVAL, as the specification asks; 0 is 0.
 */
uint32_t nbd_error_from_errno(int error);
int nbd_error_to_errno(uint32_t error);

#endif
