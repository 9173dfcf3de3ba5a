/* SPDX-License-Identifier: Apache-2.0 */
/* The helper's mind against fake jobs: drives come and go, and whatever can die on the way does. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keeper-world.h"

static int set_up(void **state)
{
    return set_up_keeper(state, 0);
}

static void test_attach_and_detach(void **state)
{
    struct world *w = *state;

    for (int alive = 0; alive < 2; alive++) {
        attached(w, 1, 0);
        detach(w, 1, 0, 2, alive);
        end_job(w, 0, alive ? KEEPER_TEARDOWN_ALIVE : KEEPER_TEARDOWN_DEAD, 0);
        expect(w, PRIVMSG_REPLY, 1, 2, 0);
    }
    detach(w, 1, 0, 3, true);
    expect(w, PRIVMSG_REPLY, 1, 3, 0);
}

static void test_failed_attach_is_undone_first(void **state)
{
    struct world *w = *state;

    attach(w, 1, 0, 1);
    end_job(w, 0, KEEPER_ATTACH, -ENODEV);
    assert_int_equal(w->sent_count, 0);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 1, 1, -ENODEV);
}

/* Worker and cut end in either order; the last teardown runs alone. */
static void test_detach_while_the_attach_is_stuck(void **state)
{
    struct world *w = *state;

    for (int order = 0; order < 2; order++) {
        for (int alive = 0; alive < 2; alive++) {
            attach(w, 1, 0, 1);
            detach(w, 1, 0, 2, alive);
            expect(w, PRIVMSG_REPLY, 1, 1, -ECANCELED);
            assert_true(w->killed[0] && w->cut[0]);
            end_job(w, 0, order ? KEEPER_ATTACH : KEEPER_CUT, -EIO);
            end_job(w, 0, order ? KEEPER_CUT : KEEPER_ATTACH, -EIO);
            end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
            expect(w, PRIVMSG_REPLY, 1, 2, 0);
        }
    }
    /* It may also have come through just before the kill. */
    attach(w, 1, 0, 1);
    detach(w, 1, 0, 2, true);
    expect(w, PRIVMSG_REPLY, 1, 1, -ECANCELED);
    end_job(w, 0, KEEPER_ATTACH, 0);
    end_job(w, 0, KEEPER_CUT, 0);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 1, 2, 0);
}

static void test_orderly_teardown_that_hangs_is_cut(void **state)
{
    struct world *w = *state;

    attached(w, 1, 0);
    detach(w, 1, 0, 2, true);
    assert_true(keeper_next_tick(w->keeper) == w->now + KEEPER_PATIENCE);
    w->now += KEEPER_PATIENCE - 1;
    keeper_tick(w->keeper, w->now);
    assert_false(w->cut[0]);
    w->now++;
    keeper_tick(w->keeper, w->now);
    assert_true(w->cut[0]);
    assert_true(keeper_next_tick(w->keeper) == UINT64_MAX);
    end_job(w, 0, KEEPER_TEARDOWN_ALIVE, 0);
    end_job(w, 0, KEEPER_CUT, 0);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 1, 2, 0);
}

static void test_second_detach_says_the_line_is_dead(void **state)
{
    struct world *w = *state;

    attached(w, 1, 0);
    detach(w, 1, 0, 2, true);
    detach(w, 1, 0, 3, false);
    assert_true(w->cut[0]);
    end_job(w, 0, KEEPER_CUT, 0);
    end_job(w, 0, KEEPER_TEARDOWN_ALIVE, 0);
    expect(w, PRIVMSG_REPLY, 1, 2, 0);
    expect(w, PRIVMSG_REPLY, 1, 3, 0);
}

/* A cut that failed, or that came too early, must not leave its job asleep for good. */
static void test_cut_that_wakes_nothing(void **state)
{
    struct world *w = *state;

    attached(w, 1, 0);
    detach(w, 1, 0, 2, false);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 1, 2, 0);
    attach(w, 1, 0, 3);
    detach(w, 1, 0, 4, false);
    expect(w, PRIVMSG_REPLY, 1, 3, -ECANCELED);
    for (int i = 0; i < 3; i++) {
        end_job(w, 0, KEEPER_CUT, i ? 0 : -ENOMEM);
        assert_true(keeper_next_tick(w->keeper) == w->now + KEEPER_PATIENCE);
        w->now += KEEPER_PATIENCE;
        keeper_tick(w->keeper, w->now);
        assert_true(w->cut[0]);
    }
    end_job(w, 0, KEEPER_ATTACH, -EIO);
    end_job(w, 0, KEEPER_CUT, 0);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 1, 4, 0);
}

