/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration as a file: lines, sections, and what must hold of the whole.
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
#include "base/log.h"
#include "base/utf8.h"
#include "config/config-parse.h"

/* Far more than any configuration; a wrong path (an image, a device) is stopped here. */
#define FILE_MAX (64 * 1024)

/*
 * Linux gives a SCSI command 30 s and then resets the device, which a gadget stuck in a read does
 * not survive: what waits for a far end is answered before that.
 */
#define KERNEL_GRACE_MAX   25u
#define UNIX_GRACE_DEFAULT 60u

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
                "unknown section [%s]; the sections are [daemon], [helper] and [slot 0], [slot 1] "
                "and so on.",
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

/* The grace of one slot, whose export is known by now. */
static int grace_check(struct config_parser *p, unsigned number)
{
    struct config_slot *slot = &p->config->slots[number];
    bool kernel = strcmp(slot->export_name, "kernel") == 0;

    if (slot->grace == 0)
        slot->grace = kernel ? KERNEL_GRACE_MAX : UNIX_GRACE_DEFAULT;
    if (kernel && slot->grace > KERNEL_GRACE_MAX)
        return config_fail(p, p->grace_line[number],
                           "grace is %u; with export = kernel %u seconds is the most, for a "
                           "machine gives up its USB drive after 30.",
                           slot->grace, KERNEL_GRACE_MAX);
    return 0;
}

/* What must hold of one slot, and between it and the ones before. */
static int slot_check(struct config_parser *p, unsigned number)
{
    struct config_slot *slot = &p->config->slots[number];
    unsigned line = p->slots[number].line;

    if (!slot->export_name[0])
        return config_fail(p, line,
                           "[slot %u] does not say how the drive goes out; add export = unix or "
                           "export = kernel.",
                           number);
    if (!slot->name[0])
        snprintf(slot->name, sizeof slot->name, "Drive %u", number + 1);
    if (!slot->socket_path[0])
        snprintf(slot->socket_path, sizeof slot->socket_path, "%s/slot-%u.sock",
                 p->config->runtime_dir, number);
    if (grace_check(p, number) < 0)
        return -EINVAL;
    for (unsigned i = 0; i < number; i++) {
        const struct config_slot *other = &p->config->slots[i];

        if (strcmp(other->export_name, slot->export_name) != 0)
            continue;
        if (strcmp(slot->export_name, "unix") == 0 &&
            strcmp(slot->socket_path, other->socket_path) == 0)
            return config_fail(p, line,
                               "[slot %u] has the same socket as [slot %u]; give each its "
                               "own.",
                               number, i);
        if (strcmp(slot->export_name, "kernel") == 0 && strcmp(slot->nbd, "auto") != 0 &&
            strcmp(slot->nbd, other->nbd) == 0)
            return config_fail(p, line,
                               "[slot %u] has the same nbd device as [slot %u]; give each "
                               "its own, or say nbd = auto.",
                               number, i);
        if (strcmp(slot->export_name, "kernel") == 0 && strcmp(slot->udc, "auto") != 0 &&
            strcmp(slot->udc, other->udc) == 0)
            return config_fail(p, line,
                               "[slot %u] has the same USB device controller as [slot %u]; "
                               "give each its own, or say udc = auto.",
                               number, i);
    }
    return 0;
}

static int slots_check(struct config_parser *p)
{
    unsigned count = 0;

    for (unsigned i = 0; i < CONFIG_SLOTS_MAX; i++) {
        if (p->slots[i].line == 0)
            continue;
        if (i != count)
            return config_fail(p, p->slots[i].line,
                               "there is a [slot %u] but no [slot %u]; number the slots from 0 "
                               "without a gap.",
                               i, count);
        if (slot_check(p, i) < 0)
            return -EINVAL;
        count++;
    }
    if (count == 0)
        return config_fail(p, 0,
                           "there is no slot; add a section [slot 0] with export = unix or export "
                           "= kernel in it.");
    p->config->slot_count = count;
    return 0;
}

static int listen_check(struct config_parser *p)
{
    const struct config *config = p->config;

    for (size_t i = 0; i < config->listen_count && !config->insecure_no_login; i++) {
        if (!config_is_loopback(config->listen[i].host))
            return config_fail(p, p->listen_line,
                               "%s can be reached from the network and there is no login yet; say "
                               "insecure_no_login = yes as well if everybody there may use the "
                               "drives, or listen on 127.0.0.1.",
                               config->listen[i].host);
    }
    return 0;
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
    for (size_t i = 0; i < CONFIG_SLOTS_MAX; i++) {
        strcpy(config->slots[i].nbd, "auto");
        strcpy(config->slots[i].udc, "auto");
        config->slots[i].keep = 3600;
        config->slots[i].cache = 32;
    }
}

int config_parse(const char *text, size_t length, const char *path, struct config *config,
                 char *error, size_t room)
{
    struct config_parser p = {
        .path = path, .config = config, .error = error, .room = room, .at = text, .end = text};
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
    if (listen_check(&p) < 0)
        return -EINVAL;
    return slots_check(&p);
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
    return config_parse(text, length, path, config, error, room);
}
