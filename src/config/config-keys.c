/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each key of the configuration means: one row a key in `keys`, one function a sort of value.
 *
 * A setter gets the value as inih left it (never empty, no blanks around it) and writes into the
 * struct or says in one sentence what is wrong with it. Values are trusted to be the admin's, not
 * to be right.
 */
#include "config/config-parse.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"

struct key {
    enum config_section section;
    const char *name;
    int (*set)(struct config_parser *p, const struct key *key, void *base, const char *value);
    size_t offset;        /* of the member in struct config, or in struct config_slot */
    size_t room;          /* of a text, its terminator included */
    unsigned least, most; /* of a number */
    const char *unit;     /* of a number, in the plural */
};

/* A value as it may be shown in a sentence. */
struct shown {
    char text[80];
};

static const char *show(struct shown *s, const char *value)
{
    return log_quote(value, s->text, sizeof s->text);
}

static int set_path(struct config_parser *p, const struct key *key, void *base, const char *value)
{
    size_t length = strlen(value);

    if (value[0] != '/')
        return config_fail(p, p->line, "%s must be a whole path; begin it with a /.", key->name);
    if (length >= key->room)
        return config_fail(p, p->line,
                           "the path of %s is %zu bytes long; %zu is the most it can be.",
                           key->name, length, key->room - 1);
    if (!utf8_is_text(value, length))
        return config_fail(p, p->line, "the path of %s holds bytes that are not UTF-8 text.",
                           key->name);
    memcpy((char *)base + key->offset, value, length + 1);
    return 0;
}

static int set_page(struct config_parser *p, const struct key *key, void *base, const char *value)
{
    if (strcmp(value, "none") != 0)
        return set_path(p, key, base, value);
    *((char *)base + key->offset) = '\0';
    return 0;
}

static int set_yes_no(struct config_parser *p, const struct key *key, void *base, const char *value)
{
    struct shown s;
    bool yes = strcmp(value, "yes") == 0;

    if (!yes && strcmp(value, "no") != 0)
        return config_fail(p, p->line, "%s is \"%s\"; say yes or no.", key->name, show(&s, value));
    *(bool *)((char *)base + key->offset) = yes;
    return 0;
}

static int set_number(struct config_parser *p, const struct key *key, void *base, const char *value)
{
    struct shown s;
    unsigned number = 0;
    bool good = true;

    for (const char *at = value; *at && good; at++) {
        good = *at >= '0' && *at <= '9' && number <= key->most;
        if (good)
            number = number * 10 + (unsigned)(*at - '0');
    }
    if (!good || number < key->least || number > key->most)
        return config_fail(p, p->line, "%s is \"%s\"; say a number of %s, %u to %u.", key->name,
                           show(&s, value), key->unit, key->least, key->most);
    *(unsigned *)(void *)((char *)base + key->offset) = number;
    return 0;
}

/* What a grace may be is the export's own: config_check() asks, when that is known. */
static int set_grace(struct config_parser *p, const struct key *key, void *base, const char *value)
{
    p->grace_line[p->slot] = p->line;
    return set_number(p, key, base, value);
}

/* A name of letters, digits and `more`, that does not begin with a '-' or '.'. */
static bool is_plain_name(const char *value, const char *more)
{
    if (*value == '-' || *value == '.')
        return false;
    for (; *value; value++) {
        if (!isalnum((unsigned char)*value) && !strchr(more, *value))
            return false;
    }
    return true;
}

static int set_user(struct config_parser *p, const struct key *key, void *base, const char *value)
{
    struct shown s;

    if (strlen(value) >= key->room || !is_plain_name(value, "-._"))
        return config_fail(p, p->line,
                           "%s is \"%s\"; say the name or the number of a user of this machine.",
                           key->name, show(&s, value));
    strcpy((char *)base + key->offset, value);
    return 0;
}

