/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A slot on a real loop, between far ends and an export made here: they do what a test says, and
 * fail it when the slot asks what it may not.
 */
#ifndef PLATTER_TESTS_SLOT_BENCH_H
#define PLATTER_TESTS_SLOT_BENCH_H

#include <stdint.h>

#include "base/loop.h"
#include "export/export.h"
#include "slot/slot.h"

#define IMAGE_SIZE (4u << 20) /* its middle is not warmed up */
#define FARS_MAX   8
#define HELD_MAX   64
#define TOLD_MAX   16

struct far {
    struct source base;
    bool alive;
    struct stream *stream;
    const struct peer_profile *profile;
    const uint8_t *image;
    bool hold; /* answers nothing until far_answer() */
    int error; /* or each read with this */
    struct source_request *held[HELD_MAX];
    unsigned held_count;
    unsigned asked;
    enum stream_close closed_why;
    char closed_reason[256];
    unsigned closes;
    char told[TOLD_MAX][256];
    unsigned told_count;
};

/* The export. */
struct drive {
    struct export base;
    struct engine *engine;
    struct medium medium;
    unsigned starts;
    unsigned adopts;
    unsigned reloads;
    unsigned stops;
    bool stopped_alive;
    int refuse;
    bool runs;
    char links[32]; /* what it was told of its link since the start: l, w, f */
    bool locked;
    unsigned eject_requests;
};

/* The stream of a newcomer. */
struct line {
    struct stream base;
    unsigned freed;
    enum stream_close why;
    char reason[256];
    char told[256];
};

extern struct loop *loop;
extern struct slot *slot;
extern struct far fars[FARS_MAX]; /* in the order they came */
extern unsigned far_count;
extern struct far *far; /* the last */
extern uint8_t image[IMAGE_SIZE], other_image[IMAGE_SIZE];
extern struct drive drive;
extern struct line line;
extern char directory[64];   /* where sessions are recorded, */
extern char record_path[96]; /* and this one */
extern const struct slot_offer offer;

/* Answers all that is held. */
void far_answer(struct far *f, int error);
/* The handshake of the last far end is done. */
void far_ready_as(const struct source_info *info);
void far_ready_with(uint64_t size, bool read_only);
void far_ready(void);
/* The last far end is lost. */
void far_lose(enum stream_close why, bool orderly);
unsigned fars_alive(void);

void drive_started(void);
void drive_stopped(int error);
void drive_ejected(void);
void drive_lock(bool locked);

/* Lets the loop handle all that was posted before this call. */
void settle(void);
const char *slot_state(void);
/* Lets time go by until the slot is in this state. */
void wait_for_state(const char *state);
/* Makes `slot`; the setup has made one with more seconds than a test takes. */
void make_slot(unsigned grace, unsigned keep);
int bench_setup(void **state);
/* A test leaves its slot idle. */
int bench_teardown(void **state);

enum upto { OPENING, ATTACHING, SERVING };
void open_session(enum upto upto);
void end_session(void);

/* The session's, once learned. */
extern char token[33];
/* From the far end's first word, as a page learns it. */
void learn_token(void);
/* A session that serves, and its token. */
void serve(void);
void come_with(struct slot_offer what);
/* With the token. */
void come_back(void);

/* This far end was told the reason twice: whole, and in its goodbye. */
void expect_goodbye(const struct far *f, enum stream_close why, const char *reason);
/* So was the last one, and the slot is idle. */
void expect_end(enum stream_close why, const char *reason);

#endif
