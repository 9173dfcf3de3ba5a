// SPDX-License-Identifier: Apache-2.0
/*
 * The machine asks in the ways machines do: runs of neighbouring reads, several at once, jumps,
 * and (where it may) changes of all kinds, some of them over each other.
 *
 * A *job* is one request and what is due of it. It is in `jobs` from its question until it has been
 * answered and given back, which is at the latest when the drive goes. Jobs of a program that died
 * stay in `lost`, for its memory leads there.
 */
#include "machine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "block/engine.h"
#include "content.h"
#include "export/export.h"
#include "world.h"

#define STREAMS 12

struct job {
    struct list link;
    struct request request;
    uint64_t order;
    uint64_t asked_at;
    struct change *change;
    uint8_t *data;
    uint64_t changes_before; /* of a flush: changes answered when it was asked */
    bool answered;
    bool segments; /* of a read's answer are there to be looked at */
    bool given_back;
    bool lost;
};

enum export_state { DOWN, STARTING, UP, STOPPING };

static struct {
    struct machine_habits habits;
    struct machine_counts counts;
    struct export export;
    enum export_state state;
    uint64_t generation; /* of starts and stops: what was due for an older one is void */
    bool will_fail;
    struct engine *engine;
    enum export_link link;
    struct list jobs;
    struct list lost;
    unsigned open;
    uint64_t orders;
    uint32_t versions;
    uint64_t changes_open, changes_answered;
    uint64_t streams[STREAMS];
    bool resting;
    bool asking; /* the next question is due */
    bool reads_all;
    uint64_t read_all_at;
    bool flushed_all;
    bool told_of_loss; /* by that flush */
} machine;

static void ask_due(void *arg);

void machine_init(const struct machine_habits *habits)
{
    memset(&machine, 0, sizeof machine);
    machine.habits = *habits;
    list_init(&machine.jobs);
    list_init(&machine.lost);
    for (unsigned i = 0; i < STREAMS; i++)
        machine.streams[i] = world_random(habits->size / SECTOR) * SECTOR;
}

void machine_done(void)
{
    struct list *link;

    if (!list_is_empty(&machine.jobs))
        world_fail("%u requests were never answered", machine.open);
    while ((link = list_take_first(&machine.lost))) {
        struct job *job = list_entry(link, struct job, link);

        free(job->data);
        free(job);
    }
}

const struct machine_counts *machine_counts(void)
{
    return &machine.counts;
}

bool machine_has_drive(void)
{
    return machine.state == UP;
}

unsigned machine_open(void)
{
    return machine.open;
}

/* ---- answers ---- */

static void judge_read(const struct job *job)
{
    const struct request *r = &job->request;
    uint64_t offset = r->offset;
    uint32_t total = 0;
    uint8_t sector[SECTOR];
    uint32_t have = 0;
    char why[160];

    if (r->segment_count > REQUEST_SEGMENTS_MAX)
        world_fail("an answer in %u segments", r->segment_count);
    for (unsigned i = 0; i < r->segment_count; i++) {
        const struct request_segment *s = &r->segments[i];

        for (uint32_t at = 0; at < s->length;) {
            uint32_t count = s->length - at < SECTOR - have ? s->length - at : SECTOR - have;

            if (s->data)
                memcpy(sector + have, s->data + at, count);
            else
                memset(sector + have, 0, count);
            at += count;
            have += count;
            if (have < SECTOR)
                continue;
            if (!content_may_be(offset / SECTOR, job->order, sector, why, sizeof why))
                world_fail("sector %" PRIu64 " of a read (request %" PRIu64 ") is wrong: %s",
                           offset / SECTOR, job->order, why);
            have = 0;
            offset += SECTOR;
        }
        total += s->length;
    }
    if (total != r->length)
        world_fail("an answer of %u bytes to a read of %u", total, r->length);
}

static void give_back(struct job *job)
{
    if (job->given_back)
        return;
    /* The answer's memory is the engine's, and must have stayed as it was. */
    if (job->segments)
        judge_read(job);
    job->given_back = true;
    list_remove(&job->link);
    machine.open--;
    engine_release(machine.engine, &job->request);
}

