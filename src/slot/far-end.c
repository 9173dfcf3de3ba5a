/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The far end of a slot: who may be it, what it has, what it is told, and how it is let go.
 *
 * A newcomer becomes the far end as it arrives. Once its handshake is done it is examined: in a
 * session that opens, to learn its image; in one that waits, to make sure that it is the same
 * image. Only then is it the engine's to ask.
 *
 * Who owns what: the stream is the source's, the source is this file's from far_end_open() until it
 * is dropped, and so is the examination, which is freed after the source, for that ends its reads.
 *
 * What always holds: no event of a source that has been dropped is left in the slot's queue.
 */
#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"
#include "slot/slot-parts.h"
#include "source/peer.h"

/* A far end may break the protocol by an accident of its line, but not again and again. */
#define VIOLATIONS_MAX 3

static struct slot *slot_of(void *owner)
{
    return owner;
}

/* ---- words ---- */

/* One word to a page (docs/protocol.md, "Text messages"); NULL without memory. */
static char *word_text(const struct slot *slot, const char *state, const char *uri, bool greet,
                       const char *reason)
{
    json_t *word = json_pack("{s:s, s:s, s:s*}", "state", state, "uri", uri, "reason", reason);
    char *text;

    if (word && !reason && slot_is_locked(slot))
        json_object_set_new(word, "locked", json_true());
    if (word && greet) {
        json_object_set_new(word, "token", json_string(slot->session.token));
        json_object_set_new(word, "grace", json_integer(slot->grace));
        json_object_set_new(word, "keep", json_integer(slot->config.keep));
    }
    text = word ? json_dumps(word, JSON_COMPACT) : NULL;
    json_decref(word);
    return text;
}

void far_end_tell(struct slot *slot)
{
    struct far_end *far = &slot->far;
    char uri[384] = "";
    char *text;

    if (!far->source || far->gone)
        return;
    if (slot->state == SESSION_SERVING)
        slot->export->ops->describe(slot->export, uri, sizeof uri);
    text = word_text(slot, session_state_name(slot->state), uri, !far->greeted, NULL);
    if (text) {
        source_tell(far->source, text);
        far->greeted = true;
    }
    free(text);
}

/* The whole reason in a word, for a goodbye has room for 120 bytes of it, and then the goodbye. */
static void say_goodbye(struct slot *slot, enum stream_close why, const char *reason)
{
    struct far_end *far = &slot->far;
    char *text;

    if (!far->source || far->gone)
        return;
    text = word_text(slot, session_state_name(SESSION_CLOSING), "", false, reason);
    if (text)
        source_tell(far->source, text);
    free(text);
    source_close(far->source, why, reason);
    far->gone = true;
}

void far_end_close(struct slot *slot)
{
    say_goodbye(slot, slot->cause, slot->reason);
}

/* ---- arriving, and being turned away ---- */

static void turn_away(struct slot *slot, enum stream_close why, const char *reason)
{
    char *text = word_text(slot, session_state_name(SESSION_CLOSING), "", false, reason);

    if (text)
        stream_tell(slot->newcomer, text);
    free(text);
    stream_close(slot->newcomer, why, reason);
    stream_free(slot->newcomer);
    slot->newcomer = NULL;
}

void far_end_turn_away(struct slot *slot)
{
    assert(slot->newcomer); /* the table turns away on arrivals alone */
    if (slot->offer->resume)
        turn_away(slot, STREAM_CLOSE_OVER, "That session is ending: give the drive anew.");
    else if (slot->state == SESSION_SUSPENDED || slot->state == SESSION_ABSENT)
        turn_away(slot, STREAM_CLOSE_BUSY,
                  "The drive waits for the page that gave it: bring that back, or end its session "
                  "first.");
    else
        turn_away(slot, STREAM_CLOSE_BUSY, "Slot is in use");
}

