// SPDX-License-Identifier: Apache-2.0
/*
 * The NBD server: each row is what a client says and what it must hear, with the client's bytes cut
 * at every length. The image has 1 MiB; what the machine lets pass is answered with "done" alone,
 * for its work is another's. A write's bytes are taken in memory of MEMORY bytes at a time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>

#include "proto/nbd-server.h"

#define ROOM      65536
#define SIZE      (1u << 20)
#define WHOLE_MAX (128u << 10)
#define MEMORY    300u

/* How the client's line ends. */
enum end { OPEN, LEFT, SAID_LAST, BROKEN };

enum start { FRESH, FIXED, STRUCTURED, PLAIN, KERNEL, WRITABLE, WRITABLE_KERNEL };

struct talk {
    struct bytes_writer client;
    struct bytes_writer server;
};

struct row {
    const char *what;
    enum start start; /* a lawful beginning that goes before */
    void (*script)(struct talk *t);
    enum end end;
};

static void put_option(struct talk *t, uint32_t option, const void *data, uint32_t length)
{
    nbd_put_option(&t->client, &(struct nbd_option){option, length});
    bytes_put(&t->client, data, length);
}

static void put_reply(struct talk *t, uint32_t option, uint32_t type, uint32_t length)
{
    nbd_put_option_reply(&t->server, &(struct nbd_option_reply){option, type, length});
}

static void ask(struct talk *t, uint16_t flags, uint16_t type, uint64_t offset, uint32_t length)
{
    nbd_put_request(&t->client, &(struct nbd_request){flags, type, 0xfeed, offset, length});
}

static void hear_simple(struct talk *t, uint32_t error)
{
    nbd_put_simple_reply(&t->server, &(struct nbd_simple_reply){error, 0xfeed});
}

static void hear_done(struct talk *t)
{
    nbd_put_chunk(&t->server,
                  &(struct nbd_chunk){NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 0xfeed, 0});
}

static void hear_error(struct talk *t, uint32_t error)
{
    nbd_put_chunk(&t->server,
                  &(struct nbd_chunk){NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, 0xfeed, 6});
    nbd_put_chunk_error(&t->server, NBD_REPLY_TYPE_ERROR,
                        &(struct nbd_chunk_error){.error = error});
}

/* READ_ONLY, FLUSH, MULTI_CONN; DF with structured replies only. */
static const struct nbd_export plain_export = {SIZE, 0x107};
static const struct nbd_export structured_export = {SIZE, 0x187};
/* The same, with FUA, TRIM and WRITE_ZEROES in place of READ_ONLY. */
static const struct nbd_export writable_export = {SIZE, 0x1ed};

static void hear_go(struct talk *t, uint32_t option, const struct nbd_export *export, bool blocks)
{
    put_reply(t, option, NBD_REP_INFO, NBD_INFO_EXPORT_SIZE);
    nbd_put_info_export(&t->server, export);
    if (blocks) {
        put_reply(t, option, NBD_REP_INFO, NBD_INFO_BLOCK_SIZE_SIZE);
        nbd_put_info_block_size(&t->server, &(struct nbd_block_size){1, 4096, 32u << 20});
    }
    put_reply(t, option, NBD_REP_ACK, 0);
}

static void put_go(struct talk *t, uint32_t option, const char *name, uint16_t info)
{
    uint8_t data[64];
    struct bytes_writer w = bytes_writer(data, sizeof data);

    nbd_put_info_request(&w, name, (uint16_t[]){1, info}, info ? 2 : 0);
    put_option(t, option, data, (uint32_t)w.used);
}

