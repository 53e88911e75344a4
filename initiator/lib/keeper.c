// SPDX-License-Identifier: BSD-3-Clause
/*
 * The keeper: an export's thread that holds grants over the ranges its holds name. It opens the
 * direct queue, acquires, renews, answers recalls, clears up after a lost queue, acquires again. It
 * alone changes the grant map and opens the gate; callers' threads only read, write and wait.
 *
 * Waiting for the admin queue it goes on attending to recalls: an Acquire that takes long must not
 * cost us the fence.
 */
#include "libleasehold/keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKOFF_MIN_NS (5 * NS_PER_MS)
#define BACKOFF_MAX_NS NS_PER_S
/* Time to confirm and release when the target names no deadline. */
#define RECALL_DEFAULT_MS 1000
#define BURY_AGAIN_MS	  50

/* ---- sleeping and calling -------------------------------------------------------------------- */

/* Sleeps until something comes or `ms` (-1: any) have passed, and takes it in. */
static void turn(struct keeper *k, int ms)
{
	struct direct *d = &k->ex->direct;
	struct pollfd fds[3] = {{.fd = k->ex->wake_fd, .events = POLLIN}};
	int watch_ms = queue_watch(&d->q, &fds[1]);
	uint64_t drained;

	if (watch_ms >= 0 && (ms < 0 || watch_ms < ms))
		ms = watch_ms;
	(void)poll(fds, 3, ms);
	if (fds[0].revents) {
		(void)!read(k->ex->wake_fd, &drained, sizeof(drained));
		k->woken = true;
	}
	queue_watched(&d->q, &fds[1]);
}

int keeper_call(struct keeper *k, struct admin_call *call)
{
	int rc;

	call->wake = (void (*)(void *))export_wake;
	call->user = k->ex;
	while ((rc = admin_start(k->ex->client, call)) == -EAGAIN)
		turn(k, 2);
	if (rc < 0)
		return rc;
	while (!atomic_load_explicit(&call->done, memory_order_acquire)) {
		turn(k, -1);
		keeper_attend(k);
	}
	return call->error;
}

void keeper_emit(struct keeper *k, const struct lh_event *event)
{
	struct direct *d = &k->ex->direct;
	void (*fn)(const struct lh_event *event, void *user);
	void *user;

	(void)pthread_mutex_lock(&d->q.lock);
	fn = k->ex->on_event;
	user = k->ex->on_event_user;
	(void)pthread_mutex_unlock(&d->q.lock);
	if (fn)
		fn(event, user);
}

static void emit(struct keeper *k, enum lh_event_kind kind, uint64_t time_ns, uint64_t offset,
		 uint64_t length, uint32_t generation, const char *text)
{
	const struct lh_event event = {.kind = kind,
				       .time_ns = time_ns ? time_ns : now_ns(),
				       .offset = offset,
				       .length = length,
				       .generation = generation,
				       .text = text};

	keeper_emit(k, &event);
}

/* ---- giving back ----------------------------------------------------------------------------- */

static struct lh_admin_command release_command(const struct keeper *k, uint8_t opcode,
					       uint64_t offset, uint64_t length,
					       uint32_t generation)
{
	return (struct lh_admin_command){.opcode = opcode,
					 .nsid = htole32(k->ex->nsid),
					 .dqid = htole16(k->ex->direct.dqid),
					 .offset = htole64(offset),
					 .length = htole64(length),
					 .generation = htole32(generation)};
}

static int release_call(struct keeper *k, struct admin_call *call)
{
	int rc = keeper_call(k, call);

	if (rc == 0 && call->status != NVME_SC_SUCCESS) {
		rc = nvme_status_to_errno(call->status);
		rc = rc < 0 ? rc : -EIO;
	}
	/* Fenced before: the target had taken all of it. */
	if (rc == 0 && call->dw0 == LH_RELEASED_NO_QUEUE)
		rc = -ENOTCONN;
	if (rc == 0)
		stat_add(k->ex, STAT_RELEASES, 1);
	return rc;
}

int keeper_release(struct keeper *k, uint64_t offset, uint64_t length, uint32_t generation)
{
	struct admin_call call = {
		.cmd = release_command(k, LH_ADMIN_RELEASE, offset, length, generation)};

	return release_call(k, &call);
}

