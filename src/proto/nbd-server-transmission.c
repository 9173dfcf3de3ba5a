// SPDX-License-Identifier: Apache-2.0
/*
 * The NBD server's requests and replies: "Request message", "Request types", "Error values".
 *
 * Whatever the driver is shown has been judged here: known, flagged with what it may be, and within
 * the image. Writing to a read-only image is EPERM, writing past its end ENOSPC; all else that is
 * out of range, flagged with something unknown, of an unknown type or too long is EINVAL, but for
 * the one EOVERFLOW of the specification. The payload of a write that is refused is passed over, so
 * that the line stays usable.
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
    if (s->write_refusal)
        refuse(s, s->write_refusal, event);
}

/* Nothing to do has been done. */
static void say_done(struct nbd_server *s, struct nbd_server_event *event)
{
    event->kind = NBD_SERVER_SAY;
    event->say_length = nbd_server_put_done(s, s->request.cookie, event->say);
}

static bool is_inside(const struct nbd_server *s)
{
    const struct nbd_request *q = &s->request;

    return q->offset <= s->config.size && q->length <= s->config.size - q->offset;
}

static bool takes_flags(const struct nbd_server *s, unsigned flags)
{
    return !(s->request.flags & ~flags);
}

static void take_read(struct nbd_server *s, struct nbd_server_event *event)
{
    const struct nbd_request *q = &s->request;
    bool whole = q->flags & NBD_CMD_FLAG_DF;

    if (!takes_flags(s, s->structured ? NBD_CMD_FLAG_DF : 0) || !is_inside(s)) {
        refuse(s, -EINVAL, event);
    } else if (q->length > NBD_PAYLOAD_MAX || (whole && q->length > s->config.whole_max)) {
        refuse(s, s->structured ? -EOVERFLOW : -EINVAL, event);
    } else if (q->length == 0) {
        say_done(s, event);
    } else {
        event->kind = NBD_SERVER_REQUEST;
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
    event->kind = NBD_SERVER_REQUEST;
    event->request = *q;
}

/* Why the present command, which would change the image, may not; 0: it may. */
static int judge_change(const struct nbd_server *s)
{
    const struct nbd_request *q = &s->request;
    unsigned flags = NBD_CMD_FLAG_FUA;

    if (q->type == NBD_CMD_WRITE_ZEROES)
        flags |= NBD_CMD_FLAG_NO_HOLE;
    if (!s->config.writable)
        return -EPERM;
    if (!takes_flags(s, flags))
        return -EINVAL;
    if (!is_inside(s))
        return q->type == NBD_CMD_TRIM ? -EINVAL : -ENOSPC;
    return q->type == NBD_CMD_WRITE && q->length > NBD_PAYLOAD_MAX ? -EINVAL : 0;
}

static void take_write(struct nbd_server *s, struct nbd_server_event *event)
{
    int error = judge_change(s);

    if (s->request.length == 0 && error) {
        refuse(s, error, event);
    } else if (s->request.length == 0) {
        say_done(s, event);
    } else if (error) {
        s->write_refusal = error;
        s->drain_left = s->request.length;
    } else {
        event->kind = NBD_SERVER_WRITE;
        event->request = s->request;
        s->payload_left = s->request.length;
    }
}

/* TRIM, WRITE_ZEROES. */
static void take_change(struct nbd_server *s, struct nbd_server_event *event)
{
    int error = judge_change(s);

    if (error) {
        refuse(s, error, event);
    } else if (s->request.length == 0) {
        say_done(s, event);
    } else {
        event->kind = NBD_SERVER_REQUEST;
        event->request = s->request;
    }
}

static void take_request(struct nbd_server *s, struct nbd_server_event *event)
{
    /* "Command flags": once FUA is offered it is lawful everywhere, and means nothing to these. */
    if (s->config.writable && (s->request.type == NBD_CMD_READ || s->request.type == NBD_CMD_FLUSH))
        s->request.flags &= (uint16_t)~NBD_CMD_FLAG_FUA;
    switch (s->request.type) {
    case NBD_CMD_READ:
        take_read(s, event);
        break;
    case NBD_CMD_FLUSH:
        take_flush(s, event);
        break;
    case NBD_CMD_DISC:
        event->kind = NBD_SERVER_DISCONNECT;
        s->phase = NBD_SERVER_ENDED;
        s->reason = "the client has left";
        break;
    case NBD_CMD_WRITE:
        take_write(s, event);
        break;
    case NBD_CMD_TRIM:
    case NBD_CMD_WRITE_ZEROES:
        take_change(s, event);
        break;
    default:
        refuse(s, -EINVAL, event);
    }
}

ssize_t nbd_server_transmit_step(struct nbd_server *s, const uint8_t *bytes, size_t length,
                                 struct nbd_server_event *event)
{
    ssize_t used = nbd_get_request(bytes, length, &s->request);

    if (used < 0)
        return nbd_server_fail(s, "the client sent bytes that are no request");
    if (used > 0)
        take_request(s, event);
    return used;
}
