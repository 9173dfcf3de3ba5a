// SPDX-License-Identifier: Apache-2.0
/*
 * A far end's image is two versions a sector (content.h): what it holds, and what it has on stable
 * storage. A line is at first a stream and, once peer_new() has taken it, a source.
 *
 * It judges the engine as a strict server would: alignment, bounds, how many requests at once, and
 * that no two of them overlap when one of them writes, for a server may do these in any order.
 *
 * Who owns what: a line is its stream's or source's owner's until freed, then it waits for what is
 * still due in the world. A source_request is lent from submit to complete.
 */
#include "far-end.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/source.h"
#include "content.h"
#include "source/peer.h"
#include "world.h"

#define SILENCE (8 * SECOND)
/* Of a sector of another image of the same name. */
#define VERSION_OTHER 0xeeeeeeeeu
/* Versions above are taken for new ones. */
#define VERSIONS_MAX (1u << 20)

struct line {
    struct stream stream;
    struct source source;
    bool other;
    bool answers; /* has been READY, and not gone since */
    bool gone;    /* lost, closed or freed: nothing passes any more */
    bool freed;
    uint64_t stalled_until;
    unsigned due; /* calls of the world that lead here */
    unsigned held;
    struct list asks;
};

struct ask {
    struct list link; /* in the line's asks */
    struct line *line;
    struct source_request *request; /* NULL: completed by the line's end */
    bool applied;
    int error;
};

static struct {
    struct far_end_image image;
    struct far_end_chances chances;
    size_t sectors;
    uint32_t *held;
    uint32_t *stable;
    /* The log gives up what it cannot flush for its own sake: the next restart may take that away.
     */
    bool flush_failed;
    bool any_flush_failed;
    bool *done; /* by version: a write of it was answered well */
    struct line *newest;
    char token[64];
    /* What a dead process had lent: kept, for its memory leads there no more. */
    struct source_request **graves;
    size_t grave_count;
} far_end;

void far_end_init(const struct far_end_image *image, const struct far_end_chances *chances)
{
    far_end.image = *image;
    far_end.chances = *chances;
    far_end.sectors = (size_t)(image->size / SECTOR);
    far_end.held = calloc(far_end.sectors, sizeof(uint32_t));
    far_end.stable = calloc(far_end.sectors, sizeof(uint32_t));
    far_end.done = calloc(VERSIONS_MAX, sizeof(bool));
    if (!far_end.held || !far_end.stable || !far_end.done)
        abort();
    far_end.newest = NULL;
    far_end.flush_failed = far_end.any_flush_failed = false;
    far_end.token[0] = '\0';
}

void far_end_set_chances(const struct far_end_chances *chances)
{
    far_end.chances = *chances;
}

void far_end_done(void)
{
    free(far_end.held);
    free(far_end.stable);
    free(far_end.done);
}

bool far_end_is_there(void)
{
    return far_end.newest && !far_end.newest->gone;
}

bool far_end_is_done(void)
{
    return far_end_is_there() && far_end.newest->held == 0;
}

const char *far_end_token(void)
{
    return far_end.token;
}

static struct line *line_of(struct source *source)
{
    return list_entry(source, struct line, source);
}

static void bury(struct line *line)
{
    if (line->freed && line->due == 0)
        free(line);
}

/* ---- what a request does to the image ---- */

static uint32_t version_at(const struct line *line, uint64_t sector)
{
    /* The first 64 KiB are the same in both: a like partition table is no proof. */
    return line->other && sector >= 128 ? VERSION_OTHER : far_end.held[sector];
}

static bool is_zero(const struct line *line, uint64_t sector)
{
    uint32_t version = version_at(line, sector);

    return version == VERSION_ZERO || (version == 0 && content_is_hole(sector));
}

/* The version that a write's bytes have; content_fill() put it there. */
static uint32_t version_in(const uint8_t *bytes, uint64_t sector)
{
    uint64_t words[2];

    memcpy(words, bytes, sizeof words);
    if (words[0] == 0 && words[1] == 0)
        return VERSION_ZERO;
    if (words[0] != ~sector)
        world_fail("a write of sector %" PRIu64 " carries the bytes of sector %" PRIu64, sector,
                   ~words[0]);
    return (uint32_t)words[1];
}

