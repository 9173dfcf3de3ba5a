/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine of a drive: requests in, pieces out to the source, answers back.
 *
 * A request becomes a *job*: memory for the range it covers (a read's widened to the source's block
 * size, a write's data copied, so that the far end may have it longer than the machine waits), and
 * pieces no longer than the source accepts. Every piece stands in one of two places: in `ready`, in
 * the order the machine asked, or at the source. A request whose memory would pass the bound waits,
 * and so do all behind it, so none can starve.
 *
 * Who owns what: the request is its export's; its job is the engine's from admission until
 * engine_release() (or until the answer, if that was an error). A request that is answered before
 * its job is through leaves the job behind: it goes with its last piece. The source is its owner's.
 *
 * What always holds: `memory` is the sum of all jobs' memory and never passes cache_max; the asks
 * in flight never pass the source's in_flight_max; a request is answered exactly once.
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
    uint64_t order;
    struct engine_job *job;
    struct list link; /* in ready */
};

struct engine_job {
    struct engine *engine;
    struct request *request; /* NULL: it has been answered, and what comes is of no use */
    uint8_t *memory;         /* NULL for a flush */
    size_t memory_length;    /* bytes */
    uint32_t skip;           /* bytes of memory before the request's first */
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
    uint64_t order;
    struct list waiting; /* of requests not yet admitted */
    struct list by_age;  /* of all requests not yet answered */
    struct list ready;   /* of pieces */
};

int engine_new(const struct engine_config *config, struct engine **out)
{
    struct engine *e = calloc(1, sizeof *e);

    if (!e)
        return -ENOMEM;
    e->config = *config;
    list_init(&e->waiting);
    list_init(&e->by_age);
    list_init(&e->ready);
    *out = e;
    return 0;
}

void engine_free(struct engine *e)
{
    free(e);
}

/* ---- answering ---- */

static void set_alarm(struct engine *e)
{
    uint64_t at = UINT64_MAX;

    if (e->config.request_limit == 0)
        return;
    if (!list_is_empty(&e->by_age))
        at = list_entry(e->by_age.next, struct request, by_age)->since + e->config.request_limit;
    e->config.host.set_alarm(e->config.host.arg, at);
}

static void count_answer(struct engine_counters *n, const struct request *r, int error)
{
    n->requests_open--;
    n->requests++;
    n->errors += error != 0;
    if (r->op == REQUEST_READ) {
        n->reads++;
        n->bytes_read += error ? 0 : r->length;
    } else if (r->op != REQUEST_FLUSH) {
        n->writes++;
        n->bytes_written += error || r->op != REQUEST_WRITE ? 0 : r->length;
    }
}

static void answer(struct engine *e, struct request *request, int error)
{
    bool was_oldest = e->by_age.next == &request->by_age;

    list_remove(&request->by_age);
    count_answer(&e->counters, request, error);
    if (was_oldest)
        set_alarm(e);
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

    if (request && !error) {
        show_segments(job);
    } else {
        free_job(e, job);
        if (request)
            request->job = NULL;
    }
    if (request)
        answer(e, request, error);
}

static void finish_piece(struct engine_job *job, int error)
{
    if (error && !job->error)
        job->error = error;
    if (--job->pieces_left == 0)
        finish_job(job);
}

/* ---- asking ---- */

static void pump(struct engine *e);

/* Into its old place: what was asked first is asked first again. */
static void make_ready(struct engine *e, struct piece *piece)
{
    struct list *after = e->ready.prev;

    while (after != &e->ready && list_entry(after, struct piece, link)->order > piece->order)
        after = after->prev;
    list_append(after->next, &piece->link);
}

