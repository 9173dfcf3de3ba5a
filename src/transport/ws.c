/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A WebSocket as a stream (base/stream.h).
 *
 * Sending. libwebsockets wants room before a message for its header, so bytes are copied from the
 * outs into one bounded chunk and the chunk is a message; the far end knows that message boundaries
 * mean nothing. What goes this way is requests, and the data of writes; the images that are read
 * come the other way. Text messages remember after how many outs they were told, and go out at that
 * place.
 *
 * Receiving. Pieces go up as libwebsockets gives them, from the buffer it has read them into;
 * nothing is ever put together. A far end that is held back for longer than web.c's keepalive
 * allows counts as dead, for its pongs are held back as well.
 *
 * Life. The owner holds the stream until stream_free(), libwebsockets holds it until
 * LWS_CALLBACK_CLOSED, and `busy` holds it while an event is under way; the last one frees it. So
 * any call may be made from inside any event. `over` says that no event may come again.
 */
#include "transport/ws.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/stream.h"
#include "base/utf8.h"

#define CHUNK_MAX      (16 * 1024)
#define TEXT_IN_MAX    4096 /* of a text message from the page */
#define NOTES_MAX      8    /* text messages waiting to go out; a page that reads never has two */
#define NOTE_MAX       1024
#define REASON_MAX     120
#define GOODBYE_MAX_US (2 * LWS_US_PER_SEC)

struct note {
    struct list link;
    uint64_t after; /* goes out when this many outs have */
    size_t length;
    unsigned char text[]; /* LWS_PRE bytes of room, then the message */
};

struct ws {
    struct stream base;
    enum web_page page;
    struct lws *wsi; /* NULL once it has closed */

    struct list outs;
    struct list written; /* outs that are sent, their `done` to be called */
    uint64_t outs_queued, outs_sent;
    size_t first_sent;   /* bytes of the first out that are sent */
    unsigned char *tail; /* LWS_PRE bytes of room, then what goes before the goodbye; or NULL */
    size_t tail_length;
    struct list notes;
    unsigned note_count;

    size_t text_in; /* bytes of the text message that is coming in */
    bool started;   /* the loop has turned since it was made: events may come */
    bool want_data;
    bool closing; /* our goodbye goes out when the queue is empty */
    bool said_goodbye;
    bool heard_goodbye;
    bool over;  /* no event may come again */
    bool freed; /* by its owner */
    unsigned busy;
    enum lws_close_status code;
    char reason[REASON_MAX + 1];
};

static const uint16_t codes[][2] = {
    [STREAM_CLOSE_NORMAL] = {[WEB_PAGE_OWN] = 1000, [WEB_PAGE_PLAIN] = 1000},
    [STREAM_CLOSE_EJECTED] = {[WEB_PAGE_OWN] = 4001, [WEB_PAGE_PLAIN] = 1000},
    [STREAM_CLOSE_REFUSED] = {[WEB_PAGE_OWN] = 4002, [WEB_PAGE_PLAIN] = 1011},
    [STREAM_CLOSE_BUSY] = {[WEB_PAGE_OWN] = 4003, [WEB_PAGE_PLAIN] = 1011},
    [STREAM_CLOSE_PROTOCOL] = {[WEB_PAGE_OWN] = 1002, [WEB_PAGE_PLAIN] = 1002},
    [STREAM_CLOSE_FAILED] = {[WEB_PAGE_OWN] = 4004, [WEB_PAGE_PLAIN] = 1011},
    [STREAM_CLOSE_SHUTDOWN] = {[WEB_PAGE_OWN] = 1001, [WEB_PAGE_PLAIN] = 1001},
    [STREAM_CLOSE_OTHER] = {[WEB_PAGE_OWN] = 4005, [WEB_PAGE_PLAIN] = 1011},
    [STREAM_CLOSE_OVER] = {[WEB_PAGE_OWN] = 4006, [WEB_PAGE_PLAIN] = 1011},
};

static void ws_release(struct ws *ws)
{
    if (ws->freed && !ws->wsi && ws->busy == 0) {
        free(ws->tail);
        free(ws);
    }
}

static void ws_drop_notes(struct ws *ws)
{
    struct list *link;

    while ((link = list_take_first(&ws->notes)))
        free(list_entry(link, struct note, link));
    ws->note_count = 0;
}

