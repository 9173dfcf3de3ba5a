/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration: one INI file, read once into a struct that never changes afterwards. Both
 * platterd and platter-helper read the same file, so there is one place to say what a slot is.
 * docs/platter.conf.5.md is the reference. What export = auto means is settled while reading, by
 * what this machine's kernel has, so the two programs cannot see it differently.
 */
#ifndef PLATTER_CONFIG_CONFIG_H
#define PLATTER_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_SLOTS_MAX  16
#define CONFIG_LISTEN_MAX 8
#define CONFIG_NAMES_MAX  8

/* What kind of drive the machine sees. */
enum config_drive {
    CONFIG_DRIVE_AUTO, /* as the person chooses with each image */
    CONFIG_DRIVE_DISK,
    CONFIG_DRIVE_CD,
};

/* How a USB device introduces itself, by numbers. */
struct config_usb_id {
    uint16_t vendor;
    uint16_t product;
};

struct config_slot {
    char name[64];               /* for people; default "Drive N" */
    char export_name[16];        /* "usb", "kernel" or "unix": of "auto", what it means here */
    bool export_auto;            /* the file says auto, or nothing */
    char socket_path[108];       /* unix; default RUNTIME/slot-N.sock */
    char nbd[16];                /* kernel: "auto" or "nbd0" ... */
    bool gadget;                 /* kernel: a USB drive stands on the nbd device; default true */
    char udc[64];                /* usb, kernel: "auto" or a name in /sys/class/udc */
    struct config_usb_id usb_id; /* usb, kernel; default 1d6b:0104 */
    char usb_device[32]; /* usb: slots of one name are drives of one USB device; "": of its own */
    bool plugged_always; /* usb: the device is there without a medium too */
    enum config_drive drive; /* usb; AUTO with any other export */
    bool write_back;         /* usb: writes may be acknowledged before the far end has them */
    char vendor[9];          /* usb, kernel: what the drive calls itself; default "Platter" */
    char product[17];        /* usb, kernel; "": "Virtual Disk" or "Virtual CD", by its kind */
    char serial[33];         /* usb, kernel; default "PLATTER" and the slot in hexadecimal digits */
    unsigned grace; /* seconds the machine waits for a lost far end; 170 (usb), 25 (kernel) or 60
                       (unix) */
    unsigned keep;  /* seconds its drive then stays, giving errors; default 3600 */
    unsigned cache; /* MiB of the image held in memory at most; default 32 */
    char dbus_socket[108]; /* where D-Bus callers listen; default /run/virtual-media/nbdN.sock */
};

struct config_listen {
    char host[64]; /* an address literal, without brackets */
    uint16_t port;
};

struct config {
    /* [daemon] */
    struct config_listen listen[CONFIG_LISTEN_MAX]; /* default: 127.0.0.1:8080 and [::1]:8080 */
    size_t listen_count;
    bool insecure_no_login;                 /* required for any address but loopback */
    char host_names[CONFIG_NAMES_MAX][128]; /* names the page may be reached by, beside addresses */
    size_t host_name_count;
    char page_dir[256];   /* "": there is no page */
    char runtime_dir[64]; /* default /run/platter */
    /* [helper] */
    char helper_socket[108];   /* default /run/platter-helper/helper.sock */
    char helper_state_dir[64]; /* default /run/platter-helper */
    char helper_user[32];   /* who may speak to the helper besides root: a name or a number; default
                               "platter" */
    unsigned restart_grace; /* seconds the helper keeps drives without platterd; default 10 */
    /* [dbus] */
    bool dbus_enabled;
    char dbus_bus[256];       /* "system", or an address of the D-Bus specification */
    unsigned dbus_inactivity; /* seconds until a drive that no machine uses goes; 0: never; default
                                 1800 */
    /* [slot N] */
    struct config_slot slots[CONFIG_SLOTS_MAX];
    size_t slot_count; /* slots are numbered from 0 without gaps */
};

/*
 * Reads `path` whole. 0, or -errno and one sentence that names file, line and mend in `error`;
 * `config` is then not to be used.
 */
int config_read(const char *path, struct config *config, char *error, size_t room);

/* Whether the slot's drive is a USB drive, which needs a USB device controller. */
bool config_is_usb_drive(const struct config_slot *slot);

/*
 * The USB device that a slot with export = usb is a drive of, as the lowest number of all slots
 * that are drives of it: the slot's own where it shares with none.
 */
unsigned config_usb_first(const struct config *config, unsigned slot);

#endif
