// SPDX-License-Identifier: BSD-3-Clause
/*
 * Uses a key once, on a direct queue opened for this alone: to show that a dead one is refused.
 * Caller's thread; everything it makes is gone when it returns.
 */
#include "libleasehold/admin.h"
#include "libleasehold/export.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TRY_MS	     3000
#define WR_TRY	     1
#define WR_HELLO     2
#define WR_RECV	     3
#define WR_WRITE     4
#define HELLO_OFFSET 64
#define RECV_OFFSET  4096
#define MEM_BYTES    (RECV_OFFSET + LH_MSG_DEFAULT_CREDITS * 2048)

static_assert(LH_MSG_MAX_BYTES <= 2048, "a message fits");

struct attempt {
	struct queue q;
	struct lh_client *client;
	uint8_t *mem; /* the 8 bytes, the Hello, the receives */
	struct fabric_mr *mr;
	bool done;
	enum fabric_status status;
};

static void on_complete(struct queue *q, const struct fabric_wc *wc)
{
	struct attempt *a = container_of(q, struct attempt, q);

	/* Whichever of the two is refused says why; the other one is flushed, before it or behind. */
	if ((wc->wr_id == WR_WRITE || wc->wr_id == WR_TRY) && wc->status != FABRIC_OK &&
	    (a->status == FABRIC_OK || a->status == FABRIC_FLUSHED))
		a->status = wc->status;
	if (wc->wr_id == WR_TRY)
		a->done = true;
}

static void on_died(struct queue *q)
{
	struct attempt *a = container_of(q, struct attempt, q);

	if (!a->done && a->status == FABRIC_OK)
		a->status = FABRIC_FLUSHED;
	a->done = true;
}

static int get_pd(void *user, struct fabric_device *dev, struct fabric_pd **pd)
{
	struct attempt *a = user;

	return memory_pd(&a->client->memory, dev, pd);
}

static int prepare(struct queue *q, void *user)
{
	struct attempt *a = user;
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < LH_MSG_DEFAULT_CREDITS; i++) {
		struct fabric_sge sge = {.addr = (uint64_t)(uintptr_t)a->mem + RECV_OFFSET +
						 i * 2048ull,
					 .length = 2048,
					 .lkey = a->mr->lkey};
		struct fabric_recv_wr wr = {.wr_id = WR_RECV, .sg_list = &sge, .num_sge = 1};

		rc = fabric_post_recv(q->conn, &wr, NULL);
	}
	return rc;
}

static bool is_done(void *arg)
{
	return ((struct attempt *)arg)->done;
}

static int post_both(struct attempt *a, const struct lh_export *ex, const struct lh_key *key,
		     bool write)
{
	struct lh_msg *hello = (struct lh_msg *)(a->mem + HELLO_OFFSET);
	struct fabric_sge data = {
		.addr = (uint64_t)(uintptr_t)a->mem, .length = 8, .lkey = a->mr->lkey};
	struct fabric_sge sge = {
		.addr = (uint64_t)(uintptr_t)hello, .length = sizeof(*hello), .lkey = a->mr->lkey};
	/* A WRITE's completion means sent: a READ behind it brings the refusal, or proof. */
	struct fabric_send_wr second = {.wr_id = WR_TRY,
					.op = FABRIC_OP_READ,
					.flags = FABRIC_F_SIGNALED,
					.sg_list = &data,
					.num_sge = 1,
					.remote_addr = key->address,
					.rkey = key->rkey};
	struct fabric_send_wr first = second;
	struct fabric_send_wr wr = {.next = write ? &first : &second,
				    .wr_id = WR_HELLO,
				    .op = FABRIC_OP_SEND,
				    .flags = FABRIC_F_SIGNALED,
				    .sg_list = &sge,
				    .num_sge = 1};

	first.next = &second;
	first.wr_id = WR_WRITE;
	first.op = FABRIC_OP_WRITE;
	*hello = (struct lh_msg){.type = htole16(LH_MSG_HELLO),
				 .length = htole32(sizeof(*hello)),
				 .nsid = htole32(ex->nsid)};
	return fabric_post_send(a->q.conn, &wr, NULL);
}

static int attempt_run(struct attempt *a, struct lh_export *ex, const struct lh_key *key,
		       bool write, struct errtext *err)
{
	struct lh_client *client = ex->client;
	struct lh_token token;
	struct admin_call call = {
		.cmd = {.opcode = LH_ADMIN_OPEN_DIRECT, .nsid = htole32(ex->nsid)},
		.in = &token,
		.in_bytes = sizeof(token)};
	struct lh_cm_request request = {.recfmt = htole16(LH_CM_RECFMT),
					.version = htole16(LH_PROTOCOL_VERSION),
					.cntlid = htole16(client->cntlid),
					.credits = htole16(LH_MSG_DEFAULT_CREDITS)};
	struct queue_param param = {.addr = &client->addr,
				    .address = client->address,
				    .timeout_ms = client->opt.connect_ms,
				    .send_wr = 8,
				    .recv_wr = LH_MSG_DEFAULT_CREDITS,
				    .responder_resources = 1,
				    .initiator_depth = 1,
				    .private_data = &request,
				    .private_data_len = sizeof(request),
				    .get_pd = get_pd,
				    .prepare = prepare,
				    .user = a};
	int rc = admin_run(client, &call);

	if (rc < 0 || call.status)
		return errtext_set(err, rc < 0 ? rc : nvme_status_to_errno(call.status),
				   "no direct queue for the attempt: %s",
				   rc < 0 ? strerror(-rc) : nvme_status_text(call.status));
	memcpy(request.token, token.token, sizeof(request.token));
	rc = queue_open(&a->q, client->fabric, &param, err);
	if (rc < 0)
		return rc;
	(void)pthread_mutex_lock(&a->q.lock);
	rc = post_both(a, ex, key, write);
	if (rc == 0)
		rc = queue_wait(&a->q, is_done, a, now_ns() + TRY_MS * NS_PER_MS);
	(void)pthread_mutex_unlock(&a->q.lock);
	queue_close(&a->q);
	if (rc < 0)
		return errtext_set(err, rc, "the attempt came to no end: %s", strerror(-rc));
	if (a->status == FABRIC_OK)
		return 0;
	return errtext_set(err, -EACCES, "%s", fabric_status_text(a->status));
}

int lh_try_key(struct lh_export *ex, const struct lh_key *key, const void *data,
	       struct lh_error *err)
{
	struct attempt a = {.client = ex->client};
	struct lh_buf *buf;
	struct errtext why;
	int rc = queue_init(&a.q, "trial queue", on_complete, on_died);

	if (rc < 0)
		return client_failf(err, rc, "%s", strerror(-rc));
	a.client = ex->client;
	a.mem = lh_alloc(ex->client, MEM_BYTES);
	buf = a.mem ? memory_at(&ex->client->memory, a.mem) : NULL;
	if (buf) {
		a.mr = buf->mr;
		if (data)
			memcpy(a.mem, data, 8);
		rc = attempt_run(&a, ex, key, data != NULL, &why);
		lh_free(ex->client, a.mem);
	} else {
		rc = errtext_set(&why, -ENOMEM, "out of memory");
	}
	queue_fini(&a.q);
	return rc < 0 ? client_fail(err, rc, &why) : 0;
}
