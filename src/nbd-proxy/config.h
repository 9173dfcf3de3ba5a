/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd-proxy's configuration: /etc/nbd-proxy/config.json, as it has always been, with two keys of
 * Platter's own for each configuration, "export" and "gadget". docs/nbd-proxy.8.md is the
 * reference. A key that is not known is passed over with a warning; whatever else is wrong is one
 * sentence that names file, configuration and mend.
 */
#ifndef PLATTER_NBD_PROXY_CONFIG_H
#define PLATTER_NBD_PROXY_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#define PROXY_CONFIGS_MAX 16

enum proxy_export {
    PROXY_EXPORT_AUTO,
    PROXY_EXPORT_USB,
    PROXY_EXPORT_KERNEL,
};

enum proxy_gadget {
    PROXY_GADGET_UNSAID, /* Platter's, where no hook makes one */
    PROXY_GADGET_NONE,   /* the nbd device alone */
    PROXY_GADGET_OWN,    /* as described */
};

/* One configuration. Texts are as the helper's configuration takes them, "" for its default. */
struct proxy_config {
    const char *name;
    unsigned number; /* which one it is in the file, from 0 */
    bool is_default;
    char nbd[16]; /* "nbd0" */
    enum proxy_export export_kind;
    enum proxy_gadget gadget;
    bool is_cd;
    char usb_id[10]; /* "1d6b:0104" */
    char vendor[9], product[17], serial[33];
    char udc[64];
};

struct proxy_file {
    unsigned timeout; /* seconds a request may stay unanswered; 0: as long as the machine bears */
    unsigned count;
    struct proxy_config configs[PROXY_CONFIGS_MAX];
    struct json_t *root; /* what the names and the metadata are part of */
};

/* 0, or -errno with one sentence in `error`. */
int proxy_file_read(const char *path, struct proxy_file *out, char *error, size_t room);
/* The same from memory; `path` is only what sentences call it. */
int proxy_file_parse(const char *text, size_t length, const char *path, struct proxy_file *out,
                     char *error, size_t room);
/* Also after a failure, and more than once. */
void proxy_file_done(struct proxy_file *file);

/* The configuration of this name, or the default one for NULL; NULL with one sentence in `error`.
 */
const struct proxy_config *proxy_file_find(const struct proxy_file *file, const char *path,
                                           const char *name, char *error, size_t room);

/* The metadata of all, one JSON object by configuration's name; to be freed. NULL without memory.
 */
char *proxy_file_metadata(const struct proxy_file *file);

#endif
