// SPDX-License-Identifier: Apache-2.0
/*
 * The NBD client: how bytes reach its parts. The handshake is in nbd-client-handshake.c, the
 * replies in nbd-client-transmission.c, what has been asked in nbd-inflight.c.
 *
 * Bytes come cut anywhere. A structure that is not whole is held in the machine and completed from
 * what comes next, so every part sees it in one piece; only a read's data is never held, it goes
 * from the arriving bytes to its destination.
 *
 * What always holds: `held` is the beginning of one structure for which the present step has
 * already asked for more; `data_left` above 0 means that `slot` is a used read with that much room
 * from `part_at` of `part` on; once FAILED, nothing changes any more.
 */
#include "proto/nbd-client.h"

#include <errno.h>

#include "proto/nbd-client-parts.h"

void nbd_client_init(struct nbd_client *c)
{
    memset(c, 0, sizeof *c);
    c->phase = NBD_CLIENT_HELLO;
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

static ssize_t step(struct nbd_client *c, const uint8_t *bytes, size_t length,
                    struct nbd_client_event *event)
{
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

/* Completes the structure in `held` from the new bytes. */
static ssize_t feed_held(struct nbd_client *c, const uint8_t *bytes, size_t length,
                         struct nbd_client_event *event)
{
    size_t before = c->held_length;
    size_t room = sizeof c->held - before;
    size_t take = length < room ? length : room;

    memcpy(c->held + before, bytes, take);

    ssize_t used = step(c, c->held, before + take, event);

    if (used < 0)
        return used;
    if (used == 0) {
        c->held_length += take;
        return (ssize_t)take;
    }
    /* The step wanted more than `before`, so it has used at least one of the new bytes. */
    c->held_length = 0;
    return used - (ssize_t)before;
}

ssize_t nbd_client_feed(struct nbd_client *c, const uint8_t *bytes, size_t length,
                        struct nbd_client_event *event)
{
    event->kind = NBD_CLIENT_NOTHING;
    if (c->phase == NBD_CLIENT_FAILED)
        return -EPROTO;
    if (length == 0)
        return 0;
    if (c->data_left > 0)
        return feed_data(c, bytes, length, event);
    if (c->held_length > 0)
        return feed_held(c, bytes, length, event);

    ssize_t used = step(c, bytes, length, event);

    if (used != 0)
        return used;
    memcpy(c->held, bytes, length);
    c->held_length = length;
    return (ssize_t)length;
}

/* "Size constraints": what the server will take, for a read. */
static bool is_lawful_read(const struct nbd_client *c, uint64_t offset, uint32_t length)
{
    const struct nbd_client_offer *offer = &c->offer;
    uint64_t mask = (uint64_t)offer->blocks.minimum - 1;

    return length > 0 && length <= offer->blocks.maximum && offset <= offer->export.size &&
           length <= offer->export.size - offset && (offset & mask) == 0 && (length & mask) == 0;
}

int nbd_client_ask(struct nbd_client *c, const struct nbd_ask *ask, uint8_t out[NBD_REQUEST_SIZE])
{
    if (c->phase != NBD_CLIENT_TRANSMIT)
        return -ENOTCONN;
    if (ask->type == NBD_CMD_READ ? !is_lawful_read(c, ask->offset, ask->length)
                                  : ask->type != NBD_CMD_FLUSH || ask->offset || ask->length ||
                                        !(c->offer.export.flags & NBD_FLAG_SEND_FLUSH))
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
                            .type = ask->type,
                            .cookie = slot->cookie,
                            .offset = ask->offset,
                            .length = ask->length,
                        });
    return (int)nbd_inflight_index(&c->table, slot);
}

size_t nbd_client_goodbye(struct nbd_client *c, uint8_t out[NBD_REQUEST_SIZE])
{
    struct bytes_writer w = bytes_writer(out, NBD_REQUEST_SIZE);

    if (c->phase == NBD_CLIENT_TRANSMIT)
        nbd_put_request(
            &w, &(struct nbd_request){.type = NBD_CMD_DISC, .cookie = c->table.next_cookie++});
    else if (c->phase == NBD_CLIENT_STRUCTURED || c->phase == NBD_CLIENT_GO)
        nbd_put_option(&w, &(struct nbd_option){.option = NBD_OPT_ABORT});
    return w.used;
}
