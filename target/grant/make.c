// SPDX-License-Identifier: BSD-3-Clause
/*
 * Making: opening the file and testing adapters with it, taking the tenure, and the view and regions
 * of each generation. What sleeps runs on a worker or on the registrar, a step at a time; between
 * the steps, here on the control loop, a recall may have cancelled it. Nothing made here is known to
 * anybody before holding.c or grant.c publishes it.
 */
#include "grant/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"
#include "wire/wire.h"

#define SLICES_FIRST 4 /* registered of each adapter before it is served; the others while it is */
#define NARROW_SHARE 4 /* of a range's deadline: so long what lies beside it may be registered */
#define TAKES_TELL \
	24 /* attempts in a row (some seconds) after which it is told who is in the way */

/* ---- open ------------------------------------------------------------------------------------ */

uint32_t grant_longest_deadline_ms(void)
{
	int seconds = tenure_break_time_s();

	if (seconds < 0)
		return UINT32_MAX;
	return (uint32_t)min_u64((uint64_t)seconds * (NS_PER_S / NS_PER_MS) / BUDGET_SHARE,
				 UINT32_MAX);
}

/* Touches opened, break_time_s, work_err, work_text and what ladder_test() does. */
static void open_run(struct work *work)
{
	struct holding *h = container_of(work, struct holding, work);

	h->opened = NULL;
	h->break_time_s = tenure_break_time_s();
	h->work_err = export_open(&h->config.export, &h->opened, &h->work_text);
	if (h->work_err) {
		h->opened = NULL;
		return;
	}
	h->work_err = h->on_open ? h->on_open(h->on_open_arg, h->opened, &h->work_text) : 0;
	if (h->work_err == 0 && h->config.tenure == TENURE_WATCH &&
	    export_by_mapping_only(h->opened))
		h->work_err =
			errtext_set(&h->work_text, -EINVAL,
				    "%s: tenure = \"watch\" is for files: nobody asks for parts "
				    "of the device %s",
				    h->config.export.name, h->config.export.path);
	if (h->work_err == 0)
		h->work_err = ladder_test(h, h->opened, &h->work_text);
}

/* Under watch: somebody local is about to do something with the file. */
static bool on_ask(void *arg, const struct tenure_ask *ask)
{
	return local_refuses(arg, ask);
}

static bool on_part(void *arg, const struct tenure_ask *ask)
{
	return local_wanted(arg, ask);
}

static void on_broken(void *arg)
{
	holding_scan(arg);
}

static int check_patience(struct holding *h)
{
	struct recall_limits *limits = &h->recall.limits;

	if (h->config.tenure == TENURE_WATCH) {
		limits->patience_ns = WATCH_PATIENCE_NS;
		return 0;
	}
	limits->patience_ns =
		h->break_time_s > 0 ? (uint64_t)h->break_time_s * NS_PER_S / PATIENCE_SHARE : 0;
	if (limits->patience_ns >= limits->deadline_ns * BUDGET_SHARE / PATIENCE_SHARE)
		return 0;
	return errtext_set(&h->work_text, -ERANGE,
			   "%s: a recall may take %u ms, which is more than a quarter of "
			   "fs.lease-break-time (%d s): raise it, or shorten the deadline",
			   h->config.export.name, h->env->deadline_ms, h->break_time_s);
}

static int new_tenure(struct holding *h)
{
	struct tenure_config config = {
		.kind = h->config.tenure,
		.fd = export_fd(h->opened),
		.loop = h->env->control,
		.name = h->config.export.name,
		.patience_ns = h->recall.limits.deadline_ns * WATCH_SHARE,
		.broken = on_broken,
		.part = on_part,
		.refuse = on_ask,
		.arg = h,
	};
	int err = check_patience(h);

	if (err)
		return err;
	err = tenure_new(&config, &h->tenure);
	if (err) {
		h->tenure = NULL;
		(void)errtext_set(&h->work_text, 0, "%s: %s: no tenure: %s", h->config.export.name,
				  h->config.export.path, strerror(-err));
	}
	return err;
}

