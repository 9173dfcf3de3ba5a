// SPDX-License-Identifier: Apache-2.0
/*
 * The golden vectors, read with jansson. A vector that is not as tests/vectors/README.md says is a
 * broken test, so everything here ends the program at once and names the place.
 */
#include "vectors.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void broken(const char *what, const char *where)
{
    fprintf(stderr, "vectors: %s: %s\n", where, what);
    exit(99);
}

json_t *vectors_load(const char *file)
{
    char path[512];
    json_error_t error;

    snprintf(path, sizeof path, "%s/%s", VECTORS_DIR, file);

    json_t *all = json_load_file(path, 0, &error);

    if (!all)
        broken(error.text, path);
    if (!json_is_array(all) || json_array_size(all) == 0)
        broken("not an array of vectors", path);
    return all;
}

uint64_t vectors_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    if (json_is_integer(value))
        return (uint64_t)json_integer_value(value);
    if (json_is_string(value))
        return strtoull(json_string_value(value), NULL, 16);
    broken("no such number", key);
}

const char *vectors_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    if (!text)
        broken("no such text", key);
    return text;
}

static unsigned digit(char c, const char *key)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = strchr(digits, c);

    if (!c || !at)
        broken("not a hex digit", key);
    return (unsigned)(at - digits);
}

size_t vectors_bytes(const json_t *object, const char *key, uint8_t *out, size_t room)
{
    const char *text = vectors_text(object, key);
    size_t count = 0;

    while (*text) {
        if (isspace((unsigned char)*text)) {
            text++;
            continue;
        }
        if (count == room)
            broken("too many bytes for the test", key);

        unsigned high = digit(text[0], key);

        out[count++] = (uint8_t)(high << 4 | digit(text[1], key));
        text += 2;
    }
    return count;
}
