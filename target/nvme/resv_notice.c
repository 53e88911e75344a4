// SPDX-License-Identifier: BSD-3-Clause
/*
 * Reservation notifications as one host reads them: log page 80h, an entry at a time, the oldest
 * first. The admin queue's reactor. One that finds the ring full is lost, but counted: the numbers
 * show a gap.
 */
#include "nvme/resv.h"

#include <string.h>

#define MORE_MAX 255u

void resv_notice_note(struct controller *c, uint32_t nsid, unsigned int slot,
		      enum nvme_resv_notice what)
{
	struct controller_admin *a = &c->a;

	if (a->features.resv_mask[slot] & 1u << what)
		return;
	/* 0 says that there is nothing. */
	if (++a->resv_count == 0)
		a->resv_count = 1;
	if (a->nr_resv == RESV_LOG_ENTRIES)
		return;
	a->resv_log[(a->resv_first + a->nr_resv++) % RESV_LOG_ENTRIES] = (struct nvme_resv_log){
		.count = htole64(a->resv_count),
		.type = (uint8_t)what,
		.nsid = htole32(nsid),
	};
}

uint32_t resv_notice_log(const struct controller *c, uint8_t *log)
{
	const struct controller_admin *a = &c->a;
	struct nvme_resv_log entry = {0};

	if (a->nr_resv > 0) {
		entry = a->resv_log[a->resv_first];
		entry.more = (uint8_t)min_u64(a->nr_resv - 1, MORE_MAX);
	}
	memcpy(log, &entry, sizeof(entry));
	return sizeof(entry);
}

void resv_notice_take(struct controller *c)
{
	struct controller_admin *a = &c->a;

	if (a->nr_resv == 0)
		return;
	a->resv_first = (a->resv_first + 1) % RESV_LOG_ENTRIES;
	a->nr_resv--;
}

bool resv_notice_waiting(const struct controller *c)
{
	return c->a.nr_resv > 0;
}
