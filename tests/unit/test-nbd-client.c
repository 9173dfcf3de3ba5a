// SPDX-License-Identifier: Apache-2.0
/*
 * The NBD client against whole conversations: the golden ones, with the server's bytes cut at every
 * place, and one byte at a time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>

#include "proto/nbd-client.h"
#include "vectors.h"

#define ROOM        4096
#define READ_MAX    512
#define IDS_MAX     16
#define PARTS       3
#define EXTENTS_MAX 8

/* How a step's bytes are cut: first `first`, then pieces of `then` (0: all the rest). */
struct cut {
    size_t first;
    size_t then;
};

struct asked {
    bool open;
    bool done;
    int slot;
    int error;
    uint32_t holes;
    uint32_t copied;
    uint32_t length;
    unsigned extent_count;
    struct nbd_extent extents[EXTENTS_MAX];
    struct part parts[PARTS]; /* each exactly as long as it says, for the sanitizer */
};

struct talk {
    struct nbd_client client;
    uint8_t said[ROOM];
    size_t said_length;
    bool ready;
    bool failed;
    struct asked asked[IDS_MAX];
};

static void say(struct talk *t, const uint8_t *bytes, size_t length)
{
    assert_true(t->said_length + length <= sizeof t->said);
    memcpy(t->said + t->said_length, bytes, length);
    t->said_length += length;
}

/* An extent, an end, or both at once. */
static void note(struct talk *t, const struct nbd_client_event *event)
{
    for (unsigned i = 0; i < IDS_MAX; i++) {
        struct asked *a = &t->asked[i];

        if (!a->open || a->done || a->slot != (int)event->slot)
            continue;
        if (event->extent.length > 0) {
            assert_true(a->extent_count < EXTENTS_MAX);
            a->extents[a->extent_count++] = event->extent;
        }
        if (event->kind == NBD_CLIENT_DONE) {
            a->done = true;
            a->error = event->error;
            a->holes = event->holes;
            a->copied = event->copied;
        }
        return;
    }
    fail_msg("an answer for a slot that was not asked");
}

/* Feeds a copy of exactly these bytes. */
static void feed_piece(struct talk *t, const uint8_t *bytes, size_t length)
{
    uint8_t *copy = malloc(length ? length : 1);
    size_t at = 0;

    assert_non_null(copy);
    memcpy(copy, bytes, length);
    while (at < length && !t->failed) {
        struct nbd_client_event event;
        ssize_t used = nbd_client_feed(&t->client, copy + at, length - at, &event);

        if (used < 0) {
            t->failed = true;
            assert_int_equal(event.kind, NBD_CLIENT_NOTHING);
            assert_non_null(t->client.reason);
            break;
        }
        assert_true(used > 0 && (size_t)used <= length - at);
        at += (size_t)used;
        if (event.kind == NBD_CLIENT_SAY)
            say(t, event.say, event.say_length);
        else if (event.kind == NBD_CLIENT_READY)
            t->ready = true;
        else if (event.kind == NBD_CLIENT_EXTENT || event.kind == NBD_CLIENT_DONE)
            note(t, &event);
    }
    free(copy);
}

static void feed_cut(struct talk *t, const uint8_t *bytes, size_t length, struct cut cut)
{
    size_t at = cut.first < length ? cut.first : length;

    feed_piece(t, bytes, at);
    while (at < length) {
        size_t size = cut.then && cut.then < length - at ? cut.then : length - at;

        feed_piece(t, bytes + at, size);
        at += size;
    }
}

static void step_from(struct talk *t, const json_t *step, struct cut cut)
{
    uint8_t bytes[ROOM];
    size_t length = vectors_bytes(step, "hex", bytes, sizeof bytes);

    if (strcmp(vectors_text(step, "from"), "server") == 0) {
        feed_cut(t, bytes, length, cut);
        return;
    }
    assert_int_equal(t->said_length, length);
    assert_memory_equal(t->said, bytes, length);
    t->said_length = 0;
}

/* A read's memory, in as many parts as there are bytes for: of 1 byte, of 2, and of what is left.
 */
