// SPDX-License-Identifier: BSD-3-Clause
/*
 * The keeper's asking: opens the direct queue, sends Acquire for what holds lack, takes the grants
 * into the map. Keeper's thread only.
 */
#include "libleasehold/keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What is not backed is skipped in steps of this, a huge page of an fsdax file. */
#define SKIP_BYTES     MIB(2)
#define SKIPS_PER_PASS 4096

/* What one Acquire came to. */
enum verdict {
	GOT,	    /* `covered` bytes are dealt with */
	NOT_BACKED, /* nothing here: go on behind it */
	RECALLED,   /* a landlord has `covered` bytes: go on behind them, and ask again */
	LATER,	    /* the target cannot now; again after a while or the regrant event */
	BEYOND,	    /* past the end of the export */
	REFUSED,    /* no use asking again: `code` */
};

struct answer {
	enum verdict verdict;
	bool may_pass; /* REFUSED, but by what others hold */
	int code;
	uint64_t covered;
	struct errtext why;
};

/* ---- the direct queue ------------------------------------------------------------------------ */

static int ensure_open(struct keeper *k, struct errtext *why)
{
	struct lh_export *ex = k->ex;
	struct direct *d = &ex->direct;
	struct lh_token token;
	struct admin_call call = {
		.cmd = {.opcode = LH_ADMIN_OPEN_DIRECT, .nsid = htole32(ex->nsid)},
		.in = &token,
		.in_bytes = sizeof(token)};
	int rc;

	if (queue_is_live(&d->q))
		return 0;
	if (k->cleared)
		return errtext_set(why, -EAGAIN,
				   "%s has not said yet that the keys of the direct queue that was "
				   "lost are dead",
				   ex->client->address);
	rc = client_wait_live(ex->client, 0, why);
	if (rc < 0)
		return -EAGAIN;
	if (!ex->client->direct || !(ex->client->ext.capabilities & LH_CAP_DIRECT))
		return errtext_set(
			why, -EOPNOTSUPP,
			"%s has no direct access (a plain NVMe target, or one of another "
			"version): use block commands",
			ex->client->address);
	d->epoch = client_epoch(ex->client);
	rc = keeper_call(k, &call);
	if (rc < 0)
		return errtext_set(why, -EAGAIN, "the connection to %s was lost: %s",
				   ex->client->address, queue_why(&ex->client->admin.q));
	if (call.status == LH_SC_NO_DIRECT || (call.status & 0x7ff) == NVME_SC_INVALID_OPCODE)
		return errtext_set(why, -EOPNOTSUPP,
				   "%s gives no direct access on this fabric: use block commands",
				   ex->client->address);
	if (call.status != NVME_SC_SUCCESS)
		return errtext_set(why, -EAGAIN, "%s gives no direct queue now: %s",
				   ex->client->address, nvme_status_text(call.status));
	return direct_open(d, &token, why) < 0 ? -EAGAIN : 0;
}

/* ---- one Acquire ----------------------------------------------------------------------------- */

/* Where the grants of a reply begin, which follow each other, and their length. */
static void reply_range(const uint8_t *buf, unsigned int count, uint64_t *offset, uint64_t *length)
{
	struct lh_grant first, last;

	memcpy(&first, buf + sizeof(struct lh_acquire_reply), sizeof(first));
	memcpy(&last, buf + sizeof(struct lh_acquire_reply) + (count - 1) * sizeof(last),
	       sizeof(last));
	*offset = le64toh(first.offset);
	*length = le64toh(last.offset) + le64toh(last.length) - *offset;
}

