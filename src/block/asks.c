/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks to the source for pages of the medium.
 *
 * An ask is a run of missing pages, over as many blocks as it takes, decoded by the source straight
 * into the blocks' memory. Its pages are `asked` in their blocks from the moment it is made, so
 * whoever needs one of them later joins it and no page is ever asked for twice at once.
 *
 * Who owns what: an ask is allocated here and freed when it is answered or taken back. It pins its
 * blocks. A demand ask has an owner, the read it was made for, and fails with it. What others had
 * joined is then asked again by themselves: an error may be a neighbour's.
 *
 * What goes first: a small demand ask goes as soon as the source takes one more; a large one while
 * demand alone does not fill the window; a prefetch only when all demand is out, the window has
 * room, and a quarter of the source's places stays free for demand. Of a few places each carries
 * much of what the line can, so there reading ahead may take them all: the next to come free is
 * demand's.
 *
 * A host's one command comes here in several reads. What of them had to queue leaves joined, in
 * asks as long as they may be.
 *
 * A lost ask that a read waits for goes back into its queue, in its old place; a lost prefetch is
 * forgotten.
 */
#include "block/asks.h"

#include <stdlib.h>

#include "block/prefetch.h"
#include "block/reads.h"

/* Up to this, a demand ask delays the others less than it would suffer from them. Bytes. */
#define SMALL_ASK (32u << 10)
/* So many places a far end has at most if it has few. */
#define PLACES_FEW 8

void asks_init(struct asks *asks)
{
    list_init(&asks->small);
    list_init(&asks->large);
    line_init(&asks->line, 1);
}

uint32_t asks_length_max(const struct engine *e)
{
    uint32_t most = line_ask_size(&e->asks.line);

    if (most > e->info.length_max)
        most = e->info.length_max;
    if (most > ASK_LENGTH_MAX)
        most = ASK_LENGTH_MAX;
    most &= ~(e->unit - 1);
    /* The source takes less than a unit only if the medium is no longer than that. */
    return most > 0 ? most : e->unit;
}

/* ---- making them ---- */

/* The first page at or after `at` that is neither present nor asked for; `to` if there is none. */
static uint64_t next_missing(const struct engine *e, uint64_t at, uint64_t to)
{
    while (at < to) {
        const struct cache_block *b = cache_look(e->cache, at / CACHE_BLOCK);
        uint32_t page = (uint32_t)(at % CACHE_BLOCK / CACHE_PAGE);

        if (!b || !((b->present | b->asked) & 1u << page))
            return at;
        at += CACHE_PAGE;
    }
    return to;
}

/* How many pages from `page` on are missing in a row, at most `most`. */
static uint32_t run_of(const struct cache_block *b, uint32_t page, uint32_t most)
{
    uint32_t run = 0;

    while (run < most && page + run < CACHE_BLOCK_PAGES &&
           !((b->present | b->asked) & 1u << (page + run)))
        run++;
    return run;
}

/* Adds missing pages of the block at `at`, at most `most` bytes; returns the bytes covered. */
static uint32_t add_span(struct engine *e, struct ask *ask, uint64_t at, uint32_t most)
{
    uint32_t page = (uint32_t)(at % CACHE_BLOCK / CACHE_PAGE);
    struct cache_block *b = cache_pin(e->cache, at / CACHE_BLOCK);
    uint32_t run = b ? run_of(b, page, most / CACHE_PAGE) : 0;
    uint64_t left = e->info.size - at;

    if (run == 0 || !cache_give_memory(e->cache, b)) {
        if (b)
            cache_unpin(e->cache, b);
        return 0;
    }

    uint16_t pages = cache_pages(page * CACHE_PAGE, (page + run) * CACHE_PAGE);
    uint32_t length = run * CACHE_PAGE;

    b->asked |= pages;
    if (ask->kind == ASK_AHEAD)
        b->unread |= pages;
    ask->spans[ask->span_count] = (struct ask_span){.block = b, .pages = pages};
    ask->parts[ask->span_count] = (struct part){
        .data = b->memory + (size_t)page * CACHE_PAGE,
        .length = left < length ? (uint32_t)left : length,
    };
    ask->request.length += ask->parts[ask->span_count++].length;
    return length;
}

static void ask_answered(struct source_request *request, int error);

