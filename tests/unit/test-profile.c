// SPDX-License-Identifier: Apache-2.0
/*
 * A far end behind OpenBMC's web server, by its profile: what it is asked from the first byte on,
 * and what it may answer, in pieces of every size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fake-stream.h"
#include "proto/nbd.h"
#include "source/peer.h"

/* No multiple of anything. */
#define SIZE   1000003u
#define LENGTH 700u

struct world {
    struct fake_stream stream;
    struct source *source;
    struct source_info info;
    bool ready, lost;
    enum stream_close why;
};

struct ask {
    struct source_request request;
    struct part part;
    uint8_t data[LENGTH];
    unsigned done;
    int error;
};

static void ready(void *owner, const struct source_info *info)
{
    struct world *w = owner;

    w->ready = true;
    w->info = *info;
}

static void lost(void *owner, enum stream_close why, bool orderly, const char *reason)
{
    struct world *w = owner;

    (void)orderly;
    (void)reason;
    w->lost = true;
    w->why = why;
}

static const struct source_events events = {.ready = ready, .lost = lost};

static void new_world(struct world *w)
{
    *w = (struct world){0};
    fake_stream_init(&w->stream);
    assert_int_equal(
        peer_new(NULL, &w->stream.stream, peer_profile_find("openbmc"), &events, w, &w->source), 0);
}

static void end_world(struct world *w)
{
    source_free(w->source);
    fake_stream_done(&w->stream);
}

static void complete(struct source_request *request, int error)
{
    struct ask *ask = list_entry(request, struct ask, request);

    ask->done++;
    ask->error = error;
}

static void submit(struct world *w, struct ask *ask, enum source_op op, uint64_t offset,
                   uint32_t length)
{
    *ask = (struct ask){
        .request = {
            .op = op, .offset = offset, .length = length, .part_count = 1, .complete = complete}};
    ask->part = (struct part){ask->data, length};
    ask->request.parts = &ask->part;
    source_submit(w->source, &ask->request);
}

/* The option that begins at this byte of what was sent; returns where the next would begin. */
static size_t sent_option(const struct world *w, size_t at, uint32_t *option)
{
    struct bytes_reader r = bytes_reader(w->stream.sent + at, w->stream.sent_length - at);
    uint32_t length;

    assert_true(bytes_get_u64(&r) == UINT64_C(0x49484156454f5054)); /* IHAVEOPT */
    *option = bytes_get_u32(&r);
    length = bytes_get_u32(&r);
    assert_false(r.bad);
    return at + 16 + length;
}

static void put_reply(struct bytes_writer *w, uint32_t type, uint32_t length)
{
    nbd_put_option_reply(w, &(struct nbd_option_reply){NBD_OPT_GO, type, length});
}

