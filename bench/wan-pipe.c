// SPDX-License-Identifier: Apache-2.0
/*
 * The line's arithmetic. A chunk holds bytes that follow each other on the line without a gap, so
 * two times say when each of them is due: `start`, when the first begins to arrive, and `last`,
 * when the final one has. In between they arrive evenly.
 *
 * The pipe owns its chunks. Always: chunks are in the order of their times, none is empty but the
 * one that pipe_space() has just handed out, and `held` is the sum of what they still hold. What
 * may be held is bounded: what is on its way (rate x delay), one round trip's worth before it,
 * which is what a router's buffer holds, and one chunk.
 */
#include "wan-pipe.h"

#include <stdlib.h>

#define CHUNK_ROOM     65536u
#define QUEUE_MIN      65536u
#define UNLIMITED_HELD (64u << 20)
#define NS_PER_S       UINT64_C(1000000000)

struct chunk {
    struct list link;
    uint64_t start, last; /* see above */
    uint64_t rate;        /* of the lane when it was filled */
    uint32_t length;
    uint32_t sent;
    uint8_t bytes[CHUNK_ROOM];
};

void pipe_init(struct pipe *pipe, struct lane *lane)
{
    *pipe = (struct pipe){.lane = lane};
    list_init(&pipe->chunks);
}

void pipe_done(struct pipe *pipe)
{
    struct list *link;

    while ((link = list_take_first(&pipe->chunks)))
        free(list_entry(link, struct chunk, link));
    pipe->held = 0;
}

/* Nanoseconds that the line needs for so many bytes. */
static uint64_t lane_time(const struct lane *lane, uint64_t bytes)
{
    return lane->rate ? bytes * 8 * NS_PER_S / lane->rate : 0;
}

/* Bytes on their way at most, one way. */
static uint64_t lane_flight(const struct lane *lane)
{
    return lane->rate / 8 * (lane->delay / 1000) / 1000000;
}

/* Bytes that may stand before the line: a round trip's, and enough to be looked at in good time. */
static uint64_t lane_queue(const struct lane *lane)
{
    uint64_t queue = 2 * lane_flight(lane);
    uint64_t least = QUEUE_MIN + lane->rate / 8 * (4 * PIPE_QUANTUM / 1000) / 1000000;

    return queue > least ? queue : least;
}

static bool queue_is_full(const struct pipe *pipe, uint64_t now)
{
    const struct lane *lane = pipe->lane;

    if (!lane->rate)
        return pipe->held >= UNLIMITED_HELD;
    return pipe->held >= lane_flight(lane) + lane_queue(lane) || now < pipe_room_at(pipe);
}

uint64_t pipe_room_at(const struct pipe *pipe)
{
    uint64_t wait = lane_time(pipe->lane, lane_queue(pipe->lane));

    return pipe->lane->free_at > wait ? pipe->lane->free_at - wait : 0;
}

/* The chunk that was filled last, or is to be; there must be one. */
static struct chunk *last_chunk(const struct pipe *pipe)
{
    return list_entry(pipe->chunks.prev, struct chunk, link);
}

static uint64_t lane_start(const struct lane *lane, uint64_t now)
{
    return now > lane->free_at ? now : lane->free_at;
}

/* Whether what comes now belongs into the last chunk: it has room, and there is no gap. */
static bool chunk_follows(const struct pipe *pipe, uint64_t now)
{
    const struct chunk *chunk = last_chunk(pipe);

    if (chunk->length == 0)
        return true;
    return chunk->length < CHUNK_ROOM && chunk->rate == pipe->lane->rate &&
           chunk->last == lane_start(pipe->lane, now) + pipe->lane->delay;
}

uint8_t *pipe_space(struct pipe *pipe, uint64_t now, uint32_t *room)
{
    struct chunk *chunk;

    if (queue_is_full(pipe, now))
        return NULL;
    if (list_is_empty(&pipe->chunks) || !chunk_follows(pipe, now)) {
        chunk = malloc(sizeof *chunk);
        if (!chunk)
            return NULL;
        chunk->length = 0;
        chunk->sent = 0;
        list_append(&pipe->chunks, &chunk->link);
    }
    chunk = last_chunk(pipe);
    *room = CHUNK_ROOM - chunk->length;
    return chunk->bytes + chunk->length;
}

void pipe_filled(struct pipe *pipe, uint32_t length, uint64_t now)
{
    struct chunk *chunk = last_chunk(pipe);
    struct lane *lane = pipe->lane;
    uint64_t start = lane_start(lane, now);

    lane->free_at = start + lane_time(lane, length);
    if (chunk->length == 0) {
        chunk->rate = lane->rate;
        chunk->start = start + lane->delay;
        if (chunk->start < pipe->last_due)
            chunk->start = pipe->last_due; /* the delay has been made shorter meanwhile */
        chunk->last = chunk->start + lane_time(lane, length);
    } else {
        chunk->last += lane_time(lane, length);
    }
    chunk->length += length;
    pipe->held += length;
    pipe->last_due = chunk->last;
}

void pipe_finish(struct pipe *pipe, enum pipe_end end, uint64_t now)
{
    if (pipe->end >= end)
        return;
    pipe->end = end;
    pipe->end_due = lane_start(pipe->lane, now) + pipe->lane->delay;
}

/* The chunk that bytes come out of, if it has any. */
static struct chunk *first_chunk(const struct pipe *pipe)
{
    struct chunk *chunk;

    if (list_is_empty(&pipe->chunks))
        return NULL;
    chunk = list_entry(pipe->chunks.next, struct chunk, link);
    return chunk->length > 0 ? chunk : NULL;
}

const uint8_t *pipe_due(const struct pipe *pipe, uint64_t now, uint32_t *length)
{
    const struct chunk *chunk = first_chunk(pipe);
    uint64_t due;

    if (!chunk || now < chunk->start)
        return NULL;
    due = chunk->length;
    if (now < chunk->last)
        due = due * (now - chunk->start) / (chunk->last - chunk->start);
    if (due <= chunk->sent)
        return NULL;
    *length = (uint32_t)due - chunk->sent;
    return chunk->bytes + chunk->sent;
}

void pipe_sent(struct pipe *pipe, uint32_t length)
{
    struct chunk *chunk = first_chunk(pipe);

    chunk->sent += length;
    pipe->held -= length;
    pipe->passed += length;
    if (chunk->sent == chunk->length) {
        list_remove(&chunk->link);
        free(chunk);
    }
}

enum pipe_end pipe_ended(const struct pipe *pipe, uint64_t now)
{
    return pipe->held == 0 && now >= pipe->end_due ? pipe->end : PIPE_OPEN;
}

uint64_t pipe_next(const struct pipe *pipe, uint64_t now)
{
    const struct chunk *chunk = first_chunk(pipe);

    if (!chunk)
        return pipe->end == PIPE_OPEN ? UINT64_MAX : pipe->end_due;

    /* The next byte, rounded up to where pipe_due() will count it. */
    uint64_t span = chunk->last - chunk->start;
    uint64_t next = chunk->start + (span * (chunk->sent + 1) + chunk->length - 1) / chunk->length;
    uint64_t soon = now + PIPE_QUANTUM < chunk->last ? now + PIPE_QUANTUM : chunk->last;

    return next > soon ? next : soon;
}
