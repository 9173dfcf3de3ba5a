// SPDX-License-Identifier: Apache-2.0
/*
 * The NBD client's replies: "Simple reply message", "Structured reply chunk message", "Structured
 * reply types", and NBD_CMD_READ and NBD_CMD_BLOCK_STATUS under "Request types".
 *
 * Each message must answer a request that is still open, with a type fit for it, and within its
 * range. Chunks of one reply may come in any order and between those of others; its last one bears
 * the DONE flag, after which its cookie is unknown. An error chunk fails the request, not the line.
 * The data of a failed read are still taken in (into memory nobody will look at), for the line to
 * go on. An error's offset is checked to lie in the request and then has no further use.
 *
 * Extents are told one by one as they come, so a reply of any number of them needs no memory.
 */
#include <errno.h>

#include "proto/nbd-client-parts.h"

#define REASON_COOKIE "the far end answered a request that is not open"
#define REASON_TYPE   "the far end answered with a kind of reply unfit for the request"

/* The reply of `slot` is complete: nothing more may come for it. */
static int end_reply(struct nbd_client *c, struct nbd_inflight *slot,
                     struct nbd_client_event *event)
{
    if (slot->type == NBD_CMD_READ && !slot->error && !nbd_inflight_is_whole(slot))
        return (int)nbd_client_fail(c, "the far end called a read done with bytes missing");
    if (slot->type == NBD_CMD_BLOCK_STATUS && !slot->error && slot->told == 0)
        return (int)nbd_client_fail(c, "the far end told of no extent where it was asked");
    event->kind = NBD_CLIENT_DONE;
    event->slot = nbd_inflight_index(&c->table, slot);
    event->error = slot->error;
    event->holes = slot->holes;
    event->copied = slot->copied;
    nbd_inflight_remove(slot);
    return 0;
}

static int end_chunk(struct nbd_client *c, struct nbd_client_event *event)
{
    struct nbd_inflight *slot = c->slot;

    c->in_chunk = false;
    c->in_extents = false;
    c->slot = NULL;
    return c->chunk.flags & NBD_REPLY_FLAG_DONE ? end_reply(c, slot, event) : 0;
}

ssize_t nbd_client_data_end(struct nbd_client *c, struct nbd_client_event *event)
{
    return end_chunk(c, event);
}

/* The next byte of this read's data goes to the image's `offset`, which lies in the request. */
static void aim(struct nbd_client *c, uint64_t offset)
{
    uint64_t at = offset - c->slot->offset;
    const struct part *part = c->slot->parts;

    while (at >= part->length) {
        at -= part->length;
        part++;
    }
    c->part = part;
    c->part_at = (uint32_t)at;
}

/* The next run of memory in one piece, at most `length` long; returns its length. */
static uint32_t next_run(struct nbd_client *c, uint32_t length, uint8_t **to)
{
    if (c->part_at == c->part->length) {
        c->part++;
        c->part_at = 0;
    }

    uint32_t room = c->part->length - c->part_at;
    uint32_t take = length < room ? length : room;

    *to = c->part->data + c->part_at;
    c->part_at += take;
    return take;
}

void nbd_client_put_data(struct nbd_client *c, const uint8_t *bytes, uint32_t length)
{
    c->slot->copied += length;
    while (length > 0) {
        uint8_t *to;
        uint32_t take = next_run(c, length, &to);

        memcpy(to, bytes, take);
        bytes += take;
        length -= take;
    }
}

static void put_zeroes(struct nbd_client *c, uint32_t length)
{
    c->slot->holes += length;
    while (length > 0) {
        uint8_t *to;
        uint32_t take = next_run(c, length, &to);

        memset(to, 0, take);
        length -= take;
    }
}

static int cover(struct nbd_client *c, uint64_t offset, uint32_t length)
{
    switch (nbd_inflight_cover(c->slot, offset, length)) {
    case NBD_COVER_OK:
        return 0;
    case NBD_COVER_OVERLAP:
        return (int)nbd_client_fail(c, "the far end sent the same bytes twice");
    case NBD_COVER_SCATTERED:
        return (int)nbd_client_fail(c, "the far end scattered a reply into too many pieces");
    case NBD_COVER_OUTSIDE:
        break;
    }
    return (int)nbd_client_fail(c, "the far end sent bytes outside of what it was asked");
}

static ssize_t simple_step(struct nbd_client *c, const uint8_t *bytes, size_t length,
                           struct nbd_client_event *event)
{
    struct nbd_simple_reply reply;
    ssize_t used = nbd_get_simple_reply(bytes, length, &reply);