static int set_slot_name(struct config_parser *p, const struct key *key, void *base,
                         const char *value)
{
    size_t length = strlen(value);

    if (length >= key->room)
        return config_fail(p, p->line,
                           "the drive's name is %zu bytes long; %zu is the most it can be.", length,
                           key->room - 1);
    if (!utf8_is_text(value, length))
        return config_fail(p, p->line, "the drive's name holds bytes that are not UTF-8 text.");
    memcpy((char *)base + key->offset, value, length + 1);
    return 0;
}

static int set_export(struct config_parser *p, const struct key *key, void *base, const char *value)
{
    struct shown s;

    if (strcmp(value, "auto") == 0)
        return 0; /* the default */
    if (strcmp(value, "usb") != 0 && strcmp(value, "kernel") != 0 && strcmp(value, "unix") != 0)
        return config_fail(p, p->line, "unknown export \"%s\"; say auto, usb, kernel or unix.",
                           show(&s, value));
    strcpy((char *)base + key->offset, value);
    return 0;
}

/* The name that slots share which are drives of one USB device. */
static int set_usb_device(struct config_parser *p, const struct key *key, void *base,
                          const char *value)
{
    struct shown s;

    if (strlen(value) >= key->room || !is_plain_name(value, "-._"))
        return config_fail(p, p->line,
                           "usb_device is \"%s\"; say a name of at most %zu letters and digits.",
                           show(&s, value), key->room - 1);
    strcpy((char *)base + key->offset, value);
    return 0;
}

static int set_plugged(struct config_parser *p, const struct key *key, void *base,
                       const char *value)
{
    struct shown s;
    bool always = strcmp(value, "always") == 0;

    if (!always && strcmp(value, "session") != 0)
        return config_fail(p, p->line, "plugged is \"%s\"; say session or always.",
                           show(&s, value));
    *(bool *)((char *)base + key->offset) = always;
    return 0;
}

static int set_drive(struct config_parser *p, const struct key *key, void *base, const char *value)
{
    static const char *const names[] = {
        [CONFIG_DRIVE_AUTO] = "auto",
        [CONFIG_DRIVE_DISK] = "disk",
        [CONFIG_DRIVE_CD] = "cd",
    };
    struct shown s;

    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(value, names[i]) == 0) {
            *(enum config_drive *)(void *)((char *)base + key->offset) = (enum config_drive)i;
            return 0;
        }
    }
    return config_fail(p, p->line, "drive is \"%s\"; say auto, disk or cd.", show(&s, value));
}

static int set_write(struct config_parser *p, const struct key *key, void *base, const char *value)
{
    struct shown s;
    bool back = strcmp(value, "back") == 0;

    if (!back && strcmp(value, "through") != 0)
        return config_fail(p, p->line, "write is \"%s\"; say through or back.", show(&s, value));
    *(bool *)((char *)base + key->offset) = back;
    return 0;
}

/* The bus itself says whether it is one; here it only must not be mistaken for something else. */
static int set_bus(struct config_parser *p, const struct key *key, void *base, const char *value)
{
    struct shown s;

    if (strlen(value) >= key->room || (strcmp(value, "system") != 0 && !strchr(value, ':')))
        return config_fail(p, p->line,
                           "bus is \"%s\"; say system, or an address of at most %zu characters as "
                           "unix:path=/run/dbus/system_bus_socket.",
                           show(&s, value), key->room - 1);
    strcpy((char *)base + key->offset, value);
    return 0;
}

/* A SCSI string: fixed room, printable ASCII (SPC-3, section 4.4.1). */
static int set_inquiry(struct config_parser *p, const struct key *key, void *base,
                       const char *value)
{
    struct shown s;
    size_t length = strlen(value);
    bool good = length < key->room;

    for (size_t i = 0; i < length && good; i++)
        good = value[i] >= ' ' && value[i] <= '~';
    if (!good)
        return config_fail(p, p->line, "%s is \"%s\"; say at most %zu printable ASCII characters.",
                           key->name, show(&s, value), key->room - 1);
    strcpy((char *)base + key->offset, value);
    return 0;
}

