// SPDX-License-Identifier: Apache-2.0
/*
 * nbd-proxy's configuration: what its predecessor's files mean, what is added to them, and the
 * sentence for everything that can be wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <string.h>

#include "nbd-proxy/config.h"

#define ONE(members)    "{\"configurations\": {\"0\": {\"nbd-device\": \"/dev/nbd0\"" members "}}}"
#define GADGET(members) ONE(", \"gadget\": {" members "}")

static struct proxy_file file;
static char error[512];

static int parse(const char *text)
{
    proxy_file_done(&file);
    error[0] = '\0';
    return proxy_file_parse(text, strlen(text), "F", &file, error, sizeof error);
}

static const struct proxy_config *good(const char *text)
{
    if (parse(text) < 0)
        fail_msg("refused: %s", error);
    return &file.configs[0];
}

static void test_what_it_has_always_held(void **state)
{
    const struct proxy_config *one;

    (void)state;
    good("{\"timeout\": 7, \"configurations\": {"
         "\"a\": {\"nbd-device\": \"/dev/nbd3\", \"metadata\": {\"x\": [1]}},"
         "\"b\": {\"nbd-device\": \"/dev/nbd12\", \"default\": true, \"more\": 1}}}");
    assert_int_equal(file.timeout, 7);
    assert_int_equal(file.count, 2);
    one = proxy_file_find(&file, "F", NULL, error, sizeof error);
    assert_string_equal(one->name, "b");
    assert_string_equal(one->nbd, "nbd12");
    assert_int_equal(one->number, 1);
    assert_int_equal(one->export_kind, PROXY_EXPORT_AUTO);
    assert_int_equal(one->gadget, PROXY_GADGET_UNSAID);
    assert_string_equal(one->usb_id, "1d6b:0104");
    assert_false(one->is_cd);
    one = proxy_file_find(&file, "F", "a", error, sizeof error);
    assert_string_equal(one->nbd, "nbd3");
    assert_int_equal(one->number, 0);

    char *metadata = proxy_file_metadata(&file);

    assert_string_equal(metadata, "{\"a\":{\"x\":[1]},\"b\":null}");
    free(metadata);
}

static void test_the_only_one_is_the_default(void **state)
{
    (void)state;
    good(ONE(""));
    assert_int_equal(file.timeout, 30);
    assert_string_equal(proxy_file_find(&file, "F", NULL, error, sizeof error)->name, "0");
}

static void test_what_is_added(void **state)
{
    const struct proxy_config *one;

    (void)state;
    one = good(ONE(", \"export\": \"kernel\", \"gadget\": \"none\""));
    assert_int_equal(one->export_kind, PROXY_EXPORT_KERNEL);
    assert_int_equal(one->gadget, PROXY_GADGET_NONE);
    one = good(GADGET("\"cdrom\": true, \"vendor-id\": \"0x12\", \"product-id\": \"ABCD\", "
                      "\"vendor\": \"IBM\", \"product\": \"A disk (1)\", \"serial\": \"S-1\", "
                      "\"udc\": \"1e6a0000.usb-vhub:p1\""));
    assert_int_equal(one->gadget, PROXY_GADGET_OWN);
    assert_true(one->is_cd);
    assert_string_equal(one->usb_id, "0012:abcd");
    assert_string_equal(one->vendor, "IBM");
    assert_string_equal(one->product, "A disk (1)");
    assert_string_equal(one->serial, "S-1");
    assert_string_equal(one->udc, "1e6a0000.usb-vhub:p1");
    assert_string_equal(good(GADGET("\"product-id\": \"1\""))->usb_id, "1d6b:0001");
}

/* A sentence, whole or its beginning. */
static const struct bad {
    const char *text, *sentence;
} bad[] = {
    {"", "F:1:0: this is not JSON: "},
    {"{\"timeout\": 1,\n  oops}", "F:2:6: this is not JSON: "},
    {"{\"a\": 1, \"a\": 2}", "F:1:12: this is not JSON: duplicate object key"},
    {"[]", "F: it must hold an object, {...}."},
    {"{}", "F: \"configurations\" must be an object with one configuration at least, as "},
    {"{\"configurations\": []}", "F: \"configurations\" must be an object with one"},
    {"{\"configurations\": {}}", "F: \"configurations\" must be an object with one"},
    {"{\"timeout\": \"30\", \"configurations\": {}}",
     "F: \"timeout\" must be a number of seconds, 0 to 3600."},
    {"{\"timeout\": -1, \"configurations\": {}}", "F: \"timeout\" must be a number of seconds"},
    {"{\"timeout\": 3601, \"configurations\": {}}", "F: \"timeout\" must be a number of seconds"},
    {"{\"configurations\": {\"0\": []}}", "F, configuration \"0\": it must be an object, {...}."},
    {"{\"configurations\": {\"0\": {}}}",
     "F, configuration \"0\": it lacks \"nbd-device\": add one, as \"nbd-device\": "
     "\"/dev/nbd0\"."},
    {"{\"configurations\": {\"0\": {\"nbd-device\": 0}}}",
     "F, configuration \"0\": \"nbd-device\" must be a text, as \"/dev/nbd0\"."},
    {"{\"configurations\": {\"0\": {\"nbd-device\": \"/dev/sda\"}}}",
     "F, configuration \"0\": \"nbd-device\" is \"/dev/sda\", which is no nbd device: name one, as "
     "\"/dev/nbd0\"."},
    {"{\"configurations\": {\"0\": {\"nbd-device\": \"/dev/nbd0p1\"}}}",
     "F, configuration \"0\": "},
    {"{\"configurations\": {\"0\": {\"nbd-device\": \"/dev/nbd01\"}}}", "F, configuration \"0\": "},
    {"{\"configurations\": {\"0\": {\"nbd-device\": \"/dev/nbd1000\"}}}", "F, configuration"},
    {"{\"configurations\": {\"a\": {\"nbd-device\": \"/dev/nbd0\", \"default\": true},"
     "\"b\\u0001\": {\"nbd-device\": \"/dev/nbd1\", \"default\": true}}}",
     "F, configuration \"b?\": it is a default, and so is \"a\"; let one of them be."},
    {ONE(", \"default\": 1"), "F, configuration \"0\": \"default\" must be true or false."},
    {ONE(", \"metadata\": 1"), "F, configuration \"0\": \"metadata\" must be an object, {...}."},
    {ONE(", \"export\": \"unix\""),
     "F, configuration \"0\": \"export\" must be \"auto\", \"usb\" or \"kernel\"."},
    {ONE(", \"export\": 1"), "F, configuration \"0\": \"export\" must be"},
    {ONE(", \"gadget\": \"some\""),
     "F, configuration \"0\": \"gadget\" must be an object, {...}, or \"none\"."},
    {ONE(", \"export\": \"usb\", \"gadget\": \"none\""),
     "F, configuration \"0\": with \"export\": \"usb\" there is always a gadget: "},
    {GADGET("\"cdrom\": \"yes\""), "F, configuration \"0\": \"cdrom\" must be true or false."},
    {GADGET("\"vendor-id\": \"12345\""),
     "F, configuration \"0\": \"vendor-id\" must be a text of hexadecimal digits, \"0\" to "
     "\"ffff\"."},
    {GADGET("\"vendor-id\": 7531"), "F, configuration \"0\": \"vendor-id\" must be a text"},
    {GADGET("\"product-id\": \"-1\""), "F, configuration \"0\": \"product-id\" must be a text"},
    {GADGET("\"product-id\": \"0x\""), "F, configuration \"0\": \"product-id\" must be a text"},
    {GADGET("\"vendor\": \"nine chars\""),
     "F, configuration \"0\": \"vendor\" must be a text of 1 to 8 ASCII characters without ; and "
     "#."},
    {GADGET("\"vendor\": \"\""), "F, configuration \"0\": \"vendor\" must be"},
    {GADGET("\"product\": \"a\\nudc = b\""), "F, configuration \"0\": \"product\" must be"},
    {GADGET("\"product\": \"a ;b\""), "F, configuration \"0\": \"product\" must be"},
    {GADGET("\"product\": \" a\""), "F, configuration \"0\": \"product\" must be"},
    {GADGET("\"serial\": \"a b\""),
     "F, configuration \"0\": \"serial\" must be a text of 1 to 32 letters and digits."},
    {GADGET("\"udc\": \"../x\""), "F, configuration \"0\": \"udc\" must be a text of 1 to 63"},
};

