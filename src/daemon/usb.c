// SPDX-License-Identifier: Apache-2.0
/*
 * Slots with one `usb_device` name are the drives of one USB device, in the order of their numbers;
 * the lowest of them is what the helper knows the device by.
 */
#include "daemon/usb.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/usb-device.h"

struct usb_devices {
    struct usb_device *of[CONFIG_SLOTS_MAX]; /* each slot's, or NULL; */
    unsigned drive[CONFIG_SLOTS_MAX];        /* and which of its drives the slot is: 0 for the
                                                lowest, and only then */
    unsigned going; /* devices that are not done yet; and one while asking them */
    void (*done)(void *arg);
    void *done_arg;
};

/* Whether the slot is a drive of the device whose lowest slot is `lowest`. */
static bool belongs(const struct config *config, unsigned slot, unsigned lowest)
{
    return strcmp(config->slots[slot].export_name, "usb") == 0 &&
           config_usb_first(config, slot) == lowest;
}

static struct usb_drive_config drive_of(const struct config_slot *slot)
{
    struct usb_drive_config drive = {
        .any_kind = slot->drive == CONFIG_DRIVE_AUTO,
        .kind = slot->drive == CONFIG_DRIVE_CD ? MEDIUM_CD : MEDIUM_DISK,
        .write_back = slot->write_back,
    };

    snprintf(drive.vendor, sizeof drive.vendor, "%s", slot->vendor);
    snprintf(drive.product, sizeof drive.product, "%s", slot->product);
    snprintf(drive.serial, sizeof drive.serial, "%s", slot->serial);
    return drive;
}

/* The device whose lowest slot this is. */
static int make(struct usb_devices *all, const struct config *config, unsigned lowest,
                struct loop *loop, struct priv *priv)
{
    struct usb_drive_config drives[CONFIG_SLOTS_MAX];
    struct usb_device *device;
    unsigned count = 0;
    int r;

    for (unsigned i = lowest; i < config->slot_count; i++) {
        if (!belongs(config, i, lowest))
            continue;
        all->drive[i] = count;
        drives[count++] = drive_of(&config->slots[i]);
    }
    r = usb_device_new(
        &(struct usb_device_config){
            .loop = loop,
            .priv = priv,
            .slot = lowest,
            .always = config->slots[lowest].plugged_always,
            .drive_count = count,
            .drives = drives,
        },
        &device);
    for (unsigned i = lowest; i < config->slot_count && r == 0; i++) {
        if (belongs(config, i, lowest))
            all->of[i] = device;
    }
    return r;
}

int usb_devices_new(const struct config *config, struct loop *loop, struct priv *priv,
                    struct usb_devices **out)
{
    struct usb_devices *all = calloc(1, sizeof *all);
    int r = 0;

    if (!all)
        return -ENOMEM;
    for (unsigned i = 0; i < config->slot_count && r == 0; i++) {
        if (belongs(config, i, i))
            r = make(all, config, i, loop, priv);
    }
    if (r < 0) {
        usb_devices_free(all);
        return r;
    }
    *out = all;
    return 0;
}

void usb_devices_free(struct usb_devices *all)
{
    if (!all)
        return;
    for (unsigned i = 0; i < CONFIG_SLOTS_MAX; i++) {
        if (all->drive[i] == 0)
            usb_device_free(all->of[i]);
    }
    free(all);
}

struct usb_device *usb_devices_find(const struct usb_devices *all, unsigned slot, unsigned *drive)
{
    *drive = all->drive[slot];
    return all->of[slot];
}

static void one_done(void *arg)
{
    struct usb_devices *all = arg;

    if (--all->going == 0)
        all->done(all->done_arg);
}

static void ask_all(struct usb_devices *all,
                    void (*ask)(struct usb_device *d, void (*done)(void *arg), void *arg),
                    void (*done)(void *arg), void *arg)
{
    all->done = done;
    all->done_arg = arg;
    all->going = 1;
    for (unsigned i = 0; i < CONFIG_SLOTS_MAX; i++) {
        if (all->of[i] && all->drive[i] == 0) {
            all->going++;
            ask(all->of[i], one_done, all);
        }
    }
    one_done(all);
}

void usb_devices_stop(struct usb_devices *all, void (*done)(void *arg), void *arg)
{
    ask_all(all, usb_device_stop, done, arg);
}

void usb_devices_leave(struct usb_devices *all, void (*done)(void *arg), void *arg)
{
    ask_all(all, usb_device_leave, done, arg);
}
