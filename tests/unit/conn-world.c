// SPDX-License-Identifier: Apache-2.0
/* The world of conn-world.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "conn-world.h"

/* Segments in turn: data, a hole, data ... of HOLE_EVERY bytes, as many as a request can show. */
static void show(struct engine *e, struct request *r, bool holes)
{
    uint32_t left = r->length;

    r->segment_count = 0;
    while (left > 0) {
        unsigned i = r->segment_count++;
        bool last = i + 1 == REQUEST_SEGMENTS_MAX;
        uint32_t length = holes && !last && left > HOLE_EVERY ? HOLE_EVERY : left;

        r->segments[i] = (struct request_segment){holes && i % 2 ? NULL : e->data, length};
        left -= length;
    }
}

void conn_world_answer(struct engine *e, unsigned index, int error, bool holes)
{
    struct request *r = e->asked[index];

    assert_non_null(r);
    e->asked[index] = NULL;
    if (!error && r->op == REQUEST_READ)
        show(e, r, holes);
    r->complete(r, error);
}

void engine_submit(struct engine *e, struct request *request)
{
    assert_true(e->asked_count < ASKED_MAX);
    if (request->op == REQUEST_READ || request->op == REQUEST_WRITE)
        assert_true(request->length > 0 && request->length <= PIECE);
    assert_int_equal(request->data != NULL, request->op == REQUEST_WRITE);
    e->open++;
    e->memory += request->length;
    e->asked[e->asked_count++] = request;
    if (e->at_once)
        conn_world_answer(e, e->asked_count - 1, 0, false);
}

void engine_release(struct engine *e, struct request *request)
{
    assert_true(e->open > 0);
    e->open--;
    e->memory -= request->length;
}

static void closed(void *owner, struct nbd_conn *conn, bool by_client)
{
    struct conn_world *w = owner;

    assert_ptr_equal(conn, w->conn);
    assert_false(w->closed);
    w->closed = true;
    w->by_client = by_client;
}

static const struct nbd_conn_events events = {.closed = closed};

void conn_world_ask(struct conn_world *w, uint16_t flags, uint16_t type, uint64_t offset,
                    uint32_t length)
{
    uint8_t bytes[NBD_REQUEST_SIZE];
    struct bytes_writer out = bytes_writer(bytes, sizeof bytes);

    nbd_put_request(&out, &(struct nbd_request){flags, type, 0xfeed, offset, length});
    fake_stream_arrive(&w->stream, bytes, out.used, 0);
}

struct conn_world *conn_world_new_fresh(const struct medium *medium, bool negotiate)
{
    /* fake-timer.h looks at no loop. */
    static uint8_t no_loop;
    struct conn_world *w = calloc(1, sizeof *w);
    struct nbd_conn_config config = {
        .start = negotiate ? NBD_CONN_NEGOTIATE : NBD_CONN_TRANSMIT,
        .medium = medium,
        .loop = negotiate ? (struct loop *)(void *)&no_loop : NULL,
    };

    assert_non_null(w);
    fake_stream_init(&w->stream);
    w->engine.data = malloc(PIECE);
    memset(w->engine.data, 0x5a, PIECE);
    config.engine = &w->engine;
    assert_int_equal(nbd_conn_new(&w->stream.stream, &config, &events, w, &w->conn), 0);
    return w;
}

static struct conn_world *new_world_of(bool structured, const struct medium *medium)
{
    struct conn_world *w = conn_world_new_fresh(medium, structured);
    uint8_t bytes[128];
    struct bytes_writer out = bytes_writer(bytes, sizeof bytes);

    if (structured) {
        nbd_put_client_flags(&out, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
        nbd_put_option(&out, &(struct nbd_option){NBD_OPT_STRUCTURED_REPLY, 0});
        nbd_put_option(&out, &(struct nbd_option){NBD_OPT_GO, 6});
        nbd_put_info_request(&out, "", NULL, 0);
        fake_stream_arrive(&w->stream, bytes, out.used, 5);
        assert_true(w->stream.sent_length > NBD_HELLO_SIZE);
    }
    w->stream.sent_length = 0;
    return w;
}

struct conn_world *conn_world_new(bool structured)
{
    return new_world_of(structured, &(struct medium){.size = IMAGE_SIZE, .read_only = true});
}

struct conn_world *conn_world_new_writable(bool structured)
{
    return new_world_of(structured, &(struct medium){.size = IMAGE_SIZE});
}

void conn_world_end(struct conn_world *w)
{
    if (!w->closed && !w->stream.freed)
        nbd_conn_close(w->conn);
    assert_int_equal(w->engine.open, 0);
    assert_int_equal(w->engine.memory, 0);
    fake_stream_done(&w->stream);
    free(w->engine.data);
    free(w);
}

bool conn_world_next_chunk(struct conn_world *w, size_t *at, uint64_t base, uint8_t *got,
                           int *error)
{
    const uint8_t *bytes = w->stream.sent + *at;
    size_t left = w->stream.sent_length - *at;
    struct nbd_chunk chunk;
    uint64_t offset;

    assert_int_equal(nbd_get_chunk(bytes, left, &chunk), NBD_CHUNK_SIZE);
    bytes += NBD_CHUNK_SIZE;
    *at += NBD_CHUNK_SIZE + chunk.length;
    assert_true(*at <= w->stream.sent_length);
    if (chunk.type == NBD_REPLY_TYPE_OFFSET_DATA) {
        nbd_get_chunk_data(bytes, chunk.length, &offset);
        memcpy(got + (offset - base), bytes + 8, chunk.length - 8);
    } else if (chunk.type == NBD_REPLY_TYPE_OFFSET_HOLE) {
        struct nbd_hole hole;

        assert_int_equal(nbd_get_chunk_hole(bytes, chunk.length, &hole), 0);
        memset(got + (hole.offset - base), 0, hole.length);
    } else if (chunk.type == NBD_REPLY_TYPE_ERROR) {
        struct nbd_chunk_error e;

        assert_int_equal(nbd_get_chunk_error(bytes, chunk.length, chunk.type, &e), 0);
        *error = (int)e.error;
    }
    return !(chunk.flags & NBD_REPLY_FLAG_DONE);
}

void conn_world_assert_pattern(const uint8_t *got, uint32_t length, bool holes)
{
    for (uint32_t i = 0; i < length; i++) {
        uint32_t segment = i / HOLE_EVERY;

        if (segment >= REQUEST_SEGMENTS_MAX)
            segment = REQUEST_SEGMENTS_MAX - 1;
        assert_int_equal(got[i], holes && segment % 2 ? 0 : 0x5a);
    }
}
