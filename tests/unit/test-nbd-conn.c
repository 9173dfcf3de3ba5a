// SPDX-License-Identifier: Apache-2.0
/* A connection of the local side: reads, replies, what has to wait, patience, and each way to end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "conn-world.h"
#include "fake-timer.h"

static void test_segments_become_chunks(void **state)
{
    struct conn_world *w = conn_world_new(true);
    uint32_t length = 5 * HOLE_EVERY + 17;
    uint8_t *got = malloc(length);
    unsigned chunks = 1;
    size_t at = 0;
    int error = 0;

    (void)state;
    conn_world_ask(w, 0, NBD_CMD_READ, 1000, length);
    conn_world_answer(&w->engine, 0, 0, true);
    memset(got, 0xff, length);
    while (conn_world_next_chunk(w, &at, 1000, got, &error))
        chunks++;
    assert_int_equal(chunks, 6);
    assert_int_equal(at, w->stream.sent_length);
    conn_world_assert_pattern(got, length, true);

    /* "Don't fragment": one chunk, zeroes as they are. */
    w->stream.sent_length = at = 0;
    conn_world_ask(w, NBD_CMD_FLAG_DF, NBD_CMD_READ, 1000, length);
    conn_world_answer(&w->engine, 1, 0, true);
    memset(got, 0xff, length);
    assert_false(conn_world_next_chunk(w, &at, 1000, got, &error));
    assert_int_equal(at, 20 + 8 + length);
    conn_world_assert_pattern(got, length, true);
    free(got);
    conn_world_end(w);
}

static void test_simple_replies_are_whole(void **state)
{
    struct conn_world *w = conn_world_new(false);
    uint32_t length = 3 * HOLE_EVERY;

    (void)state;
    conn_world_ask(w, 0, NBD_CMD_READ, 0, length);
    conn_world_ask(w, 0, NBD_CMD_FLUSH, 0, 0);
    conn_world_answer(&w->engine, 1, 0, false);
    assert_int_equal(w->stream.sent_length, NBD_SIMPLE_REPLY_SIZE);
    conn_world_answer(&w->engine, 0, 0, true);
    assert_int_equal(w->stream.sent_length, 2 * NBD_SIMPLE_REPLY_SIZE + length);
    conn_world_assert_pattern(w->stream.sent + 2 * NBD_SIMPLE_REPLY_SIZE, length, true);
    conn_world_end(w);
}

static void test_long_reads_go_piece_by_piece(void **state)
{
    struct conn_world *w = conn_world_new(true);
    uint32_t length = 2 * PIECE + 5;
    uint8_t *got = malloc(length);
    size_t at = 0;
    int error = 0;

    (void)state;
    conn_world_ask(w, 0, NBD_CMD_READ, 4096, length);
    w->stream.stuck = true;
    conn_world_answer(&w->engine, 0, 0, false);
    /* The next piece waits for the last to leave. */
    assert_int_equal(w->engine.asked_count, 1);
    fake_stream_flow(&w->stream);
    assert_int_equal(w->engine.asked_count, 2);
    assert_int_equal(w->engine.memory, PIECE);
    assert_int_equal(w->engine.asked[1]->offset, 4096 + PIECE);
    conn_world_answer(&w->engine, 1, 0, false);
    assert_int_equal(w->engine.asked[2]->length, 5);
    conn_world_answer(&w->engine, 2, 0, false);
    assert_true(conn_world_next_chunk(w, &at, 4096, got, &error));
    assert_true(conn_world_next_chunk(w, &at, 4096, got, &error));
    assert_false(conn_world_next_chunk(w, &at, 4096, got, &error));
    conn_world_assert_pattern(got, length, false);

    /* An error after data is still only this read's. */
    w->stream.sent_length = at = 0;
    conn_world_ask(w, 0, NBD_CMD_READ, 0, PIECE + 1);
    conn_world_answer(&w->engine, 3, 0, false);
    conn_world_answer(&w->engine, 4, -EIO, false);
    assert_true(conn_world_next_chunk(w, &at, 0, got, &error));
    assert_false(conn_world_next_chunk(w, &at, 0, got, &error));
    assert_int_equal(error, NBD_EIO);
    assert_false(w->closed);
    free(got);
    conn_world_end(w);
}

