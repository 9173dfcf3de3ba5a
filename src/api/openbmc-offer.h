/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLATTER_API_OPENBMC_OFFER_H
#define PLATTER_API_OPENBMC_OFFER_H

#include "api/control.h"

/*
 * What a far end of OpenBMC's comes with, whichever way it comes, to the drive that `about` tells
 * of. It says nothing of its image but by NBD, so the kind is the drive's and the name is made up;
 * and it cannot come back.
 */
struct control_offer openbmc_offer(const struct control_slot *about);

#endif
