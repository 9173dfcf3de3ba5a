// SPDX-License-Identifier: Apache-2.0
/* The world of usb-world.h: its parts, its turns, and the host. */
#include "usb-world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/minmax.h"

/* Linux gives a command 30 s. */
#define PATIENCE 30000u
#define TURN     10u /* milliseconds pass when nothing else happens */
#define AGAIN    400 /* times at most a command is sent */

static const struct scsi_identity identity = {"Platter", "Virtual Disk", "1", "0123456789"};

/* fake-timer.h looks at no loop. */
static uint8_t no_loop;

static void count_event(void *arg, unsigned drive, unsigned events)
{
    struct usb_world *w = arg;

    assert_int_equal(drive, 0);
    w->events |= events;
}

static void count_end(void *arg)
{
    ((struct usb_world *)arg)->ended++;
}

static void count_gone(void *arg)
{
    ((struct usb_world *)arg)->gone++;
}

static void make_function(struct usb_world *w)
{
    struct scsi_drive *drive = &w->drive;
    struct usb_function_config config = {
        .loop = (struct loop *)(void *)&no_loop,
        .aio = &w->bus,
        .out_fd = USB_OUT_FD,
        .in_fd = USB_IN_FD,
        .drives = &drive,
        .ports = &w->port,
        .count = 1,
        .journal = w->journal,
        .drive_events = count_event,
        .arg = w,
    };

    assert_int_equal(usb_port_new(&w->drive, w->write_back, &w->port), 0);
    assert_int_equal(usb_function_new(&config, &w->function), 0);
}

struct usb_world *usb_world_new(bool write_back)
{
    struct usb_world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    w->write_back = write_back;
    w->far = world_new(USB_DISK, ENGINE_CACHE_MIN);
    world_make_disk(w->far);
    w->far->info.length_max = 64 * KIB;
    world_connect(w->far);
    list_init(&w->bus.in);
    list_init(&w->bus.out);
    list_init(&w->bus.over);
    scsi_drive_init(&w->drive, MEDIUM_DISK, &identity, write_back);
    assert_int_equal(usb_journal_new(1, &w->journal), 0);
    make_function(w);
    usb_port_set_engine(w->port, w->far->engine);
    scsi_drive_insert(&w->drive, USB_DISK, true);
    usb_world_plug(w);
    return w;
}

/* ---- turns ---- */

static bool tell(struct usb_world *w)
{
    struct usb_transfer *t;
    struct list *link;

    if (w->bus.due == 0)
        return w->function && usb_bus_tell_heard(&w->bus);
    w->bus.due--;
    w->bus.over_count--;
    link = list_take_first(&w->bus.over);
    t = list_entry(link, struct usb_transfer, link);
    w->bus.under_way--;
    t->done(t, t->result);
    return true;
}

static bool answer(struct usb_world *w)
{
    if (w->silent || list_is_empty(&w->far->held))
        return false;
    world_answer(w->far, world_held(w->far, 0), 0);
    return true;
}

static void pass(struct usb_world *w, unsigned milliseconds)
{
    w->now += milliseconds;
    /* The engine's clock stands: its own limit is longer than any of this. */
    fake_timer_pass(milliseconds);
}

static void resume(struct usb_world *w);
static void drop_port(struct usb_world *w);

void usb_world_turn(struct usb_world *w)
{
    if (!w->function) {
        drop_port(w);
        resume(w);
    }
    if (++w->turns == w->trap_at)
        w->trap(w);
    else if (!tell(w) && !answer(w))
        pass(w, TURN);
}

void usb_world_settle(struct usb_world *w)
{
    while (tell(w) || answer(w))
        ;
}

static void drop_port(struct usb_world *w)
{
    unsigned before = w->gone;

    usb_port_drop_engine(w->port, count_gone, w);
    while (w->gone == before)
        assert_true(tell(w) || answer(w) || (w->silent && (pass(w, TURN), true)));
    usb_port_free(w->port);
}

static void close_function(struct usb_world *w)
{
    unsigned before = w->ended;

    usb_function_close(w->function, count_end, w);
    while (w->ended == before)
        assert_true(tell(w));
    assert_int_equal(w->bus.under_way, 0);
    usb_function_free(w->function);
}

