/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json, read into plain structs. jansson parses; what is here is what the parts mean, one
 * row a key in `config_keys` and `gadget_keys`, one function a sort of value.
 *
 * The texts of a gadget end up in the helper's own configuration, a line each, so each is looked at
 * for what such a line can hold.
 *
 * Always holds: the first thing found wrong is the one reported. A file reported good has every
 * text terminated, and at most one default.
 */
#include "nbd-proxy/config.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"

/* Far more than any configuration; a wrong path (an image, a device) is stopped here. */
#define FILE_MAX    (256u * 1024)
#define TIMEOUT_MAX 3600
/* As the program that this one stands in for had it. */
#define TIMEOUT_NORMAL 30

struct reader {
    const char *path;
    const char *name; /* of the configuration being read */
    struct proxy_config *config;
    char *error;
    size_t room;
};

struct key {
    const char *name;
    int (*read)(struct reader *r, const struct key *key, json_t *value);
    size_t offset; /* of a text or a yes in struct proxy_config */
    size_t room;   /* of a text, its terminator included */
};

/* A text of the file as it may be shown in a sentence. */
struct shown {
    char text[64];
};

static const char *show(struct shown *s, const char *text)
{
    return log_quote(text, s->text, sizeof s->text);
}

__attribute__((format(printf, 2, 3))) static int fail(struct reader *r, const char *format, ...)
{
    struct shown s;
    va_list args;
    int used;

    if (r->name)
        used =
            snprintf(r->error, r->room, "%s, configuration \"%s\": ", r->path, show(&s, r->name));
    else
        used = snprintf(r->error, r->room, "%s: ", r->path);
    if (used < 0 || (size_t)used >= r->room)
        return -EINVAL;
    va_start(args, format);
    vsnprintf(r->error + used, r->room - (size_t)used, format, args);
    va_end(args);
    return -EINVAL;
}

static void *place(const struct reader *r, const struct key *key)
{
    return (char *)r->config + key->offset;
}

/* ---- values ---- */

static int read_yes(struct reader *r, const struct key *key, json_t *value)
{
    if (!json_is_boolean(value))
        return fail(r, "\"%s\" must be true or false.", key->name);
    *(bool *)place(r, key) = json_is_true(value);
    return 0;
}

static int read_metadata(struct reader *r, const struct key *key, json_t *value)
{
    /* It stays where it is, for proxy_file_metadata(). */
    return json_is_object(value) ? 0 : fail(r, "\"%s\" must be an object, {...}.", key->name);
}

static int read_device(struct reader *r, const struct key *key, json_t *value)
{
    const char *path = json_string_value(value);
    const char *digits = path ? path + strlen("/dev/nbd") : "";
    struct shown s;

    if (!path)
        return fail(r, "\"%s\" must be a text, as \"/dev/nbd0\".", key->name);
    if (strncmp(path, "/dev/nbd", strlen("/dev/nbd")) != 0 || digits[0] == '\0' ||
        strlen(digits) > 3 || strspn(digits, "0123456789") != strlen(digits) ||
        (digits[0] == '0' && digits[1] != '\0'))
        return fail(r, "\"%s\" is \"%s\", which is no nbd device: name one, as \"/dev/nbd0\".",
                    key->name, show(&s, path));
    snprintf(place(r, key), key->room, "nbd%s", digits);
    return 0;
}

static int read_export(struct reader *r, const struct key *key, json_t *value)
{
    static const char *const words[] = {
        [PROXY_EXPORT_AUTO] = "auto",
        [PROXY_EXPORT_USB] = "usb",
        [PROXY_EXPORT_KERNEL] = "kernel",
    };
    const char *word = json_is_string(value) ? json_string_value(value) : "";

    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(word, words[i]) == 0) {
            r->config->export_kind = (enum proxy_export)i;
            return 0;
        }
    }
    return fail(r, "\"%s\" must be \"auto\", \"usb\" or \"kernel\".", key->name);
}

/* Four hexadecimal digits, one half of `usb_id`. */
static int read_id(struct reader *r, const struct key *key, json_t *value)
{
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    char *end;
    unsigned long number;

    if (strncmp(text, "0x", 2) == 0)
        text += 2;
    number = strtoul(text, &end, 16);
    if (!isxdigit((unsigned char)text[0]) || *end != '\0' || number > 0xffff)
        return fail(r, "\"%s\" must be a text of hexadecimal digits, \"0\" to \"ffff\".",
                    key->name);
    snprintf((char *)place(r, key) + key->room, 5, "%04lx", number);
    r->config->usb_id[4] = ':';
    return 0;
}

