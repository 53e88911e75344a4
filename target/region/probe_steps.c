// SPDX-License-Identifier: BSD-3-Clause
/*
 * The self-test's steps, from harmless to dangerous: a device that puts bytes in the wrong place
 * must be found out while the wrong place is still ours. After each step the whole file is compared,
 * and what lies around the registered part with it.
 *
 * stock rxe (Linux 7.2) on demand: fails the second transfer. Its far iova would crash the kernel,
 * so that step comes only after the near one.
 */
#include "region/probe_run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "region/keys.h"
#include "wire/wire.h"

#define DEREG_ROUNDS 3
#define COST_KEYS    64
#define EDGE_BYTES   50 /* of an overrun that lie inside, and as many outside */

static const struct transfer {
	uint32_t offset, length;
} transfers[] = {
	{0, 100},    {200, 100},   {1024, 1024}, {4095, 2},	{8000, 400},
	{100, 8192}, {4000, 4096}, {0, 16384},	 {4097, 70000},
};

/* ---- the file -------------------------------------------------------------------------------- */

/* Bytes that differ from what was there, wherever they land. */
static void payload(struct probe_run *run, uint8_t *bytes, uint32_t length)
{
	uint32_t turn = ++run->turn;

	for (uint32_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)((i * 7 + i / 251 + turn * 101) % 251 + 1);
}

static int file_fill(struct probe_run *run)
{
	for (uint64_t i = 0; i < run->scratch->bytes; i++)
		run->want[i] = (uint8_t)(i * 13 + i / 4096 * 29);
	return export_guarded_copy(run->scratch->base, run->want, run->scratch->bytes);
}

/* Is every byte what it should be, after `what` on [offset, offset + length) of the registration? */
static int file_check(struct probe_run *run, const char *what, uint64_t offset, uint64_t length)
{
	uint64_t begin = PROBE_MR_OFFSET + offset, end = begin + length;
	uint64_t first = UINT64_MAX, last = 0;
	bool elsewhere = false;
	int rc = export_guarded_equal(run->scratch->base, run->want, run->scratch->bytes);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	rc = export_guarded_copy(run->seen, run->scratch->base, run->scratch->bytes);
	if (rc)
		return rc;
	for (uint64_t i = 0; i < run->scratch->bytes; i++) {
		bool other = i < begin || i >= end;

		if (run->seen[i] == run->want[i] || (elsewhere && !other))
			continue;
		if (other && !elsewhere) {
			elsewhere = true;
			first = UINT64_MAX;
		}
		if (first == UINT64_MAX)
			first = i;
		last = i;
	}
	if (first == UINT64_MAX)
		return probe_fail(run, "%s placed bytes after it had completed", what);
	if (length == 0)
		return probe_fail(run, "%s changed bytes (near %lld..%lld)", what,
				  (long long)(first - PROBE_MR_OFFSET),
				  (long long)(last - PROBE_MR_OFFSET));
	return probe_fail(run, "%s of %llu bytes at %+lld %s (near %lld..%lld)", what,
			  (unsigned long long)length, (long long)offset,
			  elsewhere ? "changed other bytes" : "did not place them",
			  (long long)(first - PROBE_MR_OFFSET),
			  (long long)(last - PROBE_MR_OFFSET));
}

static int compare(struct probe_run *run, const char *what, const struct transfer *t,
		   const uint8_t *got)
{
	if (memcmp(got, run->want + PROBE_MR_OFFSET + t->offset, t->length) == 0)
		return 0;
	return probe_fail(run, "%s of %u bytes at +%u brought other bytes", what, t->length,
			  t->offset);
}

/* ---- work requests --------------------------------------------------------------------------- */

