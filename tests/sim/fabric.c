// SPDX-License-Identifier: BSD-3-Clause
/*
 * The simulated fabric: memory, keys, completion queues. One adapter, for the target and all hosts.
 * Keys are handed out again as soon as they are dead, with eight bits that differ: as adapters do.
 */
#include "fabric.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEYS 4096u

struct sim_fabric sf;

static struct {
	struct sim_mr *mr[MAX_KEYS];
	uint8_t salt[MAX_KEYS];
	uint32_t free[MAX_KEYS];
	unsigned int nr_free;
	uint64_t kept_ns; /* until then the adapter gives none back */
} keys;

bool fabric_fault(unsigned int in_thousand)
{
	return w.faults && sim_chance(in_thousand);
}

/* ---- keys ---- */

struct sim_mr *key_find(uint32_t key)
{
	struct sim_mr *mr = key >> 8 < MAX_KEYS ? keys.mr[key >> 8] : NULL;

	return mr && mr->base.lkey == key ? mr : NULL;
}

uint8_t *key_address(uint32_t key, const struct sim_conn *conn, uint64_t address, uint64_t length,
		     unsigned int access, struct sim_mr **result)
{
	struct sim_mr *mr = key_find(key);

	if (!mr || mr->base.pd != &conn->pd->base || (mr->conn && mr->conn != conn) ||
	    (mr->access & access) != access || address < mr->base.iova ||
	    !range_ok(address - mr->base.iova, length, mr->base.length))
		return NULL;
	*result = mr;
	return (uint8_t *)mr->base.addr + (address - mr->base.iova);
}

bool fabric_guess_key(const struct client *who, uint32_t *rkey, uint64_t *address)
{
	unsigned int n = 0;
	struct list *l;

	/* The last of them, or one before. */
	list_for_each (l, &sf.mrs) {
		const struct sim_mr *mr = list_entry(l, struct sim_mr, link);

		if (OF(pd, mr->base.pd)->client == who || (n++ > 0 && sim_chance(500)))
			continue;
		*rkey = mr->base.rkey;
		*address = mr->base.iova;
	}
	return n > 0;
}

/* What the target may register for somebody else. */
static void check_grant(const struct sim_mr *mr)
{
	const struct client *client = OF(pd, mr->base.pd)->client;
	uint64_t offset = file_offset(mr->base.addr);
	unsigned int access = mr->access & (FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE);
	struct list *l;

	if (!client)
		sim_fail(P_FOREIGN, "a key that reaches from outside is in nobody's domain");
	if (!client_may(client, offset, mr->base.length, access))
		sim_fail(P_FOREIGN, "%s gets a key for bytes %llu+%llu that it did not ask for",
			 client->name, (unsigned long long)offset,
			 (unsigned long long)mr->base.length);
	list_for_each (l, &sf.mrs) {
		const struct sim_mr *other = list_entry(l, struct sim_mr, link);
		unsigned int theirs =
			other->access & (FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE);

		if (other == mr || !theirs || other->base.pd == mr->base.pd ||
		    !((theirs | access) & FABRIC_ACCESS_REMOTE_WRITE) ||
		    !range_overlaps(offset, mr->base.length, file_offset(other->base.addr),
				    other->base.length))
			continue;
		sim_fail(P_FOREIGN, "%s gets a key while another client's is alive over its bytes",
			 client->name);
	}
}

/* What block commands have, with one slice more. */
static void check_budget(uint64_t length)
{
	uint64_t bytes = length;
	unsigned int n = 1;
	struct list *l;

	list_for_each (l, &sf.mrs) {
		const struct sim_mr *mr = list_entry(l, struct sim_mr, link);

		if (mr->access & (FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE |
				  FABRIC_ACCESS_MW_BIND))
			continue;
		bytes += mr->base.length;
		n++;
	}
	if ((w.max_registrations && n > w.max_registrations) ||
	    (w.max_registered_bytes && bytes > w.max_registered_bytes))
		sim_fail(P_BUDGET, "%u slices of %llu bytes are registered", n,
			 (unsigned long long)bytes);
}

static uint32_t key_new(struct sim_mr *mr, uint32_t index)
{
	keys.mr[index] = mr;
	keys.salt[index]++;
	return index << 8 | keys.salt[index];
}

