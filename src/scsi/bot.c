/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bulk-Only Transport: a command wrapper comes, data goes one way or not at all, a status wrapper
 * goes back. References are to the "Universal Serial Bus Mass Storage Class Bulk-Only Transport",
 * revision 1.0.
 *
 * The machine announces how many bytes will go which way; the drive finds out from the command
 * block what it means to move. Section 6.7 has thirteen cases of how the two compare:
 *
 * - they agree (1, 6, 12): so it is done;
 * - the machine announces more (4, 5, 9, 11): what the drive has is moved, the rest is the residue.
 *   On bulk-in a short packet says "no more", if need be one of no bytes; where there is no data at
 *   all the endpoint is halted, as 6.7.2 has it. (A halt behind data costs the machine a request to
 * clear it, and some firmware does not know how to.) On bulk-out the rest is received and dropped:
 * a halt would race with packets that the controller has acknowledged already, and then stop the
 * next command instead;
 * - the drive means to move more, or the other way (2, 3, 7, 8, 10, 13): the status is "phase
 *   error". A read is cut to what was announced. A write is not begun: half of it is worse than
 * none.
 *
 * What always holds: `left` and `residue` never grow in a command; `left` is 0, or ended by a short
 * packet or a halt, when its status goes out. A machine that is not `busy` waits for a command, or
 * is halted until a reset.
 */
#include "scsi/bot.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/minmax.h"

/* Command block wrapper (5.1) and status wrapper (5.2): little-endian. */
#define CBW_SIGNATURE 0x43425355u
#define CBW_TAG       4
#define CBW_LENGTH    8
#define CBW_FLAGS     12
#define CBW_LUN       13
#define CBW_CB_LENGTH 14
#define CBW_CB        15
#define CSW_SIGNATURE 0x53425355u
#define CSW_TAG       4
#define CSW_RESIDUE   8
#define CSW_STATUS    12

#define FLAG_IN 0x80

#define STATUS_PASSED      0
#define STATUS_FAILED      1
#define STATUS_PHASE_ERROR 2

/* The note: version, flags, logical unit, tag, announced length. */
#define NOTE_VERSION 1
#define NOTE_LENGTH  11

static void await_command(struct bot *b)
{
    b->busy = false;
    b->now = (struct bot_deed){.kind = BOT_COMMAND};
}

void bot_init(struct bot *b, struct scsi_drive *const drives[], unsigned count)
{
    memset(b, 0, sizeof *b);
    for (unsigned i = 0; i < count; i++)
        b->drives[i] = drives[i];
    b->count = count;
    b->packet = 512;
    await_command(b);
}

void bot_set_packet(struct bot *b, unsigned packet)
{
    b->packet = packet;
}

const struct bot_deed *bot_now(const struct bot *b)
{
    return &b->now;
}

void bot_reset(struct bot *b, bool bus)
{
    for (unsigned i = 0; bus && i < b->count; i++)
        scsi_drive_reset(b->drives[i]);
    await_command(b);
}

static void send_status(struct bot *b)
{
    b->left = 0;
    bytes_put_le32(b->status + CSW_RESIDUE, b->residue);
    b->now = (struct bot_deed){.kind = BOT_STATUS, .data = b->status, .length = BOT_CSW_LENGTH};
}

/* Ends the data phase, then sends the status. */
static void settle(struct bot *b)
{
    uint32_t moved = b->announced - b->left;

    if (b->left > 0 && !b->in)
        b->now = (struct bot_deed){
            .kind = BOT_RECEIVE,
            .into = b->refuse,
            .length = min_u64(b->left, sizeof b->refuse),
        };
    else if (b->left > 0 && moved == 0)
        b->now = (struct bot_deed){.kind = BOT_STALL_IN};
    else if (b->left > 0 && moved % b->packet == 0)
        b->now = (struct bot_deed){.kind = BOT_SEND, .data = b->status};
    else
        send_status(b);
}

static void finish(struct bot *b, uint8_t status)
{
    bytes_put_le32(b->status, CSW_SIGNATURE);
    bytes_put_le32(b->status + CSW_TAG, b->tag);
    b->status[CSW_STATUS] = b->mismatch ? STATUS_PHASE_ERROR : status;
    settle(b);
}

/* What a deed of the drive's means on the bus. */
enum way { WAY_NONE, WAY_IN, WAY_OUT };

static enum way way_of(enum scsi_deed_kind kind)
{
    switch (kind) {
    case SCSI_REPLY:
    case SCSI_READ:
        return WAY_IN;
    case SCSI_WRITE:
    case SCSI_PARAMETERS:
    case SCSI_COMPARE:
        return WAY_OUT;
    default:
        return WAY_NONE;
    }
}

/* `deed` is to be done next, with `length` bytes on the bus. */
static void show(struct bot *b, const struct scsi_deed *deed, uint64_t length)
{
    b->now = (struct bot_deed){.kind = BOT_MEDIUM, .length = length, .lun = b->lun};
    if (deed->kind == SCSI_REPLY) {
        b->now.kind = BOT_SEND;
        b->now.data = deed->data;
    } else if (deed->kind == SCSI_PARAMETERS) {
        b->now.kind = BOT_RECEIVE;
        b->now.into = deed->into;
    } else {
        b->now.deed = *deed;
        b->now.drive = b->drives[b->lun];
        if (way_of(deed->kind) != WAY_NONE)
            b->now.deed.length = length;
    }
}

