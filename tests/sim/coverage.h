/* SPDX-License-Identifier: Apache-2.0 */
/* Which pairs of state and event the session table was asked for. */
#ifndef PLATTER_SIM_COVERAGE_H
#define PLATTER_SIM_COVERAGE_H

#include <stdbool.h>

/* Walks the table alone, by chance, until every pair was asked for, and holds it to its rules. */
void coverage_walk(void);
/* How many pairs the slots themselves have asked for, of how many; prints those they did not. */
void coverage_print(void);

#endif
