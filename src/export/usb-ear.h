/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a function hears on bulk-out between its transfers: the machine's commands. A thread of its
 * own waits in read(2) for them, and puts each where the function wants it.
 *
 * Why a thread, where all else is asynchronous (usb-aio.h): FunctionFS brings what an asynchronous
 * read has got through a queue of work, which costs two switches more at every command, and takes
 * it back from a killed process so late that a command can be lost between them. A thread that
 * waits in read(2) is woken by the controller itself; when it is killed, it either has the command
 * (which then lies in its place) or has called the transfer off.
 *
 * While it waits, the endpoint is its own: usb-aio.h's functions get -EAGAIN there.
 */
#ifndef PLATTER_EXPORT_USB_EAR_H
#define PLATTER_EXPORT_USB_EAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct usb_ear;

struct usb_ear_config {
    struct loop *loop;
    int out_fd;
    uint8_t *places[2]; /* what is heard goes there in turn; room for a packet in each, zeroes */
    void (*heard)(void *arg); /* something was; on the loop */
    void *arg;
};

/* Does not listen yet. 0 or -errno. */
int usb_ear_new(const struct usb_ear_config *config, struct usb_ear **out);
/* NULL is allowed. */
void usb_ear_free(struct usb_ear *e);

/*
 * From now on it listens, for one packet of up to `packet` bytes; harmless while it does, or while
 * something that was heard has not been taken. It goes on by itself after a command that brings no
 * data from the machine, so the next can be heard while that one is in work; not after one that
 * does, nor after anything else.
 */
void usb_ear_listen(struct usb_ear *e, unsigned packet);
/* It no longer does when this returns. What has come is kept. */
void usb_ear_stop(struct usb_ear *e);

/* The oldest that was heard, if any: its length in bytes, or -errno (-ESHUTDOWN, -EAGAIN, -ENODEV
 * where the endpoint is not enabled); its bytes lie in places[usb_ear_place()]. It stands until
 * usb_ear_take(), which makes its place zeroes again. */
bool usb_ear_heard(struct usb_ear *e, int64_t *result);
void usb_ear_take(struct usb_ear *e);
/* Where the next that is taken lies, or will lie: 0 or 1. */
unsigned usb_ear_place(const struct usb_ear *e);
/* Before it has listened: its first place; and that so many bytes lie there, heard by an earlier
 * process (0: none do). */
void usb_ear_resume(struct usb_ear *e, unsigned place, size_t length);

#endif
