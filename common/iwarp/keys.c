/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keys: what a memory region or a window is to the wire. Owns the device's one table of them.
 *
 * The promise: when a key has been killed (iw_mr_dereg, iw_mw_free, an invalidation), no byte is
 * read or written through it any more. It is kept without a lock on the data path: a thread that
 * wants to touch memory names the slot in its CQ's hazard, then looks at the stamp, then acts, then
 * takes the name away. Who kills clears the stamp first and then waits until no hazard names the
 * slot. All of it sequentially consistent, so one of the two sees the other. What is done under a
 * hazard is one non-blocking system call or one copy: it may take page faults, nothing longer.
 */
#include "iwarp_internal.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOCAL_ACCESS_KNOWN                                                                    \
	(FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE | \
	 FABRIC_ACCESS_MW_BIND | FABRIC_ACCESS_ON_DEMAND)
#define WINDOW_ACCESS_KNOWN (FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE)

#define QUIESCE_YIELDS	 100
#define QUIESCE_SLEEP_NS 20000

/* ---- the table ------------------------------------------------------------------------------ */

int iw_keys_init(struct iw_keys *keys)
{
	list_init(&keys->spare);
	atomic_init(&keys->next_stamp, 1);
	return -pthread_mutex_init(&keys->lock, NULL);
}

void iw_keys_fini(struct iw_keys *keys)
{
	for (unsigned int i = 0; i < keys->nchunks; i++)
		free(atomic_load(&keys->chunk[i]));
	pthread_mutex_destroy(&keys->lock);
}

/* Adds a chunk; its slots become spare in a random order, so that indices cannot be guessed. */
static int keys_grow(struct iw_keys *keys)
{
	uint32_t random[IW_SLOTS_PER_CHUNK];
	uint32_t order[IW_SLOTS_PER_CHUNK];
	struct iw_slot *chunk;

	if (keys->nchunks == IW_MAX_CHUNKS)
		return -ENOMEM;
	chunk = calloc(IW_SLOTS_PER_CHUNK, sizeof(*chunk));
	if (!chunk)
		return -ENOMEM;
	random_bytes(random, sizeof(random));
	for (uint32_t i = 0; i < IW_SLOTS_PER_CHUNK; i++) {
		uint32_t j = (random[i] >> 8) % (i + 1);

		chunk[i].index = keys->nchunks * IW_SLOTS_PER_CHUNK + i;
		chunk[i].key = chunk[i].index << 8 | (random[i] & 0xff);
		order[i] = i;
		order[i] = order[j];
		order[j] = i;
	}
	for (uint32_t i = 0; i < IW_SLOTS_PER_CHUNK; i++)
		list_push(&keys->spare, &chunk[order[i]].spare);
	atomic_store(&keys->chunk[keys->nchunks], chunk);
	keys->nchunks++;
	return 0;
}

static int slot_take(struct iw_keys *keys, struct iw_slot **out)
{
	struct iw_slot *slot;
	int err = 0;

	pthread_mutex_lock(&keys->lock);
	if (list_empty(&keys->spare))
		err = keys_grow(keys);
	if (!err) {
		slot = list_entry(list_pop(&keys->spare), struct iw_slot, spare);
		*out = slot;
	}
	pthread_mutex_unlock(&keys->lock);
	return err;
}

/* The stamp is 0 and no hazard names the slot. */
static void slot_put(struct iw_keys *keys, struct iw_slot *slot)
{
	pthread_mutex_lock(&keys->lock);
	list_push(&keys->spare, &slot->spare);
	pthread_mutex_unlock(&keys->lock);
}

static uint32_t next_key(uint32_t key)
{
	return (key & ~0xffu) | ((key + 1) & 0xff);
}

/* Makes the key valid; the fields are written. */
static void slot_publish(struct iw_keys *keys, struct iw_slot *slot)
{
	atomic_store(&slot->stamp, atomic_fetch_add(&keys->next_stamp, 1));
}

/* Waits until nobody is touching memory through the slot. The caller holds no key. */
static void slot_quiesce(struct iw_device *dev, const struct iw_slot *slot)
{
	const struct timespec nap = {.tv_nsec = QUIESCE_SLEEP_NS};
	unsigned int used = atomic_load(&dev->hazards_used);

	for (unsigned int i = 0; i < used; i++) {
		for (unsigned int k = 0; k < IW_HOLD_MAX; k++) {
			for (unsigned int tries = 0; atomic_load(&dev->hazard[i].slot[k]) == slot;
			     tries++) {
				if (tries < QUIESCE_YIELDS)
					(void)sched_yield();
				else
					(void)nanosleep(&nap, NULL);
			}
		}
	}
}