/* What the offer says already tells it from the session's: a sentence, or NULL. */
static const char *offer_differs(const struct slot *slot, char *out, size_t room)
{
    const struct slot_offer *offer = slot->offer;
    const struct medium *medium = &slot->session.medium;
    const char *kind = medium->kind == MEDIUM_CD ? "CD" : "disk";
    size_t length = utf8_cut(offer->name, sizeof medium->name - 1);

    if (offer->kind != medium->kind)
        snprintf(out, room, "The drive is a %s: bring it back as a %s, or end its session first.",
                 kind, kind);
    else if (strlen(medium->name) != length || memcmp(medium->name, offer->name, length) != 0)
        snprintf(out, room,
                 "The drive's image is \"%s\", not \"%.*s\": choose that file again, or end its "
                 "session first.",
                 medium->name, (int)length, offer->name);
    /* What can be written changes; what cannot must not have been changed. */
    else if (medium->read_only && offer->modified != slot->session.modified &&
             slot->state != SESSION_OPENING)
        snprintf(out, room,
                 "The file was changed since the drive was given: end the drive's session and give "
                 "it anew.");
    else
        return NULL;
    return out;
}

bool far_end_refuse(struct slot *slot)
{
    char reason[sizeof slot->far.difference];

    if (!slot->offer->resume)
        return false;
    if (slot->state == SESSION_IDLE || !token_is(slot->session.token, slot->offer->resume))
        turn_away(slot, STREAM_CLOSE_OVER, "That session is over: give the drive anew.");
    else if (offer_differs(slot, reason, sizeof reason))
        turn_away(slot, STREAM_CLOSE_OTHER, reason);
    else
        return false;
    return true;
}

/* ---- being lost ---- */

void far_end_explain(const struct slot *slot, const char *also, char *out, size_t room)
{
    snprintf(out, room, "%s%s: %s.",
             slot->far.lost_orderly ? "The page ended the session" : "The page was lost", also,
             slot->far.lost_phrase);
}

static void note_loss(struct slot *slot, enum stream_close why, bool orderly, const char *phrase)
{
    struct far_end *far = &slot->far;

    far->gone = true;
    far->lost_why = why;
    far->lost_orderly = orderly;
    snprintf(far->lost_phrase, sizeof far->lost_phrase, "%s", phrase);
    if (why == STREAM_CLOSE_PROTOCOL)
        far->violations++;
    slot_post(slot, orderly || far->violations >= VIOLATIONS_MAX || slot->ends_with_line
                        ? SESSION_FAR_END_LEFT
                        : SESSION_FAR_END_LOST);
}

static void on_source_lost(void *owner, enum stream_close why, bool orderly, const char *reason)
{
    note_loss(slot_of(owner), why, orderly, reason);
}

void slot_cut(struct slot *slot, const char *reason)
{
    if (slot->state == SESSION_IDLE || slot->far.gone)
        return;
    slot_blame(slot, STREAM_CLOSE_SHUTDOWN, reason);
    note_loss(slot, STREAM_CLOSE_SHUTDOWN, true, "it was cut off");
}

static void fail_far_end(struct slot *slot, const char *phrase, const char *goodbye)
{
    say_goodbye(slot, STREAM_CLOSE_FAILED, goodbye);
    note_loss(slot, STREAM_CLOSE_FAILED, false, phrase);
}

/* ---- being examined ---- */

static void differ(struct slot *slot)
{
    slot_post(slot, SESSION_FAR_END_DIFFERENT);
}

static void on_examined(void *arg, enum examine_verdict verdict, uint64_t offset)
{
    struct slot *slot = slot_of(arg);
    bool learned = slot->state == SESSION_OPENING;

    switch (verdict) {
    case EXAMINE_SAME:
        slot_post(slot, learned ? SESSION_FAR_END_READY : SESSION_FAR_END_SAME);
        break;
    case EXAMINE_DIFFERENT:
        snprintf(slot->far.difference, sizeof slot->far.difference,
                 "The file's content is not the drive's (at byte %" PRIu64
                 "): choose the same file, or end the drive's session first.",
                 offset);
        differ(slot);
        break;
    case EXAMINE_FAILED:
        fail_far_end(slot, "its image could not be read again",
                     "The image could not be read: see that the file is still there.");
        break;
    }
}

