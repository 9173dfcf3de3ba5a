/* SPDX-License-Identifier: Apache-2.0 */
/* The USB devices that the configuration asks for, each of the slots whose drives it has. */
#ifndef PLATTER_DAEMON_USB_H
#define PLATTER_DAEMON_USB_H

#include "config/config.h"

struct loop;
struct priv;
struct usb_device;
struct usb_devices;

/* 0 or -errno. Those that are plugged in always appear when the loop runs. */
int usb_devices_new(const struct config *config, struct loop *loop, struct priv *priv,
                    struct usb_devices **out);
/* Stopped, or never used. NULL is allowed. */
void usb_devices_free(struct usb_devices *all);

/* The slot's, and which of its drives the slot is; NULL: its export is another. */
struct usb_device *usb_devices_find(const struct usb_devices *all, unsigned slot, unsigned *drive);

/* usb_device_stop() and usb_device_leave() of all; `done` once, possibly before this returns. */
void usb_devices_stop(struct usb_devices *all, void (*done)(void *arg), void *arg);
void usb_devices_leave(struct usb_devices *all, void (*done)(void *arg), void *arg);

#endif