/* Machines make names of it, and a blank or a comma in it upsets some of them. */
static int set_serial(struct config_parser *p, const struct key *key, void *base, const char *value)
{
    struct shown s;

    if (strlen(value) >= key->room || !is_plain_name(value, "-._"))
        return config_fail(p, p->line, "serial is \"%s\"; say at most %zu letters and digits.",
                           show(&s, value), key->room - 1);
    strcpy((char *)base + key->offset, value);
    return 0;
}

/* As lsusb(8) shows it: "1d6b:0104". */
static int set_usb_id(struct config_parser *p, const struct key *key, void *base, const char *value)
{
    struct config_usb_id *id = (struct config_usb_id *)(void *)((char *)base + key->offset);
    static const char hex[] = "0123456789abcdefABCDEF";
    struct shown s;

    if (strlen(value) != 9 || strspn(value, hex) != 4 || value[4] != ':' ||
        strspn(value + 5, hex) != 4)
        return config_fail(
            p, p->line,
            "usb_id is \"%s\"; say vendor and product, four hexadecimal digits each, "
            "as 1d6b:0104.",
            show(&s, value));
    id->vendor = (uint16_t)strtoul(value, NULL, 16);
    id->product = (uint16_t)strtoul(value + 5, NULL, 16);
    return 0;
}

static int set_nbd(struct config_parser *p, const struct key *key, void *base, const char *value)
{
    struct shown s;
    const char *digits = value + 3;
    size_t length = strlen(value);

    if (strcmp(value, "auto") != 0 &&
        (strncmp(value, "nbd", 3) != 0 || length < 4 || length > 6 ||
         strspn(digits, "0123456789") != length - 3 || (digits[0] == '0' && length > 4)))
        return config_fail(p, p->line, "nbd is \"%s\"; say auto, or a device as nbd0.",
                           show(&s, value));
    strcpy((char *)base + key->offset, value);
    return 0;
}

static int set_udc(struct config_parser *p, const struct key *key, void *base, const char *value)
{
    struct shown s;

    if (strlen(value) >= key->room || !is_plain_name(value, "-._:@,+"))
        return config_fail(p, p->line, "udc is \"%s\"; say auto, or a name from /sys/class/udc.",
                           show(&s, value));
    strcpy((char *)base + key->offset, value);
    return 0;
}

/* The next member of a list with commas: cut out of *at and stripped of blanks; NULL at the end. */
static char *list_next(char **at)
{
    char *item = *at, *comma, *end;

    if (!item)
        return NULL;
    comma = strchr(item, ',');
    *at = comma ? comma + 1 : NULL;
    if (comma)
        *comma = '\0';
    item += strspn(item, " \t");
    end = item + strlen(item);
    while (end > item && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *end = '\0';
    return item;
}

bool config_is_loopback(const char *host)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct in6_addr six;
    struct in_addr four;

    if (inet_pton(AF_INET, host, &four) == 1)
        return ntohl(four.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &six) != 1)
        return false;
    if (memcmp(&six, mapped, sizeof mapped) == 0)
        return six.s6_addr[12] == 127;
    return IN6_IS_ADDR_LOOPBACK(&six);
}

/* "127.0.0.1:8080" or "[::1]:8080"; -EINVAL without a sentence. Cuts `text`. */
static int address_parse(char *text, struct config_listen *out)
{
    uint8_t address[sizeof(struct in6_addr)];
    int family = AF_INET;
    char *colon = strrchr(text, ':');
    unsigned port = 0;
    size_t length;

    if (!colon || !colon[1] || strlen(colon + 1) > 5)
        return -EINVAL;
    *colon = '\0';
    for (const char *at = colon + 1; *at; at++) {
        if (*at < '0' || *at > '9')
            return -EINVAL;
        port = port * 10 + (unsigned)(*at - '0');
    }
    if (port > 65535)
        return -EINVAL;
    length = strlen(text);
    if (text[0] == '[') {
        if (text[length - 1] != ']')
            return -EINVAL;
        text[length - 1] = '\0';
        text++;
        length -= 2;
        family = AF_INET6;
    }
    if (length >= sizeof out->host || inet_pton(family, text, address) != 1)
        return -EINVAL;
    memcpy(out->host, text, length + 1);
    out->port = (uint16_t)port;
    return 0;
}