static void test_every_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (parse(bad[i].text) == 0)
            fail_msg("taken: %s", bad[i].text);
        if (strncmp(error, bad[i].sentence, strlen(bad[i].sentence)) != 0)
            fail_msg("of %s it is said: %s", bad[i].text, error);
        assert_null(strchr(error, '\n'));
    }
}

static void test_more_than_there_can_be(void **state)
{
    char text[2048] = "{\"configurations\": {";

    (void)state;
    for (int i = 0; i < PROXY_CONFIGS_MAX + 1; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text),
                 "%s\"%d\": {\"nbd-device\": \"/dev/nbd%d\"}", i ? ", " : "", i, i);
    strcat(text, "}}");
    assert_true(parse(text) < 0);
    assert_string_equal(error, "F: there can be 16 configurations at most; take some away.");
}

static void test_which_one(void **state)
{
    (void)state;
    good("{\"configurations\": {\"a\": {\"nbd-device\": \"/dev/nbd0\"},"
         "\"b\": {\"nbd-device\": \"/dev/nbd1\"}}}");
    assert_null(proxy_file_find(&file, "F", NULL, error, sizeof error));
    assert_string_equal(error, "F has more than one configuration and no default: name one, or "
                               "give one \"default\": true.");
    assert_null(proxy_file_find(&file, "F", "c", error, sizeof error));
    assert_string_equal(error, "F has no configuration \"c\": add it, or name one that it has.");
}

static void test_files(void **state)
{
    (void)state;
    proxy_file_done(&file);
    assert_true(proxy_file_read("/nowhere/at/all", &file, error, sizeof error) < 0);
    assert_string_equal(error, "/nowhere/at/all cannot be read: No such file or directory; create "
                               "it or name another file with --config.");
    assert_true(proxy_file_read("/dev/zero", &file, error, sizeof error) < 0);
    assert_string_equal(error, "/dev/zero is not a file of at most 262144 bytes: name another with "
                               "--config.");
    assert_true(proxy_file_read("/", &file, error, sizeof error) < 0);
}

static int clear(void **state)
{
    (void)state;
    proxy_file_done(&file);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_it_has_always_held),
        cmocka_unit_test(test_the_only_one_is_the_default),
        cmocka_unit_test(test_what_is_added),
        cmocka_unit_test(test_every_sentence),
        cmocka_unit_test(test_more_than_there_can_be),
        cmocka_unit_test(test_which_one),
        cmocka_unit_test(test_files),
    };

    return cmocka_run_group_tests(tests, NULL, clear);
}
