// SPDX-License-Identifier: Apache-2.0
/* The table of profile.h: data, and nothing else. */
#include "source/profile.h"

#include <stddef.h>
#include <string.h>

#include "proto/nbd-inflight.h"

static const struct peer_profile profiles[] = {
    {
        /* Our own page, and NBD servers by a socket: nothing but what the far end says itself. One
         * that only knows EXPORT_NAME may be OpenBMC's page, which serves no more at once. */
        .name = "platter",
        .length_max = 1u << 20,
        .length_max_plain = 128u << 10,
        .in_flight_max = NBD_INFLIGHT_MAX,
        .structured = true,
    },
    {
        /* OpenBMC's web server between the two: it ends a session when a message has more than
         * 131,088 bytes, or when 524,352 are waiting: one simple reply to a READ of 128 KiB, and
         * four of them. */
        .name = "openbmc",
        .length_max = 128u << 10,
        .length_max_plain = 128u << 10,
        .in_flight_max = 4,
        .structured = false,
    },
};

const struct peer_profile *peer_profile_find(const char *name)
{
    if (!name)
        return &profiles[0];
    for (size_t i = 0; i < sizeof profiles / sizeof profiles[0]; i++) {
        if (strcmp(profiles[i].name, name) == 0)
            return &profiles[i];
    }
    return NULL;
}
