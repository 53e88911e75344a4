// SPDX-License-Identifier: BSD-3-Clause
/*
 * The same as bench/io.c does, through libfabric's tcp provider: a peer to compare with.
 *
 *	lh-bench-libfabric read|write|write-seen BYTES DEPTH MS
 *
 * A child process has 64 MiB registered; this one reads or writes them by fi_read(3) and fi_write(3)
 * on a connected endpoint (FI_EP_MSG), the tcp provider's own kind: FI_EP_RDM is more, or a layer over
 * it. `write` is over when the provider says so, which is when the bytes have left
 * (FI_TRANSMIT_COMPLETE); `write-seen` asks for FI_DELIVERY_COMPLETE. The provider moves bytes only
 * while it is called, so both sides poll without ever sleeping, which is also the fastest. Prints one
 * line of JSON.
 */
#include "measure.h"

#include <errno.h>
#include <netinet/in.h>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define TARGET_BYTES MIB(64)
#define DEPTH_MAX    128
#define CONNECT_MS   10000
#define WARM_PART    10 /* of the time, before it counts: so many-th */

/* What the target tells in its answer to a connection. */
struct place {
	uint64_t address;
	uint64_t key;
};

struct side {
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_eq *eq;
	struct fid_domain *domain;
	struct fid_cq *cq;
	struct fid_ep *ep;
	struct fid_mr *mr;
	void *memory;
};

static void check(long rc, const char *what)
{
	if (rc < 0)
		die("%s: %s", what, fi_strerror((int)-rc));
}

/* ---- both sides -------------------------------------------------------------------------------- */

/* `to` NULL: to listen on a port of loopback that is free. */
static struct fi_info *find_provider(const struct sockaddr_in *to)
{
	struct fi_info *hints = fi_allocinfo(), *info;
	int rc;

	if (!hints)
		die("out of memory");
	hints->ep_attr->type = FI_EP_MSG;
	hints->caps = FI_MSG | FI_RMA;
	hints->mode = FI_CONTEXT;
	hints->addr_format = FI_SOCKADDR_IN;
	hints->domain_attr->mr_mode =
		FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
	hints->domain_attr->threading = FI_THREAD_DOMAIN;
	hints->fabric_attr->prov_name = strdup("tcp");
	if (to) {
		hints->dest_addr = malloc(sizeof(*to));
		if (!hints->dest_addr)
			die("out of memory");
		memcpy(hints->dest_addr, to, sizeof(*to));
		hints->dest_addrlen = sizeof(*to);
	}
	rc = fi_getinfo(FI_VERSION(1, 17), to ? NULL : "127.0.0.1", to ? NULL : "0",
			to ? 0 : FI_SOURCE, hints, &info);
	check(rc, "no tcp provider with FI_EP_MSG and FI_RMA");
	fi_freeinfo(hints);
	return info;
}

static void open_fabric(struct side *s, const struct sockaddr_in *to)
{
	struct fi_eq_attr attr = {.wait_obj = FI_WAIT_UNSPEC};

	s->info = find_provider(to);
	check(fi_fabric(s->info->fabric_attr, &s->fabric, NULL), "fi_fabric");
	check(fi_eq_open(s->fabric, &attr, &s->eq, NULL), "fi_eq_open");
}

static void open_endpoint(struct side *s, struct fi_info *info, size_t bytes, uint64_t access)
{
	struct fi_cq_attr attr = {.format = FI_CQ_FORMAT_CONTEXT,
				  .wait_obj = FI_WAIT_NONE,
				  .size = (size_t)2 * DEPTH_MAX};

	check(fi_domain(s->fabric, info, &s->domain, NULL), "fi_domain");
	check(fi_cq_open(s->domain, &attr, &s->cq, NULL), "fi_cq_open");
	check(fi_endpoint(s->domain, info, &s->ep, NULL), "fi_endpoint");
	check(fi_ep_bind(s->ep, &s->eq->fid, 0), "fi_ep_bind");
	check(fi_ep_bind(s->ep, &s->cq->fid, FI_TRANSMIT | FI_RECV), "fi_ep_bind");
	check(fi_enable(s->ep), "fi_enable");
	s->memory = aligned_alloc(KIB(4), bytes);
	if (!s->memory)
		die("out of memory");
	memset(s->memory, 0x5a, bytes);
	check(fi_mr_reg(s->domain, s->memory, bytes, access, 0, 1, 0, &s->mr, NULL), "fi_mr_reg");
}