static void apply(struct ask *ask)
{
    const struct source_request *r = ask->request;
    uint64_t first = r->offset / SECTOR;

    if (ask->applied || r->op == SOURCE_READ || r->op == SOURCE_EXTENTS)
        return;
    ask->applied = true;
    if (ask->line->other)
        world_fail("another image was written to");
    if (r->op == SOURCE_FLUSH) {
        memcpy(far_end.stable, far_end.held, far_end.sectors * sizeof(uint32_t));
        return;
    }
    if (r->op == SOURCE_TRIM && world_chance(300))
        return;
    for (uint64_t i = 0; i < r->length / SECTOR; i++) {
        far_end.held[first + i] =
            r->op == SOURCE_WRITE ? version_in(r->data + i * SECTOR, first + i) : VERSION_ZERO;
        if (r->fua || world_chance(100))
            far_end.stable[first + i] = far_end.held[first + i];
    }
}

/* The bytes [at, at + SECTOR) of the request's, wherever its parts have them. */
static void put_sector(const struct source_request *r, uint32_t at, const uint8_t bytes[SECTOR])
{
    uint32_t done = 0;

    for (unsigned i = 0; i < r->part_count && done < SECTOR; i++) {
        const struct part *part = &r->parts[i];

        if (at + done < part->length) {
            uint32_t from = at + done;
            uint32_t count = part->length - from;

            if (count > SECTOR - done)
                count = SECTOR - done;
            memcpy(part->data + from, bytes + done, count);
            done += count;
        }
        /* Relative to the next part. */
        if (at + done >= part->length)
            at -= part->length;
    }
    if (done != SECTOR)
        world_fail("a read's parts are shorter than the read");
}

static void read_out(const struct ask *ask)
{
    struct source_request *r = ask->request;
    uint8_t bytes[SECTOR];

    for (uint32_t at = 0; at < r->length; at += SECTOR) {
        uint64_t sector = (r->offset + at) / SECTOR;

        content_fill(sector, version_at(ask->line, sector), bytes);
        put_sector(r, at, bytes);
        if (is_zero(ask->line, sector))
            r->zero_bytes += SECTOR;
    }
    r->copied_bytes = r->length - r->zero_bytes;
}

static void tell_extents(const struct ask *ask)
{
    struct source_request *r = ask->request;
    uint64_t sector = r->offset / SECTOR;
    uint64_t end = sector + r->length / SECTOR;

    while (sector < end && r->extent_count < r->extent_room) {
        struct source_extent *e = &r->extents[r->extent_count++];

        *e = (struct source_extent){.zero = is_zero(ask->line, sector)};
        while (sector < end && is_zero(ask->line, sector) == e->zero) {
            e->length += SECTOR;
            sector++;
        }
    }
}

/* ---- requests ---- */

static void complete(struct ask *ask, int error)
{
    struct source_request *r = ask->request;

    list_remove(&ask->link);
    ask->line->held--;
    ask->request = NULL;
    world_trace("   ask op %d at %" PRIu64 ": %d", r->op, r->offset, error);
    r->complete(r, error);
}

/* Every version that a write carries, also in the edges that the engine put around it. */
static bool was_done(const struct source_request *r)
{
    for (uint64_t i = 0; i < r->length / SECTOR; i++) {
        uint32_t version = version_in(r->data + i * SECTOR, r->offset / SECTOR + i);

        if (version > 0 && version < VERSIONS_MAX && !far_end.done[version])
            return false;
    }
    return true;
}

static void note_done(const struct source_request *r)
{
    for (uint64_t i = 0; i < r->length / SECTOR; i++) {
        uint32_t version = version_in(r->data + i * SECTOR, r->offset / SECTOR + i);

        if (version < VERSIONS_MAX)
            far_end.done[version] = true;
    }
}

static void answer_due(void *arg)
{
    struct ask *ask = arg;
    struct line *line = ask->line;

    if (ask->request && line->stalled_until > world_now()) {
        world_after(line->stalled_until - world_now() + world_random(MS), answer_due, ask);
        return;
    }
    line->due--;
    if (ask->request) {
        if (!ask->error || world_chance(500))
            apply(ask);
        if (!ask->error && ask->request->op == SOURCE_READ)
            read_out(ask);
        if (!ask->error && ask->request->op == SOURCE_EXTENTS)
            tell_extents(ask);
        if (!ask->error && ask->request->op == SOURCE_WRITE)
            note_done(ask->request);
        complete(ask, ask->error);
    }
    free(ask);
    bury(line);
}

