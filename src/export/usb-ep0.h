/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control endpoint of a USB device that is made of FunctionFS: what the bus does to the device,
 * and the class requests of Mass Storage (Bulk-Only Transport 1.0, section 3). Everything else
 * there is the kernel's.
 */
#ifndef PLATTER_EXPORT_USB_EP0_H
#define PLATTER_EXPORT_USB_EP0_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct usb_ep0;

/* All come on the loop's thread. usb_ep0_free() may be called from any of them. */
struct usb_ep0_events {
    /* The endpoints are in use from now on, or anew: what was in flight on them is lost. */
    void (*enabled)(void *arg);
    void (*disabled)(void *arg);
    /* BULK-ONLY MASS STORAGE RESET, which is acknowledged when this returns. */
    void (*reset)(void *arg, unsigned function);
    /* Once: what had happened before usb_ep0_new() has been told of. */
    void (*caught_up)(void *arg);
    /* -errno: nothing more will come. */
    void (*failed)(void *arg, int error);
};

struct usb_ep0_config {
    struct loop *loop;
    int fd;             /* ep0, its descriptors and strings written; stays the caller's */
    unsigned functions; /* interfaces of the device, numbered from 0 */
    unsigned luns;      /* logical units of each, 1 to 16 */
    const struct usb_ep0_events *events;
    void *arg;
};

/* 0 or -errno. */
int usb_ep0_new(const struct usb_ep0_config *config, struct usb_ep0 **out);
/* Nobody uses the descriptor any more when this returns. NULL is allowed. */
void usb_ep0_free(struct usb_ep0 *ep0);

enum usb_ep0_answer {
    USB_EP0_STALL,
    USB_EP0_MAX_LUN, /* one byte */
    USB_EP0_RESET,
};

/* What is to be done with a request: the 8 bytes of USB 2.0, section 9.3. Of an answer but STALL,
 * `*function` is whose. */
enum usb_ep0_answer usb_ep0_decide(const uint8_t setup[8], unsigned functions, unsigned *function);

#endif