/* Takes a reply's grants in. False: they came too late, and are given back. */
static bool take_grants(struct keeper *k, const uint8_t *buf, uint64_t incarnation, uint64_t tells)
{
	struct direct *d = &k->ex->direct;
	struct lh_acquire_reply reply;
	uint32_t generation;
	unsigned int count;
	bool stale, fits;

	memcpy(&reply, buf, sizeof(reply));
	generation = le32toh(reply.generation);
	count = (unsigned int)min_u64(le16toh(reply.count), LH_ACQUIRE_MAX_GRANTS);
	(void)pthread_mutex_lock(&d->q.lock);
	fits = d->q.live && d->incarnation == incarnation;
	/* What was recalled meanwhile may be these. */
	stale = generation <= d->recalled || d->recall.pending || d->tells != tells ||
		(d->map.count > 0 && generation != d->generation);
	if (fits && !stale && count > 0) {
		d->generation = generation;
		d->durability = reply.durability;
		for (unsigned int i = 0; i < count; i++) {
			struct lh_grant grant;
			struct grant_piece piece;

			memcpy(&grant, buf + sizeof(reply) + i * sizeof(grant), sizeof(grant));
			piece = (struct grant_piece){.offset = le64toh(grant.offset),
						     .length = le64toh(grant.length),
						     .address = le64toh(grant.address),
						     .rkey = le32toh(grant.rkey),
						     .access = reply.access};
			/* One that overlaps another is of no use, and does no harm. */
			if (grant_map_add(&d->map, &piece) == 0)
				stat_add(k->ex, STAT_GRANTS, 1);
		}
		k->expiry_ms = le32toh(reply.expiry_ms);
		k->renew_ns = now_ns() + k->expiry_ms * NS_PER_MS / 3;
		(void)pthread_cond_broadcast(&k->ex->changed);
	}
	(void)pthread_mutex_unlock(&d->q.lock);
	if (fits && stale && count > 0) {
		uint64_t offset, length;

		reply_range(buf, count, &offset, &length);
		(void)keeper_release(k, offset, length, generation);
	}
	return fits && !stale;
}

/* The list may be older than the refusal; then it has no reason. */
static void no_direct(struct lh_export *ex, struct errtext *why)
{
	struct lh_export_entry entry;

	(void)pthread_mutex_lock(&ex->client->lock);
	entry = ex->entry;
	(void)pthread_mutex_unlock(&ex->client->lock);
	if (entry.rung == LH_RUNG_STAGED && entry.rung_why[0])
		(void)errtext_set(why, 0,
				  "\"%s\" cannot be reached directly, its target copies (staged; "
				  "%s): use block commands",
				  ex->name, entry.rung_why);
	else
		(void)errtext_set(why, 0,
				  "\"%s\" cannot be reached directly on this device (`leasehold "
				  "status` at the target says why): use block commands",
				  ex->name);
}

/* Why not now, and how much is behind it that may be had. */
static void judge_recalled(const struct lh_export *ex, uint64_t offset, uint32_t held,
			   struct answer *a)
{
	const uint64_t units = held & LH_HELD_UNITS;

	a->verdict = units ? RECALLED : LATER;
	a->covered = units == LH_HELD_UNITS ? UINT64_MAX - offset : units * LH_GRANT_ALIGN;
	if (!(held & LH_HELD_RECLAIMED))
		(void)errtext_set(&a->why, 0,
				  "export \"%s\" is being recalled: its file system has "
				  "the blocks for now",
				  ex->name);
	else if (!units)
		(void)errtext_set(
			&a->why, 0,
			"export \"%s\" is reclaimed on its target (leasehold reclaim), and "
			"not granted till that is over: block commands reach it",
			ex->name);
	else
		(void)errtext_set(
			&a->why, 0,
			"\"%s\" is reclaimed on its target from byte %llu on (leasehold "
			"reclaim); that part is not granted till this is over: block commands "
			"reach it",
			ex->name, (unsigned long long)offset);
}

static void judge_status(struct keeper *k, const struct admin_call *call, uint64_t offset,
			 struct answer *a)
{
	const uint16_t status = call->status;
	struct lh_export *ex = k->ex;
	struct direct *d = &ex->direct;

