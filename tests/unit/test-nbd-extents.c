// SPDX-License-Identifier: Apache-2.0
/*
 * The NBD client and metadata contexts: servers that lie about what is zero, in the handshake and
 * in their answers, and answers at the edge of what is lawful. Every one is said whole and byte by
 * byte, with the same outcome.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>

#include "proto/nbd-client.h"

#define ROOM        16384
#define SIZE        65536u
#define CONTEXT     0x80000001u
#define ASKED_AT    4096u /* of request 1; request 2 is a flush */
#define ASKED       1024u
#define EXTENTS_MAX 1100

struct heard {
    bool failed;
    bool done;
    int error;
    unsigned count;
    struct nbd_extent extents[EXTENTS_MAX];
};

static void put_reply(struct bytes_writer *w, uint32_t option, uint32_t type, uint32_t length)
{
    nbd_put_option_reply(w, &(struct nbd_option_reply){option, type, length});
}

static void put_context(struct bytes_writer *w, const char *name)
{
    put_reply(w, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, 4 + (uint32_t)strlen(name));
    bytes_put_u32(w, CONTEXT);
    bytes_put(w, name, strlen(name));
}

static void put_until_meta(struct bytes_writer *w)
{
    nbd_put_hello(w, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    put_reply(w, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, 0);
}

static void put_go(struct bytes_writer *w)
{
    put_reply(w, NBD_OPT_GO, NBD_REP_INFO, NBD_INFO_EXPORT_SIZE);
    nbd_put_info_export(w, &(struct nbd_export){SIZE, NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH});
    put_reply(w, NBD_OPT_GO, NBD_REP_ACK, 0);
}

static void feed(struct nbd_client *c, const struct bytes_writer *w, const uint8_t *bytes,
                 size_t step, struct heard *heard)
{
    size_t at = 0;

    assert_false(w->bad);
    while (at < w->used) {
        size_t size = step < w->used - at ? step : w->used - at;
        uint8_t *copy = malloc(size);
        struct nbd_client_event event;

        assert_non_null(copy);
        memcpy(copy, bytes + at, size);

        ssize_t used = nbd_client_feed(c, copy, size, &event);

        free(copy);
        if (used < 0) {
            assert_int_equal(event.kind, NBD_CLIENT_NOTHING);
            heard->failed = true;
            return;
        }
        at += (size_t)used;
        if (event.extent.length > 0) {
            assert_true(event.kind == NBD_CLIENT_EXTENT || event.kind == NBD_CLIENT_DONE);
            assert_true(event.slot == 0 && heard->count < EXTENTS_MAX);
            heard->extents[heard->count++] = event.extent;
        }
        if (event.kind == NBD_CLIENT_DONE) {
            heard->done = true;
            heard->error = event.error;
        }
    }
}

/* A client that has agreed on the context, or has not, with its two requests open. */
static struct nbd_client *begin(bool agreed)
{
    struct nbd_client *c = malloc(sizeof *c);
    struct heard heard = {0};
    uint8_t bytes[512];
    uint8_t out[NBD_REQUEST_SIZE];
    struct bytes_writer w = bytes_writer(bytes, sizeof bytes);
    const struct nbd_ask status = {
        .type = NBD_CMD_BLOCK_STATUS, .offset = ASKED_AT, .length = ASKED};

    assert_non_null(c);
    nbd_client_init(c, true);
    put_until_meta(&w);
    if (agreed)
        put_context(&w, NBD_BASE_ALLOCATION);
    put_reply(&w, NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK, 0);
    put_go(&w);
    feed(c, &w, bytes, sizeof bytes, &heard);
    assert_int_equal(c->phase, NBD_CLIENT_TRANSMIT);
    assert_int_equal(c->offer.extents, agreed);
    assert_int_equal(nbd_client_ask(c, &status, out), agreed ? 0 : -EINVAL);
    if (agreed)
        assert_int_equal(nbd_client_ask(c, &(struct nbd_ask){.type = NBD_CMD_FLUSH}, out), 1);
    return c;
}

#define SAY(name) static void name(struct bytes_writer *w)

/* The handshake. */
SAY(another_context)
{
    put_context(w, "qemu:dirty-bitmap:x");
}
SAY(context_prefix)
{
    put_context(w, "base:allocatio");
}
SAY(nameless_context)
{
    put_context(w, "");
}
SAY(context_twice)
{
    put_context(w, NBD_BASE_ALLOCATION);
    put_context(w, NBD_BASE_ALLOCATION);
}
SAY(context_without_number)
{
    put_reply(w, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, 3);
    bytes_put(w, "abc", 3);
}
SAY(context_of_another_option)
{
    put_reply(w, NBD_OPT_GO, NBD_REP_META_CONTEXT, 4);
}
SAY(info_in_place_of_context)
{
    put_reply(w, NBD_OPT_SET_META_CONTEXT, NBD_REP_INFO, 4);
    bytes_put_u32(w, 0);
}

static void test_lies_of_the_handshake(void **state)
{
    static const char unasked[] = "the far end chose a metadata context not asked for";
    static const struct {
        void (*say)(struct bytes_writer *w);
        const char *reason;
    } rows[] = {
        {another_context, unasked},
        {context_prefix, unasked},
        {nameless_context, unasked},
        {context_without_number, unasked},
        {context_twice, "the far end chose a metadata context twice"},
        {context_of_another_option, "the far end answered an option that was not asked"},
        {info_in_place_of_context, "the far end answered an option with something unfit"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t step = 1; step < 60; step++) {
            struct nbd_client *c = malloc(sizeof *c);
            struct heard heard = {0};
            uint8_t bytes[512];
            struct bytes_writer w = bytes_writer(bytes, sizeof bytes);

            assert_non_null(c);
            nbd_client_init(c, true);
            put_until_meta(&w);
            rows[i].say(&w);
            feed(c, &w, bytes, step, &heard);
            assert_true(heard.failed);
            assert_string_equal(c->reason, rows[i].reason);
            free(c);
        }
    }
}

/* An error to the option voids what came before it, and whatever the error, GO follows. */
static void test_a_refusal_is_lived_with(void **state)
{
    static const uint32_t errors[] = {NBD_REP_ERR_UNSUP, NBD_REP_ERR_POLICY, NBD_REP_ERR_TOO_BIG,
                                      NBD_REP_ERR_UNKNOWN, NBD_REP_ERR_SHUTDOWN};

    (void)state;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        struct nbd_client *c = malloc(sizeof *c);
        struct heard heard = {0};
        uint8_t bytes[512];
        struct bytes_writer w = bytes_writer(bytes, sizeof bytes);

        assert_non_null(c);
        nbd_client_init(c, true);
        put_until_meta(&w);
        put_context(&w, NBD_BASE_ALLOCATION);
        put_reply(&w, NBD_OPT_SET_META_CONTEXT, errors[i], 0);
        put_go(&w);
        feed(c, &w, bytes, 1 + i, &heard);
        assert_int_equal(c->phase, NBD_CLIENT_TRANSMIT);
        assert_true(c->offer.structured && !c->offer.extents);
        free(c);
    }
}

