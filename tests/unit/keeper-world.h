/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A keeper among fake clients and fake workers, for its tests: a job is begun by the keeper and
 * ended by the test, as late and as badly as it likes.
 */
#ifndef PLATTER_TESTS_KEEPER_WORLD_H
#define PLATTER_TESTS_KEEPER_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "priv/keeper.h"

#define SENT_MAX 32
#define NO_JOB   (-1)

struct sent {
    int client;
    struct privmsg m;
    bool with_journal;
};

struct world {
    struct keeper *keeper;
    uint64_t now;
    int main[2]; /* which job runs, by slot */
    bool killed[2];
    bool cut[2];
    bool reloads[2];
    bool reload_killed[2];
    bool locked[2];
    int claim_fails;
    int start_fails;    /* how many of the next starts fail */
    unsigned functions; /* of what the next attach that succeeds has built */
    unsigned teardowns;
    struct sent sent[SENT_MAX];
    size_t sent_count;
    size_t read_count;
};

/* For a test of cmocka: a keeper with two slots. */
int set_up_keeper(void **state, uint64_t grace);
/* Every test ends with nothing running, nothing locked, and nothing said that it did not expect. */
int tear_down(void **state);
void attach(struct world *w, int client, unsigned slot, uint32_t id);
/* The same of a drive that the machine may write to. */
void attach_writable(struct world *w, int client, unsigned slot, uint32_t id);
/* The same of a USB device, without its journal where `journal` is -1. */
void usb_attach(struct world *w, int client, unsigned slot, uint32_t id, unsigned drives,
                int journal);
void usb_adopt(struct world *w, int client, unsigned slot, uint32_t id, unsigned drives);
void detach(struct world *w, int client, unsigned slot, uint32_t id, bool alive);
void adopt(struct world *w, int client, unsigned slot, uint32_t id, uint64_t size);
void reload(struct world *w, int client, unsigned slot, uint32_t id);
/* Lets the keeper's next deadline pass. */
void wait_for_deadline(struct world *w);
void end_job(struct world *w, unsigned slot, enum keeper_job job, int error);
/* The next message that was sent is this one. */
void expect(struct world *w, enum privmsg_type type, int client, uint32_t id, int error);
void attached(struct world *w, int client, unsigned slot);

#endif
