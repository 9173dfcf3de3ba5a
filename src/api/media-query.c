/* SPDX-License-Identifier: Apache-2.0 */
/* See media-query.h. Bytes come from the network; the sentences go back to the page. */
#include "api/media-query.h"

#include <string.h>

#include "base/utf8.h"

#define PATH_BEFORE "/api/slots/"
#define PATH_AFTER  "/media"

int media_path_slot(const char *path, unsigned slot_count)
{
    unsigned number = 0;
    const char *at = path;

    if (strncmp(at, PATH_BEFORE, strlen(PATH_BEFORE)) != 0)
        return -1;
    at += strlen(PATH_BEFORE);
    if (*at < '0' || *at > '9' || (at[0] == '0' && at[1] >= '0' && at[1] <= '9'))
        return -1;
    for (; *at >= '0' && *at <= '9'; at++) {
        number = number * 10 + (unsigned)(*at - '0');
        if (number >= slot_count)
            return -1;
    }
    return strcmp(at, PATH_AFTER) == 0 ? (int)number : -1;
}

void media_query_init(struct media_query *q)
{
    *q = (struct media_query){0};
}

static const char *add_kind(struct media_query *q, const char *value, size_t length)
{
    if (q->has_kind)
        return "The kind of drive is said twice.";
    q->has_kind = true;
    if (length == 4 && memcmp(value, "disk", 4) == 0)
        q->kind = MEDIUM_DISK;
    else if (length == 2 && memcmp(value, "cd", 2) == 0)
        q->kind = MEDIUM_CD;
    else
        return "The kind of drive must be disk or cd.";
    return NULL;
}

static const char *add_name(struct media_query *q, const char *value, size_t length)
{
    if (q->name[0])
        return "The file's name is said twice.";
    if (length == 0)
        return "The file's name is empty.";
    if (!utf8_is_text(value, length))
        return "The file's name is not UTF-8 text; rename the file.";
    if (length >= sizeof q->name) {
        /* Back to where a character begins: the byte after the cut is no continuation. */
        for (length = sizeof q->name - 1; ((unsigned char)value[length] & 0xc0) == 0x80; length--)
            ;
    }
    memcpy(q->name, value, length);
    q->name[length] = '\0';
    return NULL;
}

const char *media_query_add(struct media_query *q, const char *argument, size_t length)
{
    const char *equals = memchr(argument, '=', length);
    size_t key = equals ? (size_t)(equals - argument) : length;
    const char *value = equals ? equals + 1 : argument + length;

    if (key == 4 && memcmp(argument, "kind", 4) == 0)
        return add_kind(q, value, length - (size_t)(value - argument));
    if (key == 4 && memcmp(argument, "name", 4) == 0)
        return add_name(q, value, length - (size_t)(value - argument));
    return NULL;
}

const char *media_query_check(const struct media_query *q)
{
    if (!q->has_kind)
        return "The page did not say what kind of drive it wants.";
    if (!q->name[0])
        return "The page did not say the file's name.";
    return NULL;
}
