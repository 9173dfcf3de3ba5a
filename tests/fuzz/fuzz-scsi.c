/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine that says whatever it likes to four drives on one Bulk-Only interface: a disk that may
 * be written, one of 3 TiB that may not, a CD and a BD. An input is a row of steps (see `enum
 * step`). A command brings its chances, a byte for each deed while it is in work: 0, or none left,
 * does it well, and any other says how it goes wrong, or what comes between.
 *
 * Watched all the while: a deed stays in its medium and in the bytes the machine has announced, no
 * read-only medium is written to, memory given out is there, and the status fits the command. And
 * after every input the machine recovers as the specification has it (5.3.4): after a reset each
 * drive, given its medium if it has none, answers INQUIRY, READ CAPACITY and a READ whose data is
 * checked, and the disk that may be written reads back what was written.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "scsi/bot.h"

#define LUNS       4
#define SMALL      ((uint64_t)64 << 10) /* the disk that is written to */
#define DEEDS_MAX  4096                 /* of one command */
#define FLOOD_MAX  (64u << 10)          /* after which the machine ends what it sends */
#define PATIENCE   8 /* unit attentions and the like before a drive has to be ready */
#define READ_BYTES 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step {
    STEP_COMMAND, /* logical unit and 80h for "in"; length (4, LE); lengths of CDB (low four bits)
                     and chances; these */
    STEP_WRAPPER, /* length; so many bytes on bulk-out */
    STEP_RESET,   /* the class's */
    STEP_BUS,     /* the bus's */
    STEP_INSERT,  /* logical unit; where its media are read-only also which of them */
    STEP_REMOVE,  /* logical unit */
    STEP_WISH,    /* likewise: eject, please */
    STEP_RELOAD,  /* likewise */
    STEP_DEFER,   /* logical unit; cause */
    STEP_DIE,     /* and another process goes on */
    STEP_PACKET,  /* 0 to 2: 64, 512, 1024 */
    STEP_NOTE,    /* lengths of a drive's note and of a command's; these, from nobody knows where */
    STEPS,
};

/* How a deed ends. */
enum turn { TURN_FINE, TURN_CAUSE, TURN_SHORT, TURN_REMOVE, TURN_RESET, TURN_BUS, TURN_DIE, TURNS };

struct input {
    const uint8_t *at;
    size_t left;
};

struct world {
    struct bot bot;
    struct scsi_drive drives[LUNS];
    uint64_t sizes[LUNS]; /* of what was inserted last */
    uint8_t small[SMALL];
    uint32_t announced, sent, received; /* of the command in work */
    uint32_t tag;
    bool in;
    uint8_t answer[READ_BYTES]; /* what was sent to the machine, from its beginning */
    uint8_t reply[SCSI_REPLY_MAX];
    uint8_t csw[BOT_CSW_LENGTH];
    struct input input;
    struct input chances; /* a part of it: of the command in work */
};

#define SIZES 3

static const struct {
    enum medium_kind kind;
    uint64_t sizes[SIZES];
} media[LUNS] = {
    {MEDIUM_DISK, {SMALL, SMALL, SMALL}}, /* the one that is written to */
    {MEDIUM_DISK, {(uint64_t)3 << 40, SMALL + 511, (uint64_t)1 << 30}},
    {MEDIUM_CD, {(uint64_t)4 << 20, (uint64_t)6 << 30, (uint64_t)9 << 40}},
    {MEDIUM_CD, {(uint64_t)50 << 30, (uint64_t)4 << 30, (uint64_t)600 << 20}},
};

static const struct scsi_identity identity = {"Platter", "Virtual Drive", "0100", "FUZZ"};

static void require(bool truth)
{
    if (!truth)
        abort();
}

static uint8_t take(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

static struct input take_part(struct input *in, size_t length)
{
    struct input part = {in->at, length < in->left ? length : in->left};

    in->at += part.left;
    in->left -= part.left;
    return part;
}

static uint32_t take_le32(struct input *in)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < 4; i++)
        value |= (uint32_t)take(in) << (8 * i);
    return value;
}

static uint32_t get_le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_le32(uint8_t *p, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (8 * i));
}

/* What is on a medium: on the small disk what was written, else what the addresses say. */
static void get_content(const struct world *w, unsigned lun, uint64_t offset, uint8_t *out,
                        size_t length)
{
    if (lun == 0) {
        memcpy(out, w->small + offset, length);
        return;
    }
    for (size_t at = 0; at < length; at += 8) {
        uint64_t word = (offset + at + lun) * 0x9E3779B97F4A7C15u;

        memcpy(out + at, &word, length - at < 8 ? length - at : 8);
    }
}

