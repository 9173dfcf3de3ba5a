// SPDX-License-Identifier: Apache-2.0
/* The journal of a USB device: what is written is read, and nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "export/usb-journal.h"

static struct usb_journal *new_journal(unsigned drives)
{
    struct usb_journal *j = NULL;

    assert_int_equal(usb_journal_new(drives, &j), 0);
    return j;
}

static struct usb_journal *reopen(struct usb_journal *j, unsigned drives, int expected)
{
    struct usb_journal *next = NULL;
    int fd = dup(usb_journal_fd(j));

    usb_journal_free(j);
    assert_int_equal(usb_journal_open(fd, drives, &next), expected);
    return next;
}

static void test_round_trip(void **state)
{
    struct usb_journal *j = new_journal(16);
    struct usb_journal_drive drive = {
        .kind = MEDIUM_CD, .note = "drive", .length = 5, .owes = true};
    struct usb_note note = {
        .packet = 512, .stage = USB_STAGE_WORK, .place = 1, .out = true, .note_length = 4};
    struct usb_journal_drive drive_read;
    struct usb_note note_read;

    (void)state;
    memcpy(note.note, "note", 4);
    memcpy(note.status, "USBS.........", sizeof note.status);
    for (unsigned i = 0; i < 16; i++) {
        assert_false(usb_journal_get_drive(j, i, &drive_read));
        assert_true(usb_journal_get_note(j, i, &note_read));
        assert_int_equal(note_read.packet, 0);
        drive.note[0] = (uint8_t)i;
        note.note[0] = (uint8_t)i;
        /* Twice: there are two copies. */
        for (unsigned k = 0; k < 2; k++) {
            usb_journal_put_drive(j, i, &drive);
            usb_journal_put_note(j, i, &note);
        }
        for (unsigned k = 0; k < 2; k++) {
            assert_int_equal(usb_journal_command(j, i, k)[0], 0);
            usb_journal_command(j, i, k)[USB_JOURNAL_COMMAND - 1] = (uint8_t)(2 * i + k);
        }
    }
    j = reopen(j, 16, 0);
    for (unsigned i = 0; i < 16; i++) {
        assert_true(usb_journal_get_drive(j, i, &drive_read));
        assert_int_equal(drive_read.kind, MEDIUM_CD);
        assert_int_equal(drive_read.length, 5);
        assert_true(drive_read.owes);
        drive.note[0] = (uint8_t)i;
        assert_memory_equal(drive_read.note, drive.note, 5);
        assert_true(usb_journal_get_note(j, i, &note_read));
        note.note[0] = (uint8_t)i;
        assert_int_equal(note_read.packet, 512);
        assert_int_equal(note_read.stage, USB_STAGE_WORK);
        assert_true(note_read.place == 1 && note_read.out);
        assert_int_equal(note_read.note_length, 4);
        assert_memory_equal(note_read.note, note.note, 4);
        assert_memory_equal(note_read.status, note.status, sizeof note.status);
        for (unsigned k = 0; k < 2; k++)
            assert_int_equal(usb_journal_command(j, i, k)[USB_JOURNAL_COMMAND - 1], 2 * i + k);
    }
    usb_journal_free(j);
}

static void test_others_are_refused(void **state)
{
    struct usb_journal *j;
    struct stat st;
    int fd;

    (void)state;
    reopen(new_journal(2), 3, -EBADMSG);
    assert_int_equal(usb_journal_open(open("/dev/null", O_RDWR | O_CLOEXEC), 2, &j), -EBADMSG);

    /* As long, and all zeroes; first one that can be shrunk. */
    j = new_journal(2);
    assert_int_equal(fstat(usb_journal_fd(j), &st), 0);
    usb_journal_free(j);
    for (int sealed = 0; sealed <= 1; sealed++) {
        fd = memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        assert_int_equal(ftruncate(fd, st.st_size), 0);
        if (sealed)
            fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
        assert_int_equal(usb_journal_open(fd, 2, &j), -EBADMSG);
    }
    fd = memfd_create("short", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, 100), 0);
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    assert_int_equal(usb_journal_open(fd, 2, &j), -EPROTO);
}

/* Another version is told from nonsense. */
static void test_other_version(void **state)
{
    struct usb_journal *j = new_journal(2);
    uint32_t version = 3;

    (void)state;
    assert_int_equal(pwrite(usb_journal_fd(j), &version, 4, 8), 4);
    reopen(j, 2, -EPROTO);
}

/* Whatever single byte is wrong: what is read makes sense, or is refused. */
static void test_any_byte(void **state)
{
    struct usb_journal *j = new_journal(2);
    struct usb_journal_drive drive = {.kind = MEDIUM_DISK, .length = 9};
    struct usb_note note = {.packet = 1024, .stage = USB_STAGE_STATUS};
    int fd = usb_journal_fd(j);
    struct stat st;

    (void)state;
    usb_journal_put_drive(j, 1, &drive);
    usb_journal_put_note(j, 1, &note);
    assert_int_equal(fstat(fd, &st), 0);
    for (off_t at = 16; at < st.st_size; at++) {
        uint8_t was;
        uint8_t wrong;

        assert_int_equal(pread(fd, &was, 1, at), 1);
        for (wrong = 1; wrong != 0; wrong = (uint8_t)(wrong << 1)) {
            uint8_t byte = was ^ wrong;

            assert_int_equal(pwrite(fd, &byte, 1, at), 1);
            if (usb_journal_get_drive(j, 1, &drive))
                assert_true(drive.kind <= MEDIUM_CD && drive.length <= sizeof drive.note);
            if (usb_journal_get_note(j, 1, &note)) {
                assert_true(note.packet == 0 || note.packet == 64 || note.packet == 512 ||
                            note.packet == 1024);
                assert_true(note.stage <= USB_STAGE_STATUS);
                assert_true(note.note_length <= sizeof note.note);
            }
        }
        assert_int_equal(pwrite(fd, &was, 1, at), 1);
    }
    usb_journal_free(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_others_are_refused),
        cmocka_unit_test(test_other_version),
        cmocka_unit_test(test_any_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
