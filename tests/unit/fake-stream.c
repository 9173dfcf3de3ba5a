// SPDX-License-Identifier: Apache-2.0
/* The stream of fake-stream.h; it aborts when its owner breaks a rule of base/stream.h. */
#include "fake-stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void require(bool truth)
{
    if (!truth)
        abort();
}

static struct fake_stream *of(struct stream *s)
{
    return (struct fake_stream *)(void *)s;
}

static void put(struct fake_stream *f, const uint8_t *bytes, size_t length)
{
    require(f->sent_length + length <= FAKE_STREAM_ROOM);
    if (length > 0)
        memcpy(f->sent + f->sent_length, bytes, length);
    f->sent_length += length;
}

static void send_one(struct fake_stream *f, struct stream_out *out)
{
    put(f, out->head, out->head_length);
    put(f, out->data, out->data_length);
    out->done(out, 0);
}

static void fake_send(struct stream *s, struct stream_out *out)
{
    struct fake_stream *f = of(s);

    require(!f->freed && !f->closed);
    require(out->head_length <= STREAM_HEAD_MAX && (out->data || out->data_length == 0));
    if (f->stuck)
        list_append(&f->queue, &out->link);
    else
        send_one(f, out);
}

static void fake_want_data(struct stream *s, bool on)
{
    require(!of(s)->freed);
    of(s)->wants_data = on;
}

static void fake_tell(struct stream *s, const char *text)
{
    require(!of(s)->freed && text);
    of(s)->told++;
}

static void fake_close(struct stream *s, enum stream_close why, const char *reason)
{
    struct fake_stream *f = of(s);

    require(!f->freed && !f->closed && reason && strlen(reason) <= 120);
    f->closed = true;
    f->why = why;
    snprintf(f->reason, sizeof f->reason, "%s", reason);
}

static void fake_free(struct stream *s)
{
    struct fake_stream *f = of(s);
    struct list *link;

    require(!f->freed);
    f->freed = true;
    while ((link = list_take_first(&f->queue))) {
        struct stream_out *out = list_entry(link, struct stream_out, link);

        out->done(out, -ECANCELED);
    }
}

static const struct stream_ops fake_ops = {
    .send = fake_send,
    .want_data = fake_want_data,
    .tell = fake_tell,
    .close = fake_close,
    .free = fake_free,
};

void fake_stream_init(struct fake_stream *f)
{
    memset(f, 0, sizeof *f);
    f->stream.ops = &fake_ops;
    f->wants_data = true;
    list_init(&f->queue);
    f->sent = malloc(FAKE_STREAM_ROOM);
    require(f->sent);
}

void fake_stream_done(struct fake_stream *f)
{
    require(f->freed);
    free(f->sent);
}

void fake_stream_flow(struct fake_stream *f)
{
    struct list *link;

    f->stuck = false;
    while ((link = list_take_first(&f->queue)))
        send_one(f, list_entry(link, struct stream_out, link));
}

void fake_stream_arrive(struct fake_stream *f, const void *bytes, size_t length, size_t cut)
{
    size_t at = 0;

    while (at < length && !f->freed && !f->closed) {
        size_t size = cut && cut < length - at ? cut : length - at;
        uint8_t *copy = malloc(size);

        require(copy && f->wants_data);
        memcpy(copy, (const uint8_t *)bytes + at, size);
        f->stream.events->data(f->stream.owner, copy, size);
        free(copy);
        at += size;
    }
}
