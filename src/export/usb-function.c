// SPDX-License-Identifier: Apache-2.0
/*
 * A function does what its machine says (bot_now()), one deed after the other, and says when it is
 * done. What goes to the host is handed over in order and counts as done at once: so a status
 * stands in the queue behind its data before the first byte of that data has been fetched. The
 * next command is waited for meanwhile (usb-ear.h), and shows that the answer has been fetched; so
 * a command costs one turn of the loop.
 *
 * Who owns what: drives and ports are the device's. Transfers are the pipe's; the medium's asks are
 * the ports'.
 *
 * What always holds:
 * - A command is not begun before the status of the one before it has been sent.
 * - After a reset nothing is begun until all that was on the endpoints has come back (`running`).
 * - After an error that nobody took a transfer back for, the endpoints are lost until the bus says
 *   something (enable, disable): a host that lost its transfer resets anyway.
 * - The journal says at least as much as has happened: that a command is in work before its first
 *   byte moves, that its status may have been fetched before it can be.
 *
 * Halts. FunctionFS cannot wedge an endpoint, and does not tell when the host clears a halt. Where
 * the machine says that nothing goes on until the reset (BOT_HALT; section 6.6.1), the halt is
 * renewed again and again.
 *
 * How long a command is held: as long as SCSI_WAITING says, from the last answer of the engine on
 * and while it waits for nothing else; but no command longer than LIMIT in all, since Linux gives
 * it 30 s and resets the device then. Then it is told to ask again.
 */
#include "export/usb-function.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "export/usb-ask.h"
#include "export/usb-ear.h"
#include "export/usb-function-parts.h"

/* Milliseconds. */
#define LIMIT        24000
#define MOMENT       2
#define NOW_AND_THEN 10
#define HALT_AGAIN   20

/* ---- what is written down ---- */

void usb_function_note(struct usb_function *f, const struct usb_note *note)
{
    if (memcmp(&f->note, note, sizeof *note) == 0)
        return;
    f->note = *note;
    usb_journal_put_note(f->config.journal, f->config.index, note);
}

static void note_stage(struct usb_function *f, enum usb_stage stage)
{
    struct usb_note note = f->note;

    note.stage = stage;
    usb_function_note(f, &note);
}

/* The drive's attentions, sense, mode and lock, and its medium. */
static void note_drives(struct usb_function *f)
{
    for (unsigned i = 0; i < f->config.count; i++) {
        unsigned number = f->config.first_drive + i;
        struct usb_journal_drive now = {
            .kind = f->drives[i]->kind,
            .owes = usb_port_owes(f->ports[i]),
        };
        struct usb_journal_drive then = {0};

        now.length = scsi_drive_note(f->drives[i], now.note);
        if (!usb_journal_get_drive(f->config.journal, number, &then) || then.length != now.length ||
            then.owes != now.owes || memcmp(then.note, now.note, now.length) != 0)
            usb_journal_put_drive(f->config.journal, number, &now);
    }
}

static void tell_events(struct usb_function *f)
{
    for (unsigned i = 0; i < f->config.count; i++) {
        unsigned events = scsi_drive_take_events(f->drives[i]);

        if (events)
            f->config.drive_events(f->config.arg, i, events);
    }
}

/* Data and status leave in order, so what is left on its way says how far they are. (Of data that
 * was sent quietly it is known only with the status.) */
static void follow_status(struct usb_function *f)
{
    if (!f->answered)
        return;
    if (f->pipe.sending == 0) {
        f->answered = f->halted = false;
        note_stage(f, USB_STAGE_IDLE);
    } else if (f->pipe.sending == 1) {
        note_stage(f, USB_STAGE_STATUS);
    }
}

/* ---- the machine's deeds ---- */

static bool done(struct usb_function *f, enum scsi_cause cause, uint64_t moved)
{
    f->begun = false;
    bot_done(&f->bot, cause, moved);
    return true;
}

/* What the pipe would not take now: without memory it is tried again by itself. */
static bool refused(struct usb_function *f, int result)
{
    if (result == -ENOMEM)
        f->later = true;
    return false;
}

/* In this order: the place of what is forgotten is zeroes before it counts again. */
void usb_function_forget(struct usb_function *f, struct usb_note *note)
{
    note->place = !f->note.place;
    usb_function_note(f, note);
    usb_pipe_forget(&f->pipe);
}

