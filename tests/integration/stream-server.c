/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A web server whose far ends are treated by a script instead of by a slot: the name of the medium
 * that a page offers says what is done with its stream. test_streams.py drives it. It shows what
 * transport/ws.c promises at its worst moments: calls from inside events, queues that do not drain.
 *
 *     stream-server PAGE-DIRECTORY
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http.h"
#include "base/log.h"
#include "base/loop.h"
#include "transport/web.h"

#define FLOOD 64

struct far_end {
    struct stream *stream;
    struct loop_timer *timer;
    char mode[MEDIUM_NAME_MAX];
    unsigned outs, outs_failed; /* done with, so far */
    unsigned sent;
    bool paused;
    bool closed; /* by us: it goes with its last out */
};

struct echo {
    struct stream_out out;
    struct far_end *far_end;
    uint8_t bytes[];
};

static struct loop *loop;
static unsigned open_far_ends;

static bool mode_is(const struct far_end *f, const char *mode)
{
    return strcmp(f->mode, mode) == 0;
}

static void far_end_free(struct far_end *f)
{
    stream_free(f->stream);
    loop_timer_free(f->timer);
    log_info("%s: sent %u done %u failed %u open %u", f->mode, f->sent, f->outs, f->outs_failed,
             --open_far_ends);
    free(f);
}

static void echo_done(struct stream_out *out, int error)
{
    struct echo *e = (struct echo *)out;

    struct far_end *f = e->far_end;

    f->outs++;
    if (error)
        f->outs_failed++;
    free(e);
    if (f->closed && f->outs == f->sent)
        far_end_free(f);
}

/* The first byte goes out as the head, the rest as data. */
static void send_copy(struct far_end *f, const uint8_t *bytes, size_t length)
{
    struct echo *e = calloc(1, sizeof *e + length);

    memcpy(e->bytes, bytes, length);
    e->far_end = f;
    e->out.head_length = 1;
    e->out.head[0] = bytes[0];
    e->out.data = e->bytes + 1;
    e->out.data_length = length - 1;
    e->out.done = echo_done;
    f->sent++;
    stream_send(f->stream, &e->out);
}

static void on_data(void *owner, const uint8_t *bytes, size_t length)
{
    struct far_end *f = owner;

    if (f->paused) {
        log_error("data came while it was not wanted");
        abort();
    }
    if (mode_is(f, "sink"))
        return;
    if (mode_is(f, "hold")) {
        f->paused = true;
        stream_want_data(f->stream, false);
        return;
    }
    if (mode_is(f, "free")) {
        send_copy(f, bytes, length);
        far_end_free(f);
        return;
    }
    if (mode_is(f, "close-and-free")) {
        stream_close(f->stream, STREAM_CLOSE_EJECTED, "The machine ejected the drive.");
        far_end_free(f);
        return;
    }
    if (mode_is(f, "close-after-echo")) {
        stream_tell(f->stream, "{\"state\":\"before\"}");
        send_copy(f, bytes, length);
        stream_tell(f->stream, "{\"state\":\"after\"}");
        /* Neither of these leaves: the stream is closed by then. */
        stream_close(f->stream, STREAM_CLOSE_FAILED, "The helper was lost.");
        stream_tell(f->stream, "{\"state\":\"late\"}");
        send_copy(f, bytes, length);
        f->closed = true;
        return;
    }
    if (mode_is(f, "flood") && f->sent == 0) {
        static uint8_t megabyte[1 << 20];

        for (int i = 0; i < FLOOD; i++) {
            send_copy(f, megabyte, sizeof megabyte);
            stream_tell(f->stream, "{\"state\":\"flood\"}");
        }
        stream_close(f->stream, STREAM_CLOSE_SHUTDOWN, "The device is stopping.");
        f->closed = true;
        return;
    }
    send_copy(f, bytes, length);
    if (mode_is(f, "pauses")) {
        f->paused = true;
        stream_want_data(f->stream, false);
        loop_timer_set(f->timer, 1);
    }
}

