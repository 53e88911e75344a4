// SPDX-License-Identifier: BSD-3-Clause
/*
 * A holding: one export as we hold it. Carries out what the recall machine asks for and brings it
 * what happened. The control loop only; nothing here sleeps, on a file, an inode or an adapter, but
 * the putting of queue pairs in error, which is what any thread may do.
 */
#include "grant/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/counter.h"
#include "util/histogram.h"
#include "util/log.h"
#include "wire/wire.h"

DEFINE_COUNTER(recalls_begun, "recalls", "Times that the file system asked for its blocks");
DEFINE_COUNTER(recalls_fenced, "recalls_fenced", "Recalls in which queues had to be put in error");
DEFINE_HISTOGRAM(recall_wait, "recall_wait", "How long the file system waited for its blocks");
DEFINE_HISTOGRAM(recall_answer, "recall_answer",
		 "How long the last client took to give its grants back, or was waited for");
DEFINE_HISTOGRAM(recall_keys, "recall_keys", "How long the last keys took to die after that");
DEFINE_HISTOGRAM(recall_return, "recall_return", "How long until the export was registered again");

uint64_t backoff_ns(unsigned int failures, uint64_t most_ns)
{
	uint64_t ns = RETRY_MIN_NS;

	while (failures > 1 && ns < most_ns) {
		ns *= 2;
		failures--;
	}
	return min_u64(ns, most_ns);
}

static uint64_t away_ns(const struct holding *h)
{
	return h->counts.away_ns + (h->away_since_ns ? now_ns() - h->away_since_ns : 0);
}

static void end_away(struct holding *h)
{
	h->counts.away_ns = away_ns(h);
	h->away_since_ns = 0;
}

/* ---- birth ----------------------------------------------------------------------------------- */

static void on_timer(struct loop_timer *timer)
{
	holding_event(container_of(timer, struct holding, timer), RECALL_TIMER);
}

static void init_recall(struct holding *h)
{
	/* How long the kernel waits is read when the file is opened. */
	struct recall_limits limits = {
		.deadline_ns = (uint64_t)h->env->deadline_ms * NS_PER_MS,
		.patience_ns = UINT64_MAX / 2,
	};

	recall_init(&h->recall, &limits);
}

int holding_new(const struct holding_env *env, const struct holding_config *config,
		struct holding **result)
{
	struct holding *h = calloc(1, sizeof(*h));
	const struct export_config *e = &config->export;

	assert(env->nr_devices <= GRANT_MAX_DEVICES);
	if (!h)
		return -ENOMEM;
	h->env = env;
	h->config = *config;
	h->name = strdup(e->name);
	h->path = strdup(e->path);
	h->lock_dir = strdup(e->lock_dir);
	h->state_dir = strdup(e->state_dir);
	list_init(&h->served);
	list_init(&h->growers);
	list_init(&h->evictions);
	list_init(&h->conflicts);
	(void)pthread_mutex_init(&h->table_lock, NULL);
	list_init(&h->ranges);
	list_init(&h->reclaims);
	list_init(&h->locals);
	list_init(&h->punch.waiting);
	list_init(&h->punch.batch);
	list_init(&h->grants);
	list_init(&h->slabs);
	list_init(&h->acquires);
	if (!h->name || !h->path || !h->lock_dir || !h->state_dir) {
		holding_free(h);
		return -ENOMEM;
	}
	h->config.export.name = h->name;
	h->config.export.path = h->path;
	h->config.export.lock_dir = h->lock_dir;
	h->config.export.state_dir = h->state_dir;
	h->timer.fn = on_timer;
	init_recall(h);
	holding_why(h, "not started");
	*result = h;
	return 0;
}

void holding_free(struct holding *h)
{
	if (!h)
		return;
	assert(h->state == HOLDING_OFFLINE && !h->work_busy && list_empty(&h->served));
	assert(list_empty(&h->grants) && list_empty(&h->slabs) && list_empty(&h->acquires) &&
	       !h->tenure);
	assert(list_empty(&h->ranges) && list_empty(&h->reclaims) && list_empty(&h->locals) &&
	       list_empty(&h->conflicts));
	(void)pthread_mutex_destroy(&h->table_lock);
	free(h->name);
	free(h->path);
	free(h->lock_dir);
	free(h->state_dir);
	free(h);
}

