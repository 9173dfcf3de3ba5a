/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration as a file: lines and sections.
 *
 * inih splits `key = value` from comments and blanks. Lines come to it through a reader of ours,
 * for three reasons: it tells its handler no line number, it cuts an overlong line in two without a
 * word, and it never mentions a section that has no keys. So the reader counts, measures and opens
 * sections; the handler has only keys to set. The reader also strips leading blanks, for to inih an
 * indented line is a continuation of the one before.
 *
 * Always holds: the first thing found wrong is the one reported, and a struct that was reported
 * good has every string terminated and every slot complete.
 */
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/driver.h"
#include "base/log.h"
#include "config/config-parse.h"

/* Far more than any configuration; a wrong path (an image, a device) is stopped here. */
#define FILE_MAX (64 * 1024)

int config_fail(struct config_parser *p, unsigned line, const char *format, ...)
{
    va_list args;
    int used;

    if (p->failed)
        return -EINVAL;
    p->failed = true;
    p->failed_line = line;
    if (line > 0)
        used = snprintf(p->error, p->room, "%s:%u: ", p->path, line);
    else
        used = snprintf(p->error, p->room, "%s: ", p->path);
    if (used < 0 || (size_t)used >= p->room)
        return -EINVAL;
    va_start(args, format);
    vsnprintf(p->error + used, p->room - (size_t)used, format, args);
    va_end(args);
    return -EINVAL;
}

static bool slot_number(const char *text, unsigned *number)
{
    unsigned value = 0;

    if (!*text || (text[0] == '0' && text[1]))
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || value > 1000)
            return false;
        value = value * 10 + (unsigned)(*text - '0');
    }
    *number = value;
    return true;
}

/* Which section `name` is; its place in the bookkeeping, or NULL with the sentence written. */
static struct config_seen *section_find(struct config_parser *p, const char *name)
{
    char quoted[64];

    if (strcmp(name, "daemon") == 0) {
        p->section = CONFIG_DAEMON;
        return &p->daemon;
    }
    if (strcmp(name, "helper") == 0) {
        p->section = CONFIG_HELPER;
        return &p->helper;
    }
    if (strcmp(name, "dbus") == 0) {
        p->section = CONFIG_DBUS;
        return &p->dbus;
    }
    if (strncmp(name, "slot ", 5) == 0 && slot_number(name + 5, &p->slot)) {
        if (p->slot >= CONFIG_SLOTS_MAX) {
            config_fail(p, p->line, "there can be %d slots at most; number them 0 to %d.",
                        CONFIG_SLOTS_MAX, CONFIG_SLOTS_MAX - 1);
            return NULL;
        }
        p->section = CONFIG_SLOT;
        return &p->slots[p->slot];
    }
    config_fail(p, p->line,
                "unknown section [%s]; the sections are [daemon], [helper], [dbus] and [slot 0], "
                "[slot 1] and so on.",
                log_quote(name, quoted, sizeof quoted));
    return NULL;
}

/* `text` is a line that begins with '['. */
static void section_open(struct config_parser *p, const char *text)
{
    const char *end = strchr(text, ']');
    struct config_seen *seen;
    char name[64];
    size_t length;

    p->section = CONFIG_NO_SECTION;
    if (!end) {
        config_fail(p, p->line, "this section's name does not end; close it with a ].");
        return;
    }
    length = (size_t)(end - text - 1);
    if (length >= sizeof name)
        length = sizeof name - 1;
    memcpy(name, text + 1, length);
    name[length] = '\0';
    seen = section_find(p, name);
    if (!seen)
        return;
    if (seen->line > 0) {
        config_fail(p, p->line, "[%s] is here a second time (first at line %u); join the two.",
                    name, seen->line);
        return;
    }
    seen->line = p->line;
}