/* ---- holding and checking (a CQ's thread) ---------------------------------------------------- */

/* Names the slot in the hazard; false: no room. Whether it is valid is to be looked at afterwards. */
static bool hold_slot(struct iw_hold *hold, struct iw_slot *slot)
{
	if (hold->n == IW_HOLD_MAX)
		return false;
	atomic_store(&hold->hazard->slot[hold->n], slot);
	hold->ref[hold->n].slot = slot;
	hold->n++;
	return true;
}

static void hold_pop(struct iw_hold *hold)
{
	hold->n--;
	atomic_store_explicit(&hold->hazard->slot[hold->n], NULL, memory_order_release);
}

void iw_hold_drop(struct iw_hold *hold)
{
	while (hold->n > 0)
		hold_pop(hold);
}

bool iw_hold_again(struct iw_hold *hold, const struct iw_ref *ref, unsigned int n)
{
	assert(hold->n == 0 && n <= IW_HOLD_MAX);
	for (unsigned int i = 0; i < n; i++) {
		(void)hold_slot(hold, ref[i].slot);
		if (atomic_load(&ref[i].slot->stamp) != ref[i].stamp) {
			iw_hold_drop(hold);
			return false;
		}
		hold->ref[i].stamp = ref[i].stamp;
	}
	return true;
}

static struct iw_slot *slot_lookup(struct iw_keys *keys, uint32_t key)
{
	uint32_t index = key >> 8;
	struct iw_slot *chunk = atomic_load_explicit(&keys->chunk[index / IW_SLOTS_PER_CHUNK],
						     memory_order_acquire);

	return chunk ? &chunk[index % IW_SLOTS_PER_CHUNK] : NULL;
}

enum iw_key_result iw_key_check(struct iw_hold *hold, const struct iw_conn *conn, uint32_t key,
				uint64_t addr, uint64_t len, unsigned int access, void **ptr)
{
	const unsigned int remote = FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE;
	struct iw_slot *slot = slot_lookup(&conn->dev->keys, key);
	enum iw_key_result result;
	bool fresh = true;

	if (!slot)
		return IW_KEY_INVALID;
	for (unsigned int i = 0; i < hold->n; i++)
		if (hold->ref[i].slot == slot)
			fresh = false;
	if (fresh) {
		if (!hold_slot(hold, slot))
			return IW_KEY_FULL;
		hold->ref[hold->n - 1].stamp = atomic_load(&slot->stamp);
		if (hold->ref[hold->n - 1].stamp == 0) {
			hold_pop(hold);
			return IW_KEY_INVALID;
		}
	} else if (atomic_load(&slot->stamp) == 0) {
		return IW_KEY_INVALID;
	}
	/* From here on the fields stand still. */
	if (slot->key != key || (slot->mr && !(access & remote)))
		result = IW_KEY_INVALID;
	else if (slot->pd != &conn->pd->base || (slot->conn_id && slot->conn_id != conn->id))
		result = IW_KEY_STRANGER;
	else if ((slot->access & access) != access)
		result = IW_KEY_ACCESS;
	else if (addr + len < addr)
		result = IW_KEY_WRAP;
	else if (addr < slot->iova || !range_ok(addr - slot->iova, len, slot->length))
		result = IW_KEY_BOUNDS;
	else
		result = IW_KEY_OK;
	if (result == IW_KEY_OK)
		*ptr = slot->base + (addr - slot->iova);
	else if (fresh)
		hold_pop(hold);
	return result;
}

/* ---- memory regions -------------------------------------------------------------------------- */

static char *next_field(char *p)
{
	p += strspn(p, " ");
	return p + strcspn(p, " ");
}

/*
 * True if [addr, addr + length) holds a page of a file, as an adapter that cannot pin file memory
 * would find out. Blocks (reads /proc).
 */
static bool is_file_memory(const void *addr, uint64_t length)
{
	static const char *const anonymous[] = {"/dev/zero", "/anon_hugepage", "/SYSV"};
	FILE *maps = fopen("/proc/self/maps", "re");
	char *line = NULL;
	size_t line_size = 0;
	bool file = false;

	if (!maps)
		return false;
	while (!file && getline(&line, &line_size, maps) > 0) {
		/* "start-end perms offset device inode   path": proc(5). */
		unsigned long start, end, inode;
		char *p = line;

		start = strtoul(p, &p, 16);
		end = strtoul(p + (*p == '-'), &p, 16);
		for (int field = 0; field < 3; field++)
			p = next_field(p);
		inode = strtoul(p, &p, 10);
		p += strspn(p, " ");
		if (inode == 0 || !range_overlaps(start, end - start, (uintptr_t)addr, length))
			continue;
		file = true;
		for (size_t i = 0; i < ARRAY_SIZE(anonymous); i++)
			if (strncmp(p, anonymous[i], strlen(anonymous[i])) == 0)
				file = false;
	}
	free(line);
	(void)fclose(maps);
	return file;
}