/* True if a grant reaches into the range and outside. Under the lock. */
static bool cuts(const struct direct *d, uint64_t offset, uint64_t length)
{
	for (size_t i = 0; i < d->map.count; i++) {
		const struct grant_piece *p = &d->map.pieces[i];

		if (range_overlaps(p->offset, p->length, offset, length) &&
		    (p->offset < offset || p->length > offset + length - p->offset))
			return true;
	}
	return false;
}

static void forget_pieces(struct direct *d, uint64_t offset, uint64_t length)
{
	size_t i = 0;

	while (i < d->map.count) {
		if (range_overlaps(d->map.pieces[i].offset, d->map.pieces[i].length, offset,
				   length))
			grant_map_remove(&d->map, i);
		else
			i++;
	}
}

/* What is left of grants that the range cuts, in their place. Under the lock. */
static void take_rest(struct direct *d, const uint8_t *buf, uint64_t offset, uint64_t length)
{
	struct grant_piece rest[LH_ACQUIRE_MAX_GRANTS];
	struct lh_acquire_reply reply;
	unsigned int count, n = 0;

	memcpy(&reply, buf, sizeof(reply));
	count = (unsigned int)min_u64(le16toh(reply.count), LH_ACQUIRE_MAX_GRANTS);
	for (unsigned int i = 0; i < count && le32toh(reply.generation) == d->generation; i++) {
		const struct grant_piece *old;
		struct lh_grant grant;

		memcpy(&grant, buf + sizeof(reply) + i * sizeof(grant), sizeof(grant));
		old = grant_map_find(&d->map, le64toh(grant.offset), 0);
		if (old)
			rest[n++] = (struct grant_piece){.offset = le64toh(grant.offset),
							 .length = le64toh(grant.length),
							 .address = le64toh(grant.address),
							 .rkey = le32toh(grant.rkey),
							 .access = old->access};
	}
	forget_pieces(d, offset, length);
	/* One for which there is no memory is of no use, and does no harm. */
	for (unsigned int i = 0; i < n; i++) {
		if (grant_map_add(&d->map, &rest[i]) < 0)
			break;
	}
}

/* What reaches outside the range stays, under new keys. On an error nothing has changed. */
static int release_part(struct keeper *k, uint64_t offset, uint64_t length, uint32_t generation)
{
	struct direct *d = &k->ex->direct;
	uint8_t *buf = malloc(NVME_SLOT_DATA_BYTES);
	struct admin_call call = {
		.cmd = release_command(k, LH_ADMIN_RELEASE_PART, offset, length, generation),
		.in = buf,
		.in_bytes = NVME_SLOT_DATA_BYTES};
	int rc = buf ? release_call(k, &call) : -ENOMEM;

	if (rc == 0) {
		(void)pthread_mutex_lock(&d->q.lock);
		take_rest(d, buf, offset, length);
		(void)pthread_mutex_unlock(&d->q.lock);
	}
	free(buf);
	return rc;
}

static bool can_release_part(const struct keeper *k)
{
	return k->ex->client->ext.capabilities & LH_CAP_PART;
}

/* The gate opens: operations find out what is granted now. Under the lock. */
static void open_gate(struct keeper *k)
{
	struct direct *d = &k->ex->direct;

	d->gate_closed = false;
	direct_turn_away(d);
	direct_pump(d);
	queue_wake(&d->q);
	(void)pthread_cond_broadcast(&k->ex->changed);
}

/* Stops posting and confirms what was posted. Under the lock. 0, or the queue is of no use. */
static int quiesce(struct keeper *k, uint64_t offset, uint64_t length, uint64_t deadline_ns)
{
	struct direct *d = &k->ex->direct;
	int rc;

	d->gate_closed = true;
	rc = direct_drain(d, deadline_ns);
	if (rc == 0)
		rc = direct_commit(d, offset, length, deadline_ns);
	if (rc == 0 && !d->q.live)
		rc = -ENOTCONN;
	/* Too late: better fence ourselves than wait for it with callers' memory in flight. */
	if (rc < 0)
		queue_kill(&d->q, "what was written could not be confirmed in time");
	return rc;
}

/* All grants that touch what is recalled: where they begin, and their length. Under the lock. */
static void find_recalled(const struct direct *d, const struct direct_recall *r, uint64_t *offset,
			  uint64_t *length)
{
	uint64_t from = UINT64_MAX, to = 0;

	*offset = *length = 0;
	if (direct_recall_whole(r)) {
		*length = UINT64_MAX;
		return;
	}
	for (size_t i = 0; i < d->map.count; i++) {
		const struct grant_piece *p = &d->map.pieces[i];

		if (!range_overlaps(p->offset, p->length, r->offset, r->length))
			continue;
		from = min_u64(from, p->offset);
		to = max_u64(to, p->offset + p->length);
	}
	if (from >= to)
		return;
	*offset = from;
	*length = to - from;
}