static int status_fail(struct probe_run *run, const char *what, uint64_t offset, uint64_t length,
		       int status)
{
	if (status == -ETIMEDOUT)
		return probe_fail(run, "%s of %llu bytes at %+lld did not complete in %d ms", what,
				  (unsigned long long)length, (long long)offset,
				  PROBE_COMPLETION_MS);
	return probe_fail(run, "%s of %llu bytes at %+lld: %s", what, (unsigned long long)length,
			  (long long)offset,
			  status < 0 ? strerror(-status)
				     : fabric_status_text((enum fabric_status)status));
}

/* One request of `conn`: `local` is in `lkey`, `remote` what the other side's `rkey` names. */
static int request(struct probe_run *run, struct fabric_conn *conn, enum fabric_op op,
		   const uint8_t *local, uint32_t lkey, uint64_t remote, uint32_t rkey,
		   uint32_t length)
{
	struct fabric_sge sge = {
		.addr = (uint64_t)(uintptr_t)local,
		.length = length,
		.lkey = lkey,
	};
	struct fabric_send_wr wr = {
		.op = op,
		.sg_list = &sge,
		.num_sge = 1,
		.remote_addr = remote,
		.rkey = rkey,
	};

	return probe_post(run, conn, &wr);
}

/* READs a few bytes of the other side's plain buffer: what was sent before has arrived then. */
static int round_trip(struct probe_run *run, struct fabric_conn *conn, enum probe_domain ours,
		      enum probe_domain theirs)
{
	const struct probe_buffer *here = &run->buffers[ours], *there = &run->buffers[theirs];
	const uint8_t *far_bytes = there->bytes + PROBE_HALF;

	return request(run, conn, FABRIC_OP_READ, here->bytes + PROBE_HALF, here->mr->lkey,
		       (uint64_t)(uintptr_t)far_bytes, there->mr->rkey, 8);
}

static int mr_new(struct probe_run *run, uint64_t iova, unsigned int access, struct fabric_mr **mr)
{
	if (run->kind == LH_RUNG_ODP)
		access |= FABRIC_ACCESS_ON_DEMAND;
	return fabric_mr_reg(run->pds[PROBE_PD_FILE], run->scratch->base + PROBE_MR_OFFSET,
			     PROBE_MR_BYTES, iova, access, mr);
}

static uint64_t plain_address(const struct probe_run *run)
{
	return (uint64_t)(uintptr_t)(run->scratch->base + PROBE_MR_OFFSET);
}

static const unsigned int remote_access =
	FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE;

/* ---- transfers ------------------------------------------------------------------------------- */

/* The peer WRITEs into the file and READs it back; `base` is what it names for the first byte. */
static int as_target(struct probe_run *run, const struct transfer *t, uint64_t base, uint32_t rkey)
{
	const struct probe_buffer *peer = &run->buffers[PROBE_PD_PEER];
	uint8_t *back = peer->bytes + PROBE_HALF;
	int rc;

	payload(run, peer->bytes, t->length);
	memcpy(run->want + PROBE_MR_OFFSET + t->offset, peer->bytes, t->length);
	rc = request(run, run->pair.peer, FABRIC_OP_WRITE, peer->bytes, peer->mr->lkey,
		     base + t->offset, rkey, t->length);
	if (rc)
		return status_fail(run, "RDMA WRITE", t->offset, t->length, rc);
	memset(back, 0, t->length);
	rc = request(run, run->pair.peer, FABRIC_OP_READ, back, peer->mr->lkey, base + t->offset,
		     rkey, t->length);
	if (rc)
		return status_fail(run, "RDMA READ", t->offset, t->length, rc);
	rc = file_check(run, "RDMA WRITE", t->offset, t->length);
	return rc ? rc : compare(run, "RDMA READ", t, back);
}