/* Goes on with what the drive says, up to the next thing to be done. */
static void follow(struct bot *b, struct scsi_deed deed)
{
    while (deed.kind != SCSI_DONE) {
        enum way way = way_of(deed.kind);
        uint64_t room = way == (b->in ? WAY_IN : WAY_OUT) ? b->left : 0;
        uint64_t length = way == WAY_NONE ? 0 : min_u64(deed.length, room);

        if (way != WAY_NONE && deed.length > room)
            b->mismatch = true;
        if (way == WAY_NONE || (length > 0 && (way == WAY_IN || length == deed.length))) {
            show(b, &deed, length);
            return;
        }
        /* Nothing to move, or nothing that may be. */
        deed = scsi_drive_done(b->drives[b->lun], b->mismatch ? SCSI_INTERRUPTED : SCSI_FINE, 0);
    }
    finish(b, deed.status == SCSI_GOOD ? STATUS_PASSED : STATUS_FAILED);
}

/* Valid and meaningful (6.2.1, 6.2.2). */
static bool is_command(const struct bot *b, const uint8_t *data, size_t length)
{
    return length == BOT_CBW_LENGTH && (uint32_t)bytes_get_le(data, 4) == CBW_SIGNATURE &&
           (data[CBW_FLAGS] & ~FLAG_IN) == 0 && data[CBW_LUN] < b->count &&
           data[CBW_CB_LENGTH] >= 1 && data[CBW_CB_LENGTH] <= SCSI_CDB_MAX;
}

static void begin(struct bot *b, unsigned lun, uint32_t tag, uint32_t announced, bool in)
{
    b->busy = true;
    b->lun = lun;
    b->tag = tag;
    b->announced = b->left = b->residue = announced;
    b->in = in;
    b->mismatch = false;
}

void bot_command(struct bot *b, const uint8_t *data, size_t length)
{
    uint8_t cdb[SCSI_CDB_MAX];
    unsigned lun;

    if (!is_command(b, data, length)) {
        b->now = (struct bot_deed){.kind = BOT_HALT};
        return;
    }
    lun = data[CBW_LUN];
    begin(b, lun, (uint32_t)bytes_get_le(data + CBW_TAG, 4),
          (uint32_t)bytes_get_le(data + CBW_LENGTH, 4), data[CBW_FLAGS] & FLAG_IN);
    /* SCSI-2 had the logical unit there too, and firmware still writes it (EDK2, GRUB). */
    memcpy(cdb, data + CBW_CB, sizeof cdb);
    if (cdb[1] >> 5 == lun)
        cdb[1] &= 0x1F;
    b->drives[lun]->units = b->count;
    follow(b, scsi_drive_execute(b->drives[lun], cdb, data[CBW_CB_LENGTH]));
}

/* Bytes nobody wanted came: more of them, or the status. */
static void refused(struct bot *b, uint64_t moved)
{
    b->left -= (uint32_t)moved;
    if (moved < b->now.length)
        send_status(b); /* a short packet: the machine has ended */
    else
        settle(b);
}

/* A deed of the drive's is over. */
static void deed_done(struct bot *b, enum scsi_cause cause, uint64_t moved)
{
    if (b->in || cause == SCSI_FINE)
        b->residue -= (uint32_t)moved;
    b->left -= (uint32_t)moved;
    if (!b->in && cause == SCSI_FINE && moved < b->now.length)
        b->left = 0; /* a short packet: the machine has ended */
    follow(b, scsi_drive_done(b->drives[b->lun], cause, moved));
}

void bot_done(struct bot *b, enum scsi_cause cause, uint64_t moved)
{
    switch (b->now.kind) {
    case BOT_COMMAND:
    case BOT_HALT:
        break;
    case BOT_STATUS:
        await_command(b);
        break;
    case BOT_STALL_IN:
    case BOT_STALL_OUT:
        send_status(b);
        break;
    case BOT_RECEIVE:
        if (b->now.into == b->refuse)
            refused(b, min_u64(moved, b->now.length));
        else
            deed_done(b, cause, min_u64(moved, b->now.length));
        break;
    case BOT_SEND:
        if (b->now.data == b->status)
            send_status(b); /* the packet of none is out */
        else
            deed_done(b, cause, min_u64(moved, b->now.length));
        break;
    case BOT_MEDIUM:
        if (way_of(b->now.deed.kind) != WAY_NONE)
            deed_done(b, cause, min_u64(moved, b->now.length));
        else
            follow(b, scsi_drive_done(b->drives[b->lun], cause, moved));
        break;
    }
}

size_t bot_note(const struct bot *b, uint8_t out[BOT_NOTE_MAX])
{
    if (!b->busy)
        return 0;
    out[0] = NOTE_VERSION;
    out[1] = b->in ? FLAG_IN : 0;
    out[2] = (uint8_t)b->lun;
    bytes_put_le32(out + 3, b->tag);
    bytes_put_le32(out + 7, b->announced);
    return NOTE_LENGTH;
}

int bot_resume(struct bot *b, const uint8_t *note, size_t length)
{
    if (length != NOTE_LENGTH || note[0] != NOTE_VERSION || note[1] & ~FLAG_IN ||
        note[2] >= b->count)
        return -EBADMSG;
    begin(b, note[2], (uint32_t)bytes_get_le(note + 3, 4), (uint32_t)bytes_get_le(note + 7, 4),
          note[1] & FLAG_IN);
    scsi_drive_done(b->drives[b->lun], SCSI_INTERRUPTED, 0);
    finish(b, STATUS_FAILED);
    /* What of the data has come already nobody knows, so none of it can be waited for. */
    if (b->announced > 0)
        b->now = (struct bot_deed){.kind = b->in ? BOT_STALL_IN : BOT_STALL_OUT};
    return 0;
}