	a->code = nvme_status_to_errno(status);
	switch (status & 0x7ff) {
	case NVME_SC_LBA_RANGE:
		a->verdict = BEYOND;
		break;
	case LH_SC_NOT_BACKED:
		a->verdict = NOT_BACKED;
		break;
	case LH_SC_DAMAGED:
		/* Block commands reach it, and say of which blocks it is. */
		a->verdict = NOT_BACKED;
		a->covered = (call->dw0 & LH_HELD_UNITS) * (uint64_t)LH_GRANT_ALIGN;
		break;
	case LH_SC_RECALLING:
		judge_recalled(ex, offset, call->dw0, a);
		break;
	case LH_SC_STALE_GENERATION:
		judge_recalled(ex, offset, 0, a);
		break;
	case NVME_SC_NS_NOT_READY:
	case NVME_SC_TRANSIENT_TRANSPORT:
		a->verdict = LATER;
		(void)errtext_set(&a->why, 0, "export \"%s\" is not ready at the target", ex->name);
		break;
	case NVME_SC_INVALID_NS:
		a->verdict = REFUSED;
		(void)errtext_set(&a->why, 0, LH_EXPORT_GONE, ex->name);
		break;
	case NVME_SC_ANA_TRANSITION:
		a->verdict = LATER;
		(void)errtext_set(&a->why, 0, "access to \"%s\" by this path is changing",
				  ex->name);
		break;
	case NVME_SC_ANA_INACCESSIBLE:
	case NVME_SC_ANA_PERSISTENT_LOSS:
		a->verdict = REFUSED;
		(void)errtext_set(&a->why, 0,
				  "\"%s\" is %s by this path: connect to another address of the "
				  "target",
				  ex->name, a->code == -ENOLINK ? "lost for good" : "inaccessible");
		break;
	case LH_SC_NO_DIRECT_QUEUE:
		a->verdict = LATER;
		(void)pthread_mutex_lock(&d->q.lock);
		/* A trial may have ended it: that answer is on its way, and is waited for. */
		if (!d->trial.under_way)
			queue_kill(&d->q, "the target knows it no more");
		(void)pthread_mutex_unlock(&d->q.lock);
		break;
	case NVME_SC_ACCESS_DENIED:
		a->verdict = REFUSED;
		(void)errtext_set(&a->why, 0,
				  "\"%s\" is read-only at its target: it can be held for reading, "
				  "and not for writing",
				  ex->name);
		break;
	case LH_SC_CONFLICT:
		a->verdict = REFUSED;
		a->may_pass = true;
		(void)errtext_set(&a->why, 0,
				  "another client holds part of \"%s\" for writing: wait for it to "
				  "let go, or use block commands",
				  ex->name);
		break;
	case LH_SC_NO_DIRECT:
		a->verdict = REFUSED;
		a->code = -EOPNOTSUPP;
		no_direct(ex, &a->why);
		break;
	case LH_SC_LIMIT:
		a->verdict = REFUSED;
		a->may_pass = true;
		(void)errtext_set(&a->why, 0,
				  "the target's limit of grants per client is reached: hold less, "
				  "or raise it there");
		break;
	case LH_SC_LIMIT_BYTES:
		a->verdict = REFUSED;
		a->may_pass = true;
		(void)errtext_set(&a->why, 0,
				  "the target's limit of bytes granted to one client is reached: "
				  "hold less, or raise max_granted_bytes_per_client there");
		break;
	case LH_SC_LIMIT_EXPORT:
		a->verdict = REFUSED;
		a->may_pass = true;
		(void)errtext_set(&a->why, 0,
				  "all its clients together hold as many grants of \"%s\" as its "
				  "target gives: hold less, in longer ranges, or raise "
				  "max_grants_per_export there",
				  ex->name);
		break;
	case LH_SC_LIMIT_TIME:
		a->verdict = REFUSED;
		a->may_pass = true;
		(void)errtext_set(
			&a->why, 0,
			"all that is granted of \"%s\" and the other exports there takes as "
			"long to give back as a recall may: hold less, or see recall_budget "
			"in `leasehold status` there",
			ex->name);
		break;
	case LH_SC_LIMIT_HOST:
		a->verdict = REFUSED;
		a->may_pass = true;
		(void)errtext_set(&a->why, 0,
				  "the programs of this host hold as many grants as the target "
				  "gives to one: hold less, in longer ranges, or raise "
				  "max_grants_per_host there");
		break;
	case LH_SC_LIMIT_RATE:
		a->verdict = LATER;
		(void)errtext_set(&a->why, 0,
				  "the target makes no more grants for one client in a second "
				  "(max_registrations_per_second there): asked again in a while");
		break;
	default:
		a->verdict = REFUSED;
		(void)errtext_set(&a->why, 0, "the target refused the grant: %s (%03xh)",
				  nvme_status_text(status), status);
	}
}

static void ask(struct keeper *k, uint64_t offset, uint64_t length, uint32_t access, bool allocate,
		struct answer *a)
{
	struct lh_export *ex = k->ex;
	const struct lh_client *client = ex->client;
	struct direct *d = &ex->direct;
	uint64_t incarnation, tells;
	struct lh_acquire_reply reply;
	uint8_t *buf = malloc(NVME_SLOT_DATA_BYTES);
	struct admin_call call = {.in = buf, .in_bytes = NVME_SLOT_DATA_BYTES};
	int rc;