static int sim_mr_reg(struct fabric_pd *pd, void *addr, uint64_t length, uint64_t iova,
		      unsigned int access, struct fabric_mr **result)
{
	struct sim_mr *mr;
	uint32_t index;

	if (file_address(addr) && fabric_fault(30))
		return -ENOMEM;
	mr = calloc(1, sizeof(*mr));
	assert(mr && keys.nr_free > 0 && length > 0);
	index = keys.free[--keys.nr_free];
	mr->base = (struct fabric_mr){
		.pd = pd, .addr = addr, .iova = iova, .length = length, .lkey = key_new(mr, index)};
	mr->base.rkey = mr->base.lkey;
	mr->access = access;
	mr->born_ns = sim_now;
	if (access & FABRIC_ACCESS_REMOTE_WRITE)
		mr->access |= FABRIC_ACCESS_LOCAL_WRITE;
	list_init(&mr->link);
	list_init(&mr->landing);
	mr->file = file_address(addr);
	if (mr->file) {
		bool remote = access & (FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE);

		file_register(addr, length, remote, &mr->blocks);
		if (remote)
			check_grant(mr);
		else if (!(access & FABRIC_ACCESS_MW_BIND))
			check_budget(length);
		list_push(&sf.mrs, &mr->link);
		sim_log("key %x over bytes %llu+%llu%s", mr->base.rkey,
			(unsigned long long)file_offset(addr), (unsigned long long)length,
			remote ? ", granted" : "");
	}
	OF(pd, pd)->objects++;
	sf.objects++;
	*result = &mr->base;
	return 0;
}

/* For longer than anybody waits. */
static bool kept(void)
{
	if (sim_now >= keys.kept_ns && w.keeps_keys && !w.ending && sim_chance(20))
		keys.kept_ns = sim_now + (1 + sim_below(5)) * w.deadline_ms * NS_PER_MS;
	return sim_now < keys.kept_ns;
}

static int sim_mr_dereg(struct fabric_mr *base)
{
	struct sim_mr *mr = OF(mr, base);
	uint32_t index = base->lkey >> 8;

	if (mr->file) {
		if (fabric_fault(20) || kept() || mr->windows > 0)
			return -EBUSY;
		if (wire_names(base->lkey))
			sim_fail(P_RELEASED,
				 "a key is deregistered that work in flight of ours names");
		sim_log("key %x is dead", base->rkey);
	}
	wire_land_all(mr);
	oracle_key_dead(base->rkey);
	list_del(&mr->link);
	keys.mr[index] = NULL;
	keys.free[keys.nr_free++] = index;
	OF(pd, base->pd)->objects--;
	sf.objects--;
	free(mr->blocks);
	free(mr);
	return 0;
}

void fabric_check_no_key(enum promise promise, uint64_t from, uint64_t to, const char *what)
{
	struct list *l;

	list_for_each (l, &sf.mrs) {
		const struct sim_mr *mr = list_entry(l, struct sim_mr, link);

		if (!file_overlaps(mr->base.addr, mr->base.length, from, to))
			continue;
		if (what)
			sim_fail(promise, "%s, and key %x over bytes %llu+%llu is alive", what,
				 mr->base.rkey, (unsigned long long)file_offset(mr->base.addr),
				 (unsigned long long)mr->base.length);
	}
}

bool fabric_granted(const struct fabric_conn *conn, uint64_t from, uint64_t to)
{
	const struct sim_conn *theirs =
		conn ? container_of(conn, struct sim_conn, base)->peer : NULL;
	struct list *l;

	list_for_each (l, &sf.mrs) {
		const struct sim_mr *mr = list_entry(l, struct sim_mr, link);

		if ((!conn || (theirs && !theirs->error && mr->base.pd == &theirs->pd->base)) &&
		    (mr->access & (FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE)) &&
		    file_overlaps(mr->base.addr, mr->base.length, from, to))
			return true;
	}
	return false;
}

void fabric_check_exclusive(const struct client *who, uint64_t since, uint64_t from, uint64_t to)
{
	struct list *l;

	list_for_each (l, &sf.mrs) {
		const struct sim_mr *mr = list_entry(l, struct sim_mr, link);

		if ((mr->access & FABRIC_ACCESS_REMOTE_WRITE) && mr->born_ns < since &&
		    OF(pd, mr->base.pd)->client != who &&
		    file_overlaps(mr->base.addr, mr->base.length, from, to))
			sim_fail(P_FOREIGN, "%s changed bytes %llu+%llu while another had key %x",
				 who->name, (unsigned long long)from,
				 (unsigned long long)(to - from), mr->base.rkey);
	}
}

