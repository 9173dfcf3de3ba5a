// SPDX-License-Identifier: Apache-2.0
/*
 * The simulation: a slot, its session and its engine, as platterd has them, in a world where chance
 * cuts lines, stalls them, brings other images, restarts far ends without what they had not
 * flushed, kills platterd itself, and lets the machine ask for anything at any time. After every
 * step the rules are checked: each request answered once, in time, with the right bytes, within the
 * bound on memory.
 *
 *     sim [--seed N] [--lives N] [--steps N] [--seconds N] [--trace]
 *
 * A *life* is one world with one seed: `steps` steps of trouble, then all is mended and every byte
 * of the image is read. Lives follow each other, seed after seed, until there have been `lives` of
 * them, or `seconds` are over; `trace` tells every question, answer and trouble. A failure prints
 * its seed, and that seed alone shows it again.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "content.h"
#include "coverage.h"
#include "far-end.h"
#include "machine.h"
#include "slot/slot.h"
#include "world.h"

#define DEATHS_MAX 6

/* What differs from life to life. */
struct life {
    struct far_end_image image;
    struct far_end_chances chances;
    struct machine_habits habits;
    struct slot_config slot;
    bool calm; /* no trouble but of the line */
};

static struct {
    struct life life;
    struct slot *slot;
    struct slot *dead[DEATHS_MAX]; /* of programs that died: never touched again */
    unsigned deaths;
    char directory[64];
    bool mended; /* no more trouble; the far end comes back at once */
    bool call_is_due;
    bool over; /* the world runs dry */
    uint64_t troubles;
    size_t memory_most;
} sim;

static struct {
    uint64_t lives, steps, reads, changes, flushes, errors, adoptions, reloads, troubles;
} total;

static bool is_in(const char *state)
{
    struct slot_status status;

    slot_get_status(sim.slot, &status);
    return strcmp(status.state, state) == 0;
}

static bool may_fail(void)
{
    return !sim.life.calm || is_in("absent") || is_in("returning") || is_in("closing") ||
           is_in("idle");
}

/* The grace is over, and whoever comes is not yet known to be the same. */
static bool must_fail(void)
{
    return is_in("absent") || is_in("returning");
}

static const uint32_t block_sizes[] = {1, 512, 4096, 65536};
static const uint32_t length_limits[] = {4096, 16384, 65536};

static void choose_life(void)
{
    struct life *l = &sim.life;
    bool writable = world_chance(600);

    *l = (struct life){.calm = world_chance(250)};
    l->image = (struct far_end_image){
        .size = (12u << 20) + (world_chance(500) ? world_random(4096) * SECTOR : 0),
        .writable = writable,
        .block_min = block_sizes[world_random(4)],
        .length_max = world_chance(500) ? length_limits[world_random(3)] : 1u << 20,
        .in_flight_max = 64,
        .can_fua = world_chance(500),
        .can_trim = world_chance(500),
        .can_write_zeroes = world_chance(500),
        .can_extents = world_chance(500),
    };
    /* Small answers and few at once would be too slow for any machine's patience. */
    if (l->image.length_max >= 65536 && world_chance(250))
        l->image.in_flight_max = 2 + (unsigned)world_random(8);
    if (l->image.length_max < l->image.block_min)
        l->image.length_max = l->image.block_min;
    l->image.size -= l->image.size % (l->image.block_min > SECTOR ? l->image.block_min : SECTOR);
    if (!l->calm)
        l->chances = (struct far_end_chances){.read_error = 3, .write_error = 3, .mute = 2};
    l->slot = (struct slot_config){
        .name = "Drive 1",
        .export_name = "kernel",
        .grace = 5 + (unsigned)world_random(21),
        .keep = world_chance(200) ? 0 : (unsigned)world_random(200),
        .cache_max = (4u << 20) + (unsigned)world_random(3) * (2u << 20),
        .record_dir = sim.directory,
    };
    l->habits = (struct machine_habits){
        .size = l->image.size,
        .writable = writable,
        .open_max = 1 + (unsigned)world_random(40),
        .limit = l->slot.grace * (uint64_t)SECOND,
        .may_fail = may_fail,
        .may_have_lost = far_end_failed_a_flush,
        .must_fail = must_fail,
        .export_fails = l->calm ? 0 : 50,
    };
}

/* ---- the far end's coming and going ---- */

