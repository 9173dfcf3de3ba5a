/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two halves of the keeper share, and nobody else sees: keeper-requests.c hears what
 * connections ask, keeper.c drives each slot from state to state.
 */
#ifndef PLATTER_PRIV_KEEPER_PARTS_H
#define PLATTER_PRIV_KEEPER_PARTS_H

#include "priv/keeper.h"

#define KEEPER_DETACHES_MAX  4
#define KEEPER_OWNERS_PLACES 2 /* of them; one for "alive", one for "dead after all" */
#define KEEPER_NOBODY        (-1)

/* One request that is not answered yet. */
struct pending {
    bool open;
    int client;
    uint32_t id;
};

struct slot {
    enum slot_state state;
    int owner;
    struct privmsg drive;         /* the ATTACH or USB_ATTACH that the drive was made from */
    unsigned functions;           /* of a USB device that stands */
    struct pending attach;        /* the ATTACH, ADOPT or USB_ATTACH under way */
    struct keeper_result outcome; /* of it, while what it leaves is being removed */
    struct pending reload;
    struct pending detaches[KEEPER_DETACHES_MAX];
    bool main_runs;
    enum keeper_job main_job;
    bool reload_runs;
    bool cut_runs;
    bool link_alive;   /* the teardown that is to come may read through the line */
    unsigned failures; /* teardowns in a row that failed */
    /* ORPHANED: when the drive goes. DETACHING: when to cut what runs, or to start a teardown that
     * could not be. UINT64_MAX for never. */
    uint64_t deadline;
    /* An attach that waits for the slot to be free, or an adoption that waits for a job to end. */
    struct pending next;
    struct privmsg next_message;
    int next_fd;
};

struct keeper {
    const struct keeper_ops *ops;
    void *arg;
    unsigned slot_count;
    uint64_t grace; /* ms for which a drive stays without its owner */
    bool stopping;
    struct slot slots[PRIVMSG_SLOTS_MAX];
};

/* ---- keeper-requests.c ---- */

__attribute__((format(printf, 2, 3))) struct keeper_result keeper_failure(int error,
                                                                          const char *format, ...);
void keeper_report(struct keeper *k, enum privmsg_type type, int client, unsigned n, uint32_t id,
                   const struct keeper_result *result);
/* Answers a request that is open; for one that is not there is nothing to do. */
void keeper_answer(struct keeper *k, unsigned n, struct pending *p,
                   const struct keeper_result *result);
/* What waits in `next` is given up, with an answer unless that is NULL. */
void keeper_drop_next(struct keeper *k, unsigned n, const struct keeper_result *result);
/* What waits in `next` begins, now that the slot is free, or has nothing to do and no owner. */
void keeper_begin_next(struct keeper *k, unsigned n, uint64_t now);

/* ---- keeper.c ---- */

/* Starts a job that builds, which becomes the slot's main job. 0 or -errno. */
int keeper_start_main(struct keeper *k, unsigned n, enum keeper_job job, const struct privmsg *m,
                      int take_fd);
/* Brings the slot down from wherever it is, or hurries up what is bringing it down already. */
void keeper_slot_down(struct keeper *k, unsigned n, bool link_alive, uint64_t now);

#endif