static int set_listen(struct config_parser *p, const struct key *key, void *base, const char *value)
{
    struct config *config = base;
    char list[512], *at = list, *item;
    struct shown s;

    if (strlen(value) >= sizeof list)
        return config_fail(p, p->line, "%s is too long; shorten it.", key->name);
    strcpy(list, value);
    config->listen_count = 0;
    p->listen_line = p->line;
    while ((item = list_next(&at))) {
        struct config_listen *listen = &config->listen[config->listen_count];

        if (config->listen_count == CONFIG_LISTEN_MAX)
            return config_fail(p, p->line, "listen names more than %d addresses; take some away.",
                               CONFIG_LISTEN_MAX);
        show(&s, item);
        if (address_parse(item, listen) < 0)
            return config_fail(p, p->line,
                               "\"%s\" is not an address to listen on; write 127.0.0.1:8080 or "
                               "[::1]:8080, with commas between several.",
                               s.text);
        for (size_t i = 0; i < config->listen_count; i++) {
            if (listen->port != 0 && listen->port == config->listen[i].port &&
                strcmp(listen->host, config->listen[i].host) == 0)
                return config_fail(p, p->line, "listen names %s twice; take one away.", s.text);
        }
        config->listen_count++;
    }
    return 0;
}

static int set_names(struct config_parser *p, const struct key *key, void *base, const char *value)
{
    struct config *config = base;
    char list[512], *at = list, *item;
    struct shown s;

    if (strlen(value) >= sizeof list)
        return config_fail(p, p->line, "%s is too long; shorten it.", key->name);
    strcpy(list, value);
    while ((item = list_next(&at))) {
        if (config->host_name_count == CONFIG_NAMES_MAX)
            return config_fail(p, p->line, "host_names has more than %d names; take some away.",
                               CONFIG_NAMES_MAX);
        if (!*item || strlen(item) >= sizeof config->host_names[0] || !is_plain_name(item, "-._"))
            return config_fail(p, p->line,
                               "\"%s\" is not a host name; write names without http:// and port, "
                               "with commas between several.",
                               show(&s, item));
        strcpy(config->host_names[config->host_name_count++], item);
    }
    return 0;
}

#define ROOM_IN(thing, member) offsetof(struct thing, member), sizeof((struct thing *)0)->member
#define NO_NUMBER              0, 0, NULL
#define NOWHERE                0, 0, NO_NUMBER /* the setter knows where */
#define IN_CONFIG(member)      ROOM_IN(config, member), NO_NUMBER
#define IN_SLOT(member)        ROOM_IN(config_slot, member), NO_NUMBER