/* What is recalled, or, where the rest cannot stay, all of the grants that touch it. */
static int give_back_range(struct keeper *k, const struct direct_recall *r, uint64_t offset,
			   uint64_t length, uint32_t generation)
{
	struct direct *d = &k->ex->direct;
	bool part;

	(void)pthread_mutex_lock(&d->q.lock);
	part = can_release_part(k) && cuts(d, r->offset, r->length);
	if (!part)
		forget_pieces(d, offset, length);
	(void)pthread_mutex_unlock(&d->q.lock);
	if (part && release_part(k, r->offset, r->length, generation) == 0)
		return 0;
	if (part) {
		(void)pthread_mutex_lock(&d->q.lock);
		forget_pieces(d, offset, length);
		(void)pthread_mutex_unlock(&d->q.lock);
	}
	return keeper_release(k, offset, length, generation);
}

static void answer_recall(struct keeper *k)
{
	struct direct *d = &k->ex->direct;
	struct direct_recall recall;
	uint64_t budget_ms, offset, length;
	uint32_t generation;
	bool stale, whole;
	int rc;

	(void)pthread_mutex_lock(&d->q.lock);
	recall = d->recall;
	stale = recall.generation < d->generation;
	generation = recall.generation;
	(void)pthread_mutex_unlock(&d->q.lock);
	stat_add(k->ex, STAT_RECALLS, 1);
	emit(k, LH_EVENT_TOLD, recall.told_ns, recall.offset, recall.length, generation,
	     "recall received");

	budget_ms = recall.deadline_ms ? recall.deadline_ms : RECALL_DEFAULT_MS;
	(void)pthread_mutex_lock(&d->q.lock);
	whole = direct_recall_whole(&recall);
	find_recalled(d, &recall, &offset, &length);
	rc = stale ? 0 : quiesce(k, offset, length, recall.told_ns + budget_ms * NS_PER_MS);
	/* Another may have come meanwhile: it is the next to be answered. */
	d->recall.pending = d->recall.offset != recall.offset ||
			    d->recall.length != recall.length ||
			    d->recall.generation != recall.generation;
	d->part = !whole;
	if (whole)
		d->recalled = (uint32_t)max_u64(d->recalled, generation);
	if (rc == 0 && !stale && whole) {
		grant_map_clear(&d->map);
		d->generation = 0;
	}
	(void)pthread_mutex_unlock(&d->q.lock);
	if (rc < 0)
		return; /* the queue is lost: clear_up() is next */
	/* Should this fail the admin queue is gone, and the keys with it. */
	if (length > 0) {
		rc = whole || stale ? keeper_release(k, offset, length, generation)
				    : give_back_range(k, &recall, offset, length, generation);
		k->unreleased = rc < 0;
	}
	if (rc == 0)
		emit(k, LH_EVENT_RELEASED, 0, recall.offset, recall.length, generation,
		     "all confirmed and given back");
	(void)pthread_mutex_lock(&d->q.lock);
	if (!d->lost && !d->recall.pending)
		open_gate(k);
	(void)pthread_mutex_unlock(&d->q.lock);
	k->need = true;
	k->again = !stale;
	k->backoff_ns = BACKOFF_MIN_NS;
	k->next_try_ns = now_ns() + k->backoff_ns;
}

/* ---- a lost queue ---------------------------------------------------------------------------- */

/* Writes again, by block commands, what was never confirmed. Callers wait at the gate meanwhile. */
static void replay_all(struct keeper *k)
{
	struct direct *d = &k->ex->direct;
	uint64_t bytes = 0;

	for (;;) {
		struct replay_write *w;
		int rc;

		(void)pthread_mutex_lock(&d->q.lock);
		w = replay_pop(&d->replay);
		(void)pthread_mutex_unlock(&d->q.lock);
		if (!w)
			break;
		rc = io_replay(k->ex, w->offset, w->data, w->length);
		(void)pthread_mutex_lock(&d->q.lock);
		if (rc < 0)
			write_log_kill(&d->log, w->offset, w->length);
		else
			bytes += w->length;
		replay_put(&d->replay);
		(void)pthread_cond_broadcast(
			&k->ex->changed); /* block commands for the same bytes */
		(void)pthread_mutex_unlock(&d->q.lock);
	}
	stat_add(k->ex, STAT_REPLAYED_BYTES, bytes);
	if (bytes)
		emit(k, LH_EVENT_REPLAYED, 0, 0, bytes, 0,
		     "unconfirmed writes were made again by block commands");
}

