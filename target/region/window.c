// SPDX-License-Identifier: BSD-3-Clause
/*
 * Keys of grants that are windows: memory that is registered once for a client, a slab, and windows
 * over parts of it that answer to nobody but the queue pair on which they were bound. A slab's own key
 * gives no right from outside; what it costs to register is paid once, however many grants come and go.
 * On the registrar, but where said.
 */
#include "region/region.h"

#include <errno.h>

#include "region/keys.h"

#define PAGE_BYTES KIB(4)

static_assert((GRANT_SLAB_BYTES & (GRANT_SLAB_BYTES - 1)) == 0,
	      "slices of one size lie in those of another");

uint64_t grant_slab_bytes(const struct fabric_device *dev)
{
	uint64_t most = fabric_device_info(dev)->max_mr_bytes;
	uint64_t bytes = GRANT_SLAB_BYTES;

	while (most >= PAGE_BYTES && bytes > most)
		bytes /= 2;
	return bytes;
}

void grant_slab_plan(const struct fabric_device *dev, const struct view *view, uint64_t offset,
		     struct grant_slab *slab)
{
	const struct export_run *run = view_run_at(view, offset);
	uint64_t bytes = grant_slab_bytes(dev);
	uint64_t from = max_u64(align_down(offset, bytes), run->offset);
	uint64_t end = min_u64(align_down(offset, bytes) + bytes, run->offset + run->length);

	assert(run->offset <= offset && offset < end);
	*slab = (struct grant_slab){
		.offset = from,
		.end = end,
		.export = view->export,
	};
}

bool grant_slab_covers(const struct grant_slab *slab, uint64_t offset, uint64_t length)
{
	return slab->offset < slab->end && offset >= slab->offset &&
	       range_ok(offset - slab->offset, length, slab->end - slab->offset);
}

int grant_slab_register(struct fabric_pd *pd, const struct view *view,
			const struct region_probe *probe, struct grant_slab *slab)
{
	uint8_t *addr = view->base + slab->offset;
	uint64_t length = slab->end - slab->offset;
	uint64_t iova = (uint64_t)(uintptr_t)addr;
	unsigned int access = FABRIC_ACCESS_MW_BIND | FABRIC_ACCESS_LOCAL_WRITE;
	int err;

	if (slab->mr)
		return 0;
	assert(probe->windows && region_registers(probe->rung) && slab->export == view->export);
	assert(view_backed(view, slab->offset, length));
	if (probe->rung == LH_RUNG_ODP)
		access |= FABRIC_ACCESS_ON_DEMAND;
	if (probe->iova)
		iova = key_random_iova(addr, length);
	err = keys_add(slab->export, slab->offset, length);
	if (err)
		return err;
	err = fabric_mr_reg(pd, addr, length, iova, access, &slab->mr);
	if (err) {
		slab->mr = NULL;
		keys_drop(slab->export);
	}
	return err;
}

int grant_slab_kill(struct grant_slab *slab)
{
	int err;

	if (!slab->mr)
		return 0;
	err = fabric_mr_dereg(slab->mr);
	if (err)
		return err;
	slab->mr = NULL;
	keys_drop(slab->export);
	return 0;
}

int grant_window_new(const struct grant_slab *slab, uint64_t offset, uint64_t length,
		     struct grant_key *key)
{
	struct fabric_mw *mw;
	int err;

	assert(slab->mr && grant_slab_covers(slab, offset, length));
	err = keys_add(slab->export, offset, length);
	if (err)
		return err;
	err = fabric_mw_alloc(slab->mr->pd, &mw);
	if (err) {
		keys_drop(slab->export);
		return err;
	}
	*key = (struct grant_key){
		.offset = offset,
		.length = length,
		.address = slab->mr->iova + (offset - slab->offset),
		.mw = mw,
		.export = slab->export,
	};
	return 0;
}

void grant_window_bind(const struct grant_slab *slab, const struct grant_key *key,
		       unsigned int access, struct fabric_send_wr *wr)
{
	assert(access != 0 && (access & ~(unsigned int)(LH_GRANT_READ | LH_GRANT_WRITE)) == 0);
	*wr = (struct fabric_send_wr){
		.op = FABRIC_OP_BIND_MW,
		.flags = FABRIC_F_SIGNALED,
		.bind = {.mw = key->mw,
			 .mr = slab->mr,
			 .addr = key->address,
			 .length = key->length},
	};
	if (access & LH_GRANT_READ)
		wr->bind.access |= FABRIC_ACCESS_REMOTE_READ;
	if (access & LH_GRANT_WRITE)
		wr->bind.access |= FABRIC_ACCESS_REMOTE_WRITE;
}

void grant_window_bound(struct grant_key *key)
{
	key->rkey = key->mw->rkey;
}
