/* SPDX-License-Identifier: Apache-2.0 */
/* What a slot tells of itself, to programs and people. Nothing here changes it. */
#include <stdio.h>

#include "slot/slot-parts.h"

#define SECOND UINT64_C(1000000) /* of loop_clock() */

bool slot_is_idle(const struct slot *slot)
{
    return slot->state == SESSION_IDLE;
}

bool slot_is_locked(const struct slot *slot)
{
    return slot->export_started && export_is_locked(slot->export);
}

static bool waits(const struct slot *slot)
{
    return slot->state >= SESSION_SUSPENDED && slot->state <= SESSION_RETURNING;
}

static unsigned clock_left(const struct slot *slot, enum session_event event)
{
    uint64_t now = loop_clock();

    if (!waits(slot) || slot->clock_event != event || slot->clock_end <= now)
        return 0;
    return (unsigned)((slot->clock_end - now + SECOND - 1) / SECOND);
}

void slot_get_status(const struct slot *slot, struct slot_status *out)
{
    *out = (struct slot_status){
        .number = slot->config.number,
        .name = slot->config.name,
        .export_name = slot->config.export_name,
        .state = session_state_name(slot->state),
        .has_medium = slot->state != SESSION_IDLE && slot->state != SESSION_OPENING,
        .medium = slot->session.medium,
        .counters = slot->last_counters,
        .grace_left = clock_left(slot, SESSION_GRACE_OVER),
        .shown = slot->export_started,
        .locked = slot_is_locked(slot),
        .keep_left = clock_left(slot, SESSION_KEEP_OVER),
        .why = slot->cause,
    };
    snprintf(out->reason, sizeof out->reason, "%s", slot->reason);
    if (waits(slot))
        far_end_explain(slot, "", out->reason, sizeof out->reason);
    if (slot->state == SESSION_SERVING || waits(slot))
        slot->export->ops->describe(slot->export, out->uri, sizeof out->uri);
    if (slot->engine)
        engine_get_counters(slot->engine, &out->counters);
}