static void new_parts(struct asked *a)
{
    uint32_t left = a->length;

    for (uint32_t i = 0; i < PARTS && left > 0; i++) {
        uint32_t length = i + 1 < PARTS && i + 1 < left ? i + 1 : left;

        a->parts[i] = (struct part){malloc(length), length};
        assert_non_null(a->parts[i].data);
        left -= length;
    }
}

static void free_parts(struct asked *a)
{
    for (unsigned i = 0; i < PARTS; i++)
        free(a->parts[i].data);
    *a = (struct asked){0};
}

static uint16_t command_of(const char *what)
{
    static const struct {
        const char *what;
        uint16_t type;
    } commands[] = {
        {"read", NBD_CMD_READ}, {"write", NBD_CMD_WRITE},         {"flush", NBD_CMD_FLUSH},
        {"trim", NBD_CMD_TRIM}, {"zeroes", NBD_CMD_WRITE_ZEROES}, {"extents", NBD_CMD_BLOCK_STATUS},
    };

    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].what, what) == 0)
            return commands[i].type;
    }
    fail_msg("no such command: %s", what);
    return 0;
}

static void step_do(struct talk *t, const json_t *step)
{
    const char *what = vectors_text(step, "do");
    uint8_t out[NBD_REQUEST_SIZE];
    uint8_t payload[READ_MAX];

    if (strcmp(what, "goodbye") == 0) {
        say(t, out, nbd_client_goodbye(&t->client, out));
        return;
    }

    struct asked *a = &t->asked[vectors_number(step, "id")];
    struct nbd_ask ask = {.type = command_of(what), .parts = a->parts};

    if (ask.type != NBD_CMD_FLUSH) {
        ask.offset = vectors_number(step, "offset");
        ask.length = (uint32_t)vectors_number(step, "length");
    }
    if (json_is_true(json_object_get(step, "fua")))
        ask.flags |= NBD_CMD_FLAG_FUA;
    if (json_is_true(json_object_get(step, "no_hole")))
        ask.flags |= NBD_CMD_FLAG_NO_HOLE;
    if (ask.type == NBD_CMD_READ) {
        a->length = ask.length;
        new_parts(a);
    }
    a->open = true;
    a->slot = nbd_client_ask(&t->client, &ask, out);
    assert_true(a->slot >= 0);
    say(t, out, sizeof out);
    if (ask.type == NBD_CMD_WRITE)
        say(t, payload, vectors_bytes(step, "hex", payload, sizeof payload));
}

static void check_extents(const struct asked *a, const json_t *want)
{
    json_t *extent;
    size_t index;

    assert_int_equal(a->extent_count, json_array_size(want));
    json_array_foreach(want, index, extent)
    {
        bool zero = json_is_true(json_object_get(extent, "zero"));

        assert_int_equal(a->extents[index].length, vectors_number(extent, "length"));
        assert_int_equal(!!(a->extents[index].flags & NBD_STATE_ZERO), zero);
    }
}

static void step_done(struct talk *t, const json_t *step)
{
    struct asked *a = &t->asked[vectors_number(step, "done")];
    uint8_t want[READ_MAX];

    assert_true(a->open && a->done);
    assert_int_equal(a->error, nbd_error_to_errno((uint32_t)vectors_number(step, "error")));
    if (json_object_get(step, "hex")) {
        assert_int_equal(a->length, vectors_bytes(step, "hex", want, sizeof want));
        assert_int_equal(a->holes + a->copied, a->length);
        for (unsigned i = 0, at = 0; i < PARTS; at += a->parts[i++].length) {
            if (a->parts[i].data)
                assert_memory_equal(a->parts[i].data, want + at, a->parts[i].length);
        }
    }
    check_extents(a, json_object_get(step, "extents"));
    free_parts(a);
}