static const struct key keys[] = {
    {CONFIG_DAEMON, "listen", set_listen, NOWHERE},
    {CONFIG_DAEMON, "insecure_no_login", set_yes_no, IN_CONFIG(insecure_no_login)},
    {CONFIG_DAEMON, "host_names", set_names, NOWHERE},
    {CONFIG_DAEMON, "page", set_page, IN_CONFIG(page_dir)},
    {CONFIG_DAEMON, "runtime_dir", set_path, IN_CONFIG(runtime_dir)},
    {CONFIG_HELPER, "socket", set_path, IN_CONFIG(helper_socket)},
    {CONFIG_HELPER, "state_dir", set_path, IN_CONFIG(helper_state_dir)},
    {CONFIG_HELPER, "user", set_user, IN_CONFIG(helper_user)},
    {CONFIG_HELPER, "restart_grace", set_number, ROOM_IN(config, restart_grace), 0, 20, "seconds"},
    {CONFIG_DBUS, "enabled", set_yes_no, IN_CONFIG(dbus_enabled)},
    {CONFIG_DBUS, "bus", set_bus, IN_CONFIG(dbus_bus)},
    {CONFIG_DBUS, "inactivity_timeout", set_number, ROOM_IN(config, dbus_inactivity), 0, 604800,
     "seconds"},
    {CONFIG_SLOT, "name", set_slot_name, IN_SLOT(name)},
    {CONFIG_SLOT, "export", set_export, IN_SLOT(export_name)},
    {CONFIG_SLOT, "socket", set_path, IN_SLOT(socket_path)},
    {CONFIG_SLOT, "nbd", set_nbd, IN_SLOT(nbd)},
    {CONFIG_SLOT, "gadget", set_yes_no, IN_SLOT(gadget)},
    {CONFIG_SLOT, "udc", set_udc, IN_SLOT(udc)},
    {CONFIG_SLOT, "usb_id", set_usb_id, IN_SLOT(usb_id)},
    {CONFIG_SLOT, "usb_device", set_usb_device, IN_SLOT(usb_device)},
    {CONFIG_SLOT, "plugged", set_plugged, IN_SLOT(plugged_always)},
    {CONFIG_SLOT, "drive", set_drive, IN_SLOT(drive)},
    {CONFIG_SLOT, "write", set_write, IN_SLOT(write_back)},
    {CONFIG_SLOT, "vendor", set_inquiry, IN_SLOT(vendor)},
    {CONFIG_SLOT, "product", set_inquiry, IN_SLOT(product)},
    {CONFIG_SLOT, "serial", set_serial, IN_SLOT(serial)},
    {CONFIG_SLOT, "grace", set_grace, ROOM_IN(config_slot, grace), 1, 3600, "seconds"},
    {CONFIG_SLOT, "keep", set_number, ROOM_IN(config_slot, keep), 0, 604800, "seconds"},
    {CONFIG_SLOT, "cache", set_number, ROOM_IN(config_slot, cache), 4, 1024, "MiB"},
    {CONFIG_SLOT, "dbus_socket", set_path, IN_SLOT(dbus_socket)},
};

#define KEY_COUNT (sizeof keys / sizeof keys[0])

/* "unknown key", with the keys there are. */
static int fail_unknown(struct config_parser *p, const char *where, const char *name)
{
    char list[256];
    size_t used = 0;
    struct shown s;

    list[0] = '\0';
    for (size_t i = 0; i < KEY_COUNT && used < sizeof list; i++) {
        if (keys[i].section == p->section)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "",
                                     keys[i].name);
    }
    return config_fail(p, p->line, "unknown key \"%s\" in [%s]; the keys there are: %s.",
                       show(&s, name), where, list);
}

int config_set(struct config_parser *p, const char *name, const char *value)
{
    struct config_seen *seen = &p->daemon;
    void *base = p->config;
    char where[32] = "daemon";
    struct shown s;

    if (p->section == CONFIG_NO_SECTION)
        return config_fail(
            p, p->line,
            "\"%s\" stands before the first section; put it under [daemon], [helper], "
            "[dbus] or a [slot 0].",
            show(&s, name));
    if (p->section == CONFIG_HELPER) {
        seen = &p->helper;
        strcpy(where, "helper");
    } else if (p->section == CONFIG_DBUS) {
        seen = &p->dbus;
        strcpy(where, "dbus");
    } else if (p->section == CONFIG_SLOT) {
        seen = &p->slots[p->slot];
        base = &p->config->slots[p->slot];
        snprintf(where, sizeof where, "slot %u", p->slot);
    }
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (keys[i].section != p->section || strcmp(keys[i].name, name) != 0)
            continue;
        if (seen->keys & 1u << i)
            return config_fail(p, p->line, "%s is here a second time in [%s]; take one away.", name,
                               where);
        seen->keys |= 1u << i;
        if (!*value)
            return config_fail(
                p, p->line, "%s has no value; give it one or take the line away for the default.",
                name);
        return keys[i].set(p, &keys[i], base, value);
    }
    return fail_unknown(p, where, name);
}
