// SPDX-License-Identifier: Apache-2.0
/*
 * A deed is cut into pieces; each piece is one ask of the engine, and many are asked at once, as
 * far as the port has room. Their answers are dealt with in order:
 *
 *     READ            piece: a part of the range     answer: its bytes are sent
 *     CHECK           the same                       nothing but its error counts
 *     WRITE           what one receive has brought   likewise
 *     COMPARE         the same, read                 its bytes are compared with what was brought
 *     FILL ZERO TRIM  a part of the range            nothing but its error counts
 *     FLUSH           once, when nothing is owed     likewise
 *     READY           none                           waits for the link
 *
 * Pieces end where the engine's blocks end, for the sake of its cache, and all but the last are
 * multiples of the longest packet, so that no packet of a READ is short before its end.
 *
 * Who owns what: the asks in `asks` are this deed's until they are released or left behind. What is
 * sent is copied by the kernel at once, so a read's segments go back to the engine when the last of
 * them has been handed over, whether the machine fetches it or not.
 *
 * What always holds: a write is over only when every byte that the endpoint was called for has come
 * (or the machine has ended with a short packet): a receive cannot be taken back without losing
 * count of what the controller has acknowledged. In write-through mode, or with FUA, every ask has
 * been answered then, in write-back mode all have been made, and are left behind owed.
 */
#include "export/usb-medium.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/minmax.h"
#include "block/cache.h"
#include "export/usb-ask.h"
#include "export/usb-pipe.h"

#define PACKET_MAX 1024u
/* Zeroing moves no data where the far end knows of it; this is for progress to show where not. */
#define ZERO_PIECE (4u << 20)
/* What is answered at once (from the cache, say) keeps the loop no longer than so many times the
 * port's asks. */
#define ROUNDS_MAX 4

/* As long as any piece, and so as any of its segments. */
static const uint8_t zeroes[CACHE_BLOCK];

static bool receives(const struct usb_medium *m)
{
    return m->deed.kind == SCSI_WRITE || m->deed.kind == SCSI_COMPARE;
}

static bool is_change(const struct usb_medium *m)
{
    switch (m->deed.kind) {
    case SCSI_WRITE:
    case SCSI_FILL:
    case SCSI_ZERO:
    case SCSI_TRIM:
    case SCSI_FLUSH:
        return true;
    default:
        return false;
    }
}

static bool acknowledges_early(const struct usb_medium *m)
{
    return m->deed.kind == SCSI_WRITE && usb_port_writes_back(m->port) && !m->deed.fua;
}

static void leave_all(struct usb_medium *m, bool owed)
{
    struct list *link;

    while ((link = list_take_first(&m->asks)))
        usb_ask_leave(list_entry(link, struct usb_ask, link), owed);
}

static void finish(struct usb_medium *m)
{
    m->over = true;
    m->active = false;
}

void usb_medium_begin(struct usb_medium *m, struct usb_port *port, struct usb_pipe *pipe,
                      const struct scsi_deed *deed)
{
    *m = (struct usb_medium){.port = port, .pipe = pipe, .deed = *deed, .active = true};
    list_init(&m->asks);
}

/* The first cause counts. What has been asked is of no use any more. */
static void fail(struct usb_medium *m, enum scsi_cause cause)
{
    if (m->cause == SCSI_FINE)
        m->cause = cause;
    leave_all(m, false);
}

void usb_medium_give_up(struct usb_medium *m, enum scsi_cause cause)
{
    fail(m, cause);
    usb_medium_step(m);
}

void usb_medium_drop(struct usb_medium *m)
{
    if (m->active)
        leave_all(m, false);
    m->active = false;
}

/* ---- pieces ---- */

/* Of `left` bytes from `at` on, of which all before were multiples of PACKET_MAX. */
static uint32_t piece_length(uint64_t at, uint64_t left)
{
    uint32_t length = CACHE_BLOCK - (uint32_t)(at % CACHE_BLOCK);

    length -= length % PACKET_MAX;
    if (length == 0)
        length = CACHE_BLOCK;
    return (uint32_t)min_u64(length, left);
}

static bool ask(struct usb_medium *m, const struct request *want, uint8_t *buffer)
{
    struct usb_ask *a = usb_port_ask(m->port, want, buffer);

    if (a)
        list_append(&m->asks, &a->link);
    return a;
}

/* READ, CHECK: as much as there is room for. */
static void ask_reads(struct usb_medium *m)
{
    while (m->asked < m->deed.length) {
        uint64_t at = m->deed.offset + m->asked;
        uint32_t length = piece_length(at, m->deed.length - m->asked);

        if (!ask(m, &(struct request){.op = REQUEST_READ, .offset = at, .length = length}, NULL))
            return;
        m->asked += length;
    }
}

