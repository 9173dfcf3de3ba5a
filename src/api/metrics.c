/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text follows the Prometheus text exposition format 0.0.4: for each family its HELP, its TYPE,
 * then one line a slot. A counter starts again from 0 with every session, as a counter may; times
 * are told in seconds and sizes in bytes, as is the custom there, so names differ from the JSON's.
 */
#include "api/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/control.h"
#include "block/counters.h"

enum form {
    TOTAL,        /* only grows during a session */
    NOW,          /* goes up and down */
    UNKNOWN,      /* the same, and 0 says that it is not known yet */
    MICROSECONDS, /* the same as UNKNOWN, told in seconds */
};

static const struct row {
    size_t offset, size;
    const char *field; /* in JSON */
    enum form form;
    const char *family; /* behind FAMILY */
    const char *help;
} rows[] = {
#define ROW(member)                                                                                \
    offsetof(struct engine_counters, member), sizeof((struct engine_counters *)0)->member, #member
    {ROW(requests), TOTAL, "requests_total", "Requests of the machine that were answered."},
    {ROW(errors), TOTAL, "request_errors_total", "Requests that were answered with an error."},
    {ROW(reads), TOTAL, "reads_total", "Reads that were answered."},
    {ROW(writes), TOTAL, "writes_total", "Writes, trims and zeroings that were answered."},
    {ROW(bytes_read), TOTAL, "read_bytes_total", "Bytes the machine has read."},
    {ROW(bytes_written), TOTAL, "written_bytes_total", "Bytes the machine has written."},
    {ROW(hits), TOTAL, "cache_hits_total", "Reads answered without waiting for the page."},
    {ROW(misses), TOTAL, "cache_misses_total", "Reads that had to wait for the page."},
    {ROW(bytes_fetched), TOTAL, "fetched_bytes_total", "Bytes got from the page, zeroes included."},
    {ROW(bytes_warmed), TOTAL, "warmed_bytes_total", "Bytes fetched for what every boot reads."},
    {ROW(bytes_ahead), TOTAL, "read_ahead_bytes_total", "Bytes fetched ahead of the machine."},
    {ROW(bytes_wasted), TOTAL, "wasted_bytes_total", "Bytes fetched ahead and never read."},
    {ROW(bytes_zero), TOTAL, "zero_bytes_total", "Bytes known to be zero without being sent."},
    {ROW(bytes_copied), TOTAL, "copied_bytes_total", "Bytes of the image copied in memory."},
    {ROW(asks), TOTAL, "asks_total", "Requests sent to the page."},
    {ROW(round_trip), MICROSECONDS, "round_trip_seconds", "Least time an ask has taken lately."},
    {ROW(line_rate), UNKNOWN, "line_rate_bytes", "Bytes a second that the line carries."},
    {ROW(window), NOW, "window_bytes", "Bytes that may be on their way at once."},
    {ROW(requests_open), NOW, "open_requests", "Requests of the machine that wait."},
    {ROW(asks_in_flight), NOW, "asks_in_flight", "Requests sent to the page and not answered."},
    {ROW(bytes_in_flight), NOW, "in_flight_bytes", "Bytes asked of the page and not here yet."},
    {ROW(memory), NOW, "cache_bytes", "Bytes of the image held in memory."},
    {ROW(suspensions), TOTAL, "suspensions_total", "Times the page was lost and waited for."},
#undef ROW
};

#define ROWS   (sizeof rows / sizeof rows[0])
#define FAMILY "platter_slot_"

static uint64_t row_value(const struct row *row, const struct engine_counters *counters)
{
    const unsigned char *at = (const unsigned char *)counters + row->offset;
    uint64_t large;
    uint32_t small;

    assert(row->size == sizeof large || row->size == sizeof small);
    if (row->size == sizeof large) {
        memcpy(&large, at, sizeof large);
        return large;
    }
    memcpy(&small, at, sizeof small);
    return small;
}

bool metrics_place(size_t n, size_t *offset, size_t *size)
{
    if (n >= ROWS)
        return false;
    *offset = rows[n].offset;
    *size = rows[n].size;
    return true;
}

json_t *metrics_json(const struct engine_counters *counters)
{
    json_t *object = json_object();

    for (size_t i = 0; object && i < ROWS; i++) {
        json_t *number = json_integer((json_int_t)row_value(&rows[i], counters));

        if (json_object_set_new(object, rows[i].field, number) < 0) {
            json_decref(object);
            object = NULL;
        }
    }
    return object;
}

