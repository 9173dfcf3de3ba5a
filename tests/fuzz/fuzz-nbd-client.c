// SPDX-License-Identifier: Apache-2.0
/*
 * The NBD client against anything. The first byte of an input says how its rest is cut (low half,
 * 0: not at all) and what goes before it (high half): nothing, or a lawful handshake with
 * structured replies and extents, with simple replies, or with structured replies alone, so that an
 * input need not find one by itself; and whether structured replies are asked for at all. As many
 * requests as there may be are kept open: reads with memory of exactly their length, in one part or
 * two, and everything else that can be asked.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/nbd-client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SIZE 65536u

struct driver {
    struct nbd_client client;
    struct part parts[NBD_INFLIGHT_MAX][2]; /* of a slot's read; the second may not be there */
    uint64_t status_left[NBD_INFLIGHT_MAX]; /* bytes from a BLOCK_STATUS to the image's end */
    unsigned asked;
};

static void require(bool truth)
{
    if (!truth)
        abort();
}

static void free_parts(struct part parts[2])
{
    free(parts[0].data);
    free(parts[1].data);
    parts[0] = parts[1] = (struct part){0};
}

/* False when it cannot be asked: no slot is free, or the image it told of is another. */
static bool ask_read(struct driver *d, uint64_t offset, uint32_t length)
{
    uint32_t first = length > 1 ? length / 3 + 1 : length;
    int slot = 0;

    while (slot < NBD_INFLIGHT_MAX && (d->parts[slot][0].data || d->client.table.slots[slot].used))
        slot++;
    if (slot == NBD_INFLIGHT_MAX)
        return false;

    struct part *parts = d->parts[slot];
    uint8_t out[NBD_REQUEST_SIZE];

    parts[0] = (struct part){malloc(first), first};
    if (first < length)
        parts[1] = (struct part){malloc(length - first), length - first};
    require(parts[0].data && (parts[1].data || first == length));
    slot = nbd_client_ask(
        &d->client,
        &(struct nbd_ask){.type = NBD_CMD_READ, .offset = offset, .length = length, .parts = parts},
        out);
    if (slot < 0)
        free_parts(parts);
    else
        require(parts == d->parts[slot]);
    return slot >= 0;
}

static void ask_others(struct driver *d, uint64_t offset)
{
    static const uint16_t types[] = {NBD_CMD_FLUSH, NBD_CMD_BLOCK_STATUS, NBD_CMD_WRITE,
                                     NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES};

    for (unsigned i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct nbd_ask ask = {.type = types[i]};
        uint8_t out[NBD_REQUEST_SIZE];

        if (ask.type != NBD_CMD_FLUSH) {
            ask.offset = offset;
            ask.length = 4096;
        }

        int slot = nbd_client_ask(&d->client, &ask, out);

        if (slot >= 0 && ask.type == NBD_CMD_BLOCK_STATUS)
            d->status_left[slot] = d->client.offer.export.size - offset;
    }
}

static void ask_all(struct driver *d)
{
    static const uint32_t lengths[] = {1, 512, 4096, 7};
    bool asked = d->client.phase == NBD_CLIENT_TRANSMIT;

    while (asked) {
        unsigned n = d->asked++;
        uint64_t offset = (n * 4096u) % (SIZE - 4096);

        asked = ask_read(d, offset, lengths[n % 4]);
        if (n % 4 == 3)
            ask_others(d, offset);
    }
}

static void take_answer(struct driver *d, const struct nbd_client_event *event)
{
    struct part *parts = d->parts[event->slot];
    uint32_t length = parts[0].length + parts[1].length;

    require(event->slot < NBD_INFLIGHT_MAX);
    if (event->extent.length > 0) {
        require(event->extent.length <= d->status_left[event->slot]);
        d->status_left[event->slot] -= event->extent.length;
    }
    if (event->kind != NBD_CLIENT_DONE)
        return;
    require(event->error <= 0 && event->holes + event->copied <= length);
    require(event->error || event->holes + event->copied == length);
    free_parts(parts);
    d->status_left[event->slot] = 0;
}

/* False when the machine has failed. */
static bool feed(struct driver *d, const uint8_t *data, size_t size, size_t cut)
{
    while (size > 0) {
        size_t piece = cut && cut < size ? cut : size;
        struct nbd_client_event event;
        ssize_t used = nbd_client_feed(&d->client, data, piece, &event);

        if (used < 0) {
            require(d->client.reason && d->client.phase == NBD_CLIENT_FAILED);
            return false;
        }
        require(used > 0 && (size_t)used <= piece);
        data += used;
        size -= (size_t)used;
        if (event.kind == NBD_CLIENT_SAY)
            require(event.say_length > 0 && event.say_length <= sizeof event.say);
        if (event.kind == NBD_CLIENT_EXTENT || event.kind == NBD_CLIENT_DONE)
            take_answer(d, &event);
        if (event.kind == NBD_CLIENT_READY || event.kind == NBD_CLIENT_DONE)
            ask_all(d);
    }
    return true;
}

static void put_handshake(struct bytes_writer *w, bool structured, bool modern, bool extents)
{
    const struct nbd_export export = {SIZE, NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH |
                                                NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES};
    uint32_t answer = modern ? NBD_REP_ACK : NBD_REP_ERR_UNSUP;

    nbd_put_hello(w, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    if (structured)
        nbd_put_option_reply(w, &(struct nbd_option_reply){NBD_OPT_STRUCTURED_REPLY, answer, 0});
    if (structured && extents) {
        nbd_put_option_reply(
            w, &(struct nbd_option_reply){NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, 19});
        nbd_put_meta_context(w, &(struct nbd_meta_context){
                                    .id = 1,
                                    .name = (const uint8_t *)NBD_BASE_ALLOCATION,
                                    .name_length = sizeof NBD_BASE_ALLOCATION - 1,
                                });
    }
    if (structured && modern)
        nbd_put_option_reply(w,
                             &(struct nbd_option_reply){NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK, 0});
    if (modern) {
        nbd_put_option_reply(
            w, &(struct nbd_option_reply){NBD_OPT_GO, NBD_REP_INFO, NBD_INFO_EXPORT_SIZE});
        nbd_put_info_export(w, &export);
    }
    nbd_put_option_reply(w, &(struct nbd_option_reply){NBD_OPT_GO, answer, 0});
    if (!modern)
        nbd_put_export_reply(w, &export, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct driver *d = calloc(1, sizeof *d);
    bool structured = size == 0 || !(data[0] & 0x40);
    uint8_t handshake[256];
    struct bytes_writer w = bytes_writer(handshake, sizeof handshake);

    require(d);
    nbd_client_init(&d->client, structured);
    if (size > 0) {
        unsigned before = data[0] >> 4 & 3;

        if (before > 0)
            put_handshake(&w, structured, before != 2, before == 1);
        require(feed(d, handshake, w.used, 0));
        feed(d, data + 1, size - 1, data[0] & 15);
    }
    for (unsigned i = 0; i < NBD_INFLIGHT_MAX; i++)
        free_parts(d->parts[i]);
    free(d);
    return 0;
}