/* ---- windows ---- */

static int sim_mw_alloc(struct fabric_pd *pd, struct fabric_mw **result)
{
	struct sim_mw *mw;

	if (!sf.device.info.windows_type2)
		return -EOPNOTSUPP;
	if (fabric_fault(30))
		return -ENOMEM;
	mw = calloc(1, sizeof(*mw));
	assert(mw && keys.nr_free > 0);
	mw->base = (struct fabric_mw){.pd = pd, .rkey = keys.free[--keys.nr_free] << 8};
	OF(pd, pd)->objects++;
	sf.objects++;
	*result = &mw->base;
	return 0;
}

uint32_t window_next_key(struct fabric_mw *mw)
{
	mw->rkey = key_new(NULL, mw->rkey >> 8);
	return mw->rkey;
}

bool window_bind(const struct sim_conn *conn, const struct fabric_send_wr *wr, uint32_t rkey)
{
	struct sim_mr *slab = OF(mr, wr->bind.mr), *mr;
	struct sim_mw *mw = OF(mw, wr->bind.mw);
	uint64_t delta = wr->bind.addr - slab->base.iova;

	assert(!mw->bound);
	if (slab->base.pd != &conn->pd->base || mw->base.pd != slab->base.pd ||
	    !(slab->access & FABRIC_ACCESS_MW_BIND) || wr->bind.addr < slab->base.iova ||
	    !range_ok(delta, wr->bind.length, slab->base.length) || delta % PAGE_BYTES ||
	    ((wr->bind.access & FABRIC_ACCESS_REMOTE_WRITE) &&
	     !(slab->access & FABRIC_ACCESS_LOCAL_WRITE)))
		return false;
	mr = calloc(1, sizeof(*mr));
	assert(mr && slab->file);
	mr->base = (struct fabric_mr){
		.pd = slab->base.pd,
		.addr = (uint8_t *)slab->base.addr + delta,
		.iova = wr->bind.addr,
		.length = wr->bind.length,
		.lkey = rkey,
		.rkey = rkey,
	};
	mr->access = wr->bind.access;
	mr->born_ns = sim_now;
	mr->file = true;
	mr->blocks = slab->blocks + delta / PAGE_BYTES;
	mr->slab = slab;
	mr->conn = conn;
	list_init(&mr->link);
	list_init(&mr->landing);
	keys.mr[rkey >> 8] = mr;
	slab->windows++;
	mw->bound = mr;
	check_grant(mr);
	list_push(&sf.mrs, &mr->link);
	sim_log("window %x over bytes %llu+%llu", rkey,
		(unsigned long long)file_offset(mr->base.addr),
		(unsigned long long)mr->base.length);
	return true;
}

void fabric_check_unbound(const struct sim_conn *conn)
{
	struct list *l;

	list_for_each (l, &sf.mrs) {
		if (list_entry(l, struct sim_mr, link)->conn == conn)
			sim_fail(P_ROOM, "a queue pair is destroyed with a window bound on it");
	}
}

/* What was checked may land as long as what it was bound to is registered. */
static int sim_mw_free(struct fabric_mw *base)
{
	struct sim_mw *mw = OF(mw, base);
	struct sim_mr *mr = mw->bound;

	if (fabric_fault(20) || kept())
		return -EBUSY;
	if (mr) {
		bool later = !list_empty(&mr->landing) && sim_chance(500);

		sim_log("window %x is dead", mr->base.rkey);
		if (later)
			wire_land_later(mr, mr->slab);
		else
			wire_land_all(mr);
		oracle_key_dead(mr->base.rkey);
		list_del(&mr->link);
		mr->slab->windows--;
		free(mr);
	}
	keys.mr[base->rkey >> 8] = NULL;
	keys.free[keys.nr_free++] = base->rkey >> 8;
	OF(pd, base->pd)->objects--;
	sf.objects--;
	free(mw);
	return 0;
}