/* Others may wait for a drive to go, and neither hurry it nor stand in its owner's way. */
static void test_owner_is_heard_among_those_who_wait(void **state)
{
    struct world *w = *state;

    attached(w, 1, 0);
    detach(w, 1, 0, 2, true);
    for (uint32_t id = 10; id < 14; id++)
        detach(w, 2, 0, id, false);
    assert_false(w->cut[0]);
    for (uint32_t id = 11; id < 14; id++)
        expect(w, PRIVMSG_REPLY, 2, id, -EBUSY);
    detach(w, 1, 0, 3, false);
    assert_true(w->cut[0]);
    end_job(w, 0, KEEPER_CUT, 0);
    end_job(w, 0, KEEPER_TEARDOWN_ALIVE, 0);
    expect(w, PRIVMSG_REPLY, 1, 2, 0);
    expect(w, PRIVMSG_REPLY, 2, 10, 0);
    expect(w, PRIVMSG_REPLY, 1, 3, 0);
}

/* A cut that cannot be started is tried again. */
static void test_cut_that_does_not_start(void **state)
{
    struct world *w = *state;

    attach(w, 1, 0, 1);
    w->start_fails = 1;
    detach(w, 1, 0, 2, false);
    expect(w, PRIVMSG_REPLY, 1, 1, -ECANCELED);
    assert_false(w->cut[0]);
    w->now = keeper_next_tick(w->keeper);
    keeper_tick(w->keeper, w->now);
    assert_true(w->cut[0]);
    end_job(w, 0, KEEPER_CUT, 0);
    end_job(w, 0, KEEPER_ATTACH, -EIO);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 1, 2, 0);
}

static void test_client_dies_at_every_step(void **state)
{
    struct world *w = *state;

    /* while attaching */
    attach(w, 1, 0, 1);
    keeper_client_gone(w->keeper, 1, w->now);
    end_job(w, 0, KEEPER_CUT, 0);
    end_job(w, 0, KEEPER_ATTACH, -EIO);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    /* attached */
    attached(w, 1, 0);
    keeper_client_gone(w->keeper, 1, w->now);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    /* in an orderly teardown, whose line died with it */
    attached(w, 1, 0);
    detach(w, 1, 0, 2, true);
    keeper_client_gone(w->keeper, 1, w->now);
    assert_int_equal(w->main[0], KEEPER_TEARDOWN_ALIVE);
    end_job(w, 0, KEEPER_TEARDOWN_ALIVE, -EIO);
    if (w->cut[0])
        end_job(w, 0, KEEPER_CUT, 0);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    /* while a failed attach is undone */
    attach(w, 1, 0, 1);
    end_job(w, 0, KEEPER_ATTACH, -EIO);
    keeper_client_gone(w->keeper, 1, w->now);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    /* while it waits for its turn */
    attached(w, 1, 0);
    detach(w, 1, 0, 2, false);
    attach(w, 2, 0, 1);
    keeper_client_gone(w->keeper, 2, w->now);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 1, 2, 0);
    /* after all is over */
    keeper_client_gone(w->keeper, 1, w->now);
}

static void test_worker_dies_at_every_step(void **state)
{
    struct world *w = *state;

    attach(w, 1, 0, 1);
    end_job(w, 0, KEEPER_ATTACH, -EIO);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, -EIO);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 1, 1, -EIO);

    attached(w, 1, 0);
    detach(w, 1, 0, 2, true);
    end_job(w, 0, KEEPER_TEARDOWN_ALIVE, -EIO);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 1, 2, 0);

    /* Not even forking works. */
    attached(w, 1, 0);
    w->start_fails = 1;
    detach(w, 1, 0, 2, false);
    /* No process for it: once more later, for nobody else takes the drive down. */
    assert_int_equal(w->main[0], NO_JOB);
    assert_true(w->locked[0]);
    w->now = keeper_next_tick(w->keeper);
    keeper_tick(w->keeper, w->now);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 1, 2, 0);
    w->start_fails = 1;
    attach(w, 1, 0, 1);
    expect(w, PRIVMSG_REPLY, 1, 1, -EAGAIN);
}