static void on_timer(void *arg)
{
    struct far_end *f = arg;

    if (mode_is(f, "sink")) {
        stream_tell(f->stream, "{\"state\":\"tick\"}");
        loop_timer_set(f->timer, 10);
        return;
    }
    f->paused = false;
    stream_want_data(f->stream, true);
}

static void on_closed(void *owner, bool orderly, const char *reason)
{
    struct far_end *f = owner;

    log_info("%s: closed %s: %s", f->mode, orderly ? "orderly" : "disorderly", reason);
    far_end_free(f);
}

static const struct stream_events events = {.data = on_data, .closed = on_closed};

static unsigned slot_count(void *owner)
{
    (void)owner;
    return 2;
}

static void get_slot(void *owner, unsigned slot, struct control_slot *out)
{
    static const struct medium medium = {
        .kind = MEDIUM_CD, .size = 5368709120, .read_only = true, .name = "\"x\" \xc3\xa4.iso"};

    (void)owner;
    *out = (struct control_slot){.name = slot ? "B" : "A",
                                 .export_name = "unix",
                                 .drive = "auto",
                                 .locked = slot,
                                 .state = slot ? "serving" : "idle",
                                 .uri = slot ? "nbd+unix:///?socket=/x" : "",
                                 .reason = "",
                                 .medium = slot ? &medium : NULL};
}

static void open_slot(void *owner, unsigned slot, struct stream *stream,
                      const struct control_offer *offer)
{
    struct far_end *f = calloc(1, sizeof *f);

    (void)owner;
    (void)slot;
    if (!f || loop_timer_new(loop, on_timer, f, &f->timer) < 0)
        abort();
    open_far_ends++;
    f->stream = stream;
    snprintf(f->mode, sizeof f->mode, "%s", offer->name);
    stream_own(stream, &events, f);
    stream_tell(stream, "{\"state\":\"opening\"}");
    if (mode_is(f, "sink"))
        loop_timer_set(f->timer, 10);
    if (mode_is(f, "busy")) {
        stream_close(stream, STREAM_CLOSE_BUSY, "Slot is in use");
        far_end_free(f);
    }
}

static enum control_end end_slot(void *owner, unsigned slot, bool force, const char *reason)
{
    (void)owner;
    (void)reason;
    if (slot == 0)
        return CONTROL_EMPTY;
    return force ? CONTROL_ENDS : CONTROL_LOCKED;
}

static const char *state_name(void *owner, unsigned n)
{
    static const char *const names[] = {"idle", "serving", NULL};

    (void)owner;
    return names[n];
}

static const struct control_ops ops = {.slot_count = slot_count,
                                       .get_slot = get_slot,
                                       .open_slot = open_slot,
                                       .end_slot = end_slot,
                                       .state_name = state_name};

static void on_signal(void *arg)
{
    loop_stop(arg);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"bmc7"};
    struct control control = {.ops = &ops};
    struct web_route route = http_api_route(&control);
    struct web_config config = {
        .listen = {{.host = "127.0.0.1"}, {.host = "::1"}},
        .listen_count = 2,
        .host_names = names,
        .host_name_count = 1,
        .page_dir = argc > 1 ? argv[1] : "",
        .routes = &route,
        .route_count = 1,
    };
    struct loop_signal *terminate = NULL;
    struct web *web;
    char error[512];

    log_init("stream-server");
    signal(SIGPIPE, SIG_IGN);
    if (loop_new(&loop) < 0 || loop_signal_new(loop, SIGTERM, on_signal, loop, &terminate) < 0)
        return 1;
    config.loop = loop;
    if (web_new(&config, &web, error, sizeof error) < 0) {
        log_error("%s", error);
    } else {
        loop_run(loop);
        web_free(web);
    }
    loop_signal_free(terminate);
    loop_free(loop);
    return 0;
}
