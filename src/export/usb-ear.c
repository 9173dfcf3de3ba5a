// SPDX-License-Identifier: Apache-2.0
/*
 * The thread waits in read(2) while it is `wanted`, and leaves what it has got in a row of at most
 * two, one for each place.
 *
 * Who owns what: the places' memory is the configuration's; a place is the thread's while it reads
 * into it, else the loop's. Everything else is looked at under the lock, but for what only one of
 * the two uses.
 *
 * What always holds: a place that holds nothing that was heard and not taken is zeroes, so what
 * lies in a place when the process is killed has been heard. Results are taken in the order in
 * which they came.
 */
#include "export/usb-ear.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/loop.h"
#include "export/usb-thread.h"
#include "scsi/bot.h"

#define PLACES 2u

struct usb_ear {
    struct usb_ear_config config;
    pthread_t thread;
    bool runs;
    int event_fd;
    struct loop_fd *watch;

    pthread_mutex_t lock;
    pthread_cond_t changed; /* one of the next four, for the other side */
    bool wanted;
    bool ends;
    bool reads; /* the thread is in read(2), or about to be */
    unsigned count;
    size_t packet;
    unsigned place; /* of the oldest; those behind it lie in turn */
    int64_t results[PLACES];
};

/* ---- the thread ---- */

/* Whether bulk-out brings another command next, and not this one's data. What bot_command() thinks
 * nonsense after all is followed by a reset. */
static bool goes_on(const uint8_t *bytes, int64_t length)
{
    return length == BOT_CBW_LENGTH && memcmp(bytes, "USBC", 4) == 0 &&
           ((bytes[12] & 0x80) || memcmp(bytes + 8, "\0\0\0\0", 4) == 0);
}

/* With the lock, but for the time in between. */
static void hear(struct usb_ear *e)
{
    unsigned place = (e->place + e->count) % PLACES;
    uint8_t *bytes = e->config.places[place];
    size_t packet = e->packet;
    int64_t result;

    e->reads = true;
    pthread_mutex_unlock(&e->lock);
    result = read(e->config.out_fd, bytes, packet);
    if (result < 0)
        result = -errno;
    pthread_mutex_lock(&e->lock);
    e->reads = false;
    if (result != -EINTR) {
        e->results[place] = result;
        e->count++;
        e->wanted = e->wanted && goes_on(bytes, result);
        eventfd_write(e->event_fd, 1);
    }
    if (!e->wanted)
        pthread_cond_broadcast(&e->changed);
}

static void *run(void *arg)
{
    struct usb_ear *e = arg;

    pthread_mutex_lock(&e->lock);
    while (!e->ends) {
        if (e->wanted && e->count < PLACES)
            hear(e);
        else
            pthread_cond_wait(&e->changed, &e->lock);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

/* ---- the loop ---- */

static void readable(void *arg, unsigned ready)
{
    struct usb_ear *e = arg;
    eventfd_t ignored;

    (void)ready;
    eventfd_read(e->event_fd, &ignored);
    e->config.heard(e->config.arg);
}

int usb_ear_new(const struct usb_ear_config *config, struct usb_ear **out)
{
    struct usb_ear *e = calloc(1, sizeof *e);
    int r;

    if (!e)
        return -ENOMEM;
    e->config = *config;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->changed, NULL);
    e->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r = e->event_fd < 0 ? -errno
                        : loop_fd_new(config->loop, e->event_fd, LOOP_READ, readable, e, &e->watch);
    if (r == 0) {
        r = usb_thread_start(&e->thread, run, e);
        e->runs = r == 0;
    }
    if (r < 0) {
        usb_ear_free(e);
        return r;
    }
    *out = e;
    return 0;
}

void usb_ear_free(struct usb_ear *e)
{
    if (!e)
        return;
    if (e->runs) {
        pthread_mutex_lock(&e->lock);
        e->wanted = false;
        e->ends = true;
        pthread_cond_broadcast(&e->changed);
        pthread_mutex_unlock(&e->lock);
        usb_thread_join(e->thread);
    }
    loop_fd_free(e->watch);
    if (e->event_fd >= 0)
        close(e->event_fd);
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

void usb_ear_listen(struct usb_ear *e, unsigned packet)
{
    pthread_mutex_lock(&e->lock);
    /* What was heard meanwhile may say that its data comes next. */
    if (!e->wanted && e->count == 0) {
        e->wanted = true;
        e->packet = packet;
        pthread_cond_broadcast(&e->changed);
    }
    pthread_mutex_unlock(&e->lock);
}

/* The thread's read is interrupted until it ends; the kernel takes the transfer back before. */
void usb_ear_stop(struct usb_ear *e)
{
    struct timespec until;

    pthread_mutex_lock(&e->lock);
    e->wanted = false;
    while (e->reads) {
        until = usb_thread_interrupt(e->thread);
        pthread_cond_timedwait(&e->changed, &e->lock, &until);
    }
    pthread_mutex_unlock(&e->lock);
}

bool usb_ear_heard(struct usb_ear *e, int64_t *result)
{
    bool heard;

    pthread_mutex_lock(&e->lock);
    heard = e->count > 0;
    *result = heard ? e->results[e->place] : 0;
    pthread_mutex_unlock(&e->lock);
    return heard;
}

void usb_ear_take(struct usb_ear *e)
{
    pthread_mutex_lock(&e->lock);
    memset(e->config.places[e->place], 0, e->packet);
    e->place = (e->place + 1) % PLACES;
    if (e->count-- == PLACES)
        pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

unsigned usb_ear_place(const struct usb_ear *e)
{
    /* Only the loop changes it. */
    return e->place;
}

void usb_ear_resume(struct usb_ear *e, unsigned place, size_t length)
{
    pthread_mutex_lock(&e->lock);
    e->place = place;
    e->count = length > 0;
    e->results[place] = (int64_t)length;
    e->packet = length;
    pthread_mutex_unlock(&e->lock);
}
