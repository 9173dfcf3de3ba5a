// SPDX-License-Identifier: Apache-2.0
/*
 * The NBD client against servers that lie. Each row of the table is what such a server says, after
 * how much of a lawful handshake, and the one phrase that people are told. Each is said whole and
 * byte by byte; either way the client must refuse with the same words, and write to no memory but
 * that of the two reads that stand open (16 bytes at 0 under cookie 1, 16 at 4096 under 2) and the
 * flush (cookie 3).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>

#include "proto/nbd-client.h"

#define ROOM     8192
#define READ_LEN 16u

/* How far the lawful part goes before the row's own bytes. */
enum after { NOTHING, HELLO, STRUCTURED, DESCRIBED, PLAIN, READY };

struct row {
    const char *what;
    enum after after;
    void (*lie)(struct bytes_writer *w);
    const char *reason;
};

static void put_reply(struct bytes_writer *w, uint32_t option, uint32_t type, uint32_t length)
{
    nbd_put_option_reply(w, &(struct nbd_option_reply){option, type, length});
}

static void put_export(struct bytes_writer *w, uint64_t size, uint16_t flags)
{
    put_reply(w, NBD_OPT_GO, NBD_REP_INFO, NBD_INFO_EXPORT_SIZE);
    nbd_put_info_export(w, &(struct nbd_export){size, flags});
}

static void put_blocks(struct bytes_writer *w, uint32_t min, uint32_t preferred, uint32_t max)
{
    put_reply(w, NBD_OPT_GO, NBD_REP_INFO, NBD_INFO_BLOCK_SIZE_SIZE);
    nbd_put_info_block_size(w, &(struct nbd_block_size){min, preferred, max});
}

static void put_go(struct bytes_writer *w)
{
    put_reply(w, NBD_OPT_GO, NBD_REP_ACK, 0);
}

static void put_chunk(struct bytes_writer *w, uint16_t flags, uint16_t type, uint64_t cookie,
                      uint32_t length)
{
    nbd_put_chunk(w, &(struct nbd_chunk){flags, type, cookie, length});
}

static void put_data(struct bytes_writer *w, uint16_t flags, uint64_t cookie, uint64_t offset,
                     uint32_t length)
{
    put_chunk(w, flags, NBD_REPLY_TYPE_OFFSET_DATA, cookie, NBD_CHUNK_DATA_SIZE + length);
    nbd_put_chunk_data(w, offset);
    for (uint32_t i = 0; i < length; i++)
        bytes_put_u8(w, 0xaa);
}

static void put_hole(struct bytes_writer *w, uint16_t flags, uint64_t cookie, uint64_t offset,
                     uint32_t length)
{
    put_chunk(w, flags, NBD_REPLY_TYPE_OFFSET_HOLE, cookie, NBD_CHUNK_HOLE_SIZE);
    nbd_put_chunk_hole(w, &(struct nbd_hole){offset, length});
}

static void put_error(struct bytes_writer *w, uint16_t type, uint64_t cookie, uint32_t length,
                      uint32_t error, uint16_t message_length)
{
    put_chunk(w, NBD_REPLY_FLAG_DONE, type, cookie, length);
    bytes_put_u32(w, error);
    bytes_put_u16(w, message_length);
    for (uint32_t i = NBD_CHUNK_ERROR_SIZE; i < length && i < ROOM / 2; i++)
        bytes_put_u8(w, 0);
}

#define LIE(name) static void name(struct bytes_writer *w)

