/* SPDX-License-Identifier: Apache-2.0 */
/* The plans by themselves: what a drive is called, and what is taken away in which order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gadget/plan.h"

#define SLOT 2

/* What the plan writes into the one attribute of this name. */
static const char *written(const struct plan *plan, const char *attribute)
{
    const char *text = NULL;

    for (size_t i = 0; i < plan->count; i++) {
        const struct plan_step *step = &plan->steps[i];

        if (step->deed != PLAN_WRITE || strcmp(strrchr(step->path, '/') + 1, attribute) != 0)
            continue;
        assert_null(text);
        text = step->text;
    }
    return text;
}

static const struct named {
    enum plan_carrier carrier;
    enum medium_kind kind;
    uint16_t vendor_id, product_id;
    const char *vendor, *product;
    const char *id[2], *usb_product;
    const char *inquiry; /* the SCSI string; NULL where the kernel does not answer for the drive */
} all_named[] = {
    {PLAN_MASS_STORAGE,
     MEDIUM_DISK,
     0x1d6b,
     0x0104,
     "Platter",
     "",
     {"0x1d6b", "0x0104"},
     "Platter",
     "Platter Virtual Disk    0100"},
    {PLAN_MASS_STORAGE,
     MEDIUM_CD,
     0xffff,
     0,
     "A",
     "",
     {"0xffff", "0x0000"},
     "Platter",
     "A       Virtual CD      0100"},
    {PLAN_MASS_STORAGE,
     MEDIUM_CD,
     1,
     0xabcd,
     "Eight888",
     "Sixteen letters!",
     {"0x0001", "0xabcd"},
     "Sixteen letters!",
     "Eight888Sixteen letters!0100"},
    {PLAN_MASS_STORAGE,
     MEDIUM_DISK,
     0,
     0,
     "Acme",
     "100%s",
     {"0x0000", "0x0000"},
     "100%s",
     "Acme    100%s           0100"},
    {PLAN_FUNCTIONFS, MEDIUM_DISK, 0xabcd, 1, "Acme", "Tray", {"0xabcd", "0x0001"}, "Tray", NULL},
};

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof all_named / sizeof all_named[0]; i++) {
        const struct named *n = &all_named[i];
        struct plan_wanted wanted = {.slot = SLOT,
                                     .carrier = n->carrier,
                                     .kind = n->kind,
                                     .vendor_id = n->vendor_id,
                                     .product_id = n->product_id,
                                     .serial = "0123456789AB",
                                     .device = "/dev/nbd0",
                                     .functions = 1};
        struct plan plan;

        snprintf(wanted.vendor, sizeof wanted.vendor, "%s", n->vendor);
        snprintf(wanted.product, sizeof wanted.product, "%s", n->product);
        plan_up(&wanted, &plan);
        assert_true(plan.count <= PLAN_STEPS_MAX);
        assert_string_equal(written(&plan, "idVendor"), n->id[0]);
        assert_string_equal(written(&plan, "idProduct"), n->id[1]);
        assert_string_equal(written(&plan, "manufacturer"), n->vendor);
        assert_string_equal(written(&plan, "product"), n->usb_product);
        assert_string_equal(written(&plan, "serialnumber"), "0123456789AB");
        if (n->inquiry)
            assert_string_equal(written(&plan, "inquiry_string"), n->inquiry);
        else
            assert_null(written(&plan, "inquiry_string"));
    }
}

static void test_down_from_every_seen(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 2048; bits++) {
        struct plan_seen seen = {
            .gadget = bits & 1,
            .strings = bits & 2,
            .config = bits & 4,
            .config_strings = bits & 8,
            .function = bits & 16,
            .link = bits & 32,
            .bound = bits & 64,
            .connected = bits & 128,
            .usb_function = bits & 256,
            .usb_link = bits & 512,
        };
        bool alive = bits & 1024;
        struct plan plan;
        size_t disconnect = SIZE_MAX;

        plan_down(SLOT, &seen, alive, &plan);
        assert_true(plan.count <= PLAN_STEPS_MAX);
        for (size_t i = 0; i < plan.count; i++) {
            if (plan.steps[i].deed == PLAN_DISCONNECT)
                disconnect = i;
        }
        assert_true(seen.connected == (disconnect != SIZE_MAX));
        if (seen.connected && !alive)
            assert_int_equal(disconnect, 0);
        if (seen.connected && alive)
            assert_int_equal(disconnect, (size_t)seen.function + seen.bound);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_down_from_every_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
