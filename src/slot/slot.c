/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A slot carries out what the session table says.
 *
 * Every deed here (a source, an export, the far end's goodbye) reports back as a session event.
 * Events are queued and handled on the loop's next turn, so no action ever runs inside a callback
 * of the thing it acts on. Only a far end's arrival is handled at once, since its stream must be
 * taken or turned away.
 *
 * Who owns what: the export lives as long as the slot. The engine and the source live from OPENING
 * to RELEASE; requests still with the source are answered by freeing it, and by then the export has
 * stopped, so the engine is empty when it goes.
 *
 * Why a session ends is said by whatever ended it first; what follows from that is not a new
 * reason.
 */
#include "slot/slot.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "export/export.h"
#include "session/session.h"
#include "source/peer.h"

/* A word to the far end at least this often, so that both ends notice a dead line. Milliseconds. */
#define HEARTBEAT 10000

/* A session reports each event but FAR_END_CAME at most once or twice; see post(). */
#define EVENTS_MAX 16

struct slot {
    struct slot_config config;
    struct loop_later *later;
    struct loop_timer *heartbeat;
    struct export *export;

    enum session_state state;
    enum session_event events[EVENTS_MAX];
    unsigned event_count;

    struct stream *newcomer; /* only while slot_open() runs */
    struct engine *engine;
    struct source *source;
    bool source_lost;
    struct source_info info;
    struct medium medium;

    bool has_cause;
    enum stream_close cause;
    char reason[256];
    struct engine_counters last_counters;

    void (*idle)(void *arg);
    void *idle_arg;
};

static void post(struct slot *slot, enum session_event event)
{
    if (slot->event_count == EVENTS_MAX)
        return; /* can only be END_ASKED over and over, and one of those is queued */
    slot->events[slot->event_count++] = event;
    loop_later_set(slot->later);
}

static void set_cause(struct slot *slot, enum stream_close why, const char *reason)
{
    if (slot->has_cause)
        return;
    slot->has_cause = true;
    slot->cause = why;
    snprintf(slot->reason, sizeof slot->reason, "%s", reason);
}

/* ---- what the source and the export report ---- */

static void on_source_ready(void *owner, const struct source_info *info)
{
    struct slot *slot = owner;
    char reason[sizeof slot->reason];

    slot->info = *info;
    slot->medium.size = info->size;
    slot->medium.read_only = true;
    if (slot->export->ops->check(&slot->medium, reason, sizeof reason) < 0) {
        set_cause(slot, STREAM_CLOSE_REFUSED, reason);
        post(slot, SESSION_MEDIUM_REFUSED);
        return;
    }
    post(slot, SESSION_FAR_END_READY);
}

static void on_source_lost(void *owner, enum stream_close why, bool orderly, const char *reason)
{
    struct slot *slot = owner;
    char sentence[sizeof slot->reason];

    snprintf(sentence, sizeof sentence, "%s: %s.",
             orderly ? "The page ended the session" : "The page was lost", reason);
    slot->source_lost = true;
    set_cause(slot, why, sentence);
    post(slot, SESSION_FAR_END_LOST);
}

static const struct source_events source_events = {
    .ready = on_source_ready,
    .lost = on_source_lost,
};

static void on_export_started(void *owner)
{
    post(owner, SESSION_EXPORT_STARTED);
}

static void on_export_ejected(void *owner)
{
    struct slot *slot = owner;

    set_cause(slot, STREAM_CLOSE_EJECTED, "The machine ejected the drive.");
    post(slot, SESSION_EJECTED);
}

static void on_export_stopped(void *owner, int error, const char *reason)
{
    struct slot *slot = owner;

    if (error) {
        log_error("slot %u: %s", slot->config.number, reason);
        set_cause(slot, STREAM_CLOSE_FAILED, reason);
    }
    post(slot, SESSION_EXPORT_STOPPED);
}

static const struct export_events export_events = {
    .started = on_export_started,
    .ejected = on_export_ejected,
    .stopped = on_export_stopped,
};

/* ---- what the table asks for ---- */

static uint64_t engine_clock(void *arg)
{
    (void)arg;
    return loop_clock();
}

static void open_far_end(struct slot *slot)
{
    struct engine_config config = {
        .cache_max = slot->config.cache_max,
        .is_cd = slot->medium.kind == MEDIUM_CD,
        .host = {.now = engine_clock},
    };
    int r;

    r = engine_new(&config, &slot->engine);
    if (r == 0)
        r = peer_new(slot->config.loop, slot->newcomer, &source_events, slot, &slot->source);
    else
        stream_free(slot->newcomer);
    slot->newcomer = NULL;
    if (r < 0) {
        slot->source_lost = true;
        set_cause(slot, STREAM_CLOSE_FAILED, "The device has no memory left for a session.");
        post(slot, SESSION_FAR_END_LOST);
        return;
    }
    loop_timer_set(slot->heartbeat, HEARTBEAT);
}

static void turn_away(struct slot *slot)
{
    assert(slot->newcomer); /* the table turns away on FAR_END_CAME alone */
    stream_close(slot->newcomer, STREAM_CLOSE_BUSY, "Slot is in use");
    stream_free(slot->newcomer);
    slot->newcomer = NULL;
}

static void release(struct slot *slot)
{
    char quoted[sizeof slot->reason];

    loop_timer_stop(slot->heartbeat);
    /* What the source still has is answered by this, and asks it nothing more: the engine failed.
     */
    source_free(slot->source);
    slot->source = NULL;
    if (slot->engine)
        engine_get_counters(slot->engine, &slot->last_counters);
    engine_free(slot->engine);
    slot->engine = NULL;
    slot->event_count = 0;
    log_info("slot %u: the session has ended: %s", slot->config.number,
             log_quote(slot->reason, quoted, sizeof quoted));
}

/* A word to the page; docs/protocol.md, "Text messages". `reason`: NULL for none. */
static void tell_word(struct slot *slot, const char *state, const char *uri, const char *reason)
{
    json_t *word = json_pack("{s:s, s:s, s:s*}", "state", state, "uri", uri, "reason", reason);
    char *text = word ? json_dumps(word, JSON_COMPACT) : NULL;

    if (text)
        source_tell(slot->source, text);
    free(text);
    json_decref(word);
}

static void tell(struct slot *slot)
{
    char uri[160];

    if (!slot->source || slot->source_lost)
        return;
    uri[0] = '\0';
    if (slot->state == SESSION_SERVING)
        slot->export->ops->describe(slot->export, uri, sizeof uri);
    tell_word(slot, session_state_name(slot->state), uri, NULL);
}

static void close_far_end(struct slot *slot)
{
    if (slot->source_lost)
        return;
    /* Whole, for a goodbye has room for 120 bytes of it. */
    tell_word(slot, session_state_name(SESSION_CLOSING), "", slot->reason);
    source_close(slot->source, slot->cause, slot->reason);
}

static void run_actions(struct slot *slot, unsigned actions)
{
    if (actions & SESSION_DO_OPEN_FAR_END)
        open_far_end(slot);
    if (actions & SESSION_DO_TURN_AWAY)
        turn_away(slot);
    if (actions & SESSION_DO_FAIL_REQUESTS)
        engine_fail(slot->engine, -EIO);
    if (actions & SESSION_DO_START_EXPORT) {
        engine_set_source(slot->engine, slot->source, &slot->info);
        export_start(slot->export, &slot->medium, slot->engine);
    }
    if (actions & SESSION_DO_STOP_EXPORT)
        export_stop(slot->export, true);
    if (actions & SESSION_DO_STOP_EXPORT_DEAD)
        export_stop(slot->export, false);
    if (actions & SESSION_DO_CLOSE_FAR_END)
        close_far_end(slot);
    if (actions & SESSION_DO_RELEASE)
        release(slot);
    if (actions & SESSION_DO_TELL)
        tell(slot);
}

static void handle(struct slot *slot, enum session_event event)
{
    struct session_step step = session_step(slot->state, event);
    bool becomes_idle = slot->state != SESSION_IDLE && step.next == SESSION_IDLE;

    log_debug("slot %u: %s + %s -> %s", slot->config.number, session_state_name(slot->state),
              session_event_name(event), session_state_name(step.next));
    slot->state = step.next;
    run_actions(slot, step.actions);
    if (becomes_idle && slot->idle)
        slot->idle(slot->idle_arg);
}

static void handle_events(void *arg)
{
    struct slot *slot = arg;

    /* An action may post another event, and a release drops all that are left. */
    while (slot->event_count > 0) {
        enum session_event event = slot->events[0];

        slot->event_count--;
        memmove(slot->events, slot->events + 1, slot->event_count * sizeof slot->events[0]);
        handle(slot, event);
    }
}

static void beat(void *arg)
{
    struct slot *slot = arg;

    tell(slot);
    loop_timer_set(slot->heartbeat, HEARTBEAT);
}

/* ---- what the programs ask for ---- */

int slot_new(const struct slot_config *config, struct slot **out)
{
    const struct export_ops *ops = export_find(config->export_name);
    struct export_config export_config = {
        .loop = config->loop,
        .slot = config->number,
        .socket_path = config->socket_path,
        .priv = config->priv,
    };
    struct slot *slot;
    int r;

    if (!ops)
        return -EINVAL;
    slot = calloc(1, sizeof *slot);
    if (!slot)
        return -ENOMEM;
    slot->config = *config;
    r = loop_later_new(config->loop, handle_events, slot, &slot->later);
    if (r == 0)
        r = loop_timer_new(config->loop, beat, slot, &slot->heartbeat);
    if (r == 0)
        r = ops->new (&export_config, &slot->export);
    if (r < 0) {
        slot_free(slot);
        return r;
    }
    export_own(slot->export, &export_events, slot);
    *out = slot;
    return 0;
}

void slot_free(struct slot *slot)
{
    if (!slot)
        return;
    export_free(slot->export);
    loop_timer_free(slot->heartbeat);
    loop_later_free(slot->later);
    free(slot);
}

void slot_restore(struct slot *slot)
{
    (void)slot;
}

void slot_open(struct slot *slot, struct stream *stream, const struct slot_offer *offer)
{
    char quoted[MEDIUM_NAME_MAX];

    slot->newcomer = stream;
    if (slot->state == SESSION_IDLE) {
        slot->source_lost = false;
        slot->has_cause = false;
        slot->reason[0] = '\0';
        slot->event_count = 0;
        slot->medium = (struct medium){.kind = offer->kind, .read_only = true};
        snprintf(slot->medium.name, sizeof slot->medium.name, "%s", offer->name);
        log_info("slot %u: \"%s\" has come, as a %s", slot->config.number,
                 log_quote(slot->medium.name, quoted, sizeof quoted),
                 offer->kind == MEDIUM_CD ? "CD" : "disk");
    }
    handle(slot, SESSION_FAR_END_CAME);
}

void slot_end(struct slot *slot, enum stream_close why, const char *reason)
{
    if (slot->state == SESSION_IDLE)
        return;
    set_cause(slot, why, reason);
    post(slot, SESSION_END_ASKED);
}

bool slot_is_idle(const struct slot *slot)
{
    return slot->state == SESSION_IDLE;
}

void slot_watch_idle(struct slot *slot, void (*idle)(void *arg), void *arg)
{
    slot->idle = idle;
    slot->idle_arg = arg;
}

void slot_get_status(const struct slot *slot, struct slot_status *out)
{
    *out = (struct slot_status){
        .number = slot->config.number,
        .name = slot->config.name,
        .export_name = slot->config.export_name,
        .state = session_state_name(slot->state),
        .has_medium = slot->state == SESSION_ATTACHING || slot->state == SESSION_SERVING ||
                      slot->state == SESSION_CLOSING,
        .medium = slot->medium,
        .counters = slot->last_counters,
    };
    snprintf(out->reason, sizeof out->reason, "%s", slot->reason);
    if (slot->state == SESSION_SERVING)
        slot->export->ops->describe(slot->export, out->uri, sizeof out->uri);
    if (slot->engine)
        engine_get_counters(slot->engine, &out->counters);
}
