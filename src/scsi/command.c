/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands that disks and optical drives have in common, and how a row of the tables is found.
 */
#include "scsi/drive-parts.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

static struct scsi_deed test_unit_ready(struct scsi_drive *d, const uint8_t *cdb)
{
    (void)cdb;
    d->deed = (struct scsi_deed){.kind = SCSI_READY};
    return d->deed;
}

static const struct scsi_command rows[] = {
    {OPCODE_TEST_UNIT_READY, COMMAND_NO_SERVICE, 6, COMMAND_MEDIUM, {0x00}, test_unit_ready},
    {OPCODE_REQUEST_SENSE,
     COMMAND_NO_SERVICE,
     6,
     COMMAND_CALM,
     {0x03, 0x01, 0, 0, 0xFF},
     sense_request},
};

const struct scsi_commands drive_commands = {rows, COUNT(rows)};

static const struct scsi_command *find(const struct scsi_commands *in, uint8_t opcode,
                                       uint8_t service, bool *known)
{
    for (unsigned i = 0; i < in->count; i++) {
        const struct scsi_command *row = &in->rows[i];

        if (row->opcode != opcode)
            continue;
        *known = true;
        if (row->service == COMMAND_NO_SERVICE || row->service == service)
            return row;
    }
    return NULL;
}

const struct scsi_command *drive_find_command(const struct scsi_drive *d, uint8_t opcode,
                                              uint8_t service, bool *known)
{
    const struct scsi_command *own =
        find(d->kind == MEDIUM_CD ? &optical_commands : &disk_commands, opcode, service, known);

    return own ? own : find(&drive_commands, opcode, service, known);
}
