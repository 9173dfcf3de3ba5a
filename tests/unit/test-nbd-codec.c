// SPDX-License-Identifier: Apache-2.0
/*
 * The NBD codec against the golden vectors: each structure is encoded from its fields and decoded
 * from its bytes, every shorter prefix asks for more, and what is malformed is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>

#include "proto/nbd.h"
#include "vectors.h"

#define ROOM 8192

/* One vector's golden bytes, and what the codec made of its fields. */
struct golden {
    const json_t *fields; /* NULL: malformed */
    uint8_t bytes[ROOM];
    size_t length;
    struct bytes_writer made;
};

#define FIELD(g, name) vectors_number((g)->fields, name)

/* Each decodes `length` of the bytes; when that gave a structure it is checked and encoded again.
 */
typedef ssize_t check_fn(struct golden *g, const uint8_t *bytes, size_t length);

static ssize_t check_server_hello(struct golden *g, const uint8_t *bytes, size_t length)
{
    uint16_t flags;
    ssize_t used = nbd_get_hello(bytes, length, &flags);

    if (used > 0) {
        assert_int_equal(flags, FIELD(g, "flags"));
        nbd_put_hello(&g->made, flags);
    }
    return used;
}

static ssize_t check_client_flags(struct golden *g, const uint8_t *bytes, size_t length)
{
    uint32_t flags;
    ssize_t used = nbd_get_client_flags(bytes, length, &flags);

    if (used > 0) {
        assert_int_equal(flags, FIELD(g, "flags"));
        nbd_put_client_flags(&g->made, flags);
    }
    return used;
}

static void check_data(struct golden *g, const uint8_t *bytes, ssize_t used, uint32_t length)
{
    uint8_t want[ROOM];
    size_t wanted = vectors_bytes(g->fields, "data", want, sizeof want);

    assert_int_equal(length, wanted);
    assert_int_equal((size_t)used + length, g->length);
    if (wanted > 0)
        assert_memory_equal(bytes + used, want, wanted);
    bytes_put(&g->made, want, wanted);
}

static ssize_t check_option(struct golden *g, const uint8_t *bytes, size_t length)
{
    struct nbd_option option;
    ssize_t used = nbd_get_option(bytes, length, &option);

    if (used <= 0)
        return used;
    if ((size_t)used + option.length > length)
        return 0;
    assert_int_equal(option.option, FIELD(g, "option"));
    nbd_put_option(&g->made, &option);
    check_data(g, bytes, used, option.length);
    return used + (ssize_t)option.length;
}

static ssize_t check_option_reply(struct golden *g, const uint8_t *bytes, size_t length)
{
    struct nbd_option_reply reply;
    ssize_t used = nbd_get_option_reply(bytes, length, &reply);

    if (used <= 0)
        return used;
    if ((size_t)used + reply.length > length)
        return 0;
    assert_int_equal(reply.option, FIELD(g, "option"));
    assert_int_equal(reply.type, FIELD(g, "type"));
    nbd_put_option_reply(&g->made, &reply);
    check_data(g, bytes, used, reply.length);
    return used + (ssize_t)reply.length;
}

static ssize_t check_export_reply(struct golden *g, const uint8_t *bytes, size_t length)
{
    struct nbd_export export;
    bool zeroes = json_is_true(json_object_get(g->fields, "zeroes"));
    ssize_t used = nbd_get_export_reply(bytes, length, zeroes, &export);

    if (used > 0) {
        assert_int_equal(export.size, FIELD(g, "size"));
        assert_int_equal(export.flags, FIELD(g, "flags"));
        nbd_put_export_reply(&g->made, &export, zeroes);
    }
    return used;
}

static ssize_t check_request(struct golden *g, const uint8_t *bytes, size_t length)
{
    struct nbd_request q;
    ssize_t used = nbd_get_request(bytes, length, &q);

    if (used > 0) {
        assert_int_equal(q.flags, FIELD(g, "flags"));
        assert_int_equal(q.type, FIELD(g, "type"));
        assert_int_equal(q.cookie, FIELD(g, "cookie"));
        assert_int_equal(q.offset, FIELD(g, "offset"));
        assert_int_equal(q.length, FIELD(g, "length"));
        nbd_put_request(&g->made, &q);
    }
    return used;
}

static ssize_t check_simple_reply(struct golden *g, const uint8_t *bytes, size_t length)
{
    struct nbd_simple_reply r;
    ssize_t used = nbd_get_simple_reply(bytes, length, &r);

    if (used > 0) {
        assert_int_equal(r.error, FIELD(g, "error"));
        assert_int_equal(r.cookie, FIELD(g, "cookie"));
        nbd_put_simple_reply(&g->made, &r);
    }
    return used;
}

static ssize_t check_chunk(struct golden *g, const uint8_t *bytes, size_t length)
{
    struct nbd_chunk c;
    ssize_t used = nbd_get_chunk(bytes, length, &c);

    if (used > 0) {
        assert_int_equal(c.flags, FIELD(g, "flags"));
        assert_int_equal(c.type, FIELD(g, "type"));
        assert_int_equal(c.cookie, FIELD(g, "cookie"));
        assert_int_equal(c.length, FIELD(g, "length"));
        nbd_put_chunk(&g->made, &c);
    }
    return used;
}

