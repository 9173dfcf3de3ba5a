// SPDX-License-Identifier: Apache-2.0
/*
 * The source at the far end of a stream, with a stream and a clock that do what the test wants:
 * life from hello to goodbye, each way it can end, and who hears of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fake-stream.h"
#include "fake-timer.h"
#include "proto/nbd.h"
#include "source/peer.h"

#define SIZE 65536u

struct ask {
    struct source_request request;
    struct part parts[2];
    struct source_extent extents[2];
    uint8_t data[512];
    bool done;
    int error;
};

struct world {
    struct fake_stream stream;
    struct source *source;
    struct source_info info;
    bool ready;
    bool lost;
    bool free_when_lost;
    bool must_be_freed; /* the stream, when a request is complete */
    enum stream_close why;
    bool orderly;
    char reason[128];
    struct ask asks[16];
    struct ask *again; /* to be asked from inside the next completion */
};

static void ready(void *owner, const struct source_info *info)
{
    struct world *w = owner;

    assert_false(w->ready || w->lost);
    w->ready = true;
    w->info = *info;
}

static void lost(void *owner, enum stream_close why, bool orderly, const char *reason)
{
    struct world *w = owner;

    assert_false(w->lost);
    w->lost = true;
    w->why = why;
    w->orderly = orderly;
    snprintf(w->reason, sizeof w->reason, "%s", reason);
    /* The last event: whatever was asked is answered by now. */
    for (unsigned i = 0; i < 16; i++)
        assert_true(!w->asks[i].request.complete || w->asks[i].done);
    if (w->free_when_lost) {
        source_free(w->source);
        w->source = NULL;
    }
}

static const struct source_events events = {.ready = ready, .lost = lost};

static struct world *the_world;

static void submit(struct world *w, struct ask *ask, enum source_op op, uint64_t offset);

static void complete(struct source_request *request, int error)
{
    struct ask *ask = list_entry(request, struct ask, request);
    struct ask *again = the_world->again;

    assert_false(ask->done);
    assert_true(!the_world->must_be_freed || the_world->stream.freed);
    ask->done = true;
    ask->error = error;
    the_world->again = NULL;
    if (again)
        submit(the_world, again, SOURCE_READ, 0);
}

static void submit(struct world *w, struct ask *ask, enum source_op op, uint64_t offset)
{
    *ask = (struct ask){.request = {.op = op, .offset = offset, .complete = complete}};
    if (op != SOURCE_FLUSH)
        ask->request.length = sizeof ask->data;
    if (op == SOURCE_WRITE) {
        memset(ask->data, 0x77, sizeof ask->data);
        ask->request.data = ask->data;
    } else if (op == SOURCE_EXTENTS) {
        ask->request.extents = ask->extents;
        ask->request.extent_room = 2;
    } else if (op == SOURCE_READ) {
        /* What goes where within parts is the client's business; that it gets them, is ours. */
        ask->parts[0] = (struct part){ask->data, 100};
        ask->parts[1] = (struct part){ask->data + 100, sizeof ask->data - 100};
        ask->request.parts = ask->parts;
        ask->request.part_count = 2;
    }
    source_submit(w->source, &ask->request);
}

static struct world *new_world(void)
{
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    the_world = w;
    fake_stream_init(&w->stream);
    assert_int_equal(
        peer_new(NULL, &w->stream.stream, peer_profile_find(NULL), &events, w, &w->source), 0);
    return w;
}

static void end_world(struct world *w)
{
    source_free(w->source);
    fake_stream_done(&w->stream);
    free(w);
}

static void put_reply(struct bytes_writer *w, uint32_t option, uint32_t type, uint32_t length)
{
    nbd_put_option_reply(w, &(struct nbd_option_reply){option, type, length});
}

#define WRITABLE                                                                                   \
    (NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES)