/* The media's side of a deed. */

static void require_range(const struct scsi_drive *d, uint64_t offset, uint64_t length)
{
    uint64_t size = d->blocks * d->block_size;

    require(offset <= size && length <= size - offset);
    require(offset % d->block_size == 0);
}

static void require_deed(const struct scsi_drive *d, const struct scsi_deed *deed)
{
    switch (deed->kind) {
    case SCSI_WRITE:
    case SCSI_FILL:
    case SCSI_ZERO:
        require(d->writable);
        require(deed->kind != SCSI_FILL || deed->block_length == d->block_size);
        require_range(d, deed->offset, deed->length);
        break;
    case SCSI_READ:
    case SCSI_COMPARE:
    case SCSI_CHECK:
        require_range(d, deed->offset, deed->length);
        break;
    case SCSI_TRIM:
        require(d->writable && deed->range_count <= SCSI_RANGES_MAX);
        for (unsigned i = 0; i < deed->range_count; i++)
            require_range(d, deed->ranges[i].offset, deed->ranges[i].length);
        break;
    case SCSI_FLUSH:
    case SCSI_READY:
        break;
    default:
        abort(); /* it is not the medium's */
    }
}

static void fill_small(struct world *w, const struct scsi_deed *deed)
{
    for (uint64_t at = 0; at < deed->length; at += deed->block_length)
        memcpy(w->small + deed->offset + at, deed->data, deed->block_length);
}

static void read_medium(struct world *w, unsigned lun, const struct scsi_deed *deed, size_t moved)
{
    size_t room = sizeof w->answer - w->sent;

    if (w->sent < sizeof w->answer)
        get_content(w, lun, deed->offset, w->answer + w->sent, moved < room ? moved : room);
}

/* What a deed on the medium does, when `moved` bytes of it are moved. */
static void do_medium(struct world *w, const struct bot_deed *now, size_t moved)
{
    const struct scsi_deed *deed = &now->deed;

    if (deed->kind == SCSI_READ)
        read_medium(w, now->lun, deed, moved);
    else if (deed->kind == SCSI_WRITE)
        memset(w->small + deed->offset, (int)(w->tag & 0xFF), moved);
    else if (deed->kind == SCSI_FILL)
        fill_small(w, deed);
    else if (deed->kind == SCSI_ZERO)
        memset(w->small + deed->offset, 0, (size_t)deed->length);
}

/* The bus's side. */

/* The packet of none that ends data. */
static bool is_end(const struct bot_deed *now)
{
    return now->kind == BOT_SEND && now->length == 0;
}

static bool is_inward(const struct bot_deed *now)
{
    return (now->kind == BOT_SEND && !is_end(now)) ||
           (now->kind == BOT_MEDIUM && now->deed.kind == SCSI_READ);
}

static bool is_outward(const struct bot_deed *now)
{
    return now->kind == BOT_RECEIVE ||
           (now->kind == BOT_MEDIUM &&
            (now->deed.kind == SCSI_WRITE || now->deed.kind == SCSI_COMPARE));
}

static void require_now(const struct world *w, const struct bot_deed *now)
{
    if (is_end(now))
        require(w->in && w->sent > 0 && w->sent < w->announced && w->sent % w->bot.packet == 0);
    if (is_inward(now))
        require(w->in && now->length > 0 && now->length <= w->announced - w->sent);
    if (is_outward(now))
        require(!w->in && now->length > 0 && now->length <= w->announced - w->received);
    if (now->kind == BOT_MEDIUM) {
        require(now->lun < LUNS && now->drive == &w->drives[now->lun] && now->drive->loaded);
        require_deed(now->drive, &now->deed);
    }
    require(now->kind != BOT_STALL_IN || w->in);
    require(now->kind != BOT_STATUS || now->length == BOT_CSW_LENGTH);
}

static void take_status(struct world *w, const struct bot_deed *now)
{
    uint32_t residue = get_le32(now->data + 8);

    memcpy(w->csw, now->data, BOT_CSW_LENGTH);
    require(memcmp(w->csw, "USBS", 4) == 0 && get_le32(w->csw + 4) == w->tag);
    require(w->csw[12] <= 2 && residue <= w->announced);
    require(!w->in || residue == w->announced - w->sent);
    require(w->csw[12] != 0 || w->in || residue >= w->announced - w->received);
}