static void open_done(struct work *work)
{
	struct holding *h = container_of(work, struct holding, work);
	int err;

	h->work_busy = false;
	atomic_store_explicit(&h->export, h->opened, memory_order_release);
	if (h->work_err) {
		holding_fail_start(h, h->work_err, h->work_text.text);
		return;
	}
	ladder_adopt(h);
	ladder_settle(h);
	err = new_tenure(h);
	if (err) {
		holding_fail_start(h, err, h->work_text.text);
		return;
	}
	if (h->stopped) {
		holding_check_stopped(h);
		return;
	}
	look_start(h);
	make_take(h);
}

void make_open(struct holding *h)
{
	assert(!h->work_busy);
	h->work_busy = true;
	ladder_start(h);
	pool_submit(h->env->workers, &h->work, POOL_BULK, open_run, open_done, h->env->control);
}

/* Touches the export that nobody else knows any more, and its tenure. */
static void close_run(struct work *work)
{
	struct holding *h = container_of(work, struct holding, work);

	if (h->tenure)
		tenure_end(h->tenure);
	if (h->opened)
		export_close(h->opened);
}

static void close_done(struct work *work)
{
	struct holding *h = container_of(work, struct holding, work);

	h->work_busy = false;
	h->opened = NULL;
	tenure_free(h->tenure);
	h->tenure = NULL;
	holding_closed(h);
}

void make_close(struct holding *h)
{
	assert(!h->work_busy && list_empty(&h->served) && h->burials == 0);
	look_stop(h);
	ladder_stop(h);
	rest_stop(h);
	h->opened = holding_file(h);
	atomic_store_explicit(&h->export, NULL, memory_order_release);
	h->work_busy = true;
	pool_submit(h->env->workers, &h->work, POOL_NORMAL, close_run, close_done, h->env->control);
}

/* ---- the tenure ------------------------------------------------------------------------------ */

/* Touches take_no_leases, changes, work_err and work_text. */
static void take_run(struct work *work)
{
	struct holding *h = container_of(work, struct holding, work);
	const struct export *e = h->opened;
	char holders[ERRTEXT_BYTES / 2] = "";
	struct errtext said = {""};
	uint64_t bytes;

	h->work_err = export_size(e, &bytes);
	if (h->work_err == 0 && bytes == 0)
		h->work_err = -ENODATA;
	if (h->work_err == 0)
		h->work_err = tenure_take(h->tenure, &said);
	h->take_no_leases = h->work_err == -EINVAL && export_needs_no_lease(e) &&
			    h->config.tenure == TENURE_LEASE;
	if (h->take_no_leases)
		h->work_err = 0;
	if (h->work_err == 0 && h->look_ahead) {
		h->work_err = export_look_ahead(h->opened, &h->changes, &h->work_text);
		return;
	}
	if (h->work_err != -EAGAIN) {
		if (h->work_err)
			(void)errtext_set(&h->work_text, 0, "%s: %s: %s", h->config.export.name,
					  h->config.export.path,
					  said.text[0]		    ? said.text
					  : h->work_err == -ENODATA ? "it is empty"
					  : h->work_err == -ENOLINK ? "it was deleted"
					  : h->work_err == -EACCES
						  ? "no lease: not the owner of the file, and no "
						    "CAP_LEASE"
						  : strerror(-h->work_err));
		return;
	}
	/* Who has it is looked up in the whole of /proc: that takes longer than most landlords do. */
	if ((h->takes == 0 && h->generation == 0) || h->takes == TAKES_TELL)
		(void)export_holders(e, holders, sizeof(holders));
	(void)errtext_set(&h->work_text, 0, "%s: %s is open or mapped elsewhere%s%s",
			  h->config.export.name, h->config.export.path, holders[0] ? ": by " : "",
			  holders);
}