/* The queue is no more, nor what was granted on it. The gate stays closed. */
static void clear_up(struct keeper *k)
{
	struct direct *d = &k->ex->direct;
	uint32_t generation;
	bool tried, granted, held, tell;

	direct_close(d);
	(void)pthread_mutex_lock(&d->q.lock);
	generation = d->generation ? d->generation : k->announced;
	tried = d->trial.cost_queue;
	granted = d->generation || d->map.count > 0 || d->log.dirty_pages > 0;
	/* What ends a queue that held nothing, and on which no key was tried, is no fence. */
	held = k->unreleased || granted || d->trial.status != FABRIC_OK;
	d->unburied = k->unreleased || granted;
	k->unreleased = false;
	d->trial.cost_queue = false;
	grant_map_clear(&d->map);
	d->generation = 0;
	d->recall.pending = false;
	/* In replay mode there is a copy of every dirty byte. */
	if (d->replay.on)
		write_log_clean(&d->log);
	else
		stat_add(k->ex, STAT_DEAD_BYTES, write_log_kill_dirty(&d->log));
	k->again = k->again || (d->lost && !k->closing);
	k->cleared = true;
	tell = d->lost && !k->closing && held && !tried;
	(void)pthread_mutex_unlock(&d->q.lock);
	if (!tell)
		return;
	stat_add(k->ex, STAT_FENCED, 1);
	emit(k, LH_EVENT_FENCED, 0, 0, UINT64_MAX, generation,
	     "the direct queue was lost with its grants");
}

static bool is_unburied(struct direct *d)
{
	bool unburied;

	(void)pthread_mutex_lock(&d->q.lock);
	unburied = d->unburied;
	(void)pthread_mutex_unlock(&d->q.lock);
	return unburied;
}

/* Asks once. 0: the target has answered. */
static int ask_burial(struct keeper *k)
{
	struct direct *d = &k->ex->direct;
	struct admin_call call = {.cmd = admin_burial(k->ex->nsid, d->token)};
	int rc = keeper_call(k, &call);

	(void)pthread_mutex_lock(&d->q.lock);
	d->unburied = rc < 0 || !admin_is_buried(call.status);
	(void)pthread_mutex_unlock(&d->q.lock);
	return rc;
}

/*
 * What was posted may be on its way still, however dead the queue is here: what is newer must wait
 * until the target has said that the keys are dead. The next controller is not ours to use before
 * (client.c: bury_lost()); this asks the one that still stands. False: there is none now; the next
 * one, or the news that there will be none, wakes us.
 */
static bool bury(struct keeper *k)
{
	struct direct *d = &k->ex->direct;

	while (is_unburied(d)) {
		const enum client_state state = client_state(k->ex->client);

		if (state == CLIENT_LOST && !k->closing)
			return false;
		if (state != CLIENT_LIVE)
			break; /* nobody to ask, and nobody to write by */
		if (ask_burial(k) < 0)
			return k->closing;
		if (is_unburied(d))
			turn(k, BURY_AGAIN_MS);
	}
	return true;
}

/* What has not been confirmed is made again or told, and operations find out what is granted now. */
static void go_on(struct keeper *k)
{
	struct direct *d = &k->ex->direct;
	struct write_range first = {0};
	uint64_t dead;

	(void)pthread_mutex_lock(&d->q.lock);
	d->lost = false;
	(void)pthread_mutex_unlock(&d->q.lock);
	k->cleared = false;
	if (d->replay.on)
		replay_all(k);
	(void)pthread_mutex_lock(&d->q.lock);
	dead = write_log_dead(&d->log, 0, UINT64_MAX, &first) ? d->log.dead_pages * WRITE_LOG_PAGE
							      : 0;
	(void)pthread_mutex_unlock(&d->q.lock);
	if (dead > k->dead_told)
		emit(k, LH_EVENT_DEAD, 0, first.offset, dead, k->announced,
		     "bytes were written directly and never confirmed: write them again");
	k->dead_told = dead;
	(void)pthread_mutex_lock(&d->q.lock);
	open_gate(k);
	(void)pthread_mutex_unlock(&d->q.lock);
	k->need = true;
	k->next_try_ns = 0;
	k->backoff_ns = BACKOFF_MIN_NS;
}

