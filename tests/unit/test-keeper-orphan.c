/* SPDX-License-Identifier: Apache-2.0 */
/* Drives whose owner dies and that wait for the next one; and the reload of a drive that stands. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keeper-world.h"

#define GRACE 10000

static int set_up_with_grace(void **state)
{
    return set_up_keeper(state, GRACE);
}

/* A drive whose owner, client 1, has died. */
static void orphaned(struct world *w)
{
    attached(w, 1, 0);
    keeper_client_gone(w->keeper, 1, w->now);
    assert_int_equal(keeper_state(w->keeper, 0), SLOT_ORPHANED);
    assert_int_equal(w->main[0], NO_JOB);
    assert_false(w->cut[0]);
}

static void gone(struct world *w, int client)
{
    detach(w, client, 0, 99, false);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, client, 99, 0);
}

static void test_drive_is_adopted(void **state)
{
    struct world *w = *state;

    orphaned(w);
    assert_true(keeper_next_tick(w->keeper) == w->now + GRACE);
    /* Another slot has nothing to adopt. */
    adopt(w, 2, 1, 5, 4096);
    expect(w, PRIVMSG_REPLY, 2, 5, -ENOENT);
    adopt(w, 2, 0, 6, 4096);
    assert_int_equal(keeper_state(w->keeper, 0), SLOT_ATTACHING);
    /* No deadline runs while it is adopted. */
    assert_true(keeper_next_tick(w->keeper) == UINT64_MAX);
    end_job(w, 0, KEEPER_ADOPT, 0);
    expect(w, PRIVMSG_REPLY, 2, 6, 0);
    assert_int_equal(w->sent[w->read_count - 1].m.device, 5);
    adopt(w, 3, 0, 7, 4096);
    expect(w, PRIVMSG_REPLY, 3, 7, -EBUSY);
    /* It is the new one's in every way: also to die with, and to be adopted again. */
    keeper_client_gone(w->keeper, 2, w->now);
    adopt(w, 3, 0, 8, 4096);
    end_job(w, 0, KEEPER_ADOPT, 0);
    expect(w, PRIVMSG_REPLY, 3, 8, 0);
    gone(w, 3);
}

static void test_grace_is_over(void **state)
{
    struct world *w = *state;

    orphaned(w);
    w->now += GRACE - 1;
    keeper_tick(w->keeper, w->now);
    assert_int_equal(keeper_state(w->keeper, 0), SLOT_ORPHANED);
    wait_for_deadline(w);
    adopt(w, 2, 0, 1, 4096);
    expect(w, PRIVMSG_REPLY, 2, 1, -ENOENT);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
}

static void test_adoption_that_fails_leaves_nothing(void **state)
{
    struct world *w = *state;

    orphaned(w);
    adopt(w, 2, 0, 1, 4096);
    end_job(w, 0, KEEPER_ADOPT, -ENOMEDIUM);
    assert_int_equal(w->sent_count, w->read_count);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 2, 1, -ENOMEDIUM);
    /* Not the drive that it was. */
    orphaned(w);
    adopt(w, 2, 0, 2, 8192);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 2, 2, -ESTALE);
    /* No process for it. */
    orphaned(w);
    w->start_fails = 1;
    adopt(w, 2, 0, 3, 4096);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 2, 3, -EAGAIN);
}

/* Its owners may die at any moment, the adopting one too, and the drive waits for the next. */
static void test_adopter_dies(void **state)
{
    struct world *w = *state;

    orphaned(w);
    adopt(w, 2, 0, 1, 4096);
    keeper_client_gone(w->keeper, 2, w->now);
    assert_int_equal(keeper_state(w->keeper, 0), SLOT_ORPHANED);
    assert_false(w->killed[0]);
    /* The next one comes while the job of the last one still runs. */
    adopt(w, 3, 0, 2, 4096);
    adopt(w, 4, 0, 3, 4096);
    expect(w, PRIVMSG_REPLY, 4, 3, -EBUSY);
    end_job(w, 0, KEEPER_ADOPT, 0);
    end_job(w, 0, KEEPER_ADOPT, 0);
    expect(w, PRIVMSG_REPLY, 3, 2, 0);
    keeper_client_gone(w->keeper, 3, w->now);
    /* Or the job comes to nothing: then there is no drive any more for the one who waits. */
    adopt(w, 4, 0, 4, 4096);
    keeper_client_gone(w->keeper, 4, w->now);
    adopt(w, 5, 0, 5, 4096);
    end_job(w, 0, KEEPER_ADOPT, -EIO);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 5, 5, -ENOENT);
    /* The one who waits dies too, and then the grace is over while a job runs. */
    orphaned(w);
    adopt(w, 2, 0, 6, 4096);
    keeper_client_gone(w->keeper, 2, w->now);
    adopt(w, 3, 0, 7, 4096);
    keeper_client_gone(w->keeper, 3, w->now);
    wait_for_deadline(w);
    assert_true(w->killed[0]);
    end_job(w, 0, KEEPER_CUT, 0);
    end_job(w, 0, KEEPER_ADOPT, -EIO);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
}

