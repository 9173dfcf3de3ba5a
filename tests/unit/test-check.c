/* SPDX-License-Identifier: Apache-2.0 */
/* What `platterd --check` says of machines that are a few files in a temporary directory. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/driver.h"
#include "config/config.h"
#include "daemon/check.h"

#define RELEASE "6.1.0-test"

struct machine {
    char root[32];
    struct config config;
    int helper;
    char *text; /* what the last report said */
    int status;
};

static void put(const struct machine *m, const char *path, const char *text)
{
    char full[512];
    FILE *file;

    snprintf(full, sizeof full, "%s%s", m->root, path);
    for (char *slash = full + strlen(m->root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(full, 0755);
        *slash = '/';
    }
    file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void start_helper(struct machine *m)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    m->helper = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    snprintf(at.sun_path, sizeof at.sun_path, "%s", m->config.helper_socket);
    assert_int_equal(bind(m->helper, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(m->helper, 8), 0);
}

static void report(struct machine *m)
{
    size_t length;
    FILE *out;

    free(m->text);
    m->text = NULL;
    out = open_memstream(&m->text, &length);
    m->status = check_report(&m->config, m->root, RELEASE, out);
    fclose(out);
}

#define SAYS(m, words)     assert_non_null(strstr((m)->text, words))
#define SAYS_NOT(m, words) assert_null(strstr((m)->text, words))

static int set_up(void **state)
{
    static struct machine m;

    memset(&m, 0, sizeof m);
    m.helper = -1;
    snprintf(m.root, sizeof m.root, "/tmp/platter-check-XXXXXX");
    assert_non_null(mkdtemp(m.root));
    snprintf(m.config.runtime_dir, sizeof m.config.runtime_dir, "%s", m.root);
    snprintf(m.config.page_dir, sizeof m.config.page_dir, "%s", m.root);
    snprintf(m.config.helper_socket, sizeof m.config.helper_socket, "%s/helper.sock", m.root);
    snprintf(m.config.helper_user, sizeof m.config.helper_user, "platter");
    m.config.slot_count = 1;
    snprintf(m.config.slots[0].name, sizeof m.config.slots[0].name, "Drive 1");
    snprintf(m.config.slots[0].export_name, sizeof m.config.slots[0].export_name, "kernel");
    m.config.slots[0].gadget = true;
    snprintf(m.config.slots[0].udc, sizeof m.config.slots[0].udc, "auto");
    put(&m, "/lib/modules/" RELEASE "/modules.builtin",
        "kernel/drivers/usb/gadget/libcomposite.ko\n");
    put(&m, "/lib/modules/" RELEASE "/modules.dep",
        "kernel/drivers/block/nbd.ko.xz:\n"
        "kernel/drivers/usb/gadget/function/usb_f_mass_storage.ko: kernel/x/other.ko\n");
    *state = &m;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static int tear_down(void **state)
{
    struct machine *m = *state;

    free(m->text);
    if (m->helper >= 0)
        close(m->helper);
    return nftw(m->root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void test_drivers(void **state)
{
    struct machine *m = *state;

    assert_int_equal(driver_find(m->root, RELEASE, "nbd"), DRIVER_LOADABLE);
    assert_int_equal(driver_find(m->root, RELEASE, "libcomposite"), DRIVER_THERE);
    assert_int_equal(driver_find(m->root, RELEASE, "usb_f_mass_storage"), DRIVER_LOADABLE);
    assert_int_equal(driver_find(m->root, RELEASE, "usb_f_fs"), DRIVER_MISSING);
    /* Only as something that another one depends on. */
    assert_int_equal(driver_find(m->root, RELEASE, "other"), DRIVER_MISSING);
    assert_int_equal(driver_find(m->root, "no-such-release", "nbd"), DRIVER_MISSING);
    put(m, "/sys/module/nbd/refcnt", "0\n");
    assert_int_equal(driver_find(m->root, RELEASE, "nbd"), DRIVER_THERE);
}

static void test_all_is_well(void **state)
{
    struct machine *m = *state;

    put(m, "/sys/class/udc/fe980000.usb/function", "");
    put(m, "/sys/class/udc/fe980000.usb/state", "not attached\n");
    start_helper(m);
    report(m);
    SAYS(m, "ok  nbd (block devices, for export = kernel): not loaded; platter-helper does it "
            "(modprobe nbd max_part=0)");
    SAYS(m, "ok  USB device controller fe980000.usb: free, link not attached");
    SAYS_NOT(m, "usb_f_fs");
    SAYS(m, "ok  platter-helper");
    SAYS(m, "ok  slot 0, Drive 1: a USB drive, export kernel\n");
    m->config.slots[0].export_auto = true;
    report(m);
    SAYS(m, "ok  slot 0, Drive 1: a USB drive, export kernel (auto: the kernel has no FunctionFS)");
    assert_int_equal(m->status, 0);
}

static void test_no_controller(void **state)
{
    struct machine *m = *state;

    start_helper(m);
    report(m);
    SAYS(m, "no  USB device controller: none");
    SAYS(m, "dummy_hcd");
    SAYS_NOT(m, "dtoverlay");
    assert_int_equal(m->status, 1);
    put(m, "/proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4");
    report(m);
    SAYS(m, "dtoverlay=dwc2,dr_mode=peripheral");
}

static void test_busy_controllers(void **state)
{
    struct machine *m = *state;

    put(m, "/sys/class/udc/a.usb/function", "keyboard\n");
    put(m, "/sys/class/udc/b.usb/function", "platter-0\n");
    start_helper(m);
    m->config.slot_count = 2;
    m->config.slots[1] = m->config.slots[0];
    report(m);
    SAYS(m, "no  USB device controller a.usb: in use by the gadget keyboard");
    SAYS(m, "ok  USB device controller b.usb: carries Platter's own platter-0");
    SAYS(m, "ok  slot 0");
    SAYS(m, "no  slot 1, Drive 1: needs a USB device controller of its own, and 1 of 2");
    assert_int_equal(m->status, 1);
}

static void test_no_helper(void **state)
{
    struct machine *m = *state;

    put(m, "/sys/class/udc/a.usb/function", "");
    report(m);
    SAYS(m, "no  platter-helper");
    SAYS(m, "systemctl start platter-helper");
    SAYS(m, "no  slot 0");
    assert_int_equal(m->status, 1);
}

static void test_unix_needs_no_kernel(void **state)
{
    struct machine *m = *state;

    snprintf(m->config.slots[0].export_name, sizeof m->config.slots[0].export_name, "unix");
    snprintf(m->config.slots[0].socket_path, sizeof m->config.slots[0].socket_path, "/x/y.sock");
    report(m);
    SAYS(m, "ok  slot 0, Drive 1: nbd+unix:///?socket=/x/y.sock");
    SAYS_NOT(m, "nbd (block devices");
    assert_int_equal(m->status, 0);
    snprintf(m->config.runtime_dir, sizeof m->config.runtime_dir, "%s/none", m->root);
    report(m);
    SAYS(m, "no  runtime directory");
    assert_int_equal(m->status, 1);
}

/* The second of two slots; the first is as the set-up left it, or as a test has made it. */
static struct config_slot *add_slot(struct machine *m)
{
    m->config.slot_count = 2;
    m->config.slots[1] = m->config.slots[0];
    return &m->config.slots[1];
}

static void test_usb(void **state)
{
    struct machine *m = *state;
    struct config_slot *slot = &m->config.slots[0], *other;

    put(m, "/sys/class/udc/a.usb/function", "");
    start_helper(m);
    snprintf(slot->export_name, sizeof slot->export_name, "usb");
    report(m);
    SAYS(m, "no  usb_f_fs (FunctionFS, for export = usb): the kernel " RELEASE " has no such");
    SAYS(m, "or use export = kernel\n");
    SAYS(m, "no  slot 0, Drive 1: needs what is missing above");
    SAYS_NOT(m, "nbd (");
    assert_int_equal(m->status, 1);

    put(m, "/sys/module/usb_f_fs/refcnt", "0\n");
    slot->export_auto = true;
    snprintf(slot->usb_device, sizeof slot->usb_device, "both");
    other = add_slot(m);
    report(m);
    SAYS(m, "ok  slot 0, Drive 1: a USB drive, export usb (auto: the kernel has FunctionFS)\n");
    SAYS(m, "ok  slot 1, Drive 1: a drive of the USB device of slot 0, export usb");
    assert_int_equal(m->status, 0);

    other->usb_device[0] = '\0';
    report(m);
    SAYS(m,
         "no  slot 1, Drive 1: needs a USB device controller of its own, and 1 of 1 are left for "
         "Platter; drives with export = usb can share one (usb_device)");
}

static void test_a_device_alone(void **state)
{
    struct machine *m = *state;

    m->config.slots[0].gadget = false;
    report(m);
    SAYS(m, "ok  nbd (block devices, for export = kernel)");
    SAYS_NOT(m, "libcomposite");
    SAYS_NOT(m, "usb_f_mass_storage");
    SAYS_NOT(m, "USB device controller");
    SAYS(m, "no  slot 0, Drive 1: needs what is missing above");
    assert_int_equal(m->status, 1);

    start_helper(m);
    report(m);
    SAYS(m, "ok  slot 0, Drive 1: an nbd device, export kernel\n");
    assert_int_equal(m->status, 0);

    /* Beside a USB drive it needs no controller of its own. */
    add_slot(m)->gadget = true;
    snprintf(m->config.slots[0].udc, sizeof m->config.slots[0].udc, "none.usb");
    put(m, "/sys/class/udc/a.usb/function", "");
    report(m);
    SAYS(m, "ok  usb_f_mass_storage");
    SAYS(m, "ok  slot 0, Drive 1: an nbd device, export kernel\n");
    SAYS(m, "ok  slot 1, Drive 1: a USB drive, export kernel\n");
    assert_int_equal(m->status, 0);

    /* And works where no USB drive can be made. */
    put(m, "/lib/modules/" RELEASE "/modules.builtin", "");
    report(m);
    SAYS(m, "no  libcomposite");
    SAYS(m, "ok  slot 0, Drive 1: an nbd device, export kernel\n");
    SAYS(m, "no  slot 1, Drive 1: needs what is missing above");
    put(m, "/lib/modules/" RELEASE "/modules.dep", "");
    report(m);
    SAYS(m, "no  nbd (block devices, for export = kernel)");
    SAYS(m, "no  slot 0, Drive 1: needs what is missing above");
    assert_int_equal(m->status, 1);
}

static void test_a_controller_by_name(void **state)
{
    struct machine *m = *state;
    struct config_slot *slot = &m->config.slots[0];

    put(m, "/sys/class/udc/a.usb/function", "keyboard\n");
    put(m, "/sys/class/udc/b.usb/function", "");
    start_helper(m);
    snprintf(slot->udc, sizeof slot->udc, "a.usb");
    report(m);
    SAYS(m, "no  slot 0, Drive 1: its USB device controller a.usb is in use by another gadget");
    snprintf(slot->udc, sizeof slot->udc, "c.usb");
    report(m);
    SAYS(m, "no  slot 0, Drive 1: there is no USB device controller c.usb");
    snprintf(slot->udc, sizeof slot->udc, "b.usb");
    report(m);
    SAYS(m, "ok  slot 0");
}

static void test_addresses(void **state)
{
    struct machine *m = *state;
    struct config_listen *at = m->config.listen;

    m->config.listen_count = 2;
    snprintf(at[0].host, sizeof at[0].host, "127.0.0.1");
    snprintf(at[1].host, sizeof at[1].host, "192.0.2.1"); /* documentation's, so nobody's */
    at[1].port = 80;
    report(m);
    SAYS(m, "ok  page: http://127.0.0.1:0/");
    SAYS(m, "no  page: 192.0.2.1:80");
}

static void test_dbus(void **state)
{
    struct machine *m = *state;
    struct config_slot *slot = &m->config.slots[0];

    snprintf(slot->dbus_socket, sizeof slot->dbus_socket, "%s/none/media.sock", m->root);
    report(m);
    SAYS_NOT(m, "D-Bus");
    m->config.dbus_enabled = true;
    report(m);
    SAYS(m, "no  D-Bus: slot 0: /tmp/platter-check-");
    SAYS(m, "/none/: No such file or directory; make it");
    put(m, "/none/other", "");
    report(m);
    SAYS(m, "ok  D-Bus: slot 0: its callers listen at /tmp/platter-check-");
    SAYS(m, "/none/media.sock\n");
}

#define CHECK_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CHECK_TEST(test_drivers),
        CHECK_TEST(test_all_is_well),
        CHECK_TEST(test_no_controller),
        CHECK_TEST(test_busy_controllers),
        CHECK_TEST(test_no_helper),
        CHECK_TEST(test_unix_needs_no_kernel),
        CHECK_TEST(test_addresses),
        CHECK_TEST(test_dbus),
        CHECK_TEST(test_a_device_alone),
        CHECK_TEST(test_usb),
        CHECK_TEST(test_a_controller_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