/* Calls `done` for all that is written, and for all that waits when `error` says it never goes. */
static void ws_finish_outs(struct ws *ws, int error)
{
    struct list *link;

    while ((link = list_take_first(&ws->written))) {
        struct stream_out *out = list_entry(link, struct stream_out, link);

        out->done(out, 0);
    }
    while (error < 0 && (link = list_take_first(&ws->outs))) {
        struct stream_out *out = list_entry(link, struct stream_out, link);

        out->done(out, error);
    }
}

static void ws_tell_closed(struct ws *ws, bool orderly, const char *reason)
{
    if (ws->over)
        return;
    ws->over = true;
    ws->base.events->closed(ws->base.owner, orderly, reason);
}

static void ws_send(struct stream *s, struct stream_out *out)
{
    struct ws *ws = (struct ws *)s;

    if (ws->closing || ws->over || !ws->wsi) {
        out->done(out, -ECANCELED);
        return;
    }
    list_append(&ws->outs, &out->link);
    ws->outs_queued++;
    lws_callback_on_writable(ws->wsi);
}

static void ws_want_data(struct stream *s, bool on)
{
    struct ws *ws = (struct ws *)s;

    ws->want_data = on;
    if (ws->wsi && ws->started && !ws->closing)
        lws_rx_flow_control(ws->wsi, on);
}

static void ws_tell(struct stream *s, const char *text)
{
    struct ws *ws = (struct ws *)s;
    size_t length = utf8_cut(text, NOTE_MAX);
    struct note *note;

    if (ws->closing || ws->over || !ws->wsi)
        return;
    note = malloc(sizeof *note + LWS_PRE + length);
    if (!note)
        return; /* it is repeated by the next heart-beat */
    if (ws->note_count == NOTES_MAX) {
        /* The far end does not read. Each message is a whole state, so the oldest tells least. */
        struct list *oldest = list_take_first(&ws->notes);

        free(list_entry(oldest, struct note, link));
        ws->note_count--;
    }
    note->after = ws->outs_queued;
    note->length = length;
    memcpy(note->text + LWS_PRE, text, length);
    list_append(&ws->notes, &note->link);
    ws->note_count++;
    lws_callback_on_writable(ws->wsi);
}

static void ws_close(struct stream *s, enum stream_close why, const char *reason)
{
    struct ws *ws = (struct ws *)s;
    size_t length = utf8_cut(reason, REASON_MAX);

    if (ws->closing || ws->over)
        return;
    ws->over = true;
    ws->closing = true;
    ws->code = (enum lws_close_status)codes[why][ws->page];
    memcpy(ws->reason, reason, length);
    ws->reason[length] = '\0';
    if (!ws->wsi)
        return;
    /* What still comes in is thrown away, but the far end's own goodbye must be read. */
    lws_rx_flow_control(ws->wsi, 1);
    lws_set_timer_usecs(ws->wsi, GOODBYE_MAX_US);
    lws_callback_on_writable(ws->wsi);
}

/* Copies `length` bytes at `offset` of an out that is thought of as head and data in one. */
static void out_copy(const struct stream_out *out, size_t offset, unsigned char *to, size_t length)
{
    size_t from_head = 0;

    if (offset < out->head_length) {
        from_head = out->head_length - offset;
        if (from_head > length)
            from_head = length;
        memcpy(to, out->head + offset, from_head);
        offset += from_head;
    }
    if (length > from_head)
        memcpy(to + from_head, out->data + (offset - out->head_length), length - from_head);
}

/* Fills a chunk up to `outs_end`, moving the outs that are whole in it to `written`. */
static size_t ws_fill(struct ws *ws, unsigned char *chunk, uint64_t outs_end)
{
    size_t used = 0;

    while (used < CHUNK_MAX && !list_is_empty(&ws->outs) && ws->outs_sent < outs_end) {
        struct stream_out *out = list_entry(ws->outs.next, struct stream_out, link);
        size_t left = out->head_length + out->data_length - ws->first_sent;
        size_t length = left < CHUNK_MAX - used ? left : CHUNK_MAX - used;

        out_copy(out, ws->first_sent, chunk + used, length);
        used += length;
        if (length < left) {
            ws->first_sent += length;
            break;
        }
        ws->first_sent = 0;
        ws->outs_sent++;
        list_remove(&out->link);
        list_append(&ws->written, &out->link);
    }
    return used;
}

/*
 * The owner leaves before its last words have gone (a client's NBD_CMD_DISC), and takes its outs
 * along: as much as one message holds is copied to go before the goodbye.
 */