/* An ask for the first missing run in [*at, to), or NULL; *at moves behind it. */
static struct ask *make(struct engine *e, uint64_t *at, uint64_t to, enum ask_kind kind)
{
    uint64_t begin = next_missing(e, *at, to);
    uint32_t most = asks_length_max(e);
    struct ask *ask;

    *at = begin;
    if (begin == to)
        return NULL;
    ask = calloc(1, sizeof *ask);
    if (!ask)
        return NULL;
    ask->kind = kind;
    ask->engine = e;
    ask->order = e->asks.order++;
    ask->request = (struct source_request){.op = SOURCE_READ, .offset = begin};
    while (*at < to && *at - begin < most && ask->span_count < ASK_SPANS_MAX) {
        uint64_t room = to - *at < most - (*at - begin) ? to - *at : most - (*at - begin);
        uint32_t step = add_span(e, ask, *at, (uint32_t)room);

        *at += step;
        if (step == 0 || *at % CACHE_BLOCK != 0)
            break;
    }
    if (ask->span_count == 0) {
        free(ask);
        return NULL;
    }
    ask->request.parts = ask->parts;
    ask->request.part_count = ask->span_count;
    ask->request.complete = ask_answered;
    list_init(&ask->request.link);
    list_init(&ask->link);
    list_init(&ask->of_read);
    return ask;
}

/* In its place by order: what was asked for first goes first, also after a loss. */
static void enqueue(struct engine *e, struct ask *ask)
{
    struct list *queue = ask->request.length <= SMALL_ASK ? &e->asks.small : &e->asks.large;
    struct list *after = queue->prev;

    while (after != queue && list_entry(after, struct ask, link)->order > ask->order)
        after = after->prev;
    list_append(after->next, &ask->link);
    ask->queued = true;
}

bool asks_demand(struct engine *e, struct read *read)
{
    uint64_t from = read->from;
    uint64_t to = read->to;

    widen(e->unit, &from, &to);
    while (from < to) {
        struct ask *ask = make(e, &from, to, ASK_DEMAND);

        if (!ask)
            break;
        ask->owner = read;
        list_append(&read->asks, &ask->of_read);
        enqueue(e, ask);
    }
    return from == to;
}

/* ---- their end ---- */

static void free_ask(struct engine *e, struct ask *ask)
{
    list_remove(&ask->of_read);
    list_remove(&ask->link);
    for (unsigned i = 0; i < ask->span_count; i++)
        cache_unpin(e->cache, ask->spans[i].block);
    free(ask);
}

/* Its pages do not come by it. */
static void give_up(struct engine *e, struct ask *ask)
{
    for (unsigned i = 0; i < ask->span_count; i++) {
        ask->spans[i].block->asked &= (uint16_t)~ask->spans[i].pages;
        ask->spans[i].block->unread &= (uint16_t)~ask->spans[i].pages;
    }
    for (unsigned i = 0; i < ask->span_count; i++)
        reads_ask_again(e, ask->spans[i].block);
    if (ask->kind == ASK_AHEAD)
        readahead_drop(&e->readahead, ask->request.offset);
    free_ask(e, ask);
}

static void count_fetched(struct engine *e, const struct ask *ask)
{
    struct engine_counters *n = &e->counters;

    n->bytes_fetched += ask->request.length;
    n->bytes_zero += ask->request.zero_bytes;
    n->bytes_copied += ask->request.copied_bytes;
    if (ask->kind == ASK_AHEAD)
        n->bytes_ahead += ask->request.length;
    else if (ask->kind == ASK_WARM)
        n->bytes_warmed += ask->request.length;
}

static void take_pages(struct engine *e, struct ask *ask)
{
    bool zero = ask->request.zero_bytes == ask->request.length;
    uint64_t at = ask->request.offset;

    count_fetched(e, ask);
    for (unsigned i = 0; i < ask->span_count; i++) {
        struct cache_block *b = ask->spans[i].block;
        bool only = !b->present;

        b->asked &= (uint16_t)~ask->spans[i].pages;
        b->present |= ask->spans[i].pages;
        prefetch_saw(e, at, ask->parts[i].data, ask->parts[i].length);
        at += ask->parts[i].length;
        if (zero && only && !b->asked)
            cache_drop_memory(e->cache, b);
        reads_wake(e, b);
    }
    free_ask(e, ask);
}

static void count_out(struct engine *e, const struct ask *ask)
{
    e->counters.asks_in_flight--;
    e->asks.bytes -= ask->request.length;
    if (ask->kind == ASK_DEMAND)
        e->asks.demand_bytes -= ask->request.length;
}

