/* SPDX-License-Identifier: Apache-2.0 */
/*
 * REPORT SUPPORTED OPERATION CODES (SPC-4, 6.35): the tables of commands, read out. The usage maps
 * are what is enforced, so they are true.
 */
#include "base/bytes.h"
#include "scsi/drive-parts.h"

/* Byte 2: return timeouts, and what is asked for. */
#define RCTD         0x80
#define OPTIONS      0x07
#define OPTION_ALL   0
#define OPTION_CODE  1 /* of a code without services */
#define OPTION_EXACT 2 /* of a code with services */

#define HAS_SERVICE   0x01
#define HAS_TIMEOUTS  0x02
#define TIMEOUTS_SIZE 0x0A
#define SUPPORTED     0x03
#define UNSUPPORTED   0x01
#define ONE_TIMEOUTS  0x80

static void put_timeouts(struct bytes_writer *w)
{
    bytes_put_u16(w, TIMEOUTS_SIZE);
    bytes_put_u16(w, 0);
    bytes_put_u64(w, 0); /* none is known */
}

static void put_all(struct bytes_writer *w, const struct scsi_commands *commands, bool timeouts)
{
    for (unsigned i = 0; i < commands->count; i++) {
        const struct scsi_command *row = &commands->rows[i];
        bool service = row->service != COMMAND_NO_SERVICE;

        bytes_put_u8(w, row->opcode);
        bytes_put_u8(w, 0);
        bytes_put_u16(w, service ? row->service : 0);
        bytes_put_u8(w, 0);
        bytes_put_u8(w, (uint8_t)((service ? HAS_SERVICE : 0) | (timeouts ? HAS_TIMEOUTS : 0)));
        bytes_put_u16(w, row->length);
        if (timeouts)
            put_timeouts(w);
    }
}

static struct scsi_deed report_all(struct scsi_drive *d, bool timeouts, uint64_t allocation)
{
    struct bytes_writer body = bytes_writer(d->bytes + 4, sizeof d->bytes - 4);
    struct bytes_writer head = bytes_writer(d->bytes, 4);

    put_all(&body, &drive_commands, timeouts);
    put_all(&body, d->kind == MEDIUM_CD ? &optical_commands : &disk_commands, timeouts);
    bytes_put_u32(&head, (uint32_t)body.used);
    return drive_reply(d, body.used + 4, allocation);
}

static struct scsi_deed report_one(struct scsi_drive *d, const uint8_t *cdb, uint64_t allocation)
{
    struct bytes_writer w = bytes_writer(d->bytes, sizeof d->bytes);
    unsigned option = cdb[2] & OPTIONS;
    bool timeouts = cdb[2] & RCTD, known = false, serves;
    uint16_t service = (uint16_t)(cdb[4] << 8 | cdb[5]);
    const struct scsi_command *row =
        service > 0x1F ? NULL : drive_find_command(d, cdb[3], (uint8_t)service, &known);

    serves = known && (!row || row->service != COMMAND_NO_SERVICE);
    if (serves && option == OPTION_CODE)
        return drive_bad_cdb(d, 2, 2);
    if (known && !serves && option == OPTION_EXACT)
        return drive_bad_cdb(d, 2, 2);
    bytes_put_u8(&w, 0);
    if (!row) {
        bytes_put_u8(&w, UNSUPPORTED);
        bytes_put_u16(&w, 0);
        return drive_reply(d, w.used, allocation);
    }
    bytes_put_u8(&w, (uint8_t)(SUPPORTED | (timeouts ? ONE_TIMEOUTS : 0)));
    bytes_put_u16(&w, row->length);
    bytes_put_u8(&w, row->opcode);
    bytes_put_u8(&w, (uint8_t)(row->usage[1] | (serves ? row->service : 0)));
    bytes_put(&w, row->usage + 2, row->length - 2u);
    if (timeouts)
        put_timeouts(&w);
    return drive_reply(d, w.used, allocation);
}

struct scsi_deed opcodes_report(struct scsi_drive *d, const uint8_t *cdb)
{
    struct bytes_reader r = bytes_reader(cdb + 6, 4);
    uint64_t allocation = bytes_get_u32(&r);
    unsigned option = cdb[2] & OPTIONS;

    if (option == OPTION_ALL)
        return report_all(d, cdb[2] & RCTD, allocation);
    if (option > OPTION_EXACT)
        return drive_bad_cdb(d, 2, 2);
    return report_one(d, cdb, allocation);
}
