// SPDX-License-Identifier: Apache-2.0
/*
 * Joins an NBD server to NBD clients as platterd does, without its web: source/peer over a unix
 * socket where platterd has a WebSocket, the engine, and the export `unix`. So independent servers
 * (nbdkit, qemu-nbd) stand where the browser does, and independent clients where the machine does.
 *
 *     test-relay --connect SERVER_SOCKET --listen SOCKET [--memory BYTES]
 *
 * Says "ready URI" on stdout when the drive is there, and the engine's counters, as JSON in a line,
 * at each SIGUSR1. Ends with 0 on SIGTERM, and with 1 and the reason on stderr when the far end is
 * lost.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "export/export.h"
#include "source/peer.h"
#include "transport/unix.h"

struct relay {
    struct loop *loop;
    struct engine *engine;
    struct source *source;
    struct export *export;
    bool export_runs;
    struct medium medium;
    int status;
    bool source_is_lost;
    struct loop_timer *drain;
    unsigned looks_left;
};

static void stop(struct relay *relay, int status)
{
    relay->status = status;
    if (relay->export_runs)
        export_stop(relay->export, status == 0);
    else
        loop_stop(relay->loop);
}

static void export_started(void *owner)
{
    struct relay *relay = owner;
    char uri[256];

    relay->export->ops->describe(relay->export, uri, sizeof uri);
    printf("ready %s\n", uri);
    fflush(stdout);
}

static void export_stopped(void *owner, int error, const char *reason)
{
    struct relay *relay = owner;

    relay->export_runs = false;
    if (error) {
        fprintf(stderr, "test-relay: %s\n", reason);
        relay->status = 1;
    }
    loop_stop(relay->loop);
}

static const struct export_events export_events = {
    .started = export_started,
    .stopped = export_stopped,
};

static void source_ready(void *owner, const struct source_info *info)
{
    struct relay *relay = owner;

    fprintf(stderr, "far end: size %llu block_min %u length_max %u read_only %d can_flush %d\n",
            (unsigned long long)info->size, info->block_min, info->length_max, info->read_only,
            info->can_flush);
    relay->medium.size = info->size;
    relay->medium.read_only = info->read_only;
    engine_set_source(relay->engine, relay->source, info);
    relay->export_runs = true;
    export_start(relay->export, &relay->medium, relay->engine);
}

static void source_lost(void *owner, enum stream_close why, bool orderly, const char *reason)
{
    struct relay *relay = owner;

    fprintf(stderr, "lost: %d %s: %s\n", why, orderly ? "orderly" : "broken", reason);
    relay->source_is_lost = true;
    engine_fail(relay->engine, -EIO);
    stop(relay, 1);
}

static const struct source_events source_events = {.ready = source_ready, .lost = source_lost};

static void tell_counters(void *arg)
{
    struct relay *relay = arg;
    struct engine_counters c;

    engine_get_counters(relay->engine, &c);

    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"reads", c.reads},
        {"writes", c.writes},
        {"bytes_written", c.bytes_written},
        {"bytes_zero", c.bytes_zero},
        {"bytes_read", c.bytes_read},
        {"bytes_fetched", c.bytes_fetched},
        {"bytes_warmed", c.bytes_warmed},
        {"bytes_ahead", c.bytes_ahead},
        {"bytes_wasted", c.bytes_wasted},
        {"bytes_copied", c.bytes_copied},
        {"hits", c.hits},
        {"misses", c.misses},
        {"asks", c.asks},
        {"round_trip", c.round_trip},
        {"line_rate", c.line_rate},
        {"window", c.window},
        {"memory", c.memory},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        printf("%s\"%s\":%llu", i ? "," : "{", rows[i].name, (unsigned long long)rows[i].value);
    printf("}\n");
    fflush(stdout);
}

static void terminated(void *arg)
{
    stop(arg, 0);
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || strlen(path) >= sizeof address.sun_path)
        return -1;
    memcpy(address.sun_path, path, strlen(path));
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return -1;
    return take_fd(&fd);
}

static uint64_t engine_clock(void *arg)
{
    (void)arg;
    return loop_clock();
}

static void look_again(void *arg)
{
    struct relay *relay = arg;
    struct engine_counters counters;

    engine_get_counters(relay->engine, &counters);
    if (counters.asks_in_flight == 0 || relay->looks_left-- == 0)
        loop_stop(relay->loop);
    else
        loop_timer_set(relay->drain, 10);
}

/* nbdkit 1.32 crashes when its client leaves while it answers, and read-ahead may be on its way. */
static void let_answers_come(struct relay *relay)
{
    if (loop_timer_new(relay->loop, look_again, relay, &relay->drain) < 0)
        return;
    relay->looks_left = 500;
    loop_timer_set(relay->drain, 0);
    loop_run(relay->loop);
    loop_timer_free(relay->drain);
}

static int run(struct relay *relay, int fd, const char *listen, size_t memory)
{
    const struct export_ops *ops = export_find("unix");
    struct export_config config = {.loop = relay->loop, .socket_path = listen};
    struct engine_config engine = {.cache_max = memory, .host = {.now = engine_clock}};
    struct stream *stream;

    if (!ops || engine_new(&engine, &relay->engine) < 0 || ops->new (&config, &relay->export) < 0 ||
        stream_unix_new(relay->loop, fd, &stream) < 0 ||
        peer_new(relay->loop, stream, peer_profile_find(NULL), &source_events, relay,
                 &relay->source) < 0)
        return -1;
    export_own(relay->export, &export_events, relay);
    loop_run(relay->loop);
    engine_fail(relay->engine, -EIO);
    if (!relay->source_is_lost) {
        let_answers_come(relay);
        source_close(relay->source, STREAM_CLOSE_NORMAL, "done");
    }
    source_free(relay->source);

    struct engine_counters counters;

    engine_get_counters(relay->engine, &counters);
    fprintf(stderr, "counters: requests %llu errors %llu open %u memory %zu\n",
            (unsigned long long)counters.requests, (unsigned long long)counters.errors,
            counters.requests_open, counters.memory);
    if (counters.requests_open || counters.asks_in_flight)
        relay->status = 2;
    export_free(relay->export);
    engine_free(relay->engine);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"connect", required_argument, NULL, 'c'},
                                            {"listen", required_argument, NULL, 'l'},
                                            {"memory", required_argument, NULL, 'm'},
                                            {NULL, 0, NULL, 0}};
    struct relay relay = {.medium = {.kind = MEDIUM_DISK}};
    struct loop_signal *term = NULL;
    struct loop_signal *asked = NULL;
    const char *from = NULL;
    const char *listen = NULL;
    size_t memory = 16u << 20;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'c')
            from = optarg;
        else if (option == 'l')
            listen = optarg;
        else if (option == 'm')
            memory = strtoul(optarg, NULL, 10);
        else
            return 2;
    }

    int fd = from && listen ? connect_to(from) : -1;

    if (fd < 0 || loop_new(&relay.loop) < 0 ||
        loop_signal_new(relay.loop, SIGTERM, terminated, &relay, &term) < 0 ||
        loop_signal_new(relay.loop, SIGUSR1, tell_counters, &relay, &asked) < 0) {
        fprintf(stderr, "test-relay: cannot connect to %s: %s\n", from ? from : "nothing",
                strerror(errno));
        return 2;
    }
    if (run(&relay, fd, listen, memory) < 0)
        relay.status = 2;
    loop_signal_free(term);
    loop_signal_free(asked);
    loop_free(relay.loop);
    return relay.status;
}
