// SPDX-License-Identifier: BSD-3-Clause
#include "libleasehold/spin.h"

#include "util/util.h"

void spin_init(struct spin *spin)
{
	*spin = (struct spin){.ns = SPIN_MAX_NS / 4};
}

uint64_t spin_begin(struct spin *spin)
{
	return ++spin->waits % SPIN_PROBE_ONE == 0 ? SPIN_MAX_NS : spin->ns;
}

void spin_end(struct spin *spin, uint64_t waited_ns)
{
	if (waited_ns <= SPIN_MAX_NS)
		spin->ns = max_u64(spin->ns, min_u64(2 * waited_ns, SPIN_MAX_NS));
	else
		spin->ns = max_u64(spin->ns / 2, SPIN_MIN_NS);
}
