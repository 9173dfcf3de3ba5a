// SPDX-License-Identifier: Apache-2.0
/*
 * The NBD client's handshake: "Newstyle negotiation", "Fixed newstyle negotiation".
 *
 * It asks for structured replies, if it is to, with them for the metadata context
 * "base:allocation" ("Metadata querying"), then to go, with the block sizes told; a server that
 * knows one or the other not is taken as it is: simple replies, no knowledge of zeroes,
 * EXPORT_NAME. A server of the old style is refused, since it has no way to say no. All answers are
 * bounded: in length, and in how many there may be.
 */
#include <errno.h>

#include "proto/nbd-client-parts.h"

/* More pieces of information than the specification knows kinds. */
#define INFO_COUNT_MAX 32

/* A page, which the cache is made of. Nobody is known to take less at once, and who did would have
 * one read of the machine cut into millions. */
#define MAXIMUM_LEAST 4096

static void say_option(struct nbd_client_event *event, uint32_t option, const void *data,
                       size_t length)
{
    struct bytes_writer w =
        bytes_writer(event->say + event->say_length, sizeof event->say - event->say_length);

    nbd_put_option(&w, &(struct nbd_option){.option = option, .length = (uint32_t)length});
    bytes_put(&w, data, length);
    event->kind = NBD_CLIENT_SAY;
    event->say_length += w.used;
}

static void ask_go(struct nbd_client *c, struct nbd_client_event *event)
{
    static const uint16_t infos[] = {NBD_INFO_BLOCK_SIZE};
    uint8_t data[16];
    struct bytes_writer w = bytes_writer(data, sizeof data);

    nbd_put_info_request(&w, "", infos, 1);
    say_option(event, NBD_OPT_GO, data, w.used);
    c->phase = NBD_CLIENT_GO;
}

static void ask_meta(struct nbd_client *c, struct nbd_client_event *event)
{
    uint8_t data[NBD_CLIENT_SAY_MAX];
    struct bytes_writer w = bytes_writer(data, sizeof data);

    nbd_put_meta_request(&w, "", NBD_BASE_ALLOCATION);
    say_option(event, NBD_OPT_SET_META_CONTEXT, data, w.used);
    c->phase = NBD_CLIENT_META;
}

static void ask_export_name(struct nbd_client *c, struct nbd_client_event *event)
{
    /* What came with a GO that failed binds nobody. */
    c->got_export = false;
    c->got_blocks = false;
    say_option(event, NBD_OPT_EXPORT_NAME, NULL, 0);
    c->phase = NBD_CLIENT_EXPORT;
}

static ssize_t hello_step(struct nbd_client *c, const uint8_t *bytes, size_t length,
                          struct nbd_client_event *event)
{
    ssize_t used = nbd_get_hello(bytes, length, &c->hello_flags);

    if (used == -EPROTONOSUPPORT)
        return nbd_client_fail(c,
                               "the far end speaks the old NBD handshake, which is not supported");
    if (used < 0)
        return nbd_client_fail(c, "the far end is not an NBD server");
    if (used == 0)
        return 0;

    struct bytes_writer w = bytes_writer(event->say, sizeof event->say);

