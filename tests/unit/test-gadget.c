/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walker of the plans, against a configfs of our own that keeps the kernel's rules: what may
 * be removed when, which attributes are refused once the drive's file is open, what waits for a
 * mute line. A process may die at any step, so going down is tried from every half-built state.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gadget/gadget.h"

#define NODES_MAX 16
#define SLOT      2
#define ROOT      "platter-2"

struct fake {
    char nodes[NODES_MAX][PLAN_PATH_MAX]; /* directories and links; "" is a free place */
    char inquiry[64];
    char cdrom[8];
    bool file_open;
    char udc[32];
    bool connected;
    bool sealed;
    bool mute; /* reads hang: what would wait for them is an error here, unless cut */
    int steps_left;
    const char *udcs[3];
    const char *udc_busy[3];
    const char *udc_stolen; /* says it is free, but is not */
    bool old_kernel;
    unsigned functions; /* whose endpoints are open */
    unsigned carries;   /* how many the controllers have endpoints for; 0: any number */
    bool no_functionfs;
    const char *lacks;   /* what no directory can be made of */
    char strings[3][40]; /* manufacturer, product, serialnumber */
    char bound[64];
};

static int find(struct fake *f, const char *path)
{
    for (int i = 0; i < NODES_MAX; i++) {
        if (strcmp(f->nodes[i], path) == 0)
            return i;
    }
    return -1;
}

static bool has_child(struct fake *f, const char *path)
{
    size_t length = strlen(path);

    for (int i = 0; i < NODES_MAX; i++) {
        if (strncmp(f->nodes[i], path, length) == 0 && f->nodes[i][length] == '/')
            return true;
    }
    return false;
}

/* The process dies here. */
static bool dead(struct fake *f)
{
    return f->steps_left-- <= 0;
}

static int fake_add(void *arg, const char *path)
{
    struct fake *f = arg;
    int place = find(f, "");

    if (dead(f))
        return -EINTR;
    if (f->lacks && strstr(path, f->lacks))
        return -ENOENT;
    if (find(f, path) >= 0)
        return -EEXIST;
    assert_true(place >= 0);
    snprintf(f->nodes[place], PLAN_PATH_MAX, "%s", path);
    return 0;
}

static int fake_remove_dir(void *arg, const char *path)
{
    struct fake *f = arg;
    int at = find(f, path);

    if (dead(f))
        return -EINTR;
    if (at < 0)
        return -ENOENT;
    if (has_child(f, path))
        return -ENOTEMPTY;
    if (strstr(path, "/functions/")) {
        if (find(f, ROOT "/configs/c.1/mass_storage.0") >= 0 ||
            find(f, ROOT "/configs/c.1/ffs." ROOT) >= 0)
            return -EBUSY;
        f->functions = 0;
        assert_false(f->mute && f->connected);
        f->file_open = false;
        f->inquiry[0] = '\0';
    }
    f->nodes[at][0] = '\0';
    return 0;
}

static int fake_unlink(void *arg, const char *path)
{
    struct fake *f = arg;
    int at = find(f, path);

    if (dead(f))
        return -EINTR;
    if (at < 0)
        return -ENOENT;
    assert_string_equal(f->udc, "");
    f->nodes[at][0] = '\0';
    return 0;
}

static int fake_link(void *arg, const char *target, const char *path)
{
    assert_true(find(arg, target) >= 0);
    return fake_add(arg, path);
}

static void close_lun(struct fake *f)
{
    f->file_open = false;
    if (f->sealed)
        f->connected = false;
}

static int write_lun(struct fake *f, const char *name, const char *text)
{
    if (find(f, ROOT "/functions/mass_storage.0") < 0)
        return -ENOENT;
    if (strcmp(name, "file") == 0) {
        assert_true(f->connected);
        f->file_open = true;
    } else if (strcmp(name, "forced_eject") == 0) {
        if (f->old_kernel)
            return -ENOENT;
        assert_string_equal(text, "\n");
        assert_false(f->mute && f->connected);
        close_lun(f);
    } else if (strcmp(name, "inquiry_string") == 0) {
        assert_int_equal(strlen(text), 28);
        snprintf(f->inquiry, sizeof f->inquiry, "%s", text);
    } else if (f->file_open) {
        return -EBUSY;
    } else if (strcmp(name, "cdrom") == 0) {
        snprintf(f->cdrom, sizeof f->cdrom, "%s", text);
    }
    return 0;
}

