// SPDX-License-Identifier: BSD-3-Clause
/*
 * One seed: draws what the world is like, builds the target as the daemon does, lets everybody loose,
 * sends them home, and looks whether anything is left.
 */
#include "sim.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nvme/nvme.h"
#include "tenure/tenure.h"
#include "util/counter.h"
#include "util/pool.h"
#include "wire/direct.h"

#define MAX_CLIENTS	  8u
#define REACTORS	  2u
#define WORKS_OF_A_RECALL 64
#define BUSY_STEPS	  38000ul	   /* then everybody goes home */
#define MAX_STEPS	  1000000ul	   /* more is a circle */
#define REST_NS		  (300 * NS_PER_S) /* for everybody to go home, and for the target to stop */
#define SERVE_NS	  (10 * NS_PER_S)  /* until it serves again, when nobody is in its way */

static struct {
	struct holding_env env;
	struct reactor *reactors[REACTORS];
	struct nvme_target *target;
	struct nvme_subsystem *subsystem;
	struct tenure_signals *signals;
	struct holding *h;
	struct client clients[MAX_CLIENTS];
	unsigned int nr_clients;
	struct fabric *fabric;
	bool started, done;
	int err;
	char why[ERRTEXT_BYTES];
	struct co *resizer;
	bool resized;
	struct co *operator;
	bool rung_answered, rung_served; /* … and it is served so */
} x;

struct fabric *world_fabric(void)
{
	return x.fabric;
}

struct holding *world_holding(void)
{
	return x.h;
}

struct loop *world_control(void)
{
	return x.env.control;
}

/* ---- chance ---- */

static void draw(uint64_t seed)
{
	static const uint32_t deadlines[] = {20, 100, 1000};

	sched_begin(seed);
	memset(&w, 0, sizeof(w));
	w.base_ns = 1000 * NS_PER_S;
	sim_now = w.base_ns;
	w.deadline_ms = deadlines[sim_below(ARRAY_SIZE(deadlines))];
	w.lba_bytes = sim_chance(700) ? 512 : 4096;
	w.pages = 2 + (unsigned int)sim_below(sim_chance(500) ? 8 : FILE_MAX_PAGES / 2);
	w.pinned = sim_chance(500);
	w.random_iova = sim_chance(700);
	w.dax = sim_chance(600);
	w.prepare_allocate = sim_chance(300);
	w.advisory = sim_chance(100);
	w.faults = sim_chance(250);
	w.early_done = sim_chance(500);
	w.mtu = 1024u << sim_below(4);
	w.wire_ns = (1 + sim_below(4)) * 10 * NS_PER_US;
	w.lull_ns = sim_chance(200) ? 5 * NS_PER_MS : 200 * NS_PER_US;
	w.work_ns = sim_chance(600) ? (50 * NS_PER_US) << 2 * sim_below(5) : 0;
	/* A recall waits for many of these: they are short beside its deadline, as the self-test finds. */
	w.registration_ns = min_u64(w.work_ns, w.deadline_ms * NS_PER_MS / WORKS_OF_A_RECALL);
	w.landlord_ns = (10 + sim_below(200)) * NS_PER_MS;
	w.expiry_ms = sim_chance(300) ? 20 + (uint32_t)sim_below(200) : 60000;
	w.end_ns = (100 + sim_below(400)) * NS_PER_MS;
	if (sim_chance(100))
		w.end_ns *= 8;
	w.rungs = sim_chance(400);
	w.reclaims = sim_chance(400);
	w.watch = sim_chance(333);
	w.early = sim_chance(250);
	w.refuse = w.watch && sim_chance(200);
	w.pinned &= !w.watch; /* what is watched is never pinned */
	if (w.watch)
		w.end_ns *= 3; /* it is served again more slowly */
	w.keeps_keys = w.watch && sim_chance(150);
	w.slow_hosts = w.keeps_keys; /* who wants a hole waits for keys, too */
	w.unshares = sim_chance(333);
	if (sim_chance(333))
		w.max_registrations = 1 + (uint32_t)sim_below(6);
	if (sim_chance(333))
		w.max_registered_bytes = (1 + sim_below(1 + w.pages / 2)) * PAGE_BYTES;
	if (w.max_registrations || w.max_registered_bytes)
		w.end_ns *= 2; /* what is used shows after a while */
	w.windows = sim_chance(400);
}

