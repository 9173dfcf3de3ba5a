/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP API over whatever offers the controls (api/control.h). It keeps no state: each answer is
 * made from what the controls say at that moment.
 */
#include "api/http.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "api/media-query.h"

static json_t *medium_json(const struct medium *medium)
{
    if (!medium)
        return json_null();
    return json_pack("{s:s, s:s, s:I, s:b}", "name", medium->name, "kind",
                     medium->kind == MEDIUM_CD ? "cd" : "disk", "size", (json_int_t)medium->size,
                     "read_only", medium->read_only);
}

static json_t *slot_json(const struct control *control, unsigned slot)
{
    struct control_slot s;

    control_get_slot(control, slot, &s);
    return json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:o, s:{s:I, s:I, s:I, s:I}}", "slot",
                     (int)slot, "name", s.name, "export", s.export_name, "state", s.state, "uri",
                     s.uri, "reason", s.reason, "medium", medium_json(s.medium), "counters",
                     "requests", (json_int_t)s.requests, "errors", (json_int_t)s.errors,
                     "bytes_read", (json_int_t)s.bytes_read, "bytes_fetched",
                     (json_int_t)s.bytes_fetched);
}

/* `json`, which is taken over and may be NULL for want of memory, as the reply. */
static void reply_json(struct web_reply *reply, unsigned status, json_t *json)
{
    reply->status = status;
    reply->type = "application/json";
    reply->body = json ? json_dumps(json, JSON_COMPACT) : NULL;
    if (!reply->body)
        reply->status = 500;
    reply->length = reply->body ? strlen(reply->body) : 0;
    json_decref(json);
}

static void api_get(void *owner, const char *path, struct web_reply *reply)
{
    const struct control *control = owner;
    json_t *slots;

    if (strcmp(path, "/api/slots") != 0) {
        reply_json(reply, 404, json_pack("{s:s}", "error", "There is nothing here."));
        return;
    }
    slots = json_array();
    for (unsigned i = 0; i < control_slot_count(control); i++)
        json_array_append_new(slots, slot_json(control, i));
    reply_json(reply, 200, json_pack("{s:o}", "slots", slots));
}

static void api_open(void *owner, const char *path, const struct web_arguments *arguments,
                     struct stream *stream)
{
    const struct control *control = owner;
    int slot = media_path_slot(path, control_slot_count(control));
    const char *wrong = slot < 0 ? "This machine has no drive of that number." : NULL;
    struct control_offer offer;
    struct media_query query;

    media_query_init(&query);
    for (size_t i = 0; !wrong && i < arguments->count; i++)
        wrong = media_query_add(&query, arguments->text[i], arguments->length[i]);
    if (!wrong)
        wrong = media_query_check(&query);
    if (wrong) {
        stream_close(stream, STREAM_CLOSE_REFUSED, wrong);
        stream_free(stream);
        return;
    }
    offer = (struct control_offer){
        .kind = query.kind,
        .name = query.name,
        .modified = query.modified,
        .resume = query.resume[0] ? query.resume : NULL,
    };
    control_open_slot(control, (unsigned)slot, stream, &offer);
}

struct web_route http_api_route(const struct control *control)
{
    return (struct web_route){
        .prefix = "/api/", .get = api_get, .open = api_open, .owner = (void *)control};
}
