/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A slot carries out what the session table says.
 *
 * Every deed here (a source, an export, the far end's goodbye, a clock) reports back as a session
 * event. Events are queued and handled on the loop's next turn, so no action ever runs inside a
 * callback of the thing it acts on. Only a far end's arrival is handled at once, since its stream
 * must be taken or turned away; what happened before it is handled first.
 *
 * Who owns what: the export lives as long as the slot. The engine lives from BEGIN to RELEASE, a
 * source (far-end.c) at most as long; requests still with a source are answered by freeing it, and
 * at RELEASE the export has stopped, so the engine is empty when it goes.
 *
 * Why a session ends is said by whatever ended it first; what follows from that is not a new
 * reason.
 */
#include "slot/slot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"
#include "slot/slot-parts.h"

/* A word to the far end at least this often, so that both ends notice a dead line. Milliseconds. */
#define HEARTBEAT 2000
/* And this soon after a lock: a machine that tries what is in the drive locks it for a moment only,
 * and one that plays with it shall not flood the line. Milliseconds. */
#define LOCK_SETTLES 200

#define SECOND UINT64_C(1000000) /* of loop_clock() */

void slot_post(struct slot *slot, enum session_event event)
{
    if (slot->event_count == EVENTS_MAX)
        return; /* can only be END_ASKED over and over, and one of those is queued */
    slot->events[slot->event_count++] = event;
    loop_later_set(slot->later);
}

void slot_unpost(struct slot *slot, enum session_event first, enum session_event last)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < slot->event_count; i++) {
        if (slot->events[i] < first || slot->events[i] > last)
            slot->events[kept++] = slot->events[i];
    }
    slot->event_count = kept;
}

void slot_blame(struct slot *slot, enum stream_close why, const char *reason)
{
    if (slot->has_cause)
        return;
    slot->has_cause = true;
    slot->cause = why;
    snprintf(slot->reason, sizeof slot->reason, "%s", reason);
}

/* ---- what the export and the engine report ---- */

static void on_export_started(void *owner)
{
    struct slot *slot = owner;

    slot->export_started = true;
    slot_post(slot, SESSION_EXPORT_STARTED);
}

static void on_export_ejected(void *owner)
{
    slot_blame(owner, STREAM_CLOSE_EJECTED, "The machine ejected the drive.");
    slot_post(owner, SESSION_EJECTED);
}

static void on_export_locked(void *owner, bool locked)
{
    struct slot *slot = owner;

    log_debug("slot %u: the machine %s", slot->config.number,
              locked ? "has locked the drive" : "lets go of the drive");
    if (slot->beats_soon)
        return;
    slot->beats_soon = true;
    loop_timer_set(slot->heartbeat, LOCK_SETTLES);
}

static void on_export_stopped(void *owner, int error, const char *reason)
{
    struct slot *slot = owner;

    slot->export_runs = false;
    slot->export_started = false;
    if (error)
        slot_blame(slot, STREAM_CLOSE_FAILED, reason);
    slot_post(slot, SESSION_EXPORT_STOPPED);
}

static const struct export_events export_events = {
    .started = on_export_started,
    .ejected = on_export_ejected,
    .locked = on_export_locked,
    .stopped = on_export_stopped,
};

static uint64_t engine_now(void *arg)
{
    (void)arg;
    return loop_clock();
}

static void engine_set_alarm(void *arg, uint64_t at)
{
    struct slot *slot = arg;
    uint64_t now;

    /* One that rings too early only asks again. Set for every request, it would cost each of them
     * several looks at the clock, which is far away on many a machine. */
    if (at >= slot->alarm_at)
        return;
    now = loop_clock();
    slot->alarm_at = at;
    loop_timer_set(slot->alarm, at > now ? (at - now + 999) / 1000 : 0);
}

static void remember(struct slot *slot);

static void engine_wrote(void *arg, uint64_t offset, uint64_t length)
{
    struct slot *slot = arg;

    /* Before the write is: no process may ever expect the old bytes again. */
    if (identity_void(&slot->session.identity, offset, length) && slot->record >= 0)
        remember(slot);
}

static void alarm_rings(void *arg)
{
    struct slot *slot = arg;

    slot->alarm_at = UINT64_MAX;
    if (slot->engine)
        engine_tick(slot->engine);
}

/* ---- what the table asks for ---- */

/* Without memory there is no engine then, which whatever needs it first says. */
static void begin(struct slot *slot)
{
    struct engine_config config = {
        .cache_max = slot->config.cache_max,
        .request_limit = slot->grace * SECOND,
        .waited = slot->grace_spent,
        .is_cd = slot->session.medium.kind == MEDIUM_CD,
        .host = {.now = engine_now,
                 .set_alarm = engine_set_alarm,
                 .wrote = engine_wrote,
                 .arg = slot},
    };

    if (engine_new(&config, &slot->engine) < 0)
        slot->engine = NULL;
    slot->export_started = false;
    slot->beats_soon = false;
    slot->alarm_at = UINT64_MAX;
    loop_timer_set(slot->heartbeat, HEARTBEAT);
}

