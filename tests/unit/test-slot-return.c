/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slot with a far end that is lost: the machine's requests wait, or fail once the grace is
 * over; the same image is resumed, whoever brings it by the session's token, and no other is.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "slot-bench.h"

/* ---- a read of the machine ---- */

static struct {
    struct request request;
    unsigned answers;
    int error;
} reading;

static void on_complete(struct request *request, int error)
{
    (void)request;
    reading.answers++;
    reading.error = error;
    if (!error && request->op == REQUEST_READ)
        assert_memory_equal(request->segments[0].data, image + request->offset, 512);
    engine_release(drive.engine, request);
}

static void read_at(uint64_t offset)
{
    memset(&reading, 0, sizeof reading);
    reading.request = (struct request){
        .op = REQUEST_READ, .offset = offset, .length = 512, .complete = on_complete};
    engine_submit(drive.engine, &reading.request);
}

static void test_a_cut_is_not_seen(void **state)
{
    struct slot_status status;

    (void)state;
    serve();
    far->hold = true;
    read_at(IMAGE_SIZE / 2 + 700000);
    far_lose(STREAM_CLOSE_FAILED, false);
    settle();
    assert_string_equal(slot_state(), "suspended");
    assert_int_equal(fars_alive(), 0);
    slot_get_status(slot, &status);
    assert_string_equal(status.reason, "The page was lost: cable pulled.");
    assert_in_range(status.grace_left, 29, 30);
    assert_int_equal(status.keep_left, 0);
    assert_true(status.has_medium);
    come_back();
    assert_string_equal(slot_state(), "resuming");
    assert_non_null(strstr(far->told[0], "\"state\":\"resuming\""));
    assert_non_null(strstr(far->told[0], token));
    assert_int_equal(reading.answers, 0);
    far_ready();
    settle();
    assert_string_equal(slot_state(), "serving");
    assert_int_equal(reading.answers, 1);
    assert_int_equal(reading.error, 0);
    assert_int_equal(drive.reloads, 0);
    assert_int_equal(drive.starts, 1);
    assert_int_equal(drive.stops, 0);
    end_session();
}

/* While the drive is still being built, too: nobody need notice. */
static void test_a_cut_while_attaching(void **state)
{
    (void)state;
    open_session(ATTACHING);
    learn_token();
    far_lose(STREAM_CLOSE_FAILED, false);
    settle();
    assert_string_equal(slot_state(), "suspended");
    come_back();
    far_ready();
    settle();
    assert_string_equal(slot_state(), "serving");
    assert_int_not_equal(access(record_path, F_OK), 0);
    drive_started();
    settle();
    assert_int_equal(access(record_path, F_OK), 0);
    assert_non_null(strstr(far->told[far->told_count - 1], "nbd+unix:"));
    end_session();
}

/* The page noticed first: the line that seems alive is left for the new one. */
static void test_takeover(void **state)
{
    (void)state;
    serve();
    far->hold = true;
    read_at(IMAGE_SIZE / 2 + 4096);
    come_back();
    assert_string_equal(slot_state(), "resuming");
    assert_int_equal(far_count, 2);
    assert_false(fars[0].alive);
    assert_int_equal(fars[0].closes, 1);
    assert_int_equal(fars[0].closed_why, STREAM_CLOSE_NORMAL);
    assert_string_equal(fars[0].closed_reason, "The page has come back another way.");
    /* And once more, in the middle of being examined. */
    far->hold = true;
    far_ready();
    come_back();
    assert_int_equal(far_count, 3);
    assert_false(fars[1].alive);
    far_ready();
    settle();
    assert_string_equal(slot_state(), "serving");
    assert_int_equal(reading.answers, 1);
    assert_int_equal(reading.error, 0);
    end_session();
}

/* A loss that is known of, but not yet acted on, is not taken for the next one's. */
static void test_takeover_at_once(void **state)
{
    (void)state;
    serve();
    far_lose(STREAM_CLOSE_FAILED, false);
    come_back();
    far_ready();
    settle();
    assert_string_equal(slot_state(), "serving");
    end_session();
}

static void test_opening_again(void **state)
{
    (void)state;
    open_session(OPENING);
    learn_token();
    come_back();
    assert_string_equal(slot_state(), "opening");
    assert_int_equal(fars_alive(), 1);
    far_ready();
    settle();
    assert_string_equal(slot_state(), "attaching");
    end_session();
}

