/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A decoder of what tells where a boot begins, fed in any pieces.
 *
 * Each structure is a *look*: its place on the medium, and memory that its bytes are gathered in as
 * they are shown, in any order. A complete look is judged once and may begin others and ask for
 * ranges. Looks and ranges are bounded in number, the bytes asked for by a budget; so a medium that
 * leads in circles leads nowhere.
 *
 * The structures are those of UEFI 2.10, chapter 5 (MBR and GPT) and 13.3 (FAT, El Torito);
 * "FAT: General Overview of On-Disk Format" 1.03; ECMA-119; El Torito 1.0. Check-sums are not
 * checked: the worst that a wrong number can do is to have the wrong bytes fetched.
 *
 * What always holds: each range lies within the medium; a look's `missing` is the number of clear
 * bits for its length.
 */
#include "block/warm.h"

#include <string.h>

#include "base/bytes.h"
#include "base/minmax.h"

#define KIB  1024u
#define MIB  ((uint64_t)1 << 20)
#define PAGE 4096u

#define DISK_SECTOR 512u
#define CD_SECTOR   2048u

#define BOOT_IMAGE_MAX  (4 * MIB)
#define BOOT_IMAGE_MIN  (128 * KIB) /* loaders load more of themselves than the firmware did */
#define PARTITION_HEAD  MIB
#define BOOT_RECORD     (64 * KIB)
#define DIRECTORY_MAX   (128 * KIB)
#define DESCRIPTOR_LAST 32 /* the last sector to look for a volume descriptor in */
#define LOOKS_TOTAL     64

/* Puts it on the list, but for what a range that is there already covers; not even so if `again`.
 */
static void add_range(struct warm *w, uint64_t from, uint64_t length, bool again)
{
    uint64_t to = from < w->size ? from + min_u64(length, w->size - from) : 0;
    unsigned place = w->range_count;

    from -= from % PAGE;
    to = min_u64(to + (PAGE - to % PAGE) % PAGE, w->size);
    if (!again)
        to = min_u64(to, from + w->budget);
    if (to <= from)
        return;
    for (unsigned i = 0; i < w->range_count; i++) {
        const struct warm_range *r = &w->ranges[i].range;

        if (from >= r->from && to <= r->to && (!again || !w->ranges[i].given))
            return;
        if (from >= r->from && from < r->to && !again)
            from = r->to;
        /* A small one that has been given has done its duty. */
        if (w->ranges[i].given && r->to - r->from <= 2 * PAGE)
            place = i;
    }
    if (place == WARM_RANGES_MAX)
        return;
    w->budget -= min_u64(to - from, w->budget);
    w->ranges[place].range = (struct warm_range){.from = from, .to = to};
    w->ranges[place].given = false;
    if (place == w->range_count)
        w->range_count++;
}

/* Begins a look; NULL when there is no room for it or it lies outside. */
static struct warm_look *add_look(struct warm *w, enum warm_kind kind, uint64_t offset,
                                  uint32_t length)
{
    if (offset >= w->size || length > w->size - offset || w->looks_left == 0)
        return NULL;
    for (unsigned i = 0; i < WARM_LOOKS_MAX; i++) {
        struct warm_look *look = &w->looks[i];

        if (look->kind != WARM_NOTHING)
            continue;
        memset(look, 0, sizeof *look);
        look->kind = kind;
        look->offset = offset;
        look->length = length;
        look->missing = length;
        w->looks_left--;
        add_range(w, offset, length, true);
        return look;
    }
    return NULL;
}