/* What a line of the helper's configuration can hold, and a SCSI string too. */
static bool is_plain_text(const char *text)
{
    size_t length = strlen(text);

    for (size_t i = 0; i < length; i++) {
        if (text[i] < ' ' || text[i] > '~' || text[i] == ';' || text[i] == '#')
            return false;
    }
    return length > 0 && text[0] != ' ' && text[length - 1] != ' ';
}

static int read_text(struct reader *r, const struct key *key, json_t *value)
{
    const char *text = json_is_string(value) ? json_string_value(value) : "";

    if (!is_plain_text(text) || strlen(text) >= key->room)
        return fail(r, "\"%s\" must be a text of 1 to %zu ASCII characters without ; and #.",
                    key->name, key->room - 1);
    strcpy(place(r, key), text);
    return 0;
}

static int read_word(struct reader *r, const struct key *key, json_t *value)
{
    const char *word = json_is_string(value) ? json_string_value(value) : "";
    size_t length = strlen(word);

    for (const char *at = word; *at; at++) {
        if (!isalnum((unsigned char)*at) && (at == word || !strchr("-._:@,+", *at)))
            length = 0;
    }
    if (length == 0 || length >= key->room)
        return fail(r, "\"%s\" must be a text of 1 to %zu letters and digits.", key->name,
                    key->room - 1);
    strcpy(place(r, key), word);
    return 0;
}

/* ---- keys ---- */

static int read_gadget(struct reader *r, const struct key *key, json_t *value);

#define NOWHERE    0, 0 /* the reader knows where */
#define AT(member) offsetof(struct proxy_config, member), sizeof(((struct proxy_config *)0)->member)

static const struct key config_keys[] = {
    {"nbd-device", read_device, AT(nbd)}, {"default", read_yes, AT(is_default)},
    {"metadata", read_metadata, NOWHERE}, {"export", read_export, NOWHERE},
    {"gadget", read_gadget, NOWHERE},     {NULL, NULL, NOWHERE},
};

static const struct key gadget_keys[] = {
    {"cdrom", read_yes, AT(is_cd)},
    /* `room`: where this half begins */
    {"vendor-id", read_id, offsetof(struct proxy_config, usb_id), 0},
    {"product-id", read_id, offsetof(struct proxy_config, usb_id), 5},
    {"vendor", read_text, AT(vendor)},
    {"product", read_text, AT(product)},
    {"serial", read_word, AT(serial)},
    {"udc", read_word, AT(udc)},
    {NULL, NULL, NOWHERE},
};

/* Each member of an object by its row. */
static int read_members(struct reader *r, json_t *object, const struct key *keys)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        const struct key *key = keys;
        struct shown s;
        int done;

        while (key->name && strcmp(key->name, name) != 0)
            key++;
        if (!key->name) {
            log_warn("%s: \"%s\" means nothing to nbd-proxy and is passed over", r->path,
                     show(&s, name));
            continue;
        }
        done = key->read(r, key, value);
        if (done < 0)
            return done;
    }
    return 0;
}

static int read_gadget(struct reader *r, const struct key *key, json_t *value)
{
    if (json_is_string(value) && strcmp(json_string_value(value), "none") == 0) {
        r->config->gadget = PROXY_GADGET_NONE;
        return 0;
    }
    if (!json_is_object(value))
        return fail(r, "\"%s\" must be an object, {...}, or \"none\".", key->name);
    r->config->gadget = PROXY_GADGET_OWN;
    return read_members(r, value, gadget_keys);
}

static int read_config(struct reader *r, json_t *value)
{
    struct proxy_config *config = r->config;
    int done;

    strcpy(config->usb_id, "1d6b:0104");
    if (!json_is_object(value))
        return fail(r, "it must be an object, {...}.");
    done = read_members(r, value, config_keys);
    if (done < 0)
        return done;
    if (!config->nbd[0])
        return fail(r, "it lacks \"nbd-device\": add one, as \"nbd-device\": \"/dev/nbd0\".");
    if (config->gadget == PROXY_GADGET_NONE && config->export_kind == PROXY_EXPORT_USB)
        return fail(r, "with \"export\": \"usb\" there is always a gadget: let \"gadget\" not be "
                       "\"none\", or say \"export\": \"kernel\".");
    return 0;
}

/* ---- the whole ---- */