/* ---- start and stop -------------------------------------------------------------------------- */

void holding_why(struct holding *h, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(h->why, sizeof(h->why), fmt, args);
	va_end(args);
}

void holding_start(struct holding *h, void (*done)(void *arg, int err, const char *why), void *arg)
{
	assert(h->state == HOLDING_OFFLINE && !h->start_done && !h->work_busy);
	h->start_done = done;
	h->start_arg = arg;
	h->start_err = 0;
	h->stopped = h->stop_published = false;
	h->generation = 0;
	h->takes = h->retake_failures = 0;
	h->warned = 0;
	h->take_err = 0;
	h->state = HOLDING_STARTING;
	holding_why(h, "opening the file and testing adapters");
	init_recall(h);
	cache_join(h);
	make_open(h);
}

void holding_set_why(struct holding *h, const char *why)
{
	assert(h->state == HOLDING_OFFLINE);
	holding_why(h, "%s", why);
}

void holding_on_open(struct holding *h,
		     int (*opened)(void *arg, const struct export *e, struct errtext *err),
		     void *arg)
{
	assert(h->state == HOLDING_OFFLINE && !h->work_busy);
	h->on_open = opened;
	h->on_open_arg = arg;
}

void holding_hold(struct holding *h, void (*held)(void *arg), void *arg)
{
	assert(h->state == HOLDING_OFFLINE && !h->work_busy);
	h->held = held;
	h->held_arg = arg;
}

bool holding_is_held(const struct holding *h)
{
	return h->held && h->recall.state == RECALL_RETAKING && h->make.kind == MAKE_NOTHING;
}

void holding_go_on(struct holding *h)
{
	bool waits;

	/* Its lease may be gone, and the word of that be on its way. */
	holding_scan(h);
	waits = holding_is_held(h);
	h->held = NULL;
	if (!waits)
		return;
	holding_why(h, "its holes are being filled");
	make_generation(h);
}

void holding_started(struct holding *h, int err, const char *why)
{
	void (*done)(void *arg, int err, const char *why) = h->start_done;

	h->start_done = NULL;
	if (done)
		done(h->start_arg, err, why);
}

void holding_fail_start(struct holding *h, int err, const char *why)
{
	if (h->start_err == 0) {
		h->start_err = err;
		holding_why(h, "%s", why);
	}
	reclaim_stop(h);
	local_stop(h);
	holding_event(h, RECALL_STOP);
}

void holding_stop(struct holding *h, void (*done)(void *arg), void *arg)
{
	assert(!h->stop_done);
	h->stop_done = done;
	h->stop_arg = arg;
	reclaim_stop(h);
	local_stop(h);
	if (h->state == HOLDING_OFFLINE) {
		holding_closed(h);
		return;
	}
	holding_event(h, RECALL_STOP);
}

/* The rest of a stop, once the machine has come to its end: whatever is not over yet calls again. */
void holding_check_stopped(struct holding *h)
{
	if (!h->stopped || h->work_busy || close_going_on(h) || h->make.kind != MAKE_NOTHING ||
	    h->stepping || h->punch.step != PUNCH_IDLE || !list_empty(&h->acquires) ||
	    !list_empty(&h->reclaims) || !list_empty(&h->locals) || h->conflict_recalls > 0 ||
	    h->rest.served || h->state == HOLDING_OFFLINE)
		return;
	assert(h->recall.state == RECALL_RELEASED && list_empty(&h->grants));
	make_unwant(h);
	if (h->current) {
		if (!h->stop_published) {
			h->stop_published = true;
			serve_publish(h, NULL);
			holding_changed(h, LH_CHANGE_EXPORT);
		}
		return;
	}
	serve_bury(h);
	if (list_empty(&h->served) && h->burials == 0 && !h->bury_busy && !h->look.busy &&
	    !atomic_load(&h->look.asked) && cache_quiet(h) && !h->resize.looking && !h->ladder.busy)
		make_close(h);
}

static void on_stop_done(struct loop_msg *msg)
{
	struct holding *h = container_of(msg, struct holding, stop_msg);
	void (*done)(void *arg) = h->stop_done;

	h->stop_done = NULL;
	done(h->stop_arg);
}