/* Moves `length` bytes of what is to be done now. */
static void move(struct world *w, const struct bot_deed *now, size_t length)
{
    if (now->kind == BOT_SEND && !is_end(now)) {
        require(w->sent == 0 && length <= SCSI_REPLY_MAX);
        memcpy(w->reply, now->data, length);
        memcpy(w->answer, w->reply, length < sizeof w->answer ? length : sizeof w->answer);
    } else if (now->kind == BOT_RECEIVE && now->into == w->bot.refuse) {
        memset(now->into, 0xEE, length);
    } else if (now->kind == BOT_RECEIVE) {
        for (size_t i = 0; i < length; i++)
            now->into[i] = take(&w->input);
    } else if (now->kind == BOT_MEDIUM) {
        do_medium(w, now, length);
    }
    if (is_inward(now))
        w->sent += (uint32_t)length;
    if (is_outward(now))
        w->received += (uint32_t)length;
}

static void start(struct world *w)
{
    struct scsi_drive *drives[LUNS];

    for (unsigned i = 0; i < LUNS; i++)
        drives[i] = &w->drives[i];
    bot_init(&w->bot, drives, LUNS);
}

/* Another process takes the drives and the command in work over. */
static void die(struct world *w)
{
    uint8_t note[BOT_NOTE_MAX], drive_note[SCSI_NOTE_MAX];
    size_t length = bot_note(&w->bot, note);

    for (unsigned i = 0; i < LUNS; i++) {
        size_t drive_length = scsi_drive_note(&w->drives[i], drive_note);

        require(drive_length > 0 && drive_length <= SCSI_NOTE_MAX);
        scsi_drive_init(&w->drives[i], media[i].kind, &identity, i == 0);
        require(scsi_drive_resume(&w->drives[i], drive_note, drive_length) == 0);
    }
    start(w);
    if (length > 0)
        require(bot_resume(&w->bot, note, length) == 0);
}

/* Something comes between. False: the deed is none any more; look again. */
static bool go_on(struct world *w, const struct bot_deed *now, enum turn turn)
{
    switch (turn) {
    case TURN_REMOVE:
        if (now->kind == BOT_MEDIUM)
            scsi_drive_remove(now->drive);
        return true;
    case TURN_RESET:
    case TURN_BUS:
        bot_reset(&w->bot, turn == TURN_BUS);
        return false;
    case TURN_DIE:
        die(w);
        w->sent = w->received = 0; /* of what was moved the new process knows nothing */
        return false;
    default:
        return true;
    }
}

static void do_deed(struct world *w, const struct bot_deed *now, uint8_t chance)
{
    enum turn turn = chance % TURNS;
    enum scsi_cause cause = SCSI_FINE;
    uint64_t moved = now->length;

    if (now->kind == BOT_STATUS) {
        take_status(w, now);
    } else if (turn == TURN_CAUSE) {
        cause = SCSI_FINE + 1 + take(&w->chances) % (SCSI_CAUSES - 1);
        moved = moved * (chance / TURNS) / (255 / TURNS);
    } else if (turn == TURN_SHORT) {
        moved = moved * (chance / TURNS) / (255 / TURNS);
    }
    /* Nobody floods the bus for ever: at last the machine ends its data. */
    if (is_outward(now) && w->received >= FLOOD_MAX)
        moved = 0;
    move(w, now, (size_t)moved);
    bot_done(&w->bot, cause, moved);
}

/* Until a command is awaited again, or the machine is to reset. */
static void do_deeds(struct world *w)
{
    for (unsigned count = 0; bot_now(&w->bot)->kind != BOT_COMMAND; count++) {
        struct bot_deed now = *bot_now(&w->bot);
        uint8_t chance = take(&w->chances);

        require(count < DEEDS_MAX);
        if (now.kind == BOT_HALT)
            return;
        require_now(w, &now);
        if (go_on(w, &now, chance % TURNS))
            do_deed(w, &now, chance);
    }
}

static void wrap(struct world *w, unsigned lun, bool in, uint32_t length, const uint8_t *cdb,
                 size_t cdb_length)
{
    uint8_t cbw[BOT_CBW_LENGTH] = "USBC";

    w->tag++;
    w->in = in;
    w->announced = length;
    w->sent = w->received = 0;
    put_le32(cbw + 4, w->tag);
    put_le32(cbw + 8, length);
    cbw[12] = in ? 0x80 : 0;
    cbw[13] = (uint8_t)lun;
    cbw[14] = (uint8_t)cdb_length;
    memcpy(cbw + 15, cdb, cdb_length);
    bot_command(&w->bot, cbw, sizeof cbw);
}