/* The file's side WRITEs and SENDs from the file. */
static int as_source(struct probe_run *run, const struct transfer *t, uint32_t lkey)
{
	const struct probe_buffer *peer = &run->buffers[PROBE_PD_PEER];
	const uint8_t *local = run->scratch->base + PROBE_MR_OFFSET + t->offset;
	struct fabric_sge sge = {
		.addr = (uint64_t)(uintptr_t)peer->bytes,
		.length = PROBE_HALF,
		.lkey = peer->mr->lkey,
	};
	struct fabric_recv_wr receive = {.wr_id = 1, .sg_list = &sge, .num_sge = 1};
	uint32_t bytes = 0;
	int rc;

	memset(peer->bytes, 0, t->length);
	rc = request(run, run->pair.file, FABRIC_OP_WRITE, local, lkey,
		     (uint64_t)(uintptr_t)peer->bytes, peer->mr->rkey, t->length);
	if (rc == 0)
		rc = round_trip(run, run->pair.file, PROBE_PD_FILE, PROBE_PD_PEER);
	if (rc)
		return status_fail(run, "RDMA WRITE from the file", t->offset, t->length, rc);
	rc = compare(run, "RDMA WRITE from the file", t, peer->bytes);
	if (rc)
		return rc;
	memset(peer->bytes, 0, t->length);
	rc = fabric_post_recv(run->pair.peer, &receive, NULL);
	if (rc == 0)
		rc = request(run, run->pair.file, FABRIC_OP_SEND, local, lkey, 0, 0, t->length);
	if (rc == 0)
		rc = probe_receive(run, run->pair.peer, &bytes);
	if (rc)
		return status_fail(run, "SEND from the file", t->offset, t->length, rc);
	if (bytes != t->length)
		return probe_fail(run, "SEND from the file of %u bytes at +%u brought %u",
				  t->length, t->offset, bytes);
	return compare(run, "SEND from the file", t, peer->bytes);
}

/* The file's side READs into the file. */
static int as_sink(struct probe_run *run, const struct transfer *t, uint32_t lkey)
{
	const struct probe_buffer *peer = &run->buffers[PROBE_PD_PEER];
	const uint8_t *local = run->scratch->base + PROBE_MR_OFFSET + t->offset;
	int rc;

	payload(run, peer->bytes, t->length);
	memcpy(run->want + PROBE_MR_OFFSET + t->offset, peer->bytes, t->length);
	rc = request(run, run->pair.file, FABRIC_OP_READ, local, lkey,
		     (uint64_t)(uintptr_t)peer->bytes, peer->mr->rkey, t->length);
	if (rc)
		return status_fail(run, "RDMA READ into the file", t->offset, t->length, rc);
	return file_check(run, "RDMA READ into the file", t->offset, t->length);
}

static int all_as_target(struct probe_run *run, uint64_t base, uint32_t rkey)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(transfers); i++)
		rc = as_target(run, &transfers[i], base, rkey);
	return rc;
}

/* ---- refusals -------------------------------------------------------------------------------- */

/* What the peer does on `pair` must be refused and change nothing. The pair is in error then. */
static int refused(struct probe_run *run, const struct probe_pair *pair, enum fabric_op op,
		   const char *what, uint64_t remote, uint32_t rkey, uint32_t length)
{
	const struct probe_buffer *peer = &run->buffers[PROBE_PD_PEER];
	int rc;

	payload(run, peer->bytes, length);
	rc = request(run, pair->peer, op, peer->bytes, peer->mr->lkey, remote, rkey, length);
	/* Over iWARP a WRITE is complete when it is sent. */
	if (rc == 0 && op == FABRIC_OP_WRITE)
		rc = round_trip(run, pair->peer, PROBE_PD_PEER, run->pair_domain);
	if (rc == 0)
		return probe_fail(run, "%s was not refused", what);
	if (rc < 0)
		return status_fail(run, what, 0, length, rc);
	return 0;
}

