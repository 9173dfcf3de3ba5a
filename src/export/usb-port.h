/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A drive's way to its engine: what the drive has asked of it, in a bounded pool. One for each
 * drive, as long as the drive lives; the engine comes and goes with the medium.
 *
 * This half is for whoever owns the drive. What is done through a port is its function's business
 * (usb-function.h).
 */
#ifndef PLATTER_EXPORT_USB_PORT_H
#define PLATTER_EXPORT_USB_PORT_H

#include <stdbool.h>

#include "export/export.h"

struct engine;
struct scsi_drive;
struct usb_port;

/* `write_back`: as the drive was made, so that a write is acknowledged when it has been received.
 * The drive stays its owner's and must outlive the port. 0 or -errno. */
int usb_port_new(struct scsi_drive *drive, bool write_back, struct usb_port **out);
/* Without an engine, and with no function any more. NULL is allowed. */
void usb_port_free(struct usb_port *p);

/* The medium that is in the drive now, or is about to be. There must be none, and its link counts
 * as live. */
void usb_port_set_engine(struct usb_port *p, struct engine *engine);
/*
 * The engine is to go: it is not asked any more, a command that uses it ends (after
 * scsi_drive_remove(), which comes first, with "medium not present"), and `done` is called once,
 * when all it was asked has been answered and released: possibly before this returns, and possibly
 * from inside one of the engine's answers, so the engine may not be freed from there. Without an
 * engine it is called at once.
 */
void usb_port_drop_engine(struct usb_port *p, void (*done)(void *arg), void *arg);

/* As export.h tells of it. WAITING: TEST UNIT READY waits, as long as a command is held. FAILED:
 * what fails fails for that (SCSI_GONE). */
void usb_port_set_link(struct usb_port *p, enum export_link link);

/* Whether writes that were acknowledged have not been done yet (write-back only). */
bool usb_port_is_dirty(const struct usb_port *p);

/* Whether any has failed or can still fail, and no flush of the machine's has told it so. */
bool usb_port_owes(const struct usb_port *p);
/* An earlier process owed: what it had acknowledged may be lost. */
void usb_port_lose(struct usb_port *p);

#endif
