// SPDX-License-Identifier: Apache-2.0
/*
 * The NBD server's handshake: "Fixed newstyle negotiation", "Option types".
 *
 * There is one image, under the default name (the empty one). TLS is not spoken here ("NOTLS
 * mode"), nor are metadata contexts: whatever is not known is answered with ERR_UNSUP. A client
 * that did not claim fixed newstyle could not read such an answer, so it may ask for EXPORT_NAME
 * only.
 */
#include <errno.h>

#include "proto/nbd-server-parts.h"

/* Option data longer than this are an attack ("Termination of the session during option haggling").
 */
#define DRAIN_MAX (1u << 20)

#define PREFERRED_BLOCK 4096u

static uint16_t transmission_flags(const struct nbd_server *s)
{
    /* CAN_MULTI_CONN: all connections are served from one image through one cache. */
    uint16_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_CAN_MULTI_CONN;

    if (s->config.writable)
        flags |= NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES;
    else
        flags |= NBD_FLAG_READ_ONLY;
    return s->structured ? flags | NBD_FLAG_SEND_DF : flags;
}

static void say_reply(const struct nbd_server *s, struct nbd_server_event *event, uint32_t type,
                      const void *data, size_t length)
{
    struct bytes_writer w =
        bytes_writer(event->say + event->say_length, sizeof event->say - event->say_length);

    nbd_put_option_reply(&w, &(struct nbd_option_reply){
                                 .option = s->option.option,
                                 .type = type,
                                 .length = (uint32_t)length,
                             });
    bytes_put(&w, data, length);
    event->kind = NBD_SERVER_SAY;
    event->say_length += w.used;
}

void nbd_server_refuse_option(struct nbd_server *s, struct nbd_server_event *event)
{
    say_reply(s, event, s->option_refusal, NULL, 0);
}

static int take_export_name(struct nbd_server *s, struct nbd_server_event *event)
{
    struct bytes_writer w = bytes_writer(event->say, sizeof event->say);

    /* This option has no way to say no. */
    if (s->option.length > 0)
        return (int)nbd_server_fail(s, "the client asked for an image under another name");
    nbd_put_export_reply(
        &w, &(struct nbd_export){.size = s->config.size, .flags = transmission_flags(s)},
        !(s->client_flags & NBD_FLAG_NO_ZEROES));
    event->kind = NBD_SERVER_SAY;
    event->say_length = w.used;
    s->phase = NBD_SERVER_TRANSMIT;
    return 0;
}

static void take_list(struct nbd_server *s, struct nbd_server_event *event)
{
    uint8_t listed[4];
    struct bytes_writer w = bytes_writer(listed, sizeof listed);

    if (s->option.length > 0) {
        say_reply(s, event, NBD_REP_ERR_INVALID, NULL, 0);
        return;
    }
    nbd_put_listed(&w, &(struct nbd_listed){.name_length = 0});
    say_reply(s, event, NBD_REP_SERVER, listed, w.used);
    say_reply(s, event, NBD_REP_ACK, NULL, 0);
}

static void take_structured(struct nbd_server *s, struct nbd_server_event *event)
{
    if (s->option.length > 0) {
        say_reply(s, event, NBD_REP_ERR_INVALID, NULL, 0);
        return;
    }
    s->structured = true;
    say_reply(s, event, NBD_REP_ACK, NULL, 0);
}

/* INFO and GO: "NBD_OPT_INFO (6) and NBD_OPT_GO (7)". */
static void take_info(struct nbd_server *s, const uint8_t *data, struct nbd_server_event *event)
{
    struct nbd_info_request asked;
    uint8_t info[NBD_INFO_BLOCK_SIZE_SIZE];
    struct bytes_writer w = bytes_writer(info, sizeof info);

    if (nbd_get_info_request(data, s->option.length, &asked) < 0) {
        say_reply(s, event, NBD_REP_ERR_INVALID, NULL, 0);
        return;
    }
    if (asked.name_length > 0) {
        say_reply(s, event, NBD_REP_ERR_UNKNOWN, NULL, 0);
        return;
    }
    nbd_put_info_export(
        &w, &(struct nbd_export){.size = s->config.size, .flags = transmission_flags(s)});
    say_reply(s, event, NBD_REP_INFO, info, w.used);
    if (nbd_info_asked(&asked, NBD_INFO_BLOCK_SIZE)) {
        w = bytes_writer(info, sizeof info);
        nbd_put_info_block_size(&w, &(struct nbd_block_size){
                                        .minimum = 1,
                                        .preferred = PREFERRED_BLOCK,
                                        .maximum = NBD_PAYLOAD_MAX,
                                    });
        say_reply(s, event, NBD_REP_INFO, info, w.used);
    }
    say_reply(s, event, NBD_REP_ACK, NULL, 0);
    if (s->option.option == NBD_OPT_GO)
        s->phase = NBD_SERVER_TRANSMIT;
}