static int both_refused(struct probe_run *run, const char *what, uint64_t remote, uint32_t rkey,
			uint32_t length)
{
	static const enum fabric_op ops[] = {FABRIC_OP_WRITE, FABRIC_OP_READ};
	char text[96];
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(ops); i++) {
		(void)snprintf(text, sizeof(text), "an RDMA %s %s",
			       ops[i] == FABRIC_OP_WRITE ? "WRITE" : "READ", what);
		rc = refused(run, &run->pair, ops[i], text, remote, rkey, length);
		if (rc == 0)
			rc = probe_connect(run, run->pair_domain);
		if (rc == 0)
			rc = file_check(run, text, 0, 0);
	}
	return rc;
}

static int bounds(struct probe_run *run, const char *of, uint64_t base, uint64_t length,
		  uint32_t rkey)
{
	char text[64];
	int rc;

	(void)snprintf(text, sizeof(text), "past the end of %s", of);
	rc = both_refused(run, text, base + length - EDGE_BYTES, rkey, 2 * EDGE_BYTES);
	if (rc)
		return rc;
	(void)snprintf(text, sizeof(text), "before the start of %s", of);
	return both_refused(run, text, base - EDGE_BYTES, rkey, 2 * EDGE_BYTES);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static int registration_fail(struct probe_run *run, int err)
{
	if (err == -EOPNOTSUPP && run->kind == LH_RUNG_PINNED)
		return probe_fail(run, "refused by the kernel for this file system (fsdax needs a "
				       "kernel that permits lease holders)");
	run->passing = err == -ENOMEM;
	if (err == -ENOMEM && run->kind == LH_RUNG_PINNED)
		return probe_fail(run, "no room to pin memory (RLIMIT_MEMLOCK, systemd: "
				       "LimitMEMLOCK=infinity)");
	return probe_fail(run, "registration: %s", strerror(-err));
}

/* A registration's whole life with the peer naming it by `iova`. */
static int with_iova(struct probe_run *run, const char *of, uint64_t iova)
{
	struct fabric_mr *mr;
	uint32_t rkey;
	int rc = mr_new(run, iova, remote_access, &mr), err;

	if (rc)
		return registration_fail(run, rc);
	rkey = mr->rkey;
	rc = all_as_target(run, iova, rkey);
	if (rc == 0)
		rc = bounds(run, of, iova, PROBE_MR_BYTES, rkey);
	err = fabric_mr_dereg(mr);
	if (err)
		return err;
	if (rc == 0) {
		char text[64];

		(void)snprintf(text, sizeof(text), "of %s after its end", of);
		rc = both_refused(run, text, iova, rkey, 100);
	}
	return rc;
}

/* What the block path does: a key without remote rights, as source and sink. */
static int step_local(struct probe_run *run)
{
	struct fabric_mr *mr;
	int rc = mr_new(run, plain_address(run), FABRIC_ACCESS_LOCAL_WRITE, &mr), err;

	if (rc)
		return registration_fail(run, rc);
	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(transfers); i++) {
		rc = as_source(run, &transfers[i], mr->lkey);
		if (rc == 0 && !run->info->read_sink_needs_bounce)
			rc = as_sink(run, &transfers[i], mr->lkey);
	}
	if (rc == 0)
		rc = both_refused(run, "without the right to it", plain_address(run), mr->rkey,
				  100);
	err = fabric_mr_dereg(mr);
	return err ? err : rc;
}

static int step_remote(struct probe_run *run)
{
	return with_iova(run, "a registration", plain_address(run));
}

static int step_rights(struct probe_run *run)
{
	struct fabric_mr *mr;
	int rc = mr_new(run, plain_address(run), FABRIC_ACCESS_REMOTE_READ, &mr), err;

	if (rc)
		return registration_fail(run, rc);
	rc = refused(run, &run->pair, FABRIC_OP_WRITE, "an RDMA WRITE with a key for reading",
		     plain_address(run), mr->rkey, 100);
	if (rc == 0)
		rc = probe_connect(run, PROBE_PD_OTHER);
	if (rc == 0)
		rc = file_check(run, "an RDMA WRITE with a key for reading", 0, 0);
	if (rc == 0)
		rc = both_refused(run, "from another protection domain", plain_address(run),
				  mr->rkey, 100);
	if (rc == 0)
		rc = probe_connect(run, PROBE_PD_FILE);
	err = fabric_mr_dereg(mr);
	return err ? err : rc;
}