/* A whole handshake, as a page or a plain old server would do it. */
static void shake_hands_as(struct world *w, bool modern, uint32_t block, uint32_t longest,
                           uint16_t flags)
{
    const struct nbd_export export = {SIZE, NBD_FLAG_HAS_FLAGS | flags};
    uint32_t answer = modern ? NBD_REP_ACK : NBD_REP_ERR_UNSUP;
    uint8_t bytes[512];
    struct bytes_writer out = bytes_writer(bytes, sizeof bytes);

    nbd_put_hello(&out, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    put_reply(&out, NBD_OPT_STRUCTURED_REPLY, answer, 0);
    if (modern) {
        put_reply(&out, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, 4 + 15);
        bytes_put_u32(&out, 5);
        bytes_put(&out, NBD_BASE_ALLOCATION, 15);
        put_reply(&out, NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK, 0);
        put_reply(&out, NBD_OPT_GO, NBD_REP_INFO, NBD_INFO_EXPORT_SIZE);
        nbd_put_info_export(&out, &export);
        put_reply(&out, NBD_OPT_GO, NBD_REP_INFO, NBD_INFO_BLOCK_SIZE_SIZE);
        nbd_put_info_block_size(&out, &(struct nbd_block_size){block, block, longest});
    }
    put_reply(&out, NBD_OPT_GO, answer, 0);
    if (!modern)
        nbd_put_export_reply(&out, &export, false);
    fake_stream_arrive(&w->stream, bytes, out.used, 7);
    w->stream.sent_length = 0;
}

static void shake_hands(struct world *w, bool modern, uint32_t block, uint32_t longest)
{
    shake_hands_as(w, modern, block, longest,
                   NBD_FLAG_READ_ONLY | (modern ? NBD_FLAG_SEND_FLUSH : 0));
}

static void arrive_chunk(struct world *w, uint64_t cookie, uint64_t offset, uint32_t length,
                         bool last)
{
    uint8_t bytes[1024];
    struct bytes_writer out = bytes_writer(bytes, sizeof bytes);

    nbd_put_chunk(&out, &(struct nbd_chunk){last ? NBD_REPLY_FLAG_DONE : 0,
                                            NBD_REPLY_TYPE_OFFSET_DATA, cookie, 8 + length});
    nbd_put_chunk_data(&out, offset);
    for (uint32_t i = 0; i < length; i++)
        bytes_put_u8(&out, 0x5a);
    fake_stream_arrive(&w->stream, bytes, out.used, 100);
}

static void arrive_data(struct world *w, uint64_t cookie, uint64_t offset, uint32_t length)
{
    arrive_chunk(w, cookie, offset, length, true);
}

static void arrive_done(struct world *w, uint64_t cookie)
{
    uint8_t bytes[NBD_SIMPLE_REPLY_SIZE];
    struct bytes_writer out = bytes_writer(bytes, sizeof bytes);

    nbd_put_simple_reply(&out, &(struct nbd_simple_reply){.cookie = cookie});
    fake_stream_arrive(&w->stream, bytes, out.used, 3);
}

static void arrive_error(struct world *w, uint64_t cookie, uint32_t error)
{
    uint8_t bytes[64];
    struct bytes_writer out = bytes_writer(bytes, sizeof bytes);

    nbd_put_chunk(&out, &(struct nbd_chunk){NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, cookie, 6});
    nbd_put_chunk_error(&out, NBD_REPLY_TYPE_ERROR, &(struct nbd_chunk_error){.error = error});
    fake_stream_arrive(&w->stream, bytes, out.used, 0);
}

/* The request at this place of what was sent. */
static struct nbd_request sent(struct world *w, unsigned index)
{
    struct nbd_request q;
    size_t at = (size_t)index * NBD_REQUEST_SIZE;

    assert_true(w->stream.sent_length >= at + NBD_REQUEST_SIZE);
    assert_int_equal(nbd_get_request(w->stream.sent + at, NBD_REQUEST_SIZE, &q), NBD_REQUEST_SIZE);
    return q;
}

static void test_limits_follow_the_far_end(void **state)
{
    static const struct {
        bool modern;
        uint32_t block;
        uint32_t longest;
        uint32_t want;
    } cases[] = {
        {true, 1, 32u << 20, 1u << 20}, {true, 512, 0xffffffff, 1u << 20}, {true, 4096, 4096, 4096},
        {true, 4096, 70000, 69632},     {false, 1, 0, 128u << 10},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world *w = new_world();

        shake_hands(w, cases[i].modern, cases[i].block, cases[i].longest);
        assert_true(w->ready);
        assert_int_equal(w->info.size, SIZE);
        assert_int_equal(w->info.block_min, cases[i].block);
        assert_int_equal(w->info.length_max, cases[i].want);
        assert_int_equal(w->info.in_flight_max, 64);
        assert_int_equal(w->info.can_flush, cases[i].modern);
        assert_true(w->info.read_only);
        assert_int_equal(w->info.can_extents, cases[i].modern);
        assert_false(w->info.can_fua || w->info.can_trim || w->info.can_write_zeroes);
        end_world(w);
    }
}

static void test_requests_and_goodbye(void **state)
{
    struct world *w = new_world();

    (void)state;
    shake_hands(w, true, 1, 65536);
    submit(w, &w->asks[0], SOURCE_READ, 0);
    submit(w, &w->asks[1], SOURCE_READ, 512);
    submit(w, &w->asks[2], SOURCE_FLUSH, 0);
    arrive_error(w, sent(w, 1).cookie, NBD_EIO);
    assert_true(w->asks[1].done && w->asks[1].error == -EIO && !w->asks[0].done);
    /* The next may be asked from inside an answer. */
    w->again = &w->asks[3];
    arrive_data(w, sent(w, 0).cookie, 0, 512);
    assert_true(w->asks[0].done && w->asks[0].error == 0);
    assert_int_equal(w->asks[0].data[511], 0x5a);
    assert_int_equal(w->asks[0].request.copied_bytes, 512);
    assert_int_equal(w->asks[0].request.zero_bytes, 0);
    assert_int_equal(sent(w, 3).type, NBD_CMD_READ);
    source_tell(w->source, "{}");
    assert_int_equal(w->stream.told, 1);
    source_close(w->source, STREAM_CLOSE_EJECTED, "The machine ejected the medium.");
    assert_int_equal(sent(w, 4).type, NBD_CMD_DISC);
    assert_true(w->stream.closed && w->stream.why == STREAM_CLOSE_EJECTED);
    source_tell(w->source, "{}");
    assert_int_equal(w->stream.told, 1);
    assert_false(w->asks[3].done);
    source_free(w->source);
    w->source = NULL;
    assert_true(w->asks[2].error == SOURCE_LOST && w->asks[3].error == SOURCE_LOST && !w->lost);
    end_world(w);
}

static void test_writes(void **state)
{
    struct world *w = new_world();
    const uint8_t *sent_data;
    struct nbd_request q;

    (void)state;
    shake_hands_as(w, true, 1, 65536, WRITABLE);
    assert_true(!w->info.read_only && w->info.can_flush && w->info.can_fua && w->info.can_trim &&
                w->info.can_write_zeroes && w->info.can_extents);
    submit(w, &w->asks[0], SOURCE_WRITE, 1024);
    q = sent(w, 0);
    assert_true(q.type == NBD_CMD_WRITE && q.flags == 0 && q.offset == 1024 && q.length == 512);
    sent_data = w->stream.sent + NBD_REQUEST_SIZE;
    assert_int_equal(w->stream.sent_length, NBD_REQUEST_SIZE + 512);
    assert_memory_equal(sent_data, w->asks[0].data, 512);
    arrive_done(w, q.cookie);
    assert_true(w->asks[0].done && w->asks[0].error == 0);

    w->stream.sent_length = 0;
    w->asks[1].request = (struct source_request){.op = SOURCE_WRITE_ZEROES,
                                                 .fua = true,
                                                 .no_hole = true,
                                                 .length = SIZE,
                                                 .complete = complete};
    source_submit(w->source, &w->asks[1].request);
    submit(w, &w->asks[2], SOURCE_TRIM, 512);
    assert_int_equal(sent(w, 0).type, NBD_CMD_WRITE_ZEROES);
    assert_int_equal(sent(w, 0).flags, NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE);
    assert_int_equal(sent(w, 0).length, SIZE);
    assert_true(sent(w, 1).type == NBD_CMD_TRIM && sent(w, 1).flags == 0);
    assert_int_equal(w->stream.sent_length, 2 * NBD_REQUEST_SIZE);
    arrive_error(w, sent(w, 1).cookie, NBD_ENOSPC);
    assert_true(w->asks[2].error == -ENOSPC && !w->asks[1].done);
    end_world(w);
}

/* A server may refuse a write by its head alone and take the bytes in later: the answer holds, and
 * the bytes are lent until they have left. */
static void test_a_write_refused_while_it_leaves(void **state)
{
    struct world *w = new_world();

    (void)state;
    shake_hands_as(w, true, 1, 65536, WRITABLE);
    w->stream.stuck = true;
    submit(w, &w->asks[0], SOURCE_WRITE, 0);
    arrive_error(w, 1, NBD_ENOSPC);
    assert_true(!w->lost && !w->asks[0].done);
    submit(w, &w->asks[1], SOURCE_READ, 0); /* not in the place of what still leaves */
    fake_stream_flow(&w->stream);
    assert_true(w->asks[0].done && w->asks[0].error == -ENOSPC && !w->asks[1].done);
    arrive_data(w, 2, 0, 512);
    assert_true(w->asks[1].done && w->asks[1].error == 0);
    submit(w, &w->asks[2], SOURCE_WRITE, 0); /* the place is free again */
    arrive_done(w, 3);
    assert_true(w->asks[2].done && w->asks[2].error == 0);
    end_world(w);
}

/* What a request lends may be gone once it is complete: by then the stream has let go of it. */
static void test_a_lost_write_has_left_the_stream(void **state)
{
    struct world *w = new_world();

    (void)state;
    shake_hands_as(w, true, 1, 65536, WRITABLE);
    w->stream.stuck = true;
    w->must_be_freed = true;
    submit(w, &w->asks[0], SOURCE_WRITE, 0);
    arrive_error(w, 1, NBD_ENOSPC); /* nobody waits for its last byte now */
    arrive_data(w, 99, 0, 1);
    assert_true(w->lost && w->asks[0].error == SOURCE_LOST);
    end_world(w);

    w = new_world();
    shake_hands_as(w, true, 1, 65536, WRITABLE);
    w->stream.stuck = true;
    w->must_be_freed = true;
    submit(w, &w->asks[0], SOURCE_WRITE, 0);
    source_close(w->source, STREAM_CLOSE_NORMAL, "");
    assert_false(w->asks[0].done);
    source_free(w->source);
    w->source = NULL;
    assert_true(!w->lost && w->asks[0].error == SOURCE_LOST);
    end_world(w);
}

static void test_extents(void **state)
{
    static const struct nbd_extent told[] = {
        {100, 0}, {28, NBD_STATE_ZERO | NBD_STATE_HOLE}, {384, NBD_STATE_HOLE}};
    struct world *w = new_world();

    (void)state;
    shake_hands(w, true, 1, 65536);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t bytes[128];
        struct bytes_writer out = bytes_writer(bytes, sizeof bytes);
        struct ask *ask = &w->asks[i];

        submit(w, ask, SOURCE_EXTENTS, 4096);
        assert_true(sent(w, i).type == NBD_CMD_BLOCK_STATUS && sent(w, i).length == 512);
        /* The first answer is longer than there is room for. */
        nbd_put_chunk(&out, &(struct nbd_chunk){NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_BLOCK_STATUS,
                                                sent(w, i).cookie, 4 + 8 * (3 - 2 * i)});
        nbd_put_chunk_status(&out, 5);
        for (unsigned n = i; n < 3 - i; n++)
            nbd_put_extent(&out, &told[n]);
        fake_stream_arrive(&w->stream, bytes, out.used, 5);
        assert_true(ask->done && ask->error == 0);
        assert_int_equal(ask->request.extent_count, 2 - i);
        assert_int_equal(ask->extents[0].length, told[i].length);
        assert_int_equal(ask->extents[0].zero, i == 1);
    }
    assert_true(w->asks[0].extents[1].zero);
    end_world(w);
}

