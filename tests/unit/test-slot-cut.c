// SPDX-License-Identifier: Apache-2.0
/*
 * A slot in a program of one session: it can be cut, whoever waits for the program's end learns
 * from when on nothing can be read any more, and it takes an export that was made outside.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "slot-bench.h"

static const struct slot_offer once = {
    .kind = MEDIUM_DISK,
    .name = "b.img",
    .modified = -1,
    .ends_with_line = true,
};

static unsigned cuts;

static void note_cut(void *arg)
{
    assert_ptr_equal(arg, &cuts);
    cuts++;
}

static void begin(enum upto upto)
{
    slot_watch_cut(slot, note_cut, &cuts);
    cuts = far_count = drive.starts = drive.stops = 0;
    come_with(once);
    if (upto == OPENING)
        return;
    far_ready();
    settle();
    if (upto == ATTACHING)
        return;
    drive_started();
    settle();
    assert_string_equal(slot_state(), "serving");
}

static void test_a_cut_ends_it_wherever_it_is(void **state)
{
    struct slot_status status;

    (void)state;
    slot_cut(slot, "Nobody is there.");
    assert_string_equal(slot_state(), "idle");
    for (int upto = OPENING; upto <= SERVING; upto++) {
        begin((enum upto)upto);
        slot_cut(slot, "It was told to stop.");
        slot_cut(slot, "And again.");
        settle();
        if (upto != OPENING) {
            assert_string_equal(slot_state(), "closing");
            assert_true(drive.stops == 1 && !drive.stopped_alive);
            /* Nothing of the machine's waits any more. */
            assert_string_equal(drive.links, "f");
            assert_true(cuts > 0);
            drive_stopped(0);
            settle();
        }
        assert_string_equal(slot_state(), "idle");
        slot_get_status(slot, &status);
        assert_string_equal(status.reason, "It was told to stop.");
        assert_int_equal(status.why, STREAM_CLOSE_SHUTDOWN);
        /* There was nobody to say goodbye to. */
        assert_int_equal(fars[0].closes, 0);
    }
}

static void test_an_eject_has_its_time_until_the_far_end_goes(void **state)
{
    (void)state;
    begin(SERVING);
    drive_ejected();
    settle();
    assert_string_equal(slot_state(), "closing");
    assert_true(drive.stopped_alive);
    assert_int_equal(cuts, 0);
    far_lose(STREAM_CLOSE_NORMAL, true);
    settle();
    assert_string_equal(slot_state(), "closing");
    assert_int_equal(cuts, 1);
    drive_stopped(0);
    settle();
    assert_string_equal(slot_state(), "idle");
}

static void test_an_export_from_outside_and_no_writes(void **state)
{
    struct export *outside = NULL;

    (void)state;
    assert_int_equal(
        export_find("unix")->new (&(struct export_config){.loop = loop, .slot = 3}, &outside), 0);
    slot_free(slot);
    assert_int_equal(slot_new(
                         &(struct slot_config){
                             .loop = loop,
                             .number = 3,
                             .export_name = "none that there is",
                             .take_export = outside,
                             .read_only = true,
                             .cache_max = 4 << 20,
                             .grace = UINT32_MAX,
                         },
                         &slot),
                     0);
    begin(OPENING);
    far_ready_with(IMAGE_SIZE, false);
    settle();
    assert_int_equal(drive.starts, 1);
    assert_true(drive.medium.read_only);
    slot_cut(slot, "Enough.");
    settle();
    drive_stopped(0);
    settle();
    assert_string_equal(slot_state(), "idle");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_cut_ends_it_wherever_it_is),
        TEST(test_an_eject_has_its_time_until_the_far_end_goes),
        TEST(test_an_export_from_outside_and_no_writes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
