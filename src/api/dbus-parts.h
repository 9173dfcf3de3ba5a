/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the D-Bus API, for dbus.c (the connection), dbus-objects.c (the objects on it),
 * dbus-introspect.c (what they say of themselves) and dbus-mount.c (what becomes of a drive) alone.
 */
#ifndef PLATTER_API_DBUS_PARTS_H
#define PLATTER_API_DBUS_PARTS_H

#include <systemd/sd-bus.h>

#include "api/dbus.h"
#include "api/inactivity.h"

#define DBUS_NAME       "xyz.openbmc_project.VirtualMedia"
#define DBUS_ROOT       "/xyz/openbmc_project/VirtualMedia"
#define DBUS_MOUNTPOINT DBUS_NAME ".MountPoint"
#define DBUS_PROCESS    DBUS_NAME ".Process"
#define DBUS_PROXY      DBUS_NAME ".Proxy"
#define DBUS_LEGACY     DBUS_NAME ".Legacy"
#define DBUS_STATS      DBUS_NAME ".Stats"

/* How a slot may be filled, each an object on the bus; the numbers are what Mode tells. */
enum dbus_mode {
    DBUS_MODE_PROXY,  /* by a stream from the caller */
    DBUS_MODE_LEGACY, /* by an image of a URL */
    DBUS_MODES,
};

/* An object, and its properties in the form that sd-bus reads them in: "" is NULL, `b` an int. */
struct dbus_object {
    struct dbus_slot *slot;
    char path[64];
    uint8_t mode;
    char endpoint[24], *endpoint_id;
    char *socket;
    char uri[384], *device;
    char *image_url;
    int32_t timeout, block_size;
    int write_protected, active;
    int32_t exit_code; /* of the last session: 0, or an errno */
};

struct dbus_slot {
    struct dbus *dbus;
    unsigned number;
    struct dbus_object objects[DBUS_MODES];
    bool busy;         /* as of the last step: there is a session */
    bool ours;         /* and it was begun by Mount */
    bool mounting;     /* Completion has still to tell what became of that */
    unsigned unmounts; /* the same of so many Unmounts */
    struct inactivity inactivity;
};

/* What may be wrong with the bus. */
enum dbus_trouble {
    DBUS_FINE,
    DBUS_AWAY,
    DBUS_REFUSES, /* us the name */
};

struct dbus {
    struct dbus_config config;
    sd_bus *bus; /* NULL: not connected */
    struct loop_fd *watch;
    struct loop_timer *turn;  /* when sd-bus wants one, whether or not anything comes */
    struct loop_timer *retry; /* while not connected */
    struct loop_timer *look;  /* at what machines use, while a session of ours is limited */
    uint64_t retry_after;     /* milliseconds */
    bool refused;             /* the bus does not give us the name */
    enum dbus_trouble told;   /* what the log knows of it */
    unsigned slot_count;
    struct dbus_slot slots[];
};

/* Something was sent outside of a turn of dbus.c, which sees to it that it leaves. */
void dbus_wake(struct dbus *d);

/* Fills in what never changes of a slot's objects. */
void dbus_objects_init(struct dbus_slot *s);
/* Puts the objects of all slots on the bus. 0 or -errno. */
int dbus_objects_add(struct dbus *d);
/* What the Legacy objects say of themselves: sd-bus cannot tell of two methods of one name. */
extern const char dbus_legacy_xml[];

/*
 * Connects to the slot's socket and begins a session with whoever listens there. 0: Completion
 * tells what became of it; or -errno and one sentence in `why`.
 */
int dbus_mount(struct dbus_slot *s, char *why, size_t room);
/* Ends the slot's session, whoever began it; the same. */
int dbus_unmount(struct dbus_slot *s, char *why, size_t room);
/* Watches all slots from now on. 0 or -errno. */
int dbus_mounts_new(struct dbus *d);
void dbus_mounts_free(struct dbus *d);
/* RemainingInactivityTimeout: seconds; 0 when there is no limit now. */
unsigned dbus_inactivity_left(const struct dbus_slot *s);

#endif