static void expect_turned_away(enum stream_close why, const char *reason)
{
    assert_int_equal(line.why, why);
    assert_string_equal(line.reason, reason);
    assert_non_null(strstr(line.told, "\"reason\":"));
}

static void test_tokens(void **state)
{
    (void)state;
    snprintf(token, sizeof token, "0123456789abcdef0123456789abcdef");
    come_back();
    expect_turned_away(STREAM_CLOSE_OVER, "That session is over: give the drive anew.");
    assert_string_equal(slot_state(), "idle");
    serve();
    token[31] = token[31] == '0' ? '1' : '0';
    come_back();
    expect_turned_away(STREAM_CLOSE_OVER, "That session is over: give the drive anew.");
    token[31] = '\0';
    come_back();
    expect_turned_away(STREAM_CLOSE_OVER, "That session is over: give the drive anew.");
    assert_string_equal(slot_state(), "serving");
    learn_token();
    far_lose(STREAM_CLOSE_FAILED, false);
    settle();
    come_with(offer);
    expect_turned_away(STREAM_CLOSE_BUSY, "The drive waits for the page that gave it: bring that "
                                          "back, or end its session first.");
    slot_end(slot, STREAM_CLOSE_NORMAL, "Ended.");
    settle();
    assert_string_equal(slot_state(), "closing");
    assert_false(drive.stopped_alive);
    come_back();
    expect_turned_away(STREAM_CLOSE_OVER, "That session is ending: give the drive anew.");
    drive_stopped(0);
    settle();
}

/* What the offer itself says disturbs nothing, not even a line that is well. */
static void test_offers_that_differ(void **state)
{
    struct slot_offer other = offer;

    (void)state;
    serve();
    other.resume = token;
    other.name = "b.iso";
    come_with(other);
    expect_turned_away(STREAM_CLOSE_OTHER,
                       "The drive's image is \"a.iso\", not \"b.iso\": choose that file again, or "
                       "end its session first.");
    other = offer;
    other.resume = token;
    other.kind = MEDIUM_DISK;
    come_with(other);
    expect_turned_away(STREAM_CLOSE_OTHER,
                       "The drive is a CD: bring it back as a CD, or end its session first.");
    other = offer;
    other.resume = token;
    other.modified++;
    come_with(other);
    expect_turned_away(STREAM_CLOSE_OTHER,
                       "The file was changed since the drive was given: end the "
                       "drive's session and give it anew.");
    assert_string_equal(slot_state(), "serving");
    assert_int_equal(far_count, 1);
    end_session();
}

/* Of the same name, size and time of change, and one page of it is another. */
static void test_one_page_differs(void **state)
{
    (void)state;
    serve();
    far_lose(STREAM_CLOSE_FAILED, false);
    settle();
    for (uint32_t at = 0; at < IMAGE_SIZE; at += 32768 + 100) {
        /* A session knows the first page, that at 32 KiB and the last of any image. */
        uint32_t page = at == 0 ? 0 : at < 40000 ? 32768 : IMAGE_SIZE - 4096;

        memcpy(other_image, image, sizeof image);
        other_image[page + 4095] ^= 1;
        far_count = 1;
        come_back();
        far->image = other_image;
        far_ready();
        settle();
        assert_string_equal(slot_state(), "suspended");
        assert_int_equal(far->closed_why, STREAM_CLOSE_OTHER);
        assert_non_null(strstr(far->closed_reason, "The file's content is not the drive's"));
        assert_non_null(strstr(far->told[far->told_count - 1], far->closed_reason));
        assert_false(far->alive);
    }
    come_back();
    far_ready_with(IMAGE_SIZE - 512, true);
    settle();
    assert_string_equal(slot_state(), "suspended");
    expect_goodbye(
        far, STREAM_CLOSE_OTHER,
        "The file has 4193792 bytes and the drive's image 4194304: choose the same file, "
        "or end the drive's session first.");
    come_back();
    far_ready();
    settle();
    assert_string_equal(slot_state(), "serving");
    end_session();
}

