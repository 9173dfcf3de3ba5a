/* SPDX-License-Identifier: Apache-2.0 */
/* A struct stream that goes nowhere: it keeps what is sent, at once or when it is let flow. */
#ifndef PLATTER_TESTS_FAKE_STREAM_H
#define PLATTER_TESTS_FAKE_STREAM_H

#include "base/stream.h"

#define FAKE_STREAM_ROOM (8u << 20)

/* The test's own, not freed by stream_free(), so that it can be asked afterwards. */
struct fake_stream {
    struct stream stream;
    bool stuck; /* outs wait in `queue` */
    struct list queue;
    uint8_t *sent;
    size_t sent_length;
    bool wants_data;
    bool closed;
    enum stream_close why;
    char reason[128];
    bool freed;
    unsigned told;
};

void fake_stream_init(struct fake_stream *f);
void fake_stream_done(struct fake_stream *f);
/* Lets what waits go out, and what comes after it. */
void fake_stream_flow(struct fake_stream *f);
/* Bytes from the far end, in pieces of `cut` (0: whole), each in memory of exactly its size. */
void fake_stream_arrive(struct fake_stream *f, const void *bytes, size_t length, size_t cut);

#endif