/* How long deregistration takes once every page has been used. */
static int step_cost(struct probe_run *run)
{
	const struct probe_buffer *peer = &run->buffers[PROBE_PD_PEER];
	uint64_t best = UINT64_MAX, base = (uint64_t)(uintptr_t)run->scratch->base;
	unsigned int access =
		remote_access | (run->kind == LH_RUNG_ODP ? FABRIC_ACCESS_ON_DEMAND : 0u);

	for (int round = 0; round < DEREG_ROUNDS; round++) {
		struct fabric_mr *mr;
		uint64_t begin;
		int rc = fabric_mr_reg(run->pds[PROBE_PD_FILE], run->scratch->base,
				       PROBE_FILE_BYTES, base, access, &mr);
		int err;

		if (rc)
			return probe_fail(run, "registration of %llu bytes: %s",
					  (unsigned long long)PROBE_FILE_BYTES, strerror(-rc));
		for (uint64_t at = 0; rc == 0 && at < PROBE_FILE_BYTES; at += PROBE_HALF) {
			rc = request(run, run->pair.peer, FABRIC_OP_READ, peer->bytes,
				     peer->mr->lkey, base + at, mr->rkey, PROBE_HALF);
			if (rc)
				rc = status_fail(run, "RDMA READ", at, PROBE_HALF, rc);
		}
		begin = now_ns();
		err = fabric_mr_dereg(mr);
		if (rc || err)
			return err ? err : rc;
		best = min_u64(best, now_ns() - begin);
	}
	run->result->dereg_ns_per_gib = best * (GIB(1) / PROBE_FILE_BYTES);
	return 0;
}

/* As many small ones, one after another, as a recall kills in one go. */
static int step_key_cost(struct probe_run *run)
{
	const struct probe_buffer *peer = &run->buffers[PROBE_PD_PEER];
	uint64_t base = (uint64_t)(uintptr_t)run->scratch->base;
	unsigned int access =
		remote_access | (run->kind == LH_RUNG_ODP ? FABRIC_ACCESS_ON_DEMAND : 0u);
	struct fabric_mr *mrs[COST_KEYS];
	uint64_t best = UINT64_MAX;

	for (int round = 0; round < DEREG_ROUNDS; round++) {
		unsigned int n = 0;
		uint64_t begin;
		int rc = 0, err = 0;

		for (; rc == 0 && n < COST_KEYS; n += rc == 0) {
			rc = fabric_mr_reg(run->pds[PROBE_PD_FILE], run->scratch->base + n * KIB(4),
					   KIB(4), base + n * KIB(4), access, &mrs[n]);
			if (rc)
				rc = probe_fail(run, "registration of key %u of %d: %s", n,
						COST_KEYS, strerror(-rc));
		}
		for (unsigned int i = 0; rc == 0 && i < n; i++) {
			rc = request(run, run->pair.peer, FABRIC_OP_READ, peer->bytes,
				     peer->mr->lkey, base + i * KIB(4), mrs[i]->rkey, KIB(4));
			if (rc)
				rc = status_fail(run, "RDMA READ", i * KIB(4), KIB(4), rc);
		}
		begin = now_ns();
		while (err == 0 && n > 0)
			err = fabric_mr_dereg(mrs[--n]);
		if (rc || err)
			return err ? err : rc;
		best = min_u64(best, now_ns() - begin);
	}
	run->result->dereg_ns_per_key = best / COST_KEYS;
	return 0;
}

/* ---- windows --------------------------------------------------------------------------------- */