/* Makes the other image one that differs in every page but those that a digest was taken of. */
static void differ_beside_samples(void)
{
    json_t *record = json_load_file(record_path, 0, NULL);
    const json_t *samples = json_object_get(record, "samples");

    for (uint32_t i = 0; i < IMAGE_SIZE; i++)
        other_image[i] = image[i] ^ 1;
    for (size_t i = 0; i < json_array_size(samples); i++) {
        json_int_t at = json_integer_value(json_object_get(json_array_get(samples, i), "at"));

        memcpy(other_image + at, image + at, 4096);
    }
    json_decref(record);
}

/* What the machine has read already must be what it would read again. */
static void test_the_cache_is_compared(void **state)
{
    (void)state;
    serve();
    for (uint64_t at = 0; at < IMAGE_SIZE; at += 4096) {
        read_at(at);
        assert_int_equal(reading.answers, 1);
    }
    differ_beside_samples();
    far_lose(STREAM_CLOSE_FAILED, false);
    settle();
    come_back();
    far->image = other_image;
    far_ready();
    settle();
    assert_string_equal(slot_state(), "suspended");
    assert_int_equal(far->closed_why, STREAM_CLOSE_OTHER);
    come_back();
    far_ready();
    settle();
    assert_string_equal(slot_state(), "serving");
    end_session();
}

/* A far end that cannot show its image is not the same, and not another: it may try again. */
static void test_unreadable_on_return(void **state)
{
    (void)state;
    serve();
    far_lose(STREAM_CLOSE_FAILED, false);
    settle();
    come_back();
    far->error = -EIO;
    far_ready();
    settle();
    assert_string_equal(slot_state(), "suspended");
    assert_int_equal(far->closed_why, STREAM_CLOSE_FAILED);
    come_back();
    far->hold = true;
    far_ready();
    far_lose(STREAM_CLOSE_FAILED, false);
    settle();
    assert_string_equal(slot_state(), "suspended");
    come_back();
    far_ready();
    settle();
    assert_string_equal(slot_state(), "serving");
    end_session();
}

/* An image that cannot be read where nobody reads it is served for the rest. */
static void test_unreadable_at_first(void **state)
{
    (void)state;
    open_session(OPENING);
    learn_token();
    far->error = -EIO;
    far_ready();
    settle();
    assert_string_equal(slot_state(), "attaching");
    drive_started();
    far_lose(STREAM_CLOSE_FAILED, false);
    settle();
    come_back();
    far_ready();
    settle();
    assert_string_equal(slot_state(), "serving");
    end_session();
}

static void test_broken_three_times(void **state)
{
    (void)state;
    serve();
    for (int i = 0; i < 2; i++) {
        far_lose(STREAM_CLOSE_PROTOCOL, false);
        settle();
        assert_string_equal(slot_state(), "suspended");
        come_back();
        far_ready();
        settle();
        assert_string_equal(slot_state(), "serving");
    }
    far_lose(STREAM_CLOSE_PROTOCOL, false);
    settle();
    assert_string_equal(slot_state(), "closing");
    drive_stopped(0);
    settle();
}

/* ---- clocks ---- */

static void wait_with(unsigned grace, unsigned keep)
{
    slot_free(slot);
    make_slot(grace, keep);
    serve();
    far->hold = true;
    read_at(IMAGE_SIZE / 2 + 8192);
    far_lose(STREAM_CLOSE_FAILED, false);
    settle();
    assert_int_equal(reading.answers, 0);
}

static void test_grace_over(void **state)
{
    struct slot_status status;

    (void)state;
    wait_with(1, 60);
    wait_for_state("absent");
    assert_int_equal(reading.answers, 1);
    assert_int_equal(reading.error, -EIO);
    read_at(IMAGE_SIZE / 2 + 8192);
    assert_int_equal(reading.answers, 1);
    assert_int_equal(reading.error, -EIO);
    slot_get_status(slot, &status);
    assert_int_equal(status.grace_left, 0);
    assert_in_range(status.keep_left, 55, 60);
    assert_int_equal(drive.stops, 0);
    come_back();
    assert_string_equal(slot_state(), "returning");
    assert_int_equal(drive.reloads, 0);
    far_ready();
    settle();
    assert_string_equal(slot_state(), "serving");
    assert_int_equal(drive.reloads, 1);
    read_at(IMAGE_SIZE / 2 + 8192);
    assert_int_equal(reading.answers, 1);
    assert_int_equal(reading.error, 0);
    end_session();
}

