/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of a drive share: the tables of its commands and mode pages, and the few ways in
 * which a command ends. Not for other rooms.
 *
 * A command is a row: its usage map says which bits of the CDB mean anything here, and any other
 * bit that is set is an invalid field before `run` sees it. So what REPORT SUPPORTED OPERATION
 * CODES tells is what is done, and `run` checks values only.
 */
#ifndef PLATTER_SCSI_DRIVE_PARTS_H
#define PLATTER_SCSI_DRIVE_PARTS_H

#include "scsi/drive.h"

/* Unit attentions, the one told first lowest. */
#define DRIVE_ATTENTION_RESET  (1u << 0) /* 29/00 */
#define DRIVE_ATTENTION_MEDIUM (1u << 1) /* 28/00 */

/* Sense keys (SPC-4 table 53). */
#define KEY_NO_SENSE        0x0
#define KEY_NOT_READY       0x2
#define KEY_MEDIUM_ERROR    0x3
#define KEY_ILLEGAL_REQUEST 0x5
#define KEY_UNIT_ATTENTION  0x6
#define KEY_DATA_PROTECT    0x7
#define KEY_ABORTED_COMMAND 0xB
#define KEY_MISCOMPARE      0xE

/* What must be so before a command is run. */
#define COMMAND_MEDIUM   (1u << 0) /* a medium: else NOT READY, 3A/00 */
#define COMMAND_WRITABLE (1u << 1) /* that may be written: else DATA PROTECT, 27/00 */
#define COMMAND_CALM                                                                               \
    (1u << 2) /* may be run with a unit attention pending, which stays (SPC-4 5.14) */

#define COMMAND_NO_SERVICE 0xFF

struct scsi_command {
    uint8_t opcode;
    uint8_t service;             /* action, in bits 4-0 of byte 1; or COMMAND_NO_SERVICE */
    uint8_t length;              /* of the CDB */
    uint8_t needs;               /* COMMAND_* */
    uint8_t usage[SCSI_CDB_MAX]; /* by byte, the bits evaluated; [0] is the operation code
                                    (SPC-4 6.35.3) */
    struct scsi_deed (*run)(struct scsi_drive *d, const uint8_t *cdb);
};

struct scsi_commands {
    const struct scsi_command *rows;
    unsigned count;
};

extern const struct scsi_commands drive_commands;   /* both kinds */
extern const struct scsi_commands disk_commands;    /* these come first */
extern const struct scsi_commands optical_commands; /* likewise */

/* The row of a CDB; NULL: none, and `*known` says whether other services of its code are. */
const struct scsi_command *drive_find_command(const struct scsi_drive *d, uint8_t opcode,
                                              uint8_t service, bool *known);

/* Which values of a mode page: as MODE SENSE's page control has them. */
enum scsi_values { VALUES_CURRENT, VALUES_CHANGEABLE, VALUES_DEFAULT, VALUES_SAVED };

/* A mode page (SPC-4 7.5), two bytes of header and all. */
struct scsi_page {
    uint8_t code;
    uint8_t length; /* whole */
    /* Writes those values of the page, but for its header, over zeros. */
    void (*fill)(const struct scsi_drive *d, uint8_t *page, enum scsi_values which);
    /* Takes over the changeable bits; NULL: there are none. */
    void (*take)(struct scsi_drive *d, const uint8_t *page);
};

struct scsi_pages {
    const struct scsi_page *rows; /* by ascending code */
    unsigned count;
};

extern const struct scsi_pages disk_pages;
extern const struct scsi_pages optical_pages;
/* SPC's own, for the tables above. */
void mode_fill_control(const struct scsi_drive *d, uint8_t *page, enum scsi_values which);
void mode_take_control(struct scsi_drive *d, const uint8_t *page);
void mode_fill_exceptions(const struct scsi_drive *d, uint8_t *page, enum scsi_values which);

/* How a command ends, or goes on. */
struct scsi_deed drive_good(struct scsi_drive *d);
struct scsi_deed drive_check(struct scsi_drive *d, uint8_t key, uint8_t asc, uint8_t ascq);
/* MEDIUM NOT PRESENT. */
struct scsi_deed drive_check_empty(struct scsi_drive *d);
/* What `cause` means, of the deed in work. */
struct scsi_deed drive_fail(struct scsi_drive *d, enum scsi_cause cause, uint64_t moved);
/* A unit attention or a deferred error is pending; telling makes it the current sense. */
bool drive_has_news(const struct scsi_drive *d);
void drive_tell_news(struct scsi_drive *d);
/* INVALID FIELD IN CDB, or in the parameter list: the byte, and the highest bit of the field in it
 * (SPC-4 4.5.2.4.2). */
struct scsi_deed drive_bad_cdb(struct scsi_drive *d, unsigned byte, unsigned bit);
struct scsi_deed drive_bad_parameter(struct scsi_drive *d, unsigned byte, unsigned bit);
/* Sends d->bytes, cut to what the CDB allows. */
struct scsi_deed drive_reply(struct scsi_drive *d, size_t length, uint64_t allocation);
/* Receives `length` bytes into d->bytes, then goes on with `next`; 0 bytes: good at once. Too
 * many: PARAMETER LIST LENGTH ERROR, as are too few. */
struct scsi_deed drive_receive(struct scsi_drive *d, uint64_t length,
                               struct scsi_deed (*next)(struct scsi_drive *d));
/* A deed over blocks of the medium. drive_range() is asked first: false, with the CHECK CONDITION
 * of 21/00 in `*out`, when they are not all there. */
bool drive_range(struct scsi_drive *d, uint64_t lba, uint64_t count, struct scsi_deed *out);
struct scsi_deed drive_blocks(struct scsi_drive *d, enum scsi_deed_kind kind, uint64_t lba,
                              uint64_t count);

/* What one UNMAP (all its ranges) and one WRITE SAME may do at most: an amount that is done within
 * the time a host gives a command, by a far end that has to write it out. In blocks. */
#define DISK_UNMAP_BLOCKS_MAX 0x100000
#define DISK_SAME_BLOCKS_MAX  0x10000

/* The medium goes out of reach; what holds of it stays. And the lock, with its event. */
void drive_unload(struct scsi_drive *d);
void drive_lock(struct scsi_drive *d, bool locked);

/* What a CDB of READ's layout speaks of, by its operation code's group (SPC-4, 4.3.2). */
struct scsi_extent {
    uint64_t lba, count; /* blocks */
};
struct scsi_extent drive_extent(const uint8_t *cdb);

/* Commands, for the tables. */
struct scsi_deed blocks_read(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed blocks_verify(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed blocks_seek(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed blocks_synchronize(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed blocks_read_capacity(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed blocks_read_format_capacities(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed inquiry_inquire(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed inquiry_report_luns(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed mode_select_6(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed mode_select_10(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed mode_sense_6(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed mode_sense_10(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed opcodes_report(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed sense_request(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed tray_start_stop(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed tray_prevent_allow(struct scsi_drive *d, const uint8_t *cdb);

/* Of scsi_drive_insert(), _remove(), _request_eject(): the optical drive's events. */
void optical_inserted(struct scsi_drive *d);
void optical_removed(struct scsi_drive *d);
void optical_eject_wished(struct scsi_drive *d);
/* START STOP UNIT with LoEj: the tray went out (the medium is gone by then) or in. */
void optical_tray(struct scsi_drive *d, bool open);

#endif
