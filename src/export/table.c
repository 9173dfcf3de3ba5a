// SPDX-License-Identifier: Apache-2.0
/* The exports there are: a row each. */
#include <string.h>

#include "export/export.h"
#include "export/table.h"

static const struct export_ops *const table[] = {
    &export_usb,
    &export_kernel,
    &export_unix,
};

const struct export_ops *export_find(const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(table[i]->name, name) == 0)
            return table[i];
    }
    return NULL;
}
