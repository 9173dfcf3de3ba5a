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
 * when all it was asked has been answered and released; possibly before this returns. Without an
 * engine it is called at once.
 */
void usb_port_drop_engine(struct usb_port *p, void (*done)(void *arg), void *arg);

/* Whether the far end is there: TEST UNIT READY waits for it, as long as a command is held. */
void usb_port_set_link(struct usb_port *p, bool live);

/* Whether writes that were acknowledged have not been done yet (write-back only). */
bool usb_port_is_dirty(const struct usb_port *p);

#endif
