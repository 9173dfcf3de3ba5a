/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A USB device between slots, a helper, functions and ports that are all played by the test. Its
 * drives are real (src/scsi), so that a test sees what a machine sees.
 */
#ifndef PLATTER_TESTS_USB_DEVICE_WORLD_H
#define PLATTER_TESTS_USB_DEVICE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "export/usb-device-parts.h"
#include "export/usb-functions.h"
#include "export/usb-journal.h"
#include "priv/priv.h"

#define WORLD_DRIVES 3
#define WORLD_SLOT   4 /* the first drive's */

struct world_asked {
    void (*done)(void *arg, const struct priv_reply *reply);
    void *arg;
    unsigned count; /* how often, in all */
};

struct usb_port {
    struct scsi_drive *drive;
    struct engine *engine;
    bool live;
    bool owes;
    void (*dropped)(void *arg); /* set while a drop is waited for */
    void *dropped_arg;
};

struct world {
    void (*later_run)(void *arg); /* on the loop's next turn */
    void *later_arg;
    bool later_is_set;
    struct usb_device *device;
    struct export *exports[WORLD_DRIVES];
    unsigned drive_count;
    struct usb_port ports[WORLD_DRIVES];
    unsigned port_count;
    /* the helper */
    struct world_asked attach, adopt, detach;
    const struct priv_watch *watch;
    /* what stands */
    bool stands;
    struct usb_functions_config functions;
    int functions_error; /* of the next usb_functions_new() */
    void (*closed)(void *arg);
    void *closed_arg;
    void (*quiesced)(void *arg);
    void *quiesced_arg;
    /* the journal */
    bool journal_is_open;
    int journal_error; /* of the next one opened */
    struct usb_journal_drive noted[WORLD_DRIVES];
    bool is_noted[WORLD_DRIVES];
    /* what each slot has heard: 's'tarted, 'e'jected, 'l'ocked, 'u'nlocked, 'x' stopped */
    char heard[WORLD_DRIVES][16];
    int error[WORLD_DRIVES];
    char reason[256];
    unsigned stopped; /* the device, for good */
};

extern struct world w;

/* `always`: plugged in always. One drive takes any kind unless `always`; of more, the first is a
 * disk drive, the others are CD drives. */
void world_begin(unsigned drives, bool always);
/* Everything has ended, nothing was leaked. */
void world_end(void);
/* The loop turns until nothing more follows from what has happened. */
void world_turn(void);

void world_insert(unsigned drive, enum medium_kind kind, bool adopts);
/* The helper answers; the device stands on so many functions. */
void world_answer(struct world_asked *asked, int error, unsigned functions);
/* The helper has taken the device away, and its last requests are back. */
void world_detach(void);
/* Ends the last session of a device that is plugged for sessions only: medium out, device gone. */
void world_take_away(unsigned drive);
/* All descriptors that the helper gave are closed again. */
void world_expect_closed(void);
/* From nothing to a drive that is served. */
void world_serve(unsigned drive, enum medium_kind kind);
void world_ready(void);
void world_drop(unsigned drive);
void world_close(void);
void world_expect(unsigned drive, const char *heard);
/* The sense key and code that TEST UNIT READY of a drive comes to, as 0xKKAAQQ; 0: it is ready. */
unsigned world_test_unit(unsigned drive);
/* A command without data, as the machine gives it. */
void world_command(unsigned drive, uint8_t operation, uint8_t byte4);

#endif
