/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only an optical drive does (MMC-6): the tables of its commands and mode pages. It reads, and
 * reads data only, so what is about writing, audio, changers, regions and keys is not here; a host
 * that looks at the features (optical-features.c) does not ask for it.
 *
 * Each command's usage map has the bits that are looked at; see drive-parts.h.
 */
#include "scsi/optical-parts.h"

#define PAGE_ERROR_RECOVERY 0x01
#define PAGE_POWER          0x1A
#define PAGE_EXCEPTIONS     0x1C
#define PAGE_TIMEOUT        0x1D
#define PAGE_CAPABILITIES   0x2A

#define ROW(code, length, needs, run, ...)                                                         \
    {                                                                                              \
        code, COMMAND_NO_SERVICE, length, needs, {code, __VA_ARGS__}, run                          \
    }

static const struct scsi_command rows[] = {
    ROW(0x42, 10, COMMAND_MEDIUM, optical_read_sub_channel, 0x02, 0x40, 0xFF, 0, 0, 0xFF, 0xFF,
        0xFF),
    ROW(0x43, 10, COMMAND_MEDIUM, optical_read_toc, 0x02, 0x0F, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xC0),
    ROW(0x46, 10, COMMAND_CALM, optical_get_configuration, 0x03, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF),
    ROW(0x4A, 10, COMMAND_CALM, optical_get_event, 0x01, 0, 0, 0xFF, 0, 0, 0xFF, 0xFF),
    ROW(0x51, 10, COMMAND_MEDIUM, optical_read_disc_information, 0x07, 0, 0, 0, 0, 0, 0xFF, 0xFF),
    ROW(0x52, 10, COMMAND_MEDIUM, optical_read_track_information, 0x03, 0xFF, 0xFF, 0xFF, 0xFF, 0,
        0xFF, 0xFF),
    ROW(0xA7, 12, COMMAND_MEDIUM, optical_set_read_ahead, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
        0xFF, 0xFF),
    ROW(0xAC, 12, COMMAND_MEDIUM, optical_get_performance, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0xFF,
        0xFF, 0xFF),
    ROW(0xAD, 12, COMMAND_MEDIUM, optical_read_structure, 0x0F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
        0xFF, 0xFF, 0xC0),
    ROW(0xB6, 12, 0, optical_set_streaming, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF),
    ROW(0xB9, 12, COMMAND_MEDIUM, optical_read_cd_msf, 0x1E, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
        0xFE, 0x07),
    ROW(0xBB, 12, 0, optical_set_speed, 0x03, 0xFF, 0xFF, 0xFF, 0xFF),
    ROW(0xBD, 12, 0, optical_mechanism_status, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF),
    ROW(0xBE, 12, COMMAND_MEDIUM, optical_read_cd, 0x1E, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
        0xFE, 0x07),
};

const struct scsi_commands optical_commands = {rows, sizeof rows / sizeof rows[0]};

/*
 * Error recovery (MMC-6): whatever is wrong with a read, all means against it have been tried.
 * Power condition (SPC-3): it is always active. There is nothing to say and nothing to set.
 */
static void fill_nothing(const struct scsi_drive *d, uint8_t *page, enum scsi_values which)
{
    (void)d, (void)page, (void)which;
}

/* Time-out and protect (MMC-6). The least a host should wait for an answer: what Linux grants,
 * which an outage of the line needs now and then. */
static void fill_timeout(const struct scsi_drive *d, uint8_t *page, enum scsi_values which)
{
    (void)d;
    if (which != VALUES_CHANGEABLE)
        page[7] = page[9] = 30; /* seconds, of either group of commands */
}

/* Capabilities and mechanical status (MMC-3), which later ones call legacy and every host reads. */
static void fill_capabilities(const struct scsi_drive *d, uint8_t *page, enum scsi_values which)
{
    uint16_t speed = optical_speed(d);

    if (which == VALUES_CHANGEABLE)
        return;
    page[2] = 0x0B; /* reads CD-R, CD-RW (Multi-Read) and DVD-ROM; writes nothing */
    /* A tray that ejects and can be locked, but is not when the drive comes up; whether it is now.
     */
    page[6] = (uint8_t)(0x29 | d->locked << 1);
    page[8] = page[14] = (uint8_t)(speed >> 8);
    page[9] = page[15] = (uint8_t)speed;
}

static const struct scsi_page pages[] = {
    {PAGE_ERROR_RECOVERY, 12, fill_nothing, NULL},     {PAGE_POWER, 12, fill_nothing, NULL},
    {PAGE_EXCEPTIONS, 12, mode_fill_exceptions, NULL}, {PAGE_TIMEOUT, 10, fill_timeout, NULL},
    {PAGE_CAPABILITIES, 32, fill_capabilities, NULL},
};

const struct scsi_pages optical_pages = {pages, sizeof pages / sizeof pages[0]};