/* The deed's block again and again; the range is whole blocks, and so is every piece. */
static uint8_t *filled(const struct usb_medium *m, uint32_t length)
{
    uint8_t *bytes = malloc(length);

    for (uint32_t i = 0; bytes && i < length; i += m->deed.block_length)
        memcpy(bytes + i, m->deed.data, m->deed.block_length);
    return bytes;
}

static bool ask_fill(struct usb_medium *m)
{
    uint32_t whole = CACHE_BLOCK - CACHE_BLOCK % m->deed.block_length;
    uint32_t length = (uint32_t)min_u64(whole, m->deed.length - m->asked);
    struct request want = {
        .op = REQUEST_WRITE,
        .fua = m->deed.fua,
        .offset = m->deed.offset + m->asked,
        .length = length,
    };
    uint8_t *bytes = usb_port_has_room(m->port) ? filled(m, length) : NULL;

    m->later = !bytes && usb_port_has_room(m->port);
    if (!bytes)
        return false;
    if (!ask(m, &want, bytes)) {
        free(bytes);
        return false;
    }
    m->asked += length;
    return true;
}

static bool ask_zero(struct usb_medium *m)
{
    uint32_t length = (uint32_t)min_u64(ZERO_PIECE, m->deed.length - m->asked);
    struct request want = {
        .op = REQUEST_WRITE_ZEROES,
        .fua = m->deed.fua,
        .no_hole = m->deed.no_hole,
        .offset = m->deed.offset + m->asked,
        .length = length,
    };

    if (!ask(m, &want, NULL))
        return false;
    m->asked += length;
    return true;
}

static bool ask_trim(struct usb_medium *m)
{
    const struct scsi_range *range = &m->deed.ranges[m->range];
    uint32_t length = (uint32_t)min_u64(ZERO_PIECE, range->length - m->asked);
    /* Not REQUEST_TRIM: the drive says that what was trimmed reads as zeroes (LBPRZ). */
    struct request want = {
        .op = REQUEST_WRITE_ZEROES,
        .offset = range->offset + m->asked,
        .length = length,
    };

    if (length > 0 && !ask(m, &want, NULL))
        return false;
    m->asked += length;
    if (m->asked == range->length) {
        m->range++;
        m->asked = 0;
    }
    return true;
}

/* Whether every piece has been asked. */
static bool all_asked(const struct usb_medium *m)
{
    switch (m->deed.kind) {
    case SCSI_WRITE:
    case SCSI_COMPARE:
        return m->ended && m->pipe->receiving == 0;
    case SCSI_TRIM:
        return m->range == m->deed.range_count;
    case SCSI_FLUSH:
        return m->asked > 0;
    case SCSI_READY:
        return usb_port_link(m->port) == EXPORT_LINK_LIVE;
    default:
        return m->asked == m->deed.length;
    }
}

static void ask_flush(struct usb_medium *m)
{
    enum scsi_cause lost;

    if (usb_port_is_dirty(m->port))
        return;
    lost = usb_port_lost(m->port);
    if (lost != SCSI_FINE)
        fail(m, lost);
    else if (ask(m, &(struct request){.op = REQUEST_FLUSH}, NULL))
        m->asked = 1;
}

static void ask_more(struct usb_medium *m)
{
    switch (m->deed.kind) {
    case SCSI_READ:
    case SCSI_CHECK:
        ask_reads(m);
        break;
    case SCSI_FILL:
        while (!all_asked(m) && ask_fill(m))
            ;
        break;
    case SCSI_ZERO:
        while (!all_asked(m) && ask_zero(m))
            ;
        break;
    case SCSI_TRIM:
        while (!all_asked(m) && ask_trim(m))
            ;
        break;
    case SCSI_FLUSH:
        if (!all_asked(m))
            ask_flush(m);
        break;
    case SCSI_READY:
        if (usb_port_link(m->port) == EXPORT_LINK_FAILED)
            fail(m, SCSI_GONE);
        break;
    default:
        break;
    }
}

/* ---- what comes from the machine ---- */

/* As many receives as the endpoint takes, once; `ended`: no more are wanted. */
static void call(struct usb_medium *m)
{
    while (!m->ended && m->called < m->deed.length) {
        uint32_t length = piece_length(m->deed.offset + m->called, m->deed.length - m->called);
        int result = usb_pipe_receive(m->pipe, length);

        m->later = result == -ENOMEM;
        if (result < 0)
            return;
        m->called += length;
    }
    m->ended = true;
}

/* What one receive has brought goes to the engine. False: there is no room for it now. */
static bool hand_over(struct usb_medium *m, struct usb_receive *r)
{
    uint32_t length = (uint32_t)min_u64(r->got, r->wanted);
    struct request want = {
        .op = m->deed.kind == SCSI_WRITE ? REQUEST_WRITE : REQUEST_READ,
        .fua = m->deed.kind == SCSI_WRITE && m->deed.fua,
        .offset = m->deed.offset + m->moved,
        .length = length,
    };

    if (m->cause == SCSI_FINE && length > 0) {
        if (!ask(m, &want, r->buffer))
            return false;
        r->buffer = NULL;
    }
    m->moved += length;
    return true;
}