static void step_ready(struct talk *t, const json_t *step)
{
    const json_t *want = json_object_get(step, "ready");
    const struct nbd_client_offer *offer = &t->client.offer;

    assert_true(t->ready);
    assert_int_equal(offer->export.size, vectors_number(want, "size"));
    assert_int_equal(offer->export.flags, vectors_number(want, "flags"));
    assert_int_equal(offer->blocks.minimum, vectors_number(want, "minimum"));
    assert_int_equal(offer->blocks.maximum, vectors_number(want, "maximum"));
    assert_int_equal(offer->structured, json_is_true(json_object_get(want, "structured")));
}

static void run_step(struct talk *t, const json_t *step, struct cut cut)
{
    if (json_object_get(step, "from"))
        step_from(t, step, cut);
    else if (json_object_get(step, "do"))
        step_do(t, step);
    else if (json_object_get(step, "done"))
        step_done(t, step);
    else if (json_object_get(step, "ready"))
        step_ready(t, step);
    else
        assert_true(vectors_text(step, "refused") && t->failed);
}

static void run(const json_t *conversation, struct cut cut)
{
    struct talk *t = calloc(1, sizeof *t);
    json_t *step;
    size_t index;
    bool refused = false;

    assert_non_null(t);
    nbd_client_init(&t->client, true);
    json_array_foreach(json_object_get(conversation, "steps"), index, step)
    {
        run_step(t, step, cut);
        refused = json_object_get(step, "refused");
    }
    assert_int_equal(t->failed, refused);
    for (unsigned i = 0; i < IDS_MAX; i++) {
        assert_true(!t->asked[i].done);
        free_parts(&t->asked[i]);
    }
    free(t);
}

static void test_every_cut(void **state)
{
    json_t *all = vectors_load("nbd-conversations.json");
    json_t *conversation;
    size_t index;

    (void)state;
    json_array_foreach(all, index, conversation)
    {
        print_message("# %s\n", vectors_text(conversation, "name"));
        /* No step of the server is longer than this. */
        for (size_t first = 0; first < 700; first++)
            run(conversation, (struct cut){first, 0});
        for (size_t size = 1; size < 50; size++)
            run(conversation, (struct cut){0, size});
    }
    json_decref(all);
}

/* Brings a client to transmission: 64 KiB, blocks of `block`, payloads of up to 4 KiB, though
 * blocks of 8 KiB are preferred: no lawful offer, but one that can be lived with. */
