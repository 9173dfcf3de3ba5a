/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The drive's manners when something goes wrong, as one table.
 *
 * WAITING is what makes hosts ride out an outage: Linux asks again in silence on 04/01 ("in process
 * of becoming ready", drivers/scsi/scsi_error.c, scsi_check_sense()) until its own limit of six
 * times 30 s; the hold keeps it from asking in a busy loop and is short enough for firmware, which
 * gives a command 5 s (EDK2, MdeModulePkg/Bus/Usb/UsbMassStorageDxe). GONE is the opposite: an
 * error at once, but of a kind after which the drive is still there.
 */
#include "scsi/cause.h"

#include <errno.h>
#include <stddef.h>

#define HOLD_MS 2000

static const struct scsi_manners manners[SCSI_CAUSES] = {
    [SCSI_WAITING] = {{0x2, 0x04, 0x01}, HOLD_MS}, /* becoming ready */
    [SCSI_GONE] = {{0x2, 0x04, 0x00}, 0},          /* not ready, cause not reportable */
    [SCSI_READ_FAILED] = {{0x3, 0x11, 0x00}, 0},   /* unrecovered read error */
    [SCSI_WRITE_FAILED] = {{0x3, 0x0C, 0x00}, 0},  /* write error */
    [SCSI_FULL] = {{0x7, 0x27, 0x07}, 0},          /* space allocation failed write protect */
    [SCSI_MISCOMPARE] = {{0xE, 0x1D, 0x00}, 0},    /* miscompare during verify operation */
    [SCSI_INTERRUPTED] = {{0xB, 0x00, 0x00}, 0},   /* aborted: the host asks again */
};

const struct scsi_manners *scsi_manners(enum scsi_cause cause)
{
    return &manners[cause];
}

enum scsi_cause scsi_cause_of(int error, int writing)
{
    switch (error) {
    case 0:
        return SCSI_FINE;
    case -ETIMEDOUT:
        return SCSI_WAITING;
    case -ENOTCONN:
    case -ESHUTDOWN:
        return SCSI_GONE;
    case -ENOSPC:
    case -EDQUOT:
        return SCSI_FULL;
    default:
        return writing ? SCSI_WRITE_FAILED : SCSI_READ_FAILED;
    }
}