static void piece_answered(struct source_request *ask, int error)
{
    struct piece *piece = list_entry(ask, struct piece, ask);
    struct engine_job *job = piece->job;
    struct engine *e = job->engine;

    e->counters.asks_in_flight--;
    e->counters.bytes_in_flight -= ask->length;
    if (!error && ask->op == SOURCE_READ) {
        e->counters.bytes_fetched += ask->length;
        e->counters.bytes_zero += ask->zero_bytes;
        e->counters.bytes_copied += ask->copied_bytes;
        job->zero_bytes += ask->zero_bytes;
    }
    if (error == SOURCE_LOST && job->request && !e->failed)
        make_ready(e, piece);
    else
        finish_piece(job, error == SOURCE_LOST ? -EIO : error);
    /* A source that has lost its far end is not asked from inside that news. */
    if (error == SOURCE_LOST)
        e->source = NULL;
    pump(e);
}

/* The range the source must be asked for: a read's widened to whole blocks. */
static void widen(const struct engine *e, const struct request *r, uint64_t *from, uint64_t *to)
{
    uint64_t mask = r->op == REQUEST_READ ? (uint64_t)e->info.block_min - 1 : 0;

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

static enum source_op source_op_of(enum request_op op)
{
    switch (op) {
    case REQUEST_WRITE:
        return SOURCE_WRITE;
    case REQUEST_FLUSH:
        return SOURCE_FLUSH;
    case REQUEST_TRIM:
        return SOURCE_TRIM;
    case REQUEST_WRITE_ZEROES:
        return SOURCE_WRITE_ZEROES;
    default:
        return SOURCE_READ;
    }
}

/* `memory`: where a read's bytes go, and where a write's are. */
static void add_piece(struct engine_job *job, unsigned index, uint64_t offset, uint32_t length,
                      uint8_t *memory)
{
    struct piece *piece = &job->pieces[index];
    const struct request *r = job->request;

    piece->job = job;
    piece->order = job->engine->order++;
    piece->part = (struct part){memory, length};
    piece->ask = (struct source_request){
        .op = source_op_of(r->op),
        .fua = r->fua,
        .no_hole = r->no_hole,
        .offset = offset,
        .length = length,
        .complete = piece_answered,
    };
    if (r->op == REQUEST_READ) {
        piece->ask.parts = &piece->part;
        piece->ask.part_count = 1;
    } else {
        piece->ask.data = memory;
    }
    list_init(&piece->ask.link);
    list_init(&piece->link);
    make_ready(job->engine, piece);
}

static bool has_memory(const struct request *r)
{
    return r->op == REQUEST_READ || r->op == REQUEST_WRITE;
}

static bool plan(struct engine *e, struct request *r, uint64_t from, uint64_t to)
{
    uint64_t step = has_memory(r) ? e->info.length_max : UINT64_MAX;
    unsigned pieces = has_memory(r) ? (unsigned)((to - from + step - 1) / step) : 1;
    struct engine_job *job = new_job(e, r, pieces, has_memory(r) ? (size_t)(to - from) : 0);

    if (!job)
        return false;
    job->skip = (uint32_t)(r->offset - from);
    if (r->op == REQUEST_WRITE)
        memcpy(job->memory, r->data, r->length);
    for (unsigned i = 0; i < pieces; i++) {
        uint64_t at = from + i * step;
        uint64_t length = to - at < step ? to - at : step;

        add_piece(job, i, at, (uint32_t)length, job->memory ? job->memory + (at - from) : NULL);
    }
    if (r->op != REQUEST_READ && r->op != REQUEST_FLUSH && e->config.host.wrote)
        e->config.host.wrote(e->config.host.arg, r->offset, r->length);
    return true;
}

/* What the far end cannot do: a flush of nothing and a hint are done at once. */
static bool answer_without(struct engine *e, struct request *r)
{
    if ((r->op == REQUEST_FLUSH && !e->info.can_flush) ||
        (r->op == REQUEST_TRIM && !e->info.can_trim))
        answer(e, r, 0);
    else if (r->op == REQUEST_WRITE_ZEROES && !e->info.can_write_zeroes)
        answer(e, r, -EOPNOTSUPP);
    else
        return false;
    return true;
}

/* Turns the oldest waiting request into pieces; false if it has to wait on. */
static bool admit_first(struct engine *e)
{
    struct request *r = list_entry(e->waiting.next, struct request, link);
    uint64_t from = 0;
    uint64_t to = 0;

    widen(e, r, &from, &to);
    if (has_memory(r) && e->counters.memory + (to - from) > e->config.cache_max)
        return false;
    list_remove(&r->link);
    if (!answer_without(e, r) && !plan(e, r, from, to))
        answer(e, r, -ENOMEM);
    return true;
}

static void ask_first(struct engine *e)
{
    struct piece *piece = list_entry(list_take_first(&e->ready), struct piece, link);

    e->counters.asks++;
    e->counters.asks_in_flight++;
    e->counters.bytes_in_flight += piece->ask.length;
    source_submit(e->source, &piece->ask);
}

/* Answers a request whose job, if it has one, goes when its last piece does. */
static void give_up(struct engine *e, struct request *r, int error)
{
    struct engine_job *job = r->job;

    list_remove(&r->link);
    r->job = NULL;
    if (job) {
        job->request = NULL;
        list_for_each_safe (it, &e->ready) {
            struct piece *piece = list_entry(it, struct piece, link);

            if (piece->job != job)
                continue;
            list_remove(it);
            job->pieces_left--;
        }
        if (job->pieces_left == 0)
            free_job(e, job);
    }
    answer(e, r, error);
}

static void give_up_all(struct engine *e, int error)
{
    while (!list_is_empty(&e->by_age))
        give_up(e, list_entry(e->by_age.next, struct request, by_age), error);
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
        if (e->failed)
            give_up_all(e, e->failed);
        while (e->source && e->counters.asks_in_flight < e->info.in_flight_max &&
               !list_is_empty(&e->ready))
            ask_first(e);
        if (e->source && list_is_empty(&e->ready) && !list_is_empty(&e->waiting) && admit_first(e))
            e->pump_again = true;
    } while (e->pump_again);
    e->pumping = false;
}