static void release(struct slot *slot)
{
    char quoted[sizeof slot->reason];

    /* What the source still has is answered by this, and asks it nothing more: the engine failed.
     */
    far_end_drop(slot);
    if (slot->engine)
        engine_get_counters(slot->engine, &slot->last_counters);
    engine_free(slot->engine);
    slot->engine = NULL;
    loop_timer_stop(slot->heartbeat);
    loop_timer_stop(slot->alarm);
    slot->event_count = 0;
    log_quote(slot->reason, quoted, sizeof quoted);
    if (slot->cause == STREAM_CLOSE_FAILED)
        log_error("slot %u: the session has ended: %s", slot->config.number, quoted);
    else
        log_info("slot %u: the session has ended: %s", slot->config.number, quoted);
}

static void tell_link(struct slot *slot, enum export_link link)
{
    if (slot->export_runs)
        export_link(slot->export, link);
}

static void suspend(struct slot *slot)
{
    char reason[sizeof slot->reason];
    char quoted[sizeof slot->reason];

    if (!slot->engine)
        return;
    tell_link(slot, EXPORT_LINK_WAITING);
    engine_suspend(slot->engine);
    far_end_explain(slot, "", reason, sizeof reason);
    log_info("slot %u: %s The machine waits for it for %u seconds.", slot->config.number,
             slot->far.gone ? log_quote(reason, quoted, sizeof quoted)
                            : "The page came back another way.",
             slot->grace);
}

static void use_far_end(struct slot *slot)
{
    /* One that is lost already says so with the next event. */
    if (slot->far.gone)
        return;
    tell_link(slot, EXPORT_LINK_LIVE);
    engine_set_source(slot->engine, slot->far.source, &slot->far.info);
}

static void fail_requests(struct slot *slot)
{
    if (!slot->engine)
        return;
    tell_link(slot, EXPORT_LINK_FAILED);
    engine_fail(slot->engine, -EIO);
}

static void start_export(struct slot *slot)
{
    slot->export_runs = true;
    export_start(slot->export, &slot->session.medium, slot->engine);
}

static void adopt_export(struct slot *slot)
{
    if (slot->engine) {
        slot->export_runs = true;
        export_adopt(slot->export, &slot->session.medium, slot->engine);
        tell_link(slot, EXPORT_LINK_WAITING);
        return;
    }
    slot_blame(slot, STREAM_CLOSE_FAILED, "The device has no memory left for a session.");
    slot_post(slot, SESSION_EXPORT_STOPPED);
}

static void remember(struct slot *slot)
{
    int r;

    if (!slot->config.record_dir || slot->ends_with_line)
        return;
    r = slot_record_write(slot->config.record_dir, slot->config.number, &slot->session,
                          slot->served_at, &slot->record);
    if (r == -EBUSY)
        log_warn("slot %u: another platterd keeps its records in %s: give each a runtime_dir of "
                 "its own",
                 slot->config.number, slot->config.record_dir);
    else if (r < 0)
        log_warn("slot %u: the session cannot be recorded in %s (%s): it will not outlive platterd",
                 slot->config.number, slot->config.record_dir, strerror(-r));
}

static void forget(struct slot *slot)
{
    if (slot->record >= 0)
        slot_record_remove(slot->config.record_dir, slot->config.number, &slot->record);
}

static void stop_clock(struct slot *slot)
{
    loop_timer_stop(slot->clock);
    slot_unpost(slot, SESSION_GRACE_OVER, SESSION_KEEP_OVER);
}

static void start_clock(struct slot *slot, enum session_event event, uint64_t microseconds)
{
    stop_clock(slot);
    slot->clock_event = event;
    slot->clock_end = loop_clock() + microseconds;
    loop_timer_set(slot->clock, microseconds / 1000);
}

static void start_grace(struct slot *slot)
{
    uint64_t whole = slot->grace * SECOND;
    uint64_t spent = slot->grace_spent < whole ? slot->grace_spent : whole;

    slot->grace_spent = 0;
    start_clock(slot, SESSION_GRACE_OVER, whole - spent);
}

static void start_keep(struct slot *slot)
{
    log_info("slot %u: the machine gets errors until the page comes back; the drive stays for %u "
             "seconds",
             slot->config.number, slot->config.keep);
    start_clock(slot, SESSION_KEEP_OVER, slot->config.keep * SECOND);
}

