/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine under a seeded random schedule of requests, answers, errors, losses and crashes of the
 * far end: each request is answered once, with the right bytes, and at the end the far end holds
 * what the machine was told it holds. The rules of the line are asserted in engine-world.c.
 */
#include "engine-world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE (3u * MIB + 1536)

static uint32_t seed;

static uint32_t roll(uint32_t sides)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % sides;
}

static int free_place(const struct world *w)
{
    for (int i = 0; i < 64; i++) {
        if (!w->asked[i].data && !w->asked[i].held &&
            (w->asked[i].answered || !w->asked[i].request.complete))
            return i;
    }
    return -1;
}

static void ask_something(struct world *w, bool writes)
{
    static const enum request_op ops[] = {REQUEST_READ,  REQUEST_READ,  REQUEST_READ,
                                          REQUEST_WRITE, REQUEST_WRITE, REQUEST_WRITE_ZEROES,
                                          REQUEST_TRIM,  REQUEST_FLUSH};
    enum request_op op = ops[writes ? roll(8) : 0];
    uint64_t offset = roll(SIZE);
    uint32_t most = roll(4) ? 9000 : 300000;
    uint32_t length = 1 + roll(most);
    int place = free_place(w);

    if (place < 0)
        return;
    if (offset + length > SIZE)
        length = (uint32_t)(SIZE - offset);
    if (op == REQUEST_FLUSH)
        world_ask(w, (unsigned)place, op, 0, 0);
    else if (op != REQUEST_READ && roll(8) == 0)
        world_ask_fua(w, (unsigned)place, op, offset, length);
    else
        world_ask(w, (unsigned)place, op, offset, length);
}

static void release_something(struct world *w)
{
    for (unsigned i = 0; i < 64; i++) {
        if (w->asked[i].held && roll(2))
            world_release(w, i);
    }
}

static void step(struct world *w, bool writes, bool *connected)
{
    uint32_t dice = roll(100);

    w->now += roll(20000);
    if (dice < 40) {
        ask_something(w, writes);
    } else if (dice < 85 && w->held_count > 0) {
        struct source_request *ask = world_held(w, roll(w->held_count));

        /* A flush or a replay that fails loses what was promised, by no fault of the engine's. */
        world_answer(w, ask, ask->op == SOURCE_READ && roll(20) == 0 ? -EIO : 0);
    } else if (dice < 95) {
        release_something(w);
    } else if (dice < 97 && *connected) {
        *connected = false;
        if (writes && roll(2))
            world_crash(w, roll(UINT32_MAX));
        else
            world_lose(w, roll(UINT32_MAX));
    } else if (!*connected) {
        *connected = true;
        world_connect(w);
    }
}

static void drain(struct world *w, bool connected)
{
    bool open = true;

    if (!connected)
        world_connect(w);
    while (open) {
        world_answer_all(w, 0);
        for (unsigned i = 0; i < 64; i++) {
            if (w->asked[i].held)
                world_release(w, i);
        }
        open = world_counters(w).requests_open > 0;
        assert_true(!open || w->held_count > 0);
    }
}

static void schedule(uint32_t with_seed, uint32_t block_min, bool writes, unsigned abilities)
{
    struct world *w = world_new(SIZE, 4 * MIB);
    bool connected = true;

    seed = with_seed;
    world_make_disk(w);
    w->info.read_only = !writes;
    w->info.can_fua = writes && abilities & 1;
    w->info.can_trim = writes && abilities & 2;
    w->info.can_write_zeroes = writes && abilities & 4;
    w->info.can_extents = abilities & 8;
    w->info.block_min = block_min;
    w->info.length_max = roll(2) ? 64 * KIB : MIB;
    w->info.in_flight_max = 1 + roll(20);
    w->keeps = true;
    world_connect(w);
    for (unsigned i = 0; i < 3000; i++) {
        step(w, writes, &connected);
        assert_true(world_counters(w).memory <= 4 * MIB);
    }
    drain(w, connected);
    /* What was flushed stays, whatever happens; all of it is what the machine was told. */
    world_ask(w, 100, REQUEST_FLUSH, 0, 0);
    world_answer_all(w, 0);
    world_crash(w, 0);
    for (uint64_t i = 0; i < SIZE; i++) {
        if (w->disk[i] != w->model[i] && !w->unknown[i])
            fail_msg("byte %llu of the disk is wrong", (unsigned long long)i);
    }
    world_release(w, 100);
    world_free(w);
}

static void test_reads(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= 12; i++) {
        print_message("# seed %u\n", i);
        schedule(i * 2654435761u, i % 3 == 0 ? 16384 : 1, false, i);
    }
}

static void test_writes(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= 24; i++) {
        print_message("# seed %u\n", i);
        schedule(i * 2246822519u, i % 4 == 0 ? 8192 : i % 4 == 1 ? 512 : 1, true, i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_writes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
