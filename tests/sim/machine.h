/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine that has the drive: reads, writes, flushes and judges every answer. Stands where the
 * exports do in the programs: export_find() here gives an export whose machine this is.
 */
#ifndef PLATTER_SIM_MACHINE_H
#define PLATTER_SIM_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

struct machine_habits {
    uint64_t size; /* of the image, bytes */
    bool writable;
    unsigned open_max;           /* requests it has open at once */
    uint64_t limit;              /* an answer must come within so many microseconds */
    bool (*may_fail)(void);      /* an error is lawful now, though the request is in time */
    bool (*may_have_lost)(void); /* the far end could not flush once: a flush may say so */
    bool (*must_fail)(void); /* nobody can answer: what is open and what is asked fails at once */
    unsigned export_fails;   /* per mille, of starts and adoptions */
};

void machine_init(const struct machine_habits *habits);
/* Every request must have been answered. */
void machine_done(void);

/* The machine has its drive, and may ask. */
bool machine_has_drive(void);
/* Stops asking anything new, or goes on. */
void machine_rest(bool rest);
/* Requests not yet answered, or answered and not yet given back. */
unsigned machine_open(void);

/* It gives the medium back, as far as there is one. */
void machine_eject(void);
/* The export goes by itself. */
void machine_lose_export(void);
/* The device's own program has died: what it was asked is never answered by it. */
void machine_device_died(void);

/* Asks for every byte of the image, in order, and for a flush after it. */
void machine_read_all(void);
bool machine_has_read_all(void);

/* Looks for an answer that is overdue. */
void machine_check(void);

struct machine_counts {
    uint64_t reads, changes, flushes, errors, starts, adoptions, reloads;
};
const struct machine_counts *machine_counts(void);

#endif