static void run_export_actions(struct slot *slot, unsigned actions)
{
    if (actions & SESSION_DO_START_EXPORT)
        start_export(slot);
    if ((actions & SESSION_DO_RELOAD) && slot->export_started)
        export_reload(slot->export);
    if (actions & SESSION_DO_REMEMBER)
        remember(slot);
    if (actions & SESSION_DO_FORGET)
        forget(slot);
    if (actions & SESSION_DO_STOP_CLOCK)
        stop_clock(slot);
    if (actions & SESSION_DO_START_GRACE)
        start_grace(slot);
    if (actions & SESSION_DO_START_KEEP)
        start_keep(slot);
    if (actions & SESSION_DO_STOP_EXPORT)
        export_stop(slot->export, true);
    if (actions & SESSION_DO_STOP_EXPORT_DEAD)
        export_stop(slot->export, false);
}

static void run_actions(struct slot *slot, unsigned actions)
{
    if (actions & SESSION_DO_BEGIN)
        begin(slot);
    if (actions & SESSION_DO_SUSPEND)
        suspend(slot);
    if (actions & SESSION_DO_FAIL_REQUESTS)
        fail_requests(slot);
    if (actions & SESSION_DO_ADOPT_EXPORT)
        adopt_export(slot);
    if (actions & SESSION_DO_DROP_FAR_END)
        far_end_drop(slot);
    if (actions & SESSION_DO_SEND_AWAY)
        far_end_send_away(slot);
    if (actions & SESSION_DO_OPEN_FAR_END)
        far_end_open(slot);
    if (actions & SESSION_DO_TURN_AWAY)
        far_end_turn_away(slot);
    if (actions & SESSION_DO_USE_FAR_END)
        use_far_end(slot);
    run_export_actions(slot, actions);
    if (actions & SESSION_DO_CLOSE_FAR_END)
        far_end_close(slot);
    if (actions & SESSION_DO_RELEASE)
        release(slot);
    if (actions & SESSION_DO_TELL)
        far_end_tell(slot);
}

/* A machine that waits for an answer was last served when it asked. */
static void note_served(struct slot *slot)
{
    uint64_t oldest = engine_oldest(slot->engine);

    slot->served_at = loop_clock();
    if (oldest < slot->served_at)
        slot->served_at = oldest;
}

/* What ends a session says why, unless it was said when it happened. */
static void blame_event(struct slot *slot, enum session_event event)
{
    char reason[sizeof slot->reason];

    if (event != SESSION_FAR_END_LOST && event != SESSION_FAR_END_LEFT &&
        event != SESSION_KEEP_OVER)
        return;
    far_end_explain(slot, event == SESSION_KEEP_OVER ? " and did not come back in time" : "",
                    reason, sizeof reason);
    slot_blame(slot, slot->far.lost_why, reason);
}

static void handle(struct slot *slot, enum session_event event)
{
    struct session_step step = session_step(slot->state, event);
    bool ends = step.next == SESSION_IDLE || step.next == SESSION_CLOSING;

    log_debug("slot %u: %s + %s -> %s", slot->config.number, session_state_name(slot->state),
              session_event_name(event), session_state_name(step.next));
    if (slot->state != SESSION_IDLE && ends)
        blame_event(slot, event);
    if (step.next == SESSION_SERVING && slot->state != SESSION_SERVING) {
        log_info("slot %u: serving", slot->config.number);
        note_served(slot);
    }
    slot->state = step.next;
    run_actions(slot, step.actions);
    if (ends && (step.actions & SESSION_DO_FAIL_REQUESTS) && slot->cut)
        slot->cut(slot->cut_arg);
    if (slot->stepped)
        slot->stepped(slot->stepped_arg, slot->config.number);
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

    slot->beats_soon = false;
    far_end_tell(slot);
    if (slot->state == SESSION_SERVING) {
        note_served(slot);
        if (slot->record >= 0)
            slot_record_touch(slot->record, slot->served_at);
    }
    loop_timer_set(slot->heartbeat, HEARTBEAT);
}

static void clock_rings(void *arg)
{
    struct slot *slot = arg;

    slot_post(slot, slot->clock_event);
}

/* ---- what the programs ask for ---- */

static int make_export(const struct slot_config *config, struct export **out)
{
    const struct export_ops *ops = export_find(config->export_name);
    struct export_config export_config = {
        .loop = config->loop,
        .slot = config->number,
        .socket_path = config->socket_path,
        .priv = config->priv,
        .device_only = config->device_only,
        .usb_device = config->usb_device,
        .usb_drive = config->usb_drive,
    };

    return ops ? ops->new (&export_config, out) : -EINVAL;
}