/* The far end's examination takes longer than the grace. */
static void test_grace_over_while_resuming(void **state)
{
    (void)state;
    wait_with(1, 60);
    come_back();
    far->hold = true;
    far_ready();
    wait_for_state("returning");
    assert_int_equal(reading.answers, 1);
    assert_int_equal(reading.error, -EIO);
    far->hold = false;
    far_answer(far, 0);
    settle();
    assert_string_equal(slot_state(), "serving");
    assert_int_equal(drive.reloads, 1);
    end_session();
}

static void test_keep_over(void **state)
{
    struct slot_status status;

    (void)state;
    wait_with(1, 0);
    wait_for_state("closing");
    assert_int_equal(drive.stops, 1);
    assert_false(drive.stopped_alive);
    drive_stopped(0);
    settle();
    slot_get_status(slot, &status);
    assert_string_equal(status.reason,
                        "The page was lost and did not come back in time: cable pulled.");
    come_back();
    expect_turned_away(STREAM_CLOSE_OVER, "That session is over: give the drive anew.");
}

/* In each state that waits, whatever ends a session does. */
static void test_ends_while_waiting(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        for (int examined = 0; examined < 2; examined++) {
            far_count = 0;
            drive.starts = 0;
            serve();
            far_lose(STREAM_CLOSE_FAILED, false);
            settle();
            if (examined) {
                come_back();
                far->hold = true;
                far_ready();
            }
            if (way == 0)
                slot_end(slot, STREAM_CLOSE_NORMAL, "Ended.");
            else if (way == 1)
                drive_ejected();
            else
                drive_stopped(-EBUSY);
            settle();
            if (way != 2) {
                assert_string_equal(slot_state(), "closing");
                drive_stopped(0);
                settle();
            }
            assert_string_equal(slot_state(), "idle");
            assert_int_equal(far->closes, examined);
            assert_int_equal(fars_alive(), 0);
        }
    }
}

/* ---- what is written may differ ---- */

/* Whether the page at `offset` has a digest in the record. */
static bool is_recorded(json_int_t offset)
{
    json_t *record = json_load_file(record_path, 0, NULL);
    const json_t *samples = json_object_get(record, "samples");
    bool found = false;

    for (size_t i = 0; i < json_array_size(samples); i++)
        found |= json_integer_value(json_object_get(json_array_get(samples, i), "at")) == offset;
    json_decref(record);
    return found;
}

static void test_writes_void_what_they_touch(void **state)
{
    struct slot_offer later = offer;
    static const uint8_t bytes[512] = {1};
    struct request write = {.op = REQUEST_WRITE,
                            .offset = 32768,
                            .length = sizeof bytes,
                            .data = bytes,
                            .complete = NULL};

    (void)state;
    slot_open(slot, &line.base,
              &(struct slot_offer){.kind = MEDIUM_DISK, .name = "a.img", .modified = 1234});
    learn_token();
    far_ready_with(IMAGE_SIZE, false);
    settle();
    assert_false(drive.medium.read_only);
    drive_started();
    settle();
    write.complete = on_complete;
    memset(&reading, 0, sizeof reading);
    memcpy(image + 32768, bytes, sizeof bytes);
    assert_true(is_recorded(32768));
    engine_submit(drive.engine, &write);
    assert_int_equal(reading.answers, 1);
    assert_false(is_recorded(32768));
    assert_true(is_recorded(0));
    far_lose(STREAM_CLOSE_FAILED, false);
    settle();
    later = (struct slot_offer){
        .kind = MEDIUM_DISK, .name = "a.img", .modified = 5678, .resume = token};
    come_with(later);
    far_ready_with(IMAGE_SIZE, false);
    settle();
    assert_string_equal(slot_state(), "serving");
    end_session();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_cut_is_not_seen),
        TEST(test_a_cut_while_attaching),
        TEST(test_takeover),
        TEST(test_takeover_at_once),
        TEST(test_opening_again),
        TEST(test_tokens),
        TEST(test_offers_that_differ),
        TEST(test_one_page_differs),
        TEST(test_the_cache_is_compared),
        TEST(test_unreadable_on_return),
        TEST(test_unreadable_at_first),
        TEST(test_broken_three_times),
        TEST(test_grace_over),
        TEST(test_grace_over_while_resuming),
        TEST(test_keep_over),
        TEST(test_ends_while_waiting),
        TEST(test_writes_void_what_they_touch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
