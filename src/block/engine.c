/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine of a drive: requests in, pieces out to the source, answers back.
 *
 * A request becomes a *job*: memory for the range it covers, widened to the source's block size,
 * and pieces no longer than the source accepts. Every piece stands in one of two places: in
 * `ready`, in the order the machine asked, or at the source. A request whose memory would pass the
 * bound waits, and so do all behind it, so none can starve.
 *
 * Who owns what: the request is its export's; its job is the engine's from admission until
 * engine_release() (or until the answer, if that was an error). The source is its owner's.
 *
 * What always holds: `memory` is the sum of all jobs' memory and never passes memory_max;
 * `asks_in_flight` never passes the source's in_flight_max; a request is answered exactly once.
 *
 * Callbacks may come back in here (a completed request is released, or a new one submitted, from
 * inside its own answer), so only pump() moves pieces to the source, and it never runs inside
 * itself.
 */
#include "block/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct piece {
    struct source_request ask;
    struct part part; /* a read's */
    struct engine_job *job;
    struct list link; /* in ready */
};

struct engine_job {
    struct engine *engine;
    struct request *request;
    uint8_t *memory;      /* NULL for a flush */
    size_t memory_length; /* bytes */
    uint32_t skip;        /* bytes of memory before the request's first */
    unsigned pieces_left;
    uint64_t zero_bytes;
    int error; /* the first that came */
    struct piece pieces[];
};

struct engine {
    struct engine_config config;
    struct engine_counters counters;
    struct source *source;
    struct source_info info;
    int failed; /* 0, or what every request is answered with */
    bool pumping;
    bool pump_again;
    struct list waiting; /* of requests not yet admitted */
    struct list ready;   /* of pieces */
};

int engine_new(const struct engine_config *config, struct engine **out)
{
    struct engine *e = calloc(1, sizeof *e);

    if (!e)
        return -ENOMEM;
    e->config = *config;
    list_init(&e->waiting);
    list_init(&e->ready);
    *out = e;
    return 0;
}

void engine_free(struct engine *e)
{
    free(e);
}

static void answer(struct engine *e, struct request *request, int error)
{
    e->counters.requests_open--;
    e->counters.requests++;
    if (error)
        e->counters.errors++;
    else
        e->counters.bytes_read += request->length;
    request->complete(request, error);
}

static void free_job(struct engine *e, struct engine_job *job)
{
    e->counters.memory -= job->memory_length;
    free(job->memory);
    free(job);
}

/* A read that was nothing but holes gives its memory back and shows one run of zeroes. */
static void show_segments(struct engine_job *job)
{
    struct request *r = job->request;
    bool hole = job->zero_bytes == job->memory_length;

    if (r->op != REQUEST_READ)
        return;
    if (hole) {
        free(job->memory);
        job->memory = NULL;
        job->engine->counters.memory -= job->memory_length;
        job->memory_length = 0;
    }
    r->segments[0].data = hole ? NULL : job->memory + job->skip;
    r->segments[0].length = r->length;
    r->segment_count = 1;
}

static void finish_job(struct engine_job *job)
{
    struct engine *e = job->engine;
    struct request *request = job->request;
    int error = job->error;

    if (error) {
        free_job(e, job);
        request->job = NULL;
    } else {
        show_segments(job);
    }
    answer(e, request, error);
}

static void finish_piece(struct engine_job *job, int error)
{
    if (error && !job->error)
        job->error = error;
    if (--job->pieces_left == 0)
        finish_job(job);
}

static void pump(struct engine *e);

static void piece_answered(struct source_request *ask, int error)
{
    struct piece *piece = list_entry(ask, struct piece, ask);
    struct engine_job *job = piece->job;
    struct engine *e = job->engine;

    e->counters.asks_in_flight--;
    if (!error) {
        e->counters.bytes_fetched += ask->length;
        job->zero_bytes += ask->zero_bytes;
    }
    finish_piece(job, error);
    pump(e);
}

/* The range the source must be asked for: the request's, widened to whole blocks. */
static void widen(const struct engine *e, const struct request *r, uint64_t *from, uint64_t *to)
{
    uint64_t mask = (uint64_t)e->info.block_min - 1;

    *from = r->offset & ~mask;
    *to = (r->offset + r->length + mask) & ~mask;
    if (*to > e->info.size)
        *to = e->info.size;
}