void holding_closed(struct holding *h)
{
	if (h->state != HOLDING_OFFLINE) {
		loop_timer_cancel(h->env->control, &h->timer);
		loop_timer_cancel(h->env->control, &h->range_timer);
		loop_timer_cancel(h->env->control, &h->watch_timer);
		cache_leave(h);
		budget_leave(h);
		h->state = HOLDING_OFFLINE;
		end_away(h);
		if (h->start_err == 0)
			holding_why(h, "stopped");
		resize_not_served(h);
		ladder_not_served(h);
		holding_started(h, h->start_err ? h->start_err : -ECANCELED, h->why);
	}
	if (h->stop_done)
		loop_post(h->env->control, &h->stop_msg, on_stop_done);
}

/* ---- what the machine asks for --------------------------------------------------------------- */

void holding_changed(struct holding *h, enum lh_change change)
{
	h->env->ops->changed(h->env->ops_ctx, h, change);
}

void holding_recalled(struct holding *h, enum lh_change change, uint64_t offset, uint64_t length)
{
	h->env->ops->recalled(h->env->ops_ctx, h, change, offset, length);
}

static void tell_watchers(struct loop_timer *timer)
{
	struct holding *h = container_of(timer, struct holding, watch_timer);

	holding_recalled(h, LH_CHANGE_RECALLING, 0, UINT64_MAX);
}

static void on_quiesced(struct loop_msg *msg)
{
	struct holding *h = container_of(msg, struct holding, quiesce_msg);

	h->quiesced = true;
	holding_check_drained(h);
}

void holding_check_drained(struct holding *h)
{
	if (!recall_going_on(&h->recall) || h->recall.drained || !h->quiesced ||
	    h->make.kind != MAKE_NOTHING || h->punch.step == PUNCH_FILE)
		return;
	if (h->state == HOLDING_RECALLING)
		h->timeline.drained_ns = now_ns();
	/* Clients have keys of their own: those of block commands go while they are waited for. */
	serve_unregister_all(h);
	holding_event(h, RECALL_DRAINED);
}

void holding_check_keys(struct holding *h)
{
	close_check(h);
	close_next(h);
	evict_check(h);
	conflict_check(h);
	range_check(h);
	punch_check_buried(h);
	if (!recall_going_on(&h->recall))
		return;
	if (h->nr_live == 0 && h->timeline.released_ns == 0)
		h->timeline.released_ns = now_ns();
	if (h->nr_live == 0 && !h->recall.seal_asked)
		holding_event(h, RECALL_GIVEN_BACK);
	if (h->recall.keys_dead || !list_empty(&h->grants) || !list_empty(&h->slabs))
		return;
	if (h->state == HOLDING_RECALLING)
		h->timeline.keys_dead_ns = now_ns();
	holding_event(h, RECALL_KEYS_DEAD);
}

static void on_sealed(struct loop_msg *msg)
{
	holding_event(container_of(msg, struct holding, seal_msg), RECALL_SEALED);
}

/* A recall begins; of a generation that nobody has seen yet it is short. */
static void begin_recall(struct holding *h, unsigned int mask)
{
	make_cancel(h);
	rest_cancel(h);
	punch_recalled(h);
	if (h->bury_busy)
		pool_hurry(h->env->registrar, &h->bury_work);
	h->quiesced = !(mask & RECALL_DO_QUIESCE);
	if (!(mask & RECALL_DO_QUIESCE))
		return;
	h->state = HOLDING_RECALLING;
	h->recall_serial = client_next_serial();
	h->recalls++;
	counter_add(&recalls_begun, 1);
	h->away_since_ns = now_ns();
	h->timeline = (struct recall_timeline){
		.generation = h->generation,
		.seen_ns = now_ns(),
		.grants = h->nr_live,
	};
	holding_why(h, "generation %u is being recalled", h->generation);
	grant_cancel_all(h);
	slab_doom(h, 0, UINT64_MAX);
}

