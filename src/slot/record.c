/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of sessions, as JSON.
 *
 * The directory is this user's alone to write, but a record is believed only as far as it makes
 * sense: an older platterd, a full disk or a curious person may have been at it. What follows from
 * a record that lies is what follows from one that is missing: the drive goes.
 *
 * The file's time of change carries loop_clock() instead of the time of day, which may jump by
 * decades on a board without a battery. Nothing is flushed to a disk: with the machine, the drive
 * is gone too.
 */
#include "slot/record.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/utf8.h"

#define VERSION   1
#define PATH_ROOM 160
#define FILE_MAX  16384 /* bytes; a whole one has some 4000 */

static void path_of(char path[PATH_ROOM], const char *directory, unsigned slot, const char *what)
{
    snprintf(path, PATH_ROOM, "%s/slot-%u.%s", directory, slot, what);
}

/* ---- writing ---- */

static json_t *samples_to_json(const struct identity *identity)
{
    json_t *samples = json_array();

    for (unsigned i = 0; samples && i < identity->count; i++) {
        const struct identity_sample *sample = &identity->samples[i];
        char digest[2 * IDENTITY_DIGEST + 1];

        if (!sample->known)
            continue;
        for (size_t at = 0; at < IDENTITY_DIGEST; at++)
            snprintf(digest + 2 * at, 3, "%02x", sample->digest[at]);
        json_array_append_new(
            samples, json_pack("{s:I, s:s}", "at", (json_int_t)sample->offset, "sha256", digest));
    }
    return samples;
}

static char *to_text(const struct slot_record *record)
{
    const struct medium *medium = &record->medium;
    json_t *json =
        json_pack("{s:i, s:s, s:s, s:s, s:I, s:b, s:I, s:s, s:o}", "version", VERSION, "export",
                  record->export_name, "kind", medium->kind == MEDIUM_CD ? "cd" : "disk", "name",
                  medium->name, "size", (json_int_t)medium->size, "read_only", medium->read_only,
                  "modified", (json_int_t)record->modified, "token", record->token, "samples",
                  samples_to_json(&record->identity));
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    return text;
}

static void set_time(int fd, uint64_t served)
{
    struct timespec time = {.tv_sec = (time_t)(served / 1000000),
                            .tv_nsec = (long)(served % 1000000) * 1000};
    struct timespec times[2] = {time, time};

    /* A record without it seems older than it is, and less grace is given: no harm. */
    (void)!futimens(fd, times);
}

/* Locked before anybody can find it. The descriptor, or -errno. */
static int write_file(const char *path, const char *text, uint64_t served)
{
    cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    size_t length = strlen(text);
    ssize_t written;

    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return -errno;
    written = write(fd, text, length);
    if (written < 0)
        return -errno;
    if ((size_t)written != length)
        return -ENOSPC;
    set_time(fd, served);
    return take_fd(&fd);
}

/* The record of a process that is no more is anybody's. */
static bool held_by_another(const char *path)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

int slot_record_write(const char *directory, unsigned slot, const struct slot_record *record,
                      uint64_t served, int *held)
{
    cleanup_free char *text = to_text(record);
    char path[PATH_ROOM];
    char fresh[PATH_ROOM];
    cleanup_fd int fd = -1;
    int r;

    if (!text)
        return -ENOMEM;
    path_of(path, directory, slot, "session");
    path_of(fresh, directory, slot, "session.new");
    if (*held < 0 && held_by_another(path))
        return -EBUSY;
    unlink(fresh); /* of a process that died here */
    fd = write_file(fresh, text, served);
    r = fd < 0 ? fd : 0;
    if (r == 0 && rename(fresh, path) < 0)
        r = -errno;
    if (r < 0) {
        unlink(fresh);
        return r;
    }
    if (*held >= 0)
        close(*held);
    *held = take_fd(&fd);
    return 0;
}

void slot_record_touch(int held, uint64_t served)
{
    set_time(held, served);
}

void slot_record_remove(const char *directory, unsigned slot, int *held)
{
    char path[PATH_ROOM];

    path_of(path, directory, slot, "session");
    unlink(path);
    if (*held >= 0)
        close(*held);
    *held = -1;
}

/* ---- reading ---- */

