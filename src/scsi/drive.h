/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One logical unit: a disk (SBC-3, SPC-4) or an optical drive (MMC-6), with or without a medium. A
 * CDB in, a deed out; the deed's outcome in, the status out. Pure: no I/O, no clock, no allocation.
 *
 * One command at a time. scsi_drive_execute() says what is to be done (`struct scsi_deed`); whoever
 * does it reports with scsi_drive_done(), which may ask for a further deed (UNMAP's parameters are
 * received first, then its ranges are trimmed), until the kind is SCSI_DONE. The deed's memory is
 * the drive's and lives until the next call.
 *
 * disk.c and optical.c hold what only the one kind does; drive.c, inquiry.c, mode.c, sense.c what
 * both do.
 */
#ifndef PLATTER_SCSI_DRIVE_H
#define PLATTER_SCSI_DRIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/medium.h"
#include "scsi/cause.h"

#define SCSI_CDB_MAX        16
#define SCSI_REPLY_MAX      4100 /* the longest answer that is not the medium's bytes */
#define SCSI_PARAMETERS_MAX 4096 /* the longest parameter list; also one block of WRITE SAME */
#define SCSI_RANGES_MAX     64   /* of one UNMAP */
#define SCSI_SENSE_SIZE     18

#define SCSI_GOOD            0x00
#define SCSI_CHECK_CONDITION 0x02

enum scsi_deed_kind {
    SCSI_DONE,  /* over: `status` stands */
    SCSI_REPLY, /* send `length` bytes at `data` */
    SCSI_READ,  /* send the medium's `length` bytes at `offset` */
    SCSI_WRITE, /* receive `length` bytes and write them at `offset`; `fua`: to stable storage */
    SCSI_PARAMETERS, /* receive `length` bytes into `into` */
    SCSI_COMPARE,    /* receive `length` bytes and compare them with the medium's at `offset` */
    SCSI_CHECK,      /* read `length` bytes at `offset` and drop them */
    SCSI_FILL,       /* write the `block_length` bytes at `data` again and again over the range */
    SCSI_ZERO,       /* zero the range (`no_hole`: keep it allocated) */
    SCSI_TRIM,       /* `range_count` ranges give up their space, and read as zeros from then on */
    SCSI_FLUSH,      /* everything acknowledged so far to stable storage */
    SCSI_READY,      /* wait until the medium can be read, for the hold of SCSI_WAITING at most */
};

struct scsi_range {
    uint64_t offset, length; /* bytes */
};

struct scsi_deed {
    enum scsi_deed_kind kind;
    uint64_t offset, length; /* bytes; length 0 moves nothing */
    const uint8_t *data;
    uint8_t *into;
    uint32_t block_length;
    bool fua;
    bool no_hole;
    const struct scsi_range *ranges;
    unsigned range_count;
    uint8_t status; /* DONE */
};

/* What the machine did to the drive itself; for whoever shows it to people. */
#define SCSI_EVENT_EJECTED                                                                         \
    (1u << 0) /* START STOP UNIT with LoEj: the medium is out by now, but lies                     \
                 in the tray until scsi_drive_remove() takes it away */
#define SCSI_EVENT_LOADED   (1u << 3) /* the same: the machine has pulled the tray in again */
#define SCSI_EVENT_LOCKED   (1u << 1) /* PREVENT ALLOW MEDIUM REMOVAL */
#define SCSI_EVENT_UNLOCKED (1u << 2)

/* What a machine recognises a drive by. Strings are printable ASCII, blank-padded when sent. */
struct scsi_identity {
    char vendor[9];   /* INQUIRY: 8 */
    char product[17]; /* 16 */
    char revision[5]; /* 4 */
    char serial[33]; /* VPD 80, and VPD 83 with the vendor before it (T10), plus an NAA name made of
                        it */
};

/* What the machine is told of its last command, or of one acknowledged before (`deferred`). */
struct scsi_sense_data {
    struct scsi_sense code; /* key 0: nothing to tell */
    bool deferred;
    bool has_information;
    uint64_t information; /* the block at fault */
    uint8_t specific[3];  /* sense-key-specific: the field at fault, as sent; all 0: none */
};

/* What only an optical drive remembers. Events are GET EVENT STATUS NOTIFICATION's, 0: none. */
struct scsi_optical {
    uint8_t media_event;
    uint8_t operational_event;
    bool open; /* the tray */
};

