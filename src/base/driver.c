/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver is known by three places: /sys/module has what is loaded, modules.builtin what the
 * kernel was built with, modules.dep what modprobe could load. A built-in driver has a directory
 * in /sys/module only if it has parameters, so the list is asked as well. A system without
 * /lib/modules tells of nothing that is not loaded.
 */
#include "base/driver.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"

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

enum driver driver_find(const char *root, const char *release, const char *module)
{
    char path[PATH_ROOM];

    snprintf(path, sizeof path, "%s/sys/module/%s", root, module);
    if (access(path, F_OK) == 0 || listed(root, release, "modules.builtin", module))
        return DRIVER_THERE;
    return listed(root, release, "modules.dep", module) ? DRIVER_LOADABLE : DRIVER_MISSING;
}

enum driver driver_find_here(const char *module)
{
    struct utsname system;

    if (uname(&system) < 0)
        return DRIVER_MISSING;
    return driver_find("", system.release, module);
}