static void put_family(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label's value: backslash, quote and the end of a line are escaped. */
static void put_label(FILE *out, const char *name, const char *value)
{
    fprintf(out, "%s=\"", name);
    for (; *value; value++) {
        if (*value == '\n')
            fputs("\\n", out);
        else if (*value == '\\' || *value == '"')
            fprintf(out, "\\%c", *value);
        else
            fputc(*value, out);
    }
    fputc('"', out);
}

static void put_value(FILE *out, enum form form, uint64_t value)
{
    if (value == 0 && (form == UNKNOWN || form == MICROSECONDS))
        fputs("NaN\n", out);
    else if (form == MICROSECONDS)
        fprintf(out, "%" PRIu64 ".%06" PRIu64 "\n", value / 1000000, value % 1000000);
    else
        fprintf(out, "%" PRIu64 "\n", value);
}

static void put_counters(FILE *out, const struct control *control)
{
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];
        char name[64];

        snprintf(name, sizeof name, FAMILY "%s", row->family);
        put_family(out, name, row->form == TOTAL ? "counter" : "gauge", row->help);
        for (unsigned slot = 0; slot < control_slot_count(control); slot++) {
            struct control_slot s;

            control_get_slot(control, slot, &s);
            fprintf(out, "%s{slot=\"%u\"} ", name, slot);
            put_value(out, row->form, row_value(row, &s.counters));
        }
    }
}

static void put_info(FILE *out, const struct control *control)
{
    put_family(out, "platter_build_info", "gauge", "The version of the program; always 1.");
    fputs("platter_build_info{", out);
    put_label(out, "version", control->version);
    fputs("} 1\n", out);
    put_family(out, FAMILY "info", "gauge", "What a slot is called and how it goes out; always 1.");
    for (unsigned slot = 0; slot < control_slot_count(control); slot++) {
        struct control_slot s;

        control_get_slot(control, slot, &s);
        fprintf(out, FAMILY "info{slot=\"%u\",", slot);
        put_label(out, "name", s.name);
        fputc(',', out);
        put_label(out, "export", s.export_name);
        fputs("} 1\n", out);
    }
}

/* One line for each state that a slot may be in, 1 for the one it is in. */
static void put_states(FILE *out, const struct control *control)
{
    put_family(out, FAMILY "state", "gauge", "1 for the state the slot is in, 0 for the others.");
    for (unsigned slot = 0; slot < control_slot_count(control); slot++) {
        const char *name;
        struct control_slot s;

        control_get_slot(control, slot, &s);
        for (unsigned n = 0; (name = control_state_name(control, n)); n++) {
            fprintf(out, FAMILY "state{slot=\"%u\",", slot);
            put_label(out, "state", name);
            fprintf(out, "} %d\n", strcmp(name, s.state) == 0);
        }
    }
}

static void put_waiting(FILE *out, const struct control *control)
{
    static const char grace[] = FAMILY "grace_left_seconds", keep[] = FAMILY "keep_left_seconds";
    struct control_slot s;

    put_family(out, grace, "gauge", "How long the machine's requests still wait for a lost page.");
    for (unsigned slot = 0; slot < control_slot_count(control); slot++) {
        control_get_slot(control, slot, &s);
        fprintf(out, "%s{slot=\"%u\"} %u\n", grace, slot, s.grace_left);
    }
    put_family(out, keep, "gauge", "How long the drive of a lost page still keeps its place.");
    for (unsigned slot = 0; slot < control_slot_count(control); slot++) {
        control_get_slot(control, slot, &s);
        fprintf(out, "%s{slot=\"%u\"} %u\n", keep, slot, s.keep_left);
    }
}

static void put_locked(FILE *out, const struct control *control)
{
    static const char name[] = FAMILY "locked";
    struct control_slot s;

    put_family(out, name, "gauge", "1 while the machine has the drive locked.");
    for (unsigned slot = 0; slot < control_slot_count(control); slot++) {
        control_get_slot(control, slot, &s);
        fprintf(out, "%s{slot=\"%u\"} %d\n", name, slot, s.locked);
    }
}

char *metrics_text(const struct control *control, size_t *length)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, length);
    bool failed;

    if (!out)
        return NULL;
    put_info(out, control);
    put_states(out, control);
    put_waiting(out, control);
    put_locked(out, control);
    put_counters(out, control);
    failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}
