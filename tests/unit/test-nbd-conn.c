// SPDX-License-Identifier: Apache-2.0
/*
 * A connection of the local side, between a stream and an engine that do what the test wants:
 * answer at once or late, in any order, with data, zeroes or errors, and get stuck.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "export/nbd-conn.h"
#include "fake-stream.h"
#include "proto/nbd.h"

#define SIZE       (64u << 20)
#define ASKED_MAX  256
#define COMMANDS   64u
#define PIECE      REQUEST_LENGTH_MAX
#define HOLE_EVERY 4096u

/* The engine, as far as a connection knows it. */
struct engine {
    bool at_once; /* answers from inside engine_submit() */
    struct request *asked[ASKED_MAX];
    unsigned asked_count;
    unsigned open; /* asked and not yet released */
    size_t memory;
    uint8_t *data; /* what every read shows */
};

struct world {
    struct engine engine;
    struct fake_stream stream;
    struct nbd_conn *conn;
    bool closed;
    bool by_client;
};

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

static void answer(struct engine *e, unsigned index, int error, bool holes)
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
    assert_true(request->op == REQUEST_FLUSH || (request->length > 0 && request->length <= PIECE));
    e->open++;
    e->memory += request->length;
    e->asked[e->asked_count++] = request;
    if (e->at_once)
        answer(e, e->asked_count - 1, 0, false);
}

void engine_release(struct engine *e, struct request *request)
{
    assert_true(e->open > 0);
    e->open--;
    e->memory -= request->length;
}

static void closed(void *owner, struct nbd_conn *conn, bool by_client)
{
    struct world *w = owner;

    assert_ptr_equal(conn, w->conn);
    assert_false(w->closed);
    w->closed = true;
    w->by_client = by_client;
}

static const struct nbd_conn_events events = {.closed = closed};

static void ask(struct world *w, uint16_t flags, uint16_t type, uint64_t offset, uint32_t length)
{
    uint8_t bytes[NBD_REQUEST_SIZE];
    struct bytes_writer out = bytes_writer(bytes, sizeof bytes);

    nbd_put_request(&out, &(struct nbd_request){flags, type, 0xfeed, offset, length});
    fake_stream_arrive(&w->stream, bytes, out.used, 0);
}

static struct world *new_world(bool structured)
{
    static const struct medium medium = {.size = SIZE, .read_only = true};
    struct world *w = calloc(1, sizeof *w);
    uint8_t bytes[128];
    struct bytes_writer out = bytes_writer(bytes, sizeof bytes);