static int sim_pd_alloc(struct fabric_device *dev, struct fabric_pd **pd)
{
	struct sim_pd *p = calloc(1, sizeof(*p));

	assert(p);
	p->base = (struct fabric_pd){.ops = sf.base.ops, .device = dev};
	sf.objects++;
	*pd = &p->base;
	return 0;
}

static int sim_pd_free(struct fabric_pd *pd)
{
	if (OF(pd, pd)->objects > 0)
		return -EBUSY;
	sf.objects--;
	free(OF(pd, pd));
	return 0;
}

/* ---- completion queues ---- */

static int sim_cq_create(struct fabric_device *dev, unsigned int entries, struct fabric_cq **cq)
{
	struct sim_cq *c = calloc(1, sizeof(*c));

	(void)dev;
	(void)entries;
	assert(c);
	c->base = (struct fabric_cq){.ops = sf.base.ops, .fd = sim_fd_new()};
	sf.objects++;
	*cq = &c->base;
	return 0;
}

static void sim_cq_destroy(struct fabric_cq *cq)
{
	sf.objects--;
	free(OF(cq, cq)->wc);
	free(OF(cq, cq));
}

void cq_push(struct sim_cq *cq, const struct fabric_wc *wc)
{
	if (cq->first + cq->count == cq->room) {
		if (cq->first > 0)
			memmove(cq->wc, cq->wc + cq->first, cq->count * sizeof(*wc));
		cq->first = 0;
	}
	if (cq->count == cq->room) {
		cq->room = cq->room ? 2 * cq->room : 64;
		cq->wc = realloc(cq->wc, cq->room * sizeof(*wc));
		assert(cq->wc);
	}
	cq->wc[cq->first + cq->count++] = *wc;
	if (cq->owner)
		co_wake(cq->owner);
	else
		sim_fd_kick(cq->base.fd);
}

void cq_forget(struct sim_cq *cq, const struct fabric_conn *conn)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < cq->count; i++)
		if (cq->wc[cq->first + i].conn != conn)
			cq->wc[cq->first + kept++] = cq->wc[cq->first + i];
	cq->count = kept;
}

static int sim_cq_poll(struct fabric_cq *base, struct fabric_wc *wc, unsigned int n)
{
	struct sim_cq *cq = OF(cq, base);
	unsigned int take = n < cq->count ? n : cq->count;

	/* Sometimes fewer than there are. */
	if (take > 1)
		take = 1 + (unsigned int)sim_below(take);
	if (take > 0)
		memcpy(wc, cq->wc + cq->first, take * sizeof(*wc));
	cq->first += take;
	cq->count -= take;
	return (int)take;
}

static int sim_cq_arm(struct fabric_cq *cq)
{
	(void)cq;
	return 0;
}

void sim_cq_owner(struct fabric_cq *cq, struct co *co)
{
	OF(cq, cq)->owner = co;
}

static int sim_srq_create(struct fabric_pd *pd, unsigned int max_wr, unsigned int max_sge,
			  struct fabric_srq **srq)
{
	(void)pd;
	(void)max_wr;
	(void)max_sge;
	(void)srq;
	return -EOPNOTSUPP;
}

static void sim_srq_destroy(struct fabric_srq *srq)
{
	(void)srq;
}

static int sim_post_srq_recv(struct fabric_srq *srq, struct fabric_recv_wr *wr,
			     struct fabric_recv_wr **bad)
{
	(void)srq;
	*bad = wr;
	return -EOPNOTSUPP;
}

/* ---- the fabric ---- */

static void sim_close(struct fabric *f)
{
	(void)f;
}

static unsigned int sim_device_count(const struct fabric *f)
{
	(void)f;
	return 1;
}

static struct fabric_device *sim_device_at(const struct fabric *f, unsigned int index)
{
	(void)f;
	(void)index;
	return &sf.device;
}

static int sim_loopback_pair(struct fabric_device *dev, const struct fabric_qp_attr *a,
			     const struct fabric_qp_attr *b, struct fabric_conn **conn_a,
			     struct fabric_conn **conn_b)
{
	(void)dev;
	(void)a;
	(void)b;
	(void)conn_a;
	(void)conn_b;
	return -ENETDOWN;
}

/* ---- what takes its time on a thread of a pool ------------------------------------------------ */

