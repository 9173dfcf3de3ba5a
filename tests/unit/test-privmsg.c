/* SPDX-License-Identifier: Apache-2.0 */
/* The helper's messages: exact bytes, every length, every field out of range. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/privmsg.h"

static const struct privmsg samples[] = {
    {.type = PRIVMSG_ATTACH,
     .slot = 3,
     .id = 0x01020304,
     .kind = MEDIUM_CD,
     .read_only = true,
     .size = 0x1122334455667788},
    {.type = PRIVMSG_ATTACH, .slot = 0, .id = 7, .kind = MEDIUM_DISK, .size = 1},
    {.type = PRIVMSG_DETACH, .slot = 15, .id = UINT32_MAX, .link_alive = true},
    {.type = PRIVMSG_DETACH},
    {.type = PRIVMSG_ADOPT, .slot = 4, .id = 8, .kind = MEDIUM_CD, .size = UINT64_MAX},
    {.type = PRIVMSG_RELOAD, .slot = 15, .id = 10},
    {.type = PRIVMSG_RELOAD},
    {.type = PRIVMSG_USB_ATTACH, .slot = 5, .id = 11, .drives = 1},
    {.type = PRIVMSG_USB_ADOPT, .slot = 15, .id = 12, .drives = PRIVMSG_DRIVES_MAX},
    {.type = PRIVMSG_REPLY, .slot = 1, .id = 9, .error = 0, .device = 12},
    {.type = PRIVMSG_REPLY,
     .id = 13,
     .device = PRIVMSG_NO_DEVICE,
     .functions = PRIVMSG_FUNCTIONS_MAX},
    {.type = PRIVMSG_REPLY, .error = -4095, .device = PRIVMSG_NO_DEVICE, .reason = "It broke."},
    {.type = PRIVMSG_GONE, .slot = 2, .error = -ENODEV, .device = PRIVMSG_NO_DEVICE, .reason = "x"},
};

#define SAMPLES (sizeof samples / sizeof samples[0])

static void assert_same(const struct privmsg *a, const struct privmsg *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->slot, b->slot);
    assert_int_equal(a->id, b->id);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->read_only, b->read_only);
    assert_true(a->size == b->size);
    assert_int_equal(a->link_alive, b->link_alive);
    assert_int_equal(a->drives, b->drives);
    assert_int_equal(a->functions, b->functions);
    assert_int_equal(a->error, b->error);
    assert_string_equal(a->reason, b->reason);
    if (a->type == PRIVMSG_REPLY || a->type == PRIVMSG_GONE)
        assert_int_equal(a->device, b->device);
}

static void test_attach_bytes(void **state)
{
    static const uint8_t wanted[] = {3, 1, 0, 3, 1,  2,    3,    4,    1,    1,    0,    0,
                                     0, 0, 0, 0, 17, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88};
    uint8_t bytes[PRIVMSG_SIZE_MAX];

    (void)state;
    assert_int_equal(privmsg_encode(&samples[0], bytes), sizeof wanted);
    assert_memory_equal(bytes, wanted, sizeof wanted);
}

static void test_usb_bytes(void **state)
{
    static const struct privmsg attach = {
        .type = PRIVMSG_USB_ATTACH, .slot = 2, .id = 1, .drives = 3};
    static const struct privmsg reply = {
        .type = PRIVMSG_REPLY, .slot = 2, .id = 1, .device = PRIVMSG_NO_DEVICE, .functions = 3};
    static const uint8_t asked[] = {3, 7, 0, 2, 0, 0, 0, 1, 3, 0, 0, 0};
    static const uint8_t answered[PRIVMSG_SIZE_MAX] = {3, 3, 0, 2,    0,    0,    0,    1, 0,
                                                       0, 0, 0, 0xff, 0xff, 0xff, 0xff, 3, 0};
    uint8_t bytes[PRIVMSG_SIZE_MAX];

    (void)state;
    assert_int_equal(privmsg_encode(&attach, bytes), sizeof asked);
    assert_memory_equal(bytes, asked, sizeof asked);
    assert_int_equal(privmsg_encode(&reply, bytes), sizeof answered);
    assert_memory_equal(bytes, answered, sizeof answered);
}

static void test_there_and_back_at_every_length(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        uint8_t bytes[PRIVMSG_SIZE_MAX + 1] = {0};
        struct privmsg out;
        size_t length = privmsg_encode(&samples[i], bytes);

        assert_true(length > 0);
        for (size_t n = 0; n <= sizeof bytes; n++) {
            if (n != length)
                assert_int_equal(privmsg_decode(bytes, n, &out), -EBADMSG);
        }
        assert_int_equal(privmsg_decode(bytes, length, &out), 0);
        assert_same(&samples[i], &out);
    }
}

/* Whatever one byte is changed to: refused, or the canonical form of something else. */
static void test_one_form_only(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        uint8_t bytes[PRIVMSG_SIZE_MAX];
        uint8_t again[PRIVMSG_SIZE_MAX];
        struct privmsg out;
        size_t length = privmsg_encode(&samples[i], bytes);

        for (size_t at = 0; at < length; at++) {
            uint8_t kept = bytes[at];

            for (unsigned value = 0; value < 256; value++) {
                bytes[at] = (uint8_t)value;
                if (privmsg_decode(bytes, length, &out) < 0)
                    continue;
                assert_int_equal(privmsg_encode(&out, again), length);
                assert_memory_equal(bytes, again, length);
            }
            bytes[at] = kept;
        }
    }
}

