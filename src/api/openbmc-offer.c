/* SPDX-License-Identifier: Apache-2.0 */
/* See openbmc-offer.h: the page's WebSockets and D-Bus both bring such far ends. */
#include "api/openbmc-offer.h"

#include <string.h>

struct control_offer openbmc_offer(const struct control_slot *about)
{
    return (struct control_offer){
        .kind = strcmp(about->drive, "cd") == 0 ? MEDIUM_CD : MEDIUM_DISK,
        .name = "OpenBMC virtual media",
        .modified = -1,
        .profile = "openbmc",
        .ends_with_line = true,
    };
}