#define WINDOW_OFFSET KIB(64)
#define WINDOW_BYTES  KIB(128) /* room for every transfer */

static int window_bind(struct probe_run *run, struct fabric_mr *mr, struct fabric_mw **window)
{
	struct fabric_send_wr wr = {.op = FABRIC_OP_BIND_MW};
	int rc = probe_connect(run, PROBE_PD_FILE);

	if (rc == 0)
		rc = fabric_mw_alloc(run->pds[PROBE_PD_FILE], window);
	if (rc) {
		*window = NULL;
		return probe_fail(run, "allocation: %s", strerror(-rc));
	}
	wr.bind.mw = *window;
	wr.bind.mr = mr;
	wr.bind.addr = run->window_base + WINDOW_OFFSET;
	wr.bind.length = WINDOW_BYTES;
	wr.bind.access = FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE;
	rc = probe_post(run, run->pair.file, &wr);
	return rc ? status_fail(run, "bind", WINDOW_OFFSET, WINDOW_BYTES, rc) : 0;
}

static int window_use(struct probe_run *run, const struct fabric_mw *window)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(transfers); i++) {
		struct transfer t = transfers[i];

		t.offset += (uint32_t)WINDOW_OFFSET;
		rc = as_target(run, &t, run->window_base, window->rkey);
	}
	return rc;
}

static int window_bounds(struct probe_run *run, const struct fabric_mw *window)
{
	uint64_t base = run->window_base + WINDOW_OFFSET;
	int rc = refused(run, &run->pair, FABRIC_OP_WRITE, "an RDMA WRITE past the end of a window",
			 base + WINDOW_BYTES - EDGE_BYTES, window->rkey, 2 * EDGE_BYTES);

	return rc ? rc : file_check(run, "an RDMA WRITE past the end of a window", 0, 0);
}

static int window_start(struct probe_run *run, const struct fabric_mw *window)
{
	uint64_t base = run->window_base + WINDOW_OFFSET;

	return refused(run, &run->pair, FABRIC_OP_READ, "an RDMA READ before the start of a window",
		       base - EDGE_BYTES, window->rkey, 2 * EDGE_BYTES);
}

static int window_stranger(struct probe_run *run, const struct fabric_mw *window)
{
	struct probe_pair other;
	int rc = probe_pair_new(run, PROBE_PD_FILE, &other);

	if (rc)
		return rc;
	rc = refused(run, &other, FABRIC_OP_WRITE, "an RDMA WRITE on another queue pair",
		     run->window_base + WINDOW_OFFSET, window->rkey, 100);
	probe_pair_free(&other);
	return rc ? rc : file_check(run, "an RDMA WRITE on another queue pair", 0, 0);
}

static int window_invalidate(struct probe_run *run, const struct fabric_mw *window)
{
	struct fabric_send_wr wr = {.op = FABRIC_OP_LOCAL_INV, .rkey = window->rkey};
	int rc = probe_post(run, run->pair.file, &wr);

	if (rc)
		return status_fail(run, "invalidation", WINDOW_OFFSET, WINDOW_BYTES, rc);
	rc = refused(run, &run->pair, FABRIC_OP_WRITE, "an RDMA WRITE after the invalidation",
		     run->window_base + WINDOW_OFFSET, window->rkey, 100);
	return rc ? rc : file_check(run, "an RDMA WRITE after the invalidation", 0, 0);
}