static void begin(struct nbd_client *c, uint32_t block, uint16_t flags, bool extents)
{
    uint8_t bytes[512];
    struct bytes_writer w = bytes_writer(bytes, sizeof bytes);
    struct nbd_client_event event;
    size_t at = 0;

    nbd_put_hello(&w, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    nbd_put_option_reply(&w, &(struct nbd_option_reply){NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, 0});
    if (extents) {
        nbd_put_option_reply(
            &w, &(struct nbd_option_reply){NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, 19});
        bytes_put_u32(&w, 1);
        bytes_put(&w, NBD_BASE_ALLOCATION, 15);
    }
    nbd_put_option_reply(&w, &(struct nbd_option_reply){NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK, 0});
    nbd_put_option_reply(
        &w, &(struct nbd_option_reply){NBD_OPT_GO, NBD_REP_INFO, NBD_INFO_EXPORT_SIZE});
    nbd_put_info_export(&w, &(struct nbd_export){65536, NBD_FLAG_HAS_FLAGS | flags});
    nbd_put_option_reply(
        &w, &(struct nbd_option_reply){NBD_OPT_GO, NBD_REP_INFO, NBD_INFO_BLOCK_SIZE_SIZE});
    nbd_put_info_block_size(&w, &(struct nbd_block_size){block, 8192, 4096});
    nbd_put_option_reply(&w, &(struct nbd_option_reply){NBD_OPT_GO, NBD_REP_ACK, 0});
    nbd_client_init(c, true);
    while (at < w.used) {
        ssize_t used = nbd_client_feed(c, bytes + at, w.used - at, &event);

        assert_true(used > 0);
        at += (size_t)used;
    }
    assert_int_equal(c->phase, NBD_CLIENT_TRANSMIT);
}

static int ask_flagged(struct nbd_client *c, uint16_t type, uint16_t flags, uint64_t offset,
                       uint32_t length)
{
    uint8_t data[4096];
    const struct part part = {data, sizeof data};
    uint8_t out[NBD_REQUEST_SIZE];

    return nbd_client_ask(
        c,
        &(struct nbd_ask){
            .type = type, .flags = flags, .offset = offset, .length = length, .parts = &part},
        out);
}

static int ask(struct nbd_client *c, uint16_t type, uint64_t offset, uint32_t length)
{
    return ask_flagged(c, type, 0, offset, length);
}

static void test_asking_keeps_to_the_offer(void **state)
{
    struct nbd_client *c = malloc(sizeof *c);

    (void)state;
    assert_non_null(c);
    nbd_client_init(c, true);
    assert_int_equal(ask(c, NBD_CMD_READ, 0, 512), -ENOTCONN);
    begin(c, 512, NBD_FLAG_READ_ONLY, false);
    assert_int_equal(ask(c, NBD_CMD_READ, 0, 0), -EINVAL);
    assert_int_equal(ask(c, NBD_CMD_READ, 0, 100), -EINVAL);
    assert_int_equal(ask(c, NBD_CMD_READ, 100, 512), -EINVAL);
    assert_int_equal(ask(c, NBD_CMD_READ, 0, 4608), -EINVAL);
    assert_int_equal(ask(c, NBD_CMD_READ, 65536, 512), -EINVAL);
    assert_int_equal(ask(c, NBD_CMD_READ, UINT64_MAX - 511, 512), -EINVAL);
    assert_int_equal(ask(c, NBD_CMD_WRITE, 0, 512), -EINVAL);
    /* This server has no flush. */
    assert_int_equal(ask(c, NBD_CMD_FLUSH, 0, 0), -EINVAL);
    for (int i = 0; i < NBD_INFLIGHT_MAX; i++)
        assert_int_equal(ask(c, NBD_CMD_READ, 65024, 512), i);
    assert_int_equal(ask(c, NBD_CMD_READ, 0, 512), -EAGAIN);
    free(c);
}

/* Each command and flag, against servers that offer all but one thing, and all. */
static void test_writing_keeps_to_the_offer(void **state)
{
    static const uint16_t all =
        NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES;
    static const struct {
        uint16_t type;
        uint16_t flags;
        uint32_t length;
        uint16_t needs; /* NBD_FLAG_HAS_FLAGS: nothing but that it may be written to */
    } rows[] = {
        {NBD_CMD_FLUSH, 0, 0, NBD_FLAG_SEND_FLUSH},
        {NBD_CMD_WRITE, 0, 4096, NBD_FLAG_HAS_FLAGS},
        {NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 4096, NBD_FLAG_SEND_FUA},
        {NBD_CMD_TRIM, 0, 65536, NBD_FLAG_SEND_TRIM},
        {NBD_CMD_WRITE_ZEROES, 0, 65536, NBD_FLAG_SEND_WRITE_ZEROES},
        {NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_NO_HOLE, 512, NBD_FLAG_SEND_WRITE_ZEROES},
        {NBD_CMD_TRIM, NBD_CMD_FLAG_FUA, 512, NBD_FLAG_SEND_FUA},
    };
    struct nbd_client *c = malloc(sizeof *c);

    (void)state;
    assert_non_null(c);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint16_t without = (uint16_t)(all & ~rows[i].needs);
        bool flush = rows[i].type == NBD_CMD_FLUSH;

        begin(c, 512, all, false);
        assert_int_equal(ask_flagged(c, rows[i].type, rows[i].flags, 0, rows[i].length), 0);
        assert_int_equal(ask_flagged(c, rows[i].type, 1u << 15, 0, rows[i].length), -EINVAL);
        assert_int_equal(ask_flagged(c, rows[i].type, rows[i].flags, 256, rows[i].length), -EINVAL);
        assert_int_equal(ask(c, rows[i].type, 0, 65536 + 512), -EINVAL);
        begin(c, 512, without, false);
        assert_int_equal(ask_flagged(c, rows[i].type, rows[i].flags, 0, rows[i].length),
                         without == all ? 0 : -EINVAL);
        begin(c, 512, all | NBD_FLAG_READ_ONLY, false);
        assert_int_equal(ask_flagged(c, rows[i].type, rows[i].flags, 0, rows[i].length),
                         flush ? 0 : -EINVAL);
    }
    begin(c, 512, all, false);
    assert_int_equal(ask(c, NBD_CMD_WRITE, 0, 8192), -EINVAL);
    assert_int_equal(ask_flagged(c, NBD_CMD_WRITE, NBD_CMD_FLAG_NO_HOLE, 0, 512), -EINVAL);
    assert_int_equal(ask(c, NBD_CMD_BLOCK_STATUS, 0, 512), -EINVAL);
    begin(c, 512, all, true);
    assert_int_equal(ask(c, NBD_CMD_BLOCK_STATUS, 0, 65536), 0);
    assert_int_equal(ask(c, NBD_CMD_BLOCK_STATUS, 0, 0), -EINVAL);
    free(c);
}