static void test_another_version(void **state)
{
    uint8_t bytes[PRIVMSG_SIZE_MAX];
    struct privmsg out;
    size_t length = privmsg_encode(&samples[0], bytes);

    (void)state;
    bytes[0] = PRIVMSG_VERSION + 1;
    assert_int_equal(privmsg_decode(bytes, length, &out), -EPROTONOSUPPORT);
}

static void test_unsayable(void **state)
{
    static const struct privmsg bad[] = {
        {.type = PRIVMSG_ATTACH, .slot = 0, .size = 0},
        {.type = PRIVMSG_ATTACH, .slot = PRIVMSG_SLOTS_MAX, .size = 1},
        {.type = PRIVMSG_REPLY, .error = 1},
        {.type = PRIVMSG_REPLY, .error = -4096},
        {.type = (enum privmsg_type)0},
        {.type = (enum privmsg_type)9},
        {.type = PRIVMSG_ADOPT, .slot = 1, .size = 0},
        {.type = PRIVMSG_RELOAD, .slot = PRIVMSG_SLOTS_MAX},
        {.type = PRIVMSG_USB_ATTACH, .drives = 0},
        {.type = PRIVMSG_USB_ADOPT, .drives = PRIVMSG_DRIVES_MAX + 1},
        {.type = PRIVMSG_REPLY, .functions = PRIVMSG_FUNCTIONS_MAX + 1},
        {.type = PRIVMSG_REPLY, .error = -EIO, .functions = 1},
        {.type = PRIVMSG_GONE, .functions = 1},
    };
    uint8_t bytes[PRIVMSG_SIZE_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(privmsg_encode(&bad[i], bytes), 0);
}

static void test_reason_is_cut_and_cleaned(void **state)
{
    char text[400];
    struct privmsg m = {.type = PRIVMSG_GONE};

    (void)state;
    privmsg_set_reason(&m, "a\nb\x1b[31m\xc3\xa4");
    assert_string_equal(m.reason, "a?b?[31m??");
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    privmsg_set_reason(&m, text);
    assert_int_equal(strlen(m.reason), PRIVMSG_REASON_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attach_bytes),
        cmocka_unit_test(test_usb_bytes),
        cmocka_unit_test(test_there_and_back_at_every_length),
        cmocka_unit_test(test_one_form_only),
        cmocka_unit_test(test_another_version),
        cmocka_unit_test(test_unsayable),
        cmocka_unit_test(test_reason_is_cut_and_cleaned),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
