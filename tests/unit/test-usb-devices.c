// SPDX-License-Identifier: Apache-2.0
/* Which slots of a configuration are drives of which USB device, and that all are waited for. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/usb.h"
#include "export/usb-device.h"

struct usb_device {
    struct usb_device_config config;
    struct usb_drive_config drives[CONFIG_SLOTS_MAX];
    void (*done)(void *arg);
    void *done_arg;
    unsigned freed;
};

static struct {
    struct usb_device made[CONFIG_SLOTS_MAX];
    unsigned made_count, fail_at, done;
    struct config config;
    struct usb_devices *all;
} w;

int usb_device_new(const struct usb_device_config *config, struct usb_device **out)
{
    struct usb_device *d = &w.made[w.made_count];

    if (w.fail_at && w.made_count + 1 == w.fail_at)
        return -ENOMEM;
    w.made_count++;
    d->config = *config;
    memcpy(d->drives, config->drives, config->drive_count * sizeof d->drives[0]);
    *out = d;
    return 0;
}

void usb_device_free(struct usb_device *d)
{
    if (d)
        d->freed++;
}

void usb_device_stop(struct usb_device *d, void (*done)(void *arg), void *arg)
{
    d->done = done;
    d->done_arg = arg;
}

/* At once. */
void usb_device_leave(struct usb_device *d, void (*done)(void *arg), void *arg)
{
    (void)d;
    done(arg);
}

static void on_done(void *arg)
{
    assert_ptr_equal(arg, &w);
    w.done++;
}

static struct config_slot *add(const char *export_name, const char *device, enum config_drive drive)
{
    struct config_slot *slot = &w.config.slots[w.config.slot_count++];

    snprintf(slot->export_name, sizeof slot->export_name, "%s", export_name);
    snprintf(slot->usb_device, sizeof slot->usb_device, "%s", device);
    slot->drive = drive;
    return slot;
}

static int set_up(void **state)
{
    struct config_slot *slot;

    (void)state;
    memset(&w, 0, sizeof w);
    add("unix", "", CONFIG_DRIVE_AUTO);
    add("usb", "rack", CONFIG_DRIVE_DISK)->plugged_always = true;
    add("usb", "", CONFIG_DRIVE_AUTO);
    slot = add("usb", "rack", CONFIG_DRIVE_CD);
    slot->plugged_always = slot->write_back = true;
    strcpy(slot->vendor, "Vendor");
    strcpy(slot->product, "Product");
    strcpy(slot->serial, "SERIAL");
    add("kernel", "", CONFIG_DRIVE_AUTO);
    return 0;
}

static void test_who_shares(void **state)
{
    unsigned drive;

    (void)state;
    assert_int_equal(usb_devices_new(&w.config, NULL, NULL, &w.all), 0);
    assert_int_equal(w.made_count, 2);
    assert_int_equal(w.made[0].config.slot, 1);
    assert_true(w.made[0].config.always);
    assert_int_equal(w.made[0].config.drive_count, 2);
    assert_false(w.made[0].drives[0].any_kind);
    assert_int_equal(w.made[0].drives[0].kind, MEDIUM_DISK);
    assert_false(w.made[0].drives[0].write_back);
    assert_false(w.made[0].drives[1].any_kind);
    assert_int_equal(w.made[0].drives[1].kind, MEDIUM_CD);
    assert_true(w.made[0].drives[1].write_back);
    assert_string_equal(w.made[0].drives[1].vendor, "Vendor");
    assert_string_equal(w.made[0].drives[1].product, "Product");
    assert_string_equal(w.made[0].drives[1].serial, "SERIAL");
    assert_int_equal(w.made[1].config.slot, 2);
    assert_false(w.made[1].config.always);
    assert_int_equal(w.made[1].config.drive_count, 1);
    assert_true(w.made[1].drives[0].any_kind);

    assert_null(usb_devices_find(w.all, 0, &drive));
    assert_ptr_equal(usb_devices_find(w.all, 1, &drive), &w.made[0]);
    assert_int_equal(drive, 0);
    assert_ptr_equal(usb_devices_find(w.all, 2, &drive), &w.made[1]);
    assert_int_equal(drive, 0);
    assert_ptr_equal(usb_devices_find(w.all, 3, &drive), &w.made[0]);
    assert_int_equal(drive, 1);
    assert_null(usb_devices_find(w.all, 4, &drive));
    usb_devices_free(w.all);
    assert_int_equal(w.made[0].freed, 1);
    assert_int_equal(w.made[1].freed, 1);
}

static void test_all_are_waited_for(void **state)
{
    (void)state;
    assert_int_equal(usb_devices_new(&w.config, NULL, NULL, &w.all), 0);
    usb_devices_stop(w.all, on_done, &w);
    assert_int_equal(w.done, 0);
    w.made[1].done(w.made[1].done_arg);
    assert_int_equal(w.done, 0);
    w.made[0].done(w.made[0].done_arg);
    assert_int_equal(w.done, 1);
    usb_devices_leave(w.all, on_done, &w);
    assert_int_equal(w.done, 2);
    usb_devices_free(w.all);
}

static void test_none(void **state)
{
    (void)state;
    w.config.slot_count = 1;
    assert_int_equal(usb_devices_new(&w.config, NULL, NULL, &w.all), 0);
    assert_int_equal(w.made_count, 0);
    usb_devices_stop(w.all, on_done, &w);
    assert_int_equal(w.done, 1);
    usb_devices_free(w.all);
}

static void test_no_memory(void **state)
{
    (void)state;
    w.fail_at = 2;
    assert_int_equal(usb_devices_new(&w.config, NULL, NULL, &w.all), -ENOMEM);
    assert_int_equal(w.made[0].freed, 1);
}

#define DEVICES_TEST(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DEVICES_TEST(test_who_shares),
        DEVICES_TEST(test_all_are_waited_for),
        DEVICES_TEST(test_none),
        DEVICES_TEST(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
