/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the request that opens a WebSocket. Lines: Host, Origin, path, then the query's
 * arguments. Whatever passes must be what the rest of the program builds on.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/media-query.h"
#include "base/utf8.h"
#include "transport/web-guard.h"

#define SLOTS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Cuts the next line off `rest`, as a string of its own to be freed; NULL after the last. */
static char *take_line(const char **rest, size_t *left, size_t *length)
{
    const char *end;
    char *line;

    if (*left == 0)
        return NULL;
    end = memchr(*rest, '\n', *left);
    *length = end ? (size_t)(end - *rest) : *left;
    line = malloc(*length + 1);
    if (!line)
        abort();
    memcpy(line, *rest, *length);
    line[*length] = '\0';
    *rest += *length + (end ? 1 : 0);
    *left -= *length + (end ? 1 : 0);
    return line;
}

static void try_headers(const char *host, const char *origin)
{
    static const char *const names[] = {"bmc.example"};
    bool ours = web_guard_host(host, names, 1);

    /* A foreign name in Origin never passes for a Host that is ours. */
    if (ours && web_guard_origin("http://evil.example", host))
        abort();
    web_guard_origin(origin, host);
    web_guard_list_has(origin, "platter.media.1");
    if (web_guard_token(origin) &&
        (strlen(origin) > WEB_GUARD_TOKEN_MAX || strpbrk(origin, ", \t\r")))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *rest = (const char *)data;
    size_t left = size;
    size_t length = 0;
    char *host = take_line(&rest, &left, &length);
    char *origin = take_line(&rest, &left, &length);
    char *path = take_line(&rest, &left, &length);
    struct media_query query;
    char *argument;

    try_headers(host, origin ? origin : "");
    if (path && (media_path_slot(path, MEDIA_SLOTS, "/media", SLOTS) >= SLOTS ||
                 media_path_slot(path, "/nbd/", "", SLOTS) >= SLOTS))
        abort();
    media_query_init(&query);
    while ((argument = take_line(&rest, &left, &length))) {
        media_query_add(&query, argument, length);
        free(argument);
        if (strnlen(query.name, sizeof query.name) == sizeof query.name ||
            !utf8_is_text(query.name, strlen(query.name)) ||
            (query.resume[0] && strnlen(query.resume, sizeof query.resume) != MEDIA_TOKEN_DIGITS))
            abort();
    }
    if (!media_query_check(&query) && !query.has_kind)
        abort();
    free(host);
    free(origin);
    free(path);
    return 0;
}