void warm_init(struct warm *w, uint64_t medium_size, bool is_cd, uint64_t budget)
{
    memset(w, 0, sizeof *w);
    w->size = medium_size;
    w->is_cd = is_cd;
    w->budget = budget;
    w->looks_left = LOOKS_TOTAL;
    add_range(w, 0, MIB, false);
    add_range(w, medium_size > MIB ? max_u64(MIB, medium_size - MIB) : 0, MIB, false);
    if (!is_cd) {
        add_look(w, WARM_MBR, 0, DISK_SECTOR);
        add_look(w, WARM_GPT, DISK_SECTOR, DISK_SECTOR);
    }
    add_look(w, WARM_DESCRIPTOR, 16 * CD_SECTOR, CD_SECTOR);
}

bool warm_next(struct warm *w, struct warm_range *out)
{
    unsigned found = w->range_count;

    /* The small ones first: others are found through them. */
    for (unsigned i = 0; i < w->range_count; i++) {
        const struct warm_range *r = &w->ranges[i].range;

        if (w->ranges[i].given)
            continue;
        if (found == w->range_count ||
            r->to - r->from < w->ranges[found].range.to - w->ranges[found].range.from)
            found = i;
    }
    if (found == w->range_count)
        return false;
    w->ranges[found].given = true;
    *out = w->ranges[found].range;
    return true;
}

/* Sector numbers are kept small enough that no product of theirs overflows. */
static bool is_within(const struct warm *w, uint64_t sector, uint32_t sector_size)
{
    return sector < w->size / sector_size;
}

static void look_at_fat(struct warm *w, uint64_t offset, uint64_t limit)
{
    struct warm_look *look = add_look(w, WARM_FAT, offset, DISK_SECTOR);

    if (look)
        look->limit = limit;
}

/* UEFI 2.10, 5.2.1: four partition records of 16 bytes at 446, 55 AA at 510. */
static void judge_mbr(struct warm *w, const struct warm_look *look)
{
    static const uint8_t fat_types[] = {0x01, 0x04, 0x06, 0x0b, 0x0c, 0x0e, 0xef};
    const uint8_t *b = look->bytes;

    if (b[510] != 0x55 || b[511] != 0xaa)
        return;
    if (b[0] == 0xeb || b[0] == 0xe9)
        look_at_fat(w, 0, w->size); /* a file system without a partition table, perhaps */
    for (const uint8_t *r = b + 446; r < b + 510; r += 16) {
        uint64_t start = bytes_get_le(r + 8, 4);
        uint64_t count = bytes_get_le(r + 12, 4);

        if (start == 0 || count == 0 || !is_within(w, start, DISK_SECTOR))
            continue;
        if (r[0] == 0x80)
            add_range(w, start * DISK_SECTOR, min_u64(count * DISK_SECTOR, BOOT_RECORD), false);
        if (memchr(fat_types, r[4], sizeof fat_types))
            look_at_fat(w, start * DISK_SECTOR, (start + count) * DISK_SECTOR);
    }
}

/* UEFI 2.10, 5.3.2. Entries beyond the first KiBs are not looked at. */
static void judge_gpt(struct warm *w, const struct warm_look *look)
{
    const uint8_t *b = look->bytes;
    uint64_t lba = bytes_get_le(b + 72, 8);
    uint64_t count = bytes_get_le(b + 80, 4);
    uint32_t unit = (uint32_t)bytes_get_le(b + 84, 4);
    struct warm_look *entries;

    if (memcmp(b, "EFI PART", 8) != 0 || count == 0 || unit < 128 || unit > WARM_LOOK_SIZE ||
        !is_within(w, lba, DISK_SECTOR))
        return;
    count = min_u64(count, WARM_LOOK_SIZE / unit);
    entries = add_look(w, WARM_GPT_ENTRIES, lba * DISK_SECTOR, (uint32_t)count * unit);
    if (entries)
        entries->unit = unit;
}