static void draw_clients(void)
{
	x.nr_clients = 1 + (unsigned int)sim_below(5);
	for (unsigned int i = 0; i < x.nr_clients; i++) {
		struct client *c = &x.clients[i];

		*c = (struct client){.number = i, .direct = sim_chance(550)};
		c->kind = sim_chance(450) ? CLIENT_GOOD : (enum client_kind)sim_below(CLIENT_KINDS);
		(void)snprintf(c->name, sizeof(c->name), "%s/%u %s", c->direct ? "direct" : "block",
			       i, client_kind_text(c->kind));
		w.slow_hosts += !c->direct && (c->kind == CLIENT_SLOW || c->kind == CLIENT_DEAD);
	}
}

/* ---- the self-test of adapters, whose place this is ---- */

int region_probe(struct fabric_device *dev, const struct export *e, enum region_choice choice,
		 struct region_probe *result, struct errtext *err)
{
	const enum lh_rung best = w.pinned ? LH_RUNG_PINNED : LH_RUNG_ODP;

	(void)dev;
	(void)e;
	(void)err;
	*result = (struct region_probe){.rung = LH_RUNG_NONE};
	if (choice == (w.pinned ? REGION_ODP : REGION_PINNED)) {
		(void)snprintf(result->why, sizeof(result->why), "this adapter cannot");
		return 0;
	}
	if (w.rungs && !w.ending && sim_chance(150)) {
		result->passing = true;
		(void)snprintf(result->why, sizeof(result->why), "not now");
		return 0;
	}
	*result = (struct region_probe){
		.rung = best,
		.iova = w.random_iova,
		.windows = w.windows,
		.dereg_ns_per_gib = 1000,
		.dereg_ns_per_key = 1000,
	};
	(void)snprintf(result->why, sizeof(result->why), "so the seed says");
	return 0;
}

void region_probe_forget(const struct fabric_device *dev)
{
	(void)dev;
}

/* ---- waiting ---- */

static void run_until(const bool *flag, uint64_t most_ns, const char *what)
{
	uint64_t end = sim_now + most_ns;

	while (!*flag) {
		if (!sched_step(end))
			sim_fail(P_STUCK, "%s: not within %llu s", what,
				 (unsigned long long)(most_ns / NS_PER_S));
		if (sched_steps() > MAX_STEPS)
			sim_fail(P_STUCK, "%s: not within %lu steps", what, MAX_STEPS);
	}
}

static void on_done(void *arg)
{
	(void)arg;
	x.done = true;
}

static void on_control(void (*fn)(void *arg), const char *what)
{
	x.done = false;
	sim_on_loop(x.env.control, fn, NULL);
	run_until(&x.done, REST_NS, what);
}

/* ---- the target ---- */

static void on_broken(void *arg)
{
	(void)arg;
	holding_scan(x.h);
}

static void on_started(void *arg, int err, const char *why)
{
	(void)arg;
	x.err = err;
	(void)snprintf(x.why, sizeof(x.why), "%s", why);
	x.done = true;
}

static void do_start(void *arg)
{
	(void)arg;
	holding_start(x.h, on_started, NULL);
}

static void do_listen(void *arg)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(SIM_PORT)};
	struct nvme_listen_options options = {.no_invalidate = sim_chance(500)};
	struct errtext err;

	(void)arg;
	x.err = nvme_target_listen(x.target, x.fabric, (struct sockaddr *)&addr, &options, &err);
	assert(x.err == 0);
	x.done = true;
}

static void landlords_in(void)
{
	unsigned int landlords = 1 + sim_chance(200);
	char name[24];

	if (w.watch)
		landlords += (unsigned int)sim_below(3);
	for (unsigned int i = 0; i < landlords; i++) {
		(void)snprintf(name, sizeof(name), "landlord/%u", i);
		(void)co_new(name, landlord_main, NULL);
	}
}

