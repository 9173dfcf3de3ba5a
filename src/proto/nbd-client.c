// SPDX-License-Identifier: Apache-2.0
/*
 * The NBD client: how bytes reach its parts. The handshake is in nbd-client-handshake.c, the
 * replies in nbd-client-transmission.c, what has been asked in nbd-inflight.c.
 *
 * Bytes come cut anywhere. A structure that is not whole is held (nbd-held.h), so every part sees
 * it in one piece; only a read's data is never held, it goes from the arriving bytes to its
 * destination.
 *
 * What always holds: `data_left` above 0 means that `slot` is a used read with that much room
 * from `part_at` of `part` on; once FAILED, nothing changes any more.
 */
#include "proto/nbd-client.h"

#include <errno.h>

#include "proto/nbd-client-parts.h"

void nbd_client_init(struct nbd_client *c, bool structured)
{
    memset(c, 0, sizeof *c);
    c->phase = NBD_CLIENT_HELLO;
    c->wants_structured = structured;
    nbd_inflight_init(&c->table);
}

ssize_t nbd_client_fail(struct nbd_client *c, const char *reason)
{
    c->phase = NBD_CLIENT_FAILED;
    c->reason = reason;
    return -EPROTO;
}

ssize_t nbd_client_refuse(struct nbd_client *c, const char *reason)
{
    c->refused = true;
    return nbd_client_fail(c, reason);
}

static ssize_t step(void *machine, const uint8_t *bytes, size_t length, void *event)
{
    struct nbd_client *c = machine;

    if (c->phase == NBD_CLIENT_TRANSMIT)
        return nbd_client_transmit_step(c, bytes, length, event);
    return nbd_client_handshake_step(c, bytes, length, event);
}

static ssize_t feed_data(struct nbd_client *c, const uint8_t *bytes, size_t length,
                         struct nbd_client_event *event)
{
    size_t take = length < c->data_left ? length : c->data_left;

    nbd_client_put_data(c, bytes, (uint32_t)take);
    c->data_left -= (uint32_t)take;
    if (c->data_left == 0 && nbd_client_data_end(c, event) < 0)
        return -EPROTO;
    return (ssize_t)take;
}

ssize_t nbd_client_feed(struct nbd_client *c, const uint8_t *bytes, size_t length,
                        struct nbd_client_event *event)
{
    event->kind = NBD_CLIENT_NOTHING;
    event->extent.length = 0;
    if (c->phase == NBD_CLIENT_FAILED)
        return -EPROTO;
    if (length == 0)
        return 0;
    if (c->data_left > 0)
        return feed_data(c, bytes, length, event);
    return nbd_held_feed(&c->held, bytes, length, step, c, event);
}

/* "Size constraints": what the server will take. */
static bool is_lawful_range(const struct nbd_client *c, const struct nbd_ask *ask)
{
    const struct nbd_client_offer *offer = &c->offer;
    uint64_t mask = (uint64_t)offer->blocks.minimum - 1;
    bool payload = ask->type == NBD_CMD_READ || ask->type == NBD_CMD_WRITE;

    if (ask->type == NBD_CMD_FLUSH)
        return ask->offset == 0 && ask->length == 0;
    return ask->length > 0 && (!payload || ask->length <= offer->blocks.maximum) &&
           ask->offset <= offer->export.size && ask->length <= offer->export.size - ask->offset &&
           (ask->offset & mask) == 0 && (ask->length & mask) == 0;
}

/* "Transmission flags": the command and its flags are among what the server offers. */
static bool is_offered(const struct nbd_client *c, const struct nbd_ask *ask)
{
    uint16_t offers = c->offer.export.flags;
    uint16_t lawful = offers & NBD_FLAG_SEND_FUA ? NBD_CMD_FLAG_FUA : 0;
    bool writable = !(offers & NBD_FLAG_READ_ONLY);

    switch (ask->type) {
    case NBD_CMD_READ:
        return ask->flags == 0;
    case NBD_CMD_FLUSH:
        return ask->flags == 0 && offers & NBD_FLAG_SEND_FLUSH;
    case NBD_CMD_BLOCK_STATUS:
        return ask->flags == 0 && c->offer.extents;
    case NBD_CMD_WRITE:
        return writable && !(ask->flags & ~lawful);
    case NBD_CMD_TRIM:
        return writable && offers & NBD_FLAG_SEND_TRIM && !(ask->flags & ~lawful);
    case NBD_CMD_WRITE_ZEROES:
        lawful |= NBD_CMD_FLAG_NO_HOLE;
        return writable && offers & NBD_FLAG_SEND_WRITE_ZEROES && !(ask->flags & ~lawful);
    default:
        return false;
    }
}

int nbd_client_ask(struct nbd_client *c, const struct nbd_ask *ask, uint8_t out[NBD_REQUEST_SIZE])
{
    if (c->phase != NBD_CLIENT_TRANSMIT)
        return -ENOTCONN;
    if (!is_offered(c, ask) || !is_lawful_range(c, ask))
        return -EINVAL;

    struct nbd_inflight *slot = nbd_inflight_add(&c->table);

    if (!slot)
        return -EAGAIN;
    slot->type = ask->type;
    slot->offset = ask->offset;
    slot->length = ask->length;
    slot->parts = ask->parts;

    struct bytes_writer w = bytes_writer(out, NBD_REQUEST_SIZE);

    nbd_put_request(&w, &(struct nbd_request){
                            .flags = ask->flags,
                            .type = ask->type,
                            .cookie = slot->cookie,
                            .offset = ask->offset,
                            .length = ask->length,
                        });
    return (int)nbd_inflight_index(&c->table, slot);
}

void nbd_client_keep(struct nbd_client *c, unsigned slot, bool kept)
{
    c->table.slots[slot].kept = kept;
}

size_t nbd_client_goodbye(struct nbd_client *c, uint8_t out[NBD_REQUEST_SIZE])
{
    struct bytes_writer w = bytes_writer(out, NBD_REQUEST_SIZE);

    if (c->phase == NBD_CLIENT_TRANSMIT)
        nbd_put_request(
            &w, &(struct nbd_request){.type = NBD_CMD_DISC, .cookie = c->table.next_cookie++});
    else if (c->phase == NBD_CLIENT_STRUCTURED || c->phase == NBD_CLIENT_META ||
             c->phase == NBD_CLIENT_GO)
        nbd_put_option(&w, &(struct nbd_option){.option = NBD_OPT_ABORT});
    return w.used;
}