static void test_a_simple_reply_cannot_take_back_its_word(void **state)
{
    struct conn_world *w = conn_world_new(false);

    (void)state;
    conn_world_ask(w, 0, NBD_CMD_READ, 0, PIECE + 1);
    conn_world_answer(&w->engine, 0, 0, false);
    conn_world_answer(&w->engine, 1, -EIO, false);
    assert_true(w->closed && !w->by_client && w->stream.freed);
    conn_world_end(w);

    w = conn_world_new(false);
    conn_world_ask(w, 0, NBD_CMD_READ, 0, PIECE + 1);
    conn_world_answer(&w->engine, 0, -EIO, false);
    assert_false(w->closed);
    assert_int_equal(w->stream.sent_length, NBD_SIMPLE_REPLY_SIZE);
    conn_world_end(w);
}

static void test_too_many_requests_wait(void **state)
{
    static uint8_t bytes[200 * NBD_REQUEST_SIZE];
    struct conn_world *w = conn_world_new(false);
    struct bytes_writer out = bytes_writer(bytes, sizeof bytes);

    (void)state;
    for (unsigned i = 0; i < 200; i++)
        nbd_put_request(&out, &(struct nbd_request){0, NBD_CMD_READ, i, 0, 512});
    fake_stream_arrive(&w->stream, bytes, out.used, 0);
    assert_int_equal(w->engine.open, COMMANDS);
    assert_false(w->stream.wants_data);
    for (unsigned i = 0; i < 200; i++)
        conn_world_answer(&w->engine, i, 0, false);
    assert_true(w->stream.wants_data);
    assert_int_equal(w->stream.sent_length, 200 * (16 + 512));
    for (uint64_t i = 0; i < 200; i++) {
        struct nbd_simple_reply reply;

        nbd_get_simple_reply(w->stream.sent + i * (16 + 512), 16, &reply);
        assert_int_equal(reply.cookie, i);
    }
    conn_world_end(w);
}

static void test_too_many_bytes_wait(void **state)
{
    struct conn_world *w = conn_world_new(false);

    (void)state;
    for (unsigned i = 0; i < 8; i++)
        conn_world_ask(w, 0, NBD_CMD_READ, 0, PIECE / 4);
    assert_int_equal(w->engine.memory, 4u << 20);
    assert_false(w->stream.wants_data);
    conn_world_answer(&w->engine, 3, 0, false);
    assert_true(w->stream.wants_data);
    nbd_conn_close(w->conn);
    assert_true(w->stream.freed);
    /* What the engine still answers goes nowhere, and is given back. */
    for (unsigned i = 0; i < 8; i++) {
        if (i != 3)
            conn_world_answer(&w->engine, i, i % 2 ? -EIO : 0, false);
    }
    conn_world_end(w);
}

static void test_an_engine_that_answers_at_once(void **state)
{
    static uint8_t bytes[256 * NBD_REQUEST_SIZE];
    struct conn_world *w = conn_world_new(false);
    struct bytes_writer out = bytes_writer(bytes, sizeof bytes);

    (void)state;
    w->engine.at_once = true;
    for (unsigned i = 0; i < 200; i++)
        nbd_put_request(&out, &(struct nbd_request){0, NBD_CMD_READ, i, 0, 512});
    fake_stream_arrive(&w->stream, bytes, out.used, 333);
    assert_int_equal(w->stream.sent_length, 200 * (16 + 512));
    w->stream.sent_length = 0;
    w->engine.asked_count = 0;
    conn_world_ask(w, 0, NBD_CMD_READ, 0, 3 * PIECE + 1);
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
    conn_world_end(w);
}