/* The landlord waits for each of us to be woken: for a prompt answer nobody need be. */
void holding_stay_awake(const struct holding *h, bool awake)
{
	uint64_t until_ns = awake ? now_ns() + GRANT_RECALL_AWAKE_NS : 0;

	loop_stay_awake(h->env->control, until_ns);
	pool_stay_awake(h->env->registrar, until_ns);
}

static void tell(struct holding *h)
{
	h->timeline.clients = client_tell_all(h);
	h->timeline.told_ns = now_ns();
	if (h->timeline.clients > 0)
		holding_stay_awake(h, true);
}

static void fence_clients(struct holding *h)
{
	h->timeline.fenced_clients = client_fence_all(h);
	h->counts.clients_fenced += h->timeline.fenced_clients;
	if (h->timeline.fenced_clients > 0)
		log_warning("%s: %u clients did not release generation %u in %u ms: their direct "
			    "queues are put in error",
			    h->config.export.name, h->timeline.fenced_clients, h->generation,
			    h->env->deadline_ms);
	if (h->timeline.released_ns == 0)
		h->timeline.released_ns = now_ns();
}

static void count_recall(const struct recall_timeline *t)
{
	histogram_add(&recall_wait, t->unlocked_ns - t->seen_ns);
	if (t->told_ns && t->released_ns >= t->told_ns)
		histogram_add(&recall_answer, t->released_ns - t->told_ns);
	if (t->released_ns && t->keys_dead_ns >= t->released_ns)
		histogram_add(&recall_keys, t->keys_dead_ns - t->released_ns);
}

/* Invariant 2: by now nothing of ours reaches the memory; what is alive of closed memory does not. */
static void check_proof(const struct holding *h)
{
	const struct list *l;

	assert(h->nr_live == 0);
	if (h->closing.closed)
		return;
	assert(list_empty(&h->grants) && list_empty(&h->slabs));
	list_for_each (l, &h->served) {
		const struct served *s = list_entry(l, struct served, link);

		assert(!s->view || region_keys_alive(s->view) == 0);
	}
}

void holding_why_released(struct holding *h)
{
	if (h->kept > 0)
		holding_why(h, "released: `leasehold reclaim` holds it");
	else
		holding_why(h, "released; waiting until %s",
			    h->config.tenure == TENURE_WATCH ? "what waited for the file has ended"
							     : "nobody else has the file open");
}

static void release_tenure(struct holding *h)
{
	uint64_t unlocked_ns;
	bool was_served;

	check_proof(h);
	/* Before: who waits for it may have finished before we look at the clock again. */
	unlocked_ns = now_ns();
	region_uncovered(&h->cover);
	tenure_release(h->tenure);
	holding_stay_awake(h, false);
	close_released(h);
	loop_timer_cancel(h->env->control, &h->timer);
	range_overtaken(h);
	cache_next(h);
	if (h->generation == 0) {
		h->state = HOLDING_STARTING;
		return;
	}
	was_served = h->state == HOLDING_RECALLING;
	if (was_served) {
		h->timeline.unlocked_ns = unlocked_ns;
		count_recall(&h->timeline);
		histogram_add(&h->waits, unlocked_ns - h->timeline.seen_ns);
		log_notice("%s: generation %u is released after %llu us", h->config.export.name,
			   h->generation,
			   (unsigned long long)(h->timeline.unlocked_ns - h->timeline.seen_ns) /
				   NS_PER_US);
		holding_why_released(h);
	}
	h->state = HOLDING_RELEASED;
	if (was_served) {
		if (loop_timer_armed(&h->watch_timer)) {
			loop_timer_cancel(h->env->control, &h->watch_timer);
			tell_watchers(&h->watch_timer);
		}
		holding_recalled(h, LH_CHANGE_RELEASED, 0, UINT64_MAX);
	}
	/* Nobody tries to take it, so nobody fails. */
	if (h->kept > 0) {
		resize_not_served(h);
		ladder_not_served(h);
	}
}

