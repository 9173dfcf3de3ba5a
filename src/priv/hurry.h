/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps a process from waiting in close(2) for somebody else's pleasure: see hurry.c. */
#ifndef PLATTER_PRIV_HURRY_H
#define PLATTER_PRIV_HURRY_H

/* From here on, whatever waits in the kernel and can be interrupted is, within 20 ms. Of what is
 * not a close, the kernel restarts nearly all by itself (signal(7)). Takes SIGALRM. */
void hurry_begin(void);
/* And from here on no more. */
void hurry_end(void);

#endif