static void test_every_way_to_end(void **state)
{
    struct conn_world *w = conn_world_new(true);

    (void)state;
    conn_world_ask(w, 0, NBD_CMD_READ, 0, 512);
    conn_world_ask(w, 0, NBD_CMD_DISC, 0, 0);
    assert_true(w->closed && w->by_client && w->stream.closed && w->stream.freed);
    conn_world_answer(&w->engine, 0, 0, false);
    conn_world_end(w);

    w = conn_world_new(true);
    fake_stream_arrive(&w->stream, "rubbish", 7, 0);
    assert_true(w->closed && !w->by_client && w->stream.freed);
    conn_world_end(w);

    /* The line goes away with replies stuck in it and others at the engine. */
    w = conn_world_new(true);
    w->stream.stuck = true;
    for (unsigned i = 0; i < 4; i++)
        conn_world_ask(w, 0, NBD_CMD_READ, 0, i == 1 ? 3 * PIECE : 512);
    conn_world_answer(&w->engine, 1, 0, true);
    conn_world_answer(&w->engine, 2, -EIO, true);
    w->stream.stream.events->closed(w->stream.stream.owner, true, "gone");
    assert_true(w->closed && !w->by_client && w->stream.freed);
    conn_world_answer(&w->engine, 0, 0, true);
    conn_world_answer(&w->engine, 3, -EIO, true);
    conn_world_end(w);

    /* The same, ended from this side while requests wait to be taken in. */
    w = conn_world_new(false);
    w->stream.stuck = true;
    for (unsigned i = 0; w->stream.wants_data; i++)
        conn_world_ask(w, 0, NBD_CMD_READ, 0, 0);
    nbd_conn_close(w->conn);
    assert_false(w->closed);
    conn_world_end(w);
}

static void test_patience(void **state)
{
    static const struct medium medium = {.size = IMAGE_SIZE, .read_only = true};
    struct conn_world *w = conn_world_new(true);

    (void)state;
    /* Nothing asked, and replies that are taken: for as long as it likes. */
    fake_timer_pass(1000000);
    conn_world_ask(w, 0, NBD_CMD_READ, 0, 512);
    fake_timer_pass(1000000);
    conn_world_answer(&w->engine, 0, 0, false);
    fake_timer_pass(1000000);
    assert_false(w->closed);
    w->stream.stuck = true;
    conn_world_ask(w, 0, NBD_CMD_READ, 0, 512);
    conn_world_answer(&w->engine, 1, 0, false);
    fake_timer_pass(29000);
    assert_false(w->closed);
    fake_stream_flow(&w->stream);
    w->stream.stuck = true;
    conn_world_ask(w, 0, NBD_CMD_READ, 0, 512);
    conn_world_answer(&w->engine, 2, 0, false);
    fake_timer_pass(29999);
    assert_false(w->closed);
    fake_timer_pass(1);
    assert_true(w->closed && w->stream.freed);
    assert_int_equal(w->engine.open, 0);
    conn_world_end(w);

    /* The kernel may be as slow as its machine. */
    w = conn_world_new(false);
    w->stream.stuck = true;
    conn_world_ask(w, 0, NBD_CMD_READ, 0, 512);
    conn_world_answer(&w->engine, 0, 0, false);
    fake_timer_pass(1000000);
    assert_false(w->closed);
    conn_world_end(w);

    /* The handshake, which one byte a second does not lengthen. */
    w = conn_world_new_fresh(&medium, true);
    for (unsigned i = 0; i < 14; i++) {
        fake_stream_arrive(&w->stream, &"\0\0\0\3IHAVEOPT\0\0"[i], 1, 0);
        fake_timer_pass(1000);
    }
    assert_false(w->closed);
    fake_timer_pass(1000);
    assert_true(w->closed && w->stream.freed);
    conn_world_end(w);
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
        cmocka_unit_test(test_patience),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
