/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may be asked of a far end, by what carries its bytes: some carriers end a session in which
 * too much is on its way at once, and say to nobody how much that is. A new one is a row of the
 * table.
 */
#ifndef PLATTER_SOURCE_PROFILE_H
#define PLATTER_SOURCE_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

struct peer_profile {
    const char *name;
    /* The longest READ and WRITE, in bytes, whatever longer ones the far end would take; powers of
     * two, at least 65536: of one that knows NBD_OPT_GO, and of one that only knows EXPORT_NAME. */
    uint32_t length_max;
    uint32_t length_max_plain;
    unsigned in_flight_max; /* requests at once: 1 to NBD_INFLIGHT_MAX */
    /* Whether structured replies are asked for. With simple ones a reply is never longer than what
     * was asked and 16 bytes, but nothing is known of zeroes. */
    bool structured;
};

/* NULL: "platter". NULL is also the answer to a name that is not known. */
const struct peer_profile *peer_profile_find(const char *name);

#endif
