/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens: 16 bytes of the kernel's random numbers, as hexadecimal digits. */
#include "slot/token.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

int token_make(char token[TOKEN_DIGITS + 1])
{
    uint8_t random[TOKEN_DIGITS / 2];

    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return -EIO;
    for (unsigned i = 0; i < sizeof random; i++)
        snprintf(token + (size_t)2 * i, 3, "%02x", random[i]);
    return 0;
}

bool token_is_token(const char *text)
{
    return strlen(text) == TOKEN_DIGITS && strspn(text, "0123456789abcdef") == TOKEN_DIGITS;
}

bool token_is(const char *token, const char *text)
{
    return strlen(text) == TOKEN_DIGITS && CRYPTO_memcmp(token, text, TOKEN_DIGITS) == 0;
}
