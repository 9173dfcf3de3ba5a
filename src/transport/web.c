/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The web server: one libwebsockets context with one virtual host, on the program's own loop.
 *
 * Sockets are accepted in web-listen.c and adopted here. HTTP is answered from the page in memory
 * or from a route; a WebSocket is made a stream (ws.c). A connection's opaque pointer is the body
 * it is being sent, or its stream.
 *
 * libwebsockets agrees on a subprotocol by looking the request's up in its table of protocols, and
 * here some pages bring one that nobody has heard of before. So the table has one row whose name is
 * written when a request has been let in, in the very call in which it is looked up.
 *
 * Always holds: no request is looked at before the guard has let it in, and at most
 * WEB_CONNECTIONS_MAX connections exist; accepting pauses at that number. Slow and silent
 * connections end by libwebsockets' own timers, set below.
 */
#include "transport/web.h"

#include <errno.h>
#include <libwebsockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/log.h"
#include "base/loop.h"
#include "transport/web-files.h"
#include "transport/web-guard.h"
#include "transport/web-listen.h"
#include "transport/web-reply.h"
#include "transport/ws.h"

/*
 * Bytes read at once, and so the longest piece a stream gets. libwebsockets reads into one buffer
 * of this size, takes the mask off in place and passes the piece on from there, so nothing is
 * copied. More is slower again: it no longer stays in the processor's cache.
 */
#define READ_MAX   (128 * 1024)
#define HEADER_MAX 4096 /* of a request, all its headers together */
/* Seconds: a request's header must be complete, and an idle connection is kept. */
#define HEADER_SECONDS 10
#define IDLE_SECONDS   15

struct web {
    struct web_config config;
    struct web_files *files;
    struct lws_context *context;
    struct lws_vhost *vhost;
    struct web_listener *listeners[WEB_LISTEN_MAX];
    unsigned connections;                      /* of any kind */
    unsigned sockets;                          /* WebSockets, of those */
    char subprotocol[WEB_GUARD_TOKEN_MAX + 1]; /* of the WebSocket that is being opened; or "" */
    struct lws_protocols protocols[3];
    struct loop_later *later;
    void (*stopped)(void *arg); /* set by web_stop() */
    void *stopped_arg;
};