static void hear(struct world *w)
{
    w->stream.stream.events->heard(w->stream.stream.owner);
}

static void test_the_handshake_has_its_time(void **state)
{
    struct world *w = new_world();

    (void)state;
    fake_timer_pass(10000);
    hear(w); /* a word is no handshake */
    fake_timer_pass(4999);
    assert_false(w->lost);
    fake_timer_pass(200);
    assert_true(w->lost && w->why == STREAM_CLOSE_PROTOCOL);
    assert_string_equal(w->reason,
                        "the far end did not finish the NBD handshake within 15 seconds");
    end_world(w);
}

static void test_silence_of_one_that_answers_no_words(void **state)
{
    struct world *w = new_world();

    (void)state;
    shake_hands(w, true, 1, 65536);
    fake_timer_pass(1000000);
    assert_false(w->lost); /* it was not asked anything */
    submit(w, &w->asks[0], SOURCE_READ, 0);
    fake_timer_pass(20000);
    submit(w, &w->asks[1], SOURCE_READ, 0);
    fake_timer_pass(4000);
    arrive_data(w, sent(w, 0).cookie, 0, 512);
    fake_timer_pass(24999);
    assert_false(w->lost);
    fake_timer_pass(200);
    assert_true(w->lost && !w->orderly && w->why == STREAM_CLOSE_FAILED);
    assert_string_equal(w->reason, "the far end left a request unanswered for 25 seconds");
    assert_int_equal(w->asks[1].error, SOURCE_LOST);
    end_world(w);

    /* The last answer stops the clock. */
    w = new_world();
    shake_hands(w, true, 1, 65536);
    submit(w, &w->asks[0], SOURCE_READ, 0);
    arrive_data(w, sent(w, 0).cookie, 0, 512);
    fake_timer_pass(1000000);
    assert_false(w->lost);
    end_world(w);
}