static int check_registration(const struct iw_device *dev, const void *addr, uint64_t length,
			      uint64_t iova, unsigned int access)
{
	if (length == 0 || (uintptr_t)addr + length < (uintptr_t)addr || iova + length < iova)
		return -EINVAL;
	if (access & ~(unsigned int)LOCAL_ACCESS_KNOWN)
		return -EOPNOTSUPP;
	if ((access & FABRIC_ACCESS_MW_BIND) && dev->options.no_windows)
		return -EOPNOTSUPP;
	if ((access & FABRIC_ACCESS_ON_DEMAND) && !dev->base.info.odp)
		return -EOPNOTSUPP;
	if (!(access & FABRIC_ACCESS_ON_DEMAND) &&
	    (dev->options.memory == IWARP_MEMORY_ODP || dev->options.memory == IWARP_MEMORY_NONE) &&
	    is_file_memory(addr, length))
		return -EOPNOTSUPP;
	return 0;
}

int iw_mr_reg(struct fabric_pd *pd, void *addr, uint64_t length, uint64_t iova, unsigned int access,
	      struct fabric_mr **out)
{
	struct iw_device *dev = iw_device_of(pd->device);
	struct iw_mr *mr;
	struct iw_slot *slot;
	int err = check_registration(dev, addr, length, iova, access);

	if (err)
		return err;
	mr = calloc(1, sizeof(*mr));
	if (!mr)
		return -ENOMEM;
	err = slot_take(&dev->keys, &slot);
	if (err) {
		free(mr);
		return err;
	}
	slot->key = next_key(slot->key);
	slot->base = addr;
	slot->iova = iova;
	slot->length = length;
	/* As on an adapter, who lets the peer write may write himself. */
	slot->access = access;
	if (access & FABRIC_ACCESS_REMOTE_WRITE)
		slot->access |= FABRIC_ACCESS_LOCAL_WRITE;
	slot->pd = pd;
	slot->conn_id = 0;
	slot->mr = NULL;
	slot_publish(&dev->keys, slot);
	*mr = (struct iw_mr){
		.base = {.pd = pd,
			 .addr = addr,
			 .iova = iova,
			 .length = length,
			 .lkey = slot->key,
			 .rkey = slot->key},
		.slot = slot,
	};
	atomic_fetch_add(&container_of(pd, struct iw_pd, base)->objects, 1);
	*out = &mr->base;
	return 0;
}

int iw_mr_dereg(struct fabric_mr *base)
{
	struct iw_mr *mr = container_of(base, struct iw_mr, base);
	struct iw_device *dev = iw_device_of(base->pd->device);
	int none = 0;

	if (!atomic_compare_exchange_strong(&mr->binds, &none, -1))
		return -EBUSY;
	atomic_store(&mr->slot->stamp, 0);
	slot_quiesce(dev, mr->slot);
	slot_put(&dev->keys, mr->slot);
	atomic_fetch_sub(&container_of(base->pd, struct iw_pd, base)->objects, 1);
	free(mr);
	return 0;
}

bool iw_mr_get(struct iw_mr *mr)
{
	int binds = atomic_load(&mr->binds);

	while (binds >= 0)
		if (atomic_compare_exchange_weak(&mr->binds, &binds, binds + 1))
			return true;
	return false;
}

void iw_mr_put(struct iw_mr *mr)
{
	atomic_fetch_sub(&mr->binds, 1);
}

/* ---- windows --------------------------------------------------------------------------------- */

int iw_mw_alloc(struct fabric_pd *pd, struct fabric_mw **out)
{
	struct iw_device *dev = iw_device_of(pd->device);
	struct iw_mw *mw;
	int err;

	if (dev->options.no_windows)
		return -EOPNOTSUPP;
	mw = calloc(1, sizeof(*mw));
	if (!mw)
		return -ENOMEM;
	err = slot_take(&dev->keys, &mw->slot);
	if (err) {
		free(mw);
		return err;
	}
	mw->base.pd = pd;
	/* A key that is not valid yet; each bind moves on from it. */
	mw->base.rkey = next_key(mw->slot->key);
	atomic_fetch_add(&container_of(pd, struct iw_pd, base)->objects, 1);
	*out = &mw->base;
	return 0;
}

