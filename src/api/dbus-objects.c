// SPDX-License-Identifier: Apache-2.0
/*
 * The objects on the bus: for each slot N Proxy/Slot_N and Legacy/Slot_N, their properties and
 * methods. Most properties are members of struct dbus_object, which sd-bus reads by itself;
 * dbus-mount.c keeps those up to date that change.
 *
 * Who may call is the bus's business (packaging/xyz.openbmc_project.VirtualMedia.conf), so every
 * method is marked as open to all: the check that sd-bus would make instead asks the bus who the
 * caller is and waits for the answer, which nothing on the loop may do.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "api/dbus-parts.h"

#define OPEN      SD_BUS_VTABLE_UNPRIVILEGED
#define CONSTANT  SD_BUS_VTABLE_PROPERTY_CONST
#define SIGNALLED SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

/* ---- properties ---- */

static int get_inactivity(sd_bus *bus, const char *path, const char *interface,
                          const char *property, sd_bus_message *reply, void *userdata,
                          sd_bus_error *error)
{
    const struct dbus_object *o = userdata;
    unsigned left = o->mode == DBUS_MODE_PROXY ? dbus_inactivity_left(o->slot) : 0;

    (void)bus, (void)path, (void)interface, (void)property, (void)error;
    return sd_bus_message_append(reply, "i", (int32_t)left);
}

static int get_stat(sd_bus *bus, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const struct dbus_object *o = userdata;
    struct control_slot c = {.busy = false};
    uint64_t count = 0;

    (void)bus, (void)path, (void)interface, (void)error;
    if (o->mode == DBUS_MODE_PROXY)
        control_get_slot(o->slot->dbus->config.control, o->slot->number, &c);
    if (c.busy)
        count = strcmp(property, "ReadIO") == 0 ? c.counters.reads : c.counters.writes;
    return sd_bus_message_append(reply, "t", count);
}

#define MEMBER(name, type, member, flags)                                                          \
    SD_BUS_PROPERTY(name, type, NULL, offsetof(struct dbus_object, member), flags)

static const sd_bus_vtable mount_point[] = {
    SD_BUS_VTABLE_START(0),
    MEMBER("EndpointId", "s", endpoint_id, CONSTANT),
    MEMBER("Mode", "y", mode, CONSTANT),
    MEMBER("Device", "s", device, SIGNALLED),
    MEMBER("Socket", "s", socket, CONSTANT),
    MEMBER("Timeout", "i", timeout, CONSTANT),
    MEMBER("BlockSize", "i", block_size, CONSTANT),
    SD_BUS_PROPERTY("RemainingInactivityTimeout", "i", get_inactivity, 0, 0),
    MEMBER("ImageURL", "s", image_url, CONSTANT),
    MEMBER("WriteProtected", "b", write_protected, SIGNALLED),
    SD_BUS_VTABLE_END,
};

static const sd_bus_vtable process[] = {
    SD_BUS_VTABLE_START(0),
    MEMBER("Active", "b", active, SIGNALLED),
    MEMBER("ExitCode", "i", exit_code, SIGNALLED),
    SD_BUS_VTABLE_END,
};

static const sd_bus_vtable stats[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_PROPERTY("ReadIO", "t", get_stat, 0, 0),
    SD_BUS_PROPERTY("WriteIO", "t", get_stat, 0, 0),
    SD_BUS_VTABLE_END,
};

/* ---- methods ---- */

static int on_proxy_mount(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const struct dbus_object *o = userdata;
    char why[384];
    int r = dbus_mount(o->slot, why, sizeof why);

    if (r < 0)
        return sd_bus_error_set_errnof(error, r, "%s", why);
    return sd_bus_reply_method_return(m, "b", 1);
}

static int on_proxy_unmount(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const struct dbus_object *o = userdata;
    char why[384];
    int r = dbus_unmount(o->slot, why, sizeof why);

    if (r < 0)
        return sd_bus_error_set_errnof(error, r, "%s", why);
    return sd_bus_reply_method_return(m, "b", 1);
}

static const sd_bus_vtable proxy[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Mount", "", "b", on_proxy_mount, OPEN),
    SD_BUS_METHOD("Unmount", "", "b", on_proxy_unmount, OPEN),
    SD_BUS_SIGNAL("Completion", "i", 0),
    SD_BUS_VTABLE_END,
};

static int on_legacy_unmount(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    (void)m, (void)userdata;
    return sd_bus_error_set_errnof(error, ENOMEDIUM,
                                   "Nothing is mounted here, so there is nothing to unmount.");
}

