/* SPDX-License-Identifier: Apache-2.0 */
/* FunctionFS's blobs: those of one function byte by byte, and the rules of USB for every number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gadget/descriptors.h"

static const uint8_t one_function[] = {
    /* magic, length 105, FS | HS | SS, descriptors for each */
    3, 0, 0, 0, 105, 0, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0,
    /* full speed: interface, out, in */
    9, 4, 0, 0, 2, 0x08, 0x06, 0x50, 0, /**/
    7, 5, 0x01, 2, 0x40, 0x00, 0,       /**/
    7, 5, 0x81, 2, 0x40, 0x00, 0,
    /* high speed */
    9, 4, 0, 0, 2, 0x08, 0x06, 0x50, 0, /**/
    7, 5, 0x01, 2, 0x00, 0x02, 0,       /**/
    7, 5, 0x81, 2, 0x00, 0x02, 0,
    /* super speed, each endpoint with its companion */
    9, 4, 0, 0, 2, 0x08, 0x06, 0x50, 0, /**/
    7, 5, 0x01, 2, 0x00, 0x04, 0,       /**/
    6, 0x30, 15, 0, 0, 0,               /**/
    7, 5, 0x81, 2, 0x00, 0x04, 0,       /**/
    6, 0x30, 15, 0, 0, 0};

static void test_one_function(void **state)
{
    uint8_t out[DESCRIPTORS_ROOM];

    (void)state;
    assert_int_equal(descriptors_write(1, out), sizeof one_function);
    assert_memory_equal(out, one_function, sizeof one_function);
}

static unsigned le32(const uint8_t *p)
{
    return p[0] | (unsigned)p[1] << 8 | (unsigned)p[2] << 16 | (unsigned)p[3] << 24;
}

/* The descriptors of one speed; returns where they end. */
static const uint8_t *assert_speed(const uint8_t *p, unsigned count, unsigned functions,
                                   bool companions)
{
    unsigned interfaces = 0;
    unsigned endpoints = 0;
    bool seen[256] = {false};

    for (unsigned i = 0; i < count; i++, p += p[0]) {
        if (p[1] == 4) {
            assert_int_equal(p[2], interfaces++);
            assert_int_equal(endpoints, 2 * (interfaces - 1));
        } else if (p[1] == 5) {
            /* Out, then in; a number from 1 to 15; none twice. */
            assert_int_equal(p[2] >> 7, endpoints++ % 2);
            assert_true((p[2] & 0x70) == 0 && (p[2] & 0x0f) != 0);
            assert_false(seen[p[2]]);
            seen[p[2]] = true;
            assert_int_equal(p[7 + 1] == 0x30, companions);
        }
    }
    assert_int_equal(interfaces, functions);
    assert_int_equal(endpoints, 2 * functions);
    return p;
}

static void test_every_number_of_functions(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= DESCRIPTORS_FUNCTIONS_MAX; n++) {
        uint8_t out[DESCRIPTORS_ROOM + 16];
        const uint8_t *p;
        size_t length;

        memset(out, 0xee, sizeof out);
        length = descriptors_write(n, out);
        assert_true(length == 24 + 81 * n && length <= DESCRIPTORS_ROOM);
        assert_int_equal(le32(out + 4), length);
        assert_int_equal(out[length], 0xee);
        p = assert_speed(out + 24, le32(out + 12), n, false);
        p = assert_speed(p, le32(out + 16), n, false);
        p = assert_speed(p, le32(out + 20), n, true);
        assert_ptr_equal(p, out + length);
    }
}

static void test_no_strings(void **state)
{
    static const uint8_t wanted[] = {2, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    uint8_t out[DESCRIPTORS_STRINGS_ROOM];

    (void)state;
    assert_int_equal(descriptors_write_strings(out), sizeof wanted);
    assert_memory_equal(out, wanted, sizeof wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_function),
        cmocka_unit_test(test_every_number_of_functions),
        cmocka_unit_test(test_no_strings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
