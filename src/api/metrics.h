/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbers of every slot, in the two forms they are told in: JSON beside the slot's state, and
 * the Prometheus text format (docs/protocol.md). Both come from one table, so neither forgets one.
 */
#ifndef PLATTER_API_METRICS_H
#define PLATTER_API_METRICS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct control;
struct engine_counters;

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* An object with one member a counter, named as in struct engine_counters; NULL for want of memory.
 */
json_t *metrics_json(const struct engine_counters *counters);

/* All metrics of all slots, from malloc(); NULL for want of memory. */
char *metrics_text(const struct control *control, size_t *length);

/* Where the table's n-th number stands in struct engine_counters: its first byte, and how many.
 * False past the last one. */
bool metrics_place(size_t n, size_t *offset, size_t *size);

#endif