static const struct lws_protocol_vhost_options headers[] = {
    {&headers[1], NULL, "content-security-policy:",
     "default-src 'none'; script-src 'self'; style-src 'self'; worker-src 'self'; connect-src "
     "'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
    {&headers[2], NULL, "x-content-type-options:", "nosniff"},
    {&headers[3], NULL, "referrer-policy:", "no-referrer"},
    {NULL, NULL, "cross-origin-resource-policy:", "same-origin"},
};

static const lws_retry_bo_t keepalive = {
    .secs_since_valid_ping = 10,
    .secs_since_valid_hangup = 25,
};

/* Copies a header's value; NULL when it is missing, empty or longer than fits. */
static const char *header(struct lws *wsi, enum lws_token_indexes token, char *out, int room)
{
    return lws_hdr_copy(wsi, out, room, token) > 0 ? out : NULL;
}

static const struct web_route *route_find(const struct web *web, const char *path)
{
    for (size_t i = 0; i < web->config.route_count; i++) {
        const struct web_route *route = &web->config.routes[i];

        if (strncmp(path, route->prefix, strlen(route->prefix)) == 0)
            return route;
    }
    return NULL;
}

static bool host_is_ours(const struct web *web, struct lws *wsi)
{
    char host[300];

    return web_guard_host(header(wsi, WSI_TOKEN_HOST, host, sizeof host), web->config.host_names,
                          web->config.host_name_count);
}

static const char foreign_host[] =
    "This server is not known by that name; use its address, or add the name to host_names in the "
    "configuration.";

static int serve_file(struct web *web, struct lws *wsi, const char *path)
{
    const struct web_file *file = web->files ? web_files_find(web->files, path) : NULL;
    struct web_head head = {.status = 200, .cache = "no-cache", .header = "etag:"};
    char known[64];

    if (!file)
        return web_refuse(wsi, 404, "There is nothing here.");
    head.type = file->type;
    head.value = file->etag;
    if (header(wsi, WSI_TOKEN_HTTP_IF_NONE_MATCH, known, sizeof known) &&
        strcmp(known, file->etag) == 0) {
        head.status = 304;
        if (web_head_send(wsi, &head) < 0)
            return -1;
        return lws_http_transaction_completed(wsi) ? -1 : 0;
    }
    head.length = file->length;
    if (web_head_send(wsi, &head) < 0)
        return -1;
    return web_body_start(wsi, NULL, file->bytes, file->length);
}

static int serve_get(struct lws *wsi, const struct web_route *route, const char *path)
{
    struct web_reply reply = {0};
    struct web_head head;

    route->get(route->owner, path, &reply);
    head = (struct web_head){
        .status = reply.status,
        .type = reply.type,
        .length = reply.length,
        .header = reply.allow ? "allow:" : NULL,
        .value = reply.allow,
    };
    if (web_head_send(wsi, &head) < 0) {
        free(reply.body);
        return -1;
    }
    return web_body_start(wsi, reply.body, (const unsigned char *)reply.body, reply.length);
}

/* Whether the request comes from a page of this server. A page from elsewhere cannot pretend to. */
static bool origin_is_ours(struct lws *wsi)
{
    char origin[300], host[300];

    return web_guard_origin(header(wsi, WSI_TOKEN_ORIGIN, origin, sizeof origin),
                            header(wsi, WSI_TOKEN_HOST, host, sizeof host));
}

/* What lws has decoded, into `out`, whose texts are then in `text`. What has no room is left out.
 */
static void arguments_read(struct lws *wsi, char text[HEADER_MAX], struct web_arguments *out)
{
    size_t used = 0;

    for (out->count = 0; out->count < WEB_ARGUMENTS_MAX; out->count++) {
        int n = lws_hdr_copy_fragment(wsi, text + used, (int)(HEADER_MAX - used),
                                      WSI_TOKEN_HTTP_URI_ARGS, (int)out->count);

        if (n < 0)
            return;
        out->text[out->count] = text + used;
        out->length[out->count] = (size_t)n;
        used += (size_t)n + 1;
    }
}

/* Always -1: libwebsockets would go on to wait for a body that nobody wants. */
static int serve_post(struct lws *wsi, const struct web_route *route, const char *path)
{
    const char *sentence = "Only GET and HEAD are understood here.";
    char text[HEADER_MAX];
    struct web_arguments arguments;
    unsigned status = 405;

    if (route && route->post) {
        if (!origin_is_ours(wsi))
            return web_refuse(wsi, 403, "Only this server's own page may ask for this.");
        arguments_read(wsi, text, &arguments);
        status = route->post(route->owner, path, &arguments, &sentence);
    }
    if (status != 204)
        return web_refuse(wsi, status, sentence);
    web_head_send(wsi, &(struct web_head){.status = 204});
    return -1;
}

/* Whether a request brings a body; a length of 0, which a browser says with every POST, is none. */
static bool has_body(struct lws *wsi)
{
    char length[8];

    if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING))
        return true;
    if (!lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH))
        return false;
    return !header(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH, length, sizeof length) ||
           strcmp(length, "0") != 0;
}

static int serve(struct web *web, struct lws *wsi, const char *path)
{
    const struct web_route *route = route_find(web, path);
    bool post = lws_hdr_total_length(wsi, WSI_TOKEN_POST_URI) > 0;

    if (!host_is_ours(web, wsi))
        return web_refuse(wsi, 403, foreign_host);
    if (!post && !lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) &&
        !lws_hdr_total_length(wsi, WSI_TOKEN_HEAD_URI))
        return web_refuse(wsi, 405, "Only GET and HEAD are understood here.");
    if (has_body(wsi))
        return web_refuse(wsi, 400, "A request with a body is not understood here.");
    if (post)
        return serve_post(wsi, route, path);
    return route && route->get ? serve_get(wsi, route, path) : serve_file(web, wsi, path);
}

/* As upgrade_check(), of a plain page's subprotocol, and of who brings one that says so. */
static int plain_page_check(struct web *web, struct lws *wsi, const struct web_route *route)
{
    char cookie[1024];
    bool asks = lws_hdr_total_length(wsi, WSI_TOKEN_PROTOCOL) > 0;
    const char *token = header(wsi, WSI_TOKEN_PROTOCOL, web->subprotocol, sizeof web->subprotocol);
    struct web_visitor visitor = {
        .token = token,
        .cookie = header(wsi, WSI_TOKEN_HTTP_COOKIE, cookie, sizeof cookie),
    };

    if (asks && !(token && web_guard_token(token)))
        return web_refuse(wsi, 400,
                          "The WebSocket may bring one token of letters and digits as its "
                          "subprotocol, and nothing else.");
    return route->admit(route->owner, &visitor) ? 0 : web_refuse(wsi, 403, "Log in first.");
}

