/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that wait in FunctionFS, where the kernel has no other way, and can be called off: by a
 * signal that ends the system call they wait in.
 */
#ifndef PLATTER_EXPORT_USB_THREAD_H
#define PLATTER_EXPORT_USB_THREAD_H

#include <pthread.h>
#include <time.h>

/* Starts one, which takes no signal but the one below. 0 or -errno. */
int usb_thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);
/* What it waits in ends with EINTR. One that comes just before the system call it is meant for is
 * lost: whoever waits for the thread repeats it from the time on that is returned (CLOCK_REALTIME,
 * as pthreads' waits have it). */
struct timespec usb_thread_interrupt(pthread_t thread);
/* Interrupts it until it is over. */
void usb_thread_join(pthread_t thread);

#endif