/* ---- the public face ---- */

void engine_set_source(struct engine *e, struct source *source, const struct source_info *info)
{
    e->source = source;
    e->info = *info;
    e->failed = 0;
    pump(e);
}

void engine_suspend(struct engine *e)
{
    e->counters.suspensions++;
    e->source = NULL;
}

void engine_fail(struct engine *e, int error)
{
    e->failed = error;
    e->source = NULL;
    pump(e);
}

void engine_submit(struct engine *e, struct request *request)
{
    bool first = list_is_empty(&e->by_age);

    request->job = NULL;
    request->segment_count = 0;
    request->since = e->config.host.now ? e->config.host.now(e->config.host.arg) : 0;
    e->counters.requests_open++;
    list_append(&e->waiting, &request->link);
    list_append(&e->by_age, &request->by_age);
    if (first)
        set_alarm(e);
    pump(e);
}

void engine_release(struct engine *e, struct request *request)
{
    if (request->job)
        free_job(e, request->job);
    request->job = NULL;
    pump(e);
}

void engine_tick(struct engine *e)
{
    uint64_t limit = e->config.request_limit;
    uint64_t now = e->config.host.now(e->config.host.arg);

    while (limit > 0 && !list_is_empty(&e->by_age)) {
        struct request *r = list_entry(e->by_age.next, struct request, by_age);

        if (r->since + limit > now)
            break;
        give_up(e, r, -EIO);
    }
    set_alarm(e);
    pump(e);
}

bool engine_peek(const struct engine *e, uint64_t offset, uint32_t length, const uint8_t **data)
{
    /* Nothing is kept beyond the request it was fetched for. */
    (void)e;
    (void)offset;
    (void)length;
    (void)data;
    return false;
}

unsigned engine_sample(const struct engine *e, uint64_t *offsets, unsigned room)
{
    (void)e;
    (void)offsets;
    (void)room;
    return 0;
}

void engine_get_counters(const struct engine *e, struct engine_counters *out)
{
    *out = e->counters;
}
