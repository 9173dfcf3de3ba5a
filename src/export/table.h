/* SPDX-License-Identifier: Apache-2.0 */
/* The implementations of export.h, for table.c alone; everyone else asks export_find(). */
#ifndef PLATTER_EXPORT_TABLE_H
#define PLATTER_EXPORT_TABLE_H

#include "export/export.h"

extern const struct export_ops export_kernel;
extern const struct export_ops export_unix;
extern const struct export_ops export_usb;

#endif