int slot_new(const struct slot_config *config, struct slot **out)
{
    struct slot *slot = calloc(1, sizeof *slot);
    int r;

    if (!slot)
        return -ENOMEM;
    slot->config = *config;
    slot->record = -1;
    r = loop_later_new(config->loop, handle_events, slot, &slot->later);
    if (r == 0)
        r = loop_timer_new(config->loop, beat, slot, &slot->heartbeat);
    if (r == 0)
        r = loop_timer_new(config->loop, alarm_rings, slot, &slot->alarm);
    if (r == 0)
        r = loop_timer_new(config->loop, clock_rings, slot, &slot->clock);
    if (r == 0 && !config->take_export)
        r = make_export(config, &slot->export);
    if (r < 0) {
        slot_free(slot);
        return r;
    }
    if (config->take_export)
        slot->export = config->take_export;
    slot->grace =
        config->grace < slot->export->ops->grace_max ? config->grace : slot->export->ops->grace_max;
    export_own(slot->export, &export_events, slot);
    *out = slot;
    return 0;
}

void slot_free(struct slot *slot)
{
    if (!slot)
        return;
    export_free(slot->export);
    loop_timer_free(slot->clock);
    loop_timer_free(slot->alarm);
    loop_timer_free(slot->heartbeat);
    loop_later_free(slot->later);
    free(slot);
}

static void reset(struct slot *slot)
{
    slot->far = (struct far_end){.gone = true};
    slot->has_cause = false;
    slot->reason[0] = '\0';
    slot->event_count = 0;
    slot->ends_with_line = false;
}

void slot_restore(struct slot *slot)
{
    const char *directory = slot->config.record_dir;
    uint64_t now = loop_clock();
    int r = -ENOENT;

    if (directory && slot->state == SESSION_IDLE)
        r = slot_record_read(directory, slot->config.number, &slot->session, &slot->served_at,
                             &slot->record);
    /* Another process's is seen to when this one has something to record. */
    if (r == -ENOENT || r == -EBUSY)
        return;
    if (r == 0 && strcmp(slot->session.export_name, slot->config.export_name) != 0)
        r = -EXDEV;
    if (r < 0) {
        log_warn("slot %u: the record of an earlier session in %s is of no use (%s): removed",
                 slot->config.number, directory,
                 r == -EXDEV     ? "it is of another export"
                 : r == -EBADMSG ? "it is damaged"
                                 : strerror(-r));
        slot_record_remove(directory, slot->config.number, &slot->record);
        return;
    }
    reset(slot);
    slot->far.lost_why = STREAM_CLOSE_FAILED;
    snprintf(slot->far.lost_phrase, sizeof slot->far.lost_phrase, "platterd was started anew");
    /* A time to come is one of before the last boot. */
    slot->grace_spent = slot->served_at < now ? now - slot->served_at : UINT64_MAX;
    handle(slot, SESSION_DRIVE_LEFT);
}

/* A session of what has come; one without a token is one that nobody can come back to. */
static void start_session(struct slot *slot)
{
    struct slot_record *session = &slot->session;
    const struct slot_offer *offer = slot->offer;
    char quoted[MEDIUM_NAME_MAX];

    reset(slot);
    *session = (struct slot_record){
        .medium = {.kind = offer->kind, .read_only = true},
        .modified = offer->modified,
    };
    snprintf(session->export_name, sizeof session->export_name, "%s", slot->config.export_name);
    memcpy(session->medium.name, offer->name,
           utf8_cut(offer->name, sizeof session->medium.name - 1));
    slot->served_at = loop_clock();
    slot->ends_with_line = offer->ends_with_line;
    if (slot->ends_with_line || token_make(session->token) < 0)
        session->token[0] = '\0';
    log_info("slot %u: \"%s\" has come, as a %s", slot->config.number,
             log_quote(session->medium.name, quoted, sizeof quoted),
             offer->kind == MEDIUM_CD ? "CD" : "disk");
}

void slot_open(struct slot *slot, struct stream *stream, const struct slot_offer *offer)
{
    handle_events(slot);
    slot->newcomer = stream;
    slot->offer = offer;
    if (!far_end_refuse(slot)) {
        if (slot->state == SESSION_IDLE)
            start_session(slot);
        handle(slot, offer->resume ? SESSION_FAR_END_BACK : SESSION_FAR_END_CAME);
    }
    slot->offer = NULL;
}

void slot_end(struct slot *slot, enum stream_close why, const char *reason)
{
    if (slot->state == SESSION_IDLE)
        return;
    slot_blame(slot, why, reason);
    slot_post(slot, SESSION_END_ASKED);
}

void slot_request_eject(struct slot *slot)
{
    if (slot->export_started)
        export_request_eject(slot->export);
}

void slot_watch(struct slot *slot, void (*stepped)(void *arg, unsigned number), void *arg)
{
    slot->stepped = stepped;
    slot->stepped_arg = arg;
}

void slot_watch_cut(struct slot *slot, void (*cut)(void *arg), void *arg)
{
    slot->cut = cut;
    slot->cut_arg = arg;
}
