/* SPDX-License-Identifier: Apache-2.0 */
/* See media-query.h. Bytes come from the network; the sentences go back to the page. */
#include "api/media-query.h"

#include <string.h>

#include "base/utf8.h"

/* What a JavaScript number can count up to one by one. */
#define MODIFIED_MAX ((INT64_C(1) << 53) - 1)

int media_path_slot(const char *path, const char *before, const char *after, unsigned slot_count)
{
    unsigned number = 0;
    const char *at = path;

    if (strncmp(at, before, strlen(before)) != 0)
        return -1;
    at += strlen(before);
    if (*at < '0' || *at > '9' || (at[0] == '0' && at[1] >= '0' && at[1] <= '9'))
        return -1;
    for (; *at >= '0' && *at <= '9'; at++) {
        number = number * 10 + (unsigned)(*at - '0');
        if (number >= slot_count)
            return -1;
    }
    return strcmp(at, after) == 0 ? (int)number : -1;
}

void media_query_init(struct media_query *q)
{
    *q = (struct media_query){.modified = -1};
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

static const char *add_modified(struct media_query *q, const char *value, size_t length)
{
    int64_t number = 0;

    if (q->modified >= 0)
        return "The file's time of change is said twice.";
    for (size_t i = 0; i < length; i++) {
        if (value[i] < '0' || value[i] > '9' || number > MODIFIED_MAX / 10)
            length = 0;
        else
            number = number * 10 + (value[i] - '0');
    }
    if (length == 0 || (value[0] == '0' && length > 1) || number > MODIFIED_MAX)
        return "The file's time of change must be in milliseconds since 1970.";
    q->modified = number;
    return NULL;
}

static const char *add_resume(struct media_query *q, const char *value, size_t length)
{
    if (q->resume[0])
        return "The session to resume is said twice.";
    for (size_t i = 0; i < length; i++) {
        if ((value[i] < '0' || value[i] > '9') && (value[i] < 'a' || value[i] > 'f'))
            length = 0;
    }
    if (length != MEDIA_TOKEN_DIGITS)
        return "The session to resume must be 32 lower-case hexadecimal digits.";
    memcpy(q->resume, value, MEDIA_TOKEN_DIGITS);
    q->resume[MEDIA_TOKEN_DIGITS] = '\0';
    return NULL;
}

const char *media_query_add(struct media_query *q, const char *argument, size_t length)
{
    static const struct {
        const char *key;
        const char *(*add)(struct media_query *q, const char *value, size_t length);
    } known[] = {
        {"kind", add_kind},
        {"name", add_name},
        {"modified", add_modified},
        {"resume", add_resume},
    };
    const char *equals = memchr(argument, '=', length);
    size_t key = equals ? (size_t)(equals - argument) : length;
    const char *value = equals ? equals + 1 : argument + length;

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (key == strlen(known[i].key) && memcmp(argument, known[i].key, key) == 0)
            return known[i].add(q, value, length - (size_t)(value - argument));
    }
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
