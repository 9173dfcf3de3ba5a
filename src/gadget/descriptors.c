/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layout is that of the kernel's include/uapi/linux/usb/functionfs.h: a head, then the number
 * of descriptors for each speed, then the descriptors of each speed in turn; all little-endian, as
 * USB is. The kernel gives interfaces and endpoints numbers of its own where the controller needs
 * it, and tells nobody: what is said here only has to differ.
 */
#include "gadget/descriptors.h"

#include <linux/usb/ch9.h>
#include <linux/usb/functionfs.h>

/* USB Mass Storage Class, Bulk-Only Transport 1.0, section 4.3: transparent SCSI commands. */
#define SUBCLASS_SCSI      0x06
#define PROTOCOL_BULK_ONLY 0x50
/* Packets that may follow each other without a word between, less one: as many as USB 3 has. */
#define BURST_MAX 15

struct cursor {
    uint8_t *at;
    size_t used;
};

static void put(struct cursor *c, unsigned value, unsigned width)
{
    for (unsigned i = 0; i < width; i++)
        c->at[c->used++] = (uint8_t)(value >> (8 * i));
}

/* USB 2.0, table 9-12. */
static void put_interface(struct cursor *c, unsigned number)
{
    put(c, USB_DT_INTERFACE_SIZE, 1);
    put(c, USB_DT_INTERFACE, 1);
    put(c, number, 1);
    put(c, 0, 1); /* the only setting of it */
    put(c, 2, 1); /* endpoints */
    put(c, USB_CLASS_MASS_STORAGE, 1);
    put(c, SUBCLASS_SCSI, 1);
    put(c, PROTOCOL_BULK_ONLY, 1);
    put(c, 0, 1); /* no string */
}

/* USB 2.0, table 9-13; and what goes with each endpoint at super speed: USB 3.2, table 9-29. */
static void put_endpoint(struct cursor *c, unsigned address, unsigned packet)
{
    put(c, USB_DT_ENDPOINT_SIZE, 1);
    put(c, USB_DT_ENDPOINT, 1);
    put(c, address, 1);
    put(c, USB_ENDPOINT_XFER_BULK, 1);
    put(c, packet, 2);
    put(c, 0, 1); /* no interval */
    if (packet < 1024)
        return;
    put(c, USB_DT_SS_EP_COMP_SIZE, 1);
    put(c, USB_DT_SS_ENDPOINT_COMP, 1);
    put(c, BURST_MAX, 1);
    put(c, 0, 1); /* no streams */
    put(c, 0, 2);
}

size_t descriptors_write(unsigned functions, uint8_t out[DESCRIPTORS_ROOM])
{
    static const unsigned packets[] = {64, 512, 1024}; /* of full, high and super speed */
    struct cursor c = {.at = out};
    size_t length;

    put(&c, FUNCTIONFS_DESCRIPTORS_MAGIC_V2, 4);
    put(&c, 0, 4); /* the length, when it is known */
    put(&c, FUNCTIONFS_HAS_FS_DESC | FUNCTIONFS_HAS_HS_DESC | FUNCTIONFS_HAS_SS_DESC, 4);
    put(&c, 3 * functions, 4);
    put(&c, 3 * functions, 4);
    put(&c, 5 * functions, 4);
    for (size_t speed = 0; speed < sizeof packets / sizeof packets[0]; speed++) {
        for (unsigned i = 0; i < functions; i++) {
            put_interface(&c, i);
            put_endpoint(&c, USB_DIR_OUT | (i + 1), packets[speed]);
            put_endpoint(&c, USB_DIR_IN | (i + 1), packets[speed]);
        }
    }
    length = c.used;
    c.used = 4;
    put(&c, (unsigned)length, 4);
    return length;
}

size_t descriptors_write_strings(uint8_t out[DESCRIPTORS_STRINGS_ROOM])
{
    struct cursor c = {.at = out};

    put(&c, FUNCTIONFS_STRINGS_MAGIC, 4);
    put(&c, DESCRIPTORS_STRINGS_ROOM, 4);
    put(&c, 0, 4); /* strings */
    put(&c, 0, 4); /* languages */
    return c.used;
}