    if (used <= 0)
        return used;

    struct nbd_inflight *slot = nbd_inflight_find(&c->table, reply.cookie);

    if (!slot)
        return nbd_client_fail(c, REASON_COOKIE);
    if (c->offer.structured && (slot->type == NBD_CMD_READ || slot->type == NBD_CMD_BLOCK_STATUS))
        return nbd_client_fail(c, REASON_TYPE);
    if (reply.error && !slot->error)
        slot->error = nbd_error_to_errno(reply.error);
    if (reply.error || slot->type != NBD_CMD_READ)
        return end_reply(c, slot, event) < 0 ? -EPROTO : used;
    c->slot = slot;
    c->chunk = (struct nbd_chunk){.flags = NBD_REPLY_FLAG_DONE};
    if (cover(c, slot->offset, slot->length) < 0)
        return -EPROTO;
    aim(c, slot->offset);
    c->data_left = slot->length;
    return used;
}

/* Whether this chunk, by its header, may stand in the reply to `slot`. */
static const char *judge_chunk(const struct nbd_chunk *chunk, const struct nbd_inflight *slot)
{
    static const char wrong_length[] = "the far end sent a chunk of a length it cannot have";
    bool right;

    if (chunk->type & NBD_REPLY_TYPE_IS_ERROR) {
        right = chunk->length >= NBD_CHUNK_ERROR_SIZE && chunk->length <= NBD_HELD_MAX;
        return right ? NULL : wrong_length;
    }
    if (chunk->type == NBD_REPLY_TYPE_NONE) {
        if (!(chunk->flags & NBD_REPLY_FLAG_DONE))
            return "the far end sent an empty chunk that is not the last";
        return chunk->length == 0 ? NULL : wrong_length;
    }
    if (chunk->type == NBD_REPLY_TYPE_BLOCK_STATUS) {
        if (slot->type != NBD_CMD_BLOCK_STATUS)
            return REASON_TYPE;
        /* None is empty, so there is at most one a byte. */
        right = chunk->length >= NBD_CHUNK_STATUS_SIZE + NBD_EXTENT_SIZE &&
                (chunk->length - NBD_CHUNK_STATUS_SIZE) % NBD_EXTENT_SIZE == 0 &&
                (chunk->length - NBD_CHUNK_STATUS_SIZE) / NBD_EXTENT_SIZE <= slot->length;
        return right ? NULL : wrong_length;
    }
    if (slot->type != NBD_CMD_READ)
        return REASON_TYPE;
    if (chunk->type == NBD_REPLY_TYPE_OFFSET_DATA) {
        right = chunk->length > NBD_CHUNK_DATA_SIZE &&
                chunk->length - NBD_CHUNK_DATA_SIZE <= slot->length;
        return right ? NULL : wrong_length;
    }
    if (chunk->type == NBD_REPLY_TYPE_OFFSET_HOLE)
        return chunk->length == NBD_CHUNK_HOLE_SIZE ? NULL : wrong_length;
    return "the far end sent a kind of chunk that was not agreed on";
}

static ssize_t chunk_step(struct nbd_client *c, const uint8_t *bytes, size_t length,
                          struct nbd_client_event *event)
{
    ssize_t used = nbd_get_chunk(bytes, length, &c->chunk);

    if (used <= 0)
        return used;

    struct nbd_inflight *slot = nbd_inflight_find(&c->table, c->chunk.cookie);

    if (!slot)
        return nbd_client_fail(c, REASON_COOKIE);

    const char *wrong = judge_chunk(&c->chunk, slot);

    if (wrong)
        return nbd_client_fail(c, wrong);
    c->slot = slot;
    c->in_chunk = true;
    if (c->chunk.type == NBD_REPLY_TYPE_NONE && end_chunk(c, event) < 0)
        return -EPROTO;
    return used;
}

static ssize_t data_step(struct nbd_client *c, const uint8_t *bytes, size_t length)
{
    uint32_t data_length = c->chunk.length - NBD_CHUNK_DATA_SIZE;
    uint64_t offset;
    ssize_t used = nbd_get_chunk_data(bytes, length, &offset);

    if (used <= 0)
        return used;
    if (cover(c, offset, data_length) < 0)
        return -EPROTO;
    c->in_chunk = false;
    aim(c, offset);
    c->data_left = data_length;
    return used;
}