    /* Both flags mean the same in both directions, and unknown ones are not to be echoed. */
    nbd_put_client_flags(&w, c->hello_flags & (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES));
    event->say_length = w.used;
    if (!(c->hello_flags & NBD_FLAG_FIXED_NEWSTYLE)) {
        ask_export_name(c, event);
    } else if (c->wants_structured) {
        say_option(event, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
        c->phase = NBD_CLIENT_STRUCTURED;
    } else {
        ask_go(c, event);
    }
    return used;
}

/* The far end's words are all there: are they those of a usable image? */
static int begin_transmission(struct nbd_client *c, struct nbd_client_event *event)
{
    struct nbd_client_offer *offer = &c->offer;

    if (!c->got_blocks)
        offer->blocks = (struct nbd_block_size){1, 4096, UINT32_MAX};
    if (!(offer->export.flags & NBD_FLAG_HAS_FLAGS))
        return (int)nbd_client_fail(
            c, "the far end describes its image without the flags it must set");
    if (offer->export.size == 0)
        return (int)nbd_client_refuse(c, "the image is empty");
    if (offer->export.size > INT64_MAX)
        return (int)nbd_client_fail(c, "the far end names a size that no image can have");
    if (offer->blocks.maximum < MAXIMUM_LEAST && offer->blocks.maximum < offer->export.size)
        return (int)nbd_client_refuse(c, "the far end takes reads of a few bytes only");
    if (offer->export.size % offer->blocks.minimum != 0)
        return (int)nbd_client_refuse(
            c, "the image's size is not a multiple of the smallest block the far end reads");
    c->phase = NBD_CLIENT_TRANSMIT;
    event->kind = NBD_CLIENT_READY;
    return 0;
}

static ssize_t export_step(struct nbd_client *c, const uint8_t *bytes, size_t length,
                           struct nbd_client_event *event)
{
    bool zeroes = !(c->hello_flags & NBD_FLAG_NO_ZEROES);
    ssize_t used = nbd_get_export_reply(bytes, length, zeroes, &c->offer.export);