static int read_timeout(struct reader *r, struct proxy_file *out)
{
    json_t *value = json_object_get(out->root, "timeout");
    json_int_t seconds = json_integer_value(value);

    out->timeout = TIMEOUT_NORMAL;
    if (!value)
        return 0;
    if (!json_is_integer(value) || seconds < 0 || seconds > TIMEOUT_MAX)
        return fail(r, "\"timeout\" must be a number of seconds, 0 to %d.", TIMEOUT_MAX);
    out->timeout = (unsigned)seconds;
    return 0;
}

static int read_configs(struct reader *r, struct proxy_file *out)
{
    json_t *all = json_object_get(out->root, "configurations");
    const struct proxy_config *standard = NULL;
    const char *name;
    json_t *value;

    if (!json_is_object(all) || json_object_size(all) == 0)
        return fail(r, "\"configurations\" must be an object with one configuration at least, as "
                       "\"configurations\": {\"0\": {\"nbd-device\": \"/dev/nbd0\"}}.");
    if (json_object_size(all) > PROXY_CONFIGS_MAX)
        return fail(r, "there can be %d configurations at most; take some away.",
                    PROXY_CONFIGS_MAX);
    json_object_foreach(all, name, value)
    {
        struct proxy_config *config = &out->configs[out->count];
        struct shown s;
        int done;

        *config = (struct proxy_config){.name = name, .number = out->count};
        r->name = name;
        r->config = config;
        done = read_config(r, value);
        if (done < 0)
            return done;
        if (config->is_default && standard)
            return fail(r, "it is a default, and so is \"%s\"; let one of them be.",
                        show(&s, standard->name));
        if (config->is_default)
            standard = config;
        out->count++;
    }
    if (out->count == 1)
        out->configs[0].is_default = true;
    return 0;
}

int proxy_file_parse(const char *text, size_t length, const char *path, struct proxy_file *out,
                     char *error, size_t room)
{
    struct reader r = {.path = path, .error = error, .room = room};
    json_error_t wrong;
    struct shown s;
    int done;

    *out = (struct proxy_file){0};
    out->root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &wrong);
    if (!out->root) {
        snprintf(error, room, "%s:%d:%d: this is not JSON: %s.", path, wrong.line, wrong.column,
                 show(&s, wrong.text));
        return -EINVAL;
    }
    if (!json_is_object(out->root))
        return fail(&r, "it must hold an object, {...}.");
    done = read_timeout(&r, out);
    return done < 0 ? done : read_configs(&r, out);
}

int proxy_file_read(const char *path, struct proxy_file *out, char *error, size_t room)
{
    cleanup_file FILE *file = fopen(path, "re");
    cleanup_free char *text = malloc(FILE_MAX);
    size_t length;

    *out = (struct proxy_file){0};
    if (!file || !text) {
        int r = file ? -ENOMEM : -errno;

        snprintf(error, room,
                 "%s cannot be read: %s; create it or name another file with --config.", path,
                 strerror(-r));
        return r;
    }
    length = fread(text, 1, FILE_MAX, file);
    if (ferror(file) || length == FILE_MAX) {
        snprintf(error, room, "%s is not a file of at most %u bytes: name another with --config.",
                 path, FILE_MAX);
        return -EFBIG;
    }
    return proxy_file_parse(text, length, path, out, error, room);
}

void proxy_file_done(struct proxy_file *file)
{
    json_decref(file->root);
    file->root = NULL;
}

const struct proxy_config *proxy_file_find(const struct proxy_file *file, const char *path,
                                           const char *name, char *error, size_t room)
{
    struct shown s;

    for (unsigned i = 0; i < file->count; i++) {
        const struct proxy_config *config = &file->configs[i];

        if (name ? strcmp(config->name, name) == 0 : config->is_default)
            return config;
    }
    if (name)
        snprintf(error, room, "%s has no configuration \"%s\": add it, or name one that it has.",
                 path, show(&s, name));
    else
        snprintf(error, room,
                 "%s has more than one configuration and no default: name one, or give one "
                 "\"default\": true.",
                 path);
    return NULL;
}

char *proxy_file_metadata(const struct proxy_file *file)
{
    json_t *all = json_object();
    char *text = NULL;

    for (unsigned i = 0; i < file->count && all; i++) {
        const char *name = file->configs[i].name;
        json_t *config = json_object_get(json_object_get(file->root, "configurations"), name);
        json_t *metadata = json_object_get(config, "metadata");

        if (json_object_set_new(all, name, metadata ? json_incref(metadata) : json_null()) < 0) {
            json_decref(all);
            all = NULL;
        }
    }
    if (all)
        text = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    return text;
}