/* Each part has a window of its own: a refused access takes the queue pair with it. */
static int step_windows(struct probe_run *run)
{
	static int (*const parts[])(struct probe_run *, const struct fabric_mw *) = {
		window_use, window_stranger, window_bounds, window_start, window_invalidate,
	};
	unsigned int access = FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_MW_BIND;
	struct fabric_mr *mr;
	int rc, err;

	/* As grants have them: at an address of our choice, where such a one works. */
	run->window_base = run->result->iova ? key_random_iova(run->scratch->base + PROBE_MR_OFFSET,
							       PROBE_MR_BYTES)
					     : plain_address(run);
	rc = mr_new(run, run->window_base, access, &mr);
	if (rc)
		return probe_fail(run, "registration: %s", strerror(-rc));
	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(parts); i++) {
		struct fabric_mw *window = NULL;
		uint32_t rkey;

		rc = window_bind(run, mr, &window);
		if (!window)
			continue;
		if (rc == 0)
			rc = parts[i](run, window);
		rkey = window->rkey;
		err = fabric_mw_free(window);
		if (err)
			return err;
		/* The first one is still bound when it is freed: that must revoke it too. */
		if (rc == 0 && i == 0)
			rc = both_refused(run, "after the window was freed",
					  run->window_base + WINDOW_OFFSET, rkey, 100);
	}
	err = fabric_mr_dereg(mr);
	return err ? err : rc;
}

/* ---- the order ------------------------------------------------------------------------------- */

static int step_near(struct probe_run *run)
{
	return with_iova(run, "an address of our choice nearby",
			 plain_address(run) + PROBE_NEAR_IOVA);
}

static int step_far(struct probe_run *run)
{
	return with_iova(run, "an address of our choice",
			 key_random_iova(run->scratch->base + PROBE_MR_OFFSET, PROBE_MR_BYTES));
}

/* ---- closing --------------------------------------------------------------------------------- */

/* One attempt while nobody has access to the file's memory; then everybody has, and looks. */
static int closed_refused(struct probe_run *run, enum fabric_op op, const char *what, uint32_t rkey)
{
	int rc = export_scratch_close(run->scratch, true), err;

	if (rc)
		return rc;
	rc = refused(run, &run->pair, op, what, plain_address(run), rkey, PROBE_MR_BYTES / 2);
	err = export_scratch_close(run->scratch, false);
	if (rc == 0)
		rc = err;
	if (rc == 0)
		rc = probe_connect(run, run->pair_domain);
	return rc ? rc : file_check(run, what, 0, 0);
}

/*
 * What the adapter has mapped, by the transfers, it must let go when the kernel takes it away from the
 * process, and must not get again: odp_release = at-once rests on it.
 */
static int step_closing(struct probe_run *run)
{
	const uint64_t base = plain_address(run);
	struct fabric_mr *mr;
	int rc = mr_new(run, base, remote_access, &mr), err;

	if (rc)
		return probe_fail(run, "registration for it: %s", strerror(-rc));
	rc = all_as_target(run, base, mr->rkey);
	if (rc == 0)
		rc = closed_refused(run, FABRIC_OP_WRITE, "an RDMA WRITE to closed memory",
				    mr->rkey);
	if (rc == 0)
		rc = all_as_target(run, base, mr->rkey);
	if (rc == 0)
		rc = closed_refused(run, FABRIC_OP_READ, "an RDMA READ of closed memory", mr->rkey);
	err = fabric_mr_dereg(mr);
	return err ? err : rc;
}

/* ---- FLUSH ----------------------------------------------------------------------------------- */

static int flush(struct probe_run *run, uint64_t remote, uint32_t rkey, uint32_t length)
{
	struct fabric_send_wr wr = {
		.op = FABRIC_OP_FLUSH,
		.remote_addr = remote,
		.rkey = rkey,
		.flush = {.length = length, .level = FABRIC_FLUSH_PERSISTENT},
	};

	return probe_post(run, run->pair.peer, &wr);
}

static int flush_refused(struct probe_run *run, const char *what, uint64_t remote, uint32_t rkey)
{
	const uint32_t length = 2 * EDGE_BYTES;
	int rc = flush(run, remote, rkey, length);

	if (rc == 0)
		return probe_fail(run, "%s was not refused", what);
	if (rc < 0)
		return status_fail(run, what, 0, length, rc);
	rc = probe_connect(run, run->pair_domain);
	return rc ? rc : file_check(run, what, 0, 0);
}

