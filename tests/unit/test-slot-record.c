/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a slot leaves for the process after it: a session is taken over from its record, and a
 * record that is damaged, made up or somebody else's is removed and does no harm.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "slot-bench.h"
#include "slot/record.h"

/* The record as the session has left it, for the next process to find. */
static char kept[16384];

static void keep_record(void)
{
    FILE *file = fopen(record_path, "re");
    size_t length;

    assert_non_null(file);
    length = fread(kept, 1, sizeof kept - 1, file);
    kept[length] = '\0';
    fclose(file);
}

/* A process dies: here, its session is ended and what it left behind is put back. */
static void write_record(const char *text, uint64_t touched)
{
    int fd = open(record_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    slot_record_touch(fd, touched);
    close(fd);
}

static void restart(const char *text, unsigned grace, uint64_t touched)
{
    end_session();
    assert_int_not_equal(access(record_path, F_OK), 0);
    slot_free(slot);
    write_record(text, touched);
    drive.starts = 0;
    make_slot(grace, 60);
    slot_restore(slot);
}

/* What the record's time says. */
static uint64_t served_at(void)
{
    struct stat st;

    assert_int_equal(stat(record_path, &st), 0);
    return (uint64_t)st.st_mtim.tv_sec * 1000000 + (uint64_t)st.st_mtim.tv_nsec / 1000;
}

static void test_restored(void **state)
{
    struct slot_status status;
    struct stat st;
    uint64_t served;

    (void)state;
    serve();
    assert_int_equal(stat(record_path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    keep_record();
    served = loop_clock() - 4500000;
    restart(kept, 30, served);
    assert_string_equal(slot_state(), "suspended");
    assert_int_equal(drive.adopts, 1);
    assert_string_equal(drive.links, "w");
    assert_int_equal(drive.starts, 0);
    assert_int_equal(drive.medium.kind, MEDIUM_CD);
    assert_int_equal(drive.medium.size, IMAGE_SIZE);
    assert_true(drive.medium.read_only);
    assert_string_equal(drive.medium.name, "a.iso");
    /* The machine has been waiting since the process before was last known to live. */
    slot_get_status(slot, &status);
    assert_in_range(status.grace_left, 20, 26);
    drive_started();
    settle();
    assert_string_equal(slot_state(), "suspended");
    /* And will have been, should this process die too. */
    assert_int_equal(served_at(), served);
    come_back();
    far_ready();
    settle();
    assert_string_equal(slot_state(), "serving");
    assert_int_equal(access(record_path, F_OK), 0);
    end_session();
    assert_int_not_equal(access(record_path, F_OK), 0);
}

static void on_complete(struct request *request, int error)
{
    (void)error;
    engine_release(drive.engine, request);
}

/* A machine's patience begins when it asks, whichever process its request is with. */
static void test_waiting_outlives_a_process(void **state)
{
    struct request reading = {
        .op = REQUEST_READ, .offset = IMAGE_SIZE / 2, .length = 512, .complete = on_complete};
    uint64_t before, asked, served;

    (void)state;
    open_session(ATTACHING);
    far->hold = true;
    before = loop_clock();
    engine_submit(drive.engine, &reading);
    asked = loop_clock();
    while (loop_clock() < asked + 2000)
        ;
    drive_started();
    settle();
    assert_in_range(served_at(), before, asked);
    keep_record();
    far->hold = false;
    far_answer(far, 0);
    served = loop_clock() - 4500000;
    restart(kept, 30, served);
    engine_submit(drive.engine, &reading);
    assert_in_range(engine_oldest(drive.engine), served, served + 1000000);
    end_session();
}

/* The page may be back before the export is. */
static void test_back_before_adopted(void **state)
{
    (void)state;
    serve();
    keep_record();
    restart(kept, 30, loop_clock());
    come_back();
    far_ready();
    settle();
    assert_string_equal(slot_state(), "serving");
    drive_started();
    settle();
    assert_non_null(strstr(far->told[far->told_count - 1], "nbd+unix:"));
    end_session();
}

/* And it has to be the same image still. */
static void test_restored_is_examined(void **state)
{
    (void)state;
    serve();
    keep_record();
    restart(kept, 30, loop_clock());
    other_image[IMAGE_SIZE - 1] ^= 1;
    come_back();
    far->image = other_image;
    far_ready();
    settle();
    assert_string_equal(slot_state(), "suspended");
    assert_int_equal(far->closed_why, STREAM_CLOSE_OTHER);
    end_session();
}

static void test_nothing_to_adopt(void **state)
{
    (void)state;
    serve();
    keep_record();
    restart(kept, 30, loop_clock());
    drive_stopped(-ENODEV);
    settle();
    assert_true(slot_is_idle(slot));
    assert_int_not_equal(access(record_path, F_OK), 0);
    line.why = STREAM_CLOSE_NORMAL;
    come_back();
    assert_int_equal(line.why, STREAM_CLOSE_OVER);
}

/* The grace may be over before anybody is there to see it. */
static void test_restored_too_late(void **state)
{
    (void)state;
    serve();
    keep_record();
    restart(kept, 5, loop_clock() - 60000000);
    wait_for_state("absent");
    /* A time that is yet to come is of before the last boot. */
    restart(kept, 5, loop_clock() + 3600000000u);
    wait_for_state("absent");
    end_session();
}

/* ---- records that are none ---- */

static void expect_useless(const char *what)
{
    unsigned adopts = drive.adopts;

    slot_restore(slot);
    if (!slot_is_idle(slot) || drive.adopts != adopts || access(record_path, F_OK) == 0)
        fail_msg("believed: %s", what);
}

/* The record with one thing changed: `from` must be in it. */
static void expect_useless_with(const char *from, const char *to)
{
    char text[sizeof kept + 256];
    const char *at = strstr(kept, from);

    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - kept), kept, to, at + strlen(from));
    write_record(text, loop_clock());
    expect_useless(to);
}

/* Good, but one more than there can be. */
#define SAMPLE                                                                                     \
    "{\"at\":0,\"sha256\":"                                                                        \
    "\"0000000000000000000000000000000000000000000000000000000000000000\"},"

static void test_damaged_records(void **state)
{
    static const struct {
        const char *from, *to;
    } changes[] = {
        {"\"version\":1", "\"version\":2"},
        {"\"version\":1", "\"version\":\"1\""},
        {"\"export\":\"unix\"", "\"export\":\"kernel\""},
        {"\"export\":\"unix\"", "\"export\":\"a name that is too long\""},
        {"\"kind\":\"cd\"", "\"kind\":\"tape\""},
        {"\"name\":\"a.iso\"", "\"name\":\"a\\u0007\""},
        {"\"name\":\"a.iso\"", "\"name\":null"},
        {"\"size\":4194304", "\"size\":0"},
        {"\"size\":4194304", "\"size\":-1"},
        {"\"size\":4194304", "\"size\":4096"},
        {"\"size\":4194304", "\"size\":99999999999999999999"},
        {"\"modified\":1234", "\"modified\":-2"},
        {"\"read_only\":true", "\"read_only\":true,\"more\":1"},
        {"\"read_only\":true", "\"read_only\":true,\"read_only\":true"},
        {"\"token\":\"", "\"token\":\"0"},
        {"\"samples\":[{\"at\":", "\"samples\":[{\"at\":1,\"sha256\":\"\"},{\"at\":"},
        {"\"samples\":[{\"at\":", "\"samples\":[{\"at\":-4096,\"sha256\":\"\"},{\"at\":"},
        {"\"samples\":[{\"at\":", "\"samples\":[7,{\"at\":"},
        {"\"sha256\":\"", "\"sha256\":\"g"},
        {"\"samples\":[", "\"samples\":[" SAMPLE},
        {"{", ""},
    };
    (void)state;
    serve();
    keep_record();
    end_session();
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++)
        expect_useless_with(changes[i].from, changes[i].to);
    for (size_t length = 0; length < strlen(kept); length += 97) {
        char part[sizeof kept];

        snprintf(part, sizeof part, "%.*s", (int)length, kept);
        write_record(part, loop_clock());
        expect_useless("a part of it");
    }
    write_record(kept, loop_clock());
    slot_restore(slot);
    assert_string_equal(slot_state(), "suspended");
    end_session();
}

