/* SPDX-License-Identifier: Apache-2.0 */
/*
 * USB Mass Storage, Bulk-Only Transport 1.0, as a pure machine for one interface: command blocks
 * in, deeds out, up to 16 drives as its logical units. It decides the thirteen cases (section
 * 6.7), what is stalled, the residue and the status.
 *
 * How it is driven: do what bot_now() says; when it is over, say so with bot_done(), or with
 * bot_command() where a command block was waited for; then look again. bot_reset() may come at any
 * time: what was being done is to be dropped, without a bot_done().
 */
#ifndef PLATTER_SCSI_BOT_H
#define PLATTER_SCSI_BOT_H

#include "scsi/drive.h"

#define BOT_LUNS_MAX    16
#define BOT_CBW_LENGTH  31
#define BOT_CSW_LENGTH  13
#define BOT_REFUSE_SIZE 4096

enum bot_kind {
    BOT_COMMAND,  /* receive one transfer on bulk-out, however short, for bot_command() */
    BOT_SEND,     /* `length` bytes at `data` on bulk-in; 0: a packet of none */
    BOT_STATUS,   /* the same: the 13 bytes of the status wrapper */
    BOT_RECEIVE,  /* `length` bytes on bulk-out into `into` */
    BOT_MEDIUM,   /* `deed`, of `drive`: READ sends its bytes, WRITE and COMPARE receive theirs,
                     `length`   of them, which may be fewer than the drive means to send; 0 of any
                     other
                   */
    BOT_STALL_IN, /* halt bulk-in (after what was queued on it is out) */
    BOT_STALL_OUT,
    BOT_HALT, /* halt both, and take no command until bot_reset() */
};

struct bot_deed {
    enum bot_kind kind;
    uint64_t length;
    const uint8_t *data;
    uint8_t *into;
    struct scsi_deed deed; /* MEDIUM */
    struct scsi_drive *drive;
    unsigned lun;
};

/* To be embedded; the fields are the room's own. */
struct bot {
    struct scsi_drive *drives[BOT_LUNS_MAX];
    unsigned count;
    unsigned packet;
    struct bot_deed now;
    /* The command in work. */
    bool busy; /* from its arrival until its status is out */
    unsigned lun;
    uint32_t tag;
    uint32_t announced; /* bytes the machine means to move */
    bool in;            /* towards the machine */
    uint32_t left;      /* of these, not yet on the bus */
    uint32_t residue;   /* of these, not yet of use */
    bool mismatch;      /* the drive means to move more, or the other way: a phase error */
    uint8_t status[BOT_CSW_LENGTH];
    uint8_t refuse[BOT_REFUSE_SIZE]; /* where data goes that nobody wants */
};

/* The drives stay their owner's. `packet`: the endpoints' maximum packet size, 64, 512 or 1024. */
void bot_init(struct bot *b, struct scsi_drive *const drives[], unsigned count);
void bot_set_packet(struct bot *b, unsigned packet);

const struct bot_deed *bot_now(const struct bot *b);
/* COMMAND: what came, `length` bytes; anything but a valid and meaningful wrapper (section 6.2)
 * halts. */
void bot_command(struct bot *b, const uint8_t *data, size_t length);
/*
 * Any other deed: `moved` bytes of it were moved over the bus (CHECK, which moves none: bytes that
 * were read well). Fewer than its length with SCSI_FINE: the machine has ended the data with a
 * short packet. Without SCSI_FINE, what the machine still sends is received and dropped by further
 * deeds. STALLs and STATUS: SCSI_FINE.
 */
void bot_done(struct bot *b, enum scsi_cause cause, uint64_t moved);

/* The class request BULK-ONLY MASS STORAGE RESET, or the bus's own (`bus`: drives are reset too).
 */
void bot_reset(struct bot *b, bool bus);

/* What outlives the process: the command in work, for the next process to answer. 0 bytes: none. */
#define BOT_NOTE_MAX 64
size_t bot_note(const struct bot *b, uint8_t out[BOT_NOTE_MAX]);
/* Into a fresh machine: then the interrupted command ends with status "failed", SCSI_INTERRUPTED,
 * under its own tag (a stall first where data is awaited). -EBADMSG when the note makes no sense.
 */
int bot_resume(struct bot *b, const uint8_t *note, size_t length);

#endif