static void test_silence_of_one_that_answers_words(void **state)
{
    struct world *w = new_world();

    (void)state;
    hear(w);
    shake_hands(w, true, 1, 65536);
    submit(w, &w->asks[0], SOURCE_READ, 0);
    for (uint32_t at = 0; at < 512; at += 128) {
        fake_timer_pass(7999);
        hear(w);
        fake_timer_pass(7999);
        arrive_chunk(w, sent(w, 0).cookie, at, 128, at == 384);
    }
    assert_true(w->asks[0].done);
    assert_false(w->lost);
    /* Late by a little, since this program was itself held up: it is still there. */
    fake_timer_pass(8050);
    assert_false(w->lost);
    hear(w);
    fake_timer_pass(7999);
    assert_false(w->lost);
    w->free_when_lost = true;
    fake_timer_pass(200);
    assert_true(w->lost && !w->orderly && w->why == STREAM_CLOSE_FAILED);
    assert_string_equal(w->reason, "the far end has been silent for 8 seconds");
    end_world(w);
}

static void test_a_lie_ends_it(void **state)
{
    struct world *w = new_world();

    (void)state;
    shake_hands(w, true, 1, 65536);
    submit(w, &w->asks[0], SOURCE_READ, 0);
    w->free_when_lost = true;
    arrive_data(w, 99, 0, 1);
    assert_true(w->lost && !w->orderly && w->why == STREAM_CLOSE_PROTOCOL);
    assert_int_equal(w->asks[0].error, SOURCE_LOST);
    assert_true(w->stream.closed && w->stream.why == STREAM_CLOSE_PROTOCOL && w->stream.freed);
    /* The phrase, as a sentence. */
    assert_string_equal(w->stream.reason + 1, strcat(w->reason + 1, "."));
    end_world(w);

    /* An answer to a request that is still on its way out. */
    w = new_world();
    shake_hands(w, true, 1, 65536);
    w->stream.stuck = true;
    submit(w, &w->asks[0], SOURCE_READ, 0);
    arrive_data(w, 1, 0, 512);
    assert_true(w->lost && w->why == STREAM_CLOSE_PROTOCOL && w->asks[0].error == SOURCE_LOST);
    assert_string_equal(w->reason, "the far end answered a request before it was sent");
    end_world(w);
}

