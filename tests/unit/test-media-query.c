/* SPDX-License-Identifier: Apache-2.0 */
/* What a page says of its medium, and UTF-8 on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "api/media-query.h"
#include "base/utf8.h"

static void test_path(void **state)
{
    (void)state;
    assert_int_equal(media_path_slot("/api/slots/0/media", MEDIA_SLOTS, "/media", 1), 0);
    assert_int_equal(media_path_slot("/api/slots/15/media", MEDIA_SLOTS, "/media", 16), 15);
    assert_int_equal(media_path_slot("/api/slots/1/media", MEDIA_SLOTS, "/media", 1), -1);
    assert_int_equal(media_path_slot("/api/slots/0/media", MEDIA_SLOTS, "/media", 0), -1);
    assert_int_equal(media_path_slot("/api/slots/00/media", MEDIA_SLOTS, "/media", 9), -1);
    assert_int_equal(media_path_slot("/api/slots/-1/media", MEDIA_SLOTS, "/media", 9), -1);
    assert_int_equal(media_path_slot("/api/slots//media", MEDIA_SLOTS, "/media", 9), -1);
    assert_int_equal(
        media_path_slot("/api/slots/99999999999999999999/media", MEDIA_SLOTS, "/media", 9), -1);
    assert_int_equal(media_path_slot("/api/slots/0/media/", MEDIA_SLOTS, "/media", 9), -1);
    assert_int_equal(media_path_slot("/api/slots/0", MEDIA_SLOTS, "/media", 9), -1);
    assert_int_equal(media_path_slot("/api/slots", MEDIA_SLOTS, "/media", 9), -1);
    assert_int_equal(media_path_slot("/api/slots/3/end", MEDIA_SLOTS, "/end", 9), 3);
    assert_int_equal(media_path_slot("/api/slots/3/media", MEDIA_SLOTS, "/end", 9), -1);
    assert_int_equal(media_path_slot("/nbd/12", "/nbd/", "", 13), 12);
    assert_int_equal(media_path_slot("/nbd/12", "/nbd/", "", 12), -1);
    assert_int_equal(media_path_slot("/nbd/1/", "/nbd/", "", 12), -1);
    assert_int_equal(media_path_slot("/nbd/", "/nbd/", "", 12), -1);
}

/* Adds from memory of exactly this size, so that a read past the end is seen. */
static const char *add(struct media_query *q, const char *text, size_t length)
{
    char *copy = malloc(length ? length : 1);
    const char *wrong;

    memcpy(copy, text, length);
    wrong = media_query_add(q, copy, length);
    free(copy);
    return wrong;
}

static const char *add_text(struct media_query *q, const char *text)
{
    return add(q, text, strlen(text));
}

static void test_good(void **state)
{
    struct media_query q;

    (void)state;
    media_query_init(&q);
    assert_null(add_text(&q, "name=grub rescue+=\xc3\xa4.iso"));
    assert_null(add_text(&q, "future=1"));
    assert_null(add_text(&q, ""));
    assert_null(add_text(&q, "kind=cd"));
    assert_null(media_query_check(&q));
    assert_string_equal(q.name, "grub rescue+=\xc3\xa4.iso");
    assert_int_equal(q.kind, MEDIUM_CD);
    media_query_init(&q);
    assert_null(add_text(&q, "kind=disk"));
    assert_non_null(media_query_check(&q));
    assert_int_equal(q.kind, MEDIUM_DISK);
    assert_null(add_text(&q, "name=x"));
    assert_null(media_query_check(&q));
}

#define TOKEN "0123456789abcdef0123456789abcdef"

static void test_return(void **state)
{
    struct media_query q;

    (void)state;
    media_query_init(&q);
    assert_null(add_text(&q, "name=x"));
    assert_null(add_text(&q, "kind=cd"));
    assert_null(media_query_check(&q));
    assert_int_equal(q.modified, -1);
    assert_string_equal(q.resume, "");
    assert_null(add_text(&q, "modified=9007199254740991"));
    assert_null(add_text(&q, "resume=" TOKEN));
    assert_null(media_query_check(&q));
    assert_int_equal(q.modified, INT64_C(9007199254740991));
    assert_string_equal(q.resume, TOKEN);
    assert_non_null(add_text(&q, "modified=1"));
    assert_non_null(add_text(&q, "resume=" TOKEN));
    media_query_init(&q);
    assert_null(add_text(&q, "modified=0"));
    assert_int_equal(q.modified, 0);
}