static void take_failed(struct holding *h)
{
	bool news = h->work_err != h->take_err;

	h->takes++;
	h->take_err = h->work_err;
	/* Nobody can ask for it any more, so nobody is waited for. */
	if (!holding_is_starting(h) && h->work_err == -ENOLINK) {
		log_error("%s: what was written to it is gone; the export is offline",
			  h->work_text.text);
		holding_fail_start(h, h->work_err, h->work_text.text);
		return;
	}
	if (!holding_is_starting(h)) {
		if (news || h->takes == TAKES_TELL + 1)
			holding_why(h, "%s", h->work_text.text);
		if (h->takes == TAKES_TELL + 1)
			log_notice("%s; waiting", h->work_text.text);
		resize_not_served(h);
		ladder_not_served(h);
		make_want(h);
		return;
	}
	/* Also who has opened it while it was held: it could have been served by then. And who has waited
	 * for a daemon that crashed. */
	if (h->work_err == -EAGAIN &&
	    (h->config.wait_if_busy || h->changes > 0 || export_taken_over(holding_file(h)))) {
		char text[ERRTEXT_BYTES + 64];

		(void)snprintf(text, sizeof(text), "%s; waiting until it is closed",
			       h->work_text.text);
		holding_why(h, "%s", text);
		make_want(h);
		holding_started(h, 0, text);
		return;
	}
	holding_fail_start(h, h->work_err == -EAGAIN ? -EBUSY : h->work_err, h->work_text.text);
}

static void take_done(struct work *work)
{
	struct holding *h = container_of(work, struct holding, work);

	h->work_busy = false;
	h->opened = NULL;
	if (h->work_err == 0 && h->look_ahead)
		h->work_err = budget_check(h, h->changes, &h->work_text);
	if (h->work_err)
		tenure_release(h->tenure);
	if (h->work_err == 0) {
		h->no_leases = h->take_no_leases;
		region_covered(&h->cover, holding_file(h));
		if (h->no_leases && h->generation == 0 && !export_by_mapping_only(holding_file(h)))
			log_warning("%s: the file system of %s has no leases: a truncate is not "
				    "noticed, and frees no memory, until the export is stopped",
				    h->config.export.name, h->config.export.path);
		h->takes = 0;
		h->take_err = 0;
		make_unwant(h);
		if (h->timeline.unlocked_ns)
			h->timeline.retaken_ns = now_ns();
		holding_event(h, RECALL_TAKEN);
		/* It may have been broken before we knew that we have it. */
		holding_scan(h);
		if (h->kept > 0)
			holding_event(h, RECALL_BREAK);
	} else if (!h->stopped) {
		bool again = h->retry_missed;

		take_failed(h);
		/* What was asked for meanwhile; it tries again itself when it is done. */
		punch_next(h);
		if (again)
			make_take(h);
	}
	range_next(h);
	holding_check_stopped(h);
}

void make_take(struct holding *h)
{
	if (h->work_busy || h->stopped || h->kept > 0 || h->recall.state != RECALL_RELEASED)
		return;
	/* What is made next is mapped anew: of what was, nothing must be left. */
	if (close_going_on(h)) {
		h->closing.retake = true;
		return;
	}
	/* Not even for ourselves: a look now would not see what they are about to do. */
	if (!tenure_settled(h->tenure)) {
		make_want(h);
		return;
	}
	h->work_busy = true;
	h->retry_missed = false;
	h->opened = holding_file(h);
	h->look_ahead = h->generation == 0 && (h->held || holding_is_starting(h));
	tenure_begin(h->tenure);
	pool_submit(h->env->workers, &h->work, POOL_NORMAL, take_run, take_done, h->env->control);
}

static void on_retry(void *arg)
{
	struct holding *h = arg;

	/* An attempt under way may have come too early. */
	h->retry_missed = h->work_busy;
	make_take(h);
}

static void on_retake_timer(struct loop_timer *timer)
{
	struct holding *h = container_of(timer, struct holding, retake_timer);

	if (tenure_retry_new(h->tenure, on_retry, h, &h->retry) != 0) {
		h->retry = NULL;
		loop_timer_set(h->env->control, timer, now_ns() + RETAKE_MAX_NS);
		make_take(h);
	}
}

void make_want(struct holding *h)
{
	if (h->retry || loop_timer_armed(&h->retake_timer) || h->stopped || h->kept > 0)
		return;
	h->retake_timer.fn = on_retake_timer;
	if (h->retake_failures == 0)
		on_retake_timer(&h->retake_timer);
	else
		loop_timer_set(h->env->control, &h->retake_timer,
			       now_ns() + backoff_ns(h->retake_failures, RETAKE_MAX_NS));
}