static void step_command(struct world *w)
{
    uint8_t where = take(&w->input), cdb[SCSI_CDB_MAX];
    uint32_t length = take_le32(&w->input);
    uint8_t lengths = take(&w->input);
    uint8_t cdb_length = 1 + lengths % SCSI_CDB_MAX;

    for (unsigned i = 0; i < cdb_length; i++)
        cdb[i] = take(&w->input);
    wrap(w, where % LUNS, where & 0x80, length, cdb, cdb_length);
    w->chances = take_part(&w->input, lengths / SCSI_CDB_MAX);
    do_deeds(w);
}

static void step_wrapper(struct world *w)
{
    uint8_t length = take(&w->input) % 64, *bytes = malloc(length ? length : 1);

    require(bytes);
    for (unsigned i = 0; i < length; i++)
        bytes[i] = take(&w->input);
    w->sent = w->received = 0;
    if (length == BOT_CBW_LENGTH) {
        w->tag = get_le32(bytes + 4);
        w->announced = get_le32(bytes + 8);
        w->in = bytes[12] & 0x80;
    }
    bot_command(&w->bot, bytes, length);
    free(bytes);
    w->chances = take_part(&w->input, 15);
    do_deeds(w);
}

static void insert(struct world *w, unsigned lun, unsigned which)
{
    w->sizes[lun] = media[lun].sizes[which % SIZES];
    scsi_drive_insert(&w->drives[lun], w->sizes[lun], lun == 0);
}

/* Notes that no process of ours has left: refused, or as good as any. */
static void step_note(struct world *w)
{
    static const uint8_t test_unit_ready[6];
    static struct scsi_drive drive;
    static struct bot bot;
    struct scsi_drive *drives[] = {&drive};
    uint8_t lengths = take(&w->input);
    struct input drive_note = take_part(&w->input, lengths & 0x3F);
    struct input note = take_part(&w->input, lengths >> 4);

    scsi_drive_init(&drive, MEDIUM_CD, &identity, false);
    if (scsi_drive_resume(&drive, drive_note.at, drive_note.left) == 0)
        scsi_drive_execute(&drive, test_unit_ready, sizeof test_unit_ready);
    bot_init(&bot, drives, 1);
    if (bot_resume(&bot, note.at, note.left) == 0)
        require(bot_now(&bot)->kind == BOT_STATUS || bot_now(&bot)->kind == BOT_STALL_IN ||
                bot_now(&bot)->kind == BOT_STALL_OUT);
}

static void step(struct world *w)
{
    enum step kind = take(&w->input) % STEPS;
    static const unsigned packets[] = {64, 512, 1024};
    uint8_t where;

    /* Halted, it hears of nothing but a reset. */
    if (bot_now(&w->bot)->kind != BOT_COMMAND && kind != STEP_BUS)
        kind = STEP_RESET;
    switch (kind) {
    case STEP_COMMAND:
        step_command(w);
        break;
    case STEP_WRAPPER:
        step_wrapper(w);
        break;
    case STEP_RESET:
    case STEP_BUS:
        bot_reset(&w->bot, kind == STEP_BUS);
        break;
    case STEP_INSERT:
        where = take(&w->input);
        insert(w, where % LUNS, where / LUNS);
        break;
    case STEP_REMOVE:
        scsi_drive_remove(&w->drives[take(&w->input) % LUNS]);
        break;
    case STEP_WISH:
        scsi_drive_request_eject(&w->drives[take(&w->input) % LUNS]);
        break;
    case STEP_RELOAD:
        scsi_drive_reload(&w->drives[take(&w->input) % LUNS]);
        break;
    case STEP_DEFER:
        scsi_drive_defer(&w->drives[take(&w->input) % LUNS],
                         SCSI_FINE + 1 + take(&w->input) % (SCSI_CAUSES - 1));
        break;
    case STEP_DIE:
        die(w);
        break;
    case STEP_PACKET:
        bot_set_packet(&w->bot, packets[take(&w->input) % 3]);
        break;
    case STEP_NOTE:
        step_note(w);
        break;
    default:
        abort();
    }
}

