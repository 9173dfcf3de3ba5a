/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages of the helper's socket, to bytes and back. Owns nothing; `out` of a decode that
 * failed holds nothing of use.
 *
 *      0  version (1)   type (1)   slot (2)   id (4)
 *      8  ATTACH, ADOPT  kind (1)  flags (1)  zero (6)  size (8)                  24 in all
 *         DETACH   flags (1)  zero (3)                                            12 in all
 *         RELOAD                                                                   8 in all
 *         USB_ATTACH, USB_ADOPT   drives (1)  zero (3)                            12 in all
 *         REPLY, GONE   error (4)  device (4)  functions (1)
 *                       reason length (1)  reason (222)                         240 in all
 */
#include "proto/privmsg.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

#define ERROR_MAX       4095
#define FLAG_READ_ONLY  1u
#define FLAG_LINK_ALIVE 1u

static bool printable(uint8_t c)
{
    return c >= ' ' && c <= '~';
}

void privmsg_set_reason(struct privmsg *m, const char *text)
{
    size_t n = 0;

    for (; text[n] && n < PRIVMSG_REASON_MAX; n++)
        m->reason[n] = printable((uint8_t)text[n]) ? text[n] : '?';
    m->reason[n] = '\0';
}

static bool sayable(const struct privmsg *m)
{
    if (m->slot >= PRIVMSG_SLOTS_MAX)
        return false;
    switch (m->type) {
    case PRIVMSG_ATTACH:
    case PRIVMSG_ADOPT:
        return m->size > 0 && (m->kind == MEDIUM_DISK || m->kind == MEDIUM_CD);
    case PRIVMSG_DETACH:
    case PRIVMSG_RELOAD:
        return true;
    case PRIVMSG_USB_ATTACH:
    case PRIVMSG_USB_ADOPT:
        return m->drives >= 1 && m->drives <= PRIVMSG_DRIVES_MAX;
    case PRIVMSG_REPLY:
        if (m->functions > PRIVMSG_FUNCTIONS_MAX || (m->functions > 0 && m->error))
            return false;
        return m->error <= 0 && m->error >= -ERROR_MAX;
    case PRIVMSG_GONE:
        return m->error <= 0 && m->error >= -ERROR_MAX && m->functions == 0;
    }
    return false;
}

static void put_zeroes(struct bytes_writer *w, size_t count)
{
    while (count--)
        bytes_put_u8(w, 0);
}

static void put_report(struct bytes_writer *w, const struct privmsg *m)
{
    size_t length = strnlen(m->reason, PRIVMSG_REASON_MAX);

    bytes_put_u32(w, (uint32_t)-m->error);
    bytes_put_u32(w, m->device);
    bytes_put_u8(w, (uint8_t)m->functions);
    bytes_put_u8(w, (uint8_t)length);
    for (size_t i = 0; i < length; i++)
        bytes_put_u8(w, printable((uint8_t)m->reason[i]) ? (uint8_t)m->reason[i] : '?');
    put_zeroes(w, PRIVMSG_REASON_MAX - length);
}

size_t privmsg_encode(const struct privmsg *m, uint8_t out[PRIVMSG_SIZE_MAX])
{
    struct bytes_writer w = bytes_writer(out, PRIVMSG_SIZE_MAX);

    if (!sayable(m))
        return 0;
    bytes_put_u8(&w, PRIVMSG_VERSION);
    bytes_put_u8(&w, (uint8_t)m->type);
    bytes_put_u16(&w, (uint16_t)m->slot);
    bytes_put_u32(&w, m->id);
    switch (m->type) {
    case PRIVMSG_ATTACH:
    case PRIVMSG_ADOPT:
        bytes_put_u8(&w, m->kind == MEDIUM_CD);
        bytes_put_u8(&w, m->read_only ? FLAG_READ_ONLY : 0);
        put_zeroes(&w, 6);
        bytes_put_u64(&w, m->size);
        break;
    case PRIVMSG_DETACH:
        bytes_put_u8(&w, m->link_alive ? FLAG_LINK_ALIVE : 0);
        put_zeroes(&w, 3);
        break;
    case PRIVMSG_RELOAD:
        break;
    case PRIVMSG_USB_ATTACH:
    case PRIVMSG_USB_ADOPT:
        bytes_put_u8(&w, (uint8_t)m->drives);
        put_zeroes(&w, 3);
        break;
    case PRIVMSG_REPLY:
    case PRIVMSG_GONE:
        put_report(&w, m);
        break;
    }
    return w.bad ? 0 : w.used;
}

static bool take_zeroes(struct bytes_reader *r, size_t count)
{
    const uint8_t *p = bytes_take(r, count);

    for (size_t i = 0; p && i < count; i++) {
        if (p[i] != 0)
            return false;
    }
    return p != NULL;
}

static bool take_attach(struct bytes_reader *r, struct privmsg *m)
{
    uint8_t kind = bytes_get_u8(r);
    uint8_t flags = bytes_get_u8(r);

    if (kind > 1 || (flags & ~FLAG_READ_ONLY) || !take_zeroes(r, 6))
        return false;
    m->kind = kind ? MEDIUM_CD : MEDIUM_DISK;
    m->read_only = flags & FLAG_READ_ONLY;
    m->size = bytes_get_u64(r);
    return true;
}

static bool take_detach(struct bytes_reader *r, struct privmsg *m)
{
    uint8_t flags = bytes_get_u8(r);

    m->link_alive = flags & FLAG_LINK_ALIVE;
    return !(flags & ~FLAG_LINK_ALIVE) && take_zeroes(r, 3);
}

static bool take_report(struct bytes_reader *r, struct privmsg *m)
{
    uint32_t error = bytes_get_u32(r);
    size_t length;
    const uint8_t *text;

    m->device = bytes_get_u32(r);
    m->functions = bytes_get_u8(r);
    length = bytes_get_u8(r);
    if (error > ERROR_MAX || length > PRIVMSG_REASON_MAX)
        return false;
    m->error = -(int)error;
    text = bytes_take(r, length);
    if (!text)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (!printable(text[i]))
            return false;
        m->reason[i] = (char)text[i];
    }
    return take_zeroes(r, PRIVMSG_REASON_MAX - length);
}

int privmsg_decode(const void *data, size_t length, struct privmsg *out)
{
    struct bytes_reader r = bytes_reader(data, length);
    uint8_t version = bytes_get_u8(&r);
    uint8_t type = bytes_get_u8(&r);
    bool good;

    if (r.bad)
        return -EBADMSG;
    if (version != PRIVMSG_VERSION)
        return -EPROTONOSUPPORT;
    memset(out, 0, sizeof *out);
    out->device = PRIVMSG_NO_DEVICE;
    out->slot = bytes_get_u16(&r);
    out->id = bytes_get_u32(&r);
    switch (type) {
    case PRIVMSG_ATTACH:
    case PRIVMSG_ADOPT:
        good = take_attach(&r, out);
        break;
    case PRIVMSG_DETACH:
        good = take_detach(&r, out);
        break;
    case PRIVMSG_RELOAD:
        good = true;
        break;
    case PRIVMSG_USB_ATTACH:
    case PRIVMSG_USB_ADOPT:
        out->drives = bytes_get_u8(&r);
        good = take_zeroes(&r, 3);
        break;
    case PRIVMSG_REPLY:
    case PRIVMSG_GONE:
        good = take_report(&r, out);
        break;
    default:
        return -EBADMSG;
    }
    out->type = (enum privmsg_type)type;
    return good && !r.bad && r.left == 0 && sayable(out) ? 0 : -EBADMSG;
}
