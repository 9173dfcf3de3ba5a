/* SPDX-License-Identifier: Apache-2.0 */
/* One run of a buffer that lies in several places: where a read's bytes go, in order. */
#ifndef PLATTER_BASE_PART_H
#define PLATTER_BASE_PART_H

#include <stdint.h>

struct part {
    uint8_t *data;
    uint32_t length; /* bytes; at least 1 */
};

#endif