/* The end: an honest machine. */

/* One command of it; whether its status is "passed", and then all its data has been moved. */
static bool ask(struct world *w, unsigned lun, bool in, uint32_t length, const uint8_t *cdb,
                size_t cdb_length)
{
    memset(w->answer, 0, 64);
    wrap(w, lun, in, length, cdb, cdb_length);
    do_deeds(w);
    require(bot_now(&w->bot)->kind == BOT_COMMAND && get_le32(w->csw + 4) == w->tag);
    require(w->csw[12] != 2);
    return w->csw[12] == 0;
}

static void require_ready(struct world *w, unsigned lun)
{
    static const uint8_t test_unit_ready[6] = {0x00}, request_sense[6] = {0x03, 0, 0, 0, 18};
    unsigned tries = 0;

    while (!ask(w, lun, false, 0, test_unit_ready, 6)) {
        require(++tries < PATIENCE);
        require(ask(w, lun, true, 18, request_sense, 6) && (w->answer[0] & 0x7F) >= 0x70);
    }
}

static void require_inquiry(struct world *w, unsigned lun)
{
    static const uint8_t inquiry[6] = {0x12, 0, 0, 0, 36};

    require(ask(w, lun, true, 36, inquiry, 6) && get_le32(w->csw + 8) == 0);
    require(w->answer[0] == (media[lun].kind == MEDIUM_CD ? 5 : 0));
    require(memcmp(w->answer + 8, "Platter ", 8) == 0);
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void require_capacity(struct world *w, unsigned lun)
{
    static const uint8_t read_capacity[10] = {0x25};
    uint32_t sector = medium_sector(media[lun].kind);
    uint64_t last = w->sizes[lun] / sector - 1;
    /* A disk says so, and has READ CAPACITY(16); of a disc the last address is that of 32 bits. */
    uint32_t most = media[lun].kind == MEDIUM_CD ? UINT32_MAX - 1 : UINT32_MAX;

    require(ask(w, lun, true, 8, read_capacity, 10));
    require(be32(w->answer) == (last > most ? most : last));
    require(be32(w->answer + 4) == sector);
}

static void require_read(struct world *w, unsigned lun)
{
    uint32_t sector = medium_sector(media[lun].kind);
    uint32_t lba = (uint32_t)(SMALL / sector - READ_BYTES / sector);
    uint8_t wanted[READ_BYTES], read[10] = {0x28, [4] = (uint8_t)(lba >> 8),
                                            (uint8_t)lba, [8] = (uint8_t)(READ_BYTES / sector)};

    require(ask(w, lun, true, READ_BYTES, read, 10) && get_le32(w->csw + 8) == 0);
    get_content(w, lun, (uint64_t)lba * sector, wanted, sizeof wanted);
    require(memcmp(w->answer, wanted, sizeof wanted) == 0);
}

static void require_write(struct world *w)
{
    static const uint8_t write[10] = {0x2A, [5] = 7, [8] = 2}, read[10] = {0x28, [5] = 7, [8] = 2};
    uint8_t wanted[1024];

    memset(w->small + (uint64_t)7 * 512, 0, sizeof wanted);
    require(ask(w, 0, false, sizeof wanted, write, 10) && get_le32(w->csw + 8) == 0);
    memset(wanted, (int)(w->tag & 0xFF), sizeof wanted);
    require(ask(w, 0, true, sizeof wanted, read, 10));
    require(memcmp(w->answer, wanted, sizeof wanted) == 0);
}

static void require_recovery(struct world *w, bool bus)
{
    w->chances = (struct input){0};
    bot_reset(&w->bot, bus);
    for (unsigned lun = 0; lun < LUNS; lun++) {
        require_inquiry(w, lun);
        if (!scsi_drive_is_loaded(&w->drives[lun]))
            insert(w, lun, 0);
        require_ready(w, lun);
        require_capacity(w, lun);
        require_read(w, lun);
    }
    if (bus) /* which takes back the machine's own wish that nothing be written */
        require_write(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world world;
    struct world *w = &world;

    memset(w, 0, sizeof *w);
    for (unsigned i = 0; i < LUNS; i++) {
        scsi_drive_init(&w->drives[i], media[i].kind, &identity, i == 0);
        insert(w, i, 0);
    }
    start(w);
    w->input = (struct input){data, size};
    while (w->input.left > 0)
        step(w);
    require_recovery(w, false);
    require_recovery(w, true);
    return 0;
}