/* A slot that cannot be cleared is not free: everybody hears why, and it is tried for ever. */
static void test_teardown_that_never_works(void **state)
{
    struct world *w = *state;

    attached(w, 1, 0);
    detach(w, 1, 0, 2, false);
    attach(w, 2, 0, 7);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, -EBUSY);
    assert_int_equal(w->main[0], KEEPER_TEARDOWN_DEAD);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, -EBUSY);
    expect(w, PRIVMSG_REPLY, 1, 2, -EBUSY);
    expect(w, PRIVMSG_REPLY, 2, 7, -EBUSY);
    assert_int_equal(keeper_state(w->keeper, 0), SLOT_DETACHING);
    assert_true(w->locked[0]);
    /* Who asks for it meanwhile waits for the next try. */
    attach(w, 2, 0, 8);
    wait_for_deadline(w);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, -EBUSY);
    expect(w, PRIVMSG_REPLY, 2, 8, -EBUSY);
    attach(w, 2, 0, 9);
    wait_for_deadline(w);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    end_job(w, 0, KEEPER_ATTACH, 0);
    expect(w, PRIVMSG_REPLY, 2, 9, 0);
    detach(w, 2, 0, 1, false);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 2, 1, 0);
}

static void test_drive_goes_unasked(void **state)
{
    struct world *w = *state;

    attached(w, 1, 0);
    keeper_drive_gone(w->keeper, 0, "Somebody pulled it.", w->now);
    expect(w, PRIVMSG_GONE, 1, 0, -ENODEV);
    keeper_drive_gone(w->keeper, 0, "Somebody pulled it.", w->now);
    detach(w, 1, 0, 2, true);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 1, 2, 0);
}

static void test_next_attach_waits_its_turn(void **state)
{
    struct world *w = *state;

    attached(w, 1, 0);
    keeper_client_gone(w->keeper, 1, w->now);
    attach(w, 2, 0, 7);
    attach(w, 3, 0, 8);
    expect(w, PRIVMSG_REPLY, 3, 8, -EBUSY);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    end_job(w, 0, KEEPER_ATTACH, 0);
    expect(w, PRIVMSG_REPLY, 2, 7, 0);
    /* Called off while it waits. */
    keeper_client_gone(w->keeper, 2, w->now);
    attach(w, 3, 0, 1);
    detach(w, 3, 0, 2, true);
    expect(w, PRIVMSG_REPLY, 3, 1, -ECANCELED);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    expect(w, PRIVMSG_REPLY, 3, 2, 0);
}

static void test_slots_and_owners_are_apart(void **state)
{
    struct world *w = *state;

    attached(w, 1, 0);
    attached(w, 2, 1);
    attach(w, 2, 0, 5);
    expect(w, PRIVMSG_REPLY, 2, 5, -EBUSY);
    detach(w, 2, 0, 6, false);
    expect(w, PRIVMSG_REPLY, 2, 6, -EPERM);
    keeper_client_gone(w->keeper, 1, w->now);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    assert_int_equal(keeper_state(w->keeper, 1), SLOT_ATTACHED);
    detach(w, 2, 1, 7, true);
    end_job(w, 1, KEEPER_TEARDOWN_ALIVE, 0);
    expect(w, PRIVMSG_REPLY, 2, 7, 0);
}

static void test_bad_requests(void **state)
{
    struct world *w = *state;
    struct privmsg m = {.type = PRIVMSG_GONE};

    attach(w, 1, 2, 1);
    expect(w, PRIVMSG_REPLY, 1, 1, -EINVAL);
    assert_int_equal(keeper_message(w->keeper, 1, &m, -1, 0), -EPROTO);
    m = (struct privmsg){.type = PRIVMSG_ATTACH, .id = 2, .size = 1};
    assert_int_equal(keeper_message(w->keeper, 1, &m, -1, 0), 0);
    expect(w, PRIVMSG_REPLY, 1, 2, -EBADF);
    m = (struct privmsg){.type = PRIVMSG_DETACH};
    assert_int_equal(keeper_message(w->keeper, 1, &m, open("/dev/null", O_RDONLY), 0), -EPROTO);
    w->claim_fails = 1;
    attach(w, 1, 0, 3);
    expect(w, PRIVMSG_REPLY, 1, 3, -EBUSY);
}

static void test_leftovers_of_an_earlier_helper(void **state)
{
    struct world *w = *state;

    keeper_begin(w->keeper);
    assert_int_equal(w->teardowns, 2);
    attach(w, 1, 0, 1);
    end_job(w, 1, KEEPER_TEARDOWN_DEAD, 0);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    end_job(w, 0, KEEPER_ATTACH, 0);
    expect(w, PRIVMSG_REPLY, 1, 1, 0);
    keeper_client_gone(w->keeper, 1, 0);
    end_job(w, 0, KEEPER_TEARDOWN_DEAD, 0);
    /* What another process holds is left alone. */
    w->claim_fails = 1;
    keeper_begin(w->keeper);
    assert_int_equal(w->teardowns, 3);
}