static int take_hole(struct nbd_client *c, const uint8_t *payload)
{
    struct nbd_hole hole;

    if (nbd_get_chunk_hole(payload, c->chunk.length, &hole) < 0)
        return (int)nbd_client_fail(c, "the far end sent an empty hole");
    if (cover(c, hole.offset, hole.length) < 0)
        return -EPROTO;
    aim(c, hole.offset);
    put_zeroes(c, hole.length);
    return 0;
}

static ssize_t status_step(struct nbd_client *c, const uint8_t *bytes, size_t length)
{
    uint32_t context;
    ssize_t used = nbd_get_chunk_status(bytes, length, &context);

    if (used <= 0)
        return used;
    if (context != c->context)
        return nbd_client_fail(c, "the far end told of a metadata context that was not chosen");
    if (c->slot->told > 0)
        return nbd_client_fail(c, "the far end told of the same extents twice");
    c->in_extents = true;
    c->extents_left = (c->chunk.length - NBD_CHUNK_STATUS_SIZE) / NBD_EXTENT_SIZE;
    return used;
}

static ssize_t extent_step(struct nbd_client *c, const uint8_t *bytes, size_t length,
                           struct nbd_client_event *event)
{
    struct nbd_inflight *slot = c->slot;
    struct nbd_extent extent;
    ssize_t used = nbd_get_extent(bytes, length, &extent);

    if (used == 0)
        return 0;
    if (used < 0)
        return nbd_client_fail(c, "the far end told of an empty extent");
    /* "NBD_REPLY_TYPE_BLOCK_STATUS": only the last may reach beyond what was asked. */
    if (slot->told >= slot->length)
        return nbd_client_fail(c, "the far end told of extents outside of what it was asked");

    uint64_t left = c->offer.export.size - slot->offset - slot->told;

    if (extent.length > left)
        extent.length = (uint32_t)left;
    slot->told += extent.length;
    event->kind = NBD_CLIENT_EXTENT;
    event->slot = nbd_inflight_index(&c->table, slot);
    event->extent = extent;
    if (--c->extents_left == 0 && end_chunk(c, event) < 0)
        return -EPROTO;
    return used;
}

static int take_error(struct nbd_client *c, const uint8_t *payload)
{
    struct nbd_inflight *slot = c->slot;
    struct nbd_chunk_error e;

    if (nbd_get_chunk_error(payload, c->chunk.length, c->chunk.type, &e) < 0)
        return (int)nbd_client_fail(c, "the far end sent a malformed error");
    if (c->chunk.type == NBD_REPLY_TYPE_ERROR_OFFSET) {
        if (slot->type != NBD_CMD_READ)
            return (int)nbd_client_fail(c, REASON_TYPE);
        if (e.offset < slot->offset || e.offset - slot->offset >= slot->length)
            return (int)nbd_client_fail(c, "the far end placed an error outside of the request");
    }
    if (!slot->error)
        slot->error = nbd_error_to_errno(e.error);
    return 0;
}

static ssize_t payload_step(struct nbd_client *c, const uint8_t *bytes, size_t length,
                            struct nbd_client_event *event)
{
    int r;

    if (c->chunk.type == NBD_REPLY_TYPE_OFFSET_DATA)
        return data_step(c, bytes, length);
    if (c->chunk.type == NBD_REPLY_TYPE_BLOCK_STATUS)
        return c->in_extents ? extent_step(c, bytes, length, event) : status_step(c, bytes, length);
    if (length < c->chunk.length)
        return 0;
    r = c->chunk.type == NBD_REPLY_TYPE_OFFSET_HOLE ? take_hole(c, bytes) : take_error(c, bytes);
    if (r < 0 || end_chunk(c, event) < 0)
        return -EPROTO;
    return (ssize_t)c->chunk.length;
}

ssize_t nbd_client_transmit_step(struct nbd_client *c, const uint8_t *bytes, size_t length,
                                 struct nbd_client_event *event)
{
    struct bytes_reader r = bytes_reader(bytes, length);

    if (c->in_chunk)
        return payload_step(c, bytes, length, event);

    uint32_t magic = bytes_get_u32(&r);

    if (r.bad)
        return 0;
    if (magic == NBD_SIMPLE_REPLY_MAGIC)
        return simple_step(c, bytes, length, event);
    if (magic == NBD_STRUCTURED_REPLY_MAGIC && c->offer.structured)
        return chunk_step(c, bytes, length, event);
    return nbd_client_fail(c, "the far end sent bytes that are no reply");
}