static void describe(const struct holding *h, char *text, size_t size)
{
	const struct export *e = holding_file(h);
	const struct view *view = h->current->view;
	size_t used;

	used = (size_t)snprintf(text, size, "%s: serves %s (%s, %llu MiB", h->config.export.name,
				h->config.export.path, export_medium_text(export_medium(e)),
				(unsigned long long)(view->size_bytes / MIB(1)));
	if (view->hole_bytes + view->shared_bytes > 0 && used < size)
		used += (size_t)snprintf(
			text + used, size - used,
			", of which %llu bytes in holes and %llu shared go through "
			"the file system; see prepare = allocate and unshare = on-acquire",
			(unsigned long long)view->hole_bytes,
			(unsigned long long)view->shared_bytes);
	if (view->left_out_bytes > 0 && used < size)
		used += (size_t)snprintf(text + used, size - used, ", of which %llu bytes are %s",
					 (unsigned long long)view->left_out_bytes,
					 list_empty(&h->locals) ? "reclaimed" : "recalled");
	for (unsigned int i = 0; i < h->env->nr_devices && used < size; i++)
		used += (size_t)snprintf(text + used, size - used, "; %s: %s",
					 fabric_device_info(h->env->devices[i])->name,
					 lh_rung_text(h->probes[i].rung));
	if (used < size)
		(void)snprintf(text + used, size - used, ")");
}

void holding_describe(struct holding *h)
{
	char text[ERRTEXT_BYTES];

	if (h->state != HOLDING_SERVING)
		return;
	describe(h, text, sizeof(text));
	holding_why(h, "%s", text);
}

/* Truncated to nothing: what is still published is of no file. */
static const struct view *view_of(const struct holding *h)
{
	bool empty = h->state == HOLDING_RELEASED && h->take_err == -ENODATA;

	return h->current && !empty ? h->current->view : NULL;
}

bool holding_warning(const struct holding *h, unsigned int i, char *text, size_t size)
{
	const struct export *e = holding_file(h);
	unsigned int left = e ? export_warnings(e, view_of(h), look_hole_bytes(h)) : 0;

	for (; left && i > 0; i--)
		left &= left - 1;
	if (left)
		export_warning_text(e, view_of(h), look_hole_bytes(h), left & -left, text, size);
	if (left != 0)
		return true;
	if (look_warning(h, text, size) && i-- == 0)
		return true;
	if (close_warning(h, text, size) && i-- == 0)
		return true;
	return i == 0 && damage_warning(h, text, size);
}

/* Each once, and again if it had ceased to hold. */
void holding_log_warnings(struct holding *h)
{
	const struct export *e = holding_file(h);
	unsigned int found = export_warnings(e, view_of(h), look_hole_bytes(h));
	char text[ERRTEXT_BYTES];

	for (unsigned int left = found & ~h->warned; left; left &= left - 1) {
		export_warning_text(e, view_of(h), look_hole_bytes(h), left & -left, text,
				    sizeof(text));
		log_warning("%s: %s", h->config.export.name, text);
	}
	h->warned = found;
}

void holding_shrunk(struct holding *h)
{
	log_notice("%s: %s has %llu bytes now", h->config.export.name, h->config.export.path,
		   (unsigned long long)h->current->view->size_bytes);
	holding_changed(h, LH_CHANGE_EXPORT);
	holding_log_warnings(h);
}

static void publish(struct holding *h)
{
	uint64_t size_before = h->current ? h->current->view->size_bytes : 0;
	char text[ERRTEXT_BYTES];
	bool size_changed;

	serve_publish(h, make_take_over(h));
	h->generation = h->current->view->generation;
	h->state = HOLDING_SERVING;
	end_away(h);
	h->retake_failures = 0;
	size_changed = h->current->view->size_bytes != size_before;
	if (h->timeline.unlocked_ns) {
		h->timeline.serving_ns = now_ns();
		histogram_add(&recall_return, h->timeline.serving_ns - h->timeline.unlocked_ns);
	}
	describe(h, text, sizeof(text));
	holding_why(h, "%s", text);
	if (size_changed)
		holding_changed(h, LH_CHANGE_EXPORT);
	if (h->generation > 1)
		holding_changed(h, LH_CHANGE_REGRANT);
	resize_served(h);
	holding_log_warnings(h);
	damage_check(h);
	if (holding_is_starting(h))
		holding_started(h, 0, text);
	else
		log_notice("%s; generation %u", text, h->generation);
	ladder_published(h);
}