    if (used > 0 && begin_transmission(c, event) < 0)
        return -EPROTO;
    return used;
}

static bool is_power_of_two(uint32_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

/* "Size constraints"; but a maximum below what is preferred harms nobody, and there are servers
 * that have one. */
static bool are_lawful_blocks(const struct nbd_block_size *b)
{
    return is_power_of_two(b->minimum) && b->minimum <= 65536 && is_power_of_two(b->preferred) &&
           b->minimum <= b->preferred && b->minimum <= b->maximum;
}

static int take_export(struct nbd_client *c, const uint8_t *data, size_t length)
{
    struct nbd_export got;

    if (nbd_get_info_export(data, length, &got) < 0)
        return (int)nbd_client_fail(c, "the far end describes its image in the wrong length");
    if (c->got_export && (got.size != c->offer.export.size || got.flags != c->offer.export.flags))
        return (int)nbd_client_fail(c, "the far end describes its image in two ways");
    c->offer.export = got;
    c->got_export = true;
    return 0;
}

static int take_blocks(struct nbd_client *c, const uint8_t *data, size_t length)
{
    struct nbd_block_size got;

    if (nbd_get_info_block_size(data, length, &got) < 0)
        return (int)nbd_client_fail(c, "the far end tells its block sizes in the wrong length");
    if (!are_lawful_blocks(&got))
        return (int)nbd_client_fail(c, "the far end tells block sizes that cannot be");
    if (c->got_blocks &&
        (got.minimum != c->offer.blocks.minimum || got.preferred != c->offer.blocks.preferred ||
         got.maximum != c->offer.blocks.maximum))
        return (int)nbd_client_fail(c, "the far end tells its block sizes in two ways");
    c->offer.blocks = got;
    c->got_blocks = true;
    return 0;
}

static int take_info(struct nbd_client *c, const uint8_t *data, size_t length)
{
    struct bytes_reader r = bytes_reader(data, length);
    uint16_t info = bytes_get_u16(&r);

    if (r.bad)
        return (int)nbd_client_fail(c, "the far end sent a piece of information without a kind");
    if (++c->info_count > INFO_COUNT_MAX)
        return (int)nbd_client_fail(c, "the far end sent information without end");
    if (info == NBD_INFO_EXPORT)
        return take_export(c, data, length);
    if (info == NBD_INFO_BLOCK_SIZE)
        return take_blocks(c, data, length);
    return 0;
}

/* "Metadata querying": the one that was asked for, at most once. */
static int take_context(struct nbd_client *c, const uint8_t *data, size_t length)
{
    static const char name[] = NBD_BASE_ALLOCATION;
    struct nbd_meta_context got;

    if (nbd_get_meta_context(data, length, &got) < 0 || got.name_length != sizeof name - 1 ||
        memcmp(got.name, name, sizeof name - 1) != 0)
        return (int)nbd_client_fail(c, "the far end chose a metadata context not asked for");
    if (c->offer.extents)
        return (int)nbd_client_fail(c, "the far end chose a metadata context twice");
    c->offer.extents = true;
    c->context = got.id;
    return 0;
}

/* An error that asking for less would not mend; NULL for the others. "Option reply types". */
static const char *final_error(uint32_t type)
{
    switch (type) {
    case NBD_REP_ERR_TLS_REQD:
        return "the far end demands TLS inside NBD, which is not supported";
    case NBD_REP_ERR_UNKNOWN:
        return "the far end has no image under the default name";
    case NBD_REP_ERR_SHUTDOWN:
        return "the far end is shutting down";
    default:
        return NULL;
    }
}

/* An answer that refuses what was asked: go on with less, or give up. */
static int take_error(struct nbd_client *c, struct nbd_client_event *event)
{
    const char *final = final_error(c->reply.type);

    if (c->phase == NBD_CLIENT_META) {
        /* A context that came before the error is void. What is final is said to GO, too. */
        c->offer.extents = false;
        ask_go(c, event);
        return 0;
    }
    if (final)
        return (int)nbd_client_refuse(c, final);
    if (c->phase == NBD_CLIENT_STRUCTURED)
        ask_go(c, event);
    else
        ask_export_name(c, event);
    return 0;
}

static int take_reply(struct nbd_client *c, const uint8_t *data, struct nbd_client_event *event)
{
    const struct nbd_option_reply *reply = &c->reply;

    if (reply->type & NBD_REP_ERROR)
        return take_error(c, event);
    if (reply->type == NBD_REP_INFO && c->phase == NBD_CLIENT_GO)
        return take_info(c, data, reply->length);
    if (reply->type == NBD_REP_META_CONTEXT && c->phase == NBD_CLIENT_META)
        return take_context(c, data, reply->length);
    if (reply->type != NBD_REP_ACK)
        return (int)nbd_client_fail(c, "the far end answered an option with something unfit");
    if (reply->length > 0)
        return (int)nbd_client_fail(c,
                                    "the far end accepted an option with data where none belong");
    if (c->phase == NBD_CLIENT_STRUCTURED) {
        c->offer.structured = true;
        ask_meta(c, event);
        return 0;
    }
    if (c->phase == NBD_CLIENT_META) {
        ask_go(c, event);
        return 0;
    }
    if (!c->got_export)
        return (int)nbd_client_fail(c, "the far end began without describing its image");
    c->offer.go = true;
    return begin_transmission(c, event);
}

/* The option that the present phase waits for an answer to. */
static uint32_t asked_option(const struct nbd_client *c)
{
    switch (c->phase) {
    case NBD_CLIENT_STRUCTURED:
        return NBD_OPT_STRUCTURED_REPLY;
    case NBD_CLIENT_META:
        return NBD_OPT_SET_META_CONTEXT;
    default:
        return NBD_OPT_GO;
    }
}

static ssize_t option_step(struct nbd_client *c, const uint8_t *bytes, size_t length,
                           struct nbd_client_event *event)
{
    ssize_t used;

    if (c->in_reply) {
        if (length < c->reply.length)
            return 0;
        c->in_reply = false;
        return take_reply(c, bytes, event) < 0 ? -EPROTO : (ssize_t)c->reply.length;
    }
    used = nbd_get_option_reply(bytes, length, &c->reply);
    if (used < 0)
        return nbd_client_fail(c, "the far end answered an option with no option reply");
    if (used == 0)
        return 0;
    if (c->reply.option != asked_option(c))
        return nbd_client_fail(c, "the far end answered an option that was not asked");
    if (c->reply.length > NBD_HELD_MAX)
        return nbd_client_fail(c, "the far end sent an option reply of absurd length");
    if (c->reply.length > 0)
        c->in_reply = true;
    else if (take_reply(c, NULL, event) < 0)
        return -EPROTO;
    return used;
}

ssize_t nbd_client_handshake_step(struct nbd_client *c, const uint8_t *bytes, size_t length,
                                  struct nbd_client_event *event)
{
    event->say_length = 0;
    if (c->phase == NBD_CLIENT_HELLO)
        return hello_step(c, bytes, length, event);
    if (c->phase == NBD_CLIENT_EXPORT)
        return export_step(c, bytes, length, event);
    return option_step(c, bytes, length, event);
}