	*a = (struct answer){.verdict = LATER};
	if (!buf)
		return;
	(void)pthread_mutex_lock(&d->q.lock);
	incarnation = d->incarnation;
	tells = d->tells;
	(void)pthread_mutex_unlock(&d->q.lock);
	if (client->ext.max_grant_bytes >= LH_GRANT_ALIGN)
		length = min_u64(length, align_down(client->ext.max_grant_bytes, LH_GRANT_ALIGN));
	call.cmd = (struct lh_admin_command){
		.opcode = LH_ADMIN_ACQUIRE,
		.nsid = htole32(ex->nsid),
		.dqid = htole16(d->dqid),
		.access_flags = htole16((uint16_t)(access | (allocate ? LH_ACQUIRE_ALLOCATE : 0))),
		.offset = htole64(offset),
		.length = htole64(length)};
	stat_add(ex, STAT_ACQUIRES, 1);
	rc = keeper_call(k, &call);
	if (rc < 0) {
		(void)errtext_set(&a->why, 0, "the connection to %s was lost: %s", client->address,
				  queue_why(&ex->client->admin.q));
	} else if (call.status != NVME_SC_SUCCESS) {
		judge_status(k, &call, offset, a);
	} else if (take_grants(k, buf, incarnation, tells)) {
		memcpy(&reply, buf, sizeof(reply));
		a->covered = le64toh(reply.covered_length);
		a->verdict = a->covered ? GOT : NOT_BACKED;
	}
	free(buf);
}

/* ---- the holds ------------------------------------------------------------------------------- */

static uint64_t hold_end(const struct lh_export *ex, const struct lh_hold *h)
{
	return min_u64(h->end, align_up(atomic_load(&ex->size_bytes), LH_GRANT_ALIGN));
}

/* A grant with too little access is in the way of one with more. Lock held; drops it. */
static bool make_way(struct keeper *k, uint64_t offset)
{
	struct direct *d = &k->ex->direct;
	const struct grant_piece *p = grant_map_find(&d->map, offset, 0);
	struct grant_piece old;
	const uint32_t generation = d->generation;

	if (!p)
		return false;
	old = *p;
	grant_map_remove(&d->map, (size_t)(p - d->map.pieces));
	k->ways_made++;
	(void)pthread_mutex_unlock(&d->q.lock);
	(void)keeper_release(k, old.offset, old.length, generation);
	(void)pthread_mutex_lock(&d->q.lock);
	return true;
}

static void settle(struct lh_hold *h, enum hold_state state, const struct answer *a)
{
	if (h->state == HOLD_NEW) {
		h->state = state;
		if (state == HOLD_FAILED) {
			h->error.code = a->code;
			h->error.text = a->why;
		}
	}
	(void)pthread_cond_broadcast(&h->ex->changed);
}

/* A new hold's fate, once all of it was asked for. Lock held. */
static void judge_hold(const struct keeper *k, struct lh_hold *h)
{
	const struct lh_export *ex = k->ex;
	struct direct *d = &k->ex->direct;
	const uint64_t end = min_u64(h->end, atomic_load(&ex->size_bytes));
	const uint64_t granted = grant_map_bytes(&d->map, h->offset, end, NULL);
	struct answer a = {.code = -ENODATA};
	uint64_t gap, length;

	if (end > h->offset && granted == 0 && !h->patient) {
		(void)errtext_set(
			&a.why, 0,
			"no byte of the range is backed by blocks of its own (it is in "
			"holes, or shared): have the holes filled, or use block commands");
		settle(h, HOLD_FAILED, &a);
	} else if (ex->client->opt.no_fallback && !k->size_is_old &&
		   grant_map_gap(&d->map, h->offset, end, h->access, &gap, &length)) {
		(void)errtext_set(&a.why, 0,
				  "%llu of %llu bytes are in holes, or shared with another file, "
				  "the first at offset %llu, and cannot be reached directly: have "
				  "the holes filled, or use block commands",
				  (unsigned long long)(end - h->offset - granted),
				  (unsigned long long)(end - h->offset), (unsigned long long)gap);
		settle(h, HOLD_FAILED, &a);
	} else {
		settle(h, HOLD_SETTLED, &a);
	}
}

