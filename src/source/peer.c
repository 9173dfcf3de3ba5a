// SPDX-License-Identifier: Apache-2.0
/*
 * A source whose blocks come from an NBD server at the far end of a stream.
 *
 * The client machine (proto/nbd-client) does all the thinking; this file carries: bytes from the
 * stream into the machine, its words and requests to the stream, its answers to the submitter. Data
 * are decoded from the transport's buffer straight into the submitter's memory, and sent from it.
 *
 * Who owns what: the stream is the peer's. A source_request is its submitter's, lent from submit to
 * complete; while lent, its slot (the machine's index) points to it. The outs lie in the peer, one
 * a slot, since a slot is used again only when its request has left. An answer that comes before
 * that was made up, and breaks the protocol; but a server may refuse a write by its head alone, and
 * that write is complete when its bytes have left.
 *
 * What always holds: the stream refers to nothing of a request that is complete, so a loss frees
 * the stream first. `lost` and source_free() end everything; after either, the peer is touched no
 * more by what called it. A request can be completed while bytes are being fed, and the submitter
 * may submit the next from inside; it may not free the source there.
 *
 * Liveness: see sign_of_life(). The timer is the handshake's until the far end is ready, then that
 * of its silence.
 */
#include "source/peer.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/loop.h"
#include "proto/nbd-client.h"

#define HANDSHAKE_MS 15000
/*
 * A frozen page keeps its socket, and the browser answers pings for it: only its silence shows it.
 * A far end that answers words is sent one every 2 s, so four of them without a sound mean that the
 * line is dead. Of any other nothing is known until it is asked something; Linux resets a drive
 * that leaves a command unanswered for 30 s, and the kernel's own is gone for good then, so the
 * matter is decided before that.
 */
#define SILENCE_MS      25000
#define SILENCE_TALK_MS 8000
/* This program may itself have been held up: what came meanwhile is read before time is called. */
#define DOUBT_MS 100

/* The handshake's words (at most four) and a goodbye. */
#define WORDS_MAX 5

struct peer;

struct peer_slot {
    struct peer *peer;
    struct stream_out out;
    bool leaving; /* the request is still on its way out */
    int refused;  /* -errno of a write that was, while it was leaving; 0 */
    struct source_request *request;
};

struct peer {
    struct source source;
    const struct peer_profile *profile;
    struct stream *stream; /* NULL once it has closed */
    bool stream_closed;    /* our goodbye has been said */
    bool lost;
    bool ready;
    bool talks; /* it has answered a word */
    bool doubt; /* time is up, but see DOUBT_MS */
    struct loop_timer *timer;
    unsigned asked; /* requests lent */
    struct nbd_client client;
    struct peer_slot slots[NBD_INFLIGHT_MAX];
    struct stream_out words[WORDS_MAX];
    unsigned word_count;
};

static struct peer *of(struct source *s)
{
    return (struct peer *)(void *)s;
}

static void word_sent(struct stream_out *out, int error)
{
    /* A line that failed says so itself. */
    (void)out;
    (void)error;
}

static void request_sent(struct stream_out *out, int error)
{
    struct peer_slot *slot = list_entry(out, struct peer_slot, out);
    struct peer *p = slot->peer;
    struct source_request *request = slot->request;

    (void)error;
    slot->leaving = false;
    /* What the stream drops as it goes is lost with all the others. */
    if (!slot->refused || p->lost)
        return;
    slot->request = NULL;
    nbd_client_keep(&p->client, (unsigned)(slot - p->slots), false);
    request->complete(request, slot->refused);
}

static void say(struct peer *p, const uint8_t *bytes, size_t length)
{
    if (p->word_count == WORDS_MAX || p->stream_closed || length == 0)
        return;

    struct stream_out *out = &p->words[p->word_count++];

    list_init(&out->link);
    memcpy(out->head, bytes, length);
    out->head_length = length;
    out->done = word_sent;
    stream_send(p->stream, out);
}

static void complete_all(struct peer *p)
{
    for (unsigned i = 0; i < NBD_INFLIGHT_MAX; i++) {
        struct source_request *request = p->slots[i].request;

        p->slots[i].request = NULL;
        if (request)
            request->complete(request, SOURCE_LOST);
    }
}

static void close_stream(struct peer *p, enum stream_close why, const char *reason)
{
    uint8_t goodbye[NBD_REQUEST_SIZE];

    if (p->stream_closed)
        return;
    say(p, goodbye, nbd_client_goodbye(&p->client, goodbye));
    p->stream_closed = true;
    stream_close(p->stream, why, reason);
}

/* The end, told to the owner, who may free the peer from inside: nothing may follow this. */
static void lose(struct peer *p, enum stream_close why, bool orderly, const char *reason)
{
    if (p->lost)
        return;
    p->lost = true;
    p->stream_closed = true;
    loop_timer_stop(p->timer);
    stream_free(p->stream);
    p->stream = NULL;
    complete_all(p);
    p->source.events->lost(p->source.owner, why, orderly, reason);
}

