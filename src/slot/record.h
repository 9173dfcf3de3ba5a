/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a slot knows of its session, and a file of it for the process that comes after this one: an
 * upgrade, or a restart after a crash. DIRECTORY/slot-N.session is there exactly while the machine
 * has its drive; docs/architecture.md, "When platterd dies".
 */
#ifndef PLATTER_SLOT_RECORD_H
#define PLATTER_SLOT_RECORD_H

#include "base/medium.h"
#include "slot/identity.h"
#include "slot/token.h"

struct slot_record {
    char export_name[16];
    struct medium medium;
    int64_t modified; /* milliseconds since 1970; -1: not known */
    char token[TOKEN_DIGITS + 1];
    struct identity identity;
};

/*
 * Whoever wrote or read a record holds it: `held` is its descriptor, locked (flock), -1 for none.
 * The lock goes with the process, so a record that nobody holds is of a process that is no more.
 * Times are microseconds of loop_clock(), which all processes share until the next boot.
 */

/* Puts a record in the place of the one held; `served`: when its machine was last served. 0; -EBUSY
 * when another process holds one there; or -errno. */
int slot_record_write(const char *directory, unsigned slot, const struct slot_record *record,
                      uint64_t served, int *held);
/* The machine is served still: so the next process learns since when it waits. */
void slot_record_touch(int held, uint64_t served);
/*
 * 0; -ENOENT when there is none; -EBUSY when another process holds it; -EBADMSG when it is not what
 * slot_record_write() writes, or others may read it; or -errno. `served`: as it was told last.
 */
int slot_record_read(const char *directory, unsigned slot, struct slot_record *out,
                     uint64_t *served, int *held);
/* Removes the record, held or not. */
void slot_record_remove(const char *directory, unsigned slot, int *held);

#endif
