/* SPDX-License-Identifier: Apache-2.0 */
/* USB devices: attached by a job, adopted without one, told from drives on an nbd device. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "keeper-world.h"

#define GRACE 10000

static int set_up(void **state)
{
    return set_up_keeper(state, GRACE);
}

static int some_journal(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static const struct sent *last(const struct world *w)
{
    return &w->sent[w->read_count - 1];
}

/* A USB device of client 1 in slot 0. */
static void usb_attached(struct world *w, unsigned drives, unsigned functions)
{
    usb_attach(w, 1, 0, 1, drives, some_journal());
    assert_int_equal(keeper_state(w->keeper, 0), SLOT_ATTACHING);
    w->functions = functions;
    end_job(w, 0, KEEPER_ATTACH, 0);
    w->functions = 0;
    expect(w, PRIVMSG_REPLY, 1, 1, 0);
    assert_true(last(w)->m.functions == functions && !last(w)->with_journal);
}

static void gone(struct world *w, int client)
{
    detach(w, client, 0, 99, true);
    end_job(w, 0, KEEPER_TEARDOWN_ALIVE, 0);
    expect(w, PRIVMSG_REPLY, client, 99, 0);
    assert_int_equal(last(w)->m.functions, 0);
}

static void test_attach_and_detach(void **state)
{
    struct world *w = *state;

    usb_attached(w, 2, 2);
    usb_attach(w, 1, 0, 2, 2, some_journal());
    expect(w, PRIVMSG_REPLY, 1, 2, -EBUSY);
    gone(w, 1);
}

static void test_attach_without_its_journal(void **state)
{
    struct world *w = *state;

    usb_attach(w, 1, 0, 2, 1, -1);
    expect(w, PRIVMSG_REPLY, 1, 2, -EBADF);
    assert_non_null(strstr(last(w)->m.reason, "journal"));
}

static void test_adoption_brings_no_journal(void **state)
{
    struct privmsg m = {.type = PRIVMSG_USB_ADOPT, .slot = 0, .id = 1, .drives = 1};
    struct world *w = *state;

    assert_int_equal(keeper_message(w->keeper, 1, &m, some_journal(), w->now), -EPROTO);
}

static void test_failed_attach_is_answered_when_all_is_gone(void **state)
{
    struct world *w = *state;

    usb_attach(w, 1, 0, 2, 1, some_journal());
    w->functions = 1;
    end_job(w, 0, KEEPER_ATTACH, -ENODEV);
    assert_int_equal(w->sent_count, w->read_count);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 1, 2, -ENODEV);
    assert_int_equal(last(w)->m.functions, 0);
}

static void test_adopted_at_once(void **state)
{
    struct world *w = *state;

    usb_attached(w, 3, 1);
    usb_adopt(w, 2, 0, 4, 3);
    expect(w, PRIVMSG_REPLY, 2, 4, -EBUSY);
    keeper_client_gone(w->keeper, 1, w->now);
    assert_int_equal(keeper_state(w->keeper, 0), SLOT_ORPHANED);
    usb_adopt(w, 2, 1, 5, 3);
    expect(w, PRIVMSG_REPLY, 2, 5, -ENOENT);
    /* No process does anything: there is no deadline and no job. */
    usb_adopt(w, 2, 0, 6, 3);
    expect(w, PRIVMSG_REPLY, 2, 6, 0);
    assert_true(last(w)->m.functions == 1 && last(w)->with_journal);
    assert_int_equal(keeper_state(w->keeper, 0), SLOT_ATTACHED);
    assert_int_equal(w->main[0], NO_JOB);
    assert_true(keeper_next_tick(w->keeper) == UINT64_MAX);
    /* It is the new one's in every way: the old one's way of being gone is over. */
    keeper_client_gone(w->keeper, 2, w->now);
    assert_int_equal(keeper_state(w->keeper, 0), SLOT_ORPHANED);
    usb_adopt(w, 3, 0, 7, 3);
    expect(w, PRIVMSG_REPLY, 3, 7, 0);
    keeper_drive_gone(w->keeper, 0, "Somebody removed it.", w->now);
    expect(w, PRIVMSG_GONE, 3, 0, -ENODEV);
    assert_int_equal(last(w)->m.functions, 0);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
}

static void test_grace_is_over(void **state)
{
    struct world *w = *state;

    usb_attached(w, 1, 1);
    keeper_client_gone(w->keeper, 1, w->now);
    wait_for_deadline(w);
    usb_adopt(w, 2, 0, 4, 1);
    expect(w, PRIVMSG_REPLY, 2, 4, -ENOENT);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
}

/* Whoever adopts must know what it adopts; what nobody knows goes. */
static void test_adopted_as_something_else(void **state)
{
    struct world *w = *state;

    for (unsigned as_drive = 0; as_drive < 2; as_drive++) {
        usb_attached(w, 2, 2);
        keeper_client_gone(w->keeper, 1, w->now);
        if (as_drive)
            adopt(w, 2, 0, 5, 4096);
        else
            usb_adopt(w, 2, 0, 5, 1);
        end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
        expect(w, PRIVMSG_REPLY, 2, 5, -ESTALE);
    }
    attached(w, 1, 0);
    keeper_client_gone(w->keeper, 1, w->now);
    usb_adopt(w, 2, 0, 6, 1);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 2, 6, -ESTALE);
}

/* An adoption of another kind under way: this one hears when that is over, and has no descriptor
 * that could be lost meanwhile. */
static void test_adoption_waits_for_another(void **state)
{
    struct world *w = *state;

    attached(w, 1, 0);
    keeper_client_gone(w->keeper, 1, w->now);
    adopt(w, 2, 0, 5, 4096);
    keeper_client_gone(w->keeper, 2, w->now);
    usb_adopt(w, 3, 0, 6, 1);
    assert_int_equal(w->sent_count, w->read_count);
    end_job(w, 0, KEEPER_ADOPT, 0);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 3, 6, -ESTALE);
}

static void test_orphan_in_the_way(void **state)
{
    struct world *w = *state;

    usb_attached(w, 1, 1);
    keeper_client_gone(w->keeper, 1, w->now);
    usb_attach(w, 2, 0, 8, 1, some_journal());
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    w->functions = 1;
    end_job(w, 0, KEEPER_ATTACH, 0);
    expect(w, PRIVMSG_REPLY, 2, 8, 0);
    gone(w, 2);
}

static void test_no_reload(void **state)
{
    struct world *w = *state;

    usb_attached(w, 1, 1);
    reload(w, 1, 0, 3);
    expect(w, PRIVMSG_REPLY, 1, 3, -EOPNOTSUPP);
    gone(w, 1);
    attached(w, 1, 0);
    reload(w, 1, 0, 4);
    end_job(w, 0, KEEPER_RELOAD, 0);
    expect(w, PRIVMSG_REPLY, 1, 4, 0);
    detach(w, 1, 0, 5, false);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 1, 5, 0);
}

#define USB_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        USB_TEST(test_attach_and_detach),
        USB_TEST(test_attach_without_its_journal),
        USB_TEST(test_adoption_brings_no_journal),
        USB_TEST(test_failed_attach_is_answered_when_all_is_gone),
        USB_TEST(test_adopted_at_once),
        USB_TEST(test_grace_is_over),
        USB_TEST(test_adopted_as_something_else),
        USB_TEST(test_adoption_waits_for_another),
        USB_TEST(test_orphan_in_the_way),
        USB_TEST(test_no_reload),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