/* To be embedded; the fields are the room's own. */
struct scsi_drive {
    enum medium_kind kind;
    struct scsi_identity identity;
    bool write_back; /* as configured */
    bool caching;    /* WCE: as configured, unless the machine has switched it off */
    bool protected;  /* SWP: the machine's own wish that nothing be written */
    bool loaded, writable, locked;
    bool ejected;        /* by the machine: not loaded, but still there to be loaded again */
    unsigned units;      /* logical units of the target it belongs to: for REPORT LUNS */
    bool used;           /* a command has come since scsi_drive_init() */
    bool changed;        /* the medium is not the one that the command in work began with */
    uint8_t needs;       /* COMMAND_* of the command in work */
    uint32_t block_size; /* bytes */
    uint64_t blocks;     /* of the medium */
    unsigned attentions; /* pending unit attentions: bits of DRIVE_ATTENTION_* */
    enum scsi_cause deferred;
    struct scsi_sense_data sense;
    unsigned events;
    struct scsi_deed deed;                          /* in work, or the last one */
    struct scsi_deed (*next)(struct scsi_drive *d); /* after it, if all is fine; NULL: good */
    uint8_t cdb[SCSI_CDB_MAX];                      /* the command in work, zero-padded */
    uint8_t bytes[SCSI_REPLY_MAX]; /* its answer, or what was received of its parameters */
    struct scsi_range ranges[SCSI_RANGES_MAX];
    struct scsi_optical optical;
};

/* `identity` is copied. `write_back`: WCE is reported on, and so FLUSH and FUA are meant. The drive
 * begins empty, with UNIT ATTENTION 29/00. */
void scsi_drive_init(struct scsi_drive *d, enum medium_kind kind,
                     const struct scsi_identity *identity, bool write_back);

/* A medium goes in (28/00 is pending then, but for a drive no command was given to yet), comes out
 * by force (3A from now on, and GET EVENT STATUS tells it). `writable`: of a disk
 * only. Sizes: whole sectors are rounded down to; none
 * is no medium. */
void scsi_drive_insert(struct scsi_drive *d, uint64_t size, bool writable);
void scsi_drive_remove(struct scsi_drive *d);
bool scsi_drive_is_loaded(const struct scsi_drive *d);
/* Bytes of the medium, in whole sectors; 0: there is none. */
uint64_t scsi_drive_size(const struct scsi_drive *d);
bool scsi_drive_is_locked(const struct scsi_drive *d);
/* The person's wish to take the medium out, while the machine has it locked: MMC's operational
 * change event (GET EVENT STATUS: eject request) so that the host may let go. */
void scsi_drive_request_eject(struct scsi_drive *d);
/* A bus reset: 29/00 pending, unlocked, command forgotten. */
void scsi_drive_reset(struct scsi_drive *d);
/* A write acknowledged earlier failed: the next command is told by deferred sense (71h). */
void scsi_drive_defer(struct scsi_drive *d, enum scsi_cause cause);
/* The medium's reads work again after errors: 28/00 for the host to look anew (nothing if locked).
 */
void scsi_drive_reload(struct scsi_drive *d);

/* `length` is the CDB's, 1 to 16; bytes past the operation code's own length are ignored. */
struct scsi_deed scsi_drive_execute(struct scsi_drive *d, const uint8_t *cdb, size_t length);
/* The deed is over: `moved` bytes of its length were sent or received. When the medium went
 * meanwhile, the command ends with 3A whatever the cause, or with 28/00 when there is another. */
struct scsi_deed scsi_drive_done(struct scsi_drive *d, enum scsi_cause cause, uint64_t moved);
/* The events since the last call. */
unsigned scsi_drive_take_events(struct scsi_drive *d);

/*
 * What outlives the process: medium, lock, mode parameters, pending attentions and sense, but not a
 * command in work (bot_note() is for that). Returns the note's length.
 */
#define SCSI_NOTE_MAX 64
size_t scsi_drive_note(const struct scsi_drive *d, uint8_t out[SCSI_NOTE_MAX]);
/* Into a drive fresh from scsi_drive_init() of the same kind: it goes on, and its machine notices
 * nothing. -EBADMSG when the note makes no sense; then the drive is as it was. */
int scsi_drive_resume(struct scsi_drive *d, const uint8_t *note, size_t length);

#endif
