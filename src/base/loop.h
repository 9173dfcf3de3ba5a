/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one event loop of a program, over libuv: descriptors, timers, signals, and "in a moment".
 *
 * Everything made here belongs to its caller and is freed by its own _free (NULL is allowed, and it
 * may be called from inside its own callback); its memory goes at the loop's next turn, since libuv
 * closes handles asynchronously. Free all of them before loop_free().
 */
#ifndef PLATTER_BASE_LOOP_H
#define PLATTER_BASE_LOOP_H

#include <stdint.h>

struct loop;
struct loop_fd;
struct loop_timer;
struct loop_signal;
struct loop_later;

#define LOOP_READ   1u
#define LOOP_WRITE  2u
#define LOOP_HANGUP 4u

/* 0 or -errno. */
int loop_new(struct loop **out);
void loop_free(struct loop *loop);
/* Runs until loop_stop(). 0 or -errno. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* Microseconds on a clock that only goes forward; not the loop's, which stands still in a turn. */
uint64_t loop_clock(void);
/* The uv_loop_t below, for transport/ and daemon/ only. */
void *loop_uv(struct loop *loop);

/*
 * Watches a descriptor, which stays the caller's and must be closed only after loop_fd_free().
 * `events`: LOOP_READ, LOOP_WRITE, or both; 0 pauses. An error or hang-up shows as both;
 * LOOP_HANGUP waits for one alone.
 */
int loop_fd_new(struct loop *loop, int fd, unsigned events,
                void (*ready)(void *arg, unsigned events), void *arg, struct loop_fd **out);
int loop_fd_set(struct loop_fd *w, unsigned events);
void loop_fd_free(struct loop_fd *w);

/* A one-shot timer, made idle. */
int loop_timer_new(struct loop *loop, void (*fire)(void *arg), void *arg, struct loop_timer **out);
void loop_timer_set(struct loop_timer *t, uint64_t milliseconds);
void loop_timer_stop(struct loop_timer *t);
void loop_timer_free(struct loop_timer *t);

int loop_signal_new(struct loop *loop, int signal_number, void (*caught)(void *arg), void *arg,
                    struct loop_signal **out);
void loop_signal_free(struct loop_signal *s);

/*
 * Calls `run` once on the loop's next turn, however often loop_later_set() was called before: how a
 * module steps out of a callback before it changes what its caller still holds.
 */
int loop_later_new(struct loop *loop, void (*run)(void *arg), void *arg, struct loop_later **out);
void loop_later_set(struct loop_later *l);
void loop_later_free(struct loop_later *l);

#endif
