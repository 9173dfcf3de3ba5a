/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pages an image is known again by. Owned by the slot, which keeps them as long as its session
 * and writes them into its record; slot/examine.h reads them.
 *
 * What always holds: no two samples have the same page, and each lies within the image.
 */
#include "slot/identity.h"

#include <errno.h>
#include <openssl/evp.h>
#include <sys/random.h>

/* Of a CD's first volume descriptor (ECMA-119, 6.2.1: sector 16). */
#define VOLUME_DESCRIPTOR 32768u

static bool has_page(const struct identity *identity, uint64_t page)
{
    for (unsigned i = 0; i < identity->count; i++) {
        if (identity->samples[i].offset == page * IDENTITY_PAGE)
            return true;
    }
    return false;
}

static void add_page(struct identity *identity, uint64_t page)
{
    identity->samples[identity->count++] =
        (struct identity_sample){.offset = page * IDENTITY_PAGE, .known = false};
}

int identity_choose(struct identity *identity, uint64_t size)
{
    uint64_t pages = size / IDENTITY_PAGE + (size % IDENTITY_PAGE != 0);
    uint64_t random[IDENTITY_SAMPLES_MAX];

    *identity = (struct identity){.size = size};
    if (pages <= IDENTITY_SAMPLES_MAX) {
        for (uint64_t page = 0; page < pages; page++)
            add_page(identity, page);
        return 0;
    }
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return -EIO;
    add_page(identity, 0);
    add_page(identity, VOLUME_DESCRIPTOR / IDENTITY_PAGE);
    add_page(identity, pages - 1);
    while (identity->count < IDENTITY_SAMPLES_MAX) {
        uint64_t page = random[identity->count] % pages;

        while (has_page(identity, page))
            page = (page + 1) % pages;
        add_page(identity, page);
    }
    return 0;
}

uint32_t identity_page_length(const struct identity *identity, uint64_t offset)
{
    uint64_t left = identity->size - offset;

    return left < IDENTITY_PAGE ? (uint32_t)left : IDENTITY_PAGE;
}

bool identity_digest(const uint8_t *bytes, uint32_t length, uint8_t digest[IDENTITY_DIGEST])
{
    return EVP_Digest(bytes, length, digest, NULL, EVP_sha256(), NULL) == 1;
}

bool identity_void(struct identity *identity, uint64_t offset, uint64_t length)
{
    bool any = false;

    for (unsigned i = 0; i < identity->count; i++) {
        struct identity_sample *sample = &identity->samples[i];

        if (!sample->known || sample->offset >= offset + length ||
            sample->offset + IDENTITY_PAGE <= offset)
            continue;
        sample->known = false;
        any = true;
    }
    return any;
}
