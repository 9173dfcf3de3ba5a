/* SPDX-License-Identifier: Apache-2.0 */
/* Which Host, Origin and subprotocol headers are let in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "transport/web-guard.h"

static const char *const names[] = {"bmc7", "bmc7.example.org"};

static const char *const good_hosts[] = {
    "127.0.0.1", "127.0.0.1:8080", "10.1.2.3:1", "[::1]",     "[::1]:8080",       "[fe80::1]:65535",
    "localhost", "LOCALHOST:80",   "bmc7",       "Bmc7:8080", "bmc7.example.org",
};

static const char *const bad_hosts[] = {
    "",
    ":",
    ":80",
    "evil.example",
    "bmc",
    "bmc77",
    "bmc7.example.org.evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "127.1",
    "0x7f.1",
    "2130706433",
    "127.0.0.1:",
    "127.0.0.1:0",
    "127.0.0.1:65536",
    "127.0.0.1:80x",
    "127.0.0.1:-1",
    "127.0.0.1:0000080",
    "::1",
    "[::1",
    "[::1]x",
    "[::1]:",
    "[]",
    "[",
    "[127.0.0.1]",
    "127.0.0.1,evil",
    "user@127.0.0.1",
    " localhost",
    "localhost ",
    "localhost:80:80",
    "bmc7/",
    "http://bmc7",
};

static void test_host(void **state)
{
    char longest[400];

    (void)state;
    for (size_t i = 0; i < sizeof good_hosts / sizeof good_hosts[0]; i++) {
        if (!web_guard_host(good_hosts[i], names, 2))
            fail_msg("refused %s", good_hosts[i]);
    }
    for (size_t i = 0; i < sizeof bad_hosts / sizeof bad_hosts[0]; i++) {
        if (web_guard_host(bad_hosts[i], names, 2))
            fail_msg("let in \"%s\"", bad_hosts[i]);
    }
    for (size_t i = 0; i < sizeof longest; i++)
        longest[i] = 'a';
    longest[sizeof longest - 1] = '\0';
    assert_false(web_guard_host(longest, names, 2));
    longest[0] = '[';
    longest[sizeof longest - 2] = ']';
    assert_false(web_guard_host(longest, names, 2));
    assert_false(web_guard_host(NULL, names, 2));
    assert_false(web_guard_host("bmc7", NULL, 0));
}

static void test_origin(void **state)
{
    (void)state;
    assert_true(web_guard_origin("http://127.0.0.1:8080", "127.0.0.1:8080"));
    assert_true(web_guard_origin("https://bmc7", "bmc7"));
    assert_true(web_guard_origin("HTTP://Bmc7", "bmc7"));
    assert_true(web_guard_origin("http://[::1]:80", "[::1]:80"));
    assert_false(web_guard_origin("http://127.0.0.1:8081", "127.0.0.1:8080"));
    assert_false(web_guard_origin("http://127.0.0.1", "127.0.0.1:8080"));
    assert_false(web_guard_origin("http://evil.example", "127.0.0.1:8080"));
    assert_false(web_guard_origin("http://127.0.0.1:8080.evil.example", "127.0.0.1:8080"));
    assert_false(web_guard_origin("http://127.0.0.1:8080/", "127.0.0.1:8080"));
    assert_false(web_guard_origin("ftp://127.0.0.1:8080", "127.0.0.1:8080"));
    assert_false(web_guard_origin("null", "127.0.0.1:8080"));
    assert_false(web_guard_origin("", ""));
    assert_false(web_guard_origin("http://", ""));
    assert_false(web_guard_origin(NULL, "127.0.0.1:8080"));
    assert_false(web_guard_origin("http://127.0.0.1:8080", NULL));
}

static void test_list(void **state)
{
    (void)state;
    assert_true(web_guard_list_has("platter.media.1", "platter.media.1"));
    assert_true(web_guard_list_has("a, platter.media.1,b", "platter.media.1"));
    assert_true(web_guard_list_has(" \tplatter.media.1 ", "platter.media.1"));
    assert_false(web_guard_list_has("platter.media.12", "platter.media.1"));
    assert_false(web_guard_list_has("platter.media", "platter.media.1"));
    assert_false(web_guard_list_has(",,", "platter.media.1"));
    assert_false(web_guard_list_has("", "platter.media.1"));
    assert_false(web_guard_list_has(NULL, "platter.media.1"));
}

static void test_token(void **state)
{
    char longest[WEB_GUARD_TOKEN_MAX + 2];

    (void)state;
    assert_true(web_guard_token("x"));
    assert_true(web_guard_token("kBvWUlFtzY9q2N7Xw0aD"));
    assert_true(web_guard_token("0123456789a"));
    assert_true(web_guard_token("-a_b.c"));
    assert_false(web_guard_token(""));
    assert_false(web_guard_token("0123456789"));
    assert_false(web_guard_token("1.5"));
    assert_false(web_guard_token("a,b"));
    assert_false(web_guard_token("a b"));
    assert_false(web_guard_token(" a"));
    assert_false(web_guard_token("a\r\nSet-Cookie: b"));
    assert_false(web_guard_token("\xc3\xa4"));
    memset(longest, 'a', sizeof longest);
    longest[WEB_GUARD_TOKEN_MAX + 1] = '\0';
    assert_false(web_guard_token(longest));
    longest[WEB_GUARD_TOKEN_MAX] = '\0';
    assert_true(web_guard_token(longest));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_origin),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_token),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
