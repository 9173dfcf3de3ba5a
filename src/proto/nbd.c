// SPDX-License-Identifier: Apache-2.0
/*
 * The layouts of nbd.h over bounded cursors. Each structure's encode and decode stand together, so
 * that one can be read against the other; both are held to the golden bytes in tests/vectors. A
 * wrong magic is refused as soon as its bytes are there, before anything else is waited for.
 */
#include "proto/nbd.h"

#include <errno.h>

/*
 * What a stream decoder returns once its reader has run: malformed as soon as the first
 * `magic_width` bytes are there and wrong, else "more" until the reader had all it wanted.
 */
static ssize_t judge(const struct bytes_reader *r, size_t length, size_t magic_width,
                     bool magic_right)
{
    if (length >= magic_width && !magic_right)
        return -EPROTO;
    return r->bad ? 0 : (ssize_t)(length - r->left);
}

void nbd_put_hello(struct bytes_writer *w, uint16_t flags)
{
    bytes_put_u64(w, NBD_MAGIC);
    bytes_put_u64(w, NBD_OPTION_MAGIC);
    bytes_put_u16(w, flags);
}

ssize_t nbd_get_hello(const uint8_t *bytes, size_t length, uint16_t *flags)
{
    struct bytes_reader r = bytes_reader(bytes, length);
    uint64_t magic = bytes_get_u64(&r);

    if (r.bad)
        return 0;
    if (magic != NBD_MAGIC)
        return -EPROTO;

    uint64_t style = bytes_get_u64(&r);

    if (r.bad)
        return 0;
    if (style == NBD_OLDSTYLE_MAGIC)
        return -EPROTONOSUPPORT;
    if (style != NBD_OPTION_MAGIC)
        return -EPROTO;

    uint16_t got = bytes_get_u16(&r);

    if (r.bad)
        return 0;
    *flags = got;
    return NBD_HELLO_SIZE;
}

void nbd_put_client_flags(struct bytes_writer *w, uint32_t flags)
{
    bytes_put_u32(w, flags);
}

ssize_t nbd_get_client_flags(const uint8_t *bytes, size_t length, uint32_t *flags)
{
    struct bytes_reader r = bytes_reader(bytes, length);
    uint32_t got = bytes_get_u32(&r);

    if (r.bad)
        return 0;
    *flags = got;
    return NBD_CLIENT_FLAGS_SIZE;
}

void nbd_put_option(struct bytes_writer *w, const struct nbd_option *option)
{
    bytes_put_u64(w, NBD_OPTION_MAGIC);
    bytes_put_u32(w, option->option);
    bytes_put_u32(w, option->length);
}

ssize_t nbd_get_option(const uint8_t *bytes, size_t length, struct nbd_option *out)
{
    struct bytes_reader r = bytes_reader(bytes, length);
    uint64_t magic = bytes_get_u64(&r);
    struct nbd_option got;

    got.option = bytes_get_u32(&r);
    got.length = bytes_get_u32(&r);

    ssize_t used = judge(&r, length, sizeof magic, magic == NBD_OPTION_MAGIC);

    if (used > 0)
        *out = got;
    return used;
}

void nbd_put_option_reply(struct bytes_writer *w, const struct nbd_option_reply *reply)
{
    bytes_put_u64(w, NBD_REPLY_MAGIC);
    bytes_put_u32(w, reply->option);
    bytes_put_u32(w, reply->type);
    bytes_put_u32(w, reply->length);
}

ssize_t nbd_get_option_reply(const uint8_t *bytes, size_t length, struct nbd_option_reply *out)
{
    struct bytes_reader r = bytes_reader(bytes, length);
    uint64_t magic = bytes_get_u64(&r);
    struct nbd_option_reply got;

    got.option = bytes_get_u32(&r);
    got.type = bytes_get_u32(&r);
    got.length = bytes_get_u32(&r);

    ssize_t used = judge(&r, length, sizeof magic, magic == NBD_REPLY_MAGIC);

    if (used > 0)
        *out = got;
    return used;
}

void nbd_put_export_reply(struct bytes_writer *w, const struct nbd_export *export, bool zeroes)
{
    static const uint8_t nothing[NBD_EXPORT_ZEROES];

    bytes_put_u64(w, export->size);
    bytes_put_u16(w, export->flags);
    if (zeroes)
        bytes_put(w, nothing, sizeof nothing);
}

