/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the golden vectors of tests/vectors, whose README.md describes them. Ends the program when
 * one is not as described. */
#ifndef PLATTER_TESTS_VECTORS_H
#define PLATTER_TESTS_VECTORS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* The array in a file of tests/vectors; json_decref() it. */
json_t *vectors_load(const char *file);
/* A field of up to 32 bits, or of 64 ("0x…"). */
uint64_t vectors_number(const json_t *object, const char *key);
/* A text field. */
const char *vectors_text(const json_t *object, const char *key);
/* A field of hex digits as bytes in `out`; returns how many. */
size_t vectors_bytes(const json_t *object, const char *key, uint8_t *out, size_t room);

#endif
