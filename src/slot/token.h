/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token by which a far end shows that it belongs to a session: whoever has it may take the
 * session over, so it is told to the session's own far ends alone and never logged.
 */
#ifndef PLATTER_SLOT_TOKEN_H
#define PLATTER_SLOT_TOKEN_H

#include <stdbool.h>

#define TOKEN_DIGITS 32 /* lower-case hexadecimal: 16 random bytes */

/* 0, or -errno if the kernel gives no random numbers. */
int token_make(char token[TOKEN_DIGITS + 1]);
/* Whether it could have been made here. */
bool token_is_token(const char *text);
/* Whether `text` (of any length) is the token, found out in a time that tells nothing of it. */
bool token_is(const char *token, const char *text);

#endif
