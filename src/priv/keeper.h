/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helper's mind: what each slot is doing, who owns it, what is to happen next. It does no work
 * itself; jobs are started through keeper_ops and come back through keeper_job_ended(), so the
 * whole of it runs in a unit test against fake jobs.
 *
 * A USB device is adopted without a job: its new owner gets what the old one had. Otherwise a slot
 * has at most one main job (attach, adopt or teardown) and, beside it, one reload, which no
 * teardown begins before the end of, and one cut: a short job that only disconnects the nbd device,
 * which wakes whatever waits for a mute line.
 */
#ifndef PLATTER_PRIV_KEEPER_H
#define PLATTER_PRIV_KEEPER_H

#include <stdbool.h>
#include <stdint.h>

#include "priv/permit.h"
#include "proto/privmsg.h"

/* How long an orderly teardown may take before its line is cut, in milliseconds. */
#define KEEPER_PATIENCE 3000
/* The same where the machine may have written: what it wrote is worth waiting for. */
#define KEEPER_PATIENCE_WRITES 30000
/* The same when the helper stops, which takes 10 s at most. */
#define KEEPER_PATIENCE_STOP 6000
/* When to try once more to clear a slot that could not be cleared, in milliseconds. */
#define KEEPER_AGAIN 10000

struct keeper;

enum keeper_job {
    KEEPER_ATTACH, /* of a drive on an nbd device, or of a USB device */
    KEEPER_ADOPT,  /* the drive that stands gets a new socket */
    KEEPER_RELOAD, /* the machine looks at its medium anew */
    KEEPER_TEARDOWN_ALIVE,
    KEEPER_TEARDOWN_DEAD,
    KEEPER_CUT,
};

struct keeper_result {
    int error;          /* 0 or -errno */
    uint32_t device;    /* of an attach or adopt that succeeded */
    unsigned functions; /* of an attach of a USB device that succeeded; else 0 */
    char reason[PRIVMSG_REASON_MAX + 1];
};

struct keeper_ops {
    /* Takes the slot's lock. 0, or -errno and one sentence. */
    int (*claim)(void *arg, unsigned slot, char *reason, size_t room);
    void (*release)(void *arg, unsigned slot);
    /*
     * Starts a job, which ends in keeper_job_ended(), never before this returns. `take_fd` (-1 for
     * none) is taken over, also on failure: the socket of a drive, or the journal of a USB device,
     * which is to be kept until the slot's release. `m` is the request of an attach or adopt, else
     * NULL. 0 or -errno; then there is no job.
     */
    int (*start)(void *arg, unsigned slot, enum keeper_job job, const struct privmsg *m,
                 int take_fd);
    /* Kills the slot's jobs but for a cut; each still ends in keeper_job_ended(), perhaps late. */
    void (*kill)(void *arg, unsigned slot);
    /* A reply of `functions` goes with duplicates of the USB device's descriptors, and
     * `with_journal` with that too. */
    void (*send)(void *arg, int client, const struct privmsg *m, bool with_journal);
};

/*
 * 0 or -errno. `slots` at most PRIVMSG_SLOTS_MAX. `grace`: for how many milliseconds a drive stays
 * when its owner is gone, for the next one to adopt it; 0 for not at all.
 */
int keeper_new(const struct keeper_ops *ops, void *arg, unsigned slots, uint64_t grace,
               struct keeper **out);
void keeper_free(struct keeper *k);

/* Clears what an earlier helper left, in every slot that no other process holds. */
void keeper_begin(struct keeper *k);
/* Takes every drive away and accepts nothing more; over when keeper_is_idle(). */
void keeper_stop(struct keeper *k, uint64_t now);
bool keeper_is_idle(const struct keeper *k);

/*
 * A message of a connection, with the descriptor that came with it or -1 (taken over). `client` is
 * any number from 0 up that names the connection. 0, or -EPROTO: nothing to answer, close it.
 */
int keeper_message(struct keeper *k, int client, const struct privmsg *m, int take_fd,
                   uint64_t now);
/* The connection is gone: so is every drive of it, at once or after the grace. */
void keeper_client_gone(struct keeper *k, int client, uint64_t now);
/* A job has ended; one that died says so by an error. */
void keeper_job_ended(struct keeper *k, unsigned slot, enum keeper_job job,
                      const struct keeper_result *result, uint64_t now);
/* The drive of an attached slot is no longer there, and nobody asked for that. */
void keeper_drive_gone(struct keeper *k, unsigned slot, const char *reason, uint64_t now);
/* Acts on deadlines that have passed. */
void keeper_tick(struct keeper *k, uint64_t now);
/* When to tick next, in milliseconds on the caller's clock; UINT64_MAX for never. */
uint64_t keeper_next_tick(const struct keeper *k);

enum slot_state keeper_state(const struct keeper *k, unsigned slot);

#endif
