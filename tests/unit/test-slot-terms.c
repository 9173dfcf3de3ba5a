/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a slot does not put up with from a far end: that it comes back on other terms, and that it
 * is there and does not show its image.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "slot-bench.h"

/* Of what the engine has begun under the terms of one server, another may not be able to take the
 * rest. */
static void test_other_terms(void **state)
{
    struct source_info info = {
        .size = IMAGE_SIZE, .block_min = 512, .length_max = 1 << 20, .in_flight_max = 4};

    (void)state;
    slot_open(slot, &line.base,
              &(struct slot_offer){.kind = MEDIUM_DISK, .name = "a.iso", .modified = 1234});
    learn_token();
    far_ready_as(&info);
    settle();
    drive_started();
    settle();
    far_lose(STREAM_CLOSE_FAILED, false);
    settle();
    slot_open(slot, &line.base,
              &(struct slot_offer){
                  .kind = MEDIUM_DISK, .name = "a.iso", .modified = 1234, .resume = token});
    info.block_min = 1;
    far_ready_as(&info);
    settle();
    assert_string_equal(slot_state(), "suspended");
    expect_goodbye(far, STREAM_CLOSE_OTHER,
                   "The image is served on other terms than before (block sizes, or what may be "
                   "written): serve it as it was, or end the drive's session first.");
    end_session();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_other_terms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