static void give_back_due(void *arg)
{
    struct job *job = arg;

    if (job->lost)
        return;
    give_back(job);
    free(job->data);
    free(job);
}

/* While a far end that makes no errors is there or waited for, only being late is one. */
static void judge_error(const struct job *job, int error)
{
    bool in_time = world_now() - job->asked_at + 10 * MS < machine.habits.limit;

    machine.counts.errors++;
    if (in_time && machine.state == UP && !machine.habits.may_fail())
        world_fail("request %" PRIu64 " was answered with error %d though nothing is wrong",
                   job->order, error);
    /* The last flush may be the first one since something was lost. */
    if (machine.reads_all && job->request.op == REQUEST_FLUSH && machine.habits.may_have_lost() &&
        !machine.told_of_loss) {
        machine.told_of_loss = true;
        machine.flushed_all = false;
    } else if (machine.reads_all)
        world_fail("request %" PRIu64 " was answered with error %d after all was mended",
                   job->order, error);
}

static void end_change(struct job *job, int error)
{
    if (!job->change)
        return;
    content_end(job->change, error);
    job->change = NULL;
    machine.changes_open--;
    machine.changes_answered++;
}

static void settle(const struct job *job)
{
    /* A flush speaks of what was answered before it was asked; with others in between, of less. */
    if (job->request.op == REQUEST_FLUSH && machine.habits.writable && machine.changes_open == 0 &&
        machine.changes_answered == job->changes_before)
        content_settle(0, machine.habits.size / SECTOR);
    /* A trim is a hint, and may have left alone whatever it covers in part. */
    if (job->request.fua && job->request.op != REQUEST_TRIM)
        content_settle(job->request.offset / SECTOR, job->request.length / SECTOR);
}

static void answered(struct request *r, int error)
{
    struct job *job = list_entry(r, struct job, request);

    if (job->answered)
        world_fail("request %" PRIu64 " was answered twice", job->order);
    job->answered = true;
    world_trace("request %" PRIu64 ": %d", job->order, error);
    if (world_now() - job->asked_at > machine.habits.limit + 10 * MS)
        world_fail("request %" PRIu64 " was answered after %.3f s", job->order,
                   (double)(world_now() - job->asked_at) / SECOND);
    if (error)
        judge_error(job, error);
    job->segments = !error && r->op == REQUEST_READ;
    if (job->segments)
        judge_read(job);
    end_change(job, error);
    if (!error)
        settle(job);
    /* Readers that are slow to take their answer pin the engine's memory. */
    world_after(world_chance(50) ? world_random(SECOND) : world_random(3 * MS), give_back_due, job);
    if (machine.state == DOWN)
        give_back(job);
}

void machine_check(void)
{
    list_for_each (it, &machine.jobs) {
        const struct job *job = list_entry(it, struct job, link);

        if (job->answered)
            continue;
        if (machine.state == UP && machine.habits.must_fail())
            world_fail("request %" PRIu64 " waits on though the far end's time is over",
                       job->order);
        /* In the order of asking, so the first one is the oldest. */
        if (world_now() - job->asked_at > machine.habits.limit + 10 * MS)
            world_fail("request %" PRIu64 " (op %d, %u bytes at %" PRIu64 ") has no answer after "
                       "%.3f s",
                       job->order, job->request.op, job->request.length, job->request.offset,
                       (double)(world_now() - job->asked_at) / SECOND);
        return;
    }
}

/* ---- questions ---- */

