// SPDX-License-Identifier: Apache-2.0
/*
 * How fast a browser can send at all: a web server whose WebSockets drop every byte and say how
 * long that took. It stands on the same transport as platterd, so what differs is what a drive
 * adds.
 *
 *     sink PAGE-DIRECTORY
 *
 * Says where the page is, as platterd does, then `dropped BYTES in MICROSECONDS` at the end of each
 * WebSocket below /sink: from its first byte to its last. Ends on SIGTERM.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/loop.h"
#include "transport/web.h"

struct drain {
    struct stream *stream;
    uint64_t bytes;
    uint64_t first, last; /* microseconds */
};

static void on_data(void *owner, const uint8_t *bytes, size_t length)
{
    struct drain *d = owner;

    (void)bytes;
    d->last = loop_clock();
    if (d->bytes == 0)
        d->first = d->last;
    d->bytes += length;
}

static void on_closed(void *owner, bool orderly, const char *reason)
{
    struct drain *d = owner;

    (void)orderly;
    (void)reason;
    printf("dropped %llu in %llu\n", (unsigned long long)d->bytes,
           (unsigned long long)(d->last - d->first));
    fflush(stdout);
    stream_free(d->stream);
    free(d);
}

static const struct stream_events events = {.data = on_data, .closed = on_closed};

static void open_drain(void *owner, const char *path, const struct web_arguments *arguments,
                       struct stream *stream)
{
    struct drain *d = calloc(1, sizeof *d);

    (void)owner;
    (void)path;
    (void)arguments;
    if (!d) {
        stream_free(stream);
        return;
    }
    d->stream = stream;
    stream_own(stream, &events, d);
}

static void get_nothing(void *owner, const char *path, struct web_reply *reply)
{
    (void)owner;
    (void)path;
    reply->status = 404;
}

static void terminated(void *arg)
{
    loop_stop(arg);
}

int main(int argc, char **argv)
{
    struct web_route route = {.prefix = "/sink", .get = get_nothing, .open = open_drain};
    struct web_config config = {
        .listen = {{.host = "127.0.0.1"}},
        .listen_count = 1,
        .page_dir = argc > 1 ? argv[1] : "",
        .routes = &route,
        .route_count = 1,
    };
    struct loop_signal *term = NULL;
    struct web *web;
    char error[512];

    log_init("sink");
    signal(SIGPIPE, SIG_IGN);
    if (loop_new(&config.loop) < 0 ||
        loop_signal_new(config.loop, SIGTERM, terminated, config.loop, &term) < 0)
        return 1;
    if (web_new(&config, &web, error, sizeof error) < 0) {
        log_error("%s", error);
        return 1;
    }
    loop_run(config.loop);
    web_free(web);
    loop_signal_free(term);
    loop_free(config.loop);
    return 0;
}