static ssize_t check_chunk_data(struct golden *g, const uint8_t *bytes, size_t length)
{
    uint64_t offset;
    ssize_t used = nbd_get_chunk_data(bytes, length, &offset);

    if (used > 0) {
        assert_int_equal(offset, FIELD(g, "offset"));
        nbd_put_chunk_data(&g->made, offset);
    }
    return used;
}

/* From here on the length is known beforehand: a decoder says 0 or -EPROTO. */
static ssize_t whole(int r, size_t length)
{
    return r < 0 ? r : (ssize_t)length;
}

static void assert_text(const uint8_t *bytes, size_t length, const char *text)
{
    assert_int_equal(length, strlen(text));
    assert_memory_equal(bytes, text, length);
}

static ssize_t check_info_request(struct golden *g, const uint8_t *bytes, size_t length)
{
    struct nbd_info_request q;
    uint16_t infos[16];
    int r = nbd_get_info_request(bytes, length, &q);

    if (r < 0)
        return r;

    const json_t *wanted = json_object_get(g->fields, "infos");

    assert_text(q.name, q.name_length, vectors_text(g->fields, "name"));
    assert_int_equal(q.info_count, json_array_size(wanted));
    for (uint16_t i = 0; i < q.info_count; i++) {
        infos[i] = (uint16_t)json_integer_value(json_array_get(wanted, i));
        assert_true(nbd_info_asked(&q, infos[i]));
    }
    assert_false(nbd_info_asked(&q, 0x7777));
    nbd_put_info_request(&g->made, vectors_text(g->fields, "name"), infos, q.info_count);
    return (ssize_t)length;
}

static ssize_t check_info_export(struct golden *g, const uint8_t *bytes, size_t length)
{
    struct nbd_export e;
    int r = nbd_get_info_export(bytes, length, &e);

    if (r == 0) {
        assert_int_equal(e.size, FIELD(g, "size"));
        assert_int_equal(e.flags, FIELD(g, "flags"));
        nbd_put_info_export(&g->made, &e);
    }
    return whole(r, length);
}

static ssize_t check_info_block_size(struct golden *g, const uint8_t *bytes, size_t length)
{
    struct nbd_block_size b;
    int r = nbd_get_info_block_size(bytes, length, &b);

    if (r == 0) {
        assert_int_equal(b.minimum, FIELD(g, "minimum"));
        assert_int_equal(b.preferred, FIELD(g, "preferred"));
        assert_int_equal(b.maximum, FIELD(g, "maximum"));
        nbd_put_info_block_size(&g->made, &b);
    }
    return whole(r, length);
}

static ssize_t check_rep_server(struct golden *g, const uint8_t *bytes, size_t length)
{
    struct nbd_listed l;
    int r = nbd_get_listed(bytes, length, &l);

    if (r == 0) {
        assert_text(l.name, l.name_length, vectors_text(g->fields, "name"));
        assert_text(l.detail, l.detail_length, vectors_text(g->fields, "detail"));
        nbd_put_listed(&g->made, &l);
    }
    return whole(r, length);
}

static ssize_t check_chunk_hole(struct golden *g, const uint8_t *bytes, size_t length)
{
    struct nbd_hole h;
    int r = nbd_get_chunk_hole(bytes, length, &h);

    if (r == 0) {
        assert_int_equal(h.offset, FIELD(g, "offset"));
        assert_int_equal(h.length, FIELD(g, "length"));
        nbd_put_chunk_hole(&g->made, &h);
    }
    return whole(r, length);
}

static ssize_t check_error_of(struct golden *g, const uint8_t *bytes, size_t length, uint16_t type)
{
    struct nbd_chunk_error e;
    int r = nbd_get_chunk_error(bytes, length, type, &e);

    if (r == 0) {
        assert_int_equal(e.error, FIELD(g, "error"));
        assert_text(e.message, e.message_length, vectors_text(g->fields, "message"));
        if (type == NBD_REPLY_TYPE_ERROR_OFFSET)
            assert_int_equal(e.offset, FIELD(g, "offset"));
        nbd_put_chunk_error(&g->made, type, &e);
    }
    return whole(r, length);
}

static ssize_t check_meta_context(struct golden *g, const uint8_t *bytes, size_t length)
{
    struct nbd_meta_context got;

    if (nbd_get_meta_context(bytes, length, &got) < 0)
        return -EPROTO;
    assert_int_equal(got.id, FIELD(g, "id"));
    assert_int_equal(got.name_length, strlen(vectors_text(g->fields, "name")));
    assert_memory_equal(got.name, vectors_text(g->fields, "name"), got.name_length);
    nbd_put_meta_context(&g->made, &got);
    return (ssize_t)length;
}

static ssize_t check_chunk_status(struct golden *g, const uint8_t *bytes, size_t length)
{
    uint32_t context;
    ssize_t used = nbd_get_chunk_status(bytes, length, &context);

    if (used > 0) {
        assert_int_equal(context, FIELD(g, "context"));
        nbd_put_chunk_status(&g->made, context);
    }
    return used;
}

