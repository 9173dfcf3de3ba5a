/* SPDX-License-Identifier: Apache-2.0 */
/* The table of metrics: that it leaves no counter out, and what its two forms look like. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "api/control.h"
#include "api/metrics.h"

/* A program with two slots: an idle one, and one whose every counter has its own value. */
static unsigned slot_count(void *owner)
{
    (void)owner;
    return 2;
}

static void get_slot(void *owner, unsigned slot, struct control_slot *out)
{
    (void)owner;
    *out = (struct control_slot){
        .name = slot ? "back\\slash \"q\"\nline" : "A", .export_name = "unix", .state = "idle"};
    if (slot == 0)
        return;
    out->state = "absent";
    out->locked = true;
    out->waiting = true;
    out->keep_left = 1234;
    out->counters = (struct engine_counters){.requests = UINT64_C(1) << 40,
                                             .round_trip = 1020304,
                                             .line_rate = 12500000,
                                             .asks_in_flight = 7,
                                             .memory = 33554432,
                                             .suspensions = 2};
}

static const char *state_name(void *owner, unsigned n)
{
    static const char *const names[] = {"idle", "absent", NULL};

    (void)owner;
    return names[n];
}

static const struct control_ops ops = {
    .slot_count = slot_count, .get_slot = get_slot, .state_name = state_name};
static const struct control control = {.ops = &ops, .version = "1.2"};

/* Every byte of the struct belongs to one row, but for what alignment needs at its end. */
static void test_every_counter_has_its_row(void **state)
{
    unsigned char owned[sizeof(struct engine_counters)] = {0};
    size_t offset, size, free_bytes = 0, rows = 0;

    (void)state;
    for (; metrics_place(rows, &offset, &size); rows++) {
        assert_true(size == 4 || size == 8);
        assert_true(offset + size <= sizeof owned);
        for (size_t i = offset; i < offset + size; i++)
            assert_int_equal(owned[i]++, 0);
    }
    for (size_t i = 0; i < sizeof owned; i++)
        free_bytes += !owned[i];
    assert_true(free_bytes < _Alignof(struct engine_counters));
    assert_true(rows > 0);
}

static void test_json(void **state)
{
    struct control_slot s;
    json_t *json;
    size_t offset, size, rows = 0;

    (void)state;
    while (metrics_place(rows, &offset, &size))
        rows++;
    control_get_slot(&control, 1, &s);
    json = metrics_json(&s.counters);
    assert_non_null(json);
    assert_int_equal(json_object_size(json), rows);
    assert_int_equal(json_integer_value(json_object_get(json, "requests")), INT64_C(1) << 40);
    assert_int_equal(json_integer_value(json_object_get(json, "round_trip")), 1020304);
    assert_int_equal(json_integer_value(json_object_get(json, "asks_in_flight")), 7);
    assert_int_equal(json_integer_value(json_object_get(json, "memory")), 33554432);
    assert_int_equal(json_integer_value(json_object_get(json, "errors")), 0);
    json_decref(json);
}

static void test_text(void **state)
{
    static const char *const lines[] = {
        "platter_build_info{version=\"1.2\"} 1\n",
        "platter_slot_info{slot=\"0\",name=\"A\",export=\"unix\"} 1\n",
        "platter_slot_info{slot=\"1\",name=\"back\\\\slash \\\"q\\\"\\nline\",export=\"unix\"} 1\n",
        "platter_slot_state{slot=\"0\",state=\"idle\"} 1\n",
        "platter_slot_state{slot=\"0\",state=\"absent\"} 0\n",
        "platter_slot_state{slot=\"1\",state=\"idle\"} 0\n",
        "platter_slot_state{slot=\"1\",state=\"absent\"} 1\n",
        "platter_slot_locked{slot=\"0\"} 0\n",
        "platter_slot_locked{slot=\"1\"} 1\n",
        "platter_slot_grace_left_seconds{slot=\"1\"} 0\n",
        "platter_slot_keep_left_seconds{slot=\"1\"} 1234\n",
        "\n# TYPE platter_slot_requests_total counter\nplatter_slot_requests_total{slot=\"0\"} 0\n",
        "platter_slot_requests_total{slot=\"1\"} 1099511627776\n",
        "platter_slot_round_trip_seconds{slot=\"0\"} NaN\n",
        "platter_slot_round_trip_seconds{slot=\"1\"} 1.020304\n",
        "platter_slot_line_rate_bytes{slot=\"1\"} 12500000\n",
        "# TYPE platter_slot_asks_in_flight gauge\n",
        "platter_slot_asks_in_flight{slot=\"1\"} 7\n",
        "platter_slot_cache_bytes{slot=\"1\"} 33554432\n",
        "platter_slot_suspensions_total{slot=\"1\"} 2\n",
    };
    size_t length = 0;
    char *text = metrics_text(&control, &length);

    (void)state;
    assert_non_null(text);
    assert_int_equal(strlen(text), length);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (!strstr(text, lines[i]))
            fail_msg("no %s in\n%s", lines[i], text);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_counter_has_its_row),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