/* inih's reader: one line into `line`, or NULL at the end. */
static char *line_read(char *line, int room, void *arg)
{
    struct config_parser *p = arg;
    const char *start, *newline;
    size_t length;

    if (p->at == p->end)
        return NULL;
    start = p->at;
    newline = memchr(start, '\n', (size_t)(p->end - start));
    p->at = newline ? newline + 1 : p->end;
    length = (size_t)((newline ? newline : p->end) - start);
    p->line++;
    while (length > 0 && (*start == ' ' || *start == '\t')) {
        start++;
        length--;
    }
    line[0] = '\0';
    if (length == 0 || *start == '#' || *start == ';')
        return line;
    if (memchr(start, '\0', length)) {
        config_fail(p, p->line, "this line holds a NUL byte; the file is not text.");
        return line;
    }
    if (length >= (size_t)room) {
        config_fail(p, p->line, "this line is longer than %d characters; shorten it.", room - 1);
        return line;
    }
    memcpy(line, start, length);
    line[length] = '\0';
    if (line[0] == '[')
        section_open(p, line);
    return line;
}

static int key_read(void *arg, const char *section, const char *key, const char *value)
{
    struct config_parser *p = arg;

    (void)section; /* section_open() knows better: inih cuts long names */
    if (p->failed)
        return 1;
    return config_set(p, key, value) == 0;
}

static void set_defaults(struct config *config)
{
    memset(config, 0, sizeof *config);
    config->listen[0] = (struct config_listen){.host = "127.0.0.1", .port = 8080};
    config->listen[1] = (struct config_listen){.host = "::1", .port = 8080};
    config->listen_count = 2;
    strcpy(config->page_dir, PLATTER_PAGE_DIR);
    strcpy(config->runtime_dir, "/run/platter");
    strcpy(config->helper_socket, "/run/platter-helper/helper.sock");
    strcpy(config->helper_state_dir, "/run/platter-helper");
    strcpy(config->helper_user, "platter");
    config->restart_grace = 10;
    strcpy(config->dbus_bus, "system");
    config->dbus_inactivity = 1800;
    for (size_t i = 0; i < CONFIG_SLOTS_MAX; i++) {
        strcpy(config->slots[i].nbd, "auto");
        strcpy(config->slots[i].udc, "auto");
        config->slots[i].gadget = true;
        config->slots[i].usb_id = (struct config_usb_id){.vendor = 0x1d6b, .product = 0x0104};
        strcpy(config->slots[i].vendor, "Platter");
        config->slots[i].keep = 3600;
        config->slots[i].cache = 32;
    }
}

int config_parse(const char *text, size_t length, const char *path, bool functionfs,
                 struct config *config, char *error, size_t room)
{
    struct config_parser p = {
        .path = path,
        .config = config,
        .functionfs = functionfs,
        .error = error,
        .room = room,
        .at = text,
        .end = text,
    };
    int line;

    p.end += length;
    set_defaults(config);
    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        p.at += 3;
    line = ini_parse_stream(line_read, &p, key_read, &p);
    if (line < 0)
        return config_fail(&p, 0, "there is not enough memory to read it.");
    /* A line that inih alone could not read comes before any that was refused after it. */
    if (line > 0 && (!p.failed || (unsigned)line < p.failed_line)) {
        p.failed = false;
        return config_fail(
            &p, (unsigned)line,
            "this is neither a [section] nor a key = value; start a comment with #.");
    }
    if (p.failed)
        return -EINVAL;
    return config_check(&p);
}

static int read_whole(const char *path, char *text, size_t room, size_t *length)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    *length = 0;
    while (*length < room) {
        ssize_t got = read(fd, text + *length, room - *length);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            return 0;
        *length += (size_t)got;
    }
    return -EFBIG;
}

int config_read(const char *path, struct config *config, char *error, size_t room)
{
    cleanup_free char *text = malloc(FILE_MAX);
    size_t length = 0;
    int r;

    if (!text) {
        snprintf(error, room, "%s: there is not enough memory to read it.", path);
        return -ENOMEM;
    }
    r = read_whole(path, text, FILE_MAX, &length);
    if (r < 0) {
        snprintf(error, room,
                 "%s cannot be read: %s; create it or name another file with --config.", path,
                 strerror(-r));
        return r;
    }
    return config_parse(text, length, path, driver_find_here("usb_f_fs") != DRIVER_MISSING, config,
                        error, room);
}
