/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A two-way stream of bytes to one far end: what every transport implements (a WebSocket, a unix
 * socket, stdin/stdout) and what an NBD client or server speaks through.
 *
 * Sending copies nothing: a `struct stream_out` belongs to the caller, who fills `head` (small,
 * inside) and points `data` at bytes that must stay as they are until `done` is called. Outs go
 * out whole and in order. So a reply's data travels from the cache to the socket in place, and "how
 * much is queued" is what its owner has handed over and not yet got back.
 *
 * Order of events: `data` and `heard` any number of times, then `closed` at most once. After
 * stream_close() or stream_free() neither comes again. `done` is called exactly once for each out
 * that was sent, possibly before stream_send() returns, with 0 or the -errno that kept it from
 * leaving
 * (-ECANCELED when the stream was closed first); from inside stream_free() for those still queued.
 *
 * Every call may be made from inside any event of the same stream: the implementation keeps its own
 * memory alive until it has returned from the event.
 */
#ifndef PLATTER_BASE_STREAM_H
#define PLATTER_BASE_STREAM_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

#define STREAM_HEAD_MAX 64

struct stream;

struct stream_out {
    struct list link; /* the stream's, from send to done */
    size_t head_length;
    uint8_t head[STREAM_HEAD_MAX];
    const uint8_t *data; /* sent after head; NULL when data_length is 0 */
    size_t data_length;
    void (*done)(struct stream_out *out, int error);
};

/* Why an end is closed. A WebSocket shows these as its close codes (docs/protocol.md). */
enum stream_close {
    STREAM_CLOSE_NORMAL,   /* the session has ended as it should */
    STREAM_CLOSE_EJECTED,  /* the machine gave the medium back */
    STREAM_CLOSE_REFUSED,  /* this medium, or a drive with it, cannot be had; the reason says why */
    STREAM_CLOSE_BUSY,     /* the slot has its session already */
    STREAM_CLOSE_PROTOCOL, /* the far end broke the protocol */
    STREAM_CLOSE_FAILED,   /* something on the device failed; the reason says what */
    STREAM_CLOSE_SHUTDOWN, /* the device's program is stopping */
    STREAM_CLOSE_OTHER,    /* it came back for a session that was begun with another medium */
    STREAM_CLOSE_OVER,     /* it came back for a session that is over */
};

struct stream_events {
    /* Bytes have come; they are gone when this returns. */
    void (*data)(void *owner, const uint8_t *bytes, size_t length);
    /* A sign of life beside the bytes, such as a WebSocket's text message; NULL: not listened for.
     */
    void (*heard)(void *owner);
    /*
     * The far end is gone, or the line failed. `orderly` when it said a proper goodbye (a WebSocket
     * close of code 1000, an end of file); `reason` is one phrase for people, never NULL.
     */
    void (*closed)(void *owner, bool orderly, const char *reason);
};

struct stream_ops {
    /* May call `done` before it returns. */
    void (*send)(struct stream *s, struct stream_out *out);
    /* While off, `data` is not called and the far end is held back by its transport. Starts on. */
    void (*want_data)(struct stream *s, bool on);
    /*
     * A word beside the bytes, for people or programs at the far end (a WebSocket's text message);
     * NULL where the transport has no such thing. Copied; dropped once the stream is closed.
     */
    void (*tell)(struct stream *s, const char *text);
    /* Sends what is queued, then says goodbye. `reason`: one sentence, at most 120 bytes of UTF-8.
     */
    void (*close)(struct stream *s, enum stream_close why, const char *reason);
    /* Lets go of it at once; a goodbye in progress goes on by itself. */
    void (*free)(struct stream *s);
};

/* The first member of every implementation's own struct. */
struct stream {
    const struct stream_ops *ops;
    const struct stream_events
        *events; /* the owner's, set by stream_own() before the first event */
    void *owner;
};

/* Who hears of it from now on. No event comes before the loop's next turn. */
static inline void stream_own(struct stream *s, const struct stream_events *events, void *owner)
{
    s->events = events;
    s->owner = owner;
}

static inline void stream_send(struct stream *s, struct stream_out *out)
{
    s->ops->send(s, out);
}

static inline void stream_want_data(struct stream *s, bool on)
{
    s->ops->want_data(s, on);
}

static inline void stream_tell(struct stream *s, const char *text)
{
    if (s->ops->tell)
        s->ops->tell(s, text);
}

static inline void stream_close(struct stream *s, enum stream_close why, const char *reason)
{
    s->ops->close(s, why, reason);
}

/* NULL is allowed. */
static inline void stream_free(struct stream *s)
{
    if (s)
        s->ops->free(s);
}

#endif