void make_want_later(struct holding *h)
{
	make_want(h);
	if (h->retry)
		tenure_retry_stand_back(h->retry, STAND_BACK_NS);
}

void make_unwant(struct holding *h)
{
	if (h->retry)
		tenure_retry_free(h->retry);
	h->retry = NULL;
	loop_timer_cancel(h->env->control, &h->retake_timer);
}

/* ---- views and regions ----------------------------------------------------------------------- */

static void make_regions(struct holding *h);

static void forget_left_out(struct make *make)
{
	free(make->left_out);
	make->left_out = NULL;
	make->nr_left_out = 0;
}

/* What was made will be buried. */
static void give_up(struct holding *h, int err)
{
	enum making kind = h->make.kind;
	struct served *next = h->make.next;
	struct acquire *grower = h->make.grower;

	h->make.kind = MAKE_NOTHING;
	h->make.next = NULL;
	h->make.grower = NULL;
	forget_left_out(&h->make);
	if (next) {
		next->making = false;
		next->unregister = next->dead = true;
	}
	if (kind == MAKE_GROWTH) {
		if (err != -ECANCELED && !h->growth_failed) {
			log_warning("%s: %s", h->config.export.name, h->make.text.text);
			h->growth_failed = true;
		}
		grant_grown(h, grower, err);
	} else if (kind == MAKE_PUNCH) {
		punch_failed(h, err);
	} else if (kind == MAKE_NARROW || kind == MAKE_RETURN) {
		range_make_failed(h, kind, err);
	} else if (h->recall.state == RECALL_RETAKING) {
		h->retake_failures++;
		if (h->retake_failures == 1)
			log_warning("%s", h->make.text.text);
		holding_why(h, "%s", h->make.text.text);
		resize_not_served(h);
		ladder_not_served(h);
		holding_event(h, RECALL_PREPARE_FAILED);
		if (holding_is_starting(h))
			holding_fail_start(h, err, h->make.text.text);
	}
	serve_bury(h);
	holding_check_drained(h);
	range_next(h);
	if (kind != MAKE_GENERATION)
		grant_grow_next(h);
	punch_next(h);
	rest_next(h);
	holding_check_stopped(h);
}

/* What landlords have comes back. */
static uint64_t bytes_of(const struct view *view)
{
	return view->backed_bytes + view->left_out_bytes;
}

static void complete(struct holding *h)
{
	int err = budget_check(h, bytes_of(h->make.next->view), &h->make.text);

	if (err) {
		give_up(h, err);
		return;
	}
	if (h->make.kind == MAKE_GROWTH) {
		struct acquire *grower = h->make.grower;

		h->growth_failed = false;
		serve_publish(h, make_take_over(h));
		holding_describe(h);
		grant_grown(h, grower, 0);
		grant_grow_next(h);
		punch_next(h);
		return;
	}
	if (h->make.kind == MAKE_PUNCH) {
		if (!punch_prepared(h))
			give_up(h, -ECANCELED);
		return;
	}
	if (h->make.kind == MAKE_NARROW || h->make.kind == MAKE_RETURN) {
		uint64_t size_bytes = h->current->view->size_bytes;

		serve_publish(h, make_take_over(h));
		holding_describe(h);
		if (h->current->view->size_bytes != size_bytes)
			holding_shrunk(h);
		punch_next(h);
		grant_grow_next(h);
		return;
	}
	holding_scan(h);
	if (atomic_load(&h->make.cancel))
		give_up(h, -ECANCELED);
	else
		holding_event(h, RECALL_PREPARED);
}

/* 1 if there is more to do, 0 if nothing is left of it, or -errno. */
static int region_drop_step(struct region **region)
{
	int err = *region ? region_shrink(*region) : 0;

	if (err == 0)
		err = region_free(*region);
	if (err == 0)
		*region = NULL;
	return err;
}