ssize_t nbd_get_export_reply(const uint8_t *bytes, size_t length, bool zeroes,
                             struct nbd_export *out)
{
    struct bytes_reader r = bytes_reader(bytes, length);
    struct nbd_export got;

    got.size = bytes_get_u64(&r);
    got.flags = bytes_get_u16(&r);

    if (zeroes)
        bytes_take(&r, NBD_EXPORT_ZEROES);
    if (r.bad)
        return 0;
    *out = got;
    return (ssize_t)(length - r.left);
}

void nbd_put_info_request(struct bytes_writer *w, const char *name, const uint16_t *infos,
                          uint16_t info_count)
{
    size_t length = strlen(name);

    bytes_put_u32(w, (uint32_t)length);
    bytes_put(w, name, length);
    bytes_put_u16(w, info_count);
    for (uint16_t i = 0; i < info_count; i++)
        bytes_put_u16(w, infos[i]);
}

int nbd_get_info_request(const uint8_t *data, size_t length, struct nbd_info_request *out)
{
    struct bytes_reader r = bytes_reader(data, length);
    struct nbd_info_request got = {0};

    got.name_length = bytes_get_u32(&r);
    got.name = bytes_take(&r, got.name_length);
    got.info_count = bytes_get_u16(&r);
    got.infos = bytes_take(&r, 2 * (size_t)got.info_count);
    if (r.bad || r.left > 0)
        return -EPROTO;
    *out = got;
    return 0;
}

bool nbd_info_asked(const struct nbd_info_request *request, uint16_t info)
{
    struct bytes_reader r = bytes_reader(request->infos, 2 * (size_t)request->info_count);

    for (uint16_t i = 0; i < request->info_count; i++) {
        if (bytes_get_u16(&r) == info)
            return true;
    }
    return false;
}

void nbd_put_info_export(struct bytes_writer *w, const struct nbd_export *export)
{
    bytes_put_u16(w, NBD_INFO_EXPORT);
    bytes_put_u64(w, export->size);
    bytes_put_u16(w, export->flags);
}

int nbd_get_info_export(const uint8_t *data, size_t length, struct nbd_export *out)
{
    struct bytes_reader r = bytes_reader(data, length);
    uint16_t info = bytes_get_u16(&r);
    struct nbd_export got;

    got.size = bytes_get_u64(&r);
    got.flags = bytes_get_u16(&r);

    if (r.bad || r.left > 0 || info != NBD_INFO_EXPORT)
        return -EPROTO;
    *out = got;
    return 0;
}

void nbd_put_info_block_size(struct bytes_writer *w, const struct nbd_block_size *sizes)
{
    bytes_put_u16(w, NBD_INFO_BLOCK_SIZE);
    bytes_put_u32(w, sizes->minimum);
    bytes_put_u32(w, sizes->preferred);
    bytes_put_u32(w, sizes->maximum);
}

int nbd_get_info_block_size(const uint8_t *data, size_t length, struct nbd_block_size *out)
{
    struct bytes_reader r = bytes_reader(data, length);
    uint16_t info = bytes_get_u16(&r);
    struct nbd_block_size got;

    got.minimum = bytes_get_u32(&r);
    got.preferred = bytes_get_u32(&r);
    got.maximum = bytes_get_u32(&r);

    if (r.bad || r.left > 0 || info != NBD_INFO_BLOCK_SIZE)
        return -EPROTO;
    *out = got;
    return 0;
}

void nbd_put_listed(struct bytes_writer *w, const struct nbd_listed *listed)
{
    bytes_put_u32(w, listed->name_length);
    bytes_put(w, listed->name, listed->name_length);
    bytes_put(w, listed->detail, listed->detail_length);
}

int nbd_get_listed(const uint8_t *data, size_t length, struct nbd_listed *out)
{
    struct bytes_reader r = bytes_reader(data, length);
    struct nbd_listed got = {0};

    got.name_length = bytes_get_u32(&r);
    got.name = bytes_take(&r, got.name_length);
    if (r.bad || r.left > UINT32_MAX)
        return -EPROTO;
    got.detail_length = (uint32_t)r.left;
    got.detail = bytes_take(&r, r.left);
    *out = got;
    return 0;
}

