/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must hold of the whole configuration: what one key alone cannot show. Slots are looked at in
 * the order of their numbers, each against the ones before, which are complete by then.
 *
 * The keys of an export that a slot does not have are not looked at here: they are checked one by
 * one where they stand, and then not used, so that changing an export is a change of one line.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config/config-parse.h"

/* What an export bears, and what it gets where nothing is said. Seconds. */
static const struct grace {
    const char *export;
    unsigned normal, most;
    const char *why; /* no more than that */
} graces[] = {
    /* Linux asks for six times 30 s before it gives an error (drivers/scsi/sd.h, SD_TIMEOUT and
     * SD_MAX_RETRIES); what waits is answered before. Other machines may have more patience. */
    {"usb", 170, 3600, ""},
    /* Linux gives a SCSI command 30 s and then resets the device, which a gadget stuck in a read
     * does not survive: what waits for a far end is answered before that. */
    {"kernel", 25, 25, ", for a machine gives up its USB drive after 30"},
    {"unix", 60, 3600, ""},
};

static bool has_export(const struct config_slot *slot, const char *name)
{
    return strcmp(slot->export_name, name) == 0;
}

bool config_is_usb_drive(const struct config_slot *slot)
{
    return has_export(slot, "usb") || (has_export(slot, "kernel") && slot->gadget);
}

static int grace_check(struct config_parser *p, unsigned number)
{
    struct config_slot *slot = &p->config->slots[number];
    const struct grace *grace = graces;

    while (!has_export(slot, grace->export))
        grace++;
    if (slot->grace == 0)
        slot->grace = grace->normal;
    if (slot->grace > grace->most)
        return config_fail(
            p, p->grace_line[number], "grace is %u; with the export %s%s %u seconds is the most%s.",
            slot->grace, grace->export, slot->export_auto ? " (auto, on this machine)" : "",
            grace->most, grace->why);
    return 0;
}

static bool same_device(const struct config_slot *a, const struct config_slot *b)
{
    return has_export(a, "usb") && has_export(b, "usb") && a->usb_device[0] &&
           strcmp(a->usb_device, b->usb_device) == 0;
}

unsigned config_usb_first(const struct config *config, unsigned slot)
{
    unsigned first = 0;

    while (first < slot && !same_device(&config->slots[first], &config->slots[slot]))
        first++;
    return first;
}

/* The kind of a drive is told to the machine when the device is plugged in. */
static int kind_check(struct config_parser *p, unsigned number, const char *because)
{
    if (p->config->slots[number].drive != CONFIG_DRIVE_AUTO)
        return 0;
    return config_fail(p, p->slots[number].line,
                       "[slot %u] does not say what its drive is, which it must %s; add drive = "
                       "disk or drive = cd.",
                       number, because);
}

/* Two drives of one USB device. */
static int device_check(struct config_parser *p, unsigned number, unsigned other)
{
    const struct config_slot *a = &p->config->slots[other], *b = &p->config->slots[number];
    const char *differs = NULL;

    if (a->plugged_always != b->plugged_always)
        differs = "plugged";
    else if (strcmp(a->udc, b->udc) != 0)
        differs = "udc";
    else if (a->usb_id.vendor != b->usb_id.vendor || a->usb_id.product != b->usb_id.product)
        differs = "usb_id";
    if (differs)
        return config_fail(
            p, p->slots[number].line,
            "[slot %u] and [slot %u] are drives of one USB device, %s, but differ in "
            "%s; say the same in both.",
            other, number, b->usb_device, differs);
    if (kind_check(p, other, "as it shares its USB device") < 0)
        return -EINVAL;
    return kind_check(p, number, "as it shares its USB device");
}

