// SPDX-License-Identifier: Apache-2.0
/* The WebSockets that OpenBMC's page opens: which slot each is of, and what is made of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "api/openbmc.h"
#include "fake-stream.h"

static struct {
    unsigned slots;
    const char *drive;
    int opened; /* -1: none */
    struct control_offer offer;
} program;

static unsigned slot_count(void *owner)
{
    (void)owner;
    return program.slots;
}

static void get_slot(void *owner, unsigned slot, struct control_slot *out)
{
    (void)owner;
    assert_true(slot < program.slots);
    *out = (struct control_slot){.drive = program.drive};
}

static void open_slot(void *owner, unsigned slot, struct stream *stream,
                      const struct control_offer *offer)
{
    (void)owner;
    program.opened = (int)slot;
    program.offer = *offer;
    stream_free(stream);
}

static const struct control_ops ops = {
    .slot_count = slot_count, .get_slot = get_slot, .open_slot = open_slot};
static const struct control control = {.ops = &ops};

/* The slot that is opened; -1, with the stream closed and a reason given, for none. */
static int try_open(const char *path)
{
    struct web_route routes[] = {openbmc_vm_route(&control), openbmc_nbd_route(&control)};
    static const struct web_arguments none;
    struct fake_stream stream;

    fake_stream_init(&stream);
    program.opened = -1;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(routes[i].page, WEB_PAGE_PLAIN);
        if (strncmp(path, routes[i].prefix, strlen(routes[i].prefix)) == 0)
            routes[i].open(routes[i].owner, path, &none, &stream.stream);
    }
    assert_int_equal(stream.closed, program.opened < 0);
    if (program.opened < 0)
        assert_true(stream.why == STREAM_CLOSE_REFUSED && strlen(stream.reason) > 10);
    fake_stream_done(&stream);
    return program.opened;
}

static void test_which_slot(void **state)
{
    (void)state;
    program.drive = "auto";
    program.slots = 12;
    assert_int_equal(try_open("/vm/0/0"), 0);
    assert_int_equal(try_open("/nbd/0"), 0);
    assert_int_equal(try_open("/nbd/11"), 11);
    assert_int_equal(try_open("/nbd/12"), -1);
    assert_int_equal(try_open("/nbd/"), -1);
    assert_int_equal(try_open("/nbd/01"), -1);
    assert_int_equal(try_open("/nbd/1x"), -1);
    assert_int_equal(try_open("/nbd/99999999999999999999"), -1);
    assert_int_equal(try_open("/vm/0/1"), -1);
    assert_int_equal(try_open("/vm/0/00"), -1);
    assert_int_equal(try_open("/vm/"), -1);
    program.slots = 0;
    assert_int_equal(try_open("/vm/0/0"), -1);
    assert_int_equal(try_open("/nbd/0"), -1);
}

static void test_what_it_offers(void **state)
{
    static const struct {
        const char *drive;
        enum medium_kind kind;
    } cases[] = {{"cd", MEDIUM_CD}, {"disk", MEDIUM_DISK}, {"auto", MEDIUM_DISK}};

    (void)state;
    program.slots = 1;
    for (size_t i = 0; i < 3; i++) {
        program.drive = cases[i].drive;
        assert_int_equal(try_open("/vm/0/0"), 0);
        assert_int_equal(program.offer.kind, cases[i].kind);
        assert_string_equal(program.offer.name, "OpenBMC virtual media");
        assert_int_equal(program.offer.modified, -1);
        assert_null(program.offer.resume);
        assert_string_equal(program.offer.profile, "openbmc");
        assert_true(program.offer.ends_with_line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_which_slot),
        cmocka_unit_test(test_what_it_offers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