static void test_ranges(void **state)
{
    struct nbd_inflight_table table;
    struct nbd_inflight *slot;

    (void)state;
    nbd_inflight_init(&table);
    slot = nbd_inflight_add(&table);
    slot->offset = 1000;
    slot->length = 1000;
    assert_int_equal(nbd_inflight_cover(slot, 999, 1), NBD_COVER_OUTSIDE);
    assert_int_equal(nbd_inflight_cover(slot, 2000, 1), NBD_COVER_OUTSIDE);
    assert_int_equal(nbd_inflight_cover(slot, 1999, 2), NBD_COVER_OUTSIDE);
    assert_int_equal(nbd_inflight_cover(slot, 1000, 0), NBD_COVER_OUTSIDE);
    assert_int_equal(nbd_inflight_cover(slot, UINT64_MAX, 2), NBD_COVER_OUTSIDE);
    assert_int_equal(nbd_inflight_cover(slot, 1000, UINT32_MAX), NBD_COVER_OUTSIDE);
    assert_int_equal(nbd_inflight_cover(slot, 1100, 100), NBD_COVER_OK);
    assert_int_equal(nbd_inflight_cover(slot, 1100, 1), NBD_COVER_OVERLAP);
    assert_int_equal(nbd_inflight_cover(slot, 1000, 1000), NBD_COVER_OVERLAP);
    assert_int_equal(nbd_inflight_cover(slot, 1199, 1), NBD_COVER_OVERLAP);
    assert_int_equal(nbd_inflight_cover(slot, 1099, 2), NBD_COVER_OVERLAP);
    assert_int_equal(nbd_inflight_cover(slot, 1300, 700), NBD_COVER_OK);
    assert_int_equal(slot->range_count, 2);
    assert_int_equal(nbd_inflight_cover(slot, 1200, 100), NBD_COVER_OK);
    assert_int_equal(slot->range_count, 1);
    assert_false(nbd_inflight_is_whole(slot));
    assert_int_equal(nbd_inflight_cover(slot, 1000, 100), NBD_COVER_OK);
    assert_true(nbd_inflight_is_whole(slot));

    slot = nbd_inflight_add(&table);
    slot->length = 1000;
    for (unsigned i = 0; i < NBD_RANGES_MAX; i++)
        assert_int_equal(nbd_inflight_cover(slot, 2 * i, 1), NBD_COVER_OK);
    assert_int_equal(nbd_inflight_cover(slot, 999, 1), NBD_COVER_SCATTERED);
    for (unsigned i = 0; i < NBD_RANGES_MAX; i++)
        assert_int_equal(nbd_inflight_cover(slot, 2 * i + 1, 1), NBD_COVER_OK);
    assert_int_equal(nbd_inflight_cover(slot, 2 * NBD_RANGES_MAX, 1000 - 2 * NBD_RANGES_MAX),
                     NBD_COVER_OK);
    assert_true(nbd_inflight_is_whole(slot));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_asking_keeps_to_the_offer),
        cmocka_unit_test(test_writing_keeps_to_the_offer),
        cmocka_unit_test(test_ranges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