/* UEFI 2.10, 5.3.3: type GUID, unique GUID, first LBA, last LBA. */
static void judge_gpt_entries(struct warm *w, const struct warm_look *look)
{
    static const uint8_t efi_system[16] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
                                           0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};
    static const uint8_t bios_boot[16] = {'H', 'a', 'h', '!', 'I', 'd', 'o', 'n',
                                          't', 'N', 'e', 'e', 'd', 'E', 'F', 'I'};

    for (uint32_t at = 0; at + look->unit <= look->length; at += look->unit) {
        const uint8_t *entry = look->bytes + at;
        uint64_t first = bytes_get_le(entry + 32, 8);
        uint64_t last = bytes_get_le(entry + 40, 8);

        if (last < first || !is_within(w, last, DISK_SECTOR))
            continue;
        if (memcmp(entry, efi_system, 16) == 0)
            look_at_fat(w, first * DISK_SECTOR, (last + 1) * DISK_SECTOR);
        else if (memcmp(entry, bios_boot, 16) == 0)
            add_range(w, first * DISK_SECTOR,
                      min_u64((last + 1 - first) * DISK_SECTOR, PARTITION_HEAD), false);
    }
}

/* "FAT: General Overview", the boot sector: where the root directory is, and how long all is. */
static void judge_fat(struct warm *w, const struct warm_look *look)
{
    const uint8_t *b = look->bytes;
    uint64_t sector = bytes_get_le(b + 11, 2);
    uint64_t cluster = b[13] * sector;
    uint64_t fat = bytes_get_le(b + 22, 2);
    uint64_t total = bytes_get_le(b + 19, 2);
    uint64_t reserved = bytes_get_le(b + 14, 2);
    uint64_t root, length, root_cluster = 2;

    if (b[510] != 0x55 || b[511] != 0xaa || sector < 512 || sector > 4096 ||
        (sector & (sector - 1)) != 0 || cluster == 0 || reserved == 0 || b[16] == 0)
        return;
    total = (total ? total : bytes_get_le(b + 32, 4)) * sector;
    length = bytes_get_le(b + 17, 2) * 32;
    if (fat == 0) { /* FAT32: the root directory is a file like others */
        fat = bytes_get_le(b + 36, 4);
        root_cluster = max_u64(bytes_get_le(b + 44, 4), 2);
    }
    root = (reserved + b[16] * fat) * sector + (root_cluster - 2) * cluster;
    if (!look->limit) {
        add_range(w, look->offset, min_u64(total, BOOT_IMAGE_MAX), false);
        return;
    }
    if (look->limit <= look->offset)
        return;
    total = min_u64(total, look->limit - look->offset);
    add_range(w, look->offset, min_u64(total, PARTITION_HEAD), false);
    /* Behind a short directory lie the first files, and a loader is one of them. */
    if (root < total)
        add_range(w, look->offset + root, min_u64(max_u64(length, DIRECTORY_MAX), total - root),
                  false);
}

/* ECMA-119, 8.2 (boot record), 8.4 and 8.5 (volumes); 9.1 (the directory record at 156). */
static void judge_descriptor(struct warm *w, const struct warm_look *look)
{
    static const char torito[] = "EL TORITO SPECIFICATION";
    const uint8_t *b = look->bytes;
    uint64_t next = look->offset / CD_SECTOR + 1;

    if (memcmp(b + 1, "CD001", 5) != 0)
        return;
    if (b[0] == 0 && memcmp(b + 7, torito, sizeof torito - 1) == 0) {
        uint64_t sector = bytes_get_le(b + 71, 4);

        if (is_within(w, sector, CD_SECTOR))
            add_look(w, WARM_CATALOGUE, sector * CD_SECTOR, CD_SECTOR);
    } else if (b[0] == 1 || b[0] == 2) {
        uint64_t sector = bytes_get_le(b + 156 + 2, 4);
        uint64_t length = bytes_get_le(b + 156 + 10, 4);

        if (is_within(w, sector, CD_SECTOR))
            add_range(w, sector * CD_SECTOR, min_u64(length, DIRECTORY_MAX), false);
    }
    if (b[0] != 255 && next <= DESCRIPTOR_LAST)
        add_look(w, WARM_DESCRIPTOR, next * CD_SECTOR, CD_SECTOR);
}

