/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking, and nothing else: no module is loaded and nothing is opened for writing, so it may run
 * beside a platterd that serves.
 */
#include "daemon/probe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/sysfile.h"

#define PATH_ROOM 512

static void read_attribute(const char *root, const char *controller, const char *attribute,
                           char *out, size_t room)
{
    char path[PATH_ROOM];

    out[0] = '\0';
    snprintf(path, sizeof path, "%s/sys/class/udc/%s/%s", root, controller, attribute);
    sysfile_read(path, out, room);
}

int probe_controller(const char *root, unsigned n, struct probe_controller *out)
{
    char path[PATH_ROOM];
    int r;

    snprintf(path, sizeof path, "%s/sys/class/udc", root);
    r = sysfile_entry(path, n, out->name, sizeof out->name);
    if (r < 0)
        return r;
    read_attribute(root, out->name, "function", out->gadget, sizeof out->gadget);
    read_attribute(root, out->name, "state", out->state, sizeof out->state);
    return 0;
}

bool probe_is_raspberry_pi(const char *root)
{
    char path[PATH_ROOM];
    char model[64] = "";

    snprintf(path, sizeof path, "%s/proc/device-tree/model", root);
    return sysfile_read(path, model, sizeof model) == 0 &&
           strncmp(model, "Raspberry Pi", strlen("Raspberry Pi")) == 0;
}
