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
 * A slot's records are one process's at a time: the descriptor of the lock, to be closed to let go
 * of it, -EBUSY when another process has it, or -errno.
 */
int slot_record_lock(const char *directory, unsigned slot);

/* Times are microseconds of loop_clock(), which all processes share until the next boot. */

/* Puts the file in its place, whole. 0 or -errno. */
int slot_record_write(const char *directory, unsigned slot, const struct slot_record *record,
                      uint64_t now);
/* Its process lives: so the next one learns when it died. */
void slot_record_touch(const char *directory, unsigned slot, uint64_t now);
/*
 * 0; -ENOENT when there is none; -EBADMSG when it is not what slot_record_write() writes, or others
 * may write it; or -errno. `touched`: when its process was last known to live.
 */
int slot_record_read(const char *directory, unsigned slot, struct slot_record *out,
                     uint64_t *touched);
void slot_record_remove(const char *directory, unsigned slot);

#endif
