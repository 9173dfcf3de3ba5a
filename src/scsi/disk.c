/* SPDX-License-Identifier: Apache-2.0 */
/* What only a disk does (SBC-3). */
#include "scsi/drive-parts.h"

const struct scsi_commands disk_commands = {NULL, 0};
const struct scsi_pages disk_pages = {NULL, 0};