    assert_non_null(w);
    fake_stream_init(&w->stream);
    w->engine.data = malloc(PIECE);
    memset(w->engine.data, 0x5a, PIECE);
    assert_int_equal(nbd_conn_new(&w->stream.stream,
                                  structured ? NBD_CONN_NEGOTIATE : NBD_CONN_TRANSMIT, &medium,
                                  &w->engine, &events, w, &w->conn),
                     0);
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

/* The world must be at its end: the stream freed, the engine owed nothing. */
static void end_world(struct world *w)
{
    if (!w->closed && !w->stream.freed)
        nbd_conn_close(w->conn);
    assert_int_equal(w->engine.open, 0);
    assert_int_equal(w->engine.memory, 0);
    fake_stream_done(&w->stream);
    free(w->engine.data);
    free(w);
}

/* Reads the reply at `*at`, filling `got` (the request's range); false at the last chunk. */
static bool next_chunk(struct world *w, size_t *at, uint64_t base, uint8_t *got, int *error)
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

static void assert_pattern(const uint8_t *got, uint32_t length, bool holes)
{
    for (uint32_t i = 0; i < length; i++) {
        uint32_t segment = i / HOLE_EVERY;

        if (segment >= REQUEST_SEGMENTS_MAX)
            segment = REQUEST_SEGMENTS_MAX - 1;
        assert_int_equal(got[i], holes && segment % 2 ? 0 : 0x5a);
    }
}

static void test_segments_become_chunks(void **state)
{
    struct world *w = new_world(true);
    uint32_t length = 5 * HOLE_EVERY + 17;
    uint8_t *got = malloc(length);
    unsigned chunks = 1;
    size_t at = 0;
    int error = 0;

    (void)state;
    ask(w, 0, NBD_CMD_READ, 1000, length);
    answer(&w->engine, 0, 0, true);
    memset(got, 0xff, length);
    while (next_chunk(w, &at, 1000, got, &error))
        chunks++;
    assert_int_equal(chunks, 6);
    assert_int_equal(at, w->stream.sent_length);
    assert_pattern(got, length, true);

    /* "Don't fragment": one chunk, zeroes as they are. */
    w->stream.sent_length = at = 0;
    ask(w, NBD_CMD_FLAG_DF, NBD_CMD_READ, 1000, length);
    answer(&w->engine, 1, 0, true);
    memset(got, 0xff, length);
    assert_false(next_chunk(w, &at, 1000, got, &error));
    assert_int_equal(at, 20 + 8 + length);
    assert_pattern(got, length, true);
    free(got);
    end_world(w);
}

static void test_simple_replies_are_whole(void **state)
{
    struct world *w = new_world(false);
    uint32_t length = 3 * HOLE_EVERY;

    (void)state;
    ask(w, 0, NBD_CMD_READ, 0, length);
    ask(w, 0, NBD_CMD_FLUSH, 0, 0);
    answer(&w->engine, 1, 0, false);
    assert_int_equal(w->stream.sent_length, NBD_SIMPLE_REPLY_SIZE);
    answer(&w->engine, 0, 0, true);
    assert_int_equal(w->stream.sent_length, 2 * NBD_SIMPLE_REPLY_SIZE + length);
    assert_pattern(w->stream.sent + 2 * NBD_SIMPLE_REPLY_SIZE, length, true);
    end_world(w);
}

static void test_long_reads_go_piece_by_piece(void **state)
{
    struct world *w = new_world(true);
    uint32_t length = 2 * PIECE + 5;
    uint8_t *got = malloc(length);
    size_t at = 0;
    int error = 0;

    (void)state;
    ask(w, 0, NBD_CMD_READ, 4096, length);
    w->stream.stuck = true;
    answer(&w->engine, 0, 0, false);
    /* The next piece waits for the last to leave. */
    assert_int_equal(w->engine.asked_count, 1);
    fake_stream_flow(&w->stream);
    assert_int_equal(w->engine.asked_count, 2);
    assert_int_equal(w->engine.memory, PIECE);
    assert_int_equal(w->engine.asked[1]->offset, 4096 + PIECE);
    answer(&w->engine, 1, 0, false);
    assert_int_equal(w->engine.asked[2]->length, 5);
    answer(&w->engine, 2, 0, false);
    assert_true(next_chunk(w, &at, 4096, got, &error));
    assert_true(next_chunk(w, &at, 4096, got, &error));
    assert_false(next_chunk(w, &at, 4096, got, &error));
    assert_pattern(got, length, false);

    /* An error after data is still only this read's. */
    w->stream.sent_length = at = 0;
    ask(w, 0, NBD_CMD_READ, 0, PIECE + 1);
    answer(&w->engine, 3, 0, false);
    answer(&w->engine, 4, -EIO, false);
    assert_true(next_chunk(w, &at, 0, got, &error));
    assert_false(next_chunk(w, &at, 0, got, &error));
    assert_int_equal(error, NBD_EIO);
    assert_false(w->closed);
    free(got);
    end_world(w);
}

static void test_a_simple_reply_cannot_take_back_its_word(void **state)
{
    struct world *w = new_world(false);

    (void)state;
    ask(w, 0, NBD_CMD_READ, 0, PIECE + 1);
    answer(&w->engine, 0, 0, false);
    answer(&w->engine, 1, -EIO, false);
    assert_true(w->closed && !w->by_client && w->stream.freed);
    end_world(w);

    w = new_world(false);
    ask(w, 0, NBD_CMD_READ, 0, PIECE + 1);
    answer(&w->engine, 0, -EIO, false);
    assert_false(w->closed);
    assert_int_equal(w->stream.sent_length, NBD_SIMPLE_REPLY_SIZE);
    end_world(w);
}

static void test_too_many_requests_wait(void **state)
{
    static uint8_t bytes[200 * NBD_REQUEST_SIZE];
    struct world *w = new_world(false);
    struct bytes_writer out = bytes_writer(bytes, sizeof bytes);

    (void)state;
    for (unsigned i = 0; i < 200; i++)
        nbd_put_request(&out, &(struct nbd_request){0, NBD_CMD_READ, i, 0, 512});
    fake_stream_arrive(&w->stream, bytes, out.used, 0);
    assert_int_equal(w->engine.open, COMMANDS);
    assert_false(w->stream.wants_data);
    for (unsigned i = 0; i < 200; i++)
        answer(&w->engine, i, 0, false);
    assert_true(w->stream.wants_data);
    assert_int_equal(w->stream.sent_length, 200 * (16 + 512));
    for (uint64_t i = 0; i < 200; i++) {
        struct nbd_simple_reply reply;

        nbd_get_simple_reply(w->stream.sent + i * (16 + 512), 16, &reply);
        assert_int_equal(reply.cookie, i);
    }
    end_world(w);
}

static void test_too_many_bytes_wait(void **state)
{
    struct world *w = new_world(false);

    (void)state;
    for (unsigned i = 0; i < 8; i++)
        ask(w, 0, NBD_CMD_READ, 0, PIECE / 4);
    assert_int_equal(w->engine.memory, 4u << 20);
    assert_false(w->stream.wants_data);
    answer(&w->engine, 3, 0, false);
    assert_true(w->stream.wants_data);
    nbd_conn_close(w->conn);
    assert_true(w->stream.freed);
    /* What the engine still answers goes nowhere, and is given back. */
    for (unsigned i = 0; i < 8; i++) {
        if (i != 3)
            answer(&w->engine, i, i % 2 ? -EIO : 0, false);
    }
    end_world(w);
}

static void test_an_engine_that_answers_at_once(void **state)
{
    static uint8_t bytes[256 * NBD_REQUEST_SIZE];
    struct world *w = new_world(false);
    struct bytes_writer out = bytes_writer(bytes, sizeof bytes);

    (void)state;
    w->engine.at_once = true;
    for (unsigned i = 0; i < 200; i++)
        nbd_put_request(&out, &(struct nbd_request){0, NBD_CMD_READ, i, 0, 512});
    fake_stream_arrive(&w->stream, bytes, out.used, 333);
    assert_int_equal(w->stream.sent_length, 200 * (16 + 512));
    w->stream.sent_length = 0;
    w->engine.asked_count = 0;
    ask(w, 0, NBD_CMD_READ, 0, 3 * PIECE + 1);
    assert_int_equal(w->engine.asked_count, 4);
    assert_int_equal(w->stream.sent_length, 16 + 3 * PIECE + 1);

    /* Stuck: the replies stand in the stream, and the rest of the requests wait. */
    w->stream.sent_length = 0;
    w->engine.asked_count = 0;
    w->stream.stuck = true;
    fake_stream_arrive(&w->stream, bytes, out.used, 0);
    assert_int_equal(w->engine.asked_count, COMMANDS);
    assert_int_equal(w->engine.open, COMMANDS);
    assert_false(w->stream.wants_data);
    fake_stream_flow(&w->stream);
    assert_true(w->stream.wants_data);
    assert_int_equal(w->stream.sent_length, 200 * (16 + 512));
    end_world(w);
}

static void test_every_way_to_end(void **state)
{
    struct world *w = new_world(true);

    (void)state;
    ask(w, 0, NBD_CMD_READ, 0, 512);
    ask(w, 0, NBD_CMD_DISC, 0, 0);
    assert_true(w->closed && w->by_client && w->stream.closed && w->stream.freed);
    answer(&w->engine, 0, 0, false);
    end_world(w);

    w = new_world(true);
    fake_stream_arrive(&w->stream, "rubbish", 7, 0);
    assert_true(w->closed && !w->by_client && w->stream.freed);
    end_world(w);

    /* The line goes away with replies stuck in it and others at the engine. */
    w = new_world(true);
    w->stream.stuck = true;
    for (unsigned i = 0; i < 4; i++)
        ask(w, 0, NBD_CMD_READ, 0, i == 1 ? 3 * PIECE : 512);
    answer(&w->engine, 1, 0, true);
    answer(&w->engine, 2, -EIO, true);
    w->stream.stream.events->closed(w->stream.stream.owner, true, "gone");
    assert_true(w->closed && !w->by_client && w->stream.freed);
    answer(&w->engine, 0, 0, true);
    answer(&w->engine, 3, -EIO, true);
    end_world(w);

    /* The same, ended from this side while requests wait to be taken in. */
    w = new_world(false);
    w->stream.stuck = true;
    for (unsigned i = 0; w->stream.wants_data; i++)
        ask(w, 0, NBD_CMD_READ, 0, 0);
    nbd_conn_close(w->conn);
    assert_false(w->closed);
    end_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments_become_chunks),
        cmocka_unit_test(test_simple_replies_are_whole),
        cmocka_unit_test(test_long_reads_go_piece_by_piece),
        cmocka_unit_test(test_a_simple_reply_cannot_take_back_its_word),
        cmocka_unit_test(test_too_many_requests_wait),
        cmocka_unit_test(test_too_many_bytes_wait),
        cmocka_unit_test(test_an_engine_that_answers_at_once),
        cmocka_unit_test(test_every_way_to_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