void keeper_attend(struct keeper *k)
{
	struct lh_client *client = k->ex->client;
	struct direct *d = &k->ex->direct;
	bool lost, recall;

	if (k->attending)
		return;
	k->attending = true;
	do {
		const uint64_t epoch = client_epoch(client);
		const bool controlled = client_state(client) == CLIENT_LIVE;

		(void)pthread_mutex_lock(&d->q.lock);
		if (d->q.live && (d->epoch != epoch || !controlled))
			queue_kill(&d->q, "its controller is gone");
		lost = d->lost;
		recall = d->recall.pending;
		(void)pthread_mutex_unlock(&d->q.lock);
		if (lost && !k->cleared)
			clear_up(k);
		if (lost && !bury(k))
			break;
		if (lost)
			go_on(k);
		else if (recall)
			answer_recall(k);
	} while (lost || recall);
	k->attending = false;
}

/* ---- holds that go, or shrink ---------------------------------------------------------------- */

static bool wanted_by_others(const struct lh_export *ex, const struct lh_hold *but,
			     const struct grant_piece *p)
{
	const struct list *pos;

	list_for_each (pos, &ex->holds) {
		const struct lh_hold *h = list_entry(pos, struct lh_hold, link);

		if (h != but && !h->leaving &&
		    range_overlaps(p->offset, p->length, h->offset, h->end - h->offset))
			return true;
	}
	return false;
}

/* The first bytes of the grant that no hold but this one wants. False: there are none. */
static bool find_unwanted(const struct lh_export *ex, const struct lh_hold *but,
			  const struct grant_piece *p, uint64_t *from, uint64_t *to)
{
	const uint64_t end = p->offset + p->length;
	uint64_t at = p->offset;

	while (at < end) {
		const struct list *pos;
		bool wanted = false;
		uint64_t next = end;

		list_for_each (pos, &ex->holds) {
			const struct lh_hold *h = list_entry(pos, struct lh_hold, link);

			if (h == but || h->leaving || h->end <= at)
				continue;
			wanted |= h->offset <= at;
			next = min_u64(next, h->offset <= at ? h->end : h->offset);
		}
		*from = at;
		*to = next;
		if (!wanted)
			return true;
		at = next;
	}
	return false;
}

/* Of the grants that touch the range: what no hold but this one wants. Lock held; drops it. */
static void give_back_unwanted(struct keeper *k, const struct lh_hold *but, uint64_t offset,
			       uint64_t length)
{
	struct direct *d = &k->ex->direct;
	size_t i = 0;

	while (i < d->map.count && d->q.live && !d->recall.pending) {
		const struct grant_piece p = d->map.pieces[i];
		const uint32_t generation = d->generation;
		uint64_t from = p.offset, to = p.offset + p.length;
		const bool part = wanted_by_others(k->ex, but, &p);

		if (!range_overlaps(p.offset, p.length, offset, length) ||
		    (part &&
		     (!can_release_part(k) || !find_unwanted(k->ex, but, &p, &from, &to)))) {
			i++;
			continue;
		}
		if (!part)
			grant_map_remove(&d->map, i);
		k->attending = true; /* the map is ours till we are through */
		(void)pthread_mutex_unlock(&d->q.lock);
		if (!part)
			(void)keeper_release(k, from, to - from, generation);
		else if (release_part(k, from, to - from, generation) < 0)
			i++; /* it stays as it is */
		(void)pthread_mutex_lock(&d->q.lock);
		k->attending = false;
	}
}

/*
 * Confirms what was written through the hold and gives back what only it wanted. Not while a recall or a
 * lost queue is to be attended to, which decides what becomes of the writes: then it is false.
 */
static bool let_go(struct keeper *k, const struct lh_hold *but, uint64_t offset, uint64_t length)
{
	struct direct *d = &k->ex->direct;

	if (d->q.live && !d->recall.pending &&
	    quiesce(k, offset, length, now_ns() + CLIENT_COMMAND_MS * NS_PER_MS) == 0)
		give_back_unwanted(k, but, offset, length);
	if (d->lost || d->recall.pending)
		return false;
	open_gate(k);
	return true;
}