static int own_page_check(struct web *web, struct lws *wsi)
{
    char text[300];

    if (!web_guard_list_has(header(wsi, WSI_TOKEN_PROTOCOL, text, sizeof text), WEB_SUBPROTOCOL))
        return web_refuse(wsi, 400,
                          "The WebSocket must ask for the subprotocol " WEB_SUBPROTOCOL ".");
    memcpy(web->subprotocol, WEB_SUBPROTOCOL, sizeof WEB_SUBPROTOCOL);
    return 0;
}

/*
 * May this request become a WebSocket? 0: yes; -1: it has been told why not and is closed. Here a
 * refusal is an HTTP status; what a page must be told in words is said after the upgrade.
 */
static int upgrade_check(struct web *web, struct lws *wsi)
{
    char text[300], path[128];
    const struct web_route *route;
    const char *value;

    if (!host_is_ours(web, wsi))
        return web_refuse(wsi, 403, foreign_host);
    /* A connection that was there before: one after another, they would put the stop off. */
    if (web->stopped)
        return web_refuse(wsi, 503, "This server is stopping.");
    value = header(wsi, WSI_TOKEN_UPGRADE, text, sizeof text);
    if (!value || strcasecmp(value, "websocket") != 0)
        return web_refuse(wsi, 400, "Only an upgrade to a WebSocket is understood here.");
    if (!origin_is_ours(wsi))
        return web_refuse(wsi, 403, "A WebSocket is only opened for this server's own page.");
    route = header(wsi, WSI_TOKEN_GET_URI, path, sizeof path) ? route_find(web, path) : NULL;
    if (!route || !route->open)
        return web_refuse(wsi, 404, "There is no WebSocket here.");
    value = header(wsi, WSI_TOKEN_VERSION, text, sizeof text);
    if (!value || strcmp(value, "13") != 0)
        return web_refuse(wsi, 426,
                          "Only version 13 of the WebSocket protocol is understood here.");
    web->subprotocol[0] = '\0';
    return route->page == WEB_PAGE_OWN ? own_page_check(web, wsi)
                                       : plain_page_check(web, wsi, route);
}

static void connection_gone(struct web *web)
{
    web->connections--;
    for (size_t i = 0; i < web->config.listen_count; i++) {
        if (web->listeners[i])
            web_listener_want(web->listeners[i], true);
    }
}

static int media_open(struct web *web, struct lws *wsi)
{
    char path[128], text[HEADER_MAX];
    struct web_arguments arguments;
    const struct web_route *route;
    struct stream *stream;

    web->subprotocol[0] = '\0';
    if (!header(wsi, WSI_TOKEN_GET_URI, path, sizeof path) || !(route = route_find(web, path)))
        return -1;
    arguments_read(wsi, text, &arguments);
    stream = ws_new(wsi, route->page);
    if (!stream)
        return -1;
    web->sockets++;
    route->open(route->owner, path, &arguments, stream);
    return 0;
}

static void media_closed(struct web *web, struct lws *wsi)
{
    if (!lws_get_opaque_user_data(wsi))
        return;
    web->sockets--;
    if (web->stopped)
        loop_later_set(web->later);
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t length)
{
    struct lws_vhost *vhost = lws_get_vhost(wsi);
    struct web *web = vhost ? lws_vhost_user(vhost) : NULL;

    (void)user;
    if (!web)
        return 0;
    switch (reason) {
    case LWS_CALLBACK_HTTP:
        return serve(web, wsi, in);
    case LWS_CALLBACK_HTTP_WRITEABLE:
        return web_body_write(wsi);
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
        return upgrade_check(web, wsi);
    case LWS_CALLBACK_CLOSED_HTTP:
        web_body_free(wsi);
        return 0;
    case LWS_CALLBACK_WSI_CREATE:
        web->connections++;
        return 0;
    case LWS_CALLBACK_WSI_DESTROY:
        connection_gone(web);
        return 0;
    case LWS_CALLBACK_ESTABLISHED:
        return media_open(web, wsi);
    case LWS_CALLBACK_CLOSED:
        media_closed(web, wsi);
        return ws_callback(wsi, reason, in, length);
    case LWS_CALLBACK_SERVER_WRITEABLE:
    case LWS_CALLBACK_RECEIVE:
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
    case LWS_CALLBACK_TIMER:
        return ws_callback(wsi, reason, in, length);
    default:
        return 0;
    }
}