/* Waits for one event of the connection's; `data` is what the other side said with it. */
static struct fi_info *expect(struct fid_eq *eq, uint32_t wanted, void *data, size_t bytes)
{
	union {
		struct fi_eq_cm_entry cm; /* its data follow it */
		uint8_t bytes[sizeof(struct fi_eq_cm_entry) + sizeof(struct place)];
	} entry;
	uint32_t event;
	const ssize_t n = fi_eq_sread(eq, &event, &entry, sizeof(entry), CONNECT_MS, 0);

	if (n < (ssize_t)(sizeof(entry.cm) + bytes) || event != wanted)
		die("the connection was not made: %s", n < 0 ? fi_strerror((int)-n) : "refused");
	if (bytes)
		memcpy(data, entry.cm.data, bytes);
	return entry.cm.info;
}

/* ---- the target -------------------------------------------------------------------------------- */

/* Says at `ready` where it listens, and serves one client until it is killed. */
__attribute__((noreturn)) static void serve(int ready)
{
	struct sockaddr_in addr;
	size_t len = sizeof(addr);
	struct fi_cq_entry done;
	struct fi_info *request;
	struct fid_pep *pep;
	struct side s = {0};
	struct place place;
	ssize_t n;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	move_apart();
	open_fabric(&s, NULL);
	check(fi_passive_ep(s.fabric, s.info, &pep, NULL), "fi_passive_ep");
	check(fi_pep_bind(pep, &s.eq->fid, 0), "fi_pep_bind");
	check(fi_listen(pep), "fi_listen");
	check(fi_getname(&pep->fid, &addr, &len), "fi_getname");
	if (write_full(ready, &addr, sizeof(addr)) < 0)
		exit(1);
	request = expect(s.eq, FI_CONNREQ, NULL, 0);
	open_endpoint(&s, request, TARGET_BYTES, FI_REMOTE_READ | FI_REMOTE_WRITE);
	place.address = request->domain_attr->mr_mode & FI_MR_VIRT_ADDR ? (uintptr_t)s.memory : 0;
	place.key = fi_mr_key(s.mr);
	check(fi_accept(s.ep, &place, sizeof(place)), "fi_accept");
	(void)expect(s.eq, FI_CONNECTED, NULL, 0);
	do
		n = fi_cq_read(s.cq, &done, 1);
	while (n >= 0 || n == -FI_EAGAIN);
	die("the target's completion queue: %s", fi_strerror((int)-n));
}

static pid_t start_target(struct sockaddr_in *addr)
{
	int ready[2];
	pid_t pid;

	if (pipe(ready) < 0 || (pid = fork()) < 0)
		die("cannot start the target: %s", strerror(errno));
	if (pid == 0) {
		(void)close(ready[0]);
		serve(ready[1]);
	}
	(void)close(ready[1]);
	if (read(ready[0], addr, sizeof(*addr)) != (ssize_t)sizeof(*addr))
		die("the target did not start");
	(void)close(ready[0]);
	return pid;
}

/* ---- the client -------------------------------------------------------------------------------- */

struct slot {
	struct fi_context2 context; /* the provider's, until the operation is done */
	void *buf;
	uint64_t begun_ns;
};

struct work {
	struct side side;
	struct place place;
	bool write;
	uint64_t flags; /* of each operation */
	uint64_t bytes, depth;
	struct slot slots[DEPTH_MAX];
	struct run run;
};

static void finish(struct work *w, struct slot *s)
{
	samples_add(&w->run.samples, now_ns() - s->begun_ns);
	w->run.bytes += w->bytes;
}

