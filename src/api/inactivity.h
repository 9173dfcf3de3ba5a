/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a machine has not used its drive, from the engine's own counters: a drive is used when a
 * request of the machine's was answered since one last looked, or waits for its answer now. What
 * platterd fetches by itself is no request, and so does not count. Pure functions; `now` is
 * microseconds on any clock that only goes forward.
 */
#ifndef PLATTER_API_INACTIVITY_H
#define PLATTER_API_INACTIVITY_H

#include <stdint.h>

#include "block/counters.h"

struct inactivity {
    uint64_t answered; /* requests, when one last looked */
    uint64_t since;    /* when the machine was last seen to use the drive */
};

/* The machine has its drive from now on. */
void inactivity_begin(struct inactivity *i, const struct engine_counters *counters, uint64_t now);
/* To be called often: use is seen at the next look, not when it happened. */
void inactivity_look(struct inactivity *i, const struct engine_counters *counters, uint64_t now);
/* Seconds left of `limit` seconds, rounded up, so 0 is the end; as of the last look. */
unsigned inactivity_left(const struct inactivity *i, unsigned limit, uint64_t now);

#endif