static void test_an_empty_image_is_refused(void **state)
{
    struct world *w = new_world();
    uint8_t bytes[512];
    struct bytes_writer out = bytes_writer(bytes, sizeof bytes);

    (void)state;
    nbd_put_hello(&out, NBD_FLAG_FIXED_NEWSTYLE);
    put_reply(&out, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, 0);
    put_reply(&out, NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR_UNSUP, 0);
    put_reply(&out, NBD_OPT_GO, NBD_REP_INFO, NBD_INFO_EXPORT_SIZE);
    nbd_put_info_export(&out, &(struct nbd_export){0, NBD_FLAG_HAS_FLAGS});
    put_reply(&out, NBD_OPT_GO, NBD_REP_ACK, 0);
    fake_stream_arrive(&w->stream, bytes, out.used, 0);
    assert_true(w->lost && !w->ready && w->why == STREAM_CLOSE_REFUSED);
    assert_string_equal(w->stream.reason, "The image is empty.");
    end_world(w);
}

static void test_the_line_ends(void **state)
{
    struct world *w = new_world();

    (void)state;
    shake_hands(w, true, 1, 65536);
    submit(w, &w->asks[0], SOURCE_READ, 0);
    /* Asked again from inside the loss, it is answered at once. */
    w->again = &w->asks[1];
    w->stream.stream.events->closed(w->stream.stream.owner, true, "the page was closed");
    assert_true(w->lost && w->orderly && w->why == STREAM_CLOSE_NORMAL);
    assert_string_equal(w->reason, "the page was closed");
    assert_true(w->asks[0].error == SOURCE_LOST && w->asks[1].error == SOURCE_LOST);
    assert_false(w->stream.closed);
    end_world(w);

    w = new_world();
    w->stream.stream.events->closed(w->stream.stream.owner, false, "Connection reset by peer");
    assert_true(w->lost && !w->orderly && w->why == STREAM_CLOSE_FAILED);
    end_world(w);

    /* "Server is in the process of being shut down": it is left in order. */
    w = new_world();
    shake_hands(w, true, 1, 65536);
    submit(w, &w->asks[0], SOURCE_READ, 0);
    arrive_error(w, 1, NBD_ESHUTDOWN);
    assert_true(w->lost && w->orderly && w->asks[0].error == SOURCE_LOST);
    assert_int_equal(sent(w, 1).type, NBD_CMD_DISC);
    end_world(w);
}