static void test_files_that_are_no_records(void **state)
{
    static char long_text[20000];

    (void)state;
    serve();
    keep_record();
    end_session();
    write_record(kept, loop_clock());
    assert_int_equal(chmod(record_path, 0640), 0);
    expect_useless("a file others may read");
    assert_int_equal(symlink("/dev/zero", record_path), 0);
    expect_useless("a link");
    assert_int_equal(mkfifo(record_path, 0600), 0);
    expect_useless("a pipe");
    memset(long_text, ' ', sizeof long_text - 1);
    memcpy(long_text, kept, strlen(kept));
    write_record(long_text, loop_clock());
    expect_useless("a long file");
    slot_restore(slot);
    assert_true(slot_is_idle(slot));
}

/* A second process in the same directory touches nothing of the first one's. */
static void test_another_process(void **state)
{
    struct slot *first = slot;
    struct export first_drive;
    struct stat before;
    struct stat after;

    (void)state;
    serve();
    assert_int_equal(stat(record_path, &before), 0);
    first_drive = drive.base;
    make_slot(30, 60);
    slot_restore(slot);
    assert_true(slot_is_idle(slot));
    slot_free(slot);
    slot = first;
    drive.base = first_drive;
    assert_int_equal(stat(record_path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    end_session();
}

/* A session whose record cannot be written is served all the same. */
static void test_nowhere_to_record(void **state)
{
    (void)state;
    assert_int_equal(mkdir(record_path, 0700), 0);
    serve();
    end_session();
    assert_int_equal(rmdir(record_path), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_restored),
        TEST(test_waiting_outlives_a_process),
        TEST(test_back_before_adopted),
        TEST(test_restored_is_examined),
        TEST(test_nothing_to_adopt),
        TEST(test_restored_too_late),
        TEST(test_damaged_records),
        TEST(test_files_that_are_no_records),
        TEST(test_another_process),
        TEST(test_nowhere_to_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