/* libwebsockets blames remote mistakes loudly; they are no lines for the operator. */
static void lws_log(int level, const char *line)
{
    (void)level;
    log_debug("libwebsockets: %.*s", (int)strcspn(line, "\n"), line);
}

static int context_new(struct web *web)
{
    void *loops[] = {loop_uv(web->config.loop)};
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
        .foreign_loops = loops,
        .pcontext = &web->context,
        .gid = -1,
        .uid = -1,
        .fd_limit_per_thread = WEB_CONNECTIONS_MAX + 16,
        .max_http_header_data = HEADER_MAX,
        .pt_serv_buf_size = READ_MAX,
        .server_string = "platterd",
        .protocols = web->protocols,
        .headers = headers,
        .user = web,
        .vhost_name = "platter",
        .keepalive_timeout = IDLE_SECONDS,
        .timeout_secs = WEB_REPLY_SECONDS,
        .timeout_secs_ah_idle = HEADER_SECONDS,
        .retry_and_idle_policy = &keepalive,
    };

    /* The first is all HTTP's, and that of WebSockets without a subprotocol; its name is no token.
     */
    web->protocols[0] =
        (struct lws_protocols){.name = "/", .callback = callback, .rx_buffer_size = READ_MAX};
    web->protocols[1] = (struct lws_protocols){
        .name = web->subprotocol, .callback = callback, .rx_buffer_size = READ_MAX};
    lws_set_log_level(LLL_ERR | LLL_WARN, lws_log);
    web->context = lws_create_context(&info);
    if (!web->context)
        return -EIO;
    web->vhost = lws_create_vhost(web->context, &info);
    return web->vhost ? 0 : -EIO;
}

static void accepted(void *arg, int take_fd)
{
    struct web *web = arg;

    /* It closes the descriptor when it fails. */
    lws_adopt_socket_vhost(web->vhost, take_fd);
    for (size_t i = 0; i < web->config.listen_count; i++) {
        if (web->listeners[i] && web->connections >= WEB_CONNECTIONS_MAX)
            web_listener_want(web->listeners[i], false);
    }
}

static void stop_check(void *arg)
{
    struct web *web = arg;

    if (web->sockets == 0)
        web->stopped(web->stopped_arg);
}

int web_new(const struct web_config *config, struct web **out, char *error, size_t room)
{
    struct web *web = calloc(1, sizeof *web);
    int r;

    if (!web) {
        snprintf(error, room, "there is not enough memory for the web server.");
        return -ENOMEM;
    }
    web->config = *config;
    r = loop_later_new(config->loop, stop_check, web, &web->later);
    if (r < 0)
        snprintf(error, room, "there is not enough memory for the web server.");
    else if (*config->page_dir)
        r = web_files_read(config->page_dir, &web->files, error, room);
    if (r == 0 && context_new(web) < 0) {
        r = -EIO;
        snprintf(error, room,
                 "libwebsockets does not start; install its libuv plugin (on Debian "
                 "libwebsockets-evlib-uv), or set PLATTER_DEBUG=1 to see what it says.");
    }
    for (size_t i = 0; r == 0 && i < config->listen_count; i++)
        r = web_listener_new(config->loop, &config->listen[i], accepted, web, &web->listeners[i],
                             error, room);
    if (r < 0) {
        web_free(web);
        return r;
    }
    *out = web;
    return 0;
}

static void stop_listening(struct web *web)
{
    for (size_t i = 0; i < web->config.listen_count; i++) {
        web_listener_free(web->listeners[i]);
        web->listeners[i] = NULL;
    }
}

void web_stop(struct web *web, void (*stopped)(void *arg), void *arg)
{
    if (web->stopped)
        return;
    web->stopped = stopped;
    web->stopped_arg = arg;
    stop_listening(web);
    loop_later_set(web->later);
}

void web_free(struct web *web)
{
    if (!web)
        return;
    stop_listening(web);
    loop_later_free(web->later);
    web->later = NULL;
    web->stopped = NULL;
    /*
     * On a loop of ours libwebsockets is destroyed in two calls: the first closes its handles,
     * whose memory is in the context, and when the loop has let go of them the second frees it.
     */
    for (int call = 0; call < 2 && web->context; call++) {
        lws_context_destroy(web->context);
        for (int turn = 0; turn < 8; turn++)
            uv_run(loop_uv(web->config.loop), UV_RUN_NOWAIT);
    }
    web_files_free(web->files);
    free(web);
}