static void give_up(struct peer *p, enum stream_close why, const char *reason)
{
    char sentence[128];

    /* A goodbye is a sentence; a reason is a phrase for others to build one with. */
    snprintf(sentence, sizeof sentence, "%c%s.", toupper((unsigned char)reason[0]), reason + 1);
    close_stream(p, why, sentence);
    lose(p, why, false, reason);
}

/* Starts the measuring of silence anew. Bytes and words are signs of life; so is becoming ready. */
static void sign_of_life(struct peer *p)
{
    if (!p->ready || p->lost)
        return;
    p->doubt = false;
    if (p->talks)
        loop_timer_set(p->timer, SILENCE_TALK_MS);
    else if (p->asked > 0)
        loop_timer_set(p->timer, SILENCE_MS);
    else
        loop_timer_stop(p->timer);
}

static void tell_ready(struct peer *p)
{
    const struct nbd_client_offer *offer = &p->client.offer;
    uint16_t flags = offer->export.flags;
    bool writable = !(flags & NBD_FLAG_READ_ONLY);
    uint32_t cap = offer->go ? p->profile->length_max : p->profile->length_max_plain;
    uint32_t longest = offer->blocks.maximum < cap ? offer->blocks.maximum : cap;
    struct source_info info = {
        .size = offer->export.size,
        .block_min = offer->blocks.minimum,
        .length_max = longest & ~(offer->blocks.minimum - 1),
        .in_flight_max = p->profile->in_flight_max,
        .read_only = !writable,
        .can_flush = flags & NBD_FLAG_SEND_FLUSH,
        .can_fua = writable && flags & NBD_FLAG_SEND_FUA,
        .can_trim = writable && flags & NBD_FLAG_SEND_TRIM,
        .can_write_zeroes = writable && flags & NBD_FLAG_SEND_WRITE_ZEROES,
        .can_extents = offer->extents,
    };

    p->ready = true;
    sign_of_life(p);
    p->source.events->ready(p->source.owner, &info);
}

static void take_extent(struct peer *p, const struct nbd_client_event *event)
{
    struct source_request *request = p->slots[event->slot].request;

    /* What there is no room for is not told: an answer may cover less than was asked. */
    if (event->extent.length == 0 || request->extent_count == request->extent_room)
        return;
    request->extents[request->extent_count++] = (struct source_extent){
        .length = event->extent.length,
        .zero = event->extent.flags & NBD_STATE_ZERO,
    };
}

/* False: the peer is lost, and may be gone. */
static bool take_answer(struct peer *p, const struct nbd_client_event *event)
{
    struct peer_slot *slot = &p->slots[event->slot];
    struct source_request *request = slot->request;

    bool is_refusal = event->error && request->op == SOURCE_WRITE;

    if (slot->leaving && !is_refusal) {
        give_up(p, STREAM_CLOSE_PROTOCOL, "the far end answered a request before it was sent");
        return false;
    }
    /* "Terminating the transmission phase": a server that is shutting down is to be left. */
    if (event->error == -ESHUTDOWN) {
        close_stream(p, STREAM_CLOSE_NORMAL, "the far end is shutting down");
        lose(p, STREAM_CLOSE_NORMAL, true, "the far end is shutting down");
        return false;
    }
    take_extent(p, event);
    if (--p->asked == 0 && !p->talks)
        loop_timer_stop(p->timer);
    if (slot->leaving) {
        slot->refused = event->error;
        nbd_client_keep(&p->client, event->slot, true);
        return true;
    }
    slot->request = NULL;
    request->zero_bytes = event->holes;
    request->copied_bytes = event->copied;
    request->complete(request, event->error);
    return true;
}

static bool act(struct peer *p, const struct nbd_client_event *event)
{
    switch (event->kind) {
    case NBD_CLIENT_NOTHING:
        break;
    case NBD_CLIENT_SAY:
        say(p, event->say, event->say_length);
        break;
    case NBD_CLIENT_READY:
        tell_ready(p);
        break;
    case NBD_CLIENT_EXTENT:
        take_extent(p, event);
        break;
    case NBD_CLIENT_DONE:
        return take_answer(p, event);
    }
    return true;
}

static void stream_data(void *owner, const uint8_t *bytes, size_t length)
{
    struct peer *p = owner;

    sign_of_life(p);
    while (length > 0 && !p->stream_closed) {
        struct nbd_client_event event;
        ssize_t used = nbd_client_feed(&p->client, bytes, length, &event);

        if (used < 0) {
            give_up(p, p->client.refused ? STREAM_CLOSE_REFUSED : STREAM_CLOSE_PROTOCOL,
                    p->client.reason);
            return;
        }
        bytes += used;
        length -= (size_t)used;
        if (!act(p, &event))
            return;
    }
}