/* What no two slots may both have. */
static int pair_check(struct config_parser *p, unsigned number, unsigned other)
{
    const struct config_slot *a = &p->config->slots[other], *b = &p->config->slots[number];
    bool usb = config_is_usb_drive(a) && config_is_usb_drive(b);
    const char *same = NULL, *mend = "";

    if (strcmp(a->dbus_socket, b->dbus_socket) == 0)
        same = "dbus_socket";
    else if (has_export(a, "unix") != has_export(b, "unix"))
        return 0;
    else if (has_export(a, "unix"))
        same = strcmp(a->socket_path, b->socket_path) == 0 ? "socket" : NULL;
    else if (usb && strcmp(a->serial, b->serial) == 0)
        same = "serial number";
    else if (same_device(a, b))
        return device_check(p, number, other);
    else if (usb && strcmp(b->udc, "auto") != 0 && strcmp(a->udc, b->udc) == 0)
        same = "USB device controller", mend = ", or say udc = auto";
    else if (has_export(a, "kernel") && has_export(b, "kernel") && strcmp(b->nbd, "auto") != 0 &&
             strcmp(a->nbd, b->nbd) == 0)
        same = "nbd device", mend = ", or say nbd = auto";
    if (!same)
        return 0;
    return config_fail(p, p->slots[number].line,
                       "[slot %u] has the same %s as [slot %u]; give each its own%s.", number, same,
                       other, mend);
}

static int slot_check(struct config_parser *p, unsigned number)
{
    struct config_slot *slot = &p->config->slots[number];

    if (!slot->export_name[0]) {
        slot->export_auto = true;
        strcpy(slot->export_name, p->functionfs ? "usb" : "kernel");
    }
    if (!has_export(slot, "usb"))
        slot->drive = CONFIG_DRIVE_AUTO;
    if (!slot->name[0])
        snprintf(slot->name, sizeof slot->name, "Drive %u", number + 1);
    if (!slot->socket_path[0])
        snprintf(slot->socket_path, sizeof slot->socket_path, "%s/slot-%u.sock",
                 p->config->runtime_dir, number);
    if (!slot->dbus_socket[0])
        snprintf(slot->dbus_socket, sizeof slot->dbus_socket, "/run/virtual-media/nbd%u.sock",
                 number);
    /* At least twelve upper-case hexadecimal digits (USB MSC BOT 1.0, section 4.1.1): "PLATTER"
     * and the slot. */
    if (!slot->serial[0])
        snprintf(slot->serial, sizeof slot->serial, "504C4154544552%02X", number);
    if (grace_check(p, number) < 0)
        return -EINVAL;
    if (has_export(slot, "usb") && slot->plugged_always &&
        kind_check(p, number, "with plugged = always") < 0)
        return -EINVAL;
    for (unsigned i = 0; i < number; i++) {
        if (pair_check(p, number, i) < 0)
            return -EINVAL;
    }
    return 0;
}

static int slots_check(struct config_parser *p)
{
    unsigned count = 0;

    for (unsigned i = 0; i < CONFIG_SLOTS_MAX; i++) {
        if (p->slots[i].line == 0)
            continue;
        if (i != count)
            return config_fail(p, p->slots[i].line,
                               "there is a [slot %u] but no [slot %u]; number the slots from 0 "
                               "without a gap.",
                               i, count);
        if (slot_check(p, i) < 0)
            return -EINVAL;
        count++;
    }
    if (count == 0)
        return config_fail(p, 0, "there is no slot; add a section [slot 0].");
    p->config->slot_count = count;
    return 0;
}

static int listen_check(struct config_parser *p)
{
    const struct config *config = p->config;

    for (size_t i = 0; i < config->listen_count && !config->insecure_no_login; i++) {
        if (!config_is_loopback(config->listen[i].host))
            return config_fail(p, p->listen_line,
                               "%s can be reached from the network and there is no login yet; say "
                               "insecure_no_login = yes as well if everybody there may use the "
                               "drives, or listen on 127.0.0.1.",
                               config->listen[i].host);
    }
    return 0;
}

int config_check(struct config_parser *p)
{
    if (listen_check(p) < 0)
        return -EINVAL;
    return slots_check(p);
}