static void test_orderly_stop(void **state)
{
    struct world *w = *state;

    attached(w, 1, 0);
    attach(w, 1, 1, 2);
    keeper_stop(w->keeper, w->now);
    expect(w, PRIVMSG_GONE, 1, 0, -ESHUTDOWN);
    expect(w, PRIVMSG_REPLY, 1, 2, -ESHUTDOWN);
    assert_true(w->killed[1]);
    assert_false(keeper_is_idle(w->keeper));
    attach(w, 1, 0, 3);
    expect(w, PRIVMSG_REPLY, 1, 3, -ESHUTDOWN);
    end_job(w, 0, KEEPER_TEARDOWN_ALIVE, 0);
    end_job(w, 1, KEEPER_ATTACH, -EIO);
    end_job(w, 1, KEEPER_CUT, 0);
    end_job(w, 1, KEEPER_TEARDOWN_DEAD, 0);
}

/* What a machine has written is given longer to go out. */
static void test_patience(void **state)
{
    struct world *w = *state;

    for (int read_only = 0; read_only < 2; read_only++) {
        struct privmsg m = {.type = PRIVMSG_ATTACH, .id = 1, .size = 512, .read_only = read_only};

        keeper_message(w->keeper, 1, &m, open("/dev/null", O_RDONLY | O_CLOEXEC), w->now);
        end_job(w, 0, KEEPER_ATTACH, 0);
        expect(w, PRIVMSG_REPLY, 1, 1, 0);
        detach(w, 1, 0, 2, true);
        assert_true(keeper_next_tick(w->keeper) ==
                    w->now + (read_only ? KEEPER_PATIENCE : KEEPER_PATIENCE_WRITES));
        end_job(w, 0, KEEPER_TEARDOWN_ALIVE, 0);
        expect(w, PRIVMSG_REPLY, 1, 2, 0);
    }
}

/* The helper exits after ten seconds, whatever still runs: what is mute must be cut well before. */
static void test_patience_of_a_helper_that_stops(void **state)
{
    struct world *w = *state;

    for (int slot = 0; slot < 2; slot++) {
        attach_writable(w, 1, (unsigned)slot, 1);
        end_job(w, (unsigned)slot, KEEPER_ATTACH, 0);
        expect(w, PRIVMSG_REPLY, 1, 1, 0);
    }
    /* One is on its way down already. */
    detach(w, 1, 1, 2, true);
    keeper_stop(w->keeper, w->now);
    expect(w, PRIVMSG_GONE, 1, 0, -ESHUTDOWN);
    assert_true(keeper_next_tick(w->keeper) == w->now + KEEPER_PATIENCE_STOP);
    wait_for_deadline(w);
    assert_true(w->cut[0] && w->cut[1]);
    for (int slot = 0; slot < 2; slot++) {
        end_job(w, (unsigned)slot, KEEPER_CUT, 0);
        end_job(w, (unsigned)slot, KEEPER_TEARDOWN_ALIVE, 0);
    }
    expect(w, PRIVMSG_REPLY, 1, 2, 0);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_attach_and_detach),
        WORLD_TEST(test_failed_attach_is_undone_first),
        WORLD_TEST(test_detach_while_the_attach_is_stuck),
        WORLD_TEST(test_orderly_teardown_that_hangs_is_cut),
        WORLD_TEST(test_second_detach_says_the_line_is_dead),
        WORLD_TEST(test_cut_that_wakes_nothing),
        WORLD_TEST(test_owner_is_heard_among_those_who_wait),
        WORLD_TEST(test_cut_that_does_not_start),
        WORLD_TEST(test_client_dies_at_every_step),
        WORLD_TEST(test_worker_dies_at_every_step),
        WORLD_TEST(test_teardown_that_never_works),
        WORLD_TEST(test_drive_goes_unasked),
        WORLD_TEST(test_next_attach_waits_its_turn),
        WORLD_TEST(test_slots_and_owners_are_apart),
        WORLD_TEST(test_bad_requests),
        WORLD_TEST(test_leftovers_of_an_earlier_helper),
        WORLD_TEST(test_orderly_stop),
        WORLD_TEST(test_patience),
        WORLD_TEST(test_patience_of_a_helper_that_stops),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