static void test_bad(void **state)
{
    static const char *const bad[] = {
        "kind",
        "kind=",
        "kind=CD",
        "kind=disks",
        "name",
        "name=",
        "name=\xff",
        "name=a\nb",
        "name=\x1b[m",
        "name=\xc3",
        "name=\xed\xa0\x80",
        "name=\xc0\xaf",
        "modified",
        "modified=",
        "modified=-1",
        "modified=+1",
        "modified=1.5",
        "modified=01",
        "modified=00",
        "modified=1e3",
        "modified= 1",
        "modified=1 ",
        "modified=9007199254740992",
        "modified=18446744073709551617",
        "modified=99999999999999999999999999999999",
        "resume",
        "resume=",
        "resume=0123456789abcdef0123456789abcde",
        ("resume=" TOKEN "0"),
        "resume=0123456789ABCDEF0123456789abcdef",
        "resume=0123456789abcdef0123456789abcdeg",
        ("resume=" TOKEN TOKEN),
        "resume=0x23456789abcdef0123456789abcdef",
    };
    struct media_query q;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *wrong;

        media_query_init(&q);
        wrong = add_text(&q, bad[i]);
        if (!wrong || strlen(wrong) > 120)
            fail_msg("let in %s", bad[i]);
    }
    media_query_init(&q);
    assert_non_null(add(&q, "name=a\0b", 8));
    media_query_init(&q);
    assert_non_null(add(&q, "resume=0123456789abcdef\0000123456789abcde", 7 + 32));
    media_query_init(&q);
    assert_non_null(media_query_check(&q));
    assert_null(add_text(&q, "name=x"));
    assert_non_null(media_query_check(&q));
    assert_non_null(add_text(&q, "name=y"));
    assert_null(add_text(&q, "kind=cd"));
    assert_non_null(add_text(&q, "kind=cd"));
}

/* A long name is cut between characters, wherever the cut falls. */
static void test_long_name(void **state)
{
    (void)state;
    for (size_t before = 0; before < 4; before++) {
        char text[400] = "name=";
        struct media_query q;
        size_t length;

        memset(text + 5, 'a', before);
        for (size_t i = 5 + before; i + 4 < sizeof text; i += 3)
            memcpy(text + i, "\xe2\x82\xac", 4);
        media_query_init(&q);
        assert_null(add_text(&q, text));
        length = strlen(q.name);
        assert_true(length > MEDIUM_NAME_MAX - 4 && length < MEDIUM_NAME_MAX);
        assert_true(utf8_is_text(q.name, length));
    }
}

static void test_utf8(void **state)
{
    static const char *const good[] = {
        "",
        "a~",
        "\xc2\xa0",
        "\xdf\xbf",
        "\xe0\xa0\x80",
        "\xed\x9f\xbf",
        "\xee\x80\x80",
        "\xf0\x90\x80\x80",
        "\xf4\x8f\xbf\xbf",
    };
    static const char *const bad[] = {
        "\x7f",
        "\x1f",
        "\xc2\x80",
        "\xc2\x9f",
        "\x80",
        "\xc1\xbf",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf8\x88\x80\x80\x80",
        "\xe2\x82",
        "\xe2\x28\xa1",
        "\xfe",
        "\xff",
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(utf8_is_text(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(utf8_is_text(bad[i], strlen(bad[i])));
    assert_int_equal(utf8_cut("abc", 5), 3);
    assert_int_equal(utf8_cut("abc", 3), 3);
    assert_int_equal(utf8_cut("abc", 2), 2);
    assert_int_equal(utf8_cut("a\xe2\x82\xac", 3), 1);
    assert_int_equal(utf8_cut("\xe2\x82\xac", 2), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_path),      cmocka_unit_test(test_good),
        cmocka_unit_test(test_return),    cmocka_unit_test(test_bad),
        cmocka_unit_test(test_long_name), cmocka_unit_test(test_utf8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
