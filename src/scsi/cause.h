/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a command could not be done, and what the machine is told then: one table (cause.c), so that
 * the drive's manners in an outage can be read, and changed, in one place. Pure.
 */
#ifndef PLATTER_SCSI_CAUSE_H
#define PLATTER_SCSI_CAUSE_H

#include <stdint.h>

enum scsi_cause {
    SCSI_FINE,        /* nothing went wrong */
    SCSI_WAITING,     /* the far end is away or slow, and the hold is over: ask again */
    SCSI_GONE,        /* the far end is away for longer than the grace */
    SCSI_READ_FAILED, /* the far end could not read this */
    SCSI_WRITE_FAILED,
    SCSI_FULL,        /* the far end has no space left */
    SCSI_MISCOMPARE,  /* VERIFY with data: it differs */
    SCSI_INTERRUPTED, /* the command was in work when its platterd died */
    SCSI_CAUSES,
};

struct scsi_sense {
    uint8_t key, asc, ascq;
};

struct scsi_manners {
    struct scsi_sense sense;
    unsigned hold; /* milliseconds a command is held before it is told so; 0: at once */
};

/* What `cause` means to the machine. Every cause but SCSI_FINE has its row. */
const struct scsi_manners *scsi_manners(enum scsi_cause cause);

/* The cause of an engine's error (-errno) of a read, or else of a write. */
enum scsi_cause scsi_cause_of(int error, int writing);

#endif
