/* SPDX-License-Identifier: Apache-2.0 */
/* What only an optical drive does (MMC-6). */
#include "scsi/drive-parts.h"

const struct scsi_commands optical_commands = {NULL, 0};
const struct scsi_pages optical_pages = {NULL, 0};

void optical_inserted(struct scsi_drive *d)
{
    d->optical.open = false;
    d->optical.media_event = 2; /* new media (MMC-6, table 300) */
}

void optical_removed(struct scsi_drive *d)
{
    d->optical.media_event = 3; /* media removal */
}

void optical_eject_wished(struct scsi_drive *d)
{
    d->optical.media_event = 1; /* eject request */
}

void optical_tray(struct scsi_drive *d, bool open)
{
    d->optical.open = open;
}