/* One that is done, if there is one. */
static struct slot *poll_one(struct work *w)
{
	struct fi_cq_err_entry failed = {0};
	struct fi_cq_entry done;
	const ssize_t n = fi_cq_read(w->side.cq, &done, 1);

	if (n == 1)
		return container_of(done.op_context, struct slot, context);
	if (n == -FI_EAVAIL && fi_cq_readerr(w->side.cq, &failed, 0) == 1)
		die("an operation failed: %s", fi_strerror(failed.err));
	if (n != -FI_EAGAIN)
		die("fi_cq_read: %s", fi_strerror((int)-n));
	return NULL;
}

static struct slot *wait_one(struct work *w)
{
	struct slot *s;

	do
		s = poll_one(w);
	while (!s);
	return s;
}

static void start(struct work *w, struct slot *s, uint64_t flags)
{
	void *desc = fi_mr_desc(w->side.mr);
	struct iovec iov = {.iov_base = s->buf, .iov_len = w->bytes};
	struct fi_rma_iov there = {.addr = w->place.address + random_place(TARGET_BYTES, w->bytes),
				   .len = w->bytes,
				   .key = w->place.key};
	struct fi_msg_rma msg = {.msg_iov = &iov,
				 .desc = &desc,
				 .iov_count = 1,
				 .rma_iov = &there,
				 .rma_iov_count = 1,
				 .context = &s->context};
	ssize_t rc;

	s->begun_ns = now_ns();
	rc = w->write ? fi_writemsg(w->side.ep, &msg, flags) : fi_readmsg(w->side.ep, &msg, flags);
	check(rc, w->write ? "fi_writemsg" : "fi_readmsg");
}

/* Keeps `depth` in flight for a while. None is left, and what was written is there. */
static void go_on(struct work *w, uint64_t ns)
{
	const uint64_t end = now_ns() + ns;

	for (uint64_t i = 0; i < w->depth; i++)
		start(w, &w->slots[i], w->flags);
	while (now_ns() < end) {
		struct slot *s = wait_one(w);

		finish(w, s);
		start(w, s, w->flags);
	}
	for (uint64_t i = 0; i < w->depth; i++)
		finish(w, wait_one(w));
	if (w->write) {
		start(w, &w->slots[0], FI_COMPLETION | FI_DELIVERY_COMPLETE);
		(void)wait_one(w);
	}
}

static void connect_to(struct work *w, const struct sockaddr_in *addr)
{
	struct side *s = &w->side;

	open_fabric(s, addr);
	open_endpoint(s, s->info, w->depth * w->bytes, FI_READ | FI_WRITE);
	check(fi_connect(s->ep, addr, NULL, 0), "fi_connect");
	(void)expect(s->eq, FI_CONNECTED, &w->place, sizeof(w->place));
	for (uint64_t i = 0; i < w->depth; i++)
		w->slots[i].buf = (uint8_t *)s->memory + i * w->bytes;
}

int main(int argc, char **argv)
{
	static struct work w;
	struct sockaddr_in addr;
	uint64_t ns;
	pid_t target;

	if (argc != 5) {
		(void)fprintf(stderr, "usage: see the head of bench/libfabric.c\n");
		return 2;
	}
	w.write = strcmp(argv[1], "read") != 0;
	w.flags = FI_COMPLETION;
	if (strcmp(argv[1], "write-seen") == 0)
		w.flags |= FI_DELIVERY_COMPLETE;
	else if (w.write && strcmp(argv[1], "write") != 0)
		die("'%s': expected read, write or write-seen", argv[1]);
	w.bytes = number(argv[2], 1, TARGET_BYTES);
	w.depth = number(argv[3], 1, DEPTH_MAX);
	ns = number(argv[4], 1, 3600000) * NS_PER_MS;
	target = start_target(&addr);
	connect_to(&w, &addr);
	go_on(&w, ns / WARM_PART);
	run_begin(&w.run, target);
	go_on(&w, ns);
	run_end(&w.run);
	(void)kill(target, SIGKILL);
	(void)waitpid(target, NULL, 0);
	return 0;
}