void usb_world_free(struct usb_world *w)
{
    w->silent = false;
    close_function(w);
    drop_port(w);
    usb_journal_free(w->journal);
    world_free(w->far);
    free(w);
}

/* ---- processes ---- */

static void resume(struct usb_world *w)
{
    struct usb_journal_drive drive;
    int fd = dup(usb_journal_fd(w->journal));

    usb_journal_free(w->journal);
    assert_int_equal(usb_journal_open(fd, 1, &w->journal), 0);
    assert_true(usb_journal_get_drive(w->journal, 0, &drive));
    scsi_drive_init(&w->drive, drive.kind, &identity, w->write_back);
    assert_int_equal(scsi_drive_resume(&w->drive, drive.note, drive.length), 0);
    make_function(w);
    if (drive.owes)
        usb_port_lose(w->port);
    usb_function_resume(w->function);
    usb_port_set_engine(w->port, w->far->engine);
}

void usb_world_kill(struct usb_world *w)
{
    int fd = usb_journal_fd(w->journal);
    struct stat st;
    uint8_t *was;
    bool silent = w->silent;

    assert_int_equal(fstat(fd, &st), 0);
    was = malloc((size_t)st.st_size);
    assert_int_equal(pread(fd, was, (size_t)st.st_size, 0), st.st_size);
    /* What the dying process would do in good order leaves no trace. */
    w->silent = false;
    close_function(w);
    drop_port(w);
    w->silent = silent;
    assert_int_equal(pwrite(fd, was, (size_t)st.st_size, 0), st.st_size);
    free(was);
    resume(w);
}

static void take_over(void *arg)
{
    struct usb_world *w = arg;

    usb_function_free(w->function);
    w->function = NULL;
}

void usb_world_upgrade(struct usb_world *w)
{
    usb_function_quiesce(w->function, take_over, w);
}

/* ---- the host ---- */

static void put_le32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static uint32_t get_le32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* False: waited too long, or was cut off. */
static bool wait_turn(struct usb_world *w, uint64_t since)
{
    usb_world_turn(w);
    return !w->restarted && w->now - since < PATIENCE;
}

/* All of it, or up to a halt, which is cleared. */
static bool send_all(struct usb_world *w, const uint8_t *bytes, size_t length, bool *stalled)
{
    uint64_t since = w->now;
    size_t sent = 0;

    *stalled = false;
    while (sent < length) {
        sent += usb_host_send(w, bytes + sent, length - sent, stalled);
        if (*stalled) {
            w->bus.halted_out = false;
            return true;
        }
        if (sent < length && !wait_turn(w, since))
            return false;
    }
    return true;
}

static bool fetch_all(struct usb_world *w, uint8_t *bytes, size_t length, size_t *got,
                      bool *stalled)
{
    uint64_t since = w->now;
    bool ended = false;

    *got = 0;
    while (*got < length && !ended) {
        *got += usb_host_fetch(w, bytes + *got, length - *got, stalled, &ended);
        if (*stalled) {
            w->bus.halted_in = false;
            return true;
        }
        if (*got < length && !ended && !wait_turn(w, since))
            return false;
    }
    return true;
}

static bool transport(struct usb_world *w, const uint8_t *cdb, size_t cdb_length, bool in,
                      uint8_t *data, uint32_t length, struct usb_outcome *out)
{
    uint8_t cbw[BOT_CBW_LENGTH] = "USBC";
    uint8_t csw[BOT_CSW_LENGTH];
    bool stalled;
    size_t got;

    put_le32(cbw + 4, ++w->tag);
    put_le32(cbw + 8, length);
    cbw[12] = in ? 0x80 : 0;
    cbw[14] = (uint8_t)cdb_length;
    memcpy(cbw + 15, cdb, cdb_length);
    if (!send_all(w, cbw, sizeof cbw, &stalled) || stalled)
        return false;
    if (length > 0 && in && !fetch_all(w, data, length, &got, &stalled))
        return false;
    if (length > 0 && !in && !send_all(w, data, length, &stalled))
        return false;
    if (!fetch_all(w, csw, sizeof csw, &got, &stalled))
        return false;
    /* 6.7.2: a halt before the status is cleared, and it is fetched again. */
    if (stalled && (!fetch_all(w, csw, sizeof csw, &got, &stalled) || stalled))
        return false;
    if (got != sizeof csw || memcmp(csw, "USBS", 4) != 0 || get_le32(csw + 4) != w->tag)
        return false;
    out->status = csw[12];
    out->residue = get_le32(csw + 8);
    return csw[12] <= 1;
}