/* One entry of the catalogue: El Torito 1.0, figures 3 and 5; for EFI, UEFI 2.10, 13.3.2.1. */
static void judge_boot_entry(struct warm *w, const uint8_t *entry, bool is_efi)
{
    static const uint32_t floppies[] = {0, 1200 * KIB, 1440 * KIB, 2880 * KIB};
    unsigned media = entry[1] & 15;
    uint64_t length = bytes_get_le(entry + 6, 2) * DISK_SECTOR;
    uint64_t sector = bytes_get_le(entry + 8, 4);

    if (entry[0] != 0x88 || sector == 0 || !is_within(w, sector, CD_SECTOR))
        return;
    if (media > 0 && media < 4)
        length = floppies[media];
    /* A short one may be of the kind that goes on to where the file system in it says. */
    if (is_efi)
        look_at_fat(w, sector * CD_SECTOR, 0);
    add_range(w, sector * CD_SECTOR, min_u64(max_u64(length, BOOT_IMAGE_MIN), BOOT_IMAGE_MAX),
              false);
}

/* El Torito 1.0, chapter 2: validation entry, default entry, then sections with their entries. */
static void judge_catalogue(struct warm *w, const struct warm_look *look)
{
    const uint8_t *b = look->bytes;
    unsigned left = 0; /* entries in this section */
    bool is_efi = b[1] == 0xef;

    if (b[0] != 1 || b[30] != 0x55 || b[31] != 0xaa)
        return;
    judge_boot_entry(w, b + 32, is_efi);
    for (const uint8_t *entry = b + 64; entry + 32 <= b + look->length; entry += 32) {
        if (left == 0) {
            if (entry[0] != 0x90 && entry[0] != 0x91)
                return;
            is_efi = entry[1] == 0xef;
            left = (unsigned)bytes_get_le(entry + 2, 2);
        } else if (entry[0] != 0x44) { /* not an extension of the entry before */
            judge_boot_entry(w, entry, is_efi);
            left--;
        }
    }
}

static void judge(struct warm *w, const struct warm_look *look)
{
    switch (look->kind) {
    case WARM_MBR:
        judge_mbr(w, look);
        break;
    case WARM_GPT:
        judge_gpt(w, look);
        break;
    case WARM_GPT_ENTRIES:
        judge_gpt_entries(w, look);
        break;
    case WARM_FAT:
        judge_fat(w, look);
        break;
    case WARM_DESCRIPTOR:
        judge_descriptor(w, look);
        break;
    case WARM_CATALOGUE:
        judge_catalogue(w, look);
        break;
    case WARM_NOTHING:
        break;
    }
}

/* Takes what of the bytes belongs to the look. */
static void gather(struct warm_look *look, uint64_t offset, const uint8_t *bytes, uint32_t length)
{
    uint64_t from = max_u64(offset, look->offset);
    uint64_t to = min_u64(offset + length, look->offset + look->length);

    for (uint64_t at = from; at < to; at++) {
        uint32_t place = (uint32_t)(at - look->offset);
        uint8_t bit = (uint8_t)(1u << place % 8);

        if (look->seen[place / 8] & bit)
            continue;
        look->seen[place / 8] |= bit;
        look->bytes[place] = bytes ? bytes[at - offset] : 0;
        look->missing--;
    }
}

void warm_saw(struct warm *w, uint64_t offset, const uint8_t *bytes, uint32_t length)
{
    for (unsigned i = 0; i < WARM_LOOKS_MAX; i++) {
        struct warm_look *look = &w->looks[i];
        struct warm_look done;

        if (look->kind == WARM_NOTHING)
            continue;
        gather(look, offset, bytes, length);
        if (look->missing > 0)
            continue;
        done = *look;
        look->kind = WARM_NOTHING;
        judge(w, &done);
    }
}