static int fake_write(void *arg, const char *path, const char *text)
{
    struct fake *f = arg;
    const char *name = strrchr(path, '/') + 1;

    if (dead(f))
        return -EINTR;
    if (strstr(path, "/lun.0/"))
        return write_lun(f, name, text);
    if (find(f, ROOT) < 0)
        return -ENOENT;
    if (strcmp(name, "manufacturer") == 0)
        snprintf(f->strings[0], sizeof f->strings[0], "%s", text);
    if (strcmp(name, "product") == 0)
        snprintf(f->strings[1], sizeof f->strings[1], "%s", text);
    if (strcmp(name, "serialnumber") == 0)
        snprintf(f->strings[2], sizeof f->strings[2], "%s", text);
    if (strcmp(name, "UDC") != 0)
        return 0;
    if (strcmp(text, "\n") == 0) {
        assert_false(f->mute && f->connected);
        f->udc[0] = '\0';
        return 0;
    }
    /* The host sees a drive from here on: all of it must be there. */
    if (f->functions > 0) {
        assert_true(find(f, ROOT "/configs/c.1/ffs." ROOT) >= 0);
    } else {
        assert_true(find(f, ROOT "/configs/c.1/mass_storage.0") >= 0);
        assert_true(f->file_open && f->sealed);
    }
    for (int n = 0; n < 3 && f->udc_stolen; n++) {
        if (f->udcs[n] && strcmp(text, f->udc_stolen) == 0 && strcmp(text, f->udcs[n]) == 0) {
            f->udc_busy[n] = "thief";
            return -EBUSY;
        }
    }
    if (f->carries && f->functions > f->carries)
        return f->old_kernel ? -524 : -EBUSY;
    snprintf(f->udc, sizeof f->udc, "%s", text);
    return 0;
}

static int fake_read(void *arg, const char *path, char *out, size_t room)
{
    struct fake *f = arg;

    assert_string_equal(path, ROOT "/UDC");
    snprintf(out, room, "%s", f->udc);
    return 0;
}

static int fake_exists(void *arg, const char *path)
{
    return find(arg, path) >= 0 ? 0 : -ENOENT;
}

static int fake_controller(void *arg, unsigned n, char *name, size_t room, char *busy,
                           size_t busy_room)
{
    struct fake *f = arg;

    if (n >= 3 || !f->udcs[n])
        return -ENOENT;
    snprintf(name, room, "%s", f->udcs[n]);
    snprintf(busy, busy_room, "%s", f->udc_busy[n] ? f->udc_busy[n] : "");
    return 0;
}

static int fake_endpoints(void *arg, const char *name, unsigned functions)
{
    struct fake *f = arg;

    if (dead(f))
        return -EINTR;
    if (f->no_functionfs)
        return -EOPNOTSUPP;
    assert_string_equal(name, ROOT);
    /* FunctionFS has no instance of this name before. */
    assert_true(find(f, ROOT "/functions/ffs." ROOT) >= 0);
    f->functions = functions;
    return 0;
}

static int fake_seal(void *arg)
{
    struct fake *f = arg;

    if (dead(f))
        return -EINTR;
    assert_true(f->file_open);
    f->sealed = true;
    return 0;
}

static int fake_disconnect(void *arg)
{
    struct fake *f = arg;

    if (dead(f))
        return -EINTR;
    f->connected = false;
    return 0;
}

static int fake_connected(void *arg)
{
    return ((struct fake *)arg)->connected;
}

static int fake_bound(void *arg, const char *controller)
{
    struct fake *f = arg;

    snprintf(f->bound, sizeof f->bound, "%s", controller);
    return 0;
}

static const struct gadget_ops fake_ops = {
    .make_dir = fake_add,
    .remove_dir = fake_remove_dir,
    .write = fake_write,
    .read = fake_read,
    .link = fake_link,
    .unlink = fake_unlink,
    .exists = fake_exists,
    .controller = fake_controller,
    .endpoints = fake_endpoints,
    .seal = fake_seal,
    .disconnect = fake_disconnect,
    .connected = fake_connected,
    .bound = fake_bound,
};

static struct fake fresh(void)
{
    return (struct fake){.connected = true, .steps_left = 1000, .udcs = {"udc.0"}};
}

