// SPDX-License-Identifier: Apache-2.0
/* A connection of the local side: what changes the medium, and bytes that come in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "conn-world.h"

/* The bytes of a write at `offset`, as their place says. */
static void arrive_bytes(struct conn_world *w, uint64_t offset, uint32_t length, size_t cut)
{
    uint8_t *bytes = malloc(length);

    assert_non_null(bytes);
    for (uint32_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)((offset + i) * 7 >> 3);
    fake_stream_arrive(&w->stream, bytes, length, cut);
    free(bytes);
}

static void assert_asked(struct conn_world *w, unsigned index, uint64_t offset, uint32_t length)
{
    const struct request *r = w->engine.asked[index];

    assert_int_equal(w->engine.asked_count, index + 1);
    assert_true(r->op == REQUEST_WRITE && r->offset == offset && r->length == length);
    for (uint32_t i = 0; i < length; i++)
        assert_int_equal(r->data[i], (uint8_t)((offset + i) * 7 >> 3));
}

/* The one reply that has been sent is this one; structured. */
static void assert_replied(struct conn_world *w, uint32_t want)
{
    size_t at = 0;
    int error = 0;

    assert_false(conn_world_next_chunk(w, &at, 0, NULL, &error));
    assert_int_equal(at, w->stream.sent_length);
    assert_int_equal(error, want);
    w->stream.sent_length = 0;
}

static void test_writes_wait_for_their_bytes(void **state)
{
    (void)state;
    for (size_t cut = 1; cut < 1002; cut += 111) {
        struct conn_world *w = conn_world_new_writable(true);

        conn_world_ask(w, NBD_CMD_FLAG_FUA, NBD_CMD_WRITE, 4096, 1000);
        arrive_bytes(w, 4096, 999, cut);
        assert_int_equal(w->engine.asked_count, 0);
        arrive_bytes(w, 4096 + 999, 1, 0);
        assert_asked(w, 0, 4096, 1000);
        assert_true(w->engine.asked[0]->fua);
        /* The next may come before the answer. */
        conn_world_ask(w, 0, NBD_CMD_WRITE, 0, 1);
        arrive_bytes(w, 0, 1, 0);
        assert_asked(w, 1, 0, 1);
        assert_false(w->engine.asked[1]->fua);
        conn_world_answer(&w->engine, 1, -ENOSPC, false);
        assert_replied(w, NBD_ENOSPC);
        conn_world_answer(&w->engine, 0, 0, false);
        assert_replied(w, 0);
        conn_world_end(w);
    }
}

static void test_long_writes_go_piece_by_piece(void **state)
{
    struct conn_world *w = conn_world_new_writable(false);
    uint32_t length = 2 * PIECE + 5;

    (void)state;
    conn_world_ask(w, 0, NBD_CMD_WRITE, 512, length);
    arrive_bytes(w, 512, PIECE + 100, 0);
    assert_asked(w, 0, 512, PIECE);
    assert_false(w->stream.wants_data);
    conn_world_answer(&w->engine, 0, 0, false);
    assert_true(w->stream.wants_data);
    arrive_bytes(w, 512 + PIECE + 100, PIECE - 100, 0);
    assert_asked(w, 1, 512 + PIECE, PIECE);
    conn_world_answer(&w->engine, 1, 0, false);
    assert_int_equal(w->stream.sent_length, 0);
    arrive_bytes(w, 512 + 2 * PIECE, 5, 1);
    assert_asked(w, 2, 512 + 2 * PIECE, 5);
    conn_world_answer(&w->engine, 2, 0, false);
    assert_int_equal(w->stream.sent_length, NBD_SIMPLE_REPLY_SIZE);
    conn_world_end(w);

    w = conn_world_new_writable(true);
    w->engine.at_once = true;
    conn_world_ask(w, 0, NBD_CMD_WRITE, 0, length);
    arrive_bytes(w, 0, length, 70000);
    assert_int_equal(w->engine.asked_count, 3);
    assert_replied(w, 0);
    conn_world_end(w);

    /* The first error answers all; the bytes that are left are passed over. */
    w = conn_world_new_writable(true);
    conn_world_ask(w, 0, NBD_CMD_WRITE, 0, length);
    arrive_bytes(w, 0, PIECE + 7, 0);
    conn_world_answer(&w->engine, 0, -EIO, false);
    assert_replied(w, NBD_EIO);
    arrive_bytes(w, PIECE + 7, PIECE - 2, 1000);
    conn_world_ask(w, 0, NBD_CMD_FLUSH, 0, 0);
    assert_int_equal(w->engine.asked_count, 2);
    conn_world_answer(&w->engine, 1, 0, false);
    assert_replied(w, 0);
    conn_world_end(w);
}

static void test_trims_and_zeroes_are_asked_whole(void **state)
{
    struct conn_world *w = conn_world_new_writable(true);

    (void)state;
    conn_world_ask(w, NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE, NBD_CMD_WRITE_ZEROES, 1,
                   IMAGE_SIZE - 1);
    conn_world_ask(w, 0, NBD_CMD_TRIM, 0, IMAGE_SIZE);
    /* They hold no memory, so others are not kept waiting. */
    assert_true(w->stream.wants_data);
    for (unsigned i = 0; i < 2; i++) {
        const struct request *r = w->engine.asked[i];

        assert_int_equal(r->op, i ? REQUEST_TRIM : REQUEST_WRITE_ZEROES);
        assert_true(r->offset == 1 - i && r->length == IMAGE_SIZE - 1 + i);
        assert_true(r->fua == !i && r->no_hole == !i);
    }
    conn_world_answer(&w->engine, 1, 0, false);
    assert_replied(w, 0);
    conn_world_answer(&w->engine, 0, -EIO, false);
    assert_replied(w, NBD_EIO);
    conn_world_end(w);
}

static void test_a_read_only_medium_is_not_written_to(void **state)
{
    struct conn_world *w = conn_world_new(true);

    (void)state;
    conn_world_ask(w, 0, NBD_CMD_WRITE, 0, 3 * PIECE);
    arrive_bytes(w, 0, 3 * PIECE, 100000);
    assert_replied(w, NBD_EPERM);
    conn_world_ask(w, 0, NBD_CMD_TRIM, 0, 512);
    assert_replied(w, NBD_EPERM);
    assert_int_equal(w->engine.asked_count, 0);
    conn_world_end(w);
}

static void test_the_end_of_a_write_under_way(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct conn_world *w = conn_world_new_writable(true);
        bool by_client = i % 2;

        conn_world_ask(w, 0, NBD_CMD_WRITE, 0, 2 * PIECE);
        arrive_bytes(w, 0, i < 2 ? 100 : PIECE + 100, 0);
        assert_int_equal(w->engine.asked_count, i / 2);
        if (by_client)
            w->stream.stream.events->closed(w->stream.stream.owner, true, "gone");
        else
            nbd_conn_close(w->conn);
        /* The engine may still look at the bytes it was given. */
        if (i == 2)
            conn_world_answer(&w->engine, 0, -EIO, false);
        if (i == 3)
            conn_world_answer(&w->engine, 0, 0, false);
        conn_world_end(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_wait_for_their_bytes),
        cmocka_unit_test(test_long_writes_go_piece_by_piece),
        cmocka_unit_test(test_trims_and_zeroes_are_asked_whole),
        cmocka_unit_test(test_a_read_only_medium_is_not_written_to),
        cmocka_unit_test(test_the_end_of_a_write_under_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