/* Answers. */
static void put_chunk(struct bytes_writer *w, uint16_t flags, uint32_t context, unsigned count,
                      const struct nbd_extent *extents)
{
    nbd_put_chunk(w, &(struct nbd_chunk){flags, NBD_REPLY_TYPE_BLOCK_STATUS, 1,
                                         NBD_CHUNK_STATUS_SIZE + count * NBD_EXTENT_SIZE});
    nbd_put_chunk_status(w, context);
    for (unsigned i = 0; i < count; i++)
        nbd_put_extent(w, &extents[i]);
}

#define EXTENTS(flags, context, ...)                                                               \
    put_chunk(w, flags, context,                                                                   \
              sizeof((struct nbd_extent[]){__VA_ARGS__}) / sizeof(struct nbd_extent),              \
              (struct nbd_extent[]){__VA_ARGS__})

SAY(another_number)
{
    EXTENTS(NBD_REPLY_FLAG_DONE, CONTEXT + 1, {ASKED, 0});
}
SAY(empty_extent)
{
    EXTENTS(NBD_REPLY_FLAG_DONE, CONTEXT, {1, 0}, {0, 3}, {1, 0});
}
SAY(outside)
{
    EXTENTS(NBD_REPLY_FLAG_DONE, CONTEXT, {ASKED - 1, 0}, {1, 3}, {1, 0});
}
SAY(outside_after_a_huge_one)
{
    EXTENTS(NBD_REPLY_FLAG_DONE, CONTEXT, {UINT32_MAX, 3}, {UINT32_MAX, 3});
}
SAY(told_twice)
{
    EXTENTS(0, CONTEXT, {1, 0});
    EXTENTS(NBD_REPLY_FLAG_DONE, CONTEXT, {1, 0});
}
SAY(told_of_nothing)
{
    nbd_put_chunk(w, &(struct nbd_chunk){NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 1, 0});
}
SAY(head_alone)
{
    nbd_put_chunk(w, &(struct nbd_chunk){1, NBD_REPLY_TYPE_BLOCK_STATUS, 1, 4});
}
SAY(cut_extent)
{
    nbd_put_chunk(w, &(struct nbd_chunk){1, NBD_REPLY_TYPE_BLOCK_STATUS, 1, 4 + 8 + 7});
}
SAY(more_extents_than_bytes)
{
    nbd_put_chunk(w, &(struct nbd_chunk){1, NBD_REPLY_TYPE_BLOCK_STATUS, 1, 4 + 8 * (ASKED + 1)});
}
SAY(endless_extents)
{
    nbd_put_chunk(w, &(struct nbd_chunk){1, NBD_REPLY_TYPE_BLOCK_STATUS, 1, 0xfffffffc});
}
SAY(simple)
{
    nbd_put_simple_reply(w, &(struct nbd_simple_reply){0, 1});
}
SAY(data)
{
    nbd_put_chunk(w, &(struct nbd_chunk){1, NBD_REPLY_TYPE_OFFSET_DATA, 1, 9});
}
SAY(extents_of_a_flush)
{
    nbd_put_chunk(w, &(struct nbd_chunk){1, NBD_REPLY_TYPE_BLOCK_STATUS, 2, 12});
}