static void call(bool other, bool with_token)
{
    /* Of an image that the machine has written to all over, only its name tells it from another. */
    struct slot_offer offer = {
        .kind = MEDIUM_DISK,
        .name = other && sim.life.image.writable ? "other.img" : "drive.img",
        .modified = 1700000000000,
        .resume = with_token && far_end_token()[0] ? far_end_token() : NULL,
    };

    world_trace("a far end comes%s%s", other ? ", another one" : "", offer.resume ? ", back" : "");
    slot_open(sim.slot, far_end_call(other), &offer);
}

static void call_due(void *arg)
{
    bool other;

    (void)arg;
    sim.call_is_due = false;
    if (sim.over || far_end_is_there())
        return;
    other = !sim.mended && machine_has_drive() && world_chance(100);
    call(other, !slot_is_idle(sim.slot) && (sim.mended || !world_chance(50)));
}

static void see_that_it_calls(void)
{
    uint64_t wait = world_random(3 * SECOND);

    if (sim.call_is_due || far_end_is_there())
        return;
    if (!sim.mended && world_chance(150))
        wait = world_random(60 * SECOND);
    if (!sim.mended && world_chance(20))
        wait = world_random(400 * SECOND);
    sim.call_is_due = true;
    world_after(wait, call_due, NULL);
}

/* What an engine had not flushed when its session ended, it forgets. */
static void stepped(void *arg, unsigned number)
{
    (void)arg;
    (void)number;
    if (slot_is_idle(sim.slot))
        content_doubt();
}

static void slot_make(void)
{
    if (slot_new(&sim.life.slot, &sim.slot) < 0)
        world_fail("no slot");
    slot_watch(sim.slot, stepped, NULL);
    slot_restore(sim.slot);
}

/* kill -9 of platterd, and its supervisor that starts it again. */
static void device_dies(void)
{
    if (sim.deaths == DEATHS_MAX)
        return;
    sim.dead[sim.deaths++] = sim.slot;
    world_kill_loop();
    far_end_device_died();
    machine_device_died();
    content_doubt();
    slot_make();
}

static void trouble(void)
{
    unsigned kind = (unsigned)world_random(sim.life.calm ? 45 : 100);

    sim.troubles++;
    world_trace("trouble %u", kind);
    if (kind < 25)
        far_end_cut(false);
    else if (kind < 40)
        far_end_stall(world_random(20 * SECOND));
    else if (kind < 45)
        call(false, true); /* it comes another way, while the old line still stands */
    else if (kind < 60)
        far_end_restart();
    else if (kind < 65 && machine_has_drive())
        call(true, true); /* another image with the right token */
    else if (kind < 72)
        call(false, false); /* a stranger */
    else if (kind < 77)
        far_end_cut(true);
    else if (kind < 82)
        machine_eject();
    else if (kind < 86)
        machine_lose_export();
    else if (kind < 92)
        slot_end(sim.slot, STREAM_CLOSE_NORMAL, "It was ended at the device.");
    else
        device_dies();
}

static void trouble_due(void *arg)
{
    (void)arg;
    if (sim.mended)
        return;
    trouble();
    world_after(world_random(world_chance(300) ? SECOND : 40 * SECOND), trouble_due, NULL);
}

static void look_due(void *arg)
{
    (void)arg;
    if (sim.over)
        return;
    see_that_it_calls();
    world_after(SECOND, look_due, NULL);
}

/* ---- a life ---- */

static void check(void)
{
    struct slot_status status;

    machine_check();
    slot_get_status(sim.slot, &status);
    if (status.counters.memory > sim.life.slot.cache_max)
        world_fail("%zu bytes of cache, and %zu are the bound", status.counters.memory,
                   sim.life.slot.cache_max);
    if (status.counters.memory > sim.memory_most)
        sim.memory_most = status.counters.memory;
}

static void step(void)
{
    if (!world_step())
        world_fail("nothing is due any more");
    check();
}

/* Steps until it holds; a life that never gets there is a fault. */
static void step_until(bool (*holds)(void), const char *what)
{
    uint64_t until = world_now() + 3600 * (uint64_t)SECOND;

    while (!holds()) {
        if (world_now() > until)
            world_fail("an hour after all was mended, still not: %s", what);
        step();
    }
}

static bool is_quiet(void)
{
    return machine_has_drive() && is_in("serving") && machine_open() == 0 && far_end_is_done();
}