static void submit(enum request_op op, uint64_t offset, uint32_t length)
{
    struct job *job = calloc(1, sizeof *job);
    uint64_t sector = offset / SECTOR;
    uint32_t count = length / SECTOR;

    if (!job)
        abort();
    job->order = ++machine.orders;
    job->asked_at = world_now();
    job->request =
        (struct request){.op = op, .offset = offset, .length = length, .complete = answered};
    if (op == REQUEST_WRITE || op == REQUEST_WRITE_ZEROES || op == REQUEST_TRIM)
        job->request.fua = world_chance(100);
    if (op == REQUEST_WRITE) {
        uint32_t version = ++machine.versions;

        job->data = malloc(length);
        if (!job->data)
            abort();
        for (uint32_t i = 0; i < count; i++)
            content_fill(sector + i, version, job->data + (size_t)i * SECTOR);
        job->request.data = job->data;
        job->change = content_begin(CHANGE_WRITE, sector, count, job->order, version);
    } else if (op == REQUEST_WRITE_ZEROES) {
        job->change = content_begin(CHANGE_ZERO, sector, count, job->order, 0);
    } else if (op == REQUEST_TRIM) {
        job->change = content_begin(CHANGE_DISCARD, sector, count, job->order, 0);
    }
    machine.changes_open += job->change != NULL;
    job->changes_before = machine.changes_answered;
    machine.counts.reads += op == REQUEST_READ;
    machine.counts.flushes += op == REQUEST_FLUSH;
    machine.counts.changes += job->change != NULL;
    list_append(&machine.jobs, &job->link);
    machine.open++;
    world_trace("request %" PRIu64 ": op %d%s, %u bytes at %" PRIu64, job->order, op,
                job->request.fua ? " fua" : "", length, offset);
    engine_submit(machine.engine, &job->request);
}

static uint32_t some_length(void)
{
    static const uint32_t lengths[] = {512, 4096, 4096, 16384, 65536, 131072, 262144};

    if (world_chance(20))
        return REQUEST_LENGTH_MAX;
    if (world_chance(200))
        return (uint32_t)(1 + world_random(300)) * SECTOR;
    return lengths[world_random(sizeof lengths / sizeof lengths[0])];
}

static void ask_one(void)
{
    uint64_t *stream = &machine.streams[world_random(STREAMS)];
    uint64_t size = machine.habits.size;
    uint32_t length = some_length();
    unsigned kind = (unsigned)world_random(100);
    enum request_op op = REQUEST_READ;

    if (world_chance(300))
        *stream = world_random(size / SECTOR) * SECTOR;
    /* A few sectors that everything is done to, for overlaps. */
    if (machine.habits.writable && world_chance(200))
        *stream = world_random(256) * SECTOR;
    if (*stream + length > size)
        *stream = size - length;
    if (kind >= 97) {
        submit(REQUEST_FLUSH, 0, 0);
        return;
    }
    if (machine.habits.writable && kind >= 60)
        op = kind < 85 ? REQUEST_WRITE : kind < 91 ? REQUEST_WRITE_ZEROES : REQUEST_TRIM;
    submit(op, *stream, length);
    *stream += length;
}

static void ask_next_of_all(void)
{
    uint64_t left = machine.habits.size - machine.read_all_at;
    uint32_t length = left < 131072 ? (uint32_t)left : 131072;

    if (left > 0)
        submit(REQUEST_READ, machine.read_all_at, length);
    else
        submit(REQUEST_FLUSH, 0, 0);
    machine.flushed_all = left == 0;
    machine.read_all_at += length;
}

static void ask_soon(void)
{
    if (machine.asking)
        return;
    machine.asking = true;
    world_after(world_chance(30) ? world_random(5 * SECOND) : world_random(30 * MS), ask_due, NULL);
}

static void ask_due(void *arg)
{
    (void)arg;
    machine.asking = false;
    if (machine.state != UP)
        return;
    if (machine.open < machine.habits.open_max) {
        if (machine.reads_all && !machine.flushed_all)
            ask_next_of_all();
        else if (!machine.resting && !machine.reads_all)
            ask_one();
    }
    ask_soon();
}

void machine_rest(bool rest)
{
    machine.resting = rest;
}

void machine_read_all(void)
{
    machine.reads_all = true;
    machine.flushed_all = false;
    machine.told_of_loss = false;
    machine.read_all_at = 0;
}

bool machine_has_read_all(void)
{
    return machine.flushed_all && machine.open == 0;
}

/* ---- the export ---- */

static uint64_t new_generation(enum export_state state)
{
    machine.state = state;
    return ++machine.generation;
}

