// SPDX-License-Identifier: Apache-2.0
/*
 * A stand-in for bmcweb, OpenBMC's web server, as far as a virtual medium meets it: one WebSocket,
 * one program behind it, and the limits that bmcweb sets to both, to the byte.
 *
 *     bmcweb --port N --token TOKEN [--idle SECONDS] -- PROGRAM [ARGUMENT...]
 *
 * The WebSocket is at /vm/0/0. Its subprotocol, if the page asks for one, is the token that the
 * page got when its user logged in; it is echoed. Then the program runs, `nbd-proxy 0` in real
 * life, and the bytes of binary messages go to its stdin and come from its stdout. The session ends
 *
 * - with a message of more than 131,088 bytes;
 * - with more than 524,352 bytes that the program has not read ("Buffer overrun"): what its pipe
 *   holds is counted, which bmcweb does not do, so nothing that passes here is refused there;
 * - when the page says so or is lost, when it has not answered a ping (after half of `--idle`,
 *   300 s unless told otherwise) for as long again, or when the program closes its stdout.
 *
 * However it ends, the program gets SIGTERM, and everything stands still until it is gone: that is
 * why the time matters, and is told. Says `listening on PORT`, and for each session that is over a
 * line of JSON. A second page is told that the slot is in use.
 */
#include <getopt.h>
#include <libwebsockets.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/log.h"
#include "base/loop.h"
#include "child.h"

#define PATH         "/vm/0/0"
#define MESSAGE_MAX  131088u
#define IDLE_SECONDS 300
#define READ_MAX     (128 * 1024)

/* A WebSocket; libwebsockets allocates it, zeroed. */
struct page {
    bool ours;          /* the session is its */
    const char *reason; /* it is to be closed, with this */
    enum lws_close_status code;
};

/* The one session there can be. */
struct session {
    struct page *page; /* NULL: there is none */
    struct lws *wsi;
    struct child *child; /* NULL: it could not be started */
    unsigned number;
    uint64_t received, sent; /* bytes from the page, and to it */
    size_t unread_most;
    const char *end;
    size_t message_length; /* of what has come of a message */
    uint8_t message[MESSAGE_MAX];
    size_t output_length; /* what waits to be sent; then the child's output is not wanted */
    uint8_t output[LWS_PRE + CHILD_OUTPUT_MAX];
};

static struct loop *loop;
static char *const *program;
static struct session session;

/* Closes a page at its next chance; the first reason counts. */
static void page_close(struct page *page, struct lws *wsi, enum lws_close_status code,
                       const char *reason)
{
    if (page->reason)
        return;
    page->code = code;
    page->reason = reason;
    lws_callback_on_writable(wsi);
}

static void session_close(enum lws_close_status code, const char *reason)
{
    if (!session.end)
        session.end = reason;
    page_close(session.page, session.wsi, code, reason);
}

static void on_output(void *owner, const uint8_t *bytes, size_t length)
{
    (void)owner;
    memcpy(session.output + LWS_PRE, bytes, length);
    session.output_length = length;
    child_want_output(session.child, false);
    lws_callback_on_writable(session.wsi);
}

static void on_over(void *owner)
{
    (void)owner;
    session_close(LWS_CLOSE_STATUS_NORMAL, "Error in reading from proxy port");
}

static const struct child_events child_events = {.output = on_output, .over = on_over};

static int page_opened(struct page *page, struct lws *wsi)
{
    if (session.page) {
        page_close(page, wsi, LWS_CLOSE_STATUS_NORMAL, "Slot is in use");
        return 0;
    }
    session.number++;
    session.page = page;
    session.wsi = wsi;
    session.child = NULL;
    session.received = session.sent = 0;
    session.unread_most = session.message_length = session.output_length = 0;
    session.end = NULL;
    page->ours = true;
    if (child_start(loop, program, &child_events, NULL, &session.child) < 0)
        session_close(LWS_CLOSE_STATUS_NORMAL, "Error connecting to nbd-proxy");
    return 0;
}

static void page_said_goodbye(struct page *page)
{
    if (page->ours && !session.end)
        session.end = "the page said goodbye";
}

static void page_closed(struct page *page)
{
    struct child_end end = {.status = -1};

    if (!page->ours)
        return;
    if (session.child)
        child_end(session.child, &end);
    session.page = NULL;
    printf("{\"session\": %u, \"end\": \"%s\", \"status\": %d, \"signal\": %d, "
           "\"exit_seconds\": %.6f, \"received\": %llu, \"sent\": %llu, \"unread_most\": %zu}\n",
           session.number, session.end ? session.end : "the page was lost", end.status, end.signal,
           (double)end.microseconds / 1e6, (unsigned long long)session.received,
           (unsigned long long)session.sent, session.unread_most);
    fflush(stdout);
}

/* A whole message has come. */
static void message_take(void)
{
    size_t unread;

    if (child_send(session.child, session.message, session.message_length) < 0) {
        session_close(LWS_CLOSE_STATUS_NORMAL, "Buffer overrun when writing data");
        return;
    }
    session.received += session.message_length;
    session.message_length = 0;
    unread = child_unread(session.child);
    if (unread > session.unread_most)
        session.unread_most = unread;
}

/* A piece of a message has come: libwebsockets gives them as it reads them. */
static int page_received(struct page *page, struct lws *wsi, const uint8_t *bytes, size_t length)
{
    size_t to_come = lws_remaining_packet_payload(wsi);

    if (!page->ours || page->reason || !session.child)
        return 0;
    if (length + to_come > MESSAGE_MAX - session.message_length) {
        session_close(LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, "A message is too long");
        return 0;
    }
    memcpy(session.message + session.message_length, bytes, length);
    session.message_length += length;
    if (to_come == 0 && lws_is_final_fragment(wsi))
        message_take();
    return 0;
}

