/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A USB function between a host and a far end, made for tests: a bus that stands in for usb-aio, a
 * host that speaks Bulk-Only Transport as Linux does, a real disk (scsi/), a real engine on the far
 * end of engine-world.h, and fake-timer.h's clock.
 *
 * Whatever waits is moved by usb_world_turn(): the bus tells of one transfer, or else the far end
 * answers one ask, or else time passes. What no transfer may ever do is asserted here.
 */
#ifndef PLATTER_TESTS_USB_WORLD_H
#define PLATTER_TESTS_USB_WORLD_H

#include "engine-world.h"
#include "export/usb-aio.h"
#include "export/usb-function.h"
#include "export/usb-journal.h"
#include "export/usb-port.h"
#include "fake-timer.h"
#include "scsi/bot.h"

#define USB_DISK   (4 * MIB)
#define USB_PACKET 512u
#define USB_OUT_FD 1000
#define USB_IN_FD  1001

/* The bus: what was handed over and is not over yet. */
struct usb_aio {
    struct list in, out; /* under way */
    struct usb_ear *ear;
    struct list over;    /* to be told of; */
    unsigned over_count; /* so many, */
    unsigned due;        /* and of these so many now: the others are quiet */
    unsigned under_way, peak;
    bool enabled;
    bool halted_in, halted_out;
    bool fifo;      /* short transfers are over before the host has fetched them (dummy_hcd) */
    bool late_halt; /* bulk-in has bytes left once: the next halt says so */
    unsigned short_memory; /* so many submissions find none */
    size_t out_bytes;      /* buffers under way, and the most there was */
    size_t out_peak;
};

/* What a command came to. */
struct usb_outcome {
    int status; /* of the CSW; -1: the host gave up and has reset the function */
    uint32_t residue;
    uint8_t key, asc, ascq; /* of a status that was not 0 */
    uint64_t waited;        /* milliseconds */
};

struct usb_world {
    struct world *far;
    bool silent; /* the far end answers nothing */
    bool write_back;
    struct usb_aio bus;
    struct scsi_drive drive;
    struct usb_port *port;
    struct usb_journal *journal;
    struct usb_function *function;
    uint32_t tag;
    uint64_t now;     /* milliseconds */
    unsigned turns;   /* so far */
    unsigned trap_at; /* `trap` is called before this turn; 0: never */
    void (*trap)(struct usb_world *w);
    bool restarted;  /* the host's command was cut off by a reset in the trap */
    unsigned resets; /* by the host, because something went wrong */
    unsigned events; /* SCSI_EVENT_ bits that came */
    unsigned ended;  /* quiesced, closed */
    unsigned gone;   /* engines */
};

/* Enabled, with a disk of USB_DISK bytes in its drive that can be written. */
struct usb_world *usb_world_new(bool write_back);
/* Ends it with nothing left anywhere. */
void usb_world_free(struct usb_world *w);

void usb_world_turn(struct usb_world *w);
/* Turns until neither bus nor far end has anything to tell. No time passes. */
void usb_world_settle(struct usb_world *w);

/* Host: one command, its data in or out, and the status. */
struct usb_outcome usb_world_command(struct usb_world *w, const uint8_t *cdb, size_t cdb_length,
                                     bool in, uint8_t *data, uint32_t length);
/* The same until it is done, as an operating system does: again while the drive says "attention",
 * "not ready yet", "aborted", and after a reset. */
struct usb_outcome usb_world_insist(struct usb_world *w, const uint8_t *cdb, size_t cdb_length,
                                    bool in, uint8_t *data, uint32_t length);

/* Blocks of 512 bytes. Each until it is done; reads check what they got, writes change the model.
 */
void usb_world_read(struct usb_world *w, uint32_t block, uint16_t count);
void usb_world_write(struct usb_world *w, uint32_t block, uint16_t count, uint8_t seed);
/* CDBs of READ(10) and WRITE(10), SYNCHRONIZE CACHE(10), VERIFY(10) with data, TEST UNIT READY. */
void usb_cdb(uint8_t cdb[10], uint8_t operation, uint32_t block, uint16_t count);

/* The process is killed, and another one resumes. */
void usb_world_kill(struct usb_world *w);
/* An orderly end, once the command in work is over; then another one resumes. */
void usb_world_upgrade(struct usb_world *w);
/* FunctionFS disables the function: transfers under way end with -ESHUTDOWN. */
void usb_world_unplug(struct usb_world *w);
void usb_world_plug(struct usb_world *w);

/* The ear tells that it has heard something, if it has. */
bool usb_bus_tell_heard(struct usb_aio *a);
/* Whether a command is waited for. */
bool usb_bus_listens(const struct usb_aio *a);

/* The host's side of the endpoints, packet by packet, as far as they go now: how many bytes went;
 * `stalled`: and then the endpoint is halted. */
size_t usb_host_send(struct usb_world *w, const uint8_t *bytes, size_t length, bool *stalled);
/* `ended`: a short packet came. */
size_t usb_host_fetch(struct usb_world *w, uint8_t *bytes, size_t length, bool *stalled,
                      bool *ended);

#endif
