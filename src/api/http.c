/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP API over whatever offers the controls (api/control.h). It keeps no state: each answer is
 * made from what the controls say at that moment.
 */
#include "api/http.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "api/media-query.h"
#include "api/metrics.h"

static json_t *medium_json(const struct medium *medium)
{
    if (!medium)
        return json_null();
    return json_pack("{s:s, s:s, s:I, s:b}", "name", medium->name, "kind",
                     medium->kind == MEDIUM_CD ? "cd" : "disk", "size", (json_int_t)medium->size,
                     "read_only", medium->read_only);
}

static json_t *waiting_json(const struct control_slot *s)
{
    if (!s->waiting)
        return json_null();
    return json_pack("{s:i, s:i}", "grace_left", (int)s->grace_left, "keep_left",
                     (int)s->keep_left);
}

static json_t *slot_json(const struct control *control, unsigned slot)
{
    struct control_slot s;

    control_get_slot(control, slot, &s);
    return json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:b, s:i, s:i, s:o, s:o}", "slot",
                     (int)slot, "name", s.name, "export", s.export_name, "drive", s.drive, "state",
                     s.state, "uri", s.uri, "reason", s.reason, "medium", medium_json(s.medium),
                     "locked", s.locked, "grace", (int)s.grace, "keep", (int)s.keep, "waiting",
                     waiting_json(&s), "counters", metrics_json(&s.counters));
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

static void get_metrics(const struct control *control, struct web_reply *reply)
{
    reply->type = METRICS_TYPE;
    reply->body = metrics_text(control, &reply->length);
    reply->status = reply->body ? 200 : 500;
    if (!reply->body)
        reply->length = 0;
}

/* Whether this is a place to end a session, of a slot that is there or not. */
static bool is_end(const char *path)
{
    const char *last = strrchr(path, '/');

    return strncmp(path, MEDIA_SLOTS, strlen(MEDIA_SLOTS)) == 0 && strcmp(last, "/end") == 0;
}

static void api_get(void *owner, const char *path, struct web_reply *reply)
{
    const struct control *control = owner;
    json_t *slots;

    if (strcmp(path, "/metrics") == 0) {
        get_metrics(control, reply);
        return;
    }
    if (is_end(path)) {
        reply_json(reply, 405, json_pack("{s:s}", "error", "A session is ended by POST."));
        reply->allow = "POST";
        return;
    }
    if (strcmp(path, "/api/slots") != 0) {
        reply_json(reply, 404, json_pack("{s:s}", "error", "There is nothing here."));
        return;
    }
    slots = json_array();
    for (unsigned i = 0; i < control_slot_count(control); i++)
        json_array_append_new(slots, slot_json(control, i));
    reply_json(reply, 200, json_pack("{s:o}", "slots", slots));
}

/* Whether a session is to be ended by force: 0, 1, or -EINVAL for anything else that is said. */
static int read_force(const struct web_arguments *arguments)
{
    static const char force[] = "force=1";

    if (arguments->count == 0)
        return 0;
    if (arguments->count > 1 || arguments->length[0] != strlen(force) ||
        memcmp(arguments->text[0], force, strlen(force)) != 0)
        return -EINVAL;
    return 1;
}

static unsigned end_session(const struct control *control, unsigned slot, bool force,
                            const char **sentence)
{
    switch (control_end_slot(control, slot, force, "The session was ended on the device.")) {
    case CONTROL_ENDS:
        return 204;
    case CONTROL_EMPTY:
        *sentence = "This drive is empty, so there is nothing to end.";
        break;
    case CONTROL_LOCKED:
        *sentence = "The machine is using this drive and has been asked to give it up; eject it "
                    "there, or say ?force=1 to remove it all the same.";
        break;
    }
    return 409;
}

static unsigned api_post(void *owner, const char *path, const struct web_arguments *arguments,
                         const char **sentence)
{
    const struct control *control = owner;
    int slot = media_path_slot(path, MEDIA_SLOTS, "/end", control_slot_count(control));
    int force = read_force(arguments);

    if (!is_end(path)) {
        *sentence = "Only GET and HEAD are understood here.";
        return 405;
    }
    if (slot < 0) {
        *sentence = "This machine has no drive of that number.";
        return 404;
    }
    if (force < 0) {
        *sentence = "Nothing but ?force=1 may be said here.";
        return 400;
    }
    return end_session(control, (unsigned)slot, force, sentence);
}

static void api_open(void *owner, const char *path, const struct web_arguments *arguments,
                     struct stream *stream)
{
    const struct control *control = owner;
    int slot = media_path_slot(path, MEDIA_SLOTS, "/media", control_slot_count(control));
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
    return (struct web_route){.prefix = "/api/",
                              .get = api_get,
                              .post = api_post,
                              .open = api_open,
                              .owner = (void *)control};
}

struct web_route http_metrics_route(const struct control *control)
{
    return (struct web_route){.prefix = "/metrics", .get = api_get, .owner = (void *)control};
}
