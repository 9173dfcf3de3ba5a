// SPDX-License-Identifier: Apache-2.0
/*
 * The NBD server: how bytes reach its parts. The handshake is in nbd-server-options.c, requests and
 * the heads of replies in nbd-server-transmission.c.
 *
 * As in the client, a structure that is not whole is held and completed from what comes next, and a
 * write's data are not. What nobody wants (the payload of a write that is refused, an option that
 * is not known or is too long) is passed over, and refused once it has gone by, as the
 * specification asks.
 *
 * What always holds: at most one of `into_left`, `payload_left` with it, and `drain_left` is being
 * worked off, and no structure is held meanwhile.
 */
#include "proto/nbd-server.h"

#include <errno.h>

#include "proto/nbd-server-parts.h"

void nbd_server_init(struct nbd_server *s, const struct nbd_server_config *config)
{
    memset(s, 0, sizeof *s);
    s->config = *config;
    s->phase = config->transmit ? NBD_SERVER_TRANSMIT : NBD_SERVER_CLIENT_FLAGS;
}

size_t nbd_server_greet(const struct nbd_server *s, uint8_t out[NBD_HELLO_SIZE])
{
    struct bytes_writer w = bytes_writer(out, NBD_HELLO_SIZE);

    if (s->phase == NBD_SERVER_CLIENT_FLAGS)
        nbd_put_hello(&w, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    return w.used;
}

ssize_t nbd_server_fail(struct nbd_server *s, const char *reason)
{
    s->phase = NBD_SERVER_ENDED;
    s->reason = reason;
    return -EPROTO;
}

static ssize_t step(void *machine, const uint8_t *bytes, size_t length, void *event)
{
    struct nbd_server *s = machine;

    if (s->phase == NBD_SERVER_TRANSMIT)
        return nbd_server_transmit_step(s, bytes, length, event);
    return nbd_server_options_step(s, bytes, length, event);
}

static ssize_t drain(struct nbd_server *s, size_t length, struct nbd_server_event *event)
{
    size_t take = length < s->drain_left ? length : s->drain_left;

    s->drain_left -= (uint32_t)take;
    if (s->drain_left == 0 && s->phase == NBD_SERVER_TRANSMIT)
        nbd_server_refuse_write(s, event);
    else if (s->drain_left == 0)
        nbd_server_refuse_option(s, event);
    return (ssize_t)take;
}

void nbd_server_receive(struct nbd_server *s, uint8_t *data, uint32_t length)
{
    s->into = data;
    s->into_left = length;
    s->payload_left -= length;
}

void nbd_server_discard(struct nbd_server *s)
{
    s->drain_left = s->payload_left;
    s->payload_left = 0;
    s->write_refusal = 0;
}

static ssize_t receive(struct nbd_server *s, const uint8_t *bytes, size_t length,
                       struct nbd_server_event *event)
{
    size_t take = length < s->into_left ? length : s->into_left;

    memcpy(s->into, bytes, take);
    s->into += take;
    s->into_left -= (uint32_t)take;
    if (s->into_left == 0)
        event->kind = NBD_SERVER_WRITTEN;
    return (ssize_t)take;
}

ssize_t nbd_server_feed(struct nbd_server *s, const uint8_t *bytes, size_t length,
                        struct nbd_server_event *event)
{
    event->kind = NBD_SERVER_NOTHING;
    event->say_length = 0;
    if (s->phase == NBD_SERVER_ENDED)
        return -EPROTO;
    if (length == 0)
        return 0;
    if (s->into_left > 0)
        return receive(s, bytes, length, event);
    if (s->drain_left > 0)
        return drain(s, length, event);
    return nbd_held_feed(&s->held, bytes, length, step, s, event);
}
