/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the pages an image is known by (slot/identity.h) from a source, all at once: to learn them
 * when the image is given, or to compare them when a far end has come back. In the second case
 * pages that the engine holds in its cache are compared too, byte for byte.
 */
#ifndef PLATTER_SLOT_EXAMINE_H
#define PLATTER_SLOT_EXAMINE_H

#include "block/engine.h"
#include "block/source.h"
#include "slot/identity.h"

struct examine;

enum examine_verdict {
    EXAMINE_SAME,      /* or, when learning: done */
    EXAMINE_DIFFERENT, /* `offset` says where */
    EXAMINE_FAILED,    /* a page could not be read, or not be compared for lack of memory */
};

struct examine_task {
    struct source *source;
    const struct source_info *info;
    struct identity *identity;
    bool learn;
    const struct engine *engine; /* whose cache to compare with; NULL: none */
    /* Once, unless stopped or the source is lost, which tells of that itself; possibly from inside
     * a read's `complete`, so nothing may be freed there. */
    void (*done)(void *arg, enum examine_verdict verdict, uint64_t offset);
    void *arg;
};

/* Everything in the task must outlive it. 0 or -errno. */
int examine_new(const struct examine_task *task, struct examine **out);
/* `done` may be called before this returns. */
void examine_start(struct examine *x);
/* Asks no more, and does not call `done` any more; reads may still be at the source. */
void examine_stop(struct examine *x);
/* Only when no read is at the source: after `done`, or when the source is freed. NULL: nothing. */
void examine_free(struct examine *x);

#endif