static void stream_heard(void *owner)
{
    struct peer *p = owner;

    p->talks = true;
    sign_of_life(p);
}

static void stream_closed(void *owner, bool orderly, const char *reason)
{
    struct peer *p = owner;

    p->stream_closed = true;
    lose(p, orderly ? STREAM_CLOSE_NORMAL : STREAM_CLOSE_FAILED, orderly, reason);
}

static void too_late(void *arg)
{
    struct peer *p = arg;

    if (!p->doubt) {
        p->doubt = true;
        loop_timer_set(p->timer, DOUBT_MS);
        return;
    }
    if (p->ready && p->talks)
        give_up(p, STREAM_CLOSE_FAILED, "the far end has been silent for 8 seconds");
    else if (p->ready)
        give_up(p, STREAM_CLOSE_FAILED, "the far end left a request unanswered for 25 seconds");
    else
        give_up(p, STREAM_CLOSE_PROTOCOL,
                "the far end did not finish the NBD handshake within 15 seconds");
}

static const uint16_t command_types[] = {
    [SOURCE_READ] = NBD_CMD_READ,
    [SOURCE_WRITE] = NBD_CMD_WRITE,
    [SOURCE_FLUSH] = NBD_CMD_FLUSH,
    [SOURCE_TRIM] = NBD_CMD_TRIM,
    [SOURCE_WRITE_ZEROES] = NBD_CMD_WRITE_ZEROES,
    [SOURCE_EXTENTS] = NBD_CMD_BLOCK_STATUS,
};

static uint16_t command_flags(const struct source_request *request)
{
    uint16_t flags = request->fua ? NBD_CMD_FLAG_FUA : 0;

    return request->no_hole ? flags | NBD_CMD_FLAG_NO_HOLE : flags;
}

static void send_request(struct peer *p, struct peer_slot *slot, const uint8_t *bytes)
{
    struct source_request *request = slot->request;
    bool payload = request->op == SOURCE_WRITE;

    slot->peer = p;
    slot->leaving = true;
    slot->refused = 0;
    list_init(&slot->out.link);
    memcpy(slot->out.head, bytes, NBD_REQUEST_SIZE);
    slot->out.head_length = NBD_REQUEST_SIZE;
    slot->out.data = payload ? request->data : NULL;
    slot->out.data_length = payload ? request->length : 0;
    slot->out.done = request_sent;
    stream_send(p->stream, &slot->out);
}

static void peer_submit(struct source *source, struct source_request *request)
{
    struct peer *p = of(source);
    uint8_t bytes[NBD_REQUEST_SIZE];
    struct nbd_ask ask = {
        .type = command_types[request->op],
        .flags = command_flags(request),
        .offset = request->offset,
        .length = request->length,
        .parts = request->parts,
    };
    int index = p->lost || p->stream_closed ? SOURCE_LOST : nbd_client_ask(&p->client, &ask, bytes);

    request->zero_bytes = 0;
    request->copied_bytes = 0;
    request->extent_count = 0;
    if (index < 0) {
        request->complete(request, index);
        return;
    }

    p->slots[index].request = request;
    if (p->asked++ == 0 && !p->talks)
        loop_timer_set(p->timer, SILENCE_MS);
    send_request(p, &p->slots[index], bytes);
}

static void peer_close(struct source *source, enum stream_close why, const char *reason)
{
    struct peer *p = of(source);

    p->lost = true; /* nothing is told any more */
    loop_timer_stop(p->timer);
    close_stream(p, why, reason);
}

static void peer_tell(struct source *source, const char *text)
{
    if (!of(source)->stream_closed)
        stream_tell(of(source)->stream, text);
}

static void peer_free(struct source *source)
{
    struct peer *p = of(source);

    p->lost = true;
    p->stream_closed = true;
    stream_free(p->stream);
    complete_all(p);
    loop_timer_free(p->timer);
    free(p);
}

static const struct source_ops peer_ops = {
    .submit = peer_submit,
    .close = peer_close,
    .tell = peer_tell,
    .free = peer_free,
};

static const struct stream_events stream_events = {
    .data = stream_data,
    .heard = stream_heard,
    .closed = stream_closed,
};

int peer_new(struct loop *loop, struct stream *stream, const struct peer_profile *profile,
             const struct source_events *events, void *owner, struct source **out)
{
    struct peer *p = calloc(1, sizeof *p);
    int r = p ? loop_timer_new(loop, too_late, p, &p->timer) : -ENOMEM;

    if (r < 0) {
        free(p);
        stream_free(stream);
        return r;
    }
    p->source = (struct source){.ops = &peer_ops, .events = events, .owner = owner};
    p->profile = profile;
    p->stream = stream;
    nbd_client_init(&p->client, profile->structured);
    loop_timer_set(p->timer, HANDSHAKE_MS);
    stream_own(stream, &stream_events, p);
    *out = &p->source;
    return 0;
}