static int up(struct fake *f, enum medium_kind kind, const char *udc, char *reason, size_t room)
{
    struct plan_wanted wanted = {.slot = SLOT,
                                 .kind = kind,
                                 .read_only = true,
                                 .device = "/dev/nbd0",
                                 .vendor = "Platter",
                                 .serial = "504C415454455202"};
    int r = fake_add(f, ROOT); /* the helper's claim */

    if (r < 0)
        return r;
    snprintf(wanted.udc, sizeof wanted.udc, "%s", udc);
    return gadget_up(&fake_ops, f, &wanted, reason, room);
}

static struct fake fresh_usb(void)
{
    struct fake f = fresh();

    f.connected = false;
    return f;
}

static int up_usb(struct fake *f, unsigned functions, const char *udc, char *reason, size_t room)
{
    struct plan_wanted wanted = {.slot = SLOT,
                                 .carrier = PLAN_FUNCTIONFS,
                                 .functions = functions,
                                 .vendor = "Acme",
                                 .product = "Tray",
                                 .serial = "0123456789AB"};
    int r = fake_add(f, ROOT); /* the helper's claim */

    if (r < 0)
        return r;
    snprintf(wanted.udc, sizeof wanted.udc, "%s", udc);
    return gadget_up(&fake_ops, f, &wanted, reason, room);
}

static void assert_nothing(struct fake *f)
{
    for (int i = 0; i < NODES_MAX; i++)
        assert_string_equal(f->nodes[i], "");
    assert_false(f->connected);
    assert_string_equal(f->udc, "");
}

static void test_up_and_down(void **state)
{
    char reason[256];

    (void)state;
    for (int cd = 0; cd < 2; cd++) {
        struct fake f = fresh();

        assert_int_equal(up(&f, cd ? MEDIUM_CD : MEDIUM_DISK, "", reason, sizeof reason), 0);
        assert_string_equal(f.cdrom, cd ? "1" : "0");
        assert_string_equal(f.udc, "udc.0");
        assert_string_equal(f.bound, "udc.0");
        assert_string_equal(f.strings[0], "Platter");
        assert_string_equal(f.strings[1], "Platter");
        assert_string_equal(f.strings[2], "504C415454455202");
        assert_string_equal(f.inquiry,
                            cd ? "Platter Virtual CD      0100" : "Platter Virtual Disk    0100");
        assert_int_equal(gadget_down(&fake_ops, &f, SLOT, true, reason, sizeof reason), 0);
        assert_nothing(&f);
    }
}

/* The process dies after each number of steps; the next one clears what is left, itself dying after
 * each number of steps; the one after that clears the rest. */
static void test_down_from_every_half(void **state)
{
    char reason[256];

    (void)state;
    for (int built = 0; built < 40; built++) {
        for (int undone = 0; undone < 20; undone++) {
            for (int variant = 0; variant < 4; variant++) {
                struct fake f = fresh();
                bool alive = variant & 1;

                f.steps_left = built;
                f.old_kernel = variant & 2;
                up(&f, MEDIUM_DISK, "", reason, sizeof reason);
                f.mute = !alive;
                f.steps_left = undone;
                gadget_down(&fake_ops, &f, SLOT, alive, reason, sizeof reason);
                f.steps_left = 1000;
                assert_int_equal(gadget_down(&fake_ops, &f, SLOT, alive, reason, sizeof reason), 0);
                assert_nothing(&f);
            }
        }
    }
}

static void test_controllers(void **state)
{
    char reason[256];
    struct fake f = fresh();

    (void)state;
    f.udcs[0] = NULL;
    assert_int_equal(up(&f, MEDIUM_DISK, "", reason, sizeof reason), -ENODEV);
    assert_non_null(strstr(reason, "no USB device controller"));

    f = fresh();
    f.udcs[1] = "udc.1";
    f.udc_busy[0] = "keyboard";
    assert_int_equal(up(&f, MEDIUM_DISK, "", reason, sizeof reason), 0);
    assert_string_equal(f.bound, "udc.1");

    f = fresh();
    f.udcs[1] = "udc.1";
    f.udc_stolen = "udc.0";
    assert_int_equal(up(&f, MEDIUM_DISK, "", reason, sizeof reason), 0);
    assert_string_equal(f.bound, "udc.1");

    f = fresh();
    f.udc_busy[0] = "keyboard";
    assert_int_equal(up(&f, MEDIUM_DISK, "", reason, sizeof reason), -EBUSY);
    assert_non_null(strstr(reason, "udc.0 runs keyboard"));

    f = fresh();
    assert_int_equal(up(&f, MEDIUM_DISK, "udc.7", reason, sizeof reason), -ENODEV);
    assert_non_null(strstr(reason, "udc.7"));

    f = fresh();
    f.udc_stolen = "udc.0";
    assert_int_equal(up(&f, MEDIUM_DISK, "udc.0", reason, sizeof reason), -EBUSY);
    assert_non_null(strstr(reason, "udc.0 is in use by thief"));
}