static void make_holding(void)
{
	struct holding_config config = {
		.export = {.name = "file",
			   .path = "/file",
			   .lba_bytes = w.lba_bytes,
			   .prepare = w.prepare_allocate ? EXPORT_PREPARE_ALLOCATE
							 : EXPORT_PREPARE_NONE,
			   .unshare = w.unshares ? EXPORT_UNSHARE_ON_ACQUIRE : EXPORT_UNSHARE_NEVER,
			   .lock_dir = "",
			   .state_dir = ""},
		.nsid = SIM_NSID,
		.advisory_deallocate = w.advisory,
		.wait_if_busy = true,
		.tenure = w.watch ? TENURE_WATCH : TENURE_LEASE,
		.refuse_while_granted = w.refuse,
		.windows = w.windows,
	};

	if (holding_new(&x.env, &config, &x.h) != 0 || nvme_subsystem_add(x.subsystem, x.h) != 0)
		abort();
}

static void make_env(void)
{
	const struct cache_limits limits = {
		.max_registrations = w.max_registrations,
		.max_bytes = w.max_registered_bytes,
		.turn_ms = 1 + (uint32_t)sim_below(20),
		.hotter = 1, /* lives are short here */
	};

	x.fabric = sim_fabric_new();
	x.env = (struct holding_env){
		.devices = {fabric_device_at(x.fabric, 0)},
		.nr_devices = 1,
		.ops = nvme_holding_ops(),
		.deadline_ms = w.deadline_ms,
		.grant_expiry_ms = w.expiry_ms,
		.max_grants_per_client = 16,
		.max_grants_per_export = 256, /* deadlines are short here */
		.max_grants_per_host = 256,
		.rung_retry_ms = GRANT_DEFAULT_RUNG_RETRY_MS,
	};
	if (fabric_pd_alloc(x.env.devices[0], &x.env.block_pds[0]) != 0 ||
	    loop_new("control", &x.env.control) != 0 ||
	    pool_new("registrar", 1, &x.env.registrar) != 0 ||
	    pool_new("worker", 1 + (unsigned int)sim_below(4), &x.env.workers) != 0 ||
	    cache_new(&x.env, &limits) != 0)
		abort();
	for (unsigned int i = 0; i < REACTORS; i++)
		if (reactor_new(i, x.env.devices, 1, 0, &x.reactors[i]) != 0 ||
		    reactor_start(x.reactors[i]) != 0)
			abort();
}

/* Whoever has the file open from before may take long; hosts come when all of them were out. */
static void wait_for_the_first(void)
{
	uint64_t end = sim_now + REST_NS;
	struct holding_status status = {.generation = 0};

	while (status.generation == 0) {
		if (!sched_step(end))
			sim_fail(P_STUCK, "it was never served");
		if (tenure_held())
			holding_status(x.h, &status);
	}
	w.served = true;
}

static void target_up(void)
{
	struct nvme_env nvme = {
		.reactors = x.reactors,
		.nr_reactors = REACTORS,
		.holdings = &x.env,
		.limits = {.queue_depth = 32,
			   .max_io_queues = 2,
			   .max_controllers = 64,
			   .max_connections = 128,
			   .inline_bytes = 4096,
			   .mdts_bytes = KIB(64),
			   .first_command_ms = 5000,
			   .transfer_timeout_ms = 2000,
			   .bounce_bytes = KIB(256)},
		.version = "1",
	};

	make_env();
	nvme.control = x.env.control;
	nvme.registrar = x.env.registrar;
	nvme.workers = x.env.workers;
	if (nvme_target_new(&nvme, &x.target) != 0 ||
	    nvme_subsystem_new(x.target, SIM_NQN, &x.subsystem) != 0 ||
	    tenure_signals_new(x.env.control, on_broken, NULL, &x.signals) != 0)
		abort();
	x.env.ops_ctx = x.target;
	make_holding();
	if (w.early)
		landlords_in();
	for (unsigned int tries = 0;; tries++) {
		on_control(do_start, "the start");
		if (x.err == 0)
			break;
		if (!w.faults || tries > 50)
			sim_fail(P_STUCK, "the export does not start: %s", x.why);
	}
	on_control(do_listen, "listening");
	wait_for_the_first();
}

static void do_stop_target(void *arg)
{
	(void)arg;
	nvme_target_stop(x.target, on_done, NULL);
}

static void do_stop_holding(void *arg)
{
	(void)arg;
	holding_stop(x.h, on_done, NULL);
}

static void do_free(void *arg)
{
	(void)arg;
	holding_free(x.h);
	cache_free(&x.env);
	nvme_target_free(x.target);
	tenure_signals_free(x.signals);
	x.done = true;
}

