// SPDX-License-Identifier: Apache-2.0
/*
 * A slot whose far end cannot come back: its session ends with its line, however that is lost, and
 * nothing is kept of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "slot-bench.h"
#include "source/profile.h"

static const struct slot_offer once = {
    .kind = MEDIUM_DISK,
    .name = "b.img",
    .modified = -1,
    .profile = "openbmc",
    .ends_with_line = true,
};

static void begin(enum upto upto)
{
    come_with(once);
    assert_string_equal(slot_state(), "opening");
    assert_ptr_equal(far->profile, peer_profile_find("openbmc"));
    if (upto == OPENING)
        return;
    far->hold = true;
    far_ready();
    settle();
    assert_string_equal(slot_state(), "attaching");
    if (upto == ATTACHING)
        return;
    drive_started();
    settle();
    assert_string_equal(slot_state(), "serving");
}

static void test_a_lost_line_ends_it(void **state)
{
    static const enum stream_close whys[] = {STREAM_CLOSE_FAILED, STREAM_CLOSE_PROTOCOL,
                                             STREAM_CLOSE_NORMAL};
    struct slot_status status;

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        for (int upto = OPENING; upto <= SERVING; upto++) {
            far_count = 0;
            drive.starts = 0;
            drive.stops = 0;
            begin((enum upto)upto);
            far_lose(whys[i], whys[i] == STREAM_CLOSE_NORMAL);
            settle();
            if (upto != OPENING) {
                assert_string_equal(slot_state(), "closing");
                assert_int_equal(drive.stops, 1);
                assert_false(drive.stopped_alive);
                drive_stopped(0);
                settle();
            }
            assert_string_equal(slot_state(), "idle");
            slot_get_status(slot, &status);
            assert_non_null(strstr(status.reason, whys[i] == STREAM_CLOSE_NORMAL
                                                      ? "The page ended the session"
                                                      : "The page was lost"));
        }
    }
}

/* Neither is the image read to be known again, nor the session recorded, nor has it a token that
 * somebody could bring. */
static void test_nothing_is_kept(void **state)
{
    struct slot_offer back = once;
    char none[33] = "00000000000000000000000000000000";

    (void)state;
    begin(OPENING);
    far->hold = true;
    far_ready();
    assert_int_equal(far->asked, 0);
    settle();
    drive_started();
    settle();
    assert_string_equal(slot_state(), "serving");
    assert_int_equal(access(record_path, F_OK), -1);
    back.resume = none;
    come_with(back);
    assert_int_equal(line.why, STREAM_CLOSE_OVER);
    assert_string_equal(slot_state(), "serving");
    end_session();
}

/* One that can come back, after it, is waited for as ever. */
static void test_the_next_is_as_it_says(void **state)
{
    (void)state;
    begin(SERVING);
    come_with(once);
    assert_int_equal(line.why, STREAM_CLOSE_BUSY);
    assert_string_equal(line.reason, "Slot is in use");
    end_session();
    drive.starts = 0;
    open_session(SERVING);
    assert_ptr_equal(far->profile, peer_profile_find("platter"));
    assert_int_equal(access(record_path, F_OK), 0);
    far_lose(STREAM_CLOSE_FAILED, false);
    settle();
    assert_string_equal(slot_state(), "suspended");
    end_session();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_lost_line_ends_it),
        TEST(test_nothing_is_kept),
        TEST(test_the_next_is_as_it_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