static void examine(struct slot *slot, bool learn)
{
    struct far_end *far = &slot->far;
    struct examine_task task = {
        .source = far->source,
        .info = &far->info,
        .identity = &slot->session.identity,
        .learn = learn,
        /* What a machine has written may be in the cache and not yet, or no more, at the far end.
         */
        .engine = !learn && slot->session.medium.read_only ? slot->engine : NULL,
        .done = on_examined,
        .arg = slot,
    };
    int r = learn ? identity_choose(&slot->session.identity, slot->session.medium.size) : 0;

    if (r == 0)
        r = examine_new(&task, &far->examine);
    if (r < 0)
        fail_far_end(slot, "the device has no memory to examine its image",
                     "The device has no memory left to examine the image: try again.");
    else
        examine_start(far->examine);
}

static void learn_medium(struct slot *slot)
{
    struct medium *medium = &slot->session.medium;
    char reason[sizeof slot->reason];

    medium->size = slot->far.info.size;
    medium->read_only =
        slot->far.info.read_only || slot->config.read_only || medium->kind == MEDIUM_CD;
    if (slot->export->ops->check(slot->export, medium, reason, sizeof reason) < 0) {
        slot_blame(slot, STREAM_CLOSE_REFUSED, reason);
        slot_post(slot, SESSION_MEDIUM_REFUSED);
    } else if (slot->ends_with_line) {
        slot_post(slot, SESSION_FAR_END_READY); /* it will never have to be known again */
    } else {
        examine(slot, true);
    }
}

static void compare_medium(struct slot *slot)
{
    const struct medium *medium = &slot->session.medium;
    const struct source_info *info = &slot->far.info;
    struct far_end *far = &slot->far;

    if (info->size != medium->size) {
        snprintf(far->difference, sizeof far->difference,
                 "The file has %" PRIu64 " bytes and the drive's image %" PRIu64
                 ": choose the same file, or end the drive's session first.",
                 info->size, medium->size);
        differ(slot);
    } else if (info->read_only && !medium->read_only) {
        snprintf(far->difference, sizeof far->difference,
                 "The image cannot be written to any more: allow that, or end the drive's session "
                 "first.");
        differ(slot);
    } else if (!engine_takes(slot->engine, info)) {
        snprintf(far->difference, sizeof far->difference,
                 "The image is served on other terms than before (block sizes, or what may be "
                 "written): serve it as it was, or end the drive's session first.");
        differ(slot);
    } else {
        examine(slot, false);
    }
}

static void on_source_ready(void *owner, const struct source_info *info)
{
    struct slot *slot = slot_of(owner);

    slot->far.info = *info;
    if (slot->state == SESSION_OPENING)
        learn_medium(slot);
    else if (slot->state == SESSION_RESUMING || slot->state == SESSION_RETURNING)
        compare_medium(slot);
}

static const struct source_events source_events = {
    .ready = on_source_ready,
    .lost = on_source_lost,
};

/* ---- being there, and not any more ---- */

void far_end_open(struct slot *slot)
{
    struct far_end *far = &slot->far;
    struct stream *stream = slot->newcomer;
    const struct peer_profile *profile = peer_profile_find(slot->offer->profile);

    assert(profile); /* whoever names one knows the table */
    slot->newcomer = NULL;
    far->gone = false;
    far->greeted = false;
    if (slot->engine &&
        peer_new(slot->config.loop, stream, profile, &source_events, slot, &far->source) == 0)
        return;
    if (!slot->engine)
        stream_free(stream);
    note_loss(slot, STREAM_CLOSE_FAILED, false, "the device has no memory left for it");
}

void far_end_drop(struct slot *slot)
{
    struct far_end *far = &slot->far;

    if (far->examine)
        examine_stop(far->examine);
    if (far->source && !far->gone)
        source_close(far->source, STREAM_CLOSE_NORMAL, "The page has come back another way.");
    source_free(far->source);
    far->source = NULL;
    far->gone = true;
    examine_free(far->examine);
    far->examine = NULL;
    slot_unpost(slot, SESSION_FAR_END_READY, SESSION_FAR_END_LEFT);
}

void far_end_send_away(struct slot *slot)
{
    char quoted[sizeof slot->far.difference];

    log_warn("slot %u: a page came back with another image: %s", slot->config.number,
             log_quote(slot->far.difference, quoted, sizeof quoted));
    say_goodbye(slot, STREAM_CLOSE_OTHER, slot->far.difference);
    far_end_drop(slot);
}