static bool digit_value(char digit, uint8_t *value)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = digit ? strchr(digits, digit) : NULL;

    if (at)
        *value = (uint8_t)(at - digits);
    return at;
}

static bool sample_from_json(json_t *json, struct identity *identity)
{
    struct identity_sample *sample = &identity->samples[identity->count];
    json_int_t at;
    const char *digest;

    if (json_unpack(json, "{s:I, s:s!}", "at", &at, "sha256", &digest) < 0 || at < 0 ||
        (uint64_t)at >= identity->size || at % IDENTITY_PAGE != 0 ||
        strlen(digest) != (size_t)2 * IDENTITY_DIGEST)
        return false;
    for (size_t i = 0; i < IDENTITY_DIGEST; i++) {
        uint8_t high;
        uint8_t low;

        if (!digit_value(digest[2 * i], &high) || !digit_value(digest[2 * i + 1], &low))
            return false;
        sample->digest[i] = (uint8_t)(high << 4 | low);
    }
    sample->offset = (uint64_t)at;
    sample->known = true;
    identity->count++;
    return true;
}

static bool samples_from_json(json_t *samples, struct identity *identity)
{
    size_t i;
    json_t *json;

    if (!json_is_array(samples) || json_array_size(samples) > IDENTITY_SAMPLES_MAX)
        return false;
    json_array_foreach(samples, i, json)
    {
        if (!sample_from_json(json, identity))
            return false;
    }
    return true;
}

static bool copy_text(char *out, size_t room, const char *text)
{
    size_t length = strlen(text);

    if (length >= room || !utf8_is_text(text, length))
        return false;
    memcpy(out, text, length + 1);
    return true;
}

static bool from_json(json_t *json, struct slot_record *out)
{
    const char *export_name;
    const char *kind;
    const char *name;
    const char *token;
    json_int_t size;
    json_int_t modified;
    json_t *samples;
    int version;
    int read_only;

    if (json_unpack(json, "{s:i, s:s, s:s, s:s, s:I, s:b, s:I, s:s, s:o!}", "version", &version,
                    "export", &export_name, "kind", &kind, "name", &name, "size", &size,
                    "read_only", &read_only, "modified", &modified, "token", &token, "samples",
                    &samples) < 0 ||
        version != VERSION || size < 1 || modified < -1 || !token_is_token(token) ||
        (strcmp(kind, "cd") != 0 && strcmp(kind, "disk") != 0) ||
        !copy_text(out->export_name, sizeof out->export_name, export_name) ||
        !copy_text(out->medium.name, sizeof out->medium.name, name))
        return false;
    out->medium.kind = strcmp(kind, "cd") == 0 ? MEDIUM_CD : MEDIUM_DISK;
    out->medium.size = (uint64_t)size;
    out->medium.read_only = read_only;
    out->modified = modified;
    memcpy(out->token, token, sizeof out->token);
    out->identity.size = out->medium.size;
    return samples_from_json(samples, &out->identity);
}

/* What a file has to be before its text is even looked at. */
static bool is_ours(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_uid == geteuid() &&
           (st->st_mode & (S_IRWXG | S_IRWXO)) == 0 && st->st_size <= FILE_MAX &&
           st->st_mtim.tv_sec >= 0;
}

static int read_text(int fd, struct slot_record *out)
{
    char text[FILE_MAX];
    ssize_t length = read(fd, text, sizeof text);
    json_t *json;
    bool good;

    if (length < 0)
        return -errno;
    *out = (struct slot_record){.modified = -1};
    json = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, NULL);
    good = json && from_json(json, out);
    json_decref(json);
    return good ? 0 : -EBADMSG;
}

int slot_record_read(const char *directory, unsigned slot, struct slot_record *out,
                     uint64_t *served, int *held)
{
    char path[PATH_ROOM];
    cleanup_fd int fd = -1;
    struct stat st;
    int r;

    path_of(path, directory, slot, "session");
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ELOOP ? -EBADMSG : -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    r = is_ours(&st) ? read_text(fd, out) : -EBADMSG;
    if (r < 0)
        return r;
    *served = (uint64_t)st.st_mtim.tv_sec * 1000000 + (uint64_t)st.st_mtim.tv_nsec / 1000;
    *held = take_fd(&fd);
    return 0;
}
