/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking, and nothing else: no module is loaded and nothing is opened for writing, so it may run
 * beside a platterd that serves.
 */
#include "daemon/probe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/sysfile.h"

#define PATH_ROOM 512

/* Whether any line of modules.dep or modules.builtin tells of MODULE.ko, compressed or not. */
static bool listed(const char *root, const char *release, const char *file, const char *module)
{
    char path[PATH_ROOM];
    char wanted[96];
    char line[4096];
    cleanup_file FILE *list = NULL;

    snprintf(path, sizeof path, "%s/lib/modules/%s/%s", root, release, file);
    snprintf(wanted, sizeof wanted, "/%s.ko", module);
    list = fopen(path, "re");
    while (list && fgets(line, sizeof line, list)) {
        /* Only the line's own module counts, not those it depends on. */
        line[strcspn(line, ":\n")] = '\0';
        if (strstr(line, wanted))
            return true;
    }
    return false;
}

enum probe_driver probe_driver(const char *root, const char *release, const char *module)
{
    char path[PATH_ROOM];

    snprintf(path, sizeof path, "%s/sys/module/%s", root, module);
    if (access(path, F_OK) == 0 || listed(root, release, "modules.builtin", module))
        return PROBE_THERE;
    return listed(root, release, "modules.dep", module) ? PROBE_LOADABLE : PROBE_MISSING;
}

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