static void test_attach_that_was_under_way_is_called_off(void **state)
{
    struct world *w = *state;

    attach(w, 1, 0, 1);
    keeper_client_gone(w->keeper, 1, w->now);
    assert_true(w->killed[0]);
    adopt(w, 2, 0, 2, 4096);
    expect(w, PRIVMSG_REPLY, 2, 2, -ENOENT);
    end_job(w, 0, KEEPER_CUT, 0);
    end_job(w, 0, KEEPER_ATTACH, -EIO);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
}

/* A platterd that knows nothing of the drive: what it left is removed, then its own is made. */
static void test_orphan_in_the_way(void **state)
{
    struct world *w = *state;

    orphaned(w);
    attach(w, 2, 0, 1);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    end_job(w, 0, KEEPER_ATTACH, 0);
    expect(w, PRIVMSG_REPLY, 2, 1, 0);
    keeper_client_gone(w->keeper, 2, w->now);
    /* Or it wants to be rid of it. The line is dead, whatever it believes. */
    detach(w, 3, 0, 2, true);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 3, 2, 0);
    /* An adoption that is called off before it began. */
    orphaned(w);
    adopt(w, 2, 0, 3, 4096);
    keeper_client_gone(w->keeper, 2, w->now);
    adopt(w, 3, 0, 4, 4096);
    detach(w, 3, 0, 5, true);
    expect(w, PRIVMSG_REPLY, 3, 4, -ECANCELED);
    end_job(w, 0, KEEPER_ADOPT, 0);
    end_job(w, 0, KEEPER_CUT, 0);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 3, 5, 0);
}

static void test_reload(void **state)
{
    struct world *w = *state;

    reload(w, 1, 0, 1);
    expect(w, PRIVMSG_REPLY, 1, 1, -ENOENT);
    attached(w, 1, 0);
    reload(w, 2, 0, 2);
    expect(w, PRIVMSG_REPLY, 2, 2, -EPERM);
    reload(w, 1, 0, 3);
    reload(w, 1, 0, 4);
    expect(w, PRIVMSG_REPLY, 1, 4, -EBUSY);
    end_job(w, 0, KEEPER_RELOAD, 0);
    expect(w, PRIVMSG_REPLY, 1, 3, 0);
    /* One that fails costs no drive. */
    reload(w, 1, 0, 5);
    end_job(w, 0, KEEPER_RELOAD, -EIO);
    expect(w, PRIVMSG_REPLY, 1, 5, -EIO);
    assert_int_equal(keeper_state(w->keeper, 0), SLOT_ATTACHED);
    w->start_fails = 1;
    reload(w, 1, 0, 6);
    expect(w, PRIVMSG_REPLY, 1, 6, -EAGAIN);
    gone(w, 1);
}

static void test_detach_while_reloading(void **state)
{
    struct world *w = *state;

    /* In good order: the reload ends first, and if it does not, its line is cut. */
    attached(w, 1, 0);
    reload(w, 1, 0, 2);
    detach(w, 1, 0, 3, true);
    assert_false(w->reload_killed[0]);
    end_job(w, 0, KEEPER_RELOAD, 0);
    expect(w, PRIVMSG_REPLY, 1, 2, 0);
    end_job(w, 0, KEEPER_TEARDOWN_ALIVE, 0);
    expect(w, PRIVMSG_REPLY, 1, 3, 0);
    attached(w, 1, 0);
    reload(w, 1, 0, 2);
    detach(w, 1, 0, 3, true);
    wait_for_deadline(w);
    assert_true(w->cut[0]);
    end_job(w, 0, KEEPER_CUT, 0);
    end_job(w, 0, KEEPER_RELOAD, -EIO);
    expect(w, PRIVMSG_REPLY, 1, 2, -EIO);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 1, 3, 0);
    /* With a dead line, at once. */
    attached(w, 1, 0);
    reload(w, 1, 0, 2);
    detach(w, 1, 0, 3, false);
    assert_true(w->reload_killed[0] && w->cut[0]);
    end_job(w, 0, KEEPER_RELOAD, -EIO);
    expect(w, PRIVMSG_REPLY, 1, 2, -EIO);
    end_job(w, 0, KEEPER_CUT, 0);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 1, 3, 0);
}

