/* SPDX-License-Identifier: Apache-2.0 */
/* Any text at all as a configuration: refused with a sentence, or good with complete slots. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config-parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config config;
    char error[256] = "";
    int r = config_parse((const char *)data, size, "fuzz", size & 1, &config, error, sizeof error);

    if (r != 0) {
        if (!error[0])
            abort();
        return 0;
    }
    if (config.slot_count == 0 || config.slot_count > CONFIG_SLOTS_MAX || config.listen_count == 0)
        abort();
    for (size_t i = 0; i < config.slot_count; i++) {
        const struct config_slot *slot = &config.slots[i];

        if (!slot->export_name[0] || strcmp(slot->export_name, "auto") == 0 ||
            slot->socket_path[0] != '/' || slot->grace == 0 || !slot->vendor[0] || !slot->serial[0])
            abort();
        if (config_usb_first(&config, (unsigned)i) > i)
            abort();
    }
    for (size_t i = 0; i < config.listen_count; i++) {
        if (!config_is_loopback(config.listen[i].host) && !config.insecure_no_login)
            abort();
    }
    return 0;
}
