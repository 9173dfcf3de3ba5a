/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the room: what config.c (lines and sections), config-keys.c (what each key means) and
 * config-check.c (what must hold of the whole) share. config_parse() is also what the fuzzer and
 * the unit tests call.
 */
#ifndef PLATTER_CONFIG_CONFIG_PARSE_H
#define PLATTER_CONFIG_CONFIG_PARSE_H

#include "config/config.h"

enum config_section {
    CONFIG_NO_SECTION,
    CONFIG_DAEMON,
    CONFIG_HELPER,
    CONFIG_DBUS,
    CONFIG_SLOT,
};

/* Every key of every section fits in a bit each of one word, per section of the file. */
struct config_seen {
    unsigned line; /* of the section's header; 0: not in the file */
    unsigned keys; /* bit i: row i of the key table has been set here */
};

struct config_parser {
    const char *path;
    struct config *config;
    bool functionfs; /* the kernel has it: what export = auto means */
    char *error;
    size_t room;
    unsigned failed_line; /* of the sentence in `error`; 0: none yet */
    bool failed;

    const char *at; /* what is left of the text */
    const char *end;
    unsigned line; /* the line the last read ended at, from 1 */

    enum config_section section;
    unsigned slot; /* when section is CONFIG_SLOT */
    struct config_seen daemon;
    struct config_seen helper;
    struct config_seen dbus;
    struct config_seen slots[CONFIG_SLOTS_MAX];
    unsigned listen_line;
    unsigned grace_line[CONFIG_SLOTS_MAX]; /* 0: the default */
};

/*
 * Reads a configuration from memory; `path` is only what sentences call it, `functionfs` whether
 * the kernel has FunctionFS. 0 or -EINVAL with one sentence in `error`.
 */
int config_parse(const char *text, size_t length, const char *path, bool functionfs,
                 struct config *config, char *error, size_t room);

/* Keeps the first sentence, prefixed with file and line (0: the whole file); later ones are the
 * echo of the first. Returns -EINVAL. */
__attribute__((format(printf, 3, 4))) int config_fail(struct config_parser *p, unsigned line,
                                                      const char *format, ...);

/* Sets one key of the current section. 0, or -EINVAL by way of config_fail(). */
int config_set(struct config_parser *p, const char *key, const char *value);

/* Fills in what depends on other keys, and looks at what must hold of the whole. 0, or -EINVAL by
 * way of config_fail(). */
int config_check(struct config_parser *p);

/* Whether only this machine itself can reach the address (127.0.0.0/8, ::1, and
 * ::ffff:127.0.0.0/104). */
bool config_is_loopback(const char *host);

#endif