static ssize_t check_extent(struct golden *g, const uint8_t *bytes, size_t length)
{
    struct nbd_extent extent;
    ssize_t used = nbd_get_extent(bytes, length, &extent);

    if (used > 0) {
        assert_int_equal(extent.length, FIELD(g, "length"));
        assert_int_equal(extent.flags, FIELD(g, "flags"));
        nbd_put_extent(&g->made, &extent);
    }
    return used;
}

static ssize_t check_chunk_error(struct golden *g, const uint8_t *bytes, size_t length)
{
    return check_error_of(g, bytes, length, NBD_REPLY_TYPE_ERROR);
}

static ssize_t check_chunk_error_offset(struct golden *g, const uint8_t *bytes, size_t length)
{
    return check_error_of(g, bytes, length, NBD_REPLY_TYPE_ERROR_OFFSET);
}

static const struct kind {
    const char *name;
    check_fn *check;
    bool streamed; /* a prefix says "more"; else it is malformed, or another structure */
} kinds[] = {
    {"server-hello", check_server_hello, true},
    {"client-flags", check_client_flags, true},
    {"option", check_option, true},
    {"option-reply", check_option_reply, true},
    {"export-reply", check_export_reply, true},
    {"info-request", check_info_request, false},
    {"info-export", check_info_export, false},
    {"info-block-size", check_info_block_size, false},
    {"rep-server", check_rep_server, false},
    {"request", check_request, true},
    {"simple-reply", check_simple_reply, true},
    {"chunk", check_chunk, true},
    {"chunk-data", check_chunk_data, true},
    {"chunk-hole", check_chunk_hole, false},
    {"rep-meta-context", check_meta_context, false},
    {"chunk-status", check_chunk_status, true},
    {"extent", check_extent, true},
    {"chunk-error", check_chunk_error, false},
    {"chunk-error-offset", check_chunk_error_offset, false},
};

/* A copy of exactly this length, so that a sanitizer sees one byte read too far. */
static ssize_t check_exactly(const struct kind *kind, struct golden *g, size_t length)
{
    uint8_t *copy = malloc(length ? length : 1);

    assert_non_null(copy);
    memcpy(copy, g->bytes, length);

    ssize_t used = kind->check(g, copy, length);

    free(copy);
    return used;
}

static void check_vector(const struct kind *kind, const json_t *vector)
{
    struct golden g = {.fields = json_object_get(vector, "fields")};
    uint8_t made[ROOM];

    g.length = vectors_bytes(vector, "hex", g.bytes, sizeof g.bytes);
    if (!g.fields) {
        assert_true(check_exactly(kind, &g, g.length) < 0);
        return;
    }
    for (size_t cut = 0; kind->streamed && cut < g.length; cut++)
        assert_int_equal(check_exactly(kind, &g, cut), 0);
    g.made = bytes_writer(made, sizeof made);
    assert_int_equal(check_exactly(kind, &g, g.length), g.length);
    assert_false(g.made.bad);
    assert_int_equal(g.made.used, g.length);
    assert_memory_equal(made, g.bytes, g.length);
}

static void test_vectors(void **state)
{
    json_t *all = vectors_load("nbd-codec.json");
    json_t *vector;
    size_t index;

    (void)state;
    json_array_foreach(all, index, vector)
    {
        const char *name = vectors_text(vector, "kind");
        const struct kind *kind = NULL;

        for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
            if (strcmp(kinds[i].name, name) == 0)
                kind = &kinds[i];
        }
        if (!kind)
            fail_msg("no such kind: %s", name);
        print_message("# %s: %s\n", name, vectors_text(vector, "name"));
        check_vector(kind, vector);
    }
    json_decref(all);
}

static void test_oldstyle_is_told_apart(void **state)
{
    static const uint8_t oldstyle[] = "NBDMAGIC\x00\x00\x42\x02\x81\x86\x12\x53";
    uint16_t flags;

    (void)state;
    assert_int_equal(nbd_get_hello(oldstyle, 15, &flags), 0);
    assert_int_equal(nbd_get_hello(oldstyle, 16, &flags), -EPROTONOSUPPORT);
}

static void test_errors_map_both_ways(void **state)
{
    static const uint32_t known[] = {
        0,          NBD_EPERM,     NBD_EIO,     NBD_ENOMEM,   NBD_EINVAL,
        NBD_ENOSPC, NBD_EOVERFLOW, NBD_ENOTSUP, NBD_ESHUTDOWN};

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_int_equal(nbd_error_from_errno(nbd_error_to_errno(known[i])), known[i]);
    assert_int_equal(nbd_error_to_errno(4711), -EINVAL);
    assert_int_equal(nbd_error_to_errno(0xffffffff), -EINVAL);
    assert_int_equal(nbd_error_from_errno(-ECANCELED), NBD_EIO);
    assert_int_equal(nbd_error_from_errno(-EROFS), NBD_EPERM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_oldstyle_is_told_apart),
        cmocka_unit_test(test_errors_map_both_ways),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