static void take_command(struct usb_function *f, struct usb_heard heard)
{
    struct usb_note note = {.packet = f->note.packet, .stage = USB_STAGE_WORK};
    uint8_t command[USB_JOURNAL_COMMAND];

    /* A copy: it is shared memory. */
    memcpy(command, heard.bytes, heard.length);
    /* A machine that says something new has fetched its status, whether we were told or not. */
    if (f->answered)
        f->answered = f->halted = false;
    bot_command(&f->bot, command, heard.length);
    note.note_length = (uint8_t)bot_note(&f->bot, note.note);
    if (note.note_length == 0) {
        note.stage = USB_STAGE_IDLE;
    } else if (memcmp(command + 8, "\0\0\0\0", 4) != 0) {
        /* Section 5.1: the length announced, and its direction. */
        note.out = !(command[12] & 0x80);
        if (f->halted && !note.out) {
            bot_reset(&f->bot, false);
            bot_resume(&f->bot, note.note, note.note_length);
        }
    }
    usb_function_forget(f, &note);
}

static bool await_command(struct usb_function *f)
{
    struct usb_heard heard;

    if (f->end == USB_END_QUIESCE) {
        usb_pipe_hush(&f->pipe);
        return false;
    }
    heard = usb_pipe_heard(&f->pipe);
    if (!heard.bytes)
        /* What was heard may be that the endpoint is lost. */
        return usb_pipe_listen(&f->pipe) < 0;
    take_command(f, heard);
    return true;
}

static bool send(struct usb_function *f, const struct bot_deed *deed)
{
    /* What is sent at once is in memory at once. */
    struct iovec iov = {(void *)(uintptr_t)deed->data, (size_t)deed->length};
    int result = usb_pipe_send(&f->pipe, &iov, 1, true);

    return result < 0 ? refused(f, result) : done(f, SCSI_FINE, deed->length);
}

static bool send_status(struct usb_function *f, const struct bot_deed *deed)
{
    struct usb_note note = f->note;

    memcpy(note.status, deed->data, sizeof note.status);
    if (f->pipe.sending == 0)
        note.stage = USB_STAGE_STATUS;
    note_drives(f);
    usb_function_note(f, &note);
    if (!send(f, deed))
        return false;
    f->answered = true;
    tell_events(f);
    return true;
}

static bool receive(struct usb_function *f, const struct bot_deed *deed)
{
    struct usb_receive *r;
    uint32_t length;

    if (!f->begun) {
        int result = usb_pipe_receive(&f->pipe, (uint32_t)deed->length);

        f->begun = result == 0;
        if (result < 0)
            return refused(f, result);
    }
    r = usb_pipe_received(&f->pipe);
    if (!r)
        return false;
    length = r->got < r->wanted ? r->got : r->wanted;
    memcpy(deed->into, r->buffer, length);
    usb_pipe_taken(&f->pipe);
    return done(f, SCSI_FINE, length);
}

/* All that was sent is out; what was sent quietly is asked for. */
static bool is_sent(struct usb_function *f)
{
    if (f->pipe.sending == 0)
        return true;
    f->later = true;
    return false;
}

static bool stall_in(struct usb_function *f)
{
    int result;

    if (!is_sent(f))
        return false;
    result = usb_aio_halt_in(f->config.aio, f->config.in_fd);
    /* The controller may have bytes of it that are not out yet. */
    if (result == -EAGAIN)
        f->later = true;
    else if (result < 0)
        f->pipe.error = result;
    else
        f->halted = f->resume != USB_RESUME_NONE;
    return result == 0 && done(f, SCSI_FINE, 0);
}

/* Until a reset. The host may clear the halts; they come again. */
static bool halt(struct usb_function *f)
{
    if (!is_sent(f))
        return false;
    usb_pipe_hush(&f->pipe);
    usb_aio_halt_in(f->config.aio, f->config.in_fd);
    usb_aio_halt_out(f->config.aio, f->config.out_fd);
    loop_timer_set(f->soon, HALT_AGAIN);
    return false;
}

static void stop_holding(struct usb_function *f)
{
    f->holding = false;
    loop_timer_stop(f->hold);
}

static void hold(struct usb_function *f)
{
    struct usb_medium *m = &f->medium;

    if (!usb_medium_waits(m)) {
        stop_holding(f);
    } else if (f->is_late) {
        usb_medium_give_up(m, SCSI_WAITING);
    } else if (!f->holding || m->answers != f->held_answers) {
        f->holding = true;
        f->held_answers = m->answers;
        loop_timer_set(f->hold, scsi_manners(SCSI_WAITING)->hold);
    }
}