static bool is_idle(void)
{
    return slot_is_idle(sim.slot) && machine_open() == 0;
}

/* All is mended: what was flushed is there, and stays when the far end loses the rest. */
static void read_everything(void)
{
    static const struct far_end_chances none;

    sim.mended = true;
    far_end_set_chances(&none);
    machine_rest(true);
    for (int i = 0; i < 2; i++) {
        step_until(is_quiet, "the machine has its drive");
        machine_read_all();
        step_until(machine_has_read_all, "the whole image is read");
        far_end_restart();
    }
}

static void end_life(void)
{
    const struct machine_counts *counts = machine_counts();

    slot_end(sim.slot, STREAM_CLOSE_NORMAL, "It was ended at the device.");
    step_until(is_idle, "the slot is idle");
    slot_free(sim.slot);
    total.lives++;
    total.steps += world_steps();
    total.reads += counts->reads;
    total.changes += counts->changes;
    total.flushes += counts->flushes;
    total.errors += counts->errors;
    total.adoptions += counts->adoptions;
    total.reloads += counts->reloads;
    total.troubles += sim.troubles;
    sim.over = true;
    while (world_step())
        ;
    machine_done();
    far_end_done();
    content_done();
    world_done();
}

static void live(uint64_t seed, uint64_t steps)
{
    char record[96];

    world_init(seed);
    sim.mended = sim.call_is_due = sim.over = false;
    sim.troubles = 0;
    sim.deaths = 0;
    snprintf(record, sizeof record, "%s/slot-0.session", sim.directory);
    unlink(record);
    choose_life();
    content_init((size_t)(sim.life.image.size / SECTOR));
    far_end_init(&sim.life.image, &sim.life.chances);
    machine_init(&sim.life.habits);
    slot_make();
    world_after(0, look_due, NULL);
    world_after(10 * SECOND, trouble_due, NULL);
    while (world_steps() < steps)
        step();
    read_everything();
    end_life();
    unlink(record);
}

/* ---- the program ---- */

struct options {
    uint64_t seed, lives, steps, seconds;
    bool trace;
};

static int options_read(int argc, char **argv, struct options *o)
{
    static const struct option known[] = {
        {"seed", required_argument, NULL, 's'},  {"lives", required_argument, NULL, 'l'},
        {"steps", required_argument, NULL, 'n'}, {"seconds", required_argument, NULL, 't'},
        {"trace", no_argument, NULL, 'v'},       {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        uint64_t value = optarg ? strtoull(optarg, NULL, 10) : 0;

        if (option == 's')
            o->seed = value;
        else if (option == 'l')
            o->lives = value;
        else if (option == 'n')
            o->steps = value;
        else if (option == 't')
            o->seconds = value;
        else if (option == 'v')
            o->trace = true;
        else
            return -1;
    }
    return optind == argc ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct options o = {.seed = (uint64_t)time(NULL), .lives = 1, .steps = 40000};
    time_t began = time(NULL);

    if (options_read(argc, argv, &o) < 0) {
        fputs("usage: sim [--seed N] [--lives N] [--steps N] [--seconds N] [--trace]\n", stderr);
        return 2;
    }
    snprintf(sim.directory, sizeof sim.directory, "/tmp/platter-sim-XXXXXX");
    if (!mkdtemp(sim.directory)) {
        perror("sim: a directory for records");
        return 2;
    }
    world_trace_on(o.trace);
    printf("sim: %" PRIu64 " lives from seed %" PRIu64 "\n", o.lives, o.seed);
    fflush(stdout);
    coverage_walk();
    for (uint64_t i = 0; i < o.lives || time(NULL) < began + (time_t)o.seconds; i++)
        live(o.seed + i, o.steps);
    rmdir(sim.directory);
    printf("sim: %" PRIu64 " lives, %" PRIu64 " steps: %" PRIu64 " reads, %" PRIu64
           " changes, %" PRIu64 " flushes, %" PRIu64 " errors; %" PRIu64 " troubles, %" PRIu64
           " adoptions, %" PRIu64 " reloads; %zu bytes of cache at most\n",
           total.lives, total.steps, total.reads, total.changes, total.flushes, total.errors,
           total.troubles, total.adoptions, total.reloads, sim.memory_most);
    coverage_print();
    return 0;
}