/*
 * Ends the validity `stamp` of a window's slot, with the promise at the top of this file; the region
 * is released only after it, since its deregistration relies on that. Several threads may try (the
 * peer, the owner): one wins, the others wait as well. The caller holds no key.
 */
static void window_kill(struct iw_device *dev, struct iw_slot *slot, uint64_t stamp,
			struct iw_mr *mr)
{
	bool won = atomic_compare_exchange_strong(&slot->stamp, &stamp, 0);

	slot_quiesce(dev, slot);
	if (won)
		iw_mr_put(mr);
}

int iw_mw_free(struct fabric_mw *base)
{
	struct iw_mw *mw = container_of(base, struct iw_mw, base);
	struct iw_device *dev = iw_device_of(base->pd->device);
	struct iw_slot *slot = mw->slot;

	/* The fields change only in a bind, and binding a window while freeing it is a bug above. */
	uint64_t stamp = atomic_load(&slot->stamp);

	if (stamp)
		window_kill(dev, slot, stamp, slot->mr);
	else
		slot_quiesce(dev, slot);
	slot->mr = NULL;
	slot->key = base->rkey;
	slot_put(&dev->keys, slot);
	atomic_fetch_sub(&container_of(base->pd, struct iw_pd, base)->objects, 1);
	free(mw);
	return 0;
}

bool iw_window_invalidate(struct iw_device *dev, struct iw_hold *hold, const struct iw_conn *conn,
			  uint32_t key)
{
	struct iw_slot *slot = slot_lookup(&dev->keys, key);
	struct iw_mr *mr = NULL;
	uint64_t stamp;

	assert(hold->n == 0);
	if (!slot)
		return false;
	(void)hold_slot(hold, slot);
	stamp = atomic_load(&slot->stamp);
	/* Regions are never invalidated from the wire or by a work request: others may use them. */
	if (stamp && slot->key == key && slot->mr && slot->conn_id == conn->id)
		mr = slot->mr;
	hold_pop(hold);
	if (!mr)
		return false;
	window_kill(dev, slot, stamp, mr);
	return true;
}

uint32_t iw_window_next_key(struct iw_mw *mw)
{
	mw->base.rkey = next_key(mw->base.rkey);
	return mw->base.rkey;
}

bool iw_window_bind(struct iw_device *dev, struct iw_mw *mw, struct iw_mr *mr,
		    const struct iw_conn *conn, uint32_t key, uint64_t addr, uint64_t length,
		    unsigned int access)
{
	struct iw_slot *slot = mw->slot;
	const struct iw_slot *of = mr->slot;
	uint64_t stamp = atomic_load(&slot->stamp);

	if (length == 0 || mw->base.pd != mr->base.pd || mw->base.pd != &conn->pd->base ||
	    !(of->access & FABRIC_ACCESS_MW_BIND) ||
	    (access & ~(unsigned int)WINDOW_ACCESS_KNOWN) ||
	    ((access & FABRIC_ACCESS_REMOTE_WRITE) && !(of->access & FABRIC_ACCESS_LOCAL_WRITE)) ||
	    addr < mr->base.iova || !range_ok(addr - mr->base.iova, length, mr->base.length)) {
		iw_mr_put(mr);
		return false;
	}
	if (stamp)
		window_kill(dev, slot, stamp, slot->mr);
	else
		slot_quiesce(dev, slot); /* the peer may be ending the last validity just now */
	slot->key = key;
	slot->base = (uint8_t *)mr->base.addr + (addr - mr->base.iova);
	slot->iova = addr;
	slot->length = length;
	slot->access = access;
	slot->pd = mw->base.pd;
	slot->conn_id = conn->id;
	slot->mr = mr;
	slot_publish(&dev->keys, slot);
	return true;
}

/* ---- copies ---------------------------------------------------------------------------------- */

static int copy_plain(void *dst, const void *src, size_t len)
{
	memcpy(dst, src, len);
	return 0;
}

static _Atomic(iwarp_copy_fn *) copy_hook = copy_plain;

void iwarp_set_copy_hook(iwarp_copy_fn *copy)
{
	atomic_store(&copy_hook, copy ? copy : copy_plain);
}

void iw_touch(const struct iovec *iov, size_t count)
{
	uint8_t piece[IW_TOUCH_BYTES];

	for (size_t i = 0; i < count; i++) {
		for (size_t at = 0; at < iov[i].iov_len; at += sizeof(piece))
			(void)iw_copy(piece, (const uint8_t *)iov[i].iov_base + at,
				      min_u64(sizeof(piece), iov[i].iov_len - at));
	}
}

int iw_copy(void *dst, const void *src, size_t len)
{
	return atomic_load_explicit(&copy_hook, memory_order_acquire)(dst, src, len);
}