static bool move_medium(struct usb_function *f, const struct bot_deed *deed)
{
    struct usb_medium *m = &f->medium;

    bool begins = !f->begun;

    if (begins) {
        f->begun = true;
        f->is_late = false;
        usb_medium_begin(m, f->ports[deed->lun], &f->pipe, &deed->deed);
    }
    usb_medium_step(m);
    hold(f);
    f->later |= m->later;
    if (!m->over) {
        if (begins)
            loop_timer_set(f->limit, LIMIT);
        return false;
    }
    stop_holding(f);
    loop_timer_stop(f->limit);
    return done(f, m->cause, m->moved);
}

static bool do_deed(struct usb_function *f)
{
    const struct bot_deed *deed = bot_now(&f->bot);

    switch (deed->kind) {
    case BOT_COMMAND:
        return await_command(f);
    case BOT_SEND:
        return send(f, deed);
    case BOT_STATUS:
        return send_status(f, deed);
    case BOT_RECEIVE:
        return receive(f, deed);
    case BOT_MEDIUM:
        return move_medium(f, deed);
    case BOT_STALL_IN:
        return stall_in(f);
    case BOT_STALL_OUT:
        /* Only of an interrupted command, and what the host had to send was drained (usb-resume.c):
         * a halt now would hit the next command. */
        return done(f, SCSI_FINE, 0);
    case BOT_HALT:
        return halt(f);
    }
    return false;
}

/* ---- the pump ---- */

/* Drops what is in work; the endpoints' transfers come back by and by. */
static void drop(struct usb_function *f, bool bus)
{
    struct usb_note note = {.packet = f->note.packet};

    usb_medium_drop(&f->medium);
    usb_pipe_drop(&f->pipe);
    note.place = (uint8_t)usb_ear_place(f->pipe.ear);
    for (unsigned i = 0; i < 2; i++)
        memset(f->pipe.places[i], 0, USB_JOURNAL_COMMAND);
    bot_reset(&f->bot, bus);
    f->running = f->begun = f->answered = f->halted = f->later = f->looks = false;
    f->resume = USB_RESUME_NONE;
    stop_holding(f);
    loop_timer_stop(f->limit);
    loop_timer_stop(f->soon);
    loop_timer_stop(f->patience);
    note_drives(f);
    /* Whatever an earlier process has left there. */
    f->note = note;
    usb_journal_put_note(f->config.journal, f->config.index, &note);
}

static void set_packet(struct usb_function *f, unsigned packet)
{
    struct usb_note note = f->note;

    note.packet = packet;
    usb_function_note(f, &note);
    if (packet == 0)
        return;
    f->pipe.packet = packet;
    bot_set_packet(&f->bot, packet);
}

static bool step(struct usb_function *f)
{
    if (f->pipe.error && f->running) {
        drop(f, false);
        set_packet(f, 0);
        tell_events(f);
    }
    if (!f->running) {
        if (f->note.packet == 0 || f->end == USB_END_CLOSE || !usb_pipe_is_quiet(&f->pipe))
            return false;
        f->pipe.error = 0;
        f->running = true;
    }
    follow_status(f);
    if (f->resume != USB_RESUME_NONE && usb_resume_step(f))
        return true;
    return !usb_resume_holds(f) && do_deed(f);
}

static bool is_ended(const struct usb_function *f)
{
    if (f->end == USB_END_NONE || !usb_pipe_is_quiet(&f->pipe))
        return false;
    if (f->end == USB_END_CLOSE)
        return true;
    for (unsigned i = 0; i < f->config.count; i++)
        if (usb_port_is_dirty(f->ports[i]))
            return false;
    return !f->running || f->resume != USB_RESUME_NONE || !f->bot.busy;
}

/* What was sent quietly is waited for, and nothing will wake us. */
static bool is_left_in_the_dark(const struct usb_function *f)
{
    return f->pipe.sending > 0 && f->pipe.loud == 0 && (!f->running || f->end != USB_END_NONE);
}

/* The status has been sent. That it has been fetched shows by the next command, or, if there is
 * none, is looked for once in a while. */
static void look_now_and_then(struct usb_function *f)
{
    if (f->looks || f->pipe.sending == 0 || bot_now(&f->bot)->kind != BOT_COMMAND)
        return;
    f->looks = true;
    loop_timer_set(f->soon, NOW_AND_THEN);
}