static void narrow_hold(struct keeper *k, struct lh_hold *hold)
{
	struct direct *d = &k->ex->direct;

	(void)pthread_mutex_lock(&d->q.lock);
	if (let_go(k, NULL, hold->narrowed_from, hold->narrowed_to - hold->narrowed_from)) {
		hold->narrowing = false;
		(void)pthread_cond_broadcast(&k->ex->changed);
	}
	(void)pthread_mutex_unlock(&d->q.lock);
}

static void release_hold(struct keeper *k, struct lh_hold *hold)
{
	struct direct *d = &k->ex->direct;

	(void)pthread_mutex_lock(&d->q.lock);
	if (!let_go(k, hold, hold->offset, hold->end - hold->offset)) {
		(void)pthread_mutex_unlock(&d->q.lock);
		return;
	}
	/* What is known of the holes of other holds went with the keys: it is asked for anew. */
	k->need = k->need || k->ex->client->opt.no_fallback;
	list_del(&hold->link);
	hold->gone = true;
	(void)pthread_cond_broadcast(&k->ex->changed);
	(void)pthread_mutex_unlock(&d->q.lock);
}

/*
 * Returns with holds that are left if there is no connection: what becomes of their writes is decided when it is
 * back, or given up, and either wakes us.
 */
static void release_holds(struct keeper *k)
{
	struct direct *d = &k->ex->direct;
	struct lh_hold *leaving;

	do {
		const struct list *pos;

		leaving = NULL;
		(void)pthread_mutex_lock(&d->q.lock);
		list_for_each (pos, &k->ex->holds) {
			struct lh_hold *h = list_entry(pos, struct lh_hold, link);

			if (h->leaving || h->narrowing) {
				leaving = h;
				break;
			}
		}
		(void)pthread_mutex_unlock(&d->q.lock);
		if (leaving) {
			keeper_attend(k);
			if (k->cleared)
				return;
			if (leaving->leaving)
				release_hold(k, leaving);
			else
				narrow_hold(k, leaving);
		}
	} while (leaving);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void look_at_size(struct keeper *k)
{
	const uint64_t size = atomic_load(&k->ex->size_bytes);

	if (size == k->size_bytes)
		return;
	k->size_bytes = size;
	emit(k, LH_EVENT_RESIZED, 0, 0, size, 0, "the export has a new size");
}

/* Whoever waits for a new hold may know that it takes longer, and why. */
static void tell_new_holds(struct keeper *k, const struct errtext *why)
{
	struct direct *d = &k->ex->direct;
	struct list *pos;

	(void)pthread_mutex_lock(&d->q.lock);
	list_for_each (pos, &k->ex->holds) {
		struct lh_hold *h = list_entry(pos, struct lh_hold, link);

		if (h->state != HOLD_NEW)
			continue;
		h->error.text = *why;
		if (!h->later_ns)
			h->later_ns = now_ns();
	}
	(void)pthread_cond_broadcast(&k->ex->changed);
	(void)pthread_mutex_unlock(&d->q.lock);
}

/* One pass over the holds; decides when the next one is due. */
static void acquire(struct keeper *k)
{
	struct errtext why = {{0}};
	uint32_t generation = 0;
	uint64_t bytes = 0;
	int rc;

	k->need = false;
	rc = keeper_acquire_all(k, &generation, &bytes, &why);
	/* What a landlord has of it is still to come: then it is told. */
	if (generation && !(rc < 0 && k->again && k->ex->direct.part) &&
	    (generation != k->announced || k->again || bytes > k->announced_bytes)) {
		if (k->again)
			stat_add(k->ex, STAT_REGRANTS, 1);
		emit(k, k->again ? LH_EVENT_REGRANTED : LH_EVENT_GRANTED, 0, 0, bytes, generation,
		     "granted");
		k->announced = generation;
		k->again = false;
	}
	k->announced_bytes = bytes;
	if (rc == 0) {
		k->backoff_ns = BACKOFF_MIN_NS;
		k->told_waiting = false;
		return;
	}
	k->need = true;
	k->next_try_ns = now_ns() + k->backoff_ns;
	k->backoff_ns = min_u64(k->backoff_ns * 2, BACKOFF_MAX_NS);
	tell_new_holds(k, &why);
	if (!k->told_waiting && why.text[0]) {
		k->told_waiting = true;
		emit(k, LH_EVENT_WAITING, 0, 0, 0, 0, why.text);
	}
}

static void renew(struct keeper *k)
{
	const struct direct *d = &k->ex->direct;
	struct admin_call call = {.cmd = {.opcode = LH_ADMIN_RENEW,
					  .nsid = htole32(k->ex->nsid),
					  .dqid = htole16(d->dqid),
					  .length = htole64(UINT64_MAX),
					  .generation = htole32(d->generation)}};

	k->renew_ns = now_ns() + k->expiry_ms * NS_PER_MS / 3;
	if (d->generation && keeper_call(k, &call) == 0)
		stat_add(k->ex, STAT_RENEWALS, 1);
}

/* Returns when to look again; whoever sent one may not wait for it. */
static uint64_t look_at_commits(struct keeper *k)
{
	struct direct *d = &k->ex->direct;
	uint64_t due;

	(void)pthread_mutex_lock(&d->q.lock);
	due = direct_commit_due_ns(d);
	if (now_ns() >= due)
		queue_kill(&d->q, "a Commit was not answered");
	(void)pthread_mutex_unlock(&d->q.lock);
	return due;
}

static int sleep_ms(struct keeper *k)
{
	uint64_t until = look_at_commits(k);
	const uint64_t now = now_ns();

	if (k->need)
		until = min_u64(until, k->next_try_ns);
	if (k->expiry_ms)
		until = min_u64(until, k->renew_ns);
	if (until == UINT64_MAX)
		return -1;
	return until <= now ? 0 : (int)min_u64((until - now) / NS_PER_MS + 1, 60000);
}

/* Confirms, gives everything back, closes. */
static void wind_up(struct keeper *k)
{
	struct direct *d = &k->ex->direct;
	uint32_t generation;

	keeper_attend(k);
	release_holds(k);
	keeper_attend(k);
	(void)pthread_mutex_lock(&d->q.lock);
	if (d->q.live)
		(void)quiesce(k, 0, UINT64_MAX, now_ns() + CLIENT_COMMAND_MS * NS_PER_MS);
	generation = d->generation;
	d->generation = 0;
	grant_map_clear(&d->map);
	(void)pthread_mutex_unlock(&d->q.lock);
	k->attending = true;
	if (generation && queue_is_live(&d->q))
		(void)keeper_release(k, 0, UINT64_MAX, generation);
	k->closing = true;
	clear_up(k);
	(void)bury(k);
	go_on(k);
	k->attending = false;
}

static void *keeper_main(void *arg)
{
	struct keeper k = {.ex = arg, .backoff_ns = BACKOFF_MIN_NS};

	(void)pthread_setname_np(pthread_self(), "lh-keeper");
	k.size_bytes = atomic_load(&k.ex->size_bytes);
	while (!atomic_load(&k.ex->keeper_stop)) {
		k.woken = false;
		keeper_attend(&k);
		look_at_size(&k);
		if (atomic_exchange(&k.ex->poke, false))
			k.need = true;
		if (atomic_exchange(&k.ex->regrant, false)) {
			k.need = true;
			k.next_try_ns = 0;
		}
		release_holds(&k);
		if (k.need && now_ns() >= k.next_try_ns)
			acquire(&k);
		if (k.expiry_ms && now_ns() >= k.renew_ns)
			renew(&k);
		/* What came while a command was waited for has not been looked at. */
		if (!atomic_load(&k.ex->keeper_stop))
			turn(&k, k.woken ? 0 : sleep_ms(&k));
	}
	wind_up(&k);
	return NULL;
}

int keeper_start(struct lh_export *ex)
{
	sigset_t all, old;
	int rc = 0;

	(void)pthread_mutex_lock(&ex->keeper_lock);
	if (!ex->keeper_started) {
		(void)sigfillset(&all);
		(void)pthread_sigmask(SIG_SETMASK, &all, &old);
		rc = -pthread_create(&ex->keeper, NULL, keeper_main, ex);
		(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
		ex->keeper_started = rc == 0;
	}
	(void)pthread_mutex_unlock(&ex->keeper_lock);
	return rc;
}

int keeper_stop(struct lh_export *ex)
{
	struct write_range range;

	if (ex->keeper_started) {
		atomic_store(&ex->keeper_stop, true);
		export_wake(ex);
		(void)pthread_join(ex->keeper, NULL);
		ex->keeper_started = false;
	}
	return write_log_dead(&ex->direct.log, 0, UINT64_MAX, &range) ? -LH_EDEAD : 0;
}
