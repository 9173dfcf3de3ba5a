// SPDX-License-Identifier: Apache-2.0
#include "usb-device-world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/loop.h"
#include "export/table.h"
#include "export/usb-port.h"
#include "scsi/drive.h"

struct world w;

static int fds[64];
static unsigned fd_count;
/* Only their addresses count. */
static char the_priv, the_functions, the_journal, the_loop;
static char the_engines[WORLD_DRIVES];

/* ---- the helper ---- */

void priv_usb_attach(struct priv *priv, unsigned slot, unsigned drives, int journal_fd,
                     void (*done)(void *arg, const struct priv_reply *reply), void *arg)
{
    assert_ptr_equal(priv, &the_priv);
    assert_int_equal(slot, WORLD_SLOT);
    assert_int_equal(drives, w.drive_count);
    assert_int_equal(journal_fd, 99);
    assert_true(w.journal_is_open);
    assert_non_null(w.watch);
    assert_null(w.attach.done);
    w.attach = (struct world_asked){done, arg, w.attach.count + 1};
}

void priv_usb_adopt(struct priv *priv, unsigned slot, unsigned drives,
                    void (*done)(void *arg, const struct priv_reply *reply), void *arg)
{
    assert_ptr_equal(priv, &the_priv);
    assert_int_equal(slot, WORLD_SLOT);
    assert_int_equal(drives, w.drive_count);
    assert_false(w.journal_is_open);
    assert_null(w.adopt.done);
    w.adopt = (struct world_asked){done, arg, w.adopt.count + 1};
}

void priv_detach(struct priv *priv, unsigned slot, bool link_alive,
                 void (*done)(void *arg, const struct priv_reply *reply), void *arg)
{
    assert_ptr_equal(priv, &the_priv);
    assert_int_equal(slot, WORLD_SLOT);
    assert_true(link_alive);
    assert_null(w.detach.done);
    w.detach = (struct world_asked){done, arg, w.detach.count + 1};
}

void priv_watch_slot(struct priv *priv, unsigned slot, const struct priv_watch *watch)
{
    assert_ptr_equal(priv, &the_priv);
    assert_int_equal(slot, WORLD_SLOT);
    w.watch = watch;
}

void world_answer(struct world_asked *asked, int error, unsigned functions)
{
    struct priv_reply reply = {.error = error, .reason = error ? "Because." : ""};
    struct world_asked was = *asked;

    assert_non_null(was.done);
    asked->done = NULL;
    fd_count = 0;
    if (functions > 0) {
        reply.functions = functions;
        reply.fd_count = 1 + 2 * functions + (asked == &w.adopt);
        for (; fd_count < reply.fd_count; fd_count++) {
            fds[fd_count] = open("/dev/null", O_RDWR | O_CLOEXEC);
            assert_true(fds[fd_count] >= 0);
        }
        reply.fds = fds;
    }
    was.done(was.arg, &reply);
    world_turn();
}

void world_expect_closed(void)
{
    for (unsigned i = 0; i < fd_count; i++)
        assert_int_equal(fcntl(fds[i], F_GETFD), -1);
    fd_count = 0;
}

void world_detach(void)
{
    world_answer(&w.detach, 0, 0);
    if (w.closed)
        world_close();
    world_expect_closed();
}

void world_take_away(unsigned drive)
{
    export_stop(w.exports[drive], true);
    world_drop(drive);
    world_detach();
    world_expect(drive, "x");
}

/* ---- the loop: one device asks for one turn at a time ---- */

int loop_later_new(struct loop *loop, void (*run)(void *arg), void *arg, struct loop_later **out)
{
    assert_ptr_equal(loop, &the_loop);
    w.later_run = run;
    w.later_arg = arg;
    *out = (struct loop_later *)(void *)&the_loop;
    return 0;
}

void loop_later_set(struct loop_later *later)
{
    assert_ptr_equal(later, &the_loop);
    w.later_is_set = true;
}

void loop_later_free(struct loop_later *later)
{
    assert_ptr_equal(later, &the_loop);
    w.later_is_set = false;
}

/* ---- what stands ---- */

int usb_functions_new(const struct usb_functions_config *config, struct usb_functions **out)
{
    int r = w.functions_error;

    assert_false(w.stands);
    assert_true(w.journal_is_open);
    assert_ptr_equal(config->journal, &the_journal);
    w.functions = *config;
    w.functions_error = 0;
    if (r < 0) {
        for (unsigned i = 0; i < 1 + 2 * config->count; i++)
            close(config->take_fds[i]);
        return r;
    }
    w.stands = true;
    *out = (struct usb_functions *)(void *)&the_functions;
    return 0;
}

void usb_functions_quiesce(struct usb_functions *f, void (*done)(void *arg), void *arg)
{
    assert_ptr_equal(f, &the_functions);
    w.quiesced = done;
    w.quiesced_arg = arg;
}