static void target_down(void)
{
	bool holding_first = sim_chance(300);

	if (holding_first)
		on_control(do_stop_holding, "the stop of the export");
	on_control(do_stop_target, "the stop of the target");
	if (!holding_first)
		on_control(do_stop_holding, "the stop of the export");
	/* What is still on its way: signals, flushes. */
	while (sched_step(sim_now + NS_PER_S))
		;
	on_control(do_free, "the end");
	for (unsigned int i = 0; i < REACTORS; i++)
		reactor_free(x.reactors[i]);
	pool_free(x.env.registrar);
	pool_free(x.env.workers);
	loop_free(x.env.control);
	if (fabric_pd_free(x.env.block_pds[0]) != 0)
		sim_fail(P_STUCK, "something is registered still");
	fabric_close(x.fabric);
}

/* ---- a new size ---- */

static void on_resized(void *arg, int err, const char *why)
{
	(void)arg;
	sim_log("resized: %d %s", err, why);
	x.resized = true;
	co_wake(x.resizer);
}

struct resize_order {
	struct loop_msg msg;
	uint64_t bytes;
};

static void do_resize(struct loop_msg *msg)
{
	struct resize_order *order = container_of(msg, struct resize_order, msg);

	holding_resize(x.h, order->bytes, on_resized, NULL);
	free(order);
}

void world_resize(uint64_t bytes)
{
	struct resize_order *order = calloc(1, sizeof(*order));
	uint64_t end = sim_now + 60 * NS_PER_S;

	assert(order);
	if (x.resizer) { /* one at a time */
		free(order);
		return;
	}
	sim_log("the size shall be %llu", (unsigned long long)bytes);
	order->bytes = bytes;
	w.resized = true;
	x.resizer = co_self();
	x.resized = false;
	loop_post(x.env.control, &order->msg, do_resize);
	while (!x.resized && sim_now < end)
		(void)co_wait(NS_PER_S);
	if (!x.resized)
		sim_fail(P_STUCK, "a new size is not answered for");
	x.resizer = NULL;
}

/* ---- another rung ---- */

struct rung_order {
	struct loop_msg msg;
	enum region_choice choice;
	bool any; /* whatever it may do already */
};

static void on_rung(void *arg, int err, const char *why)
{
	const struct rung_order *order = arg;
	struct holding_status status;

	sim_log("how it is reached: %d %s", err, why);
	holding_status(x.h, &status);
	if (err == 0 && !order->any && order->choice == REGION_STAGED && !why[0] &&
	    (status.probes[0].rung != LH_RUNG_STAGED || status.keys > 0))
		sim_fail(P_STUCK,
			 "staged was asked for and answered, and it is on rung %d, %u keys",
			 (int)status.probes[0].rung, status.keys);
	x.rung_answered = true;
	x.rung_served = err == 0 && !why[0];
	if (x.operator)
		co_wake(x.operator);
}

static void do_rung(struct loop_msg *msg)
{
	struct rung_order *order = container_of(msg, struct rung_order, msg);

	holding_rung(x.h, NULL, order->any ? NULL : &order->choice, on_rung, order);
}

/* Whoever runs the target: at any time, also in the middle of what landlords do. */
static void operator_main(void *arg)
{
	struct rung_order order = {.any = false};

	(void)arg;
	x.operator= co_self();
	while (!w.ending) {
		co_sleep(sim_delay(w.landlord_ns));
		if (w.ending)
			break;
		order.choice = (enum region_choice)sim_below(REGION_STAGED + 1);
		order.any = sim_chance(200);
		sim_log("it shall be reached so: %s",
			order.any ? "as before" : region_choice_text(order.choice));
		x.rung_answered = false;
		loop_post(x.env.control, &order.msg, do_rung);
		for (uint64_t end = sim_now + 60 * NS_PER_S; !x.rung_answered && sim_now < end;)
			(void)co_wait(NS_PER_S);
		if (!x.rung_answered)
			sim_fail(P_STUCK, "another rung is not answered for");
	}
	x.operator= NULL;
}

/* ---- looks ---- */

/* Who thinks that something is missing, and is wrong: also while what is there changes hands. */
static void doubter_main(void *arg)
{
	(void)arg;
	while (!w.ending) {
		co_sleep(sim_delay(w.landlord_ns / 4));
		holding_suspect(x.h);
	}
}

