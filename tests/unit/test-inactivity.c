/* SPDX-License-Identifier: Apache-2.0 */
/* When a machine last used its drive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/inactivity.h"

#define SECOND UINT64_C(1000000)

static void test_counts_down(void **state)
{
    struct engine_counters counters = {.requests = 7};
    struct inactivity i;

    (void)state;
    inactivity_begin(&i, &counters, 100 * SECOND);
    assert_int_equal(inactivity_left(&i, 30, 100 * SECOND), 30);
    assert_int_equal(inactivity_left(&i, 30, 100 * SECOND + 1), 30);
    assert_int_equal(inactivity_left(&i, 30, 101 * SECOND), 29);
    assert_int_equal(inactivity_left(&i, 30, 130 * SECOND - 1), 1);
    assert_int_equal(inactivity_left(&i, 30, 130 * SECOND), 0);
    assert_int_equal(inactivity_left(&i, 30, 1000 * SECOND), 0);
    assert_int_equal(inactivity_left(&i, 604800, 130 * SECOND), 604770);
}

static void test_a_request_begins_anew(void **state)
{
    struct engine_counters counters = {.requests = 7};
    struct inactivity i;

    (void)state;
    inactivity_begin(&i, &counters, 0);
    inactivity_look(&i, &counters, 10 * SECOND);
    assert_int_equal(inactivity_left(&i, 30, 10 * SECOND), 20);
    counters.requests++;
    inactivity_look(&i, &counters, 20 * SECOND);
    assert_int_equal(inactivity_left(&i, 30, 25 * SECOND), 25);
    inactivity_look(&i, &counters, 25 * SECOND);
    assert_int_equal(inactivity_left(&i, 30, 25 * SECOND), 25);
}

static void test_a_machine_that_waits_uses_its_drive(void **state)
{
    struct engine_counters counters = {.requests = 7, .requests_open = 1};
    struct inactivity i;

    (void)state;
    inactivity_begin(&i, &counters, 0);
    inactivity_look(&i, &counters, 29 * SECOND);
    inactivity_look(&i, &counters, 58 * SECOND);
    assert_int_equal(inactivity_left(&i, 30, 58 * SECOND), 30);
    counters.requests_open = 0;
    inactivity_look(&i, &counters, 60 * SECOND);
    assert_int_equal(inactivity_left(&i, 30, 60 * SECOND), 28);
}

static void test_what_is_fetched_ahead_is_no_use(void **state)
{
    struct engine_counters counters = {.requests = 7};
    struct inactivity i;

    (void)state;
    inactivity_begin(&i, &counters, 0);
    counters = (struct engine_counters){.requests = 7,
                                        .asks = 99,
                                        .asks_in_flight = 3,
                                        .bytes_fetched = 4096,
                                        .bytes_warmed = 4096};
    inactivity_look(&i, &counters, 30 * SECOND);
    assert_int_equal(inactivity_left(&i, 30, 30 * SECOND), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_down),
        cmocka_unit_test(test_a_request_begins_anew),
        cmocka_unit_test(test_a_machine_that_waits_uses_its_drive),
        cmocka_unit_test(test_what_is_fetched_ahead_is_no_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