/* Touches the region that is being made, the registrations of the old one, err and text. */
static void region_run(struct work *work)
{
	struct holding *h = container_of(work, struct holding, make.work);
	struct make *make = &h->make;
	struct region **region = &make->next->regions[make->device];

	if (make->dropping) {
		make->err = region_drop_step(region);
		return;
	}
	make->err = atomic_load(&make->cancel) ? -ECANCELED : 0;
	if (make->err == 0 && !*region)
		make->err = region_begin(h->env->block_pds[make->device],
					 cache_budget_of(h, make->device), make->next->view,
					 h->probes[make->device].rung, make->old, region);
	if (make->err)
		(void)errtext_set(&make->text, 0, "no region: %s", strerror(-make->err));
	else if (make->kind == MAKE_NARROW)
		make->err = make->bare ? 0 : region_step_kept(*region, &make->text);
	else
		make->err = region_step(*region, &make->text);
}

/* What it still lacks is new, so nobody misses it; or somebody waits for what it leaves out. */
static bool is_enough(const struct make *make)
{
	if (make->err != 1 || make->dropping)
		return false;
	if (make->kind == MAKE_NARROW)
		return now_ns() >= make->until_ns;
	return make->fresh >= SLICES_FIRST && region_past(make->next->regions[make->device]);
}

/* A landlord does not wait for what others would only like to have: these go through buffers. */
static bool does_without(struct holding *h)
{
	struct make *make = &h->make;

	if (make->kind != MAKE_NARROW || make->err >= 0 || make->err == -ECANCELED ||
	    !make->next->regions[make->device])
		return false;
	log_warning("%s: %s; till the recall is over they are served through buffers",
		    h->config.export.name, make->text.text);
	make->err = 0;
	return true;
}

static void region_done(struct work *work)
{
	struct holding *h = container_of(work, struct holding, make.work);
	bool dropped = h->make.dropping;

	h->make.dropping = dropped && h->make.err > 0;
	if (!does_without(h) && h->make.err < 0 && h->make.err != -ECANCELED && !dropped &&
	    ladder_fall(h, h->make.device, h->make.text.text)) {
		h->make.dropping = true;
		make_regions(h);
		return;
	}
	if (h->make.err < 0 && dropped)
		(void)errtext_set(&h->make.text, 0, "a region cannot be dropped: %s",
				  strerror(-h->make.err));
	if (h->make.err < 0) {
		char text[ERRTEXT_BYTES];

		(void)snprintf(text, sizeof(text), "%s", h->make.text.text);
		(void)errtext_set(&h->make.text, 0, "%s: %s", h->config.export.name, text);
		give_up(h, h->make.err);
		return;
	}
	if (h->make.err == 1 && !dropped)
		h->make.fresh++;
	if (h->make.err == 0 || is_enough(&h->make)) {
		h->make.device++;
		h->make.fresh = 0;
	}
	make_regions(h);
}

static void make_regions(struct holding *h)
{
	struct make *make = &h->make;

	if (atomic_load(&make->cancel)) {
		give_up(h, -ECANCELED);
		return;
	}
	while (make->device < h->env->nr_devices && !make->dropping &&
	       !region_registers(h->probes[make->device].rung))
		make->device++;
	if (make->device == h->env->nr_devices) {
		complete(h);
		return;
	}
	make->in_registrar = true;
	make->old = h->current ? h->current->regions[make->device] : NULL;
	pool_submit(h->env->registrar, &make->work,
		    make->kind == MAKE_NARROW ? POOL_URGENT : POOL_NORMAL, region_run, region_done,
		    h->env->control);
}

static uint32_t next_generation(const struct holding *h)
{
	return (h->generation ? h->generation : h->config.generations_before) + 1;
}

static int look(struct holding *h, struct view **view)
{
	struct make *make = &h->make;
	const struct view *old = h->current ? h->current->view : NULL;

	switch (make->kind) {
	case MAKE_GROWTH:
		return (make->allocate ? view_allocate : view_unshare)(
			old, make->offset, make->length, &make->cancel, view, &make->text);
	case MAKE_PUNCH:
		if (h->punch.resize_to)
			return view_cut(old, h->punch.resize_to, view);
		return view_exclude(old, h->punch.ranges, h->punch.nr_ranges, view);
	case MAKE_NARROW:
		return view_leave_out(old, make->left_out, make->nr_left_out, view);
	case MAKE_RETURN:
		return view_again(old, make->offset, make->length, &make->cancel, view,
				  &make->text);
	default:
		return view_new(holding_file(h), next_generation(h), old, &make->cancel, view,
				&make->text);
	}
}