static void begin(struct talk *t, enum start start)
{
    if (start == KERNEL || start == WRITABLE_KERNEL)
        return;
    nbd_put_hello(&t->server, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    if (start == FRESH)
        return;
    nbd_put_client_flags(&t->client, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    if (start == STRUCTURED || start == WRITABLE) {
        put_option(t, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
        put_reply(t, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, 0);
        put_go(t, NBD_OPT_GO, "", NBD_INFO_BLOCK_SIZE);
        hear_go(t, NBD_OPT_GO, start == WRITABLE ? &writable_export : &structured_export, true);
    }
    if (start == PLAIN) {
        put_option(t, NBD_OPT_EXPORT_NAME, NULL, 0);
        nbd_put_export_reply(&t->server, &plain_export, false);
    }
}

#define SCRIPT(name) static void name(struct talk *t)

SCRIPT(unknown_flags)
{
    nbd_put_client_flags(&t->client, 7);
}

SCRIPT(with_zeroes)
{
    nbd_put_client_flags(&t->client, NBD_FLAG_FIXED_NEWSTYLE);
    put_option(t, NBD_OPT_EXPORT_NAME, NULL, 0);
    nbd_put_export_reply(&t->server, &plain_export, true);
}

SCRIPT(not_fixed)
{
    nbd_put_client_flags(&t->client, 0);
    put_option(t, NBD_OPT_LIST, NULL, 0);
}

SCRIPT(no_option)
{
    bytes_put_u64(&t->client, NBD_REPLY_MAGIC);
}

SCRIPT(list)
{
    put_option(t, NBD_OPT_LIST, NULL, 0);
    put_reply(t, NBD_OPT_LIST, NBD_REP_SERVER, 4);
    bytes_put_u32(&t->server, 0);
    put_reply(t, NBD_OPT_LIST, NBD_REP_ACK, 0);
    put_option(t, NBD_OPT_LIST, "x", 1);
    put_reply(t, NBD_OPT_LIST, NBD_REP_ERR_INVALID, 0);
}

SCRIPT(give_up)
{
    put_option(t, NBD_OPT_ABORT, "because", 7);
    put_reply(t, NBD_OPT_ABORT, NBD_REP_ACK, 0);
}

SCRIPT(unknown_options)
{
    static const uint8_t long_data[9000];

    put_option(t, 5, NULL, 0); /* STARTTLS */
    put_reply(t, 5, NBD_REP_ERR_UNSUP, 0);
    put_option(t, 10, long_data, 40); /* SET_META_CONTEXT */
    put_reply(t, 10, NBD_REP_ERR_UNSUP, 0);
    put_option(t, 0xffffffff, long_data, sizeof long_data);
    put_reply(t, 0xffffffff, NBD_REP_ERR_UNSUP, 0);
    put_option(t, NBD_OPT_GO, long_data, sizeof long_data);
    put_reply(t, NBD_OPT_GO, NBD_REP_ERR_TOO_BIG, 0);
    put_option(t, NBD_OPT_STRUCTURED_REPLY, long_data, 1);
    put_reply(t, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_INVALID, 0);
}

SCRIPT(absurd_option)
{
    nbd_put_option(&t->client, &(struct nbd_option){77, 0xffffffff});
}

SCRIPT(info_then_go)
{
    put_go(t, NBD_OPT_INFO, "", 0);
    hear_go(t, NBD_OPT_INFO, &plain_export, false);
    put_go(t, NBD_OPT_INFO, "other", 0);
    put_reply(t, NBD_OPT_INFO, NBD_REP_ERR_UNKNOWN, 0);
    put_option(t, NBD_OPT_INFO, "\0\0\0\7", 4);
    put_reply(t, NBD_OPT_INFO, NBD_REP_ERR_INVALID, 0);
    put_option(t, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
    put_reply(t, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, 0);
    put_go(t, NBD_OPT_GO, "", NBD_INFO_BLOCK_SIZE);
    hear_go(t, NBD_OPT_GO, &structured_export, true);
    ask(t, 0, NBD_CMD_READ, 0, 1);
    hear_done(t);
}

SCRIPT(other_name)
{
    put_option(t, NBD_OPT_EXPORT_NAME, "other", 5);
}

SCRIPT(reads)
{
    ask(t, 0, NBD_CMD_READ, SIZE - 1, 1);
    hear_done(t);
    ask(t, NBD_CMD_FLAG_DF, NBD_CMD_READ, 0, WHOLE_MAX);
    hear_done(t);
    ask(t, NBD_CMD_FLAG_DF, NBD_CMD_READ, 0, WHOLE_MAX + 1);
    hear_error(t, NBD_EOVERFLOW);
    ask(t, 0, NBD_CMD_READ, 0, SIZE);
    hear_done(t);
    ask(t, 0, NBD_CMD_READ, SIZE, 0);
    hear_done(t);
    ask(t, 0, NBD_CMD_READ, SIZE, 1);
    hear_error(t, NBD_EINVAL);
    ask(t, 0, NBD_CMD_READ, 1, SIZE);
    hear_error(t, NBD_EINVAL);
    ask(t, 0, NBD_CMD_READ, UINT64_MAX, 2);
    hear_error(t, NBD_EINVAL);
    ask(t, 1, NBD_CMD_READ, 0, 1);
    hear_error(t, NBD_EINVAL);
}

SCRIPT(writes)
{
    static const uint8_t payload[1000];

    ask(t, 0, NBD_CMD_WRITE, 0, sizeof payload);
    bytes_put(&t->client, payload, sizeof payload);
    hear_error(t, NBD_EPERM);
    ask(t, 1, NBD_CMD_WRITE, SIZE * 2, 1);
    bytes_put(&t->client, payload, 1);
    hear_error(t, NBD_EPERM);
    ask(t, 0, NBD_CMD_WRITE, 0, 0);
    hear_error(t, NBD_EPERM);
    ask(t, 0, NBD_CMD_TRIM, 0, 1);
    hear_error(t, NBD_EPERM);
    ask(t, 0, NBD_CMD_WRITE_ZEROES, 0, SIZE);
    hear_error(t, NBD_EPERM);
    ask(t, 0, NBD_CMD_FLUSH, 0, 0);
    hear_done(t);
    ask(t, 0, NBD_CMD_FLUSH, 0, 1);
    hear_error(t, NBD_EINVAL);
    ask(t, 0, 5, 0, 1);
    hear_error(t, NBD_EINVAL);
    ask(t, 0, 7, 0, 1);
    hear_error(t, NBD_EINVAL);
    ask(t, 0, 0xffff, 0, 1);
    hear_error(t, NBD_EINVAL);
}

SCRIPT(simple)
{
    ask(t, 0, NBD_CMD_READ, 0, SIZE);
    hear_simple(t, 0);
    ask(t, 0, NBD_CMD_READ, SIZE, 1);
    hear_simple(t, NBD_EINVAL);
    ask(t, 0, NBD_CMD_READ, 0, 0);
    hear_simple(t, 0);
    ask(t, NBD_CMD_FLAG_DF, NBD_CMD_READ, 0, 1);
    hear_simple(t, NBD_EINVAL);
    ask(t, 0, NBD_CMD_FLUSH, 0, 0);
    hear_simple(t, 0);
    ask(t, 0, NBD_CMD_WRITE, 0, 2);
    bytes_put_u16(&t->client, 0x2560);
    hear_simple(t, NBD_EPERM);
}

SCRIPT(leave)
{
    ask(t, 0, NBD_CMD_FLUSH, 0, 0);
    hear_simple(t, 0);
    ask(t, 0, NBD_CMD_DISC, 0, 0);
}

SCRIPT(no_request)
{
    ask(t, 0, NBD_CMD_READ, 0, 1);
    hear_simple(t, 0);
    bytes_put_u32(&t->client, 0x12560953);
}

/* The bytes of a write, as take() expects them. */
static void put_payload(struct talk *t, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        bytes_put_u8(&t->client, (uint8_t)(i * 5));
}

SCRIPT(lawful_changes)
{
    ask(t, 0, NBD_CMD_WRITE, 0, 1000);
    put_payload(t, 1000);
    hear_done(t);
    ask(t, NBD_CMD_FLAG_FUA, NBD_CMD_WRITE, SIZE - MEMORY, MEMORY);
    put_payload(t, MEMORY);
    hear_done(t);
    ask(t, 0, NBD_CMD_WRITE, SIZE, 0);
    hear_done(t);
    ask(t, NBD_CMD_FLAG_FUA, NBD_CMD_TRIM, 0, SIZE);
    hear_done(t);
    ask(t, NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE, NBD_CMD_WRITE_ZEROES, 1, SIZE - 1);
    hear_done(t);
    ask(t, 0, NBD_CMD_TRIM, SIZE, 0);
    hear_done(t);
    /* Lawful once FUA is offered. */
    ask(t, NBD_CMD_FLAG_FUA, NBD_CMD_READ, 0, 1);
    hear_done(t);
    ask(t, NBD_CMD_FLAG_FUA, NBD_CMD_FLUSH, 0, 0);
    hear_done(t);
}

SCRIPT(refused_changes)
{
    ask(t, 0, NBD_CMD_WRITE, SIZE - 1, 2);
    put_payload(t, 2);
    hear_error(t, NBD_ENOSPC);
    ask(t, 0, NBD_CMD_WRITE, UINT64_MAX, 700);
    put_payload(t, 700);
    hear_error(t, NBD_ENOSPC);
    ask(t, NBD_CMD_FLAG_NO_HOLE, NBD_CMD_WRITE, 0, 700);
    put_payload(t, 700);
    hear_error(t, NBD_EINVAL);
    ask(t, 0, NBD_CMD_WRITE, SIZE + 1, 0);
    hear_error(t, NBD_ENOSPC);
    ask(t, 0, NBD_CMD_TRIM, 1, SIZE);
    hear_error(t, NBD_EINVAL);
    ask(t, NBD_CMD_FLAG_NO_HOLE, NBD_CMD_TRIM, 0, 1);
    hear_error(t, NBD_EINVAL);
    ask(t, 0, NBD_CMD_WRITE_ZEROES, 1, SIZE);
    hear_error(t, NBD_ENOSPC);
    /* FAST_ZERO was not offered. */
    ask(t, 1u << 4, NBD_CMD_WRITE_ZEROES, 0, 1);
    hear_error(t, NBD_EINVAL);
    ask(t, 0, NBD_CMD_FLUSH, 0, 0);
    hear_done(t);
}

SCRIPT(kernel_changes)
{
    ask(t, 0, NBD_CMD_WRITE, 512, 1);
    put_payload(t, 1);
    hear_simple(t, 0);
    ask(t, 0, NBD_CMD_WRITE, SIZE, 1);
    put_payload(t, 1);
    hear_simple(t, NBD_ENOSPC);
    ask(t, 0, NBD_CMD_WRITE_ZEROES, 0, 512);
    hear_simple(t, 0);
}

/* Writes whose driver loses interest; see go_on_writing(). */
SCRIPT(unwanted_bytes)
{
    ask(t, 0, NBD_CMD_WRITE, 77, 1000);
    put_payload(t, 1000);
    hear_error(t, NBD_EIO);
    ask(t, 0, NBD_CMD_WRITE, 78, 1000);
    put_payload(t, 1000);
    hear_error(t, NBD_EIO);
    ask(t, 0, NBD_CMD_FLUSH, 0, 0);
    hear_done(t);
}

/* Longer than anyone may send: passed over, however long. */
SCRIPT(absurd_write)
{
    ask(t, 0, NBD_CMD_WRITE, 0, (32u << 20) + 1);
    put_payload(t, 20000);
}

static const struct row rows[] = {
    {"unknown client flags", FRESH, unknown_flags, BROKEN},
    {"EXPORT_NAME with zeroes", FRESH, with_zeroes, OPEN},
    {"an option without fixed newstyle", FRESH, not_fixed, BROKEN},
    {"no option", FIXED, no_option, BROKEN},
    {"LIST", FIXED, list, OPEN},
    {"ABORT", FIXED, give_up, SAID_LAST},
    {"unknown and overlong options", FIXED, unknown_options, OPEN},
    {"an option of 4 GiB", FIXED, absurd_option, BROKEN},
    {"INFO, then GO", FIXED, info_then_go, OPEN},
    {"EXPORT_NAME of another", FIXED, other_name, BROKEN},
    {"reads", STRUCTURED, reads, OPEN},
    {"writes and flushes", STRUCTURED, writes, OPEN},
    {"simple replies", PLAIN, simple, OPEN},
    {"the kernel", KERNEL, simple, OPEN},
    {"goodbye", KERNEL, leave, LEFT},
    {"no request", KERNEL, no_request, BROKEN},
    {"a write of more than 32 MiB", KERNEL, absurd_write, OPEN},
    {"the same where writes are lawful", WRITABLE, absurd_write, OPEN},
    {"what changes the image", WRITABLE, lawful_changes, OPEN},
    {"what may not", WRITABLE, refused_changes, OPEN},
    {"the kernel writes", WRITABLE_KERNEL, kernel_changes, OPEN},
    {"bytes that nobody wants", WRITABLE, unwanted_bytes, OPEN},
};

/* The write whose bytes are coming. */
static struct {
    struct nbd_request request;
    uint32_t got;
    uint32_t length; /* of the memory at hand */
    uint8_t *memory; /* exactly so much, for the sanitizer */
} writing;

/* Gives the machine memory for what is left; a write at 77 is unwanted from the first byte on, one
 * at 78 from the first memory on. */
static void go_on_writing(struct nbd_server *s, struct bytes_writer *said)
{
    uint64_t offset = writing.request.offset;
    uint8_t head[NBD_SERVER_HEAD_MAX];

    free(writing.memory);
    writing.memory = NULL;
    if (offset == 77 || (offset == 78 && writing.got > 0)) {
        bytes_put(said, head, nbd_server_put_error(s, writing.request.cookie, -EIO, head));
        nbd_server_discard(s);
        return;
    }
    if (s->payload_left == 0) {
        assert_int_equal(writing.got, writing.request.length);
        bytes_put(said, head, nbd_server_put_done(s, writing.request.cookie, head));
        return;
    }
    writing.length = s->payload_left < MEMORY ? s->payload_left : MEMORY;
    writing.memory = malloc(writing.length);
    assert_non_null(writing.memory);
    nbd_server_receive(s, writing.memory, writing.length);
}

static void take_written(struct nbd_server *s, struct bytes_writer *said)
{
    for (uint32_t i = 0; i < writing.length; i++)
        assert_int_equal(writing.memory[i], (uint8_t)((writing.got + i) * 5));
    writing.got += writing.length;
    go_on_writing(s, said);
}

static void check_request(const struct nbd_server_event *event)
{
    const struct nbd_request *q = &event->request;

    assert_true(q->offset <= SIZE && q->length <= SIZE - q->offset);
    assert_int_equal(q->length == 0, q->type == NBD_CMD_FLUSH);
    if (q->type == NBD_CMD_READ || q->type == NBD_CMD_FLUSH)
        assert_false(q->flags & NBD_CMD_FLAG_FUA);
    assert_int_equal(event->kind == NBD_SERVER_WRITE, q->type == NBD_CMD_WRITE);
}

static enum end take(struct nbd_server *s, const struct nbd_server_event *event,
                     struct bytes_writer *said)
{
    uint8_t head[NBD_SERVER_HEAD_MAX];

    switch (event->kind) {
    case NBD_SERVER_NOTHING:
        return OPEN;
    case NBD_SERVER_SAY:
    case NBD_SERVER_SAY_LAST:
        assert_true(event->say_length > 0);
        bytes_put(said, event->say, event->say_length);
        return event->kind == NBD_SERVER_SAY ? OPEN : SAID_LAST;
    case NBD_SERVER_WRITE:
        check_request(event);
        writing.request = event->request;
        writing.got = 0;
        assert_int_equal(s->payload_left, event->request.length);
        go_on_writing(s, said);
        return OPEN;
    case NBD_SERVER_WRITTEN:
        take_written(s, said);
        return OPEN;
    case NBD_SERVER_REQUEST:
        check_request(event);
        bytes_put(said, head, nbd_server_put_done(s, event->request.cookie, head));
        return OPEN;
    case NBD_SERVER_DISCONNECT:
        return LEFT;
    }
    return BROKEN;
}

static enum end converse(struct nbd_server *s, const uint8_t *bytes, size_t length, size_t cut,
                         struct bytes_writer *said)
{
    enum end end = OPEN;
    size_t at = 0;

    while (at < length && end == OPEN) {
        size_t size = cut < length - at ? cut : length - at;
        struct nbd_server_event event;
        uint8_t *copy = malloc(size);

        assert_non_null(copy);
        memcpy(copy, bytes + at, size);

        ssize_t used = nbd_server_feed(s, copy, size, &event);

        free(copy);
        if (used < 0) {
            assert_non_null(s->reason);
            assert_int_equal(nbd_server_feed(s, bytes, 1, &event), -EPROTO);
            return BROKEN;
        }
        assert_true(used > 0 && (size_t)used <= size);
        at += (size_t)used;
        end = take(s, &event, said);
    }
    assert_int_equal(at, length);
    return end;
}

static void try_row(const struct row *row, size_t cut)
{
    static uint8_t client[ROOM];
    static uint8_t server[ROOM];
    static uint8_t heard[ROOM];
    struct talk t = {bytes_writer(client, ROOM), bytes_writer(server, ROOM)};
    struct bytes_writer said = bytes_writer(heard, ROOM);
    struct nbd_server *s = malloc(sizeof *s);
    uint8_t hello[NBD_HELLO_SIZE];

    assert_non_null(s);
    begin(&t, row->start);
    row->script(&t);
    nbd_server_init(s, &(struct nbd_server_config){
                           .size = SIZE,
                           .whole_max = WHOLE_MAX,
                           .writable = row->start >= WRITABLE,
                           .transmit = row->start == KERNEL || row->start == WRITABLE_KERNEL,
                       });
    bytes_put(&said, hello, nbd_server_greet(s, hello));
    assert_int_equal(converse(s, client, t.client.used, cut, &said), row->end);
    assert_int_equal(said.used, t.server.used);
    assert_memory_equal(heard, server, said.used);
    free(s);
}

static void test_conversations(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        print_message("# %s\n", rows[i].what);
        for (size_t cut = 1; cut < 100; cut++)
            try_row(&rows[i], cut);
        try_row(&rows[i], ROOM);
    }
}

static void test_heads_of_data(void **state)
{
    uint8_t head[NBD_SERVER_HEAD_MAX];
    struct nbd_chunk chunk;
    struct nbd_hole hole;
    uint64_t offset;

    (void)state;
    assert_int_equal(nbd_server_put_data(7, 1ull << 40, 512, true, head), 28);
    assert_int_equal(nbd_get_chunk(head, 28, &chunk), 20);
    assert_int_equal(chunk.flags, NBD_REPLY_FLAG_DONE);
    assert_int_equal(chunk.length, 8 + 512);
    assert_int_equal(nbd_get_chunk_data(head + 20, 8, &offset), 8);
    assert_int_equal(offset, 1ull << 40);
    assert_int_equal(nbd_server_put_hole(7, 1ull << 40, 512, false, head), 32);
    assert_int_equal(nbd_get_chunk(head, 32, &chunk), 20);
    assert_int_equal(chunk.flags, 0);
    assert_int_equal(nbd_get_chunk_hole(head + 20, 12, &hole), 0);
    assert_int_equal(hole.length, 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conversations),
        cmocka_unit_test(test_heads_of_data),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