static void give_up(struct holding *h)
{
	log_error(
		"%s: recall of generation %u is not done after %llu s (%s): ending the process, so "
		"that the kernel destroys its keys before it gives the blocks away",
		h->config.export.name, h->generation,
		(unsigned long long)(h->recall.limits.patience_ns / NS_PER_S),
		recall_state_text(h->recall.state));
	abort();
}

static void carry_out(struct holding *h, const struct recall_actions *actions)
{
	const struct holding_env *env = h->env;
	unsigned int mask = actions->mask;

	if (mask & RECALL_DO_ABORT)
		give_up(h);
	if (mask & RECALL_DO_CANCEL)
		begin_recall(h, mask);
	if (mask & RECALL_DO_TELL)
		tell(h);
	if (mask & RECALL_DO_QUIESCE)
		env->ops->quiesce(env->ops_ctx, h, &h->quiesce_msg, on_quiesced);
	if (mask & RECALL_DO_TELL)
		log_notice("%s: generation %u is recalled: %u grants of %u clients",
			   h->config.export.name, h->generation, h->timeline.grants,
			   h->timeline.clients);
	if (mask & RECALL_DO_SEAL)
		env->ops->seal(env->ops_ctx, h, &h->seal_msg, on_sealed);
	if (mask & (RECALL_DO_FENCE_CLIENTS | RECALL_DO_FENCE_BLOCK)) {
		h->timeline.fenced_ns = now_ns();
		counter_add(&recalls_fenced, 1);
	}
	if (mask & RECALL_DO_FENCE_CLIENTS)
		fence_clients(h);
	if (mask & RECALL_DO_FENCE_BLOCK) {
		log_warning("%s: block work on generation %u did not end in %u ms: its queues are "
			    "put in error",
			    h->config.export.name, h->generation, env->deadline_ms);
		env->ops->fence_block(env->ops_ctx, h);
	}
	if (mask & RECALL_DO_REPORT_FENCE)
		holding_event(h, RECALL_FENCE_DONE);
	if (mask & RECALL_DO_KILL_KEYS)
		grant_kill_all(h);
	if (mask & RECALL_DO_FREE_REGIONS)
		serve_unregister_all(h);
	if ((mask & RECALL_DO_RETRY_TENURE) && h->state == HOLDING_RECALLING && !h->evicting)
		make_want_later(h);
	if (mask & RECALL_DO_RELEASE_TENURE)
		release_tenure(h);
	if (mask & RECALL_DO_RETRY_TENURE) {
		make_want(h);
		if (h->evicting)
			make_take(h);
		h->evicting = false;
	}
	if (mask & RECALL_DO_PREPARE)
		make_generation(h);
	if (mask & RECALL_DO_PUBLISH)
		publish(h);
	if (mask & RECALL_DO_STOPPED) {
		h->stopped = true;
		close_stopped(h);
	}
	if (mask & RECALL_DO_TIMER)
		loop_timer_set(env->control, &h->timer, actions->wake_ns);
	if (mask & RECALL_DO_CANCEL) {
		holding_check_keys(h);
		holding_check_drained(h);
	}
	/* Who only watches asks for logs then: not while a prompt answer is on its way. */
	if (mask & RECALL_DO_TELL) {
		h->watch_timer.fn = tell_watchers;
		loop_timer_set(env->control, &h->watch_timer, now_ns() + GRANT_WATCH_TELL_NS);
	}
}

void holding_event(struct holding *h, enum recall_event event)
{
	assert(h->nr_events < HOLDING_EVENTS);
	h->events[h->nr_events++] = event;
	if (h->stepping)
		return;
	h->stepping = true;
	while (h->nr_events > 0) {
		struct recall_actions actions;

		event = h->events[0];
		memmove(&h->events[0], &h->events[1], --h->nr_events * sizeof(h->events[0]));
		recall_step(&h->recall, event, now_ns(), &actions);
		carry_out(h, &actions);
	}
	h->stepping = false;
	close_next(h);
	punch_next(h);
	holding_check_stopped(h);
}