/* What landlords want just now stays out, whatever is found there. */
static int leave_out(struct make *make, struct view **view)
{
	struct view *whole = *view;
	int err;

	if (make->kind == MAKE_NARROW || make->nr_left_out == 0)
		return 0;
	err = view_leave_out(whole, make->left_out, make->nr_left_out, view);
	view_free(whole);
	return err;
}

/* Touches the view that is being made, err and text. */
static void view_run(struct work *work)
{
	struct holding *h = container_of(work, struct holding, make.work);
	struct make *make = &h->make;

	if (atomic_load(&make->cancel))
		make->err = errtext_set(&make->text, -ECANCELED, "cancelled");
	else
		make->err = look(h, &make->next->view);
	if (make->err == 0)
		make->err = leave_out(make, &make->next->view);
	if (make->err)
		make->next->view = NULL;
}

static void view_done(struct work *work)
{
	struct holding *h = container_of(work, struct holding, make.work);

	/* Before anything is registered: with another generation it may cost more than it did. */
	if (h->make.err == 0 && h->make.kind == MAKE_GENERATION)
		h->make.err = ladder_fit(h, bytes_of(h->make.next->view), &h->make.text);
	if (h->make.err)
		give_up(h, h->make.err);
	else
		make_regions(h);
}

/* A landlord waits for the first; hosts for a hole that is made by a look at what is known. */
static enum pool_urgency urgency_of(enum making kind)
{
	if (kind == MAKE_NARROW)
		return POOL_URGENT;
	return kind == MAKE_PUNCH ? POOL_NORMAL : POOL_BULK;
}

static void make_begin(struct holding *h, enum making kind)
{
	struct make *make = &h->make;

	assert(make->kind == MAKE_NOTHING && !make->next);
	make->kind = kind;
	atomic_store(&make->cancel, false);
	make->device = 0;
	make->in_registrar = false;
	make->dropping = false;
	make->fresh = 0;
	rest_cancel(h);
	make->next = served_new(h);
	if (!make->next || range_leave_out(h, kind) != 0) {
		(void)errtext_set(&make->text, 0, "%s: no memory", h->config.export.name);
		give_up(h, -ENOMEM);
		return;
	}
	make->next->left_out = make->serial;
	pool_submit(h->env->workers, &make->work, urgency_of(kind), view_run, view_done,
		    h->env->control);
}

void make_generation(struct holding *h)
{
	if (h->held && h->changes > 0) {
		holding_why(h, "held until nothing else can refuse the start");
		h->held(h->held_arg);
		return;
	}
	ladder_settle(h);
	make_begin(h, MAKE_GENERATION);
}

void make_growth(struct holding *h, struct acquire *grower, uint64_t offset, uint64_t length,
		 bool allocate)
{
	h->make.grower = grower;
	h->make.allocate = allocate;
	h->make.offset = offset;
	h->make.length = length;
	make_begin(h, MAKE_GROWTH);
}

void make_punched(struct holding *h)
{
	make_begin(h, MAKE_PUNCH);
}

void make_narrow(struct holding *h)
{
	h->make.bare = punch_pinned_dax(h);
	h->make.until_ns = now_ns() + h->recall.limits.deadline_ns / NARROW_SHARE;
	make_begin(h, MAKE_NARROW);
}

void make_return(struct holding *h, uint64_t offset, uint64_t length)
{
	h->make.offset = offset;
	h->make.length = length;
	make_begin(h, MAKE_RETURN);
}

void make_cancel(struct holding *h)
{
	atomic_store(&h->make.cancel, true);
	if (h->make.kind == MAKE_NOTHING)
		return;
	/* In one of the two, or in neither. */
	pool_hurry(h->make.in_registrar ? h->env->registrar : h->env->workers, &h->make.work);
}

struct served *make_take_over(struct holding *h)
{
	struct served *next = h->make.next;

	h->make.kind = MAKE_NOTHING;
	h->make.next = NULL;
	h->make.grower = NULL;
	forget_left_out(&h->make);
	return next;
}