static int take_option(struct nbd_server *s, const uint8_t *data, struct nbd_server_event *event)
{
    switch (s->option.option) {
    case NBD_OPT_EXPORT_NAME:
        return take_export_name(s, event);
    case NBD_OPT_ABORT:
        say_reply(s, event, NBD_REP_ACK, NULL, 0);
        event->kind = NBD_SERVER_SAY_LAST;
        s->phase = NBD_SERVER_ENDED;
        s->reason = "the client gave up the handshake";
        return 0;
    case NBD_OPT_LIST:
        take_list(s, event);
        return 0;
    case NBD_OPT_STRUCTURED_REPLY:
        take_structured(s, event);
        return 0;
    default:
        take_info(s, data, event);
        return 0;
    }
}

static bool is_known(uint32_t option)
{
    return option == NBD_OPT_EXPORT_NAME || option == NBD_OPT_ABORT || option == NBD_OPT_LIST ||
           option == NBD_OPT_INFO || option == NBD_OPT_GO || option == NBD_OPT_STRUCTURED_REPLY;
}

static ssize_t header_step(struct nbd_server *s, const uint8_t *bytes, size_t length,
                           struct nbd_server_event *event)
{
    ssize_t used = nbd_get_option(bytes, length, &s->option);

    if (used < 0)
        return nbd_server_fail(s, "the client sent no option where one is due");
    if (used == 0)
        return 0;
    if (!(s->client_flags & NBD_FLAG_FIXED_NEWSTYLE) && s->option.option != NBD_OPT_EXPORT_NAME)
        return nbd_server_fail(s, "the client sent an option it did not claim to know");
    if (s->option.length > DRAIN_MAX)
        return nbd_server_fail(s, "the client sent an option of absurd length");
    if (!is_known(s->option.option) || s->option.length > NBD_HELD_MAX) {
        if (s->option.option == NBD_OPT_EXPORT_NAME)
            return nbd_server_fail(s, "the client asked for an image under too long a name");
        s->option_refusal = is_known(s->option.option) ? NBD_REP_ERR_TOO_BIG : NBD_REP_ERR_UNSUP;
        s->drain_left = s->option.length;
        if (s->drain_left == 0)
            nbd_server_refuse_option(s, event);
        return used;
    }
    if (s->option.length > 0)
        s->in_option = true;
    else if (take_option(s, NULL, event) < 0)
        return -EPROTO;
    return used;
}

static ssize_t client_flags_step(struct nbd_server *s, const uint8_t *bytes, size_t length)
{
    ssize_t used = nbd_get_client_flags(bytes, length, &s->client_flags);

    if (used <= 0)
        return used;
    /* "Client flags": the connection must be dropped for any other. */
    if (s->client_flags & ~(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES))
        return nbd_server_fail(s, "the client set flags that nobody knows");
    s->phase = NBD_SERVER_OPTIONS;
    return used;
}

ssize_t nbd_server_options_step(struct nbd_server *s, const uint8_t *bytes, size_t length,
                                struct nbd_server_event *event)
{
    if (s->phase == NBD_SERVER_CLIENT_FLAGS)
        return client_flags_step(s, bytes, length);
    if (!s->in_option)
        return header_step(s, bytes, length, event);
    if (length < s->option.length)
        return 0;
    s->in_option = false;
    return take_option(s, bytes, event) < 0 ? -EPROTO : (ssize_t)s->option.length;
}