static void take_received(struct usb_medium *m)
{
    struct usb_receive *r;

    while ((r = usb_pipe_received(m->pipe))) {
        bool is_short = r->got < r->wanted;

        if (!hand_over(m, r))
            return;
        usb_pipe_taken(m->pipe);
        if (is_short) {
            /* Nothing comes in those behind it. */
            m->ended = true;
            usb_pipe_drop_receives(m->pipe);
        }
    }
}

/* ---- answers ---- */

/* The next bytes of the first ask, in one transfer. False: not now. */
static bool send_some(struct usb_medium *m, const struct usb_ask *a)
{
    const struct request *r = &a->request;
    struct iovec iov[REQUEST_SEGMENTS_MAX];
    uint32_t skip = m->sent;
    uint32_t left = USB_MEDIUM_SEND;
    unsigned count = 0;
    int result;

    for (unsigned i = 0; i < r->segment_count && left > 0; i++) {
        const struct request_segment *s = &r->segments[i];
        uint32_t length = s->length > skip ? (uint32_t)min_u64(s->length - skip, left) : 0;

        if (length > 0) {
            const uint8_t *from = s->data ? s->data + skip : zeroes;

            iov[count++] = (struct iovec){(void *)(uintptr_t)from, length};
            skip = 0;
            left -= length;
        } else {
            skip -= s->length;
        }
    }
    result = usb_pipe_send(m->pipe, iov, count, true);
    m->later = result == -ENOMEM;
    if (result < 0)
        return false;
    m->sent += USB_MEDIUM_SEND - left;
    m->moved += USB_MEDIUM_SEND - left;
    return true;
}

static bool differs(const struct usb_ask *a)
{
    const uint8_t *at = a->buffer;

    for (unsigned i = 0; i < a->request.segment_count; i++) {
        const struct request_segment *s = &a->request.segments[i];

        if (memcmp(at, s->data ? s->data : zeroes, s->length) != 0)
            return true;
        at += s->length;
    }
    return false;
}

/* Deals with the first answer. False: it can not be dealt with now. */
static bool take_answer(struct usb_medium *m, struct usb_ask *a)
{
    if (a->error) {
        m->answers++;
        fail(m, usb_port_cause(m->port, a->error, is_change(m)));
        return true;
    }
    if (m->deed.kind == SCSI_READ) {
        while (m->sent < a->request.length)
            if (!send_some(m, a))
                return false;
        m->sent = 0;
    } else if (m->deed.kind == SCSI_COMPARE && differs(a)) {
        fail(m, SCSI_MISCOMPARE);
        return true;
    } else if (m->deed.kind == SCSI_CHECK) {
        m->moved += a->request.length;
    }
    m->answers++;
    usb_ask_release(a);
    return true;
}

static struct usb_ask *first_ask(const struct usb_medium *m)
{
    return list_is_empty(&m->asks) ? NULL : list_entry(m->asks.next, struct usb_ask, link);
}

static void take_answers(struct usb_medium *m)
{
    struct usb_ask *a;

    while ((a = first_ask(m)) && a->answered)
        if (!take_answer(m, a))
            return;
}

/* ---- the whole ---- */

/* Once round: what there is to receive, to ask, to answer. */
static void go_round(struct usb_medium *m)
{
    if (receives(m)) {
        if (m->cause == SCSI_FINE)
            call(m);
        take_received(m);
    } else if (m->cause == SCSI_FINE) {
        ask_more(m);
    }
    take_answers(m);
}

void usb_medium_step(struct usb_medium *m)
{
    unsigned rounds = ROUNDS_MAX;
    unsigned answers;

    if (!m->active || m->pipe->error)
        return;
    m->later = false;
    if (m->cause == SCSI_FINE && usb_port_is_empty(m->port))
        fail(m, SCSI_GONE);
    do {
        answers = m->answers;
        go_round(m);
    } while (m->answers != answers && --rounds > 0);
    if (rounds == 0)
        m->later = true;
    if (m->cause != SCSI_FINE) {
        /* Only what the machine sends already is waited for. */
        if (!receives(m) || m->pipe->receiving == 0)
            finish(m);
    } else if (all_asked(m) && (list_is_empty(&m->asks) || acknowledges_early(m))) {
        leave_all(m, true);
        finish(m);
    }
}

bool usb_medium_waits(const struct usb_medium *m)
{
    const struct usb_ask *a = first_ask(m);

    if (!m->active || m->cause != SCSI_FINE)
        return false;
    if (a)
        return !a->answered && !(receives(m) && !all_asked(m) && !usb_pipe_received(m->pipe));
    if (receives(m))
        return usb_pipe_received(m->pipe);
    return true;
}