void nbd_put_meta_request(struct bytes_writer *w, const char *name, const char *query)
{
    bytes_put_u32(w, (uint32_t)strlen(name));
    bytes_put(w, name, strlen(name));
    bytes_put_u32(w, 1);
    bytes_put_u32(w, (uint32_t)strlen(query));
    bytes_put(w, query, strlen(query));
}

void nbd_put_meta_context(struct bytes_writer *w, const struct nbd_meta_context *context)
{
    bytes_put_u32(w, context->id);
    bytes_put(w, context->name, context->name_length);
}

int nbd_get_meta_context(const uint8_t *data, size_t length, struct nbd_meta_context *out)
{
    struct bytes_reader r = bytes_reader(data, length);
    struct nbd_meta_context got;

    got.id = bytes_get_u32(&r);
    if (r.bad || r.left > NBD_STRING_MAX)
        return -EPROTO;
    got.name_length = (uint32_t)r.left;
    got.name = bytes_take(&r, r.left);
    *out = got;
    return 0;
}

void nbd_put_request(struct bytes_writer *w, const struct nbd_request *request)
{
    bytes_put_u32(w, NBD_REQUEST_MAGIC);
    bytes_put_u16(w, request->flags);
    bytes_put_u16(w, request->type);
    bytes_put_u64(w, request->cookie);
    bytes_put_u64(w, request->offset);
    bytes_put_u32(w, request->length);
}

ssize_t nbd_get_request(const uint8_t *bytes, size_t length, struct nbd_request *out)
{
    struct bytes_reader r = bytes_reader(bytes, length);
    uint32_t magic = bytes_get_u32(&r);
    struct nbd_request got;

    got.flags = bytes_get_u16(&r);
    got.type = bytes_get_u16(&r);
    got.cookie = bytes_get_u64(&r);
    got.offset = bytes_get_u64(&r);
    got.length = bytes_get_u32(&r);

    ssize_t used = judge(&r, length, sizeof magic, magic == NBD_REQUEST_MAGIC);

    if (used > 0)
        *out = got;
    return used;
}

void nbd_put_simple_reply(struct bytes_writer *w, const struct nbd_simple_reply *reply)
{
    bytes_put_u32(w, NBD_SIMPLE_REPLY_MAGIC);
    bytes_put_u32(w, reply->error);
    bytes_put_u64(w, reply->cookie);
}

ssize_t nbd_get_simple_reply(const uint8_t *bytes, size_t length, struct nbd_simple_reply *out)
{
    struct bytes_reader r = bytes_reader(bytes, length);
    uint32_t magic = bytes_get_u32(&r);
    struct nbd_simple_reply got;

    got.error = bytes_get_u32(&r);
    got.cookie = bytes_get_u64(&r);

    ssize_t used = judge(&r, length, sizeof magic, magic == NBD_SIMPLE_REPLY_MAGIC);

    if (used > 0)
        *out = got;
    return used;
}

void nbd_put_chunk(struct bytes_writer *w, const struct nbd_chunk *chunk)
{
    bytes_put_u32(w, NBD_STRUCTURED_REPLY_MAGIC);
    bytes_put_u16(w, chunk->flags);
    bytes_put_u16(w, chunk->type);
    bytes_put_u64(w, chunk->cookie);
    bytes_put_u32(w, chunk->length);
}

ssize_t nbd_get_chunk(const uint8_t *bytes, size_t length, struct nbd_chunk *out)
{
    struct bytes_reader r = bytes_reader(bytes, length);
    uint32_t magic = bytes_get_u32(&r);
    struct nbd_chunk got;

    got.flags = bytes_get_u16(&r);
    got.type = bytes_get_u16(&r);
    got.cookie = bytes_get_u64(&r);
    got.length = bytes_get_u32(&r);

    ssize_t used = judge(&r, length, sizeof magic, magic == NBD_STRUCTURED_REPLY_MAGIC);

    if (used > 0)
        *out = got;
    return used;
}

void nbd_put_chunk_data(struct bytes_writer *w, uint64_t offset)
{
    bytes_put_u64(w, offset);
}

ssize_t nbd_get_chunk_data(const uint8_t *bytes, size_t length, uint64_t *offset)
{
    struct bytes_reader r = bytes_reader(bytes, length);
    uint64_t got = bytes_get_u64(&r);

    if (r.bad)
        return 0;
    *offset = got;
    return NBD_CHUNK_DATA_SIZE;
}

