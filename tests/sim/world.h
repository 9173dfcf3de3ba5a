/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world of a simulation: one seeded source of chance, one clock that only the simulation turns,
 * and what is due when. base/loop.h is implemented on it (loop.c), so the code under test runs in
 * this world without knowing. One world a process.
 */
#ifndef PLATTER_SIM_WORLD_H
#define PLATTER_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MS     1000u
#define SECOND (1000u * MS)

void world_init(uint64_t seed);
/* Forgets all that is due; what was to be run never is. */
void world_done(void);

/* Microseconds since the beginning of the world. */
uint64_t world_now(void);
/* From 0 to below - 1. */
uint64_t world_random(uint64_t below);
/* True in so many of a thousand. */
bool world_chance(unsigned per_mille);

/* Has `run` called once, `delay` microseconds from now; what is due at the same time runs in the
 * order it was asked for. */
void world_after(uint64_t delay, void (*run)(void *arg), void *arg);

/* Runs what is due next; the clock is put to its time. False when nothing is due. */
bool world_step(void);
uint64_t world_steps(void);

/*
 * From now on nothing made by loop.h before this moment ever runs: a process that died. Its memory
 * is left as it is.
 */
void world_kill_loop(void);

/* A line of what happens, with its time, if that was asked for. */
void world_trace_on(bool on);
__attribute__((format(printf, 1, 2))) void world_trace(const char *format, ...);

/* Something is as it must never be: says what, with seed, step and time, and ends the process. */
__attribute__((format(printf, 1, 2), noreturn)) void world_fail(const char *format, ...);

#endif
