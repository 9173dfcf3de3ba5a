// SPDX-License-Identifier: Apache-2.0
/*
 * The NBD server against anything. The first byte of an input says how its rest is cut (low half,
 * 0: not at all) and, with bit 4, that there is no handshake. Every request that the machine lets
 * pass is checked to lie within the image, and answered.
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

static void answer(const struct nbd_server *s, const struct nbd_server_event *event)
{
    const struct nbd_request *q = &event->request;
    uint8_t head[NBD_SERVER_HEAD_MAX];

    require(nbd_server_put_done(s, q->cookie, head) <= sizeof head);
    require(nbd_server_put_error(s, q->cookie, -5, head) <= sizeof head);
    if (event->kind != NBD_SERVER_READ)
        return;
    require(q->length > 0 && q->length <= NBD_PAYLOAD_MAX);
    require(q->offset < SIZE && q->length <= SIZE - q->offset);
    require(nbd_server_put_data(q->cookie, q->offset, q->length, true, head) <= sizeof head);
    require(nbd_server_put_hole(q->cookie, q->offset, q->length, false, head) <= sizeof head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nbd_server *s = malloc(sizeof *s);
    uint8_t hello[NBD_HELLO_SIZE];
    size_t cut = size > 0 ? data[0] & 15 : 0;

    require(s);
    nbd_server_init(s, SIZE, 2u << 20, size > 0 && data[0] & 16);
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
        if (event.kind == NBD_SERVER_READ || event.kind == NBD_SERVER_FLUSH)
            answer(s, &event);
    }
    free(s);
    return 0;
}
