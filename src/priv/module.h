/* SPDX-License-Identifier: Apache-2.0 */
/* Loads a kernel module by running modprobe, as an admin would. */
#ifndef PLATTER_PRIV_MODULE_H
#define PLATTER_PRIV_MODULE_H

/* `option` may be NULL. 0, or -EIO: its own words, if any, are on stderr. Waits for it. */
int module_load(const char *name, const char *option);

#endif
