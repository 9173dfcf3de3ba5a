/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world of the keeper's tests. It checks on the way what must hold at all times: one job that
 * builds or removes a slot at once, none without the slot's lock, no teardown beside a cut.
 */
#include "keeper-world.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int fake_claim(void *arg, unsigned slot, char *reason, size_t room)
{
    struct world *w = arg;

    assert_false(w->locked[slot]);
    if (w->claim_fails) {
        snprintf(reason, room, "Held.");
        return -EBUSY;
    }
    w->locked[slot] = true;
    return 0;
}

static void fake_release(void *arg, unsigned slot)
{
    struct world *w = arg;

    assert_true(w->locked[slot]);
    assert_int_equal(w->main[slot], NO_JOB);
    assert_false(w->cut[slot] || w->reloads[slot]);
    w->locked[slot] = false;
}

static int fake_start(void *arg, unsigned slot, enum keeper_job job, const struct privmsg *attach,
                      int take_fd)
{
    struct world *w = arg;

    if (take_fd >= 0)
        close(take_fd);
    assert_true((job == KEEPER_ATTACH || job == KEEPER_ADOPT) == (attach != NULL && take_fd >= 0));
    assert_true(w->locked[slot]);
    if (w->start_fails > 0) {
        w->start_fails--;
        return -EAGAIN;
    }
    if (job == KEEPER_CUT) {
        assert_false(w->cut[slot]);
        w->cut[slot] = true;
        return 0;
    }
    if (job == KEEPER_RELOAD) {
        assert_false(w->reloads[slot] || w->cut[slot] || w->main[slot] != NO_JOB);
        w->reloads[slot] = true;
        w->reload_killed[slot] = false;
        return 0;
    }
    /* Never two that build or remove at once, and no teardown beside a cut or a reload. */
    assert_int_equal(w->main[slot], NO_JOB);
    assert_true(job == KEEPER_ADOPT || !w->reloads[slot]);
    assert_false(w->cut[slot]);
    w->main[slot] = (int)job;
    w->killed[slot] = false;
    w->teardowns += job == KEEPER_TEARDOWN_ALIVE || job == KEEPER_TEARDOWN_DEAD;
    return 0;
}

static void fake_kill(void *arg, unsigned slot)
{
    struct world *w = arg;

    assert_true(w->main[slot] == KEEPER_ATTACH || w->main[slot] == KEEPER_ADOPT ||
                w->reloads[slot]);
    w->killed[slot] = w->main[slot] != NO_JOB;
    w->reload_killed[slot] = w->reloads[slot];
}

static void fake_send(void *arg, int client, const struct privmsg *m, bool with_journal)
{
    struct world *w = arg;
    uint8_t bytes[PRIVMSG_SIZE_MAX];

    assert_true(privmsg_encode(m, bytes) > 0);
    assert_true(w->sent_count < SENT_MAX);
    w->sent[w->sent_count++] =
        (struct sent){.client = client, .m = *m, .with_journal = with_journal};
}

static const struct keeper_ops fake_ops = {
    .claim = fake_claim,
    .release = fake_release,
    .start = fake_start,
    .kill = fake_kill,
    .send = fake_send,
};

int set_up_keeper(void **state, uint64_t grace)
{
    static struct world w;

    memset(&w, 0, sizeof w);
    w.main[0] = w.main[1] = NO_JOB;
    assert_int_equal(keeper_new(&fake_ops, &w, 2, grace, &w.keeper), 0);
    *state = &w;
    return 0;
}

int tear_down(void **state)
{
    struct world *w = *state;

    assert_true(keeper_is_idle(w->keeper));
    assert_false(w->locked[0] || w->locked[1] || w->cut[0] || w->cut[1]);
    assert_int_equal(w->sent_count, w->read_count);
    keeper_free(w->keeper);
    return 0;
}

