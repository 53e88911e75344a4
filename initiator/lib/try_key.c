// SPDX-License-Identifier: BSD-3-Clause
/*
 * Uses a key once more, on the direct queue that it was granted to: to show that a dead one is
 * refused. Another queue would prove nothing: each has a protection domain of its own, and the key
 * would be refused there while it lives. Caller's thread. The queue dies of a refusal; the keeper
 * opens another.
 */
#include "libleasehold/admin.h"
#include "libleasehold/export.h"

#include <errno.h>
#include <string.h>

#define TRY_MS	  3000
#define TRY_BYTES 8

void direct_trial_completed(struct direct *d, const struct fabric_wc *wc)
{
	struct direct_trial *t = &d->trial;

	/* Whichever of the two is refused says why; the other one is flushed, before it or behind. */
	if (wc->status != FABRIC_OK && (t->status == FABRIC_OK || t->status == FABRIC_FLUSHED))
		t->status = wc->status;
	if (!(wc->wr_id & DIRECT_WR_LAST))
		return; /* the last one comes, whatever became of this one */
	t->under_way = false;
	t->cost_queue = t->status == FABRIC_REMOTE_ACCESS;
	if (t->status != FABRIC_OK)
		queue_kill(&d->q, fabric_status_text(t->status));
}

void direct_trial_died(struct direct *d)
{
	struct direct_trial *t = &d->trial;

	if (!t->under_way)
		return;
	if (t->status == FABRIC_OK)
		t->status = FABRIC_FLUSHED;
	t->under_way = false;
	t->cost_queue = t->status == FABRIC_REMOTE_ACCESS;
}

static bool is_over(void *arg)
{
	return !((struct direct *)arg)->trial.under_way;
}

static int post(struct direct *d, const struct lh_key *key, uint8_t *mem, uint32_t lkey, bool write)
{
	struct fabric_sge data = {
		.addr = (uint64_t)(uintptr_t)mem, .length = TRY_BYTES, .lkey = lkey};
	/* A WRITE's completion means sent: a READ behind it brings the refusal, or proof. */
	struct fabric_send_wr second = {.wr_id = DIRECT_WR_TRIAL | DIRECT_WR_LAST,
					.op = FABRIC_OP_READ,
					.flags = FABRIC_F_SIGNALED,
					.sg_list = &data,
					.num_sge = 1,
					.remote_addr = key->address,
					.rkey = key->rkey};
	struct fabric_send_wr first = second;

	first.next = &second;
	first.wr_id = DIRECT_WR_TRIAL;
	first.op = FABRIC_OP_WRITE;
	return fabric_post_send(d->q.conn, write ? &first : &second, NULL);
}

/* Under the lock. 0: both went through, or `*status` says why not. */
static int attempt(struct direct *d, const struct lh_key *key, uint8_t *mem, uint32_t lkey,
		   bool write, enum fabric_status *status)
{
	int rc;

	if (!d->q.live || d->incarnation != key->queue)
		return -ENOTCONN;
	if (d->trial.under_way)
		return -EBUSY;
	d->trial = (struct direct_trial){.under_way = true};
	rc = post(d, key, mem, lkey, write);
	if (rc == 0)
		rc = queue_wait(&d->q, is_over, d, now_ns() + TRY_MS * NS_PER_MS);
	if (rc < 0) {
		const bool ours = d->q.live;

		/* The adapter lets go of `mem`. */
		queue_kill(&d->q, "a key on trial was not answered");
		d->trial.under_way = false;
		d->trial.cost_queue = ours;
		return rc;
	}
	*status = d->trial.status;
	return 0;
}

/* Only the target's own word is a refusal: a queue that ends for another reason proves nothing. */
static int verdict(enum fabric_status status, struct lh_error *err)
{
	switch (status) {
	case FABRIC_OK:
		return 0;
	case FABRIC_REMOTE_ACCESS:
		return client_failf(err, -EACCES, "%s", fabric_status_text(status));
	default:
		return client_failf(err, -ENOTCONN,
				    "the direct queue was lost before the target had answered: %s",
				    fabric_status_text(status));
	}
}

int lh_try_key(struct lh_export *ex, const struct lh_key *key, const void *data,
	       struct lh_error *err)
{
	struct direct *d = &ex->direct;
	uint8_t *mem = lh_alloc(ex->client, TRY_BYTES);
	const struct lh_buf *buf = mem ? memory_at(&ex->client->memory, mem) : NULL;
	enum fabric_status status = FABRIC_OK;
	int rc;

	if (!buf) {
		lh_free(ex->client, mem);
		return client_failf(err, -ENOMEM, "out of memory");
	}
	if (data)
		memcpy(mem, data, TRY_BYTES);
	(void)pthread_mutex_lock(&d->q.lock);
	rc = attempt(d, key, mem, buf->mr->lkey, data != NULL, &status);
	(void)pthread_mutex_unlock(&d->q.lock);
	lh_free(ex->client, mem);
	if (rc == 0)
		return verdict(status, err);
	if (rc == -ENOTCONN)
		return client_failf(err, rc,
				    "the direct queue that it was granted to is gone, and with it "
				    "the protection domain of the key");
	return client_failf(err, rc, "the attempt came to no end: %s", strerror(-rc));
}