void usb_functions_close(struct usb_functions *f, void (*done)(void *arg), void *arg)
{
    assert_ptr_equal(f, &the_functions);
    assert_null(w.closed);
    w.closed = done;
    w.closed_arg = arg;
}

void usb_functions_free(struct usb_functions *f)
{
    if (!f)
        return;
    assert_ptr_equal(f, &the_functions);
    assert_true(w.stands);
    assert_null(w.closed);
    w.stands = false;
    for (unsigned i = 0; i < 1 + 2 * w.functions.count; i++)
        close(fds[i]);
}

void world_ready(void)
{
    w.functions.events->ready(w.functions.arg);
    world_turn();
}

void world_close(void)
{
    void (*closed)(void *arg) = w.closed;

    assert_non_null(closed);
    w.closed = NULL;
    closed(w.closed_arg);
    world_turn();
}

int usb_port_new(struct scsi_drive *drive, bool write_back, struct usb_port **out)
{
    struct usb_port *p = &w.ports[w.port_count++];

    assert_false(write_back);
    *p = (struct usb_port){.drive = drive};
    *out = p;
    return 0;
}

void usb_port_free(struct usb_port *p)
{
    assert_true(!p || (!p->engine && !p->dropped));
}

void usb_port_set_engine(struct usb_port *p, struct engine *engine)
{
    assert_null(p->engine);
    assert_non_null(engine);
    p->engine = engine;
    p->live = true;
}

void usb_port_drop_engine(struct usb_port *p, void (*done)(void *arg), void *arg)
{
    assert_non_null(p->engine);
    assert_null(p->dropped);
    /* Else a command could begin that wants the engine. */
    assert_false(scsi_drive_is_loaded(p->drive));
    p->dropped = done;
    p->dropped_arg = arg;
}

void usb_port_set_link(struct usb_port *p, enum export_link link)
{
    assert_non_null(p->engine);
    p->live = link == EXPORT_LINK_LIVE;
}

bool usb_port_owes(const struct usb_port *p)
{
    return p->owes;
}

void usb_port_lose(struct usb_port *p)
{
    p->owes = true;
}

void world_drop(unsigned drive)
{
    struct usb_port *p = &w.ports[drive];
    void (*dropped)(void *arg) = p->dropped;

    assert_non_null(dropped);
    p->dropped = NULL;
    p->engine = NULL;
    dropped(p->dropped_arg);
    world_turn();
}

/* ---- the journal ---- */

int usb_journal_new(unsigned drives, struct usb_journal **out)
{
    assert_int_equal(drives, w.drive_count);
    assert_false(w.journal_is_open);
    if (w.journal_error)
        return w.journal_error;
    memset(w.is_noted, 0, sizeof w.is_noted);
    w.journal_is_open = true;
    *out = (struct usb_journal *)(void *)&the_journal;
    return 0;
}

int usb_journal_open(int take_fd, unsigned drives, struct usb_journal **out)
{
    assert_int_equal(drives, w.drive_count);
    assert_false(w.journal_is_open);
    close(take_fd);
    if (w.journal_error)
        return w.journal_error;
    w.journal_is_open = true;
    *out = (struct usb_journal *)(void *)&the_journal;
    return 0;
}

void usb_journal_free(struct usb_journal *j)
{
    if (!j)
        return;
    assert_ptr_equal(j, &the_journal);
    assert_true(w.journal_is_open);
    w.journal_is_open = false;
}

int usb_journal_fd(const struct usb_journal *j)
{
    assert_ptr_equal(j, &the_journal);
    return 99;
}

void usb_journal_put_drive(struct usb_journal *j, unsigned drive,
                           const struct usb_journal_drive *put)
{
    assert_ptr_equal(j, &the_journal);
    w.noted[drive] = *put;
    w.is_noted[drive] = true;
}

bool usb_journal_get_drive(const struct usb_journal *j, unsigned drive,
                           struct usb_journal_drive *out)
{
    assert_ptr_equal(j, &the_journal);
    *out = w.noted[drive];
    return w.is_noted[drive];
}

/* ---- the slots ---- */

static unsigned drive_of(void *owner)
{
    return (unsigned)((struct export **)owner - w.exports);
}

static void hear(void *owner, char what)
{
    char *heard = w.heard[drive_of(owner)];
    size_t n = strlen(heard);

    assert_true(n + 1 < sizeof w.heard[0]);
    heard[n] = what;
}

static void on_started(void *owner)
{
    hear(owner, 's');
}

static void on_ejected(void *owner)
{
    hear(owner, 'e');
}

static void on_locked(void *owner, bool locked)
{
    hear(owner, locked ? 'l' : 'u');
}

