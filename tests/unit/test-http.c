/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP API's answers, over a program made here: its JSON, and how a session is ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "api/control.h"
#include "api/http.h"

static struct {
    enum control_end answer;
    bool locked;
    unsigned ends;
    bool forced;
} program;

static unsigned slot_count(void *owner)
{
    (void)owner;
    return 1;
}

static void get_slot(void *owner, unsigned slot, struct control_slot *out)
{
    static const struct medium medium = {.kind = MEDIUM_CD, .size = 4096, .name = "a.iso"};

    (void)owner;
    assert_int_equal(slot, 0);
    *out = (struct control_slot){
        .name = "A",
        .export_name = "usb",
        .drive = "cd",
        .state = "serving",
        .uri = "",
        .reason = "",
        .medium = &medium,
        .locked = program.locked,
        .grace = 170,
        .keep = 3600,
    };
}

static enum control_end end_slot(void *owner, unsigned slot, bool force, const char *reason)
{
    (void)owner;
    assert_string_equal(reason, "The session was ended on the device.");
    assert_int_equal(slot, 0);
    program.ends++;
    program.forced = force;
    return program.answer;
}

static const struct control_ops ops = {
    .slot_count = slot_count, .get_slot = get_slot, .end_slot = end_slot};
static const struct control control = {.ops = &ops};

static json_t *get_slots(void)
{
    struct web_route route = http_api_route(&control);
    struct web_reply reply = {0};
    json_t *all, *slot;

    route.get(route.owner, "/api/slots", &reply);
    assert_int_equal(reply.status, 200);
    all = json_loadb(reply.body, reply.length, 0, NULL);
    free(reply.body);
    slot = json_incref(json_array_get(json_object_get(all, "slots"), 0));
    assert_non_null(slot);
    json_decref(all);
    return slot;
}

static void test_slots(void **state)
{
    (void)state;
    for (int locked = 0; locked < 2; locked++) {
        json_t *slot;

        program.locked = locked;
        slot = get_slots();
        assert_string_equal(json_string_value(json_object_get(slot, "export")), "usb");
        assert_string_equal(json_string_value(json_object_get(slot, "drive")), "cd");
        assert_int_equal(json_boolean_value(json_object_get(slot, "locked")), locked);
        assert_true(json_is_null(json_object_get(slot, "waiting")));
        json_decref(slot);
    }
}

/* The status of a POST with these arguments, each in memory of exactly its size. */
static unsigned post(const char *path, size_t count, const char *const texts[])
{
    struct web_route route = http_api_route(&control);
    struct web_arguments arguments = {.count = count};
    const char *sentence = NULL;
    unsigned status;

    program.ends = 0;
    program.forced = false;
    for (size_t i = 0; i < count; i++) {
        arguments.length[i] = strlen(texts[i]);
        arguments.text[i] = memcpy(malloc(arguments.length[i] + !arguments.length[i]), texts[i],
                                   arguments.length[i]);
    }
    status = route.post(route.owner, path, &arguments, &sentence);
    if (status != 204) {
        assert_non_null(sentence);
        assert_int_equal(sentence[strlen(sentence) - 1], '.');
    }
    for (size_t i = 0; i < count; i++)
        free((char *)arguments.text[i]);
    return status;
}

#define END "/api/slots/0/end"

static void test_end(void **state)
{
    (void)state;
    program.answer = CONTROL_ENDS;
    assert_int_equal(post(END, 0, NULL), 204);
    assert_int_equal(program.ends, 1);
    assert_false(program.forced);
    assert_int_equal(post(END, 1, (const char *const[]){"force=1"}), 204);
    assert_true(program.forced);
    program.answer = CONTROL_EMPTY;
    assert_int_equal(post(END, 0, NULL), 409);
    program.answer = CONTROL_LOCKED;
    assert_int_equal(post(END, 0, NULL), 409);
    assert_int_equal(post("/api/slots/1/end", 0, NULL), 404);
    assert_int_equal(post("/api/slots", 0, NULL), 405);
    assert_int_equal(program.ends, 0);
}

/* Whoever says something that is nearly "force" is not obeyed in half of it. */
static void test_nearly_force(void **state)
{
    static const char *const bad[] = {"force",     "force=",  "force=0",  "force=11",
                                      "force=yes", "Force=1", "force =1", "force=1 ",
                                      "forc",      "",        "other=1"};

    (void)state;
    program.answer = CONTROL_ENDS;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(post(END, 1, &bad[i]), 400);
        assert_int_equal(program.ends, 0);
    }
    assert_int_equal(post(END, 2, (const char *const[]){"force=1", "force=1"}), 400);
    assert_int_equal(post(END, 2, (const char *const[]){"force=1", "other=1"}), 400);
    assert_int_equal(program.ends, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_end),
        cmocka_unit_test(test_nearly_force),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