/* Reset recovery, 5.3.4. */
static void recover(struct usb_world *w)
{
    w->resets += !w->restarted;
    w->restarted = false;
    usb_function_reset(w->function);
    w->bus.halted_in = w->bus.halted_out = false;
}

struct usb_outcome usb_world_command(struct usb_world *w, const uint8_t *cdb, size_t cdb_length,
                                     bool in, uint8_t *data, uint32_t length)
{
    static const uint8_t request_sense[6] = {0x03, 0, 0, 0, 18, 0};
    struct usb_outcome out = {0};
    struct usb_outcome of_sense = {0};
    uint8_t sense[18] = {0};
    uint64_t since = w->now;

    if (!transport(w, cdb, cdb_length, in, data, length, &out) ||
        (out.status == 1 &&
         (!transport(w, request_sense, 6, true, sense, 18, &of_sense) || of_sense.status != 0))) {
        recover(w);
        out.status = -1;
    }
    out.key = sense[2] & 0x0F;
    out.asc = sense[12];
    out.ascq = sense[13];
    out.waited = w->now - since;
    return out;
}

static bool is_passing(const struct usb_outcome *out)
{
    bool nothing_told = out->key == 0; /* the sense was lost; hosts try again */

    return out->status == -1 || nothing_told || out->key == 0x06 || out->key == 0x0B ||
           (out->key == 0x02 && out->asc == 0x04 && out->ascq == 0x01);
}

struct usb_outcome usb_world_insist(struct usb_world *w, const uint8_t *cdb, size_t cdb_length,
                                    bool in, uint8_t *data, uint32_t length)
{
    struct usb_outcome out;

    for (unsigned i = 0; i < AGAIN; i++) {
        out = usb_world_command(w, cdb, cdb_length, in, data, length);
        if (out.status == 0 || !is_passing(&out))
            return out;
    }
    fail_msg("command %02x never came through: %02x/%02x/%02x", cdb[0], out.key, out.asc, out.ascq);
    return out;
}

void usb_cdb(uint8_t cdb[10], uint8_t operation, uint32_t block, uint16_t count)
{
    memset(cdb, 0, 10);
    cdb[0] = operation;
    for (unsigned i = 0; i < 4; i++)
        cdb[2 + i] = (uint8_t)(block >> (24 - 8 * i));
    cdb[7] = (uint8_t)(count >> 8);
    cdb[8] = (uint8_t)count;
}

void usb_world_read(struct usb_world *w, uint32_t block, uint16_t count)
{
    uint32_t length = count * 512u;
    uint8_t *data = malloc(length);
    struct usb_outcome out;
    uint8_t cdb[10];

    memset(data, 0xEE, length);
    usb_cdb(cdb, 0x28, block, count);
    out = usb_world_insist(w, cdb, 10, true, data, length);
    if (out.status != 0)
        fail_msg("read: %02x/%02x/%02x", out.key, out.asc, out.ascq);
    assert_int_equal(out.residue, 0);
    assert_memory_equal(data, w->far->model + block * 512u, length);
    free(data);
}

void usb_world_write(struct usb_world *w, uint32_t block, uint16_t count, uint8_t seed)
{
    uint32_t length = count * 512u;
    uint8_t *data = w->far->model + block * 512u;
    struct usb_outcome out;
    uint8_t cdb[10];

    for (uint32_t i = 0; i < length; i++)
        data[i] = (uint8_t)(seed + i * 5 + i / 253);
    usb_cdb(cdb, 0x2A, block, count);
    out = usb_world_insist(w, cdb, 10, false, data, length);
    if (out.status != 0)
        fail_msg("write: %02x/%02x/%02x", out.key, out.asc, out.ascq);
    assert_int_equal(out.residue, 0);
}