static int page_writable(struct page *page, struct lws *wsi)
{
    size_t length = session.output_length;

    if (page->reason)
        lws_set_timer_usecs(wsi, 1);
    if (!page->ours || page->reason || length == 0)
        return 0;
    if (lws_write(wsi, session.output + LWS_PRE, length, LWS_WRITE_BINARY) < (int)length)
        return -1;
    session.sent += length;
    session.output_length = 0;
    child_want_output(session.child, true);
    return 0;
}

/* The goodbye leaves from here: asked for by a writable page, Debian's libwebsockets 4.1.6 drops it
 * on a libuv loop. */
static int page_timer(struct page *page, struct lws *wsi)
{
    lws_close_reason(wsi, page->code, (unsigned char *)page->reason, strlen(page->reason));
    return -1;
}

/* Whether it is the one WebSocket that there is; else it is told so, and dropped. */
static int path_check(struct lws *wsi)
{
    char path[64];

    if (lws_hdr_copy(wsi, path, sizeof path, WSI_TOKEN_GET_URI) > 0 && strcmp(path, PATH) == 0)
        return 0;
    lws_return_http_status(wsi, HTTP_STATUS_NOT_FOUND, NULL);
    return -1;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t length)
{
    switch (reason) {
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
        return path_check(wsi);
    case LWS_CALLBACK_ESTABLISHED:
        return page_opened(user, wsi);
    case LWS_CALLBACK_RECEIVE:
        return page_received(user, wsi, in, length);
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return page_writable(user, wsi);
    case LWS_CALLBACK_TIMER:
        return page_timer(user, wsi);
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        page_said_goodbye(user);
        return 0;
    case LWS_CALLBACK_CLOSED:
        page_closed(user);
        return 0;
    default:
        return lws_callback_http_dummy(wsi, reason, user, in, length);
    }
}

static void lws_log(int level, const char *line)
{
    (void)level;
    log_debug("libwebsockets: %.*s", (int)strcspn(line, "\n"), line);
}

static struct lws_context *context_new(int port, const char *token, unsigned idle)
{
    void *loops[] = {loop_uv(loop)};
    /* They must outlive the context. The token is a subprotocol's name to libwebsockets. */
    static struct lws_protocols protocols[2];
    static lws_retry_bo_t keepalive;
    struct lws_context_creation_info info = {
        .port = port,
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_DISABLE_IPV6,
        .foreign_loops = loops,
        .gid = -1,
        .uid = -1,
        .pt_serv_buf_size = READ_MAX,
        .protocols = protocols,
        .retry_and_idle_policy = &keepalive,
    };

    protocols[0] =
        (struct lws_protocols){token, on_event, sizeof(struct page), READ_MAX, 0, NULL, 0};
    keepalive = (lws_retry_bo_t){.secs_since_valid_ping = (uint16_t)(idle / 2),
                                 .secs_since_valid_hangup = (uint16_t)idle};
    lws_set_log_level(LLL_ERR | LLL_WARN, lws_log);
    return lws_create_context(&info);
}

/* On a loop of ours that takes two calls: the first closes its handles, and when the loop has let
 * go of them the second frees it. */
static void context_free(struct lws_context *context)
{
    for (int call = 0; call < 2; call++) {
        lws_context_destroy(context);
        for (int turn = 0; turn < 8; turn++)
            uv_run(loop_uv(loop), UV_RUN_NOWAIT);
    }
}

static void on_signal(void *arg)
{
    loop_stop(arg);
}

static int serve(int port, const char *token, unsigned idle)
{
    struct loop_signal *terminate = NULL;
    struct lws_context *context;
    struct lws_vhost *vhost;
    int r = loop_new(&loop);

    if (r == 0)
        r = loop_signal_new(loop, SIGTERM, on_signal, loop, &terminate);
    if (r < 0)
        return r;
    context = context_new(port, token, idle);
    vhost = context ? lws_get_vhost_by_name(context, "default") : NULL;
    if (!vhost) {
        log_error("the port %d cannot be listened on; is it in use?", port);
        /* What libwebsockets leaves of a context then can be neither used nor freed. */
        _exit(1);
    }
    printf("listening on %d\n", lws_get_vhost_listen_port(vhost));
    fflush(stdout);
    r = loop_run(loop);
    context_free(context);
    loop_signal_free(terminate);
    loop_free(loop);
    return r;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"port", required_argument, NULL, 'p'},
                                            {"token", required_argument, NULL, 't'},
                                            {"idle", required_argument, NULL, 'i'},
                                            {NULL, 0, NULL, 0}};
    const char *token = NULL;
    long port = -1, idle = IDLE_SECONDS;
    int option;

    log_init("bmcweb");
    signal(SIGPIPE, SIG_IGN);
    while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        if (option == 'p')
            port = strtol(optarg, NULL, 10);
        else if (option == 't')
            token = optarg;
        else if (option == 'i')
            idle = strtol(optarg, NULL, 10);
        else
            return 2;
    }
    if (port < 0 || port > 65535 || !token || idle < 2 || idle > 3600 || optind == argc) {
        log_error("usage: bmcweb --port N --token TOKEN [--idle SECONDS] -- PROGRAM [ARGUMENT...]");
        return 2;
    }
    program = argv + optind;
    return serve((int)port, token, (unsigned)idle) < 0;
}
