/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UTF-8, as far as a name needs it. A name that passes may be shown, logged through log_quote() and
 * put into JSON as it is; one that does not is refused at the door, so no room behind it has to
 * think of half a character. Pure.
 */
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

/* The length of the character that begins here and its code point; 0 when it is malformed. */
static size_t utf8_take(const uint8_t *at, size_t left, uint32_t *point)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length;
    uint32_t value;

    if (at[0] < 0x80) {
        *point = at[0];
        return 1;
    }
    if ((at[0] & 0xe0) == 0xc0)
        length = 2;
    else if ((at[0] & 0xf0) == 0xe0)
        length = 3;
    else if ((at[0] & 0xf8) == 0xf0)
        length = 4;
    else
        return 0;
    if (length > left)
        return 0;
    value = at[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (at[i] & 0x3fu);
    }
    if (value < smallest[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    *point = value;
    return length;
}

bool utf8_is_text(const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    while (length > 0) {
        uint32_t point;
        size_t taken = utf8_take(at, length, &point);

        if (taken == 0 || point < 0x20 || (point >= 0x7f && point < 0xa0))
            return false;
        at += taken;
        length -= taken;
    }
    return true;
}

size_t utf8_cut(const char *text, size_t room)
{
    size_t length = strlen(text);

    if (length <= room)
        return length;
    /* A continuation byte right after the cut says that the cut is inside a character. */
    while (room > 0 && ((uint8_t)text[room] & 0xc0) == 0x80)
        room--;
    return room;
}
