// SPDX-License-Identifier: Apache-2.0
/* The threads of a USB device: how they are begun, interrupted and ended. Who owns what: the thread
 * is its starter's, and so is all it uses, until it has been joined. */
#include "export/usb-thread.h"

#include <signal.h>
#include <time.h>

#define INTERRUPT SIGRTMIN
#define AGAIN     1000000 /* nanoseconds */
/* Enough for the few frames there are, and for a sanitizer's. */
#define STACK_SIZE (256u << 10)

static void interrupt(int number)
{
    (void)number; /* that it came is all: a system call ends with EINTR */
}

/* The program's signals are for the loop's thread. */
int usb_thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
    struct sigaction action = {.sa_handler = interrupt};
    sigset_t all, before;
    pthread_attr_t attributes;
    int r = pthread_attr_init(&attributes);

    if (r != 0)
        return -r;
    sigaction(INTERRUPT, &action, NULL);
    sigfillset(&all);
    sigdelset(&all, INTERRUPT);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_attr_setstacksize(&attributes, STACK_SIZE);
    if (r == 0)
        r = pthread_create(thread, &attributes, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -r;
}

struct timespec usb_thread_interrupt(pthread_t thread)
{
    struct timespec again;

    pthread_kill(thread, INTERRUPT);
    clock_gettime(CLOCK_REALTIME, &again);
    again.tv_nsec += AGAIN;
    again.tv_sec += again.tv_nsec / 1000000000;
    again.tv_nsec %= 1000000000;
    return again;
}

void usb_thread_join(pthread_t thread)
{
    struct timespec until;

    do {
        until = usb_thread_interrupt(thread);
    } while (pthread_timedjoin_np(thread, NULL, &until) != 0);
}
