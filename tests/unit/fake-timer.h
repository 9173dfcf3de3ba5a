/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for base/loop's timers in a test that links it: time goes on only as the test says. Any
 * number of them, of no loop.
 */
#ifndef PLATTER_TESTS_FAKE_TIMER_H
#define PLATTER_TESTS_FAKE_TIMER_H

#include <stdint.h>

/* Milliseconds pass; timers that fall due ring in their order, at their time. */
void fake_timer_pass(uint64_t milliseconds);

#endif
