// SPDX-License-Identifier: Apache-2.0
/* When a machine last used its drive. Owns nothing; `since` never goes back. */
#include "api/inactivity.h"

#define SECOND UINT64_C(1000000)

void inactivity_begin(struct inactivity *i, const struct engine_counters *counters, uint64_t now)
{
    i->answered = counters->requests;
    i->since = now;
}

void inactivity_look(struct inactivity *i, const struct engine_counters *counters, uint64_t now)
{
    if (counters->requests != i->answered || counters->requests_open > 0)
        inactivity_begin(i, counters, now);
}

unsigned inactivity_left(const struct inactivity *i, unsigned limit, uint64_t now)
{
    uint64_t whole = limit * SECOND;
    uint64_t gone = now > i->since ? now - i->since : 0;

    return gone < whole ? (unsigned)((whole - gone + SECOND - 1) / SECOND) : 0;
}