static void ws_keep_tail(struct ws *ws)
{
    if (list_is_empty(&ws->outs))
        return;
    ws->tail = malloc(LWS_PRE + CHUNK_MAX);
    if (ws->tail)
        ws->tail_length = ws_fill(ws, ws->tail + LWS_PRE, UINT64_MAX);
}

static void ws_free(struct stream *s)
{
    struct ws *ws = (struct ws *)s;

    ws->over = true;
    ws->freed = true;
    ws->busy++;
    if (ws->closing && ws->wsi)
        ws_keep_tail(ws);
    ws_finish_outs(ws, -ECANCELED);
    ws->busy--;
    if (!ws->closing || !ws->wsi)
        ws_drop_notes(ws);
    if (ws->wsi && ws->closing)
        lws_callback_on_writable(ws->wsi);
    else if (ws->wsi && !ws->heard_goodbye)
        lws_set_timeout(ws->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
    ws_release(ws);
}

static const struct stream_ops ws_ops = {
    .send = ws_send,
    .want_data = ws_want_data,
    .tell = ws_tell,
    .close = ws_close,
    .free = ws_free,
};

/* No words: the page would take them for bytes. */
static const struct stream_ops ws_plain_ops = {
    .send = ws_send,
    .want_data = ws_want_data,
    .close = ws_close,
    .free = ws_free,
};

struct stream *ws_new(struct lws *wsi, enum web_page page)
{
    struct ws *ws = calloc(1, sizeof *ws);

    if (!ws)
        return NULL;
    ws->base.ops = page == WEB_PAGE_OWN ? &ws_ops : &ws_plain_ops;
    ws->page = page;
    ws->wsi = wsi;
    ws->want_data = true;
    list_init(&ws->outs);
    list_init(&ws->written);
    list_init(&ws->notes);
    lws_set_opaque_user_data(wsi, ws);
    /* Data may have come along with the handshake: it waits for the loop's next turn. */
    lws_rx_flow_control(wsi, 0);
    lws_callback_on_writable(wsi);
    return &ws->base;
}

static bool ws_all_sent(const struct ws *ws)
{
    return list_is_empty(&ws->outs) && list_is_empty(&ws->notes) && ws->tail_length == 0;
}

/* Writes one message. 0, or -1 when the line is broken. */
static int ws_write(struct ws *ws)
{
    unsigned char chunk[LWS_PRE + CHUNK_MAX];
    uint64_t outs_end = UINT64_MAX;
    size_t length;

    if (!list_is_empty(&ws->notes)) {
        struct note *note = list_entry(ws->notes.next, struct note, link);
        int sent;

        outs_end = note->after;
        /* The outs before it may also have been taken back, by stream_free(). */
        if (note->after <= ws->outs_sent || list_is_empty(&ws->outs)) {
            list_remove(&note->link);
            ws->note_count--;
            sent = lws_write(ws->wsi, note->text + LWS_PRE, note->length, LWS_WRITE_TEXT);
            free(note);
            return sent < 0 ? -1 : 0;
        }
    }
    if (ws->tail_length > 0) {
        length = ws->tail_length;
        ws->tail_length = 0;
        return lws_write(ws->wsi, ws->tail + LWS_PRE, length, LWS_WRITE_BINARY) < 0 ? -1 : 0;
    }
    length = ws_fill(ws, chunk + LWS_PRE, outs_end);
    if (length > 0 && lws_write(ws->wsi, chunk + LWS_PRE, length, LWS_WRITE_BINARY) < 0)
        return -1;
    ws_finish_outs(ws, 0);
    return 0;
}

/*
 * Our goodbye leaves from the timer, not from here: Debian's libwebsockets 4.1.6 closes a
 * connection twice when this callback asks for it on a libuv loop, and the second time drops the
 * close frame. Nothing may be half written either, so it is sent a call after the last message.
 */
static int ws_writeable(struct ws *ws)
{
    if (!ws->started) {
        ws->started = true;
        lws_rx_flow_control(ws->wsi, ws->want_data || ws->closing);
    }
    if (ws_all_sent(ws)) {
        if (ws->closing && !ws->said_goodbye)
            lws_set_timer_usecs(ws->wsi, 1);
        return 0;
    }
    if (ws_write(ws) < 0)
        return -1;
    lws_callback_on_writable(ws->wsi);
    return 0;
}

/* Either all is sent and the goodbye's turn has come, or the far end has not read in time. */
static int ws_timer(struct ws *ws)
{
    if (!ws->closing)
        return 0;
    if (ws->said_goodbye || !ws_all_sent(ws)) {
        lws_set_timeout(ws->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
        return 0;
    }
    ws->said_goodbye = true;
    lws_set_timer_usecs(ws->wsi, GOODBYE_MAX_US);
    lws_close_reason(ws->wsi, ws->code, (unsigned char *)ws->reason, strlen(ws->reason));
    return -1;
}

/* The far end did what it must not: it and the owner are told so. */
static void ws_fail(struct ws *ws, const char *reason)
{
    if (ws->over)
        return;
    ws_close(&ws->base, STREAM_CLOSE_PROTOCOL, reason);
    ws->base.events->closed(ws->base.owner, false, "it broke the protocol");
}

static void ws_receive(struct ws *ws, const uint8_t *bytes, size_t length)
{
    /* Whatever comes shows that the far end lives, also when its pong waits behind megabytes. */
    lws_validity_confirmed(ws->wsi);
    if (ws->over)
        return;
    if (lws_frame_is_binary(ws->wsi)) {
        if (length > 0)
            ws->base.events->data(ws->base.owner, bytes, length);
        return;
    }
    if (lws_is_first_fragment(ws->wsi))
        ws->text_in = 0;
    ws->text_in += length;
    if (ws->text_in > TEXT_IN_MAX)
        ws_fail(ws, "The page sent a text message of more than 4 KiB.");
    else if (ws->base.events->heard && ws->page == WEB_PAGE_OWN)
        ws->base.events->heard(ws->base.owner);
}

/* What a page says when it closes; docs/protocol.md, "Close codes". */
static const struct page_goodbye {
    unsigned code;
    bool orderly;
    const char *reason;
} page_goodbyes[] = {
    {LWS_CLOSE_STATUS_NORMAL, true, "it was disconnected there"},
    /* What a browser sends when a tab is closed: no goodbye that a person said. */
    {LWS_CLOSE_STATUS_GOINGAWAY, false, "its tab was closed"},
    {4100, true, "its file has changed on disk"},
    {4101, false, "it heard nothing from this device for too long"},
    {4102, false, "it found that this device broke the NBD protocol"},
};

static void ws_peer_closed(struct ws *ws, const uint8_t *bytes, size_t length)
{
    unsigned code = length >= 2 ? (unsigned)(bytes[0] << 8 | bytes[1]) : 0;

    /* So a plain page closes when a person has disconnected it there. */
    if (length == 0 && ws->page == WEB_PAGE_PLAIN)
        code = LWS_CLOSE_STATUS_NORMAL;
    ws->heard_goodbye = true; /* libwebsockets answers it, and has this long for it: */
    lws_set_timeout(ws->wsi, PENDING_TIMEOUT_CLOSE_SEND, GOODBYE_MAX_US / LWS_US_PER_SEC);
    for (size_t i = 0; i < sizeof page_goodbyes / sizeof page_goodbyes[0]; i++) {
        const struct page_goodbye *known = &page_goodbyes[i];

        if (known->code == code) {
            ws_tell_closed(ws, known->orderly, known->reason);
            return;
        }
    }
    ws_tell_closed(ws, false, "it ended the connection without a goodbye");
}

static void ws_closed(struct ws *ws)
{
    lws_set_opaque_user_data(ws->wsi, NULL);
    ws->wsi = NULL;
    ws_tell_closed(ws, false, "its connection broke");
    ws_finish_outs(ws, -ECANCELED);
    ws_drop_notes(ws);
}

int ws_callback(struct lws *wsi, enum lws_callback_reasons reason, void *in, size_t length)
{
    struct ws *ws = lws_get_opaque_user_data(wsi);
    int r = 0;

    if (!ws)
        return 0;
    ws->busy++;
    switch (reason) {
    case LWS_CALLBACK_SERVER_WRITEABLE:
        r = ws_writeable(ws);
        break;
    case LWS_CALLBACK_RECEIVE:
        ws_receive(ws, in, length);
        break;
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        ws_peer_closed(ws, in, length);
        break;
    case LWS_CALLBACK_TIMER:
        r = ws_timer(ws);
        break;
    case LWS_CALLBACK_CLOSED:
        ws_closed(ws);
        break;
    default:
        break;
    }
    ws->busy--;
    ws_release(ws);
    return r;
}
