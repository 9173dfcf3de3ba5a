/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is written to FunctionFS's ep0 before a USB device can be: its descriptors and its strings.
 * Pure.
 *
 * A function is one interface of mass storage over bulk-only transport with two bulk endpoints, out
 * and in, for full, high and super speed. FunctionFS names its endpoint files in the order of the
 * endpoints here: ep1 is the out endpoint of the first function, ep2 its in endpoint, and so on.
 */
#ifndef PLATTER_GADGET_DESCRIPTORS_H
#define PLATTER_GADGET_DESCRIPTORS_H

#include <stddef.h>
#include <stdint.h>

/* USB numbers endpoints from 1 to 15, in each direction (USB 2.0, section 9.6.6). */
#define DESCRIPTORS_FUNCTIONS_MAX 15
#define DESCRIPTORS_ROOM          (24 + 81 * DESCRIPTORS_FUNCTIONS_MAX)
#define DESCRIPTORS_STRINGS_ROOM  16

/* The descriptors of 1 to DESCRIPTORS_FUNCTIONS_MAX functions. Returns the length. */
size_t descriptors_write(unsigned functions, uint8_t out[DESCRIPTORS_ROOM]);

/* The strings of the functions, which are none: those of the device belong to its gadget. Returns
 * the length. */
size_t descriptors_write_strings(uint8_t out[DESCRIPTORS_STRINGS_ROOM]);

#endif
