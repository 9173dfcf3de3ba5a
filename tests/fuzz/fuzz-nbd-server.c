// SPDX-License-Identifier: Apache-2.0
/*
 * The NBD server against anything. The first byte of an input says how its rest is cut (low half,
 * 0: not at all), with bit 4 that there is no handshake, with bit 5 that the image is writable.
 * Every request that the machine lets pass is checked to lie within the image, and answered. A
 * write's bytes are taken in memory of a few lengths, and sometimes not wanted any more.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/nbd-server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SIZE 0x100000000u

static void require(bool truth)
{
    if (!truth)
        abort();
}

struct driver {
    struct nbd_server server;
    uint8_t *memory; /* of a write, exactly as long as was said */
    unsigned turns;
};

static void expect_bytes(struct driver *d)
{
    static const uint32_t lengths[] = {1, 4096, 7, UINT32_MAX, 512};
    uint32_t length = lengths[d->turns++ % 5];

    free(d->memory);
    d->memory = NULL;
    if (d->server.payload_left == 0)
        return;
    if (d->turns % 17 == 0) {
        nbd_server_discard(&d->server);
        return;
    }
    if (length > d->server.payload_left)
        length = d->server.payload_left;
    d->memory = malloc(length);
    require(d->memory);
    nbd_server_receive(&d->server, d->memory, length);
}

static void answer(const struct nbd_server *s, const struct nbd_server_event *event)
{
    const struct nbd_request *q = &event->request;
    uint8_t head[NBD_SERVER_HEAD_MAX];

    require(nbd_server_put_done(s, q->cookie, head) <= sizeof head);
    require(nbd_server_put_error(s, q->cookie, -5, head) <= sizeof head);
    require((event->kind == NBD_SERVER_WRITE) == (q->type == NBD_CMD_WRITE));
    if (q->type == NBD_CMD_FLUSH) {
        require(q->offset == 0 && q->length == 0 && q->flags == 0);
        return;
    }
    require(q->length > 0 && q->offset < SIZE && q->length <= SIZE - q->offset);
    require(s->config.writable || q->type == NBD_CMD_READ);
    if (q->type == NBD_CMD_READ || q->type == NBD_CMD_WRITE)
        require(q->length <= NBD_PAYLOAD_MAX);
    require(nbd_server_put_data(q->cookie, q->offset, q->length, true, head) <= sizeof head);
    require(nbd_server_put_hole(q->cookie, q->offset, q->length, false, head) <= sizeof head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct driver *d = calloc(1, sizeof *d);
    struct nbd_server *s = &d->server;
    uint8_t hello[NBD_HELLO_SIZE];
    size_t cut = size > 0 ? data[0] & 15 : 0;

    require(d);
    nbd_server_init(s, &(struct nbd_server_config){
                           .size = SIZE,
                           .whole_max = 2u << 20,
                           .writable = size > 0 && data[0] & 32,
                           .transmit = size > 0 && data[0] & 16,
                       });
    require(nbd_server_greet(s, hello) <= sizeof hello);
    for (size_t at = 1; at < size;) {
        size_t piece = cut && cut < size - at ? cut : size - at;
        struct nbd_server_event event;
        ssize_t used = nbd_server_feed(s, data + at, piece, &event);

        if (used < 0) {
            require(s->reason);
            break;
        }
        require(used > 0 && (size_t)used <= piece);
        at += (size_t)used;
        if (event.kind == NBD_SERVER_SAY || event.kind == NBD_SERVER_SAY_LAST)
            require(event.say_length > 0 && event.say_length <= sizeof event.say);
        if (event.kind == NBD_SERVER_REQUEST || event.kind == NBD_SERVER_WRITE)
            answer(s, &event);
        if (event.kind == NBD_SERVER_WRITE || event.kind == NBD_SERVER_WRITTEN)
            expect_bytes(d);
    }
    free(d->memory);
    free(d);
    return 0;
}