static void ask_answered(struct source_request *request, int error)
{
    struct ask *ask = list_entry(request, struct ask, request);
    struct engine *e = ask->engine;

    engine_enter(e);
    count_out(e, ask);
    if (error == SOURCE_LOST) {
        line_lost(&e->asks.line, &ask->mark);
        e->source = NULL; /* never asked from inside the news that it is lost */
    } else {
        line_answered(&e->asks.line, &ask->mark, error ? 0 : request->length - request->zero_bytes,
                      engine_now(e));
    }
    if (!error) {
        take_pages(e, ask);
    } else if (error == SOURCE_LOST && ask->owner) {
        enqueue(e, ask);
    } else {
        if (ask->owner)
            reads_note_end(e, ask->owner, error);
        give_up(e, ask);
    }
    engine_leave(e);
}

void asks_abandon(struct engine *e, struct read *read)
{
    struct list *link;

    while ((link = list_take_first(&read->asks))) {
        struct ask *ask = list_entry(link, struct ask, of_read);

        ask->owner = NULL;
        if (ask->queued)
            give_up(e, ask);
    }
}

static void take_back(struct engine *e, struct list *queue)
{
    while (!list_is_empty(queue)) {
        struct ask *ask = list_entry(queue->next, struct ask, link);

        for (unsigned i = 0; i < ask->span_count; i++)
            ask->spans[i].block->asked &= (uint16_t)~ask->spans[i].pages;
        free_ask(e, ask);
    }
}

void asks_replan(struct engine *e)
{
    take_back(e, &e->asks.small);
    take_back(e, &e->asks.large);
    reads_replan(e);
}

/* ---- sending them ---- */

static void send(struct engine *e, struct ask *ask)
{
    list_remove(&ask->link);
    ask->queued = false;
    e->counters.asks++;
    e->counters.asks_in_flight++;
    e->asks.bytes += ask->request.length;
    if (ask->kind == ASK_DEMAND)
        e->asks.demand_bytes += ask->request.length;
    line_asked(&e->asks.line, &ask->mark, ask->request.length, engine_now(e));
    source_submit(e->source, &ask->request);
}

/*
 * Takes in the ask behind it in its queue, if that goes on where this one ends. The other's read
 * has then joined this ask, as if it had come later. False: there is none, or it would be too long.
 */
static bool take_in_next(struct engine *e, struct ask *ask, const struct list *queue)
{
    struct ask *next = list_entry(ask->link.next, struct ask, link);

    if (ask->link.next == queue ||
        next->request.offset != ask->request.offset + ask->request.length ||
        ask->request.length + next->request.length > asks_length_max(e) ||
        ask->span_count + next->span_count > ASK_SPANS_MAX)
        return false;
    for (unsigned i = 0; i < next->span_count; i++) {
        ask->spans[ask->span_count] = next->spans[i];
        ask->parts[ask->span_count++] = next->parts[i];
    }
    ask->request.length += next->request.length;
    ask->request.part_count = ask->span_count;
    next->span_count = 0; /* its blocks are pinned for this one now */
    free_ask(e, next);
    return true;
}

void asks_send(struct engine *e)
{
    while (e->source && e->log.replaying == 0 &&
           e->counters.asks_in_flight < e->info.in_flight_max) {
        struct list *from = &e->asks.small;
        struct ask *ask;

        if (list_is_empty(from)) {
            from = &e->asks.large;
            if (e->asks.demand_bytes >= line_window(&e->asks.line))
                return;
        }
        if (list_is_empty(from))
            return;
        ask = list_entry(from->next, struct ask, link);
        while (take_in_next(e, ask, from))
            ;
        send(e, ask);
    }
}

bool asks_leave_room(const struct engine *e, enum ask_kind kind)
{
    unsigned places = e->info.in_flight_max;
    unsigned reserve = kind == ASK_AHEAD && places <= PLACES_FEW ? 0 : places / 4;

    return e->source && e->log.replaying == 0 && list_is_empty(&e->asks.small) &&
           list_is_empty(&e->asks.large) && e->counters.asks_in_flight < places - reserve &&
           e->asks.bytes < line_window(&e->asks.line);
}

bool asks_fetch(struct engine *e, uint64_t *at, uint64_t to, enum ask_kind kind)
{
    struct ask *ask = make(e, at, to, kind);

    if (!ask)
        return false;
    send(e, ask);
    return true;
}