static bool changes(enum source_op op)
{
    return op == SOURCE_WRITE || op == SOURCE_TRIM || op == SOURCE_WRITE_ZEROES;
}

static void judge(const struct line *line, const struct source_request *r)
{
    const struct far_end_image *image = &far_end.image;

    if (r->op == SOURCE_FLUSH)
        return;
    if (r->length == 0 || r->offset % image->block_min || r->length % image->block_min ||
        r->offset + r->length > image->size ||
        ((r->op == SOURCE_READ || r->op == SOURCE_WRITE) && r->length > image->length_max))
        world_fail("asked for %u bytes at %" PRIu64 " (op %d), which is unlawful", r->length,
                   r->offset, r->op);
    if (changes(r->op) && !image->writable)
        world_fail("asked to change a read-only image");
    list_for_each (it, &line->asks) {
        const struct source_request *other = list_entry(it, struct ask, link)->request;

        if (other->op == SOURCE_FLUSH || other->op == SOURCE_EXTENTS || r->op == SOURCE_EXTENTS)
            continue;
        if ((changes(r->op) || changes(other->op)) && r->offset < other->offset + other->length &&
            other->offset < r->offset + r->length)
            world_fail("two overlapping requests at once (op %d, op %d) at %" PRIu64, other->op,
                       r->op, r->offset);
    }
}

static uint64_t answer_delay(void)
{
    if (world_chance(far_end.chances.mute))
        return world_random(60 * SECOND);
    return world_chance(20) ? world_random(2 * SECOND) : MS + world_random(40 * MS);
}

static void line_submit(struct source *source, struct source_request *r)
{
    struct line *line = line_of(source);
    unsigned wrong = changes(r->op) ? far_end.chances.write_error : far_end.chances.read_error;
    struct ask *ask;

    r->zero_bytes = 0;
    r->copied_bytes = 0;
    r->extent_count = 0;
    if (line->gone) {
        r->complete(r, SOURCE_LOST);
        return;
    }
    judge(line, r);
    world_trace("   ask op %d%s, %u bytes at %" PRIu64, r->op, r->fua ? " fua" : "", r->length,
                r->offset);
    if (++line->held > far_end.image.in_flight_max)
        world_fail("more than %u requests at once", far_end.image.in_flight_max);
    ask = calloc(1, sizeof *ask);
    if (!ask)
        abort();
    ask->line = line;
    ask->request = r;
    ask->error = world_chance(wrong) ? (changes(r->op) ? -ENOSPC : -EIO) : 0;
    /* What was done once is not refused when it is asked again: else it would be lost, and only the
     * next flush could say so. */
    if (changes(r->op) && (r->op != SOURCE_WRITE || was_done(r)))
        ask->error = 0;
    if (r->op == SOURCE_FLUSH && ask->error)
        far_end.flush_failed = far_end.any_flush_failed = true;
    list_append(&line->asks, &ask->link);
    if (world_chance(300) && !ask->error)
        apply(ask);
    line->due++;
    world_after(answer_delay(), answer_due, ask);
}

/* ---- the line's life ---- */

static void complete_all(struct line *line)
{
    struct list *link;

    while ((link = list_take_first(&line->asks))) {
        struct ask *ask = list_entry(link, struct ask, link);

        if (!ask->error && world_chance(500))
            apply(ask);
        complete(ask, SOURCE_LOST);
    }
}

static void lose(struct line *line, bool orderly)
{
    if (line->gone)
        return;
    line->gone = true;
    complete_all(line);
    if (line->source.events)
        line->source.events->lost(line->source.owner,
                                  orderly ? STREAM_CLOSE_NORMAL : STREAM_CLOSE_FAILED, orderly,
                                  orderly ? "it was disconnected there" : "the line was cut");
}