/*
 * A reload waits for the machine's command, which waits for the line that died, which comes back
 * with the next platterd and not before: so the adoption must not wait for the reload.
 */
static void test_owner_dies_while_reloading(void **state)
{
    struct world *w = *state;

    attached(w, 1, 0);
    reload(w, 1, 0, 2);
    keeper_client_gone(w->keeper, 1, w->now);
    assert_false(w->reload_killed[0]);
    adopt(w, 2, 0, 3, 4096);
    assert_int_equal(w->main[0], KEEPER_ADOPT);
    end_job(w, 0, KEEPER_ADOPT, 0);
    expect(w, PRIVMSG_REPLY, 2, 3, 0);
    reload(w, 2, 0, 4);
    expect(w, PRIVMSG_REPLY, 2, 4, -EBUSY);
    /* Its requester is gone: nobody is told. */
    end_job(w, 0, KEEPER_RELOAD, 0);
    reload(w, 2, 0, 5);
    end_job(w, 0, KEEPER_RELOAD, 0);
    expect(w, PRIVMSG_REPLY, 2, 5, 0);
    gone(w, 2);
}

static void test_reload_outlasts_an_adoption_that_fails(void **state)
{
    struct world *w = *state;

    attached(w, 1, 0);
    reload(w, 1, 0, 2);
    keeper_client_gone(w->keeper, 1, w->now);
    adopt(w, 2, 0, 3, 4096);
    end_job(w, 0, KEEPER_ADOPT, -EIO);
    /* What it waits for will not come: it is woken, and only then is the slot cleared. */
    assert_true(w->reload_killed[0] && w->cut[0]);
    end_job(w, 0, KEEPER_CUT, 0);
    assert_int_equal(w->teardowns, 0);
    wait_for_deadline(w);
    assert_true(w->cut[0]);
    end_job(w, 0, KEEPER_RELOAD, -EIO);
    assert_int_equal(w->teardowns, 0);
    end_job(w, 0, KEEPER_CUT, 0);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 2, 3, -EIO);
}

static void test_adoption_beside_a_reload_is_called_off(void **state)
{
    struct world *w = *state;

    attached(w, 1, 0);
    reload(w, 1, 0, 2);
    keeper_client_gone(w->keeper, 1, w->now);
    adopt(w, 2, 0, 3, 4096);
    detach(w, 2, 0, 4, true);
    expect(w, PRIVMSG_REPLY, 2, 3, -ECANCELED);
    assert_true(w->killed[0] && w->reload_killed[0] && w->cut[0]);
    end_job(w, 0, KEEPER_ADOPT, -EIO);
    end_job(w, 0, KEEPER_CUT, 0);
    end_job(w, 0, KEEPER_RELOAD, -EIO);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 2, 4, 0);
    /* The grace is over, and the reload still runs. */
    attached(w, 1, 0);
    reload(w, 1, 0, 2);
    keeper_client_gone(w->keeper, 1, w->now);
    wait_for_deadline(w);
    assert_true(w->reload_killed[0] && w->cut[0]);
    end_job(w, 0, KEEPER_RELOAD, -EIO);
    end_job(w, 0, KEEPER_CUT, 0);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
}

static void test_stop_takes_orphans_too(void **state)
{
    struct world *w = *state;

    orphaned(w);
    attached(w, 2, 1);
    keeper_stop(w->keeper, w->now);
    expect(w, PRIVMSG_GONE, 2, 0, -ESHUTDOWN);
    adopt(w, 3, 0, 4, 4096);
    expect(w, PRIVMSG_REPLY, 3, 4, -ESHUTDOWN);
    keeper_client_gone(w->keeper, 2, w->now);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    assert_true(w->cut[1]);
    end_job(w, 1, KEEPER_TEARDOWN_ALIVE, 0);
    end_job(w, 1, KEEPER_CUT, 0);
    end_job(w, 1, KEEPER_TEARDOWN_DEAD, 0);
}

#define GRACE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up_with_grace, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        GRACE_TEST(test_drive_is_adopted),
        GRACE_TEST(test_grace_is_over),
        GRACE_TEST(test_adoption_that_fails_leaves_nothing),
        GRACE_TEST(test_adopter_dies),
        GRACE_TEST(test_attach_that_was_under_way_is_called_off),
        GRACE_TEST(test_orphan_in_the_way),
        GRACE_TEST(test_reload),
        GRACE_TEST(test_detach_while_reloading),
        GRACE_TEST(test_owner_dies_while_reloading),
        GRACE_TEST(test_reload_outlasts_an_adoption_that_fails),
        GRACE_TEST(test_adoption_beside_a_reload_is_called_off),
        GRACE_TEST(test_stop_takes_orphans_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