static struct engine_job *new_job(struct engine *e, struct request *r, unsigned pieces,
                                  size_t memory_length)
{
    struct engine_job *job = calloc(1, sizeof *job + pieces * sizeof job->pieces[0]);

    if (!job)
        return NULL;
    if (memory_length > 0) {
        job->memory = malloc(memory_length);
        if (!job->memory) {
            free(job);
            return NULL;
        }
    }
    job->engine = e;
    job->request = r;
    job->memory_length = memory_length;
    job->pieces_left = pieces;
    r->job = job;
    e->counters.memory += memory_length;
    return job;
}

/* `memory`: where a read's bytes go. */
static void add_piece(struct engine_job *job, unsigned index, const struct source_request *ask,
                      uint8_t *memory)
{
    struct piece *piece = &job->pieces[index];

    piece->job = job;
    piece->ask = *ask;
    piece->ask.complete = piece_answered;
    piece->part = (struct part){memory, ask->length};
    piece->ask.parts = &piece->part;
    piece->ask.part_count = 1;
    list_init(&piece->ask.link);
    list_append(&job->engine->ready, &piece->link);
}

static bool plan_read(struct engine *e, struct request *r, uint64_t from, uint64_t to)
{
    uint64_t step = e->info.length_max;
    unsigned pieces = (unsigned)((to - from + step - 1) / step);
    struct engine_job *job = new_job(e, r, pieces, (size_t)(to - from));

    if (!job)
        return false;
    job->skip = (uint32_t)(r->offset - from);
    for (unsigned i = 0; i < pieces; i++) {
        uint64_t at = from + i * step;
        uint64_t length = to - at < step ? to - at : step;

        add_piece(
            job, i,
            &(struct source_request){.op = SOURCE_READ, .offset = at, .length = (uint32_t)length},
            job->memory + (at - from));
    }
    return true;
}

static bool plan_flush(struct engine *e, struct request *r)
{
    struct engine_job *job = new_job(e, r, 1, 0);

    if (!job)
        return false;
    add_piece(job, 0, &(struct source_request){.op = SOURCE_FLUSH}, NULL);
    return true;
}

/* Turns the oldest waiting request into pieces; false if it has to wait on. */
static bool admit_first(struct engine *e)
{
    struct request *r = list_entry(e->waiting.next, struct request, link);
    uint64_t from = 0;
    uint64_t to = 0;
    bool planned;

    if (r->op == REQUEST_READ) {
        widen(e, r, &from, &to);
        if (e->counters.memory + (to - from) > e->config.memory_max)
            return false;
    }
    list_remove(&r->link);
    if (r->op == REQUEST_FLUSH && !e->info.can_flush) {
        /* Nothing was ever written, so nothing is left to be made safe. */
        answer(e, r, 0);
        return true;
    }
    planned = r->op == REQUEST_READ ? plan_read(e, r, from, to) : plan_flush(e, r);
    if (!planned)
        answer(e, r, -ENOMEM);
    return true;
}

static void ask_first(struct engine *e)
{
    struct piece *piece = list_entry(list_take_first(&e->ready), struct piece, link);

    e->counters.asks_in_flight++;
    source_submit(e->source, &piece->ask);
}

/* Answers all that no source has; a job with pieces still at the source waits for these. */
static void fail_all(struct engine *e)
{
    struct list *link;

    while ((link = list_take_first(&e->ready)))
        finish_piece(list_entry(link, struct piece, link)->job, e->failed);
    while ((link = list_take_first(&e->waiting)))
        answer(e, list_entry(link, struct request, link), e->failed);
}

static void pump(struct engine *e)
{
    if (e->pumping) {
        e->pump_again = true;
        return;
    }
    e->pumping = true;
    do {
        e->pump_again = false;
        if (e->failed) {
            fail_all(e);
        } else if (e->source) {
            while (!e->failed && e->counters.asks_in_flight < e->info.in_flight_max &&
                   !list_is_empty(&e->ready))
                ask_first(e);
            if (!e->failed && list_is_empty(&e->ready) && !list_is_empty(&e->waiting) &&
                admit_first(e))
                e->pump_again = true;
        }
    } while (e->pump_again);
    e->pumping = false;
}

void engine_set_source(struct engine *e, struct source *source, const struct source_info *info)
{
    e->source = source;
    e->info = *info;
    pump(e);
}

void engine_fail(struct engine *e, int error)
{
    e->failed = error;
    e->source = NULL;
    pump(e);
}

void engine_submit(struct engine *e, struct request *request)
{
    request->job = NULL;
    request->segment_count = 0;
    e->counters.requests_open++;
    list_append(&e->waiting, &request->link);
    pump(e);
}

void engine_release(struct engine *e, struct request *request)
{
    if (request->job)
        free_job(e, request->job);
    request->job = NULL;
    pump(e);
}

void engine_get_counters(const struct engine *e, struct engine_counters *out)
{
    *out = e->counters;
}
