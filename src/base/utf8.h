/* SPDX-License-Identifier: Apache-2.0 */
/* Is a run of bytes text a person could have typed? For names that come from outside. */
#ifndef PLATTER_BASE_UTF8_H
#define PLATTER_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF) without
 * control characters (U+0000 to U+001F, U+007F to U+009F).
 */
bool utf8_is_text(const void *bytes, size_t length);

/* The longest prefix of `text`, at most `room` bytes long, that does not cut a character. */
size_t utf8_cut(const char *text, size_t room);

#endif