void holding_scan(struct holding *h)
{
	/* RELEASED: not ours; if it is being taken just now, this is called again. */
	if (!h->tenure || h->recall.state == RECALL_RELEASED || h->no_leases)
		return;
	switch (tenure_check(h->tenure)) {
	case TENURE_HELD:
		break;
	case TENURE_BREAKING:
		h->evicting = false;
		holding_event(h, RECALL_BREAK);
		close_begin(h);
		break;
	case TENURE_NONE:
		if (h->recall.state == RECALL_INVALID)
			break;
		log_error("%s: %s (was this process stopped?): fencing at once",
			  h->config.export.name,
			  h->config.tenure == TENURE_WATCH
				  ? "the kernel let local operations go on without asking"
				  : "the kernel broke the lease by force");
		holding_event(h, RECALL_LOST);
		break;
	}
}

/* ---- what status shows ------------------------------------------------------------------------ */

static unsigned int count_clients(const struct holding *h)
{
	uint64_t serial = client_next_serial();
	unsigned int n = 0;
	struct list *l;

	list_for_each (l, &h->grants) {
		struct grant *g = list_entry(l, struct grant, link);

		n += g->client->count_mark != serial;
		g->client->count_mark = serial;
	}
	return n;
}

void holding_status(const struct holding *h, struct holding_status *status)
{
	const struct export *e = holding_file(h);
	const struct view *view = view_of(h);

	*status = (struct holding_status){
		.name = h->config.export.name,
		.path = h->config.export.path,
		.nsid = h->config.nsid,
		.state = h->state,
		.generation = h->generation,
		.medium = e ? export_medium(e) : EXPORT_PAGE_CACHE,
		.tenure = h->config.tenure,
		.no_tenure = !e || h->no_leases,
		.grants = h->nr_live,
		.clients = count_clients(h),
		.recalls = h->recalls,
		.range_recalls = h->range_recalls,
		.deleted = e && h->look.known == EXPORT_DELETED,
		.last = h->timeline,
		.last_range = h->range_timeline,
		.granted_bytes = h->granted_bytes,
		.counts = h->counts,
		.waits = &h->waits,
	};
	status->counts.away_ns = away_ns(h);
	memcpy(status->why, h->why, sizeof(status->why));
	memcpy(status->probes, h->probes, sizeof(status->probes));
	memcpy(status->choices, h->ladder.choice, sizeof(status->choices));
	status->wants_windows = h->config.windows;
	if (h->config.export.closable) {
		status->not_at_once = close_unfit(h);
		status->at_once = !status->not_at_once;
	}
	for (unsigned int i = 0; i < h->env->nr_devices; i++) {
		status->windows[i] = slab_windows(h, i);
		status->no_windows[i] = slab_no_windows(h, i);
	}
	if (view) {
		status->size_bytes = view->size_bytes;
		status->backed_bytes = view->backed_bytes;
		status->hole_bytes = view->hole_bytes;
		status->shared_bytes = view->shared_bytes;
		status->reclaimed_bytes = view->left_out_bytes;
		status->tail_bytes = view_tail_bytes(view);
		status->keys = region_keys_alive(view);
	}
	for (unsigned int i = 0; h->current && i < h->env->nr_devices; i++) {
		const struct region *region = h->current->regions[i];

		status->registrations[i] = region ? region_count(region) : 0;
		status->registered_bytes[i] = region ? region_bytes(region) : 0;
	}
}

uint32_t holding_nsid(const struct holding *h)
{
	return h->config.nsid;
}

const char *holding_name(const struct holding *h)
{
	return h->config.export.name;
}

const struct holding_config *holding_config(const struct holding *h)
{
	return &h->config;
}

const struct export *holding_export(const struct holding *h)
{
	return holding_file(h);
}

enum lh_durability holding_durability(const struct holding *h, unsigned int device)
{
	const enum lh_durability level = export_durability(holding_file(h));

	if (level == LH_DURABLE_READ_AFTER_WRITE &&
	    fabric_device_info(h->env->devices[device])->software_fabric)
		return LH_DURABLE_COMMIT;
	/* A window does not carry the right to it. */
	if (level == LH_DURABLE_COMMIT && h->probes[device].flush && !slab_windows(h, device))
		return LH_DURABLE_FLUSH;
	return level;
}

void holding_became_known(struct holding *h)
{
	struct export *e = atomic_load_explicit(&h->export, memory_order_relaxed);

	if (e)
		export_became_known(e);
}