static void test_usb_up_and_down(void **state)
{
    char reason[256];
    struct fake f = fresh_usb();

    (void)state;
    assert_int_equal(up_usb(&f, 3, "", reason, sizeof reason), 0);
    assert_int_equal(f.functions, 3);
    assert_string_equal(f.bound, "udc.0");
    assert_string_equal(f.strings[0], "Acme");
    assert_string_equal(f.strings[1], "Tray");
    assert_string_equal(f.strings[2], "0123456789AB");
    /* No nbd device has a part in it, nor does a line that may be dead. */
    f.mute = true;
    assert_int_equal(gadget_down(&fake_ops, &f, SLOT, false, reason, sizeof reason), 0);
    assert_nothing(&f);
}

static void test_usb_down_from_every_half(void **state)
{
    char reason[256];

    (void)state;
    for (int built = 0; built < 40; built++) {
        for (int undone = 0; undone < 20; undone++) {
            struct fake f = fresh_usb();

            f.steps_left = built;
            up_usb(&f, 2, "", reason, sizeof reason);
            f.steps_left = undone;
            gadget_down(&fake_ops, &f, SLOT, true, reason, sizeof reason);
            f.steps_left = 1000;
            assert_int_equal(gadget_down(&fake_ops, &f, SLOT, true, reason, sizeof reason), 0);
            assert_nothing(&f);
        }
    }
}

/* It is told from a busy one, so that fewer functions can be tried: whatever the kernel says. */
static void test_usb_controller_with_too_few_endpoints(void **state)
{
    static const char *const names[] = {"", "udc.0"};
    char reason[256];

    (void)state;
    for (int old = 0; old < 2; old++) {
        for (int named = 0; named < 2; named++) {
            struct fake f = fresh_usb();

            f.carries = 2;
            f.old_kernel = old;
            f.udcs[1] = "udc.1";
            f.udc_busy[1] = "keyboard";
            assert_int_equal(up_usb(&f, 3, names[named], reason, sizeof reason), -ENOSPC);
            assert_non_null(strstr(reason, "udc.0 refuses the drive"));
            assert_int_equal(gadget_down(&fake_ops, &f, SLOT, true, reason, sizeof reason), 0);
            assert_nothing(&f);
            assert_int_equal(up_usb(&f, 2, names[named], reason, sizeof reason), 0);
        }
    }
}

static void test_usb_without_functionfs(void **state)
{
    char reason[256];
    struct fake f = fresh_usb();

    (void)state;
    f.no_functionfs = true;
    assert_int_equal(up_usb(&f, 1, "", reason, sizeof reason), -EOPNOTSUPP);
    assert_non_null(strstr(reason, "export = kernel"));

    f = fresh_usb();
    f.lacks = "/ffs.";
    assert_int_equal(up_usb(&f, 1, "", reason, sizeof reason), -ENOENT);
    assert_non_null(strstr(reason, "lacks usb_f_fs"));
}

/* A part of that name that is not to be had is a failure with a sentence, not a half drive. */
static void test_up_over_something_fails(void **state)
{
    char reason[256];
    struct fake f = fresh();

    (void)state;
    fake_add(&f, ROOT "/strings/0x409");
    assert_int_equal(up(&f, MEDIUM_DISK, "", reason, sizeof reason), -EEXIST);
    assert_non_null(strstr(reason, ROOT));
    assert_string_equal(f.udc, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_up_and_down),
        cmocka_unit_test(test_down_from_every_half),
        cmocka_unit_test(test_controllers),
        cmocka_unit_test(test_usb_up_and_down),
        cmocka_unit_test(test_usb_down_from_every_half),
        cmocka_unit_test(test_usb_controller_with_too_few_endpoints),
        cmocka_unit_test(test_usb_without_functionfs),
        cmocka_unit_test(test_up_over_something_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