static int slow_mr_reg(struct fabric_pd *pd, void *addr, uint64_t length, uint64_t iova,
		       unsigned int access, struct fabric_mr **mr)
{
	int rc;

	sim_pause();
	rc = sim_mr_reg(pd, addr, length, iova, access, mr);
	sim_pause();
	return rc;
}

static int slow_mr_dereg(struct fabric_mr *mr)
{
	int rc;

	sim_pause();
	rc = sim_mr_dereg(mr);
	sim_pause();
	return rc;
}

static int slow_mw_alloc(struct fabric_pd *pd, struct fabric_mw **mw)
{
	int rc;

	sim_pause();
	rc = sim_mw_alloc(pd, mw);
	sim_pause();
	return rc;
}

static int slow_mw_free(struct fabric_mw *mw)
{
	int rc;

	sim_pause();
	rc = sim_mw_free(mw);
	sim_pause();
	return rc;
}

static int slow_qp_create(struct fabric_conn *conn, const struct fabric_qp_attr *attr)
{
	int rc;

	sim_pause();
	rc = sim_qp_create(conn, attr);
	sim_pause();
	return rc;
}

static void slow_conn_destroy(struct fabric_conn *conn)
{
	sim_pause();
	sim_conn_destroy(conn);
	sim_pause();
}

static const struct fabric_ops sim_ops = {
	.name = "sim",
	.close = sim_close,
	.device_count = sim_device_count,
	.device_at = sim_device_at,
	.pd_alloc = sim_pd_alloc,
	.pd_free = sim_pd_free,
	.mr_reg = slow_mr_reg,
	.mr_dereg = slow_mr_dereg,
	.mw_alloc = slow_mw_alloc,
	.mw_free = slow_mw_free,
	.cq_create = sim_cq_create,
	.cq_destroy = sim_cq_destroy,
	.cq_poll = sim_cq_poll,
	.cq_arm = sim_cq_arm,
	.srq_create = sim_srq_create,
	.srq_destroy = sim_srq_destroy,
	.post_send = sim_post_send,
	.post_recv = sim_post_recv,
	.post_srq_recv = sim_post_srq_recv,
	.cm_open = sim_cm_open,
	.cm_close = sim_cm_close,
	.cm_poll = sim_cm_poll,
	.listen = sim_listen,
	.listener_destroy = sim_listener_destroy,
	.listener_addr = sim_listener_addr,
	.resolve = sim_resolve,
	.qp_create = slow_qp_create,
	.connect = sim_connect,
	.accept = sim_accept,
	.reject = sim_reject,
	.disconnect = sim_disconnect,
	.conn_fence = sim_conn_fence,
	.conn_destroy = slow_conn_destroy,
	.conn_peer = sim_conn_addr,
	.conn_local = sim_conn_addr,
	.conn_returns = sim_conn_returns,
	.conn_taken = sim_conn_taken,
	.conn_breach = sim_conn_breach,
	.conn_read_depth = sim_conn_read_depth,
	.loopback_pair = sim_loopback_pair,
};

struct fabric *sim_fabric_new(void)
{
	memset(&sf, 0, sizeof(sf));
	memset(keys.mr, 0, sizeof(keys.mr));
	memset(keys.salt, 0, sizeof(keys.salt));
	keys.nr_free = 0;
	keys.kept_ns = 0;
	for (uint32_t i = MAX_KEYS; i-- > 1;)
		keys.free[keys.nr_free++] = i;
	list_init(&sf.mrs);
	list_init(&sf.conns);
	list_init(&sf.listeners);
	sf.base.ops = &sim_ops;
	sf.device.ops = &sim_ops;
	sf.device.info = (struct fabric_device_info){
		.name = "sim0",
		.transport = FABRIC_TRANSPORT_IB,
		.odp = !w.pinned,
		.max_mr_bytes = sim_chance(300) ? (uint64_t)PAGE_BYTES << sim_below(4) : 0,
		.max_mr = MAX_KEYS,
		.windows_type2 = w.windows,
		.max_qp_wr = 4096,
		.max_sge = 1 + (uint32_t)sim_below(8),
		.max_read_depth = 8,
	};
	sf.device.info.max_read_sge = 1 + (uint32_t)sim_below(sf.device.info.max_sge);
	return &sf.base;
}

unsigned int sim_fabric_objects(void)
{
	return sf.objects;
}
