// SPDX-License-Identifier: Apache-2.0
/*
 * The NBD server's requests and replies: "Request message", "Request types", "Error values".
 *
 * The image is read-only, so anything that would write is refused with EPERM, and its payload is
 * passed over so that the line stays usable. What is out of range, flagged with something unknown,
 * or of an unknown type is EINVAL.
 */
#include <errno.h>

#include "proto/nbd-server-parts.h"

size_t nbd_server_put_done(const struct nbd_server *s, uint64_t cookie, uint8_t *out)
{
    struct bytes_writer w = bytes_writer(out, NBD_SERVER_HEAD_MAX);

    if (s->structured)
        nbd_put_chunk(&w, &(struct nbd_chunk){
                              .flags = NBD_REPLY_FLAG_DONE,
                              .type = NBD_REPLY_TYPE_NONE,
                              .cookie = cookie,
                          });
    else
        nbd_put_simple_reply(&w, &(struct nbd_simple_reply){.cookie = cookie});
    return w.used;
}

size_t nbd_server_put_error(const struct nbd_server *s, uint64_t cookie, int error, uint8_t *out)
{
    struct bytes_writer w = bytes_writer(out, NBD_SERVER_HEAD_MAX);
    uint32_t number = nbd_error_from_errno(error);

    if (s->structured) {
        nbd_put_chunk(&w, &(struct nbd_chunk){
                              .flags = NBD_REPLY_FLAG_DONE,
                              .type = NBD_REPLY_TYPE_ERROR,
                              .cookie = cookie,
                              .length = NBD_CHUNK_ERROR_SIZE,
                          });
        nbd_put_chunk_error(&w, NBD_REPLY_TYPE_ERROR, &(struct nbd_chunk_error){.error = number});
    } else {
        nbd_put_simple_reply(&w, &(struct nbd_simple_reply){.error = number, .cookie = cookie});
    }
    return w.used;
}

size_t nbd_server_put_data(uint64_t cookie, uint64_t offset, uint32_t length, bool last,
                           uint8_t *out)
{
    struct bytes_writer w = bytes_writer(out, NBD_SERVER_HEAD_MAX);

    nbd_put_chunk(&w, &(struct nbd_chunk){
                          .flags = last ? NBD_REPLY_FLAG_DONE : 0,
                          .type = NBD_REPLY_TYPE_OFFSET_DATA,
                          .cookie = cookie,
                          .length = NBD_CHUNK_DATA_SIZE + length,
                      });
    nbd_put_chunk_data(&w, offset);
    return w.used;
}

size_t nbd_server_put_hole(uint64_t cookie, uint64_t offset, uint32_t length, bool last,
                           uint8_t *out)
{
    struct bytes_writer w = bytes_writer(out, NBD_SERVER_HEAD_MAX);

    nbd_put_chunk(&w, &(struct nbd_chunk){
                          .flags = last ? NBD_REPLY_FLAG_DONE : 0,
                          .type = NBD_REPLY_TYPE_OFFSET_HOLE,
                          .cookie = cookie,
                          .length = NBD_CHUNK_HOLE_SIZE,
                      });
    nbd_put_chunk_hole(&w, &(struct nbd_hole){.offset = offset, .length = length});
    return w.used;
}

static void refuse(struct nbd_server *s, int error, struct nbd_server_event *event)
{
    event->kind = NBD_SERVER_SAY;
    event->say_length = nbd_server_put_error(s, s->request.cookie, error, event->say);
}

void nbd_server_refuse_write(struct nbd_server *s, struct nbd_server_event *event)
{
    refuse(s, -EPERM, event);
}

static void take_read(struct nbd_server *s, struct nbd_server_event *event)
{
    const struct nbd_request *q = &s->request;
    bool whole = q->flags & NBD_CMD_FLAG_DF;

    if (q->flags & ~(s->structured ? NBD_CMD_FLAG_DF : 0u)) {
        refuse(s, -EINVAL, event);
    } else if (q->offset > s->size || q->length > s->size - q->offset) {
        refuse(s, -EINVAL, event);
    } else if (q->length > NBD_PAYLOAD_MAX || (whole && q->length > s->whole_max)) {
        refuse(s, s->structured ? -EOVERFLOW : -EINVAL, event);
    } else if (q->length == 0) {
        /* Nothing to read has been read. */
        event->kind = NBD_SERVER_SAY;
        event->say_length = nbd_server_put_done(s, q->cookie, event->say);
    } else {
        event->kind = NBD_SERVER_READ;
        event->request = *q;
    }
}

static void take_flush(struct nbd_server *s, struct nbd_server_event *event)
{
    const struct nbd_request *q = &s->request;

    if (q->flags || q->offset || q->length) {
        refuse(s, -EINVAL, event);
        return;
    }
    event->kind = NBD_SERVER_FLUSH;
    event->request = *q;
}

static int take_request(struct nbd_server *s, struct nbd_server_event *event)
{
    switch (s->request.type) {
    case NBD_CMD_READ:
        take_read(s, event);
        return 0;
    case NBD_CMD_FLUSH:
        take_flush(s, event);
        return 0;
    case NBD_CMD_DISC:
        event->kind = NBD_SERVER_DISCONNECT;
        s->phase = NBD_SERVER_ENDED;
        s->reason = "the client has left";
        return 0;
    case NBD_CMD_WRITE:
        /* "Size constraints": more than this is taken for an attack. */
        if (s->request.length > NBD_PAYLOAD_MAX)
            return (int)nbd_server_fail(s, "the client announced a write of absurd length");
        s->drain_left = s->request.length;
        if (s->drain_left == 0)
            refuse(s, -EPERM, event);
        return 0;
    case NBD_CMD_TRIM:
    case NBD_CMD_WRITE_ZEROES:
        refuse(s, -EPERM, event);
        return 0;
    default:
        refuse(s, -EINVAL, event);
        return 0;
    }
}

ssize_t nbd_server_transmit_step(struct nbd_server *s, const uint8_t *bytes, size_t length,
                                 struct nbd_server_event *event)
{
    ssize_t used = nbd_get_request(bytes, length, &s->request);

    if (used < 0)
        return nbd_server_fail(s, "the client sent bytes that are no request");
    if (used > 0 && take_request(s, event) < 0)
        return -EPROTO;
    return used;
}
