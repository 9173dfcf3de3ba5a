/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the optical drive share: which disc an image passes for, and the commands, by
 * file. Not for others.
 */
#ifndef PLATTER_SCSI_OPTICAL_PARTS_H
#define PLATTER_SCSI_OPTICAL_PARTS_H

#include "scsi/drive-parts.h"

/* The disc in the drive, as bits: the tables say with which of them something is so. */
#define OPTICAL_EMPTY (1u << 0)
#define OPTICAL_CD    (1u << 1)
#define OPTICAL_DVD   (1u << 2)
#define OPTICAL_BD    (1u << 3)

/* Sectors of 2048 bytes: */
#define OPTICAL_CD_MAX   449849u  /* a CD's lead-out is at 99:59:74 at the latest */
#define OPTICAL_DVD5_MAX 2298496u /* a DVD of one layer (DVD-R for General, 4.7 GB) */
#define OPTICAL_DVD_MAX  4173824u /* of two (DVD+R DL, 8.55 GB) */

/* The one bit of the above. */
unsigned optical_disc(const struct scsi_drive *d);
/* Its sectors; 0 without one. */
uint32_t optical_sectors(const struct scsi_drive *d);
/* Nominal reading speed with that disc, or of the drive when it is empty, in kB/s (1000 bytes). */
uint16_t optical_speed(const struct scsi_drive *d);

/* optical-features.c */
struct scsi_deed optical_get_configuration(struct scsi_drive *d, const uint8_t *cdb);
/* optical-toc.c */
struct scsi_deed optical_read_toc(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed optical_read_sub_channel(struct scsi_drive *d, const uint8_t *cdb);
/* optical-discs.c */
struct scsi_deed optical_read_disc_information(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed optical_read_track_information(struct scsi_drive *d, const uint8_t *cdb);
/* optical-structure.c */
struct scsi_deed optical_read_structure(struct scsi_drive *d, const uint8_t *cdb);
/* optical-events.c */
struct scsi_deed optical_get_event(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed optical_mechanism_status(struct scsi_drive *d, const uint8_t *cdb);
/* optical-speed.c */
struct scsi_deed optical_get_performance(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed optical_set_speed(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed optical_set_streaming(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed optical_set_read_ahead(struct scsi_drive *d, const uint8_t *cdb);
/* optical-read.c */
struct scsi_deed optical_read_cd(struct scsi_drive *d, const uint8_t *cdb);
struct scsi_deed optical_read_cd_msf(struct scsi_drive *d, const uint8_t *cdb);

/* Of a CDB. */
static inline uint16_t optical_be16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t optical_be32(const uint8_t *at)
{
    return (uint32_t)optical_be16(at) << 16 | optical_be16(at + 2);
}

#endif