static bool is_void(const void *arg)
{
    return (uint64_t)(uintptr_t)arg != machine.generation;
}

static struct job *first_answered(void)
{
    list_for_each (it, &machine.jobs) {
        struct job *job = list_entry(it, struct job, link);

        if (job->answered)
            return job;
    }
    return NULL;
}

static void stopped(int error)
{
    struct job *job;

    new_generation(DOWN);
    /* Each may make room for the answer to another one, which then is given back inside. */
    while ((job = first_answered()))
        give_back(job);
    machine.export.events->stopped(machine.export.owner, error,
                                   error ? "The drive was taken away." : "");
}

static void started_due(void *arg)
{
    if (is_void(arg))
        return;
    if (machine.will_fail) {
        stopped(-EIO);
        return;
    }
    machine.state = UP;
    machine.export.events->started(machine.export.owner);
    ask_soon();
}

static void stopped_due(void *arg)
{
    if (!is_void(arg))
        stopped(0);
}

static int export_new(const struct export_config *config, struct export **out);

static int export_check(const struct export *e, const struct medium *medium, char *reason,
                        size_t room)
{
    (void)e;
    (void)medium;
    snprintf(reason, room, "%s", "");
    return 0;
}

static void export_begin(struct engine *engine)
{
    if (machine.state != DOWN)
        world_fail("an export was started that was not stopped");
    machine.engine = engine;
    machine.link = EXPORT_LINK_LIVE;
    machine.will_fail = world_chance(machine.habits.export_fails);
    world_after(MS + world_random(3 * SECOND), started_due,
                (void *)(uintptr_t)new_generation(STARTING));
}

static void export_start_it(struct export *e, const struct medium *medium, struct engine *engine)
{
    (void)e;
    (void)medium;
    machine.counts.starts++;
    export_begin(engine);
}

static void export_adopt_it(struct export *e, const struct medium *medium, struct engine *engine)
{
    (void)e;
    (void)medium;
    machine.counts.adoptions++;
    export_begin(engine);
}

static void export_reload_it(struct export *e)
{
    (void)e;
    machine.counts.reloads++;
}

static void export_link_it(struct export *e, enum export_link link)
{
    (void)e;
    if (machine.state == DOWN)
        world_fail("an export that does not run was told of its link");
    machine.link = link;
}

static void export_stop_it(struct export *e, bool link_alive)
{
    (void)e;
    (void)link_alive;
    if (machine.state == DOWN)
        return;
    world_after(MS + world_random(SECOND), stopped_due,
                (void *)(uintptr_t)new_generation(STOPPING));
}

static void export_describe(const struct export *e, char *out, size_t room)
{
    (void)e;
    snprintf(out, room, "%s", "");
}

static void export_free_it(struct export *e)
{
    (void)e;
}

static const struct export_ops export_ops = {
    .name = "kernel",
    .grace_max = 25,
    .check = export_check,
    .new = export_new,
    .start = export_start_it,
    .adopt = export_adopt_it,
    .reload = export_reload_it,
    .link = export_link_it,
    .stop = export_stop_it,
    .describe = export_describe,
    .free = export_free_it,
};

static int export_new(const struct export_config *config, struct export **out)
{
    (void)config;
    machine.export.ops = &export_ops;
    *out = &machine.export;
    return 0;
}

const struct export_ops *export_find(const char *name)
{
    (void)name;
    return &export_ops;
}

void machine_eject(void)
{
    if (machine.state == UP)
        machine.export.events->ejected(machine.export.owner);
}

void machine_lose_export(void)
{
    if (machine.state == UP)
        stopped(-EPIPE);
}

void machine_device_died(void)
{
    struct list *link;

    new_generation(DOWN);
    while ((link = list_take_first(&machine.jobs))) {
        struct job *job = list_entry(link, struct job, link);

        /* Done or not: nobody knows. A machine asks again, which is a new question. */
        end_change(job, -EIO);
        job->lost = true;
        list_append(&machine.lost, &job->link);
    }
    machine.open = 0;
    machine.engine = NULL;
}