/* All that the page says before it is asked to read, in pieces of `cut`. */
static void shake_hands(struct world *w, size_t cut, bool modern)
{
    const struct nbd_export export = {SIZE, NBD_FLAG_HAS_FLAGS | NBD_FLAG_READ_ONLY};
    uint8_t bytes[512];
    struct bytes_writer out = bytes_writer(bytes, sizeof bytes);
    uint32_t option;
    size_t at;

    nbd_put_hello(&out, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    if (modern) {
        put_reply(&out, NBD_REP_INFO, NBD_INFO_EXPORT_SIZE);
        nbd_put_info_export(&out, &export);
        put_reply(&out, NBD_REP_INFO, NBD_INFO_BLOCK_SIZE_SIZE);
        nbd_put_info_block_size(&out, &(struct nbd_block_size){1, 4096, 32u << 20});
        put_reply(&out, NBD_REP_ACK, 0);
    } else {
        put_reply(&out, NBD_REP_ERR_UNSUP, 0);
        nbd_put_export_reply(&out, &export, false);
    }
    fake_stream_arrive(&w->stream, bytes, out.used, cut);
    assert_true(w->ready && !w->lost);
    at = sent_option(w, 4, &option);
    assert_int_equal(option, NBD_OPT_GO); /* and nothing about structured replies before it */
    if (!modern) {
        at = sent_option(w, at, &option);
        assert_int_equal(option, NBD_OPT_EXPORT_NAME);
    }
    assert_int_equal(w->stream.sent_length, at);
    assert_int_equal(w->info.size, SIZE);
    assert_int_equal(w->info.block_min, 1);
    assert_int_equal(w->info.length_max, 128 << 10);
    assert_int_equal(w->info.in_flight_max, 4);
    assert_true(w->info.read_only && !w->info.can_flush && !w->info.can_extents);
    w->stream.sent_length = 0;
}

static void arrive_data(struct world *w, unsigned index, size_t cut)
{
    uint8_t bytes[NBD_SIMPLE_REPLY_SIZE + LENGTH];
    struct bytes_writer out = bytes_writer(bytes, sizeof bytes);
    struct nbd_request q;

    assert_int_equal(
        nbd_get_request(w->stream.sent + (size_t)index * NBD_REQUEST_SIZE, NBD_REQUEST_SIZE, &q),
        NBD_REQUEST_SIZE);
    assert_true(q.type == NBD_CMD_READ && q.flags == 0 && q.offset + q.length <= SIZE);
    nbd_put_simple_reply(&out, &(struct nbd_simple_reply){.cookie = q.cookie});
    for (uint32_t i = 0; i < q.length; i++)
        bytes_put_u8(&out, (uint8_t)(q.offset + i));
    fake_stream_arrive(&w->stream, bytes, out.used, cut);
}

/* Four at once, answered last first; the last bytes of an image of odd length are one of them. */
static void test_a_page_of_openbmc(void **state)
{
    static const uint64_t offsets[] = {0, 123456, SIZE - LENGTH, SIZE - 1};
    static struct ask asks[5];

    (void)state;
    for (size_t cut = 0; cut < NBD_SIMPLE_REPLY_SIZE + LENGTH; cut++) {
        struct world w;

        new_world(&w);
        shake_hands(&w, cut, cut % 2);
        submit(&w, &asks[4], SOURCE_FLUSH, 0, 0);
        assert_true(asks[4].done == 1 && asks[4].error == -EINVAL && w.stream.sent_length == 0);
        submit(&w, &asks[4], SOURCE_READ, SIZE - 1, 2);
        assert_true(asks[4].done == 1 && asks[4].error == -EINVAL && w.stream.sent_length == 0);
        for (unsigned i = 0; i < 4; i++)
            submit(&w, &asks[i], SOURCE_READ, offsets[i], i < 3 ? LENGTH : 1);
        for (unsigned i = 4; i-- > 0;) {
            arrive_data(&w, i, cut);
            assert_true(asks[i].done == 1 && asks[i].error == 0);
            for (uint32_t k = 0; k < asks[i].part.length; k++)
                assert_int_equal(asks[i].data[k], (uint8_t)(offsets[i] + k));
        }
        assert_false(w.lost);
        end_world(&w);
    }
}

/* What was not asked for is no answer. */
static void test_a_structured_reply(void **state)
{
    static struct ask ask;
    uint8_t bytes[64];
    struct bytes_writer out = bytes_writer(bytes, sizeof bytes);
    struct world w;

    (void)state;
    new_world(&w);
    shake_hands(&w, 0, true);
    submit(&w, &ask, SOURCE_READ, 0, 8);
    nbd_put_chunk(&out, &(struct nbd_chunk){NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 1, 0});
    fake_stream_arrive(&w.stream, bytes, out.used, 0);
    assert_true(w.lost && w.why == STREAM_CLOSE_PROTOCOL && ask.error == SOURCE_LOST);
    end_world(&w);
}

static void test_names(void **state)
{
    (void)state;
    assert_ptr_equal(peer_profile_find(NULL), peer_profile_find("platter"));
    assert_string_equal(peer_profile_find("openbmc")->name, "openbmc");
    assert_null(peer_profile_find(""));
    assert_null(peer_profile_find("OpenBMC"));
    /* One simple reply, and four of them: what OpenBMC's web server lets through. */
    assert_int_equal(peer_profile_find("openbmc")->length_max + NBD_SIMPLE_REPLY_SIZE, 131088);
    assert_int_equal(4 * 131088, 524352);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_page_of_openbmc),
        cmocka_unit_test(test_a_structured_reply),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
