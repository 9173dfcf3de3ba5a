/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a page says of a medium when it opens the WebSocket:
 * /api/slots/N/media?kind=disk|cd&name=...&modified=...&resume=... (docs/protocol.md). Pure.
 */
#ifndef PLATTER_API_MEDIA_QUERY_H
#define PLATTER_API_MEDIA_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/medium.h"

#define MEDIA_TOKEN_DIGITS 32

struct media_query {
    bool has_kind;
    enum medium_kind kind;
    char name[MEDIUM_NAME_MAX]; /* UTF-8 text without control characters, cut to fit */
    int64_t modified;           /* milliseconds since 1970, at most 2^53 - 1; -1: not said */
    char resume[MEDIA_TOKEN_DIGITS + 1]; /* lower-case hexadecimal; "" when nothing is resumed */
};

#define MEDIA_SLOTS "/api/slots/"

/* The slot that `path` names, as `before`, N and `after`, if there are more than N; else -1. */
int media_path_slot(const char *path, const char *before, const char *after, unsigned slot_count);

/* Begins with nothing known. */
void media_query_init(struct media_query *q);
/*
 * Takes one argument, "key=value", percent-decoded. Keys that are not known are passed over. NULL,
 * or the sentence that says what is wrong with it.
 */
const char *media_query_add(struct media_query *q, const char *argument, size_t length);
/* NULL, or the sentence that says what is missing. */
const char *media_query_check(const struct media_query *q);

#endif