static int flush_behind(struct probe_run *run, uint64_t base, uint32_t rkey)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(transfers); i++) {
		const struct transfer *t = &transfers[i];

		rc = as_target(run, t, base, rkey);
		if (rc == 0) {
			rc = flush(run, base + t->offset, rkey, t->length);
			if (rc)
				rc = status_fail(run, "RDMA FLUSH", t->offset, t->length, rc);
		}
		if (rc == 0)
			rc = file_check(run, "RDMA FLUSH", 0, 0);
	}
	return rc;
}

/* That it is obeyed can be seen; what it is worth in a power failure cannot. */
static int step_flush(struct probe_run *run)
{
	const uint64_t base = plain_address(run);
	struct fabric_mr *mr, *plain;
	int rc = mr_new(run, base,
			remote_access | FABRIC_ACCESS_FLUSH_GLOBAL | FABRIC_ACCESS_FLUSH_PERSISTENT,
			&mr);
	int err;

	if (rc)
		return probe_fail(run, "registration for it: %s", strerror(-rc));
	rc = mr_new(run, base, remote_access, &plain);
	if (rc == 0) {
		rc = flush_behind(run, base, mr->rkey);
		if (rc == 0)
			rc = flush_refused(run, "an RDMA FLUSH past the end of a registration",
					   base + PROBE_MR_BYTES - EDGE_BYTES, mr->rkey);
		if (rc == 0)
			rc = flush_refused(run, "an RDMA FLUSH with a key that does not allow it",
					   base, plain->rkey);
		err = fabric_mr_dereg(plain);
		rc = err ? err : rc;
	}
	err = fabric_mr_dereg(mr);
	return err ? err : rc;
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* Adds "NAME: TEXT" to what the result says. */
static void add_note(struct region_probe *result, const char *name, const char *text)
{
	size_t used = strlen(result->why);

	(void)snprintf(result->why + used, sizeof(result->why) - used, "%s%s: %s", used ? "; " : "",
		       name, text);
}

/* A step whose failure costs a feature only. Afterwards the file and the pair are as new. */
static int optional_step(struct probe_run *run, const char *name, int (*step)(struct probe_run *),
			 bool *works)
{
	char text[sizeof(run->result->why)] = "", *why = run->why;
	size_t size = run->why_size;
	int rc;

	run->why = text;
	run->why_size = sizeof(text);
	rc = step(run);
	run->why = why;
	run->why_size = size;
	*works = rc == 0;
	if (rc != -EILSEQ)
		return rc;
	add_note(run->result, name, text);
	rc = probe_connect(run, PROBE_PD_FILE);
	return rc ? rc : file_fill(run);
}

int probe_steps(struct probe_run *run)
{
	int (*const needed[])(struct probe_run *) = {step_remote, step_local, step_rights,
						     step_cost, step_key_cost};
	struct region_probe *result = run->result;
	bool near_works = false;
	int rc = probe_connect(run, PROBE_PD_FILE);

	if (rc == 0)
		rc = file_fill(run);
	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(needed); i++)
		rc = needed[i](run);
	if (rc)
		return rc;
	result->rung = run->kind;
	rc = optional_step(run, "near iova", step_near, &near_works);
	if (rc == 0 && near_works)
		rc = optional_step(run, "far iova", step_far, &result->iova);
	/* The software fabric asks no kernel: it would fault itself. */
	if (rc == 0 && run->kind == LH_RUNG_ODP && !run->info->software_fabric)
		rc = optional_step(run, "closing", step_closing, &result->closes);
	if (rc == 0 && run->info->windows_type2)
		rc = optional_step(run, "windows", step_windows, &result->windows);
	if (rc == 0 && run->info->flush)
		rc = optional_step(run, "flush", step_flush, &result->flush);
	return rc;
}