/* Everybody asks. */
static void check_asked(void)
{
	const struct counter *c = counter_first();

	while (c && strcmp(c->name, "unasked_changes") != 0)
		c = c->next;
	assert(c);
	if (counter_read(c) > 0)
		sim_fail(P_ROOM, "a look found that somebody had changed the file unasked");
}

static struct rung_order last_order;

static void do_last_rung(void *arg)
{
	(void)arg;
	holding_rung(x.h, NULL, &last_order.choice, on_rung, &last_order);
}

/* With nobody in its way it comes to the best one again. */
static void back_to_the_best(void)
{
	const enum lh_rung best = w.pinned ? LH_RUNG_PINNED : LH_RUNG_ODP;
	uint64_t end = sim_now + SERVE_NS;
	struct holding_status status;

	last_order = (struct rung_order){.choice = REGION_AUTO};
	do {
		x.rung_answered = false;
		sim_on_loop(x.env.control, do_last_rung, NULL);
		run_until(&x.rung_answered, SERVE_NS, "the best rung");
		/* Another test may be under way. */
		if (!x.rung_served && !sched_step(end))
			sim_fail(P_STUCK, "the best rung is not served");
	} while (!x.rung_served);
	holding_status(x.h, &status);
	if (status.probes[0].rung != best)
		sim_fail(P_STUCK, "the best rung is possible, and it is on %d: %s",
			 (int)status.probes[0].rung, status.probes[0].why);
}

/* ---- one seed ---- */

static bool nobody_left(void)
{
	return co_alive() == 0;
}

static void everybody_home(void)
{
	uint64_t end = sim_now + REST_NS;

	w.ending = true;
	while (!nobody_left())
		if (!sched_step(end) || sched_steps() > MAX_STEPS)
			sim_fail(P_STUCK, "somebody does not get home");
}

/* When nobody is in its way, it serves. */
static void check_serves(void)
{
	uint64_t end = sim_now + SERVE_NS;
	struct holding_status status;

	w.faults = false;
	for (;;) {
		holding_status(x.h, &status);
		if (status.state == HOLDING_SERVING && status.grants == 0 && tenure_over(0, NEVER))
			return;
		if (!sched_step(end))
			break;
	}
	sim_fail(P_STUCK, "nobody is there, and it is in state %d with %u grants: %s",
		 (int)status.state, status.grants, status.why);
}

static void let_loose(void)
{
	for (unsigned int i = 0; i < x.nr_clients; i++)
		x.clients[i].co =
			co_new(x.clients[i].name, x.clients[i].direct ? direct_main : block_main,
			       &x.clients[i]);
	if (!w.early)
		landlords_in();
	if (w.rungs)
		(void)co_new("operator", operator_main, NULL);
	(void)co_new("doubter", doubter_main, NULL);
	for (unsigned int i = w.reclaims ? 1 + sim_chance(300) : 0; i > 0; i--)
		(void)co_new("reclaim", reclaim_main, NULL);
	for (uint64_t end = sim_now + w.end_ns; sim_now < end;)
		if (!sched_step(end) || sched_steps() > BUSY_STEPS)
			break;
}

static void forget_clients(void)
{
	for (unsigned int i = 0; i < x.nr_clients; i++) {
		struct asked *a;

		while ((a = x.clients[i].asked)) {
			x.clients[i].asked = a->next;
			free(a);
		}
	}
}

void world_run(uint64_t seed)
{
	sim.seed = seed;
	memset(&x, 0, sizeof(x));
	draw(seed);
	draw_clients();
	threads_begin();
	oracle_begin();
	tenures_begin();
	lease_begin();
	watch_begin_world();
	closes_begin();
	file_begin();
	export_begin();
	target_up();
	let_loose();
	everybody_home();
	check_serves();
	if (w.rungs)
		back_to_the_best();
	file_check(sim_now);
	check_asked();
	target_down();
	file_check(sim_now);
	if (sim_fabric_objects() > 0)
		sim_fail(P_STUCK, "%u objects of the fabric are left over", sim_fabric_objects());
	export_end();
	file_end();
	tenures_end();
	lease_end();
	watch_end_world();
	closes_end();
	threads_end();
	sched_end();
	oracle_end();
	forget_clients();
}
