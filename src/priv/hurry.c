/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who takes descriptors from others may be the last one to close them, and then does what closing
 * them means: a TCP socket with SO_LINGER waits in close(2) for a peer that need never read, for as
 * long as its sender has set. It does not help to look first. Such a socket may lie in the queue of
 * one that is fine, or come in a message that is never received, and is closed all the same.
 *
 * But that wait ends when a signal is pending (net/ipv4/tcp.c, sk_stream_wait_close()). So there is
 * one, again and again, while the helper works; not while it waits for work.
 */
#include "priv/hurry.h"

#include <signal.h>
#include <stddef.h>
#include <sys/time.h>

#define EVERY 20000 /* microseconds */

static void interrupt(int number)
{
    (void)number; /* that it came is all */
}

static void set_timer(long every)
{
    struct itimerval timer = {.it_interval.tv_usec = every, .it_value.tv_usec = every};

    setitimer(ITIMER_REAL, &timer, NULL);
}

void hurry_begin(void)
{
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESTART};

    sigaction(SIGALRM, &action, NULL);
    set_timer(EVERY);
}

void hurry_end(void)
{
    set_timer(0);
}