void nbd_put_chunk_hole(struct bytes_writer *w, const struct nbd_hole *hole)
{
    bytes_put_u64(w, hole->offset);
    bytes_put_u32(w, hole->length);
}

int nbd_get_chunk_hole(const uint8_t *data, size_t length, struct nbd_hole *out)
{
    struct bytes_reader r = bytes_reader(data, length);
    struct nbd_hole got;

    got.offset = bytes_get_u64(&r);
    got.length = bytes_get_u32(&r);

    if (r.bad || r.left > 0 || got.length == 0)
        return -EPROTO;
    *out = got;
    return 0;
}

void nbd_put_chunk_status(struct bytes_writer *w, uint32_t context)
{
    bytes_put_u32(w, context);
}

ssize_t nbd_get_chunk_status(const uint8_t *bytes, size_t length, uint32_t *context)
{
    struct bytes_reader r = bytes_reader(bytes, length);
    uint32_t got = bytes_get_u32(&r);

    if (r.bad)
        return 0;
    *context = got;
    return NBD_CHUNK_STATUS_SIZE;
}

void nbd_put_extent(struct bytes_writer *w, const struct nbd_extent *extent)
{
    bytes_put_u32(w, extent->length);
    bytes_put_u32(w, extent->flags);
}

ssize_t nbd_get_extent(const uint8_t *bytes, size_t length, struct nbd_extent *out)
{
    struct bytes_reader r = bytes_reader(bytes, length);
    struct nbd_extent got;

    got.length = bytes_get_u32(&r);
    got.flags = bytes_get_u32(&r);

    if (r.bad)
        return 0;
    if (got.length == 0)
        return -EPROTO;
    *out = got;
    return NBD_EXTENT_SIZE;
}

void nbd_put_chunk_error(struct bytes_writer *w, uint16_t type, const struct nbd_chunk_error *e)
{
    bytes_put_u32(w, e->error);
    bytes_put_u16(w, e->message_length);
    bytes_put(w, e->message, e->message_length);
    if (type == NBD_REPLY_TYPE_ERROR_OFFSET)
        bytes_put_u64(w, e->offset);
}

int nbd_get_chunk_error(const uint8_t *data, size_t length, uint16_t type,
                        struct nbd_chunk_error *out)
{
    struct bytes_reader r = bytes_reader(data, length);
    struct nbd_chunk_error got = {0};

    got.error = bytes_get_u32(&r);
    got.message_length = bytes_get_u16(&r);
    got.message = bytes_take(&r, got.message_length);
    if (type == NBD_REPLY_TYPE_ERROR_OFFSET)
        got.offset = bytes_get_u64(&r);
    /* Whatever a type that nobody knows yet adds stands at the end, and is not judged. */
    if (r.bad || got.error == 0 || got.message_length > NBD_STRING_MAX)
        return -EPROTO;
    *out = got;
    return 0;
}

uint32_t nbd_error_from_errno(int error)
{
    switch (error) {
    case 0:
        return 0;
    case -EPERM:
    case -EACCES:
    case -EROFS:
        return NBD_EPERM;
    case -ENOMEM:
        return NBD_ENOMEM;
    case -EINVAL:
        return NBD_EINVAL;
    case -ENOSPC:
        return NBD_ENOSPC;
    case -EOVERFLOW:
        return NBD_EOVERFLOW;
    case -EOPNOTSUPP:
        return NBD_ENOTSUP;
    case -ESHUTDOWN:
        return NBD_ESHUTDOWN;
    default:
        return NBD_EIO;
    }
}

int nbd_error_to_errno(uint32_t error)
{
    switch (error) {
    case 0:
        return 0;
    case NBD_EPERM:
        return -EPERM;
    case NBD_EIO:
        return -EIO;
    case NBD_ENOMEM:
        return -ENOMEM;
    case NBD_ENOSPC:
        return -ENOSPC;
    case NBD_EOVERFLOW:
        return -EOVERFLOW;
    case NBD_ENOTSUP:
        return -EOPNOTSUPP;
    case NBD_ESHUTDOWN:
        return -ESHUTDOWN;
    default:
        return -EINVAL;
    }
}