/* The handshake. */
LIE(lie_http)
{
    bytes_put(w, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
}
LIE(lie_oldstyle)
{
    bytes_put_u64(w, NBD_MAGIC);
    bytes_put_u64(w, NBD_OLDSTYLE_MAGIC);
    bytes_put_u64(w, 65536);
}
LIE(lie_reply_magic)
{
    bytes_put_u64(w, NBD_REPLY_MAGIC + 1);
    bytes_put_u32(w, NBD_OPT_STRUCTURED_REPLY);
}
LIE(lie_other_option)
{
    put_reply(w, NBD_OPT_GO, NBD_REP_ACK, 0);
}
LIE(lie_ack_with_data)
{
    put_reply(w, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, 4);
    bytes_put_u32(w, 0);
}
LIE(lie_reply_type)
{
    put_reply(w, NBD_OPT_STRUCTURED_REPLY, NBD_REP_SERVER, 4);
    bytes_put_u32(w, 0);
}
LIE(lie_endless_reply)
{
    put_reply(w, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_UNSUP, 0xffffffff);
}
LIE(lie_tls)
{
    put_reply(w, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_TLS_REQD, 0);
}
LIE(lie_unknown_export)
{
    put_reply(w, NBD_OPT_GO, NBD_REP_ERR_UNKNOWN, 3);
    bytes_put(w, "no!", 3);
}
LIE(lie_shutdown)
{
    put_reply(w, NBD_OPT_GO, NBD_REP_ERR_SHUTDOWN, 0);
}
LIE(lie_go_without_export)
{
    put_blocks(w, 1, 4096, 4096);
    put_go(w);
}
LIE(lie_short_info)
{
    put_reply(w, NBD_OPT_GO, NBD_REP_INFO, 1);
    bytes_put_u8(w, 0);
}
LIE(lie_empty_info)
{
    put_reply(w, NBD_OPT_GO, NBD_REP_INFO, 0);
}
LIE(lie_short_export)
{
    put_reply(w, NBD_OPT_GO, NBD_REP_INFO, 10);
    bytes_put_u16(w, NBD_INFO_EXPORT);
    bytes_put_u64(w, 65536);
}
LIE(lie_long_blocks)
{
    put_reply(w, NBD_OPT_GO, NBD_REP_INFO, 15);
    nbd_put_info_block_size(w, &(struct nbd_block_size){1, 4096, 4096});
    bytes_put_u8(w, 0);
}
LIE(lie_two_sizes)
{
    put_export(w, 65536, NBD_FLAG_HAS_FLAGS);
    put_export(w, 131072, NBD_FLAG_HAS_FLAGS);
}
LIE(lie_two_blocks)
{
    put_blocks(w, 1, 4096, 4096);
    put_blocks(w, 1, 4096, 8192);
}
LIE(lie_endless_info)
{
    for (int i = 0; i < 100; i++) {
        put_reply(w, NBD_OPT_GO, NBD_REP_INFO, 2);
        bytes_put_u16(w, 77);
    }
}
LIE(lie_empty_image)
{
    put_export(w, 0, NBD_FLAG_HAS_FLAGS);
    put_go(w);
}
LIE(lie_huge_image)
{
    put_export(w, (uint64_t)INT64_MAX + 1, NBD_FLAG_HAS_FLAGS);
    put_go(w);
}
LIE(lie_no_flags)
{
    put_export(w, 65536, NBD_FLAG_READ_ONLY);
    put_go(w);
}
LIE(lie_ragged_image)
{
    put_export(w, 65537, NBD_FLAG_HAS_FLAGS);
    put_blocks(w, 512, 4096, 4096);
    put_go(w);
}
LIE(lie_block_zero)
{
    put_blocks(w, 0, 4096, 4096);
}
LIE(lie_block_odd)
{
    put_blocks(w, 513, 4096, 4096);
}
LIE(lie_block_huge)
{
    put_blocks(w, 131072, 131072, 131072);
}
LIE(lie_preferred_odd)
{
    put_blocks(w, 512, 4097, 8192);
}
LIE(lie_preferred_small)
{
    put_blocks(w, 4096, 512, 8192);
}
LIE(lie_maximum_small)
{
    put_blocks(w, 4096, 4096, 2048);
}
LIE(lie_maximum_tiny)
{
    put_export(w, 65536, NBD_FLAG_HAS_FLAGS);
    put_blocks(w, 1, 512, 4095);
    put_go(w);
}
LIE(lie_plain_empty)
{
    nbd_put_export_reply(w, &(struct nbd_export){0, NBD_FLAG_HAS_FLAGS}, false);
}
LIE(lie_plain_huge)
{
    nbd_put_export_reply(w, &(struct nbd_export){UINT64_MAX, NBD_FLAG_HAS_FLAGS}, false);
}

/* The replies. */
LIE(lie_reply_garbage)
{
    bytes_put_u32(w, 0xdeadbeef);
}
LIE(lie_unknown_cookie)
{
    put_data(w, NBD_REPLY_FLAG_DONE, 77, 0, READ_LEN);
}
LIE(lie_answered_twice)
{
    put_data(w, NBD_REPLY_FLAG_DONE, 1, 0, READ_LEN);
    put_data(w, NBD_REPLY_FLAG_DONE, 1, 0, READ_LEN);
}
LIE(lie_chunk_after_done)
{
    put_error(w, NBD_REPLY_TYPE_ERROR, 1, 6, NBD_EIO, 0);
    put_hole(w, 0, 1, 0, READ_LEN);
}
LIE(lie_simple_cookie)
{
    nbd_put_simple_reply(w, &(struct nbd_simple_reply){0, 0});
}
LIE(lie_simple_read)
{
    nbd_put_simple_reply(w, &(struct nbd_simple_reply){0, 1});
}
LIE(lie_simple_read_error)
{
    nbd_put_simple_reply(w, &(struct nbd_simple_reply){NBD_EINVAL, 1});
}
LIE(lie_before)
{
    put_data(w, 0, 2, 4095, 2);
}
LIE(lie_behind)
{
    put_data(w, 0, 1, READ_LEN, 1);
}
LIE(lie_over_the_end)
{
    put_data(w, 0, 1, READ_LEN - 1, 2);
}
LIE(lie_too_long)
{
    put_chunk(w, 0, NBD_REPLY_TYPE_OFFSET_DATA, 1, NBD_CHUNK_DATA_SIZE + READ_LEN + 1);
}
LIE(lie_far_too_long)
{
    put_chunk(w, 0, NBD_REPLY_TYPE_OFFSET_DATA, 1, 0xffffffff);
}
LIE(lie_wrapping_offset)
{
    put_data(w, 0, 2, UINT64_MAX, 2);
}
LIE(lie_no_data)
{
    put_chunk(w, 0, NBD_REPLY_TYPE_OFFSET_DATA, 1, NBD_CHUNK_DATA_SIZE);
}
LIE(lie_same_bytes)
{
    put_data(w, 0, 1, 4, 4);
    put_data(w, 0, 1, 7, 2);
}
LIE(lie_hole_over_data)
{
    put_data(w, 0, 1, 4, 4);
    put_hole(w, 0, 1, 0, READ_LEN);
}
LIE(lie_hole_outside)
{
    put_hole(w, 0, 1, 0, 0xffffffff);
}
LIE(lie_hole_empty)
{
    put_hole(w, 0, 1, 0, 0);
}
LIE(lie_hole_length)
{
    put_chunk(w, 0, NBD_REPLY_TYPE_OFFSET_HOLE, 1, 8);
}
LIE(lie_missing)
{
    put_data(w, 0, 1, 0, 4);
    put_data(w, NBD_REPLY_FLAG_DONE, 1, 8, 8);
}
LIE(lie_nothing)
{
    put_chunk(w, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 1, 0);
}
LIE(lie_none_not_last)
{
    put_chunk(w, 0, NBD_REPLY_TYPE_NONE, 1, 0);
}
LIE(lie_none_with_data)
{
    put_chunk(w, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 1, 4);
}
LIE(lie_block_status)
{
    put_chunk(w, NBD_REPLY_FLAG_DONE, 5, 1, 12);
}
LIE(lie_unknown_type)
{
    put_chunk(w, NBD_REPLY_FLAG_DONE, 0x7fff, 1, 12);
}
LIE(lie_data_for_flush)
{
    put_data(w, NBD_REPLY_FLAG_DONE, 3, 0, 1);
}
LIE(lie_hole_for_flush)
{
    put_hole(w, NBD_REPLY_FLAG_DONE, 3, 0, 1);
}
LIE(lie_error_at_for_flush)
{
    put_error(w, NBD_REPLY_TYPE_ERROR_OFFSET, 3, 14, NBD_EIO, 0);
}
LIE(lie_error_short)
{
    put_chunk(w, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, 1, 5);
}
LIE(lie_error_huge)
{
    put_chunk(w, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, 1, 0xffffffff);
}
LIE(lie_error_truncated)
{
    put_error(w, NBD_REPLY_TYPE_ERROR, 1, 10, NBD_EIO, 5);
}
LIE(lie_error_none)
{
    put_error(w, NBD_REPLY_TYPE_ERROR, 1, 6, 0, 0);
}
LIE(lie_error_at_truncated)
{
    put_error(w, NBD_REPLY_TYPE_ERROR_OFFSET, 1, 13, NBD_EIO, 0);
}
LIE(lie_error_at_outside)
{
    put_chunk(w, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR_OFFSET, 1, 14);
    nbd_put_chunk_error(w, NBD_REPLY_TYPE_ERROR_OFFSET,
                        &(struct nbd_chunk_error){.error = NBD_EIO, .offset = READ_LEN});
}
LIE(lie_unknown_error_truncated)
{
    put_error(w, 0xffff, 1, 8, NBD_EIO, 3);
}

#define REASON_COOKIE  "the far end answered a request that is not open"
#define REASON_TYPE    "the far end answered with a kind of reply unfit for the request"
#define REASON_OUTSIDE "the far end sent bytes outside of what it was asked"
#define REASON_TWICE   "the far end sent the same bytes twice"
#define REASON_LENGTH  "the far end sent a chunk of a length it cannot have"
#define REASON_BLOCKS  "the far end tells block sizes that cannot be"
#define REASON_MISSING "the far end called a read done with bytes missing"
#define REASON_ERROR   "the far end sent a malformed error"
#define REASON_KIND    "the far end sent a kind of chunk that was not agreed on"

static const struct row rows[] = {
    {"not NBD", NOTHING, lie_http, "the far end is not an NBD server"},
    {"oldstyle", NOTHING, lie_oldstyle,
     "the far end speaks the old NBD handshake, which is not supported"},
    {"no option reply", HELLO, lie_reply_magic,
     "the far end answered an option with no option reply"},
    {"a reply to another option", HELLO, lie_other_option,
     "the far end answered an option that was not asked"},
    {"an ACK with data", HELLO, lie_ack_with_data,
     "the far end accepted an option with data where none belong"},
    {"a reply of another kind", HELLO, lie_reply_type,
     "the far end answered an option with something unfit"},
    {"an endless option reply", HELLO, lie_endless_reply,
     "the far end sent an option reply of absurd length"},
    {"TLS wanted", HELLO, lie_tls, "the far end demands TLS inside NBD, which is not supported"},
    {"no such export", STRUCTURED, lie_unknown_export,
     "the far end has no image under the default name"},
    {"shutting down", STRUCTURED, lie_shutdown, "the far end is shutting down"},
    {"GO without an export", STRUCTURED, lie_go_without_export,
     "the far end began without describing its image"},
    {"an info without a kind", STRUCTURED, lie_short_info,
     "the far end sent a piece of information without a kind"},
    {"an empty info", STRUCTURED, lie_empty_info,
     "the far end sent a piece of information without a kind"},
    {"a short export", STRUCTURED, lie_short_export,
     "the far end describes its image in the wrong length"},
    {"long block sizes", STRUCTURED, lie_long_blocks,
     "the far end tells its block sizes in the wrong length"},
    {"two sizes", STRUCTURED, lie_two_sizes, "the far end describes its image in two ways"},
    {"two block sizes", STRUCTURED, lie_two_blocks,
     "the far end tells its block sizes in two ways"},
    {"endless information", STRUCTURED, lie_endless_info,
     "the far end sent information without end"},
    {"an empty image", STRUCTURED, lie_empty_image, "the image is empty"},
    {"a huge image", STRUCTURED, lie_huge_image, "the far end names a size that no image can have"},
    {"no flags", STRUCTURED, lie_no_flags,
     "the far end describes its image without the flags it must set"},
    {"a ragged image", STRUCTURED, lie_ragged_image,
     "the image's size is not a multiple of the smallest block the far end reads"},
    {"smallest block 0", STRUCTURED, lie_block_zero, REASON_BLOCKS},
    {"smallest block odd", STRUCTURED, lie_block_odd, REASON_BLOCKS},
    {"smallest block huge", STRUCTURED, lie_block_huge, REASON_BLOCKS},
    {"preferred block odd", STRUCTURED, lie_preferred_odd, REASON_BLOCKS},
    {"preferred below smallest", STRUCTURED, lie_preferred_small, REASON_BLOCKS},
    {"greatest below smallest", STRUCTURED, lie_maximum_small, REASON_BLOCKS},
    {"greatest below a page", STRUCTURED, lie_maximum_tiny,
     "the far end takes reads of a few bytes only"},
    {"EXPORT_NAME, empty", PLAIN, lie_plain_empty, "the image is empty"},
    {"EXPORT_NAME, huge", PLAIN, lie_plain_huge, "the far end names a size that no image can have"},
    {"no reply", READY, lie_reply_garbage, "the far end sent bytes that are no reply"},
    {"an unknown cookie", READY, lie_unknown_cookie, REASON_COOKIE},
    {"answered twice", READY, lie_answered_twice, REASON_COOKIE},
    {"a chunk after done", READY, lie_chunk_after_done, REASON_COOKIE},
    {"a simple reply to nothing", READY, lie_simple_cookie, REASON_COOKIE},
    {"a simple reply to a read", READY, lie_simple_read, REASON_TYPE},
    {"a simple error to a read", READY, lie_simple_read_error, REASON_TYPE},
    {"data before the range", READY, lie_before, REASON_OUTSIDE},
    {"data behind the range", READY, lie_behind, REASON_OUTSIDE},
    {"data over the end", READY, lie_over_the_end, REASON_OUTSIDE},
    {"data longer than asked", READY, lie_too_long, REASON_LENGTH},
    {"data of 4 GiB", READY, lie_far_too_long, REASON_LENGTH},
    {"an offset that wraps", READY, lie_wrapping_offset, REASON_OUTSIDE},
    {"data of no length", READY, lie_no_data, REASON_LENGTH},
    {"the same bytes twice", READY, lie_same_bytes, REASON_TWICE},
    {"a hole over data", READY, lie_hole_over_data, REASON_TWICE},
    {"a hole outside", READY, lie_hole_outside, REASON_OUTSIDE},
    {"a hole of nothing", READY, lie_hole_empty, "the far end sent an empty hole"},
    {"a hole too short to say", READY, lie_hole_length, REASON_LENGTH},
    {"bytes missing", READY, lie_missing, REASON_MISSING},
    {"all bytes missing", READY, lie_nothing, REASON_MISSING},
    {"NONE that is not last", READY, lie_none_not_last,
     "the far end sent an empty chunk that is not the last"},
    {"NONE with data", READY, lie_none_with_data, REASON_LENGTH},
    {"block status", READY, lie_block_status, REASON_TYPE},
    {"an unknown kind of chunk", READY, lie_unknown_type, REASON_KIND},
    {"data for a flush", READY, lie_data_for_flush, REASON_TYPE},
    {"a hole for a flush", READY, lie_hole_for_flush, REASON_TYPE},
    {"a place of error for a flush", READY, lie_error_at_for_flush, REASON_TYPE},
    {"an error too short", READY, lie_error_short, REASON_LENGTH},
    {"an error of 4 GiB", READY, lie_error_huge, REASON_LENGTH},
    {"an error's message cut off", READY, lie_error_truncated, REASON_ERROR},
    {"an error that is none", READY, lie_error_none, REASON_ERROR},
    {"a place of error cut off", READY, lie_error_at_truncated, REASON_ERROR},
    {"a place of error outside", READY, lie_error_at_outside,
     "the far end placed an error outside of the request"},
    {"an unknown error cut off", READY, lie_unknown_error_truncated, REASON_ERROR},
};

/* The lawful part of a server's words. */
static void put_lawful(struct bytes_writer *w, enum after after)
{
    if (after >= HELLO)
        nbd_put_hello(w, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    if (after == PLAIN) {
        put_reply(w, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_UNSUP, 0);
        put_reply(w, NBD_OPT_GO, NBD_REP_ERR_UNSUP, 0);
        return;
    }
    if (after >= STRUCTURED) {
        put_reply(w, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, 0);
        put_reply(w, NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR_UNSUP, 0);
    }
    if (after >= DESCRIBED)
        put_export(w, 65536, NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH);
    if (after >= READY)
        put_go(w);
}

/* Feeds until the end or a failure; true if the client failed. */
static bool feed(struct nbd_client *c, const uint8_t *bytes, size_t length, size_t step)
{
    size_t at = 0;

    while (at < length) {
        size_t size = step < length - at ? step : length - at;
        uint8_t *copy = malloc(size);
        struct nbd_client_event event;

        assert_non_null(copy);
        memcpy(copy, bytes + at, size);

        ssize_t used = nbd_client_feed(c, copy, size, &event);

        free(copy);
        if (used < 0)
            return true;
        assert_true(used > 0 && (size_t)used <= size);
        at += (size_t)used;
    }
    return false;
}

static void try_row(const struct row *row, size_t step)
{
    struct nbd_client *c = malloc(sizeof *c);
    uint8_t *one = calloc(1, READ_LEN);
    uint8_t *two = calloc(1, READ_LEN);
    const struct part parts[] = {{one, READ_LEN}, {two, READ_LEN}};
    const struct nbd_ask asks[] = {
        {.type = NBD_CMD_READ, .offset = 0, .length = READ_LEN, .parts = &parts[0]},
        {.type = NBD_CMD_READ, .offset = 4096, .length = READ_LEN, .parts = &parts[1]},
        {.type = NBD_CMD_FLUSH},
    };
    uint8_t bytes[ROOM];
    uint8_t out[NBD_REQUEST_SIZE];
    struct nbd_client_event event;
    struct bytes_writer w = bytes_writer(bytes, sizeof bytes);

    assert_true(c && one && two);
    nbd_client_init(c, true);
    put_lawful(&w, row->after);
    assert_false(feed(c, bytes, w.used, step));
    if (row->after == READY) {
        for (int i = 0; i < 3; i++)
            assert_int_equal(nbd_client_ask(c, &asks[i], out), i);
    }
    w = bytes_writer(bytes, sizeof bytes);
    row->lie(&w);
    assert_false(w.bad);
    if (!feed(c, bytes, w.used, step))
        fail_msg("%s: believed", row->what);
    assert_string_equal(c->reason, row->reason);
    /* A sentence with it fits a WebSocket's close reason. */
    assert_true(strlen(c->reason) < 100);
    assert_int_equal(c->phase, NBD_CLIENT_FAILED);
    assert_int_equal(nbd_client_feed(c, bytes, 1, &event), -EPROTO);
    assert_int_equal(nbd_client_ask(c, &asks[0], out), -ENOTCONN);
    assert_int_equal(nbd_client_goodbye(c, out), 0);
    free(one);
    free(two);
    free(c);
}

static void test_lies_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        print_message("# %s\n", rows[i].what);
        for (size_t step = 1; step < 40; step++)
            try_row(&rows[i], step);
        try_row(&rows[i], ROOM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lies_are_refused)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