static void test_lies_of_an_answer(void **state)
{
    static const char length[] = "the far end sent a chunk of a length it cannot have";
    static const char unfit[] = "the far end answered with a kind of reply unfit for the request";
    static const char far[] = "the far end told of extents outside of what it was asked";
    static const struct {
        void (*say)(struct bytes_writer *w);
        const char *reason;
    } rows[] = {
        {another_number, "the far end told of a metadata context that was not chosen"},
        {empty_extent, "the far end told of an empty extent"},
        {outside, far},
        {outside_after_a_huge_one, far},
        {told_twice, "the far end told of the same extents twice"},
        {told_of_nothing, "the far end told of no extent where it was asked"},
        {head_alone, length},
        {cut_extent, length},
        {more_extents_than_bytes, length},
        {endless_extents, length},
        {simple, unfit},
        {data, unfit},
        {extents_of_a_flush, unfit},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t step = 1; step < 60; step++) {
            struct nbd_client *c = begin(true);
            struct heard heard = {0};
            uint8_t bytes[ROOM];
            struct bytes_writer w = bytes_writer(bytes, sizeof bytes);

            rows[i].say(&w);
            feed(c, &w, bytes, step, &heard);
            assert_true(heard.failed && !heard.done);
            assert_string_equal(c->reason, rows[i].reason);
            assert_true(strlen(c->reason) < 100);
            free(c);
        }
    }
}

static void answer(struct heard *heard, size_t step, void (*say)(struct bytes_writer *w))
{
    struct nbd_client *c = begin(true);
    uint8_t *bytes = malloc(ROOM);
    struct bytes_writer w = bytes_writer(bytes, ROOM);

    assert_non_null(bytes);
    *heard = (struct heard){0};
    say(&w);
    feed(c, &w, bytes, step, heard);
    assert_true(heard->done && !heard->failed);
    free(bytes);
    free(c);
}

SAY(whole_image)
{
    /* Past the end of the image too, which the client cuts off. */
    EXTENTS(NBD_REPLY_FLAG_DONE, CONTEXT, {1, NBD_STATE_ZERO}, {UINT32_MAX, NBD_STATE_HOLE});
}
SAY(short_one)
{
    EXTENTS(0, CONTEXT, {7, 0});
    nbd_put_chunk(w, &(struct nbd_chunk){NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 1, 0});
}
SAY(one_a_byte)
{
    struct nbd_extent extents[ASKED];

    for (unsigned i = 0; i < ASKED; i++)
        extents[i] = (struct nbd_extent){1, i % 4};
    put_chunk(w, NBD_REPLY_FLAG_DONE, CONTEXT, ASKED, extents);
}
SAY(error_after_extents)
{
    EXTENTS(0, CONTEXT, {7, 0});
    nbd_put_chunk(w, &(struct nbd_chunk){NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, 1, 6});
    nbd_put_chunk_error(w, NBD_REPLY_TYPE_ERROR, &(struct nbd_chunk_error){.error = NBD_EIO});
}

static void test_lawful_answers(void **state)
{
    static struct heard heard;

    (void)state;
    for (size_t step = 1; step < 60; step++) {
        answer(&heard, step, whole_image);
        assert_true(heard.error == 0 && heard.count == 2);
        assert_true(heard.extents[0].length == 1 && heard.extents[0].flags == NBD_STATE_ZERO);
        assert_int_equal(heard.extents[1].length, SIZE - ASKED_AT - 1);
        assert_int_equal(heard.extents[1].flags, NBD_STATE_HOLE);
        answer(&heard, step, short_one);
        assert_true(heard.error == 0 && heard.count == 1 && heard.extents[0].length == 7);
        answer(&heard, step, one_a_byte);
        assert_true(heard.error == 0 && heard.count == ASKED);
        for (unsigned i = 0; i < ASKED; i++)
            assert_true(heard.extents[i].length == 1 && heard.extents[i].flags == i % 4);
        answer(&heard, step, error_after_extents);
        assert_int_equal(heard.error, -EIO);
    }
}

static void test_without_a_context_nothing_is_asked(void **state)
{
    (void)state;
    free(begin(false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lies_of_the_handshake),
        cmocka_unit_test(test_a_refusal_is_lived_with),
        cmocka_unit_test(test_lies_of_an_answer),
        cmocka_unit_test(test_lawful_answers),
        cmocka_unit_test(test_without_a_context_nothing_is_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