static void test_what_cannot_be_asked(void **state)
{
    struct world *w = new_world();

    (void)state;
    submit(w, &w->asks[0], SOURCE_READ, 0);
    assert_true(w->asks[0].done && w->asks[0].error < 0);
    shake_hands(w, false, 1, 0);
    submit(w, &w->asks[1], SOURCE_FLUSH, 0);
    assert_int_equal(w->asks[1].error, -EINVAL);
    submit(w, &w->asks[2], SOURCE_READ, SIZE);
    assert_int_equal(w->asks[2].error, -EINVAL);
    assert_int_equal(w->stream.sent_length, 0);
    end_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits_follow_the_far_end),
        cmocka_unit_test(test_requests_and_goodbye),
        cmocka_unit_test(test_writes),
        cmocka_unit_test(test_a_write_refused_while_it_leaves),
        cmocka_unit_test(test_a_lost_write_has_left_the_stream),
        cmocka_unit_test(test_extents),
        cmocka_unit_test(test_the_handshake_has_its_time),
        cmocka_unit_test(test_silence_of_one_that_answers_no_words),
        cmocka_unit_test(test_silence_of_one_that_answers_words),
        cmocka_unit_test(test_a_lie_ends_it),
        cmocka_unit_test(test_an_empty_image_is_refused),
        cmocka_unit_test(test_the_line_ends),
        cmocka_unit_test(test_what_cannot_be_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
