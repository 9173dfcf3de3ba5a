/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other half of a drive's port (usb-port.h), for its function: what it asks of the engine.
 *
 * An ask cannot be called off. A command that ends before its asks are answered leaves them behind:
 * they run out by themselves, and one that is asked for again meanwhile is taken up again instead
 * of being asked twice. So the pool bounds what a machine that asks again and again can have
 * waiting.
 */
#ifndef PLATTER_EXPORT_USB_ASK_H
#define PLATTER_EXPORT_USB_ASK_H

#include "block/request.h"
#include "export/usb-port.h"
#include "scsi/cause.h"

/* How many asks a drive has at once at most; a write's are USB_PIPE_LENGTH long at most. */
#define USB_PORT_ASKS 32

struct usb_ask {
    struct request request;
    struct list link; /* the job's, or the port's */
    bool answered;
    int error;       /* answered: 0 or -errno */
    uint8_t *buffer; /* a write's bytes, or what a read is compared with; NULL: none */

    /* The port's own. */
    struct usb_port *port;
    uint64_t number; /* in the order of asking */
    bool left;       /* nobody waits for it */
    bool owed;       /* it was acknowledged to the machine before it was done */
};

/* Who uses the port: `wake` tells of everything that may have changed: an ask was answered, there
 * is room again, the engine is leaving, the link. Never called from inside usb_port_ask(). */
void usb_port_listen(struct usb_port *p, void (*wake)(void *arg), void *arg);

/*
 * Asks, as `want` says (op, offset, length, fua, no_hole); it may be answered when this returns.
 * `take_buffer`, or NULL, is from malloc and becomes the ask's. NULL: there is no room now, or no
 * engine; the buffer stays the caller's.
 */
struct usb_ask *usb_port_ask(struct usb_port *p, const struct request *want, uint8_t *take_buffer);
/* One that was answered is done with: a read's segments are the engine's again. */
void usb_ask_release(struct usb_ask *a);
/* The command that asked is over. `owed`: it was told that this write is done; if it fails, the
 * machine is told with the next command. */
void usb_ask_leave(struct usb_ask *a, bool owed);

/* Why a flush has to fail, which tells the machine of it: a write that it was told is done is lost,
 * or one that an earlier flush was to make safe. SCSI_FINE: it need not. */
enum scsi_cause usb_port_lost(struct usb_port *p);

/* Whether one more ask would be taken. */
bool usb_port_has_room(const struct usb_port *p);
/* Whether its medium is gone, or going. After a restart there is a medium before there is an engine
 * for it: what is asked meanwhile waits. */
bool usb_port_is_empty(const struct usb_port *p);
enum export_link usb_port_link(const struct usb_port *p);
bool usb_port_writes_back(const struct usb_port *p);
/* What an error of the engine's means on this port now. */
enum scsi_cause usb_port_cause(const struct usb_port *p, int error, bool writing);

#endif
