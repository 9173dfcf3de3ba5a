/* SPDX-License-Identifier: Apache-2.0 */
/* See web-guard.h. Nothing here is repaired or guessed: what is not exactly right is not allowed.
 */
#include "transport/web-guard.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

/* Nothing, or a colon and a port number. */
static bool is_port(const char *text)
{
    unsigned value = 0;

    if (!*text)
        return true;
    if (*text != ':' || !text[1] || strlen(text) > 6)
        return false;
    for (text++; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        value = value * 10 + (unsigned)(*text - '0');
    }
    return value > 0 && value <= 65535;
}

bool web_guard_host(const char *host, const char *const *names, size_t name_count)
{
    uint8_t address[sizeof(struct in6_addr)];
    char name[256];
    size_t length;

    if (!host)
        return false;
    if (host[0] == '[') {
        length = strcspn(host, "]");
        if (!host[length] || length >= sizeof name || !is_port(host + length + 1))
            return false;
        memcpy(name, host + 1, length - 1);
        name[length - 1] = '\0';
        return inet_pton(AF_INET6, name, address) == 1;
    }
    length = strcspn(host, ":");
    if (length == 0 || length >= sizeof name || !is_port(host + length))
        return false;
    memcpy(name, host, length);
    name[length] = '\0';
    if (inet_pton(AF_INET, name, address) == 1 || strcasecmp(name, "localhost") == 0)
        return true;
    for (size_t i = 0; i < name_count; i++) {
        if (strcasecmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

bool web_guard_origin(const char *origin, const char *host)
{
    if (!origin || !host || !*host)
        return false;
    if (strncasecmp(origin, "http://", 7) == 0)
        return strcasecmp(origin + 7, host) == 0;
    if (strncasecmp(origin, "https://", 8) == 0)
        return strcasecmp(origin + 8, host) == 0;
    return false;
}

bool web_guard_token(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char others[] = "0123456789-_.";
    size_t length = strlen(text);
    bool has_letter = false;

    for (size_t i = 0; i < length; i++) {
        if (strchr(letters, text[i]))
            has_letter = true;
        else if (!strchr(others, text[i]))
            return false;
    }
    return has_letter && length <= WEB_GUARD_TOKEN_MAX;
}

bool web_guard_list_has(const char *list, const char *token)
{
    size_t wanted = strlen(token);

    while (list && *list) {
        size_t length;

        list += strspn(list, ", \t");
        length = strcspn(list, ", \t");
        if (length == wanted && strncasecmp(list, token, wanted) == 0)
            return true;
        list += length;
    }
    return false;
}