/* Gets what one hold lacks. Lock held; dropped while asking. True: LATER. */
static bool fill_hold(struct keeper *k, struct lh_hold *h, uint32_t access, struct errtext *why)
{
	struct direct *d = &k->ex->direct;
	const uint64_t losses = d->map.losses - k->ways_made;
	uint64_t at = h->offset, gap, length;
	unsigned int skips = 0;
	bool again = false;
	struct answer a = {.verdict = GOT};

	while (!h->leaving && skips < SKIPS_PER_PASS &&
	       grant_map_gap(&d->map, at, hold_end(k->ex, h), h->access, &gap, &length)) {
		if (d->gate_closed || !d->q.live)
			return true;
		if (make_way(k, gap))
			continue;
		(void)pthread_mutex_unlock(&d->q.lock);
		ask(k, gap, length, access, h->allocate, &a);
		(void)pthread_mutex_lock(&d->q.lock);
		switch (a.verdict) {
		case GOT:
			at = gap + max_u64(min_u64(a.covered, length), LH_GRANT_ALIGN);
			break;
		case NOT_BACKED:
			at = a.covered ? gap + a.covered : align_down(gap, SKIP_BYTES) + SKIP_BYTES;
			skips++;
			break;
		case BEYOND:
			k->size_is_old = true;
			at = UINT64_MAX;
			break;
		case RECALLED:
			/* Nothing is wrong with the rest. */
			if (!again)
				*why = a.why;
			again = true;
			at = gap + a.covered;
			break;
		case LATER:
			*why = a.why;
			return true;
		case REFUSED:
			*why = a.why;
			settle(h, a.may_pass && h->patient ? HOLD_SETTLED : HOLD_FAILED, &a);
			return h->state == HOLD_SETTLED;
		}
		if (at == UINT64_MAX)
			break;
	}
	/* A recall was answered in between: what it took away says nothing of the file. */
	if (d->map.losses - k->ways_made != losses) {
		(void)errtext_set(why, 0, "export \"%s\" was recalled", k->ex->name);
		return true;
	}
	if (again) {
		/* Block commands reach what is held back: nobody needs to wait for it. */
		if (!k->ex->client->opt.no_fallback)
			settle(h, HOLD_SETTLED, &a);
		return true;
	}
	judge_hold(k, h);
	return false;
}

static void fail_new_holds(struct keeper *k, int code, const struct errtext *why)
{
	const struct answer a = {.code = code, .why = *why};
	struct list *pos;

	(void)pthread_mutex_lock(&k->ex->direct.q.lock);
	list_for_each (pos, &k->ex->holds)
		settle(list_entry(pos, struct lh_hold, link), HOLD_FAILED, &a);
	(void)pthread_mutex_unlock(&k->ex->direct.q.lock);
}

int keeper_acquire_all(struct keeper *k, uint32_t *generation, uint64_t *bytes, struct errtext *why)
{
	struct direct *d = &k->ex->direct;
	struct list *pos;
	uint64_t losses, size;
	uint32_t access = 0;
	bool later = false, none;
	int rc;

	*generation = 0;
	*bytes = 0;
	(void)pthread_mutex_lock(&d->q.lock);
	none = list_empty(&k->ex->holds);
	(void)pthread_mutex_unlock(&d->q.lock);
	if (none)
		return 0;
	rc = ensure_open(k, why);
	if (rc == -EOPNOTSUPP)
		fail_new_holds(k, rc, why);
	if (rc < 0)
		return -EAGAIN;
	(void)pthread_mutex_lock(&d->q.lock);
	list_for_each (pos, &k->ex->holds) {
		const struct lh_hold *h = list_entry(pos, struct lh_hold, link);

		access |= h->leaving || h->state == HOLD_FAILED ? 0 : h->access;
	}
	losses = d->map.losses - k->ways_made;
	size = align_up(atomic_load(&k->ex->size_bytes), LH_GRANT_ALIGN);
	k->size_is_old = false;
	/* Only this thread takes holds out; new ones come in at the end. */
	list_for_each (pos, &k->ex->holds) {
		struct lh_hold *h = list_entry(pos, struct lh_hold, link);

		if (!h->leaving && h->state != HOLD_FAILED)
			later = fill_hold(k, h, access, why) || later;
	}
	if (!later && !k->size_is_old && d->map.losses - k->ways_made == losses) {
		list_for_each (pos, &k->ex->holds) {
			struct lh_hold *h = list_entry(pos, struct lh_hold, link);

			h->asked_to = min_u64(h->end, size);
			h->asked_losses = d->map.losses;
		}
		(void)pthread_cond_broadcast(&k->ex->changed);
	}
	*generation = d->map.count ? d->generation : 0;
	*bytes = grant_map_bytes(&d->map, 0, UINT64_MAX, NULL);
	(void)pthread_mutex_unlock(&d->q.lock);
	return later ? -EAGAIN : 0;
}
