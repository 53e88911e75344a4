// SPDX-License-Identifier: BSD-3-Clause
/*
 * Keys of grants: one memory region per grant in the client's protection domain, at an address that
 * tells nothing; and the end of these and of windows (window.c). On the registrar.
 */
#include "region/region.h"

#include <errno.h>

#include "region/keys.h"

#define PAGE_BYTES	KIB(4)
#define HUGE_PAGE_BYTES MIB(2)

/* Chosen addresses lie here: none near zero, none with the sign bit, which some software minds. */
#define IOVA_LOWEST HUGE_PAGE_BYTES
#define IOVA_LIMIT  (UINT64_C(1) << 63)

uint64_t key_random_iova(const void *addr, uint64_t length)
{
	uint64_t at = (uint64_t)(uintptr_t)addr;
	uint64_t page = at % HUGE_PAGE_BYTES == 0 ? HUGE_PAGE_BYTES : PAGE_BYTES;
	uint64_t slots = (IOVA_LIMIT - IOVA_LOWEST - align_up(length, page)) / page;
	uint64_t r;

	random_bytes(&r, sizeof(r));
	return IOVA_LOWEST + r % slots * page + at % page;
}

int grant_key_new(struct fabric_pd *pd, const struct view *view, uint64_t offset, uint64_t length,
		  unsigned int access, const struct region_probe *probe, struct grant_key *key)
{
	uint8_t *addr = view->base + offset;
	uint64_t iova = (uint64_t)(uintptr_t)addr;
	unsigned int flags = 0;
	struct fabric_mr *mr;
	int err;

	assert(access != 0 && (access & ~(unsigned int)(LH_GRANT_READ | LH_GRANT_WRITE)) == 0);
	assert(region_registers(probe->rung));
	assert(view_backed(view, offset, length));
	if (access & LH_GRANT_READ)
		flags |= FABRIC_ACCESS_REMOTE_READ;
	if (access & LH_GRANT_WRITE)
		flags |= FABRIC_ACCESS_REMOTE_WRITE | FABRIC_ACCESS_LOCAL_WRITE;
	if (probe->flush && (access & LH_GRANT_WRITE))
		flags |= FABRIC_ACCESS_FLUSH_GLOBAL | FABRIC_ACCESS_FLUSH_PERSISTENT;
	if (probe->rung == LH_RUNG_ODP)
		flags |= FABRIC_ACCESS_ON_DEMAND;
	if (probe->iova)
		iova = key_random_iova(addr, length);
	err = keys_add(view->export, offset, length);
	if (err)
		return err;
	err = fabric_mr_reg(pd, addr, length, iova, flags, &mr);
	if (err) {
		keys_drop(view->export);
		return err;
	}
	assert(mr->iova == iova);
	*key = (struct grant_key){
		.offset = offset,
		.length = length,
		.address = iova,
		.rkey = mr->rkey,
		.mr = mr,
		.export = view->export,
	};
	return 0;
}

int grant_key_kill(struct grant_key *key)
{
	int err;

	if (!grant_key_alive(key))
		return 0;
	/* A window that is freed is revoked: it takes no work request, so no queue that works. */
	if (key->mw)
		err = fabric_mw_free(key->mw);
	else
		err = fabric_mr_dereg(key->mr);
	if (err)
		return err;
	key->mr = NULL;
	key->mw = NULL;
	keys_drop(key->export);
	return 0;
}
