/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The D-Bus API, docs/dbus.md: xyz.openbmc_project.VirtualMedia, for web servers of OpenBMC. It is
 * there while the bus is: one that is away, or goes, is waited for and changes nothing else.
 */
#ifndef PLATTER_API_DBUS_H
#define PLATTER_API_DBUS_H

#include "api/control.h"

struct dbus;
struct loop;

/* All of it must outlive the API. */
struct dbus_config {
    struct loop *loop;
    const struct control *control;
    const char *bus;            /* "system", or an address of the D-Bus specification */
    const char *const *sockets; /* one a slot: where the callers of its Mount listen */
    unsigned inactivity;        /* seconds until a drive that its machine does not use goes;
                                   0: never */
};

/*
 * 0 or -errno: -EOPNOTSUPP when the program was built without D-Bus. Becomes the one watcher of
 * the control's slots.
 */
int dbus_new(const struct dbus_config *config, struct dbus **out);
/* Sessions go on. NULL is allowed. */
void dbus_free(struct dbus *dbus);

#endif
