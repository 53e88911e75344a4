/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside the room: hosts that may connect, as the configuration file has them. */
#ifndef LEASEHOLD_CONTROL_HOSTS_H
#define LEASEHOLD_CONTROL_HOSTS_H

#include "control/control.h"

/** How many of `wanted` are not in `last` (NULL: nothing was read before), and the other way round. */
void hosts_compare(const struct daemon_config *last, const struct daemon_config *wanted,
		   unsigned int *added, unsigned int *removed);
#endif
