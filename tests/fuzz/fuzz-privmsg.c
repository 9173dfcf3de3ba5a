/* SPDX-License-Identifier: Apache-2.0 */
/* Any packet at all on the helper's socket: refused, or a message that has this one form only. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/privmsg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t again[PRIVMSG_SIZE_MAX];
    struct privmsg m;

    if (privmsg_decode(data, size, &m) < 0)
        return 0;
    if (m.slot >= PRIVMSG_SLOTS_MAX || strlen(m.reason) > PRIVMSG_REASON_MAX || m.error > 0)
        abort();
    /* Whoever believes it makes room for that many descriptors. */
    if (m.drives > PRIVMSG_DRIVES_MAX || PRIVMSG_FDS(m.functions) >= PRIVMSG_FDS_MAX)
        abort();
    if (privmsg_encode(&m, again) != size || memcmp(data, again, size) != 0)
        abort();
    return 0;
}