static void on_stopped(void *owner, int error, const char *reason)
{
    struct usb_port *p = &w.ports[drive_of(owner)];

    /* The engine may go from here on. */
    assert_null(p->engine);
    hear(owner, 'x');
    w.error[drive_of(owner)] = error;
    snprintf(w.reason, sizeof w.reason, "%s", reason);
}

static const struct export_events events = {
    .started = on_started,
    .ejected = on_ejected,
    .locked = on_locked,
    .stopped = on_stopped,
};

void world_expect(unsigned drive, const char *heard)
{
    assert_string_equal(w.heard[drive], heard);
    memset(w.heard[drive], 0, sizeof w.heard[drive]);
}

/* ---- what a test does ---- */

void world_begin(unsigned drives, bool always)
{
    struct usb_drive_config configs[WORLD_DRIVES] = {0};
    struct usb_device_config config = {
        .loop = (struct loop *)(void *)&the_loop,
        .priv = (struct priv *)(void *)&the_priv,
        .slot = WORLD_SLOT,
        .always = always,
        .drive_count = drives,
        .drives = configs,
    };

    memset(&w, 0, sizeof w);
    w.drive_count = drives;
    for (unsigned i = 0; i < drives; i++) {
        configs[i] = (struct usb_drive_config){
            .any_kind = drives == 1 && !always,
            .kind = i > 0 ? MEDIUM_CD : MEDIUM_DISK,
            .vendor = "Platter",
            .serial = "504C415454455204",
        };
    }
    assert_int_equal(usb_device_new(&config, &w.device), 0);
    for (unsigned i = 0; i < drives; i++) {
        struct export_config slot = {
            .slot = WORLD_SLOT + i, .usb_device = w.device, .usb_drive = i};

        assert_int_equal(export_usb.new(&slot, &w.exports[i]), 0);
        export_own(w.exports[i], &events, &w.exports[i]);
    }
}

void world_end(void)
{
    assert_null(w.attach.done);
    assert_null(w.adopt.done);
    assert_null(w.detach.done);
    assert_null(w.watch);
    assert_false(w.stands);
    assert_false(w.journal_is_open);
    world_expect_closed();
    for (unsigned i = 0; i < w.drive_count; i++)
        export_free(w.exports[i]);
    usb_device_free(w.device);
}

void world_turn(void)
{
    /* What is set from inside waits for the next turn, as with the loop. */
    while (w.later_is_set) {
        w.later_is_set = false;
        w.later_run(w.later_arg);
    }
}

void world_insert(unsigned drive, enum medium_kind kind, bool adopts)
{
    struct medium medium = {.kind = kind, .size = (1 << 20) + 1, .read_only = true};
    struct engine *engine = (struct engine *)(void *)&the_engines[drive];
    size_t heard = strlen(w.heard[drive]);

    if (adopts)
        export_adopt(w.exports[drive], &medium, engine);
    else
        export_start(w.exports[drive], &medium, engine);
    /* No event from inside. */
    assert_int_equal(strlen(w.heard[drive]), heard);
}

void world_serve(unsigned drive, enum medium_kind kind)
{
    world_insert(drive, kind, false);
    world_turn();
    world_answer(&w.attach, 0, w.drive_count);
    world_ready();
    world_expect(drive, "s");
}

unsigned world_test_unit(unsigned drive)
{
    struct scsi_drive *d = w.ports[drive].drive;
    uint8_t cdb[6] = {0}, sense[6] = {0x03, 0, 0, 0, SCSI_SENSE_SIZE, 0};
    struct scsi_deed deed = scsi_drive_execute(d, cdb, sizeof cdb);
    unsigned code;

    /* READY waits for the far end, which here is always there. */
    if (deed.kind == SCSI_READY)
        deed = scsi_drive_done(d, SCSI_FINE, 0);
    assert_int_equal(deed.kind, SCSI_DONE);
    if (deed.status == SCSI_GOOD)
        return 0;
    deed = scsi_drive_execute(d, sense, sizeof sense);
    assert_int_equal(deed.kind, SCSI_REPLY);
    code = (deed.data[2] & 0xfu) << 16 | (unsigned)deed.data[12] << 8 | deed.data[13];
    scsi_drive_done(d, SCSI_FINE, deed.length);
    return code;
}

void world_command(unsigned drive, uint8_t operation, uint8_t byte4)
{
    uint8_t cdb[6] = {operation, 0, 0, 0, byte4, 0};
    struct scsi_deed deed = scsi_drive_execute(w.ports[drive].drive, cdb, sizeof cdb);

    while (deed.kind != SCSI_DONE)
        deed = scsi_drive_done(w.ports[drive].drive, SCSI_FINE, 0);
    assert_int_equal(deed.status, SCSI_GOOD);
    w.functions.events->drive_events(w.functions.arg, drive,
                                     scsi_drive_take_events(w.ports[drive].drive));
}
