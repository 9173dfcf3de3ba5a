// SPDX-License-Identifier: Apache-2.0
/* The D-Bus API of a program that was built without it (-Ddbus=disabled). */
#include "api/dbus.h"

int dbus_new(const struct dbus_config *config, struct dbus **out)
{
    (void)config;
    (void)out;
    return -EOPNOTSUPP;
}

void dbus_free(struct dbus *dbus)
{
    (void)dbus;
}
