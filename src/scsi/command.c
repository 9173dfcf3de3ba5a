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

#define ALL  0xFF
#define LBA4 ALL, ALL, ALL, ALL
#define ANY  COMMAND_NO_SERVICE

static const struct scsi_command rows[] = {
    {0x00, ANY, 6, COMMAND_MEDIUM, {0x00}, test_unit_ready},
    {0x03, ANY, 6, COMMAND_CALM, {0x03, 0x01, 0, 0, ALL}, sense_request},
    {0x12, ANY, 6, COMMAND_CALM, {0x12, 0x01, ALL, ALL, ALL}, inquiry_inquire},
    {0x15, ANY, 6, 0, {0x15, 0x10, 0, 0, ALL}, mode_select_6},
    {0x1A, ANY, 6, 0, {0x1A, 0x08, ALL, ALL, ALL}, mode_sense_6},
    {0x1B, ANY, 6, 0, {0x1B, 0x01, 0, 0x0F, 0xF7}, tray_start_stop},
    {0x1E, ANY, 6, 0, {0x1E, 0, 0, 0, 0x03}, tray_prevent_allow},
    {0x23, ANY, 10, 0, {0x23, 0, 0, 0, 0, 0, 0, ALL, ALL}, blocks_read_format_capacities},
    {0x25, ANY, 10, COMMAND_MEDIUM, {0x25}, blocks_read_capacity},
    {0x28, ANY, 10, COMMAND_MEDIUM, {0x28, 0x1A, LBA4, 0, ALL, ALL}, blocks_read},
    {0x2B, ANY, 10, COMMAND_MEDIUM, {0x2B, 0, LBA4}, blocks_seek},
    {0x2F, ANY, 10, COMMAND_MEDIUM, {0x2F, 0x12, LBA4, 0, ALL, ALL}, blocks_verify},
    {0x35, ANY, 10, COMMAND_MEDIUM, {0x35, 0x06, LBA4, 0, ALL, ALL}, blocks_synchronize},
    {0x55, ANY, 10, 0, {0x55, 0x10, 0, 0, 0, 0, 0, ALL, ALL}, mode_select_10},
    {0x5A, ANY, 10, 0, {0x5A, 0x18, ALL, ALL, 0, 0, 0, ALL, ALL}, mode_sense_10},
    {0xA0, ANY, 12, COMMAND_CALM, {0xA0, 0, ALL, 0, 0, 0, LBA4}, inquiry_report_luns},
    {0xA3, 0x0C, 12, 0, {0xA3, 0, 0x87, ALL, ALL, ALL, LBA4}, opcodes_report},
    {0xA8, ANY, 12, COMMAND_MEDIUM, {0xA8, 0x1A, LBA4, LBA4}, blocks_read},
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