static void ready_due(void *arg)
{
    struct line *line = arg;
    const struct far_end_image *image = &far_end.image;
    struct source_info info = {
        .size = image->size,
        .block_min = image->block_min,
        .length_max = image->length_max,
        .in_flight_max = image->in_flight_max,
        .read_only = !image->writable,
        .can_flush = true,
        .can_fua = image->can_fua,
        .can_trim = image->can_trim,
        .can_write_zeroes = image->can_write_zeroes,
        .can_extents = image->can_extents,
    };

    line->due--;
    if (!line->gone && world_chance(30))
        lose(line, false);
    if (!line->gone) {
        line->answers = true;
        line->source.events->ready(line->source.owner, &info);
    }
    bury(line);
}

static void silence_due(void *arg)
{
    struct line *line = arg;

    line->due--;
    if (line->stalled_until > world_now())
        lose(line, false);
    bury(line);
}

static void line_close(struct source *source, enum stream_close why, const char *reason)
{
    (void)why;
    (void)reason;
    line_of(source)->gone = true;
}

static void line_tell(struct source *source, const char *text)
{
    const char *at = strstr(text, "\"token\"");
    char token[sizeof far_end.token];

    (void)source;
    if (at && sscanf(at, "\"token\":\"%40[0-9a-f]\"", token) == 1)
        memcpy(far_end.token, token, sizeof token);
}

static void line_free(struct line *line)
{
    line->gone = true;
    complete_all(line);
    if (far_end.newest == line)
        far_end.newest = NULL;
    line->freed = true;
    bury(line);
}

static void line_free_source(struct source *source)
{
    line_free(line_of(source));
}

static const struct source_ops source_ops = {
    .submit = line_submit,
    .close = line_close,
    .tell = line_tell,
    .free = line_free_source,
};

static void stream_close_line(struct stream *s, enum stream_close why, const char *reason)
{
    (void)why;
    (void)reason;
    list_entry(s, struct line, stream)->gone = true;
}

static void stream_free_line(struct stream *s)
{
    line_free(list_entry(s, struct line, stream));
}

static const struct stream_ops stream_ops = {
    .close = stream_close_line,
    .free = stream_free_line,
};

int peer_new(struct loop *loop, struct stream *stream, const struct peer_profile *profile,
             const struct source_events *events, void *owner, struct source **out)
{
    struct line *line = list_entry(stream, struct line, stream);

    (void)loop;
    (void)profile;
    line->source = (struct source){.ops = &source_ops, .events = events, .owner = owner};
    far_end.newest = line;
    line->due++;
    world_after(MS + world_random(200 * MS), ready_due, line);
    *out = &line->source;
    return 0;
}

struct stream *far_end_call(bool other)
{
    struct line *line = calloc(1, sizeof *line);

    if (!line)
        abort();
    line->stream.ops = &stream_ops;
    line->other = other;
    list_init(&line->asks);
    return &line->stream;
}

void far_end_cut(bool orderly)
{
    if (far_end_is_there())
        lose(far_end.newest, orderly);
}

bool far_end_failed_a_flush(void)
{
    return far_end.any_flush_failed;
}

void far_end_restart(void)
{
    if (far_end.flush_failed)
        content_doubt();
    far_end.flush_failed = false;
    for (size_t i = 0; i < far_end.sectors; i++) {
        if (far_end.held[i] != far_end.stable[i] && world_chance(500))
            far_end.stable[i] = far_end.held[i];
        far_end.held[i] = far_end.stable[i];
    }
    far_end_cut(false);
}

void far_end_stall(uint64_t length)
{
    struct line *line = far_end.newest;

    if (!far_end_is_there() || !line->answers)
        return;
    line->stalled_until = world_now() + length;
    if (length > SILENCE) {
        line->due++;
        world_after(SILENCE, silence_due, line);
    }
}

static void dig_grave(struct source_request *request)
{
    size_t size = (far_end.grave_count + 1) * sizeof(struct source_request *);

    far_end.graves = realloc(far_end.graves, size);
    if (!far_end.graves)
        abort();
    far_end.graves[far_end.grave_count++] = request;
}

void far_end_device_died(void)
{
    /* Its memory stays as it is: what leads here from the world finds no request any more. */
    if (!far_end.newest)
        return;
    far_end.newest->gone = true;
    list_for_each (it, &far_end.newest->asks) {
        struct ask *ask = list_entry(it, struct ask, link);

        if (!ask->error && world_chance(500))
            apply(ask);
        dig_grave(ask->request);
        ask->request = NULL;
    }
    far_end.newest->freed = true;
    bury(far_end.newest);
    far_end.newest = NULL;
}
