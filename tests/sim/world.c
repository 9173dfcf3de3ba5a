// SPDX-License-Identifier: Apache-2.0
/*
 * Chance and time. What is due lies in a binary heap, ordered by time and then by the order of
 * asking, so that a seed always gives the same history.
 */
#include "world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct due {
    uint64_t at;
    uint64_t order;
    void (*run)(void *arg);
    void *arg;
};

static struct {
    uint64_t seed;
    uint64_t state;
    uint64_t now;
    uint64_t steps;
    uint64_t orders;
    struct due *heap;
    size_t count;
    size_t room;
    bool trace;
} world;

void world_init(uint64_t seed)
{
    world.seed = seed;
    world.state = seed * 2 + 1;
    for (int i = 0; i < 8; i++)
        world_random(2);
    world.now = SECOND; /* so that a time of 0 stands out */
    world.steps = 0;
    world.count = 0;
}

void world_done(void)
{
    free(world.heap);
    world.heap = NULL;
    world.count = 0;
    world.room = 0;
}

uint64_t world_now(void)
{
    return world.now;
}

uint64_t world_steps(void)
{
    return world.steps;
}

/* splitmix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014). */
uint64_t world_random(uint64_t below)
{
    uint64_t z = (world.state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return z % below;
}

bool world_chance(unsigned per_mille)
{
    return world_random(1000) < per_mille;
}

static bool is_before(const struct due *a, const struct due *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void swap(size_t i, size_t j)
{
    struct due kept = world.heap[i];

    world.heap[i] = world.heap[j];
    world.heap[j] = kept;
}

void world_after(uint64_t delay, void (*run)(void *arg), void *arg)
{
    size_t i = world.count;

    if (world.count == world.room) {
        world.room = world.room ? world.room * 2 : 256;
        world.heap = realloc(world.heap, world.room * sizeof world.heap[0]);
        if (!world.heap)
            abort();
    }
    world.heap[world.count++] =
        (struct due){.at = world.now + delay, .order = world.orders++, .run = run, .arg = arg};
    while (i > 0 && is_before(&world.heap[i], &world.heap[(i - 1) / 2])) {
        swap(i, (i - 1) / 2);
        i = (i - 1) / 2;
    }
}

static struct due take_first(void)
{
    struct due first = world.heap[0];
    size_t i = 0;

    world.heap[0] = world.heap[--world.count];
    for (;;) {
        size_t least = i;

        for (size_t child = 2 * i + 1; child <= 2 * i + 2; child++) {
            if (child < world.count && is_before(&world.heap[child], &world.heap[least]))
                least = child;
        }
        if (least == i)
            return first;
        swap(i, least);
        i = least;
    }
}

bool world_step(void)
{
    struct due due;

    if (world.count == 0)
        return false;
    due = take_first();
    world.now = due.at;
    world.steps++;
    due.run(due.arg);
    return true;
}

void world_trace_on(bool on)
{
    world.trace = on;
}

void world_trace(const char *format, ...)
{
    va_list args;

    if (!world.trace)
        return;
    printf("%12.6f  ", (double)world.now / SECOND);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

void world_fail(const char *format, ...)
{
    va_list args;

    fflush(stdout);
    fprintf(stderr, "sim: ");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nsim: at step %" PRIu64 ", %.6f s; again with --seed %" PRIu64 "\n",
            world.steps, (double)world.now / SECOND, world.seed);
    _Exit(1);
}
