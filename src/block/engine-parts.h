/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the engine share: the engine's own struct and the few structs that more than
 * one of them touches. Nobody else includes this.
 *
 *   engine.c    the public face: admission in order, deadlines, answers, the pump
 *   reads.c     a read: which pages it needs, waiting for them, showing them
 *   asks.c      read asks at the source: who asked for what, and what happens when it comes
 *   writes.c    writes, trims, zeroings: order against all that overlaps, pieces
 *   write-log.c what the far end has not made safe yet: kept, flushed, asked again
 *   holes.c     what the far end says is zero
 *   prefetch.c  read-ahead and warm-up, when nothing else wants the line
 *
 * The rule of re-entry: no callback of an export is called but from the pump, one at a time, with
 * no list held. All that finds a request to be through only notes it.
 */
#ifndef PLATTER_BLOCK_ENGINE_PARTS_H
#define PLATTER_BLOCK_ENGINE_PARTS_H

#include "block/cache.h"
#include "block/engine.h"
#include "block/extents.h"
#include "block/line.h"
#include "block/readahead.h"
#include "block/warm.h"

/* ---- reads ---- */

struct read_span {
    struct list link; /* in block->waiters, while pages of it are missing */
    struct read *read;
    struct cache_block *block; /* pinned */
    uint16_t need;
};

/* A read of the machine, or of a unit at the edge of a write. */
struct read {
    struct list link;    /* in engine.reads */
    struct list through; /* in engine.through, when it is known how it ended */
    struct request *request;
    struct write *edge_of; /* if there is no request */
    uint64_t from, to;     /* bytes of the medium, as asked */
    struct list asks;      /* that only this read has asked for */
    int error;
    bool ended;       /* an edge stays after its end, for its write to copy from */
    unsigned missing; /* spans that wait */
    unsigned span_count;
    struct read_span spans[];
};

/* ---- asks ---- */

/* The longest ask is 1 MiB, and may begin inside a block. */
#define ASK_LENGTH_MAX (1u << 20)
#define ASK_SPANS_MAX  (ASK_LENGTH_MAX / CACHE_BLOCK + 1)

enum ask_kind {
    ASK_DEMAND,
    ASK_AHEAD,
    ASK_WARM,
};

struct ask_span {
    struct cache_block *block; /* pinned */
    uint16_t pages;
};

struct ask {
    struct source_request request;
    struct engine *engine;
    enum ask_kind kind;
    struct read *owner;  /* the read it fails with; NULL: none, or none any more */
    struct list of_read; /* in owner->asks */
    struct list link;    /* in a queue, when it is not at the source */
    bool queued;
    uint64_t order;
    struct line_mark mark;
    unsigned span_count;
    struct ask_span spans[ASK_SPANS_MAX];
    struct part parts[ASK_SPANS_MAX];
};

struct asks {
    struct list small; /* demand that may go whatever else is in flight */
    struct list large; /* demand that keeps to the window */
    uint64_t order;
    uint64_t bytes;        /* of reads in flight */
    uint64_t demand_bytes; /* of these, demand */
    struct line line;
};

/* ---- writes ---- */

/* One part of a write at the source, or kept until it is known to be safe there. */
struct piece {
    struct source_request ask;
    struct engine *engine;
    struct list link;    /* in one of the log's lists */
    struct write *write; /* whose answer waits for it; NULL: none's any more */
    uint64_t order;
    uint64_t acked; /* when it was answered, as a number that only grows */
    bool replay;
    int frame; /* of the log, that holds its data; -1: none */
};

struct log_frame {
    uint8_t *memory;
    uint32_t used;
    unsigned live; /* pieces in it */
};

struct write_log {
    struct list replays; /* answered once, unsafe, and to be asked again before all else */
    struct list queue;   /* to be asked */
    struct list flight;  /* at the source */
    struct list done;    /* answered, and not known to be safe */
    struct list flushes; /* of struct flush, to be asked */
    struct list flushes_out;
    unsigned replaying; /* pieces in `replays`, and of them in `flight` */
    unsigned pieces;    /* alive */
    uint64_t order;
    uint64_t acked;
    bool flushing_itself;
    int broken; /* what the next flush has to tell: an answered write is lost */
    struct log_frame *frames;
    int frame_count;
    int frame; /* the one being filled; -1: none */
};

/* A write, trim or zeroing, from admission until the far end has answered all of it. */
struct write {
    struct list link; /* in engine.writes */
    struct engine *engine;
    struct request *request; /* NULL: answered before its time */
    enum request_op op;
    uint64_t from, to; /* what no other request may touch meanwhile: whole units */
    uint64_t at, end;  /* what is still to be made pieces: whole blocks of the source */
    struct read *edges[2];
    unsigned edges_missing;
    unsigned pieces;  /* not yet answered */
    bool needs_flush; /* a piece that is safe by itself lies over one that is not */
    bool flushing;    /* its pieces are done; a flush makes them safe */
    int error;
};

/* A FLUSH at the source: a request's, a write's that must be safe, the log's own, or nobody's any
 * more. */
struct flush {
    struct source_request ask;
    struct engine *engine;
    struct list link;
    struct request *request;
    struct write *write;
    bool own;
    uint64_t covers; /* pieces answered before it left: `acked` up to this */
};

/* ---- the engine ---- */

struct engine {
    struct engine_config config;
    struct engine_counters counters;
    struct cache *cache;
    struct source *source; /* NULL: none to ask */
    struct source_info info;
    bool has_info;
    uint64_t early_since; /* how old a request is that is there before; UINT64_MAX: new */
    uint32_t unit; /* what is fetched: whole multiples of this, a page or the source's block */
    int failed;    /* 0, or what every request is answered with */
    unsigned busy; /* ways in that are under way */
    bool pumping;
    bool again;

    struct list waiting; /* requests not yet admitted, in order */
    struct list by_age;  /* requests whose end is not known */
    struct list answers; /* requests whose answer is to be told */
    struct list reads;   /* admitted, and not yet released */
    struct list through; /* reads whose end is known and not yet noted */
    struct list writes;  /* admitted, and not yet answered by the far end */
    struct asks asks;
    struct write_log log;

    struct extents extents;
    struct source_request question; /* about extents; extents.asking says whether it is out */
    struct source_extent question_room[EXTENTS_ROOM];
    uint64_t looking_at; /* where zeroes would be good to know of: what is read or fetched ahead */

    struct readahead readahead;
    struct readahead_want ahead; /* what is left of the range being fetched */
    struct warm warm;
    struct warm_range warming;
};

/* Every way in: after the last engine_leave() all that has become possible is done. */
void engine_enter(struct engine *e);
void engine_leave(struct engine *e);
/* The request is through: its answer goes out from the pump. */
void engine_answer(struct engine *e, struct request *request, int error);
uint64_t engine_now(const struct engine *e);

static inline bool ranges_meet(uint64_t from, uint64_t to, uint64_t other_from, uint64_t other_to)
{
    return from < other_to && other_from < to;
}

/* [from, to) widened to whole multiples of `unit`, a power of two, within the medium's last. */
static inline void widen(uint64_t unit, uint64_t *from, uint64_t *to)
{
    *from &= ~(unit - 1);
    *to = (*to + unit - 1) & ~(unit - 1);
}

#endif
