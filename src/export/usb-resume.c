// SPDX-License-Identifier: Apache-2.0
/*
 * How a function goes on where an earlier process was killed, or has left.
 *
 * What the kernel does then: it takes every transfer back before the process is gone, and the
 * endpoints, which the helper holds open, refuse the host's packets until a new process hands over
 * transfers. The host notices nothing but that it waits, for as long as its own timer allows
 * (Linux: 30 s). Commands are received into the journal, so whatever the host's part of it was, it
 * is known:
 *
 * - A command has come that nobody looked at: it is done now, as if it came now.
 * - Between two commands (IDLE): there is nothing to be done. None is lost: a thread that is killed
 *   while it waits for one (usb-ear.h) has either heard it or called the transfer off.
 * - A command was in work (WORK). How much of its data has moved nobody knows, and perhaps even its
 *   status was fetched, for the journal is written a moment after. So one listens first: a host
 * that has its status sends its next command within a moment, if it is at work at all. A host that
 * still sends data has them received and dropped meanwhile. Then bulk-in is halted, which ends the
 * data the host may wait for, and the status "failed" follows, under the command's own tag: the
 * drive says "aborted" when it is asked why, and hosts do such a command again.
 * - Its status was on its way (STATUS). Listening first again; then the same status is offered.
 *
 * An answer that nobody fetches is withdrawn after a while: the host had it, and is idle. Then
 * bulk-in may be halted still, which the host finds with its next command: one that wants data gets
 * none, and is told "aborted" too. Only a host whose next command comes in the very moment before
 * its old status is withdrawn finds that where its own data should be, and resets the device.
 *
 * Acknowledged writes that were not done (write-back) are lost with a killed process. The machine
 * sees no power fail, so it is told: the journal says that there were some, and the next flush
 * fails. An orderly end (usb_function_quiesce()) waits for them.
 */
#include <string.h>

#include "base/loop.h"
#include "export/usb-ear.h"
#include "export/usb-function-parts.h"

/* Milliseconds. */
#define LISTEN 200
#define OFFER  2000

/* A command, and not a packet of data (6.2.1, but for what only the machine knows). */
static bool is_command(const uint8_t *bytes, size_t length)
{
    return length == BOT_CBW_LENGTH && memcmp(bytes, "USBC", 4) == 0;
}

static void wait_for(struct usb_function *f, enum usb_resume resume, unsigned milliseconds)
{
    f->resume = resume;
    f->out_of_patience = false;
    loop_timer_set(f->patience, milliseconds);
}

/* The host goes on, or is idle: so do we. What is still on its way to it is not wanted. */
static void forget(struct usb_function *f, bool is_answered)
{
    struct usb_note note = f->note;

    usb_pipe_drop_sends(&f->pipe);
    if (!is_answered)
        usb_aio_flush_in(f->config.aio, f->config.in_fd);
    bot_reset(&f->bot, false);
    note.stage = USB_STAGE_IDLE;
    usb_function_note(f, &note);
    f->begun = f->answered = false;
    if (is_answered)
        f->halted = false;
    f->resume = USB_RESUME_NONE;
    loop_timer_stop(f->patience);
}

static void answer(struct usb_function *f)
{
    struct iovec iov = {f->note.status, sizeof f->note.status};

    wait_for(f, USB_RESUME_ANSWER, OFFER);
    if (f->note.stage == USB_STAGE_STATUS)
        f->answered = usb_pipe_send(&f->pipe, &iov, 1, false) == 0;
    else if (bot_resume(&f->bot, f->note.note, f->note.note_length) < 0)
        forget(f, false);
}

/* True when it was no command: more data of the interrupted one. */
static bool drop_data(struct usb_function *f, struct usb_heard heard)
{
    struct usb_note note = f->note;

    if (note.stage != USB_STAGE_WORK || !note.out || is_command(heard.bytes, heard.length))
        return false;
    usb_function_forget(f, &note);
    if (f->resume == USB_RESUME_LISTEN)
        wait_for(f, USB_RESUME_LISTEN, LISTEN);
    return true;
}

bool usb_resume_step(struct usb_function *f)
{
    bool is_answered = f->resume == USB_RESUME_ANSWER && bot_now(&f->bot)->kind == BOT_COMMAND &&
                       f->pipe.sending == 0;
    struct usb_heard heard;

    if (f->end == USB_END_QUIESCE)
        return false;
    heard = usb_pipe_heard(&f->pipe);
    if (!heard.bytes && usb_pipe_listen(&f->pipe) < 0)
        return true;
    if (is_answered || heard.bytes) {
        if (!is_answered && drop_data(f, heard))
            return true;
        forget(f, is_answered);
        return true;
    }
    if (!f->out_of_patience)
        return false;
    if (f->resume == USB_RESUME_LISTEN)
        answer(f);
    else
        forget(f, false);
    return true;
}

bool usb_resume_holds(const struct usb_function *f)
{
    return f->resume == USB_RESUME_LISTEN ||
           (f->resume != USB_RESUME_NONE && f->end == USB_END_QUIESCE);
}

void usb_function_resume(struct usb_function *f)
{
    struct usb_note note;

    if (!usb_journal_get_note(f->config.journal, f->config.index, &note) || note.packet == 0)
        return;
    f->note = note;
    f->pipe.packet = note.packet;
    bot_set_packet(&f->bot, note.packet);
    memset(f->pipe.places[!note.place], 0, USB_JOURNAL_COMMAND);
    if (is_command(f->pipe.places[note.place], BOT_CBW_LENGTH)) {
        usb_ear_resume(f->pipe.ear, note.place, BOT_CBW_LENGTH);
    } else {
        memset(f->pipe.places[note.place], 0, USB_JOURNAL_COMMAND);
        usb_ear_resume(f->pipe.ear, note.place, 0);
        if (note.stage != USB_STAGE_IDLE)
            wait_for(f, USB_RESUME_LISTEN, LISTEN);
    }
    usb_function_pump(f);
}
