// SPDX-License-Identifier: Apache-2.0
/*
 * The holding of nbd-held.h. Bytes are copied only while a structure is cut; one that has arrived
 * whole is read where it lies.
 */
#include "proto/nbd-held.h"

ssize_t nbd_held_feed(struct nbd_held *held, const uint8_t *bytes, size_t length, nbd_step_fn *step,
                      void *machine, void *event)
{
    size_t before = held->length;
    size_t room = sizeof held->bytes - before;
    size_t take = length < room ? length : room;
    ssize_t used;

    if (before == 0) {
        used = step(machine, bytes, length, event);
    } else {
        memcpy(held->bytes + before, bytes, take);
        used = step(machine, held->bytes, before + take, event);
    }
    if (used < 0)
        return used;
    if (used == 0) {
        if (before == 0)
            memcpy(held->bytes, bytes, take);
        held->length = before + take;
        return (ssize_t)take;
    }
    /* The step wanted more than `before`, so it has used at least one of the new bytes. */
    held->length = 0;
    return used - (ssize_t)before;
}