void usb_function_pump(struct usb_function *f)
{
    void (*ended)(void *arg);

    f->again = true;
    if (f->busy)
        return;
    f->busy = true;
    while (f->again) {
        f->again = false;
        while (step(f))
            ;
    }
    f->busy = false;
    f->later |= is_left_in_the_dark(f);
    if (f->later) {
        f->later = f->looks = false;
        loop_timer_set(f->soon, MOMENT);
    } else {
        look_now_and_then(f);
    }
    if (!is_ended(f))
        return;
    note_drives(f);
    ended = f->ended;
    f->ended = NULL;
    f->end = USB_END_CLOSE;
    f->running = false;
    if (ended)
        ended(f->ended_arg);
}

static void wake(void *arg)
{
    usb_function_pump(arg);
}

static void hold_over(void *arg)
{
    struct usb_function *f = arg;

    f->holding = false;
    if (usb_medium_waits(&f->medium))
        usb_medium_give_up(&f->medium, SCSI_WAITING);
    usb_function_pump(f);
}

static void moment_over(void *arg)
{
    struct usb_function *f = arg;

    f->looks = false;
    if (f->pipe.sending > 0)
        usb_aio_look(f->config.aio);
    usb_function_pump(f);
}

static void limit_over(void *arg)
{
    struct usb_function *f = arg;

    f->is_late = true;
    usb_function_pump(f);
}

static void patience_over(void *arg)
{
    struct usb_function *f = arg;

    f->out_of_patience = true;
    usb_function_pump(f);
}

/* ---- life ---- */

static int make_timers(struct usb_function *f)
{
    struct loop *loop = f->config.loop;
    int result = loop_timer_new(loop, hold_over, f, &f->hold);

    if (result == 0)
        result = loop_timer_new(loop, limit_over, f, &f->limit);
    if (result == 0)
        result = loop_timer_new(loop, moment_over, f, &f->soon);
    if (result == 0)
        result = loop_timer_new(loop, patience_over, f, &f->patience);
    return result;
}

int usb_function_new(const struct usb_function_config *config, struct usb_function **out)
{
    struct usb_function *f = calloc(1, sizeof *f);
    uint8_t *places[2];
    int result;

    if (!f)
        return -ENOMEM;
    f->config = *config;
    for (unsigned i = 0; i < config->count; i++) {
        f->drives[i] = config->drives[i];
        f->ports[i] = config->ports[i];
    }
    for (unsigned i = 0; i < 2; i++)
        places[i] = usb_journal_command(config->journal, config->index, i);
    result = make_timers(f);
    if (result == 0)
        result = usb_pipe_init(&f->pipe, config->loop, config->aio, config->out_fd, config->in_fd,
                               places, wake, f);
    if (result < 0) {
        usb_function_free(f);
        return result;
    }
    bot_init(&f->bot, f->drives, config->count);
    for (unsigned i = 0; i < config->count; i++)
        usb_port_listen(f->ports[i], wake, f);
    *out = f;
    return 0;
}

void usb_function_enable(struct usb_function *f, unsigned packet)
{
    drop(f, true);
    set_packet(f, packet);
    tell_events(f);
    usb_function_pump(f);
}

void usb_function_disable(struct usb_function *f)
{
    drop(f, true);
    set_packet(f, 0);
    tell_events(f);
    usb_function_pump(f);
}

void usb_function_reset(struct usb_function *f)
{
    drop(f, false);
    usb_aio_flush_in(f->config.aio, f->config.in_fd);
    tell_events(f);
    usb_function_pump(f);
}

static void end(struct usb_function *f, enum usb_end how, void (*ended)(void *arg), void *arg)
{
    f->end = how;
    f->ended = ended;
    f->ended_arg = arg;
    usb_function_pump(f);
}

void usb_function_quiesce(struct usb_function *f, void (*ended)(void *arg), void *arg)
{
    if (f->resume != USB_RESUME_NONE) {
        /* The next process goes on with it. */
        f->answered = false;
        usb_pipe_drop_sends(&f->pipe);
        usb_pipe_hush(&f->pipe);
    }
    end(f, USB_END_QUIESCE, ended, arg);
}

void usb_function_close(struct usb_function *f, void (*ended)(void *arg), void *arg)
{
    usb_medium_drop(&f->medium);
    usb_pipe_drop(&f->pipe);
    f->running = false;
    end(f, USB_END_CLOSE, ended, arg);
}

void usb_function_free(struct usb_function *f)
{
    if (!f)
        return;
    for (unsigned i = 0; i < f->config.count; i++)
        usb_port_listen(f->ports[i], NULL, NULL);
    usb_pipe_done(&f->pipe);
    loop_timer_free(f->hold);
    loop_timer_free(f->limit);
    loop_timer_free(f->soon);
    loop_timer_free(f->patience);
    free(f);
}
