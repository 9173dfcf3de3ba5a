/* SPDX-License-Identifier: Apache-2.0 */
/*
 * platterd --check: looks, changes nothing, and says one line for each thing that a drive needs.
 */
#include "daemon/check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"

/* Prints what is there, or what is not and why. Whether it is there. */
static int check_path(const char *what, const char *path, int mode, const char *mend)
{
    if (access(path, mode) == 0) {
        printf("good  %s: %s\n", what, path);
        return 1;
    }
    printf("bad   %s: %s: %s; %s\n", what, path, strerror(errno), mend);
    return 0;
}

int check_run(const struct config *config)
{
    unsigned drives = 0;
    int runtime = check_path("runtime directory", config->runtime_dir, W_OK | X_OK,
                             "create it for the user that platterd runs as");

    check_path("page", config->page_dir, R_OK | X_OK,
               "install the page or name its directory with page =");
    for (size_t i = 0; i < config->slot_count; i++) {
        const struct config_slot *slot = &config->slots[i];

        if (strcmp(slot->export_name, "unix") == 0) {
            printf("%s  slot %zu, %s: unix export at %s\n", runtime ? "good" : "bad ", i,
                   slot->name, slot->socket_path);
            drives += (unsigned)runtime;
        } else {
            printf("slot %zu, %s: kernel export:\n", i, slot->name);
            drives += (unsigned)check_path("platter-helper", config->helper_socket, W_OK,
                                           "start platter-helper as root");
        }
    }
    return drives > 0 ? 0 : 1;
}
