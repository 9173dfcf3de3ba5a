/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is to be done, in which order, to give a machine its USB drive and to take it away again.
 *
 * Two plans, for either carrier, over the same small tree in configfs: up, from nothing to a bound
 * gadget; and down, from whatever was seen there, for a line that still answers and for one that is
 * dead. Paths are relative to configfs' usb_gadget directory. Pure: a plan is a list of steps,
 * gadget.c walks it.
 */
#ifndef PLATTER_GADGET_PLAN_H
#define PLATTER_GADGET_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/medium.h"

#define PLAN_STEPS_MAX 32
#define PLAN_PATH_MAX  96
#define PLAN_TEXT_MAX  96

/* What carries the drives to the machine. */
enum plan_carrier {
    PLAN_MASS_STORAGE, /* the kernel's own mass storage, on an nbd device */
    PLAN_FUNCTIONFS,   /* endpoints, for a program to serve */
};

enum plan_deed {
    PLAN_MAKE_DIR, /* `text`: the kernel module that knows how to */
    PLAN_REMOVE_DIR,
    PLAN_WRITE,      /* `text` into the attribute `path` */
    PLAN_LINK,       /* a symbolic link `path` to `text` (relative, as path is) */
    PLAN_UNLINK,     /* the link `path` */
    PLAN_ENDPOINTS,  /* the endpoints of `functions` functions, of the function `text` */
    PLAN_SEAL,       /* from now on the nbd device disconnects when its last opener closes it */
    PLAN_BIND,       /* the controller named `text`, or the first free one, into `path` */
    PLAN_DISCONNECT, /* the nbd device */
};

struct plan_step {
    enum plan_deed deed;
    bool optional; /* goes on when `path` is not there: an attribute that older kernels lack */
    unsigned functions;
    char path[PLAN_PATH_MAX];
    char text[PLAN_TEXT_MAX];
};

struct plan {
    struct plan_step steps[PLAN_STEPS_MAX];
    size_t count;
};

struct plan_wanted {
    unsigned slot;
    enum plan_carrier carrier;
    char udc[64]; /* a name, or "" for any that is free */
    /* How the device introduces itself; the texts are printable ASCII. */
    uint16_t vendor_id;
    uint16_t product_id;
    char vendor[9];
    char product[17]; /* "" for what it says when it has nothing else to say */
    char serial[33];
    /* of PLAN_MASS_STORAGE */
    enum medium_kind kind;
    bool read_only;
    char device[16]; /* "/dev/nbd3" */
    /* of PLAN_FUNCTIONFS */
    unsigned functions; /* 1 to DESCRIPTORS_FUNCTIONS_MAX */
};

/* What stands of a slot's drive. Each part may be there or not: a process may have died anywhere.
 */
struct plan_seen {
    bool gadget;
    bool strings;
    bool config;
    bool config_strings;
    bool function;
    bool link;
    bool usb_function; /* on FunctionFS */
    bool usb_link;
    bool bound;
    bool connected; /* the slot's nbd device */
};

/* The parts of the tree, as paths below usb_gadget. */
enum plan_part {
    PLAN_PART_GADGET,
    PLAN_PART_STRINGS,
    PLAN_PART_CONFIG,
    PLAN_PART_CONFIG_STRINGS,
    PLAN_PART_FUNCTION,
    PLAN_PART_LINK,
    PLAN_PART_USB_FUNCTION,
    PLAN_PART_USB_LINK,
    PLAN_PART_UDC,
    PLAN_PART_LUN,
};

void plan_path(unsigned slot, enum plan_part part, char out[PLAN_PATH_MAX]);
/* The gadget's name, which is the FunctionFS instance's too: "platter-0". */
void plan_name(unsigned slot, char out[PLAN_TEXT_MAX]);

/* From the gadget's own directory, empty: whoever has made that has the slot, so it is not part of
 * the plan. plan_down() comes first wherever more was seen. */
void plan_up(const struct plan_wanted *wanted, struct plan *out);

/*
 * To nothing. With the link alive the host's drive is emptied in good order first; with the link
 * dead the nbd device is disconnected before anything else, since every other step may wait for
 * reads that nobody answers.
 */
void plan_down(unsigned slot, const struct plan_seen *seen, bool link_alive, struct plan *out);

#endif