static void ask_attach(struct world *w, int client, unsigned slot, uint32_t id, bool read_only)
{
    struct privmsg m = {
        .type = PRIVMSG_ATTACH, .slot = slot, .id = id, .size = 4096, .read_only = read_only};

    assert_int_equal(
        keeper_message(w->keeper, client, &m, open("/dev/null", O_RDONLY | O_CLOEXEC), w->now), 0);
}

void attach(struct world *w, int client, unsigned slot, uint32_t id)
{
    ask_attach(w, client, slot, id, true);
}

void attach_writable(struct world *w, int client, unsigned slot, uint32_t id)
{
    ask_attach(w, client, slot, id, false);
}

void usb_attach(struct world *w, int client, unsigned slot, uint32_t id, unsigned drives,
                int journal)
{
    struct privmsg m = {.type = PRIVMSG_USB_ATTACH, .slot = slot, .id = id, .drives = drives};

    assert_int_equal(keeper_message(w->keeper, client, &m, journal, w->now), 0);
}

void usb_adopt(struct world *w, int client, unsigned slot, uint32_t id, unsigned drives)
{
    struct privmsg m = {.type = PRIVMSG_USB_ADOPT, .slot = slot, .id = id, .drives = drives};

    assert_int_equal(keeper_message(w->keeper, client, &m, -1, w->now), 0);
}

void detach(struct world *w, int client, unsigned slot, uint32_t id, bool alive)
{
    struct privmsg m = {.type = PRIVMSG_DETACH, .slot = slot, .id = id, .link_alive = alive};

    assert_int_equal(keeper_message(w->keeper, client, &m, -1, w->now), 0);
}

void adopt(struct world *w, int client, unsigned slot, uint32_t id, uint64_t size)
{
    struct privmsg m = {
        .type = PRIVMSG_ADOPT, .slot = slot, .id = id, .size = size, .read_only = true};

    assert_int_equal(
        keeper_message(w->keeper, client, &m, open("/dev/null", O_RDONLY | O_CLOEXEC), w->now), 0);
}

void reload(struct world *w, int client, unsigned slot, uint32_t id)
{
    struct privmsg m = {.type = PRIVMSG_RELOAD, .slot = slot, .id = id};

    assert_int_equal(keeper_message(w->keeper, client, &m, -1, w->now), 0);
}

void wait_for_deadline(struct world *w)
{
    assert_true(keeper_next_tick(w->keeper) != UINT64_MAX);
    w->now = keeper_next_tick(w->keeper);
    keeper_tick(w->keeper, w->now);
}

void end_job(struct world *w, unsigned slot, enum keeper_job job, int error)
{
    struct keeper_result result = {.error = error, .device = 5};

    if (job == KEEPER_ATTACH && error == 0)
        result.functions = w->functions;
    snprintf(result.reason, sizeof result.reason, "%s", error ? "It broke." : "");
    if (job == KEEPER_CUT) {
        assert_true(w->cut[slot]);
        w->cut[slot] = false;
    } else if (job == KEEPER_RELOAD) {
        assert_true(w->reloads[slot]);
        w->reloads[slot] = false;
    } else {
        assert_int_equal(w->main[slot], (int)job);
        w->main[slot] = NO_JOB;
    }
    keeper_job_ended(w->keeper, slot, job, &result, w->now);
}

void expect(struct world *w, enum privmsg_type type, int client, uint32_t id, int error)
{
    const struct sent *s = &w->sent[w->read_count];

    assert_true(w->read_count < w->sent_count);
    w->read_count++;
    assert_int_equal(s->m.type, type);
    assert_int_equal(s->client, client);
    assert_int_equal(s->m.id, id);
    assert_int_equal(s->m.error, error);
    assert_true((error == 0) == (s->m.reason[0] == '\0'));
}

void attached(struct world *w, int client, unsigned slot)
{
    attach(w, client, slot, 1);
    end_job(w, slot, KEEPER_ATTACH, 0);
    expect(w, PRIVMSG_REPLY, client, 1, 0);
    assert_int_equal(w->sent[w->read_count - 1].m.device, 5);
    assert_int_equal(keeper_state(w->keeper, slot), SLOT_ATTACHED);
}
