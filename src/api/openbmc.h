/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The WebSockets that OpenBMC's own page opens, which knows nothing of this program:
 * docs/protocol.md, "The page of OpenBMC".
 */
#ifndef PLATTER_API_OPENBMC_H
#define PLATTER_API_OPENBMC_H

#include "api/control.h"
#include "transport/web.h"

/* /vm/0/0, which is slot 0; and /nbd/N, slot N. `control` must outlive them. */
struct web_route openbmc_vm_route(const struct control *control);
struct web_route openbmc_nbd_route(const struct control *control);

#endif