/* Mount is on_legacy_call()'s. */
static const sd_bus_vtable legacy[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Unmount", "", "b", on_legacy_unmount, OPEN),
    SD_BUS_SIGNAL("Completion", "i", 0),
    SD_BUS_VTABLE_END,
};

/* Whether the arguments are an image's URL, or that and whether it may be written to, and a
 * descriptor of secrets or a number instead of one: plain, or in a variant. */
static bool is_legacy_mount(sd_bus_message *m)
{
    const char *contents = NULL;

    if (sd_bus_message_has_signature(m, "s") || sd_bus_message_has_signature(m, "sbh"))
        return true;
    return sd_bus_message_has_signature(m, "sbv") && sd_bus_message_skip(m, "sb") > 0 &&
           sd_bus_message_peek_type(m, NULL, &contents) > 0 &&
           (strcmp(contents, "h") == 0 || strcmp(contents, "i") == 0);
}

/* Sees every call to a Legacy object first; 0: not ours to answer. */
static int on_legacy_call(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    (void)userdata;
    if (sd_bus_message_is_method_call(m, "org.freedesktop.DBus.Introspectable", "Introspect") > 0)
        return sd_bus_reply_method_return(m, "s", dbus_legacy_xml);
    if (sd_bus_message_is_method_call(m, DBUS_LEGACY, "Mount") <= 0)
        return 0;
    if (!is_legacy_mount(m))
        return sd_bus_error_set_const(error, SD_BUS_ERROR_INVALID_ARGS,
                                      "Mount takes (s), (s b h) or (s b v), where v is h or i.");
    return sd_bus_error_set_const(error, SD_BUS_ERROR_NOT_SUPPORTED,
                                  "Platter cannot fetch an image from a URL yet: mount it from a "
                                  "browser, through the Proxy object of this slot.");
}

/* ---- on the bus ---- */

void dbus_objects_init(struct dbus_slot *s)
{
    const struct dbus_config *config = &s->dbus->config;
    struct control_slot c;

    control_get_slot(config->control, s->number, &c);
    for (unsigned mode = 0; mode < DBUS_MODES; mode++) {
        struct dbus_object *o = &s->objects[mode];
        bool is_proxy = mode == DBUS_MODE_PROXY;

        o->slot = s;
        o->mode = (uint8_t)mode;
        snprintf(o->path, sizeof o->path, DBUS_ROOT "/%s/Slot_%u", is_proxy ? "Proxy" : "Legacy",
                 s->number);
        if (is_proxy)
            snprintf(o->endpoint, sizeof o->endpoint, "/nbd/%u", s->number);
        o->endpoint_id = o->endpoint;
        o->socket = is_proxy ? (char *)config->sockets[s->number] : NULL;
        o->device = o->uri;
        o->timeout = (int32_t)config->inactivity;
        o->block_size =
            (int32_t)medium_sector(strcmp(c.drive, "cd") == 0 ? MEDIUM_CD : MEDIUM_DISK);
        o->write_protected = true;
    }
}

static int object_add(sd_bus *bus, struct dbus_object *o)
{
    bool is_proxy = o->mode == DBUS_MODE_PROXY;
    int r = 0;

    if (!is_proxy)
        r = sd_bus_add_object(bus, NULL, o->path, on_legacy_call, o);
    if (r >= 0)
        r = sd_bus_add_object_vtable(bus, NULL, o->path, DBUS_MOUNTPOINT, mount_point, o);
    if (r >= 0)
        r = sd_bus_add_object_vtable(bus, NULL, o->path, DBUS_PROCESS, process, o);
    if (r >= 0)
        r = sd_bus_add_object_vtable(bus, NULL, o->path, is_proxy ? DBUS_PROXY : DBUS_LEGACY,
                                     is_proxy ? proxy : legacy, o);
    if (r >= 0)
        r = sd_bus_add_object_vtable(bus, NULL, o->path, DBUS_STATS, stats, o);
    return r;
}

/*
 * GetManagedObjects tells of what was added last first. Callers that look for a slot by the last
 * part of its path alone shall meet its Proxy object, for that is the one that does something.
 */
int dbus_objects_add(struct dbus *d)
{
    int r = sd_bus_add_object_manager(d->bus, NULL, DBUS_ROOT);

    for (unsigned mode = DBUS_MODES; mode-- > 0;) {
        for (unsigned i = d->slot_count; i-- > 0 && r >= 0;)
            r = object_add(d->bus, &d->slots[i].objects[mode]);
    }
    return r;
}
