/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One examination of a source.
 *
 * Each page is a *read*: its bytes, widened to the source's blocks, in pieces no longer than the
 * source takes, one piece at a time. As many reads as the source takes are asked at once. A read's
 * memory is there from its first piece until it is judged.
 *
 * What is learned: a page that the far end cannot read stays unknown; the image is served for what
 * can be read of it. What is compared must be read: a far end that cannot has failed.
 *
 * What always holds: `out` is the number of reads at the source; `done` is called when it is 0 and
 * nothing is left to ask, so freeing after `done` is safe. A piece may complete before
 * source_submit() returns; only pump() submits, and it never runs inside itself.
 */
#include "slot/examine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CACHED_MAX 16

enum read_state { READ_READY, READ_OUT, READ_OVER };

struct page_read {
    struct examine *examine;
    struct source_request ask;
    struct part part;
    struct identity_sample *sample; /* NULL: compared with the cache */
    uint64_t offset;                /* of the page */
    uint64_t from;                  /* of the blocks it lies in */
    uint32_t length, got;           /* of those */
    uint8_t *bytes;
    enum read_state state;
};

struct examine {
    struct examine_task task;
    unsigned out;
    bool pumping, pump_again;
    bool over; /* nothing is asked any more */
    bool told;
    enum examine_verdict verdict;
    uint64_t where;
    unsigned count;
    struct page_read reads[IDENTITY_SAMPLES_MAX + CACHED_MAX];
};

static void give_verdict(struct examine *x, enum examine_verdict verdict, uint64_t where)
{
    if (x->over)
        return;
    x->over = true;
    x->verdict = verdict;
    x->where = where;
}

static bool is_zero(const uint8_t *bytes, uint32_t length)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

static void judge_cached(struct page_read *read, const uint8_t *page, uint32_t length)
{
    const uint8_t *held;

    /* What has left the cache meanwhile cannot be compared. */
    if (!engine_peek(read->examine->task.engine, read->offset, length, &held))
        return;
    if (held ? memcmp(held, page, length) != 0 : !is_zero(page, length))
        give_verdict(read->examine, EXAMINE_DIFFERENT, read->offset);
}

static void judge(struct page_read *read)
{
    struct examine *x = read->examine;
    uint32_t length = identity_page_length(x->task.identity, read->offset);
    const uint8_t *page = read->bytes + (read->offset - read->from);
    struct identity_sample *sample = read->sample;
    uint8_t digest[IDENTITY_DIGEST];

    if (!sample) {
        judge_cached(read, page, length);
    } else if (!identity_digest(page, length, digest)) {
        give_verdict(x, EXAMINE_FAILED, read->offset);
    } else if (x->task.learn) {
        memcpy(sample->digest, digest, sizeof digest);
        sample->known = true;
    } else if (memcmp(sample->digest, digest, sizeof digest) != 0) {
        give_verdict(x, EXAMINE_DIFFERENT, read->offset);
    }
}

static void end_read(struct page_read *read)
{
    read->state = READ_OVER;
    free(read->bytes);
    read->bytes = NULL;
}

static void pump(struct examine *x);

static void piece_read(struct source_request *ask, int error)
{
    struct page_read *read = list_entry(ask, struct page_read, ask);
    struct examine *x = read->examine;

    x->out--;
    if (error == SOURCE_LOST) {
        end_read(read);
        examine_stop(x);
    } else if (error) {
        end_read(read);
        if (!x->task.learn)
            give_verdict(x, EXAMINE_FAILED, read->offset);
    } else {
        read->got += ask->length;
        read->state = READ_READY;
        if (read->got == read->length) {
            judge(read);
            end_read(read);
        }
    }
    pump(x);
}

static void ask_piece(struct page_read *read)
{
    struct examine *x = read->examine;
    uint32_t left = read->length - read->got;
    uint32_t most = x->task.info->length_max;

    if (!read->bytes)
        read->bytes = malloc(read->length);
    if (!read->bytes) {
        give_verdict(x, EXAMINE_FAILED, read->offset);
        return;
    }
    read->part.data = read->bytes + read->got;
    read->part.length = left < most ? left : most;
    read->ask = (struct source_request){
        .op = SOURCE_READ,
        .offset = read->from + read->got,
        .length = read->part.length,
        .parts = &read->part,
        .part_count = 1,
        .complete = piece_read,
    };
    list_init(&read->ask.link);
    read->state = READ_OUT;
    x->out++;
    source_submit(x->task.source, &read->ask);
}

static void pump(struct examine *x)
{
    if (x->pumping) {
        x->pump_again = true;
        return;
    }
    x->pumping = true;
    do {
        x->pump_again = false;
        for (unsigned i = 0; i < x->count && !x->over; i++) {
            if (x->out < x->task.info->in_flight_max && x->reads[i].state == READ_READY)
                ask_piece(&x->reads[i]);
        }
    } while (x->pump_again);
    x->pumping = false;
    /* All reads that are not over are ready or out, and a ready one is asked as soon as it can. */
    if (x->out > 0 || x->told)
        return;
    x->told = true;
    x->over = true;
    x->task.done(x->task.arg, x->verdict, x->where);
}

static void add_read(struct examine *x, struct identity_sample *sample, uint64_t offset)
{
    struct page_read *read = &x->reads[x->count++];
    uint64_t mask = (uint64_t)x->task.info->block_min - 1;
    uint64_t end = (offset + identity_page_length(x->task.identity, offset) + mask) & ~mask;

    if (end > x->task.info->size)
        end = x->task.info->size;
    read->examine = x;
    read->sample = sample;
    read->offset = offset;
    read->from = offset & ~mask;
    read->length = (uint32_t)(end - read->from);
}

int examine_new(const struct examine_task *task, struct examine **out)
{
    struct examine *x = calloc(1, sizeof *x);
    uint64_t cached[CACHED_MAX];
    unsigned cached_count = task->engine ? engine_sample(task->engine, cached, CACHED_MAX) : 0;

    if (!x)
        return -ENOMEM;
    x->task = *task;
    x->verdict = EXAMINE_SAME;
    for (unsigned i = 0; i < task->identity->count; i++) {
        struct identity_sample *sample = &task->identity->samples[i];

        if (task->learn || sample->known)
            add_read(x, sample, sample->offset);
    }
    for (unsigned i = 0; i < cached_count; i++)
        add_read(x, NULL, cached[i]);
    *out = x;
    return 0;
}

void examine_start(struct examine *x)
{
    pump(x);
}

void examine_stop(struct examine *x)
{
    x->over = true;
    x->told = true;
}

void examine_free(struct examine *x)
{
    if (!x)
        return;
    for (unsigned i = 0; i < x->count; i++)
        free(x->reads[i].bytes);
    free(x);
}
