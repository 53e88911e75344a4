// SPDX-License-Identifier: BSD-3-Clause
/* The storage host of the grant room's tests. cmocka's checks run on the test's thread only. */
#include "grant_rig.h"

#include <time.h>

#include "fabric/fault.h"
#include "fabric/verbs.h"
#include "iwarp/iwarp.h"
#include "util/log.h"

#define STATUS_NAP_US 200

const struct rig_options rig_defaults = {
	.file = "file",
	.deadline_ms = 1000,
	.expiry_ms = 0,
	.max_grants = 4096,
	.max_of_export = GRANT_DEFAULT_MAX_PER_EXPORT,
	.max_of_host = GRANT_DEFAULT_MAX_PER_EXPORT,
};

/* ---- waiting --------------------------------------------------------------------------------- */

void rig_wait_sem(sem_t *sem)
{
	struct timespec end;

	(void)clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += RIG_WAIT_MS / 1000;
	if (sem_timedwait(sem, &end) == 0)
		return;
	print_error("waited in vain\n");
	abort(); /* a stack is worth more here than a failed test */
}

struct call {
	struct loop_msg msg;
	void (*fn)(void *arg);
	void *arg;
	sem_t sem;
};

static void on_call(struct loop_msg *msg)
{
	struct call *call = container_of(msg, struct call, msg);

	call->fn(call->arg);
	(void)sem_post(&call->sem);
}

void rig_call(struct rig *rig, void (*fn)(void *arg), void *arg)
{
	struct call call = {.fn = fn, .arg = arg};

	(void)sem_init(&call.sem, 0, 0);
	loop_post(rig->env.control, &call.msg, on_call);
	rig_wait_sem(&call.sem);
	(void)sem_destroy(&call.sem);
}

/* ---- the fake reactors ----------------------------------------------------------------------- */

static void op_publish(void *ctx, struct holding *h, const struct serving *s, struct loop_msg *done,
		       void (*fn)(struct loop_msg *))
{
	struct rig *rig = ctx;

	if (h != rig->h) {
		rig->other = s;
		loop_post(rig->env.control, done, fn);
		return;
	}
	rig->serving = s;
	atomic_fetch_add(s ? &rig->published : &rig->offline, 1);
	if (atomic_load(&rig->hold_publish) && !rig->publish_msg) {
		rig->publish_msg = done;
		rig->publish_fn = fn;
		return;
	}
	loop_post(rig->env.control, done, fn);
}

static void release_publish(void *arg)
{
	struct rig *rig = arg;
	struct loop_msg *msg = rig->publish_msg;

	rig->publish_msg = NULL;
	atomic_store(&rig->hold_publish, false);
	if (msg)
		loop_post(rig->env.control, msg, rig->publish_fn);
}

void rig_release_publish(struct rig *rig)
{
	rig_call(rig, release_publish, rig);
}

static void release_quiesce(void *arg)
{
	struct rig *rig = arg;

	if (rig->quiesce_msg)
		loop_post(rig->env.control, rig->quiesce_msg, rig->quiesce_fn);
	if (rig->drain_msg)
		loop_post(rig->env.control, rig->drain_msg, rig->drain_fn);
	rig->quiesce_msg = rig->drain_msg = NULL;
}

void rig_release_quiesce(struct rig *rig)
{
	rig_call(rig, release_quiesce, rig);
}

static void op_quiesce(void *ctx, struct holding *h, struct loop_msg *done,
		       void (*fn)(struct loop_msg *))
{
	struct rig *rig = ctx;

	(void)h;
	atomic_fetch_add(&rig->quiesced, 1);
	if (atomic_load(&rig->hold_quiesce)) {
		rig->quiesce_msg = done;
		rig->quiesce_fn = fn;
		return;
	}
	loop_post(rig->env.control, done, fn);
}

static void op_seal(void *ctx, struct holding *h, struct loop_msg *done,
		    void (*fn)(struct loop_msg *))
{
	struct rig *rig = ctx;

	(void)h;
	atomic_fetch_add(&rig->sealed, 1);
	loop_post(rig->env.control, done, fn);
}

static void op_fence_block(void *ctx, struct holding *h)
{
	struct rig *rig = ctx;

	(void)h;
	atomic_fetch_add(&rig->fenced, 1);
	if (!atomic_load(&rig->hold_forever))
		release_quiesce(rig);
}

static void on_released(void *arg, const struct grant_answer *answer)
{
	(void)arg;
	assert(answer->status == NVME_SC_SUCCESS);
}

static void op_drain(void *ctx, struct holding *h, uint64_t offset, uint64_t length,
		     struct loop_msg *done, void (*fn)(struct loop_msg *))
{
	struct rig *rig = ctx;

	(void)h;
	(void)offset;
	(void)length;
	atomic_fetch_add(&rig->drains, 1);
	if (atomic_load(&rig->hold_drain) && !rig->drain_msg) {
		rig->drain_msg = done;
		rig->drain_fn = fn;
		return;
	}
	loop_post(rig->env.control, done, fn);
}

static void op_fence_range(void *ctx, struct holding *h, uint64_t offset, uint64_t length)
{
	struct rig *rig = ctx;

	(void)h;
	(void)offset;
	(void)length;
	atomic_fetch_add(&rig->range_fences, 1);
	if (rig->drain_msg && !atomic_load(&rig->hold_forever)) {
		loop_post(rig->env.control, rig->drain_msg, rig->drain_fn);
		rig->drain_msg = NULL;
	}
}

static void op_seal_range(void *ctx, struct holding *h, uint64_t offset, uint64_t length,
			  struct loop_msg *done, void (*fn)(struct loop_msg *))
{
	struct rig *rig = ctx;

	(void)h;
	(void)offset;
	(void)length;
	atomic_fetch_add(&rig->range_seals, 1);
	loop_post(rig->env.control, done, fn);
}

static void op_unseal_range(void *ctx, struct holding *h, uint64_t offset, uint64_t length,
			    struct loop_msg *done, void (*fn)(struct loop_msg *))
{
	struct rig *rig = ctx;

	(void)h;
	(void)offset;
	(void)length;
	atomic_fetch_sub(&rig->range_seals, 1);
	loop_post(rig->env.control, done, fn);
}

static int op_settle(void *ctx, struct holding *h, uint64_t offset, uint64_t length,
		     struct loop_msg *done, void (*fn)(struct loop_msg *))
{
	struct rig *rig = ctx;

	(void)h;
	(void)offset;
	(void)length;
	loop_post(rig->env.control, done, fn);
	return 0;
}

static void op_tell(void *ctx, struct grant_client *client, struct holding *h, uint64_t offset,
		    uint64_t length, uint32_t generation, uint32_t deadline_ms)
{
	struct rig *rig = ctx;
	struct rig_client *c = grant_client_user(client);
	const struct grant_give_back all = {.length = UINT64_MAX, .generation = generation};

	(void)deadline_ms;
	atomic_store(&c->told_offset, offset);
	atomic_store(&c->told_length, length);
	atomic_fetch_add(&rig->told, 1);
	atomic_fetch_add(&c->told, 1);
	if (atomic_load(&c->answers))
		grant_release(h, client, &all, on_released, NULL);
}

static void op_bind(void *ctx, struct grant_client *client, struct grant_bind *bind,
		    void (*fn)(struct loop_msg *))
{
	struct rig_client *c = grant_client_user(client);

	(void)ctx;
	bind->fn = fn;
	bind->err = -EINPROGRESS;
	(void)pthread_mutex_lock(&c->lock);
	list_push(&c->binds, &bind->link);
	(void)pthread_mutex_unlock(&c->lock);
}

static void *op_commit_begins(void *ctx, struct grant_client *client, struct holding *h,
			      uint64_t offset, uint64_t length)
{
	struct rig *rig = ctx;

	(void)client;
	(void)h;
	(void)offset;
	(void)length;
	atomic_fetch_add(&rig->rights, 1);
	return rig;
}

static void op_commit_ends(void *ctx, void *right)
{
	struct rig *rig = ctx;

	assert(right == rig);
	atomic_fetch_sub(&rig->rights, 1);
}

static void op_changed(void *ctx, struct holding *h, unsigned int change)
{
	struct rig *rig = ctx;

	(void)h;
	atomic_fetch_add(change == LH_CHANGE_REGRANT ? &rig->regrants : &rig->changes, 1);
}

static void op_recalled(void *ctx, struct holding *h, unsigned int change, uint64_t offset,
			uint64_t length)
{
	struct rig *rig = ctx;

	(void)h;
	(void)offset;
	(void)length;
	atomic_fetch_add(change == LH_CHANGE_RECALLING ? &rig->recalling : &rig->released, 1);
}

static const struct holding_ops fake_reactors = {
	.publish = op_publish,
	.quiesce = op_quiesce,
	.seal = op_seal,
	.fence_block = op_fence_block,
	.drain = op_drain,
	.drain_all = op_drain,
	.fence_range = op_fence_range,
	.seal_range = op_seal_range,
	.unseal_range = op_unseal_range,
	.settle = op_settle,
	.tell = op_tell,
	.bind = op_bind,
	.commit_begins = op_commit_begins,
	.commit_ends = op_commit_ends,
	.changed = op_changed,
	.recalled = op_recalled,
};

/* ---- the host -------------------------------------------------------------------------------- */

static void on_broken(void *arg)
{
	struct rig *rig = arg;

	if (rig->h)
		holding_scan(rig->h);
}

static void make_watch(void *arg)
{
	struct rig *rig = arg;

	if (tenure_signals_new(rig->env.control, on_broken, rig, &rig->watch) != 0)
		rig->watch = NULL;
}

static void free_watch(void *arg)
{
	tenure_signals_free(((struct rig *)arg)->watch);
}

bool rig_is_verbs(void)
{
	const char *which = getenv("LEASEHOLD_TEST_FABRIC");

	return which && strcmp(which, "verbs") == 0;
}

void rig_warm_up(void)
{
	struct fabric *f;
	struct errtext err;

	log_set_level(getenv("LEASEHOLD_TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	tenure_block_signals();
	assert_int_equal(export_guard_init(), 0);
	iwarp_set_copy_hook(export_guarded_copy);
	if (rig_is_verbs() && verbs_fabric_open(&f, &err) == 0)
		fabric_close(f);
}

static void open_fabric(struct rig *rig, const struct rig_options *options)
{
	struct iwarp_options iwarp = {
		.memory = options->software_memory,
		.no_windows = options->no_windows,
	};
	struct errtext err = {""};
	int rc;

	if (rig_is_verbs())
		rc = verbs_fabric_open(&rig->fabric, &err);
	else
		rc = iwarp_fabric_open(&iwarp, &rig->fabric, &err);
	if (rc)
		print_error("%s\n", err.text);
	assert_int_equal(rc, 0);
	if (options->faults) {
		struct fault_options none = {.seed = 1};

		assert_int_equal(fault_fabric_open(rig->fabric, &none, &rig->fabric), 0);
	}
	rig->device = fabric_device_at(rig->fabric, 0);
}

struct start {
	struct rig *rig;
	sem_t sem;
};

static void on_started(void *arg, int err, const char *why)
{
	struct start *start = arg;

	start->rig->start_err = err;
	(void)snprintf(start->rig->start_why, sizeof(start->rig->start_why), "%s", why);
	(void)sem_post(&start->sem);
}

static void do_start(void *arg)
{
	struct start *start = arg;

	holding_start(start->rig->h, on_started, start);
}

int rig_start(struct rig *rig)
{
	struct start start = {.rig = rig};

	(void)sem_init(&start.sem, 0, 0);
	rig_call(rig, do_start, &start);
	rig_wait_sem(&start.sem);
	(void)sem_destroy(&start.sem);
	return rig->start_err;
}

static void on_stopped(void *arg)
{
	struct start *start = arg;

	(void)sem_post(&start->sem);
}

static void do_stop(void *arg)
{
	struct start *start = arg;

	holding_stop(start->rig->h, on_stopped, start);
}

void rig_stop(struct rig *rig)
{
	struct start start = {.rig = rig};

	(void)sem_init(&start.sem, 0, 0);
	rig_call(rig, do_stop, &start);
	rig_wait_sem(&start.sem);
	(void)sem_destroy(&start.sem);
}

void rig_up(struct rig *rig, const struct rig_options *options)
{
	struct holding_config config = {
		.export = config_of(options->file),
		.nsid = 1,
		.registration = options->registration,
		.wait_if_busy = options->wait_if_busy,
		.tenure = options->tenure,
		.refuse_while_granted = options->refuse_while_granted,
		.windows = options->windows,
	};

	memset(rig, 0, sizeof(*rig));
	rig->windows = options->windows;
	config.export.read_only = options->read_only;
	config.export.closable = options->closable;
	config.export.prepare = options->allocate ? EXPORT_PREPARE_ALLOCATE : EXPORT_PREPARE_NONE;
	open_fabric(rig, options);
	rig->env.devices[0] = rig->device;
	rig->env.nr_devices = 1;
	assert_int_equal(fabric_pd_alloc(rig->device, &rig->env.block_pds[0]), 0);
	if (options->two_devices) {
		struct iwarp_options odp = {.memory = IWARP_MEMORY_ODP};
		struct errtext err;

		assert_int_equal(iwarp_fabric_open(&odp, &rig->fabric2, &err), 0);
		rig->env.devices[1] = fabric_device_at(rig->fabric2, 0);
		rig->env.nr_devices = 2;
		assert_int_equal(fabric_pd_alloc(rig->env.devices[1], &rig->env.block_pds[1]), 0);
	}
	assert_int_equal(loop_new("control", &rig->env.control), 0);
	assert_int_equal(pool_new("registrar", 1, &rig->env.registrar), 0);
	assert_int_equal(pool_new("worker", 2, &rig->env.workers), 0);
	rig->env.ops = &fake_reactors;
	rig->env.ops_ctx = rig;
	rig->env.deadline_ms = options->deadline_ms;
	rig->env.grant_expiry_ms = options->expiry_ms;
	rig->env.max_grants_per_client = options->max_grants;
	rig->env.max_grants_per_export = options->max_of_export;
	rig->env.max_grants_per_host = options->max_of_host;
	rig->env.max_granted_bytes_per_client = options->max_bytes;
	rig->env.max_registrations_per_second = options->max_registrations;
	rig->env.rung_retry_ms = options->rung_retry_ms;
	assert_int_equal(cache_new(&rig->env, &options->cache), 0);
	assert_int_equal(loop_start(rig->env.control), 0);
	rig_call(rig, make_watch, rig);
	assert_non_null(rig->watch);
	assert_int_equal(holding_new(&rig->env, &config, &rig->h), 0);
	if (options->no_start)
		return;
	if (rig_start(rig) != 0)
		print_error("%s\n", rig->start_why);
	assert_int_equal(rig->start_err, 0);
}

static void free_holding(void *arg)
{
	struct rig *rig = arg;

	holding_free(rig->h);
	rig->h = NULL;
}

void rig_down(struct rig *rig)
{
	rig_stop(rig);
	rig_call(rig, free_holding, rig);
	rig_call(rig, free_watch, rig);
	cache_free(&rig->env);
	pool_free(rig->env.registrar);
	pool_free(rig->env.workers);
	loop_join(rig->env.control);
	loop_free(rig->env.control);
	assert_int_equal(fabric_pd_free(rig->env.block_pds[0]), 0);
	region_probe_forget(NULL);
	if (rig->fabric2) {
		assert_int_equal(fabric_pd_free(rig->env.block_pds[1]), 0);
		fabric_close(rig->fabric2);
	}
	fabric_close(rig->fabric);
}

struct status_call {
	struct rig *rig;
	struct holding_status status;
};

static void get_status(void *arg)
{
	struct status_call *call = arg;

	holding_status(call->rig->h, &call->status);
}

struct holding_status rig_status(struct rig *rig)
{
	struct status_call call = {.rig = rig};

	rig_call(rig, get_status, &call);
	return call.status;
}

struct holding_status rig_wait(struct rig *rig, enum holding_state state, uint32_t generation)
{
	uint64_t end = now_ns() + RIG_WAIT_MS * NS_PER_MS;
	struct holding_status status;

	for (;;) {
		status = rig_status(rig);
		if (status.state == state && status.generation >= generation)
			return status;
		if (now_ns() > end)
			break;
		(void)usleep(STATUS_NAP_US);
	}
	print_error("state %d, generation %u: %s\n", (int)status.state, status.generation,
		    status.why);
	assert_true(false);
	return status;
}

void rig_read(struct rig *rig, uint64_t offset, void *bytes, size_t length)
{
	int fd = export_fd(holding_export(rig->h));

	assert_int_equal(pread(fd, bytes, length, (off_t)offset), length);
}

/* ---- landlords ------------------------------------------------------------------------------- */

static void *landlord_main(void *arg)
{
	struct rig_landlord *l = arg;

	l->began_ns = now_ns();
	l->fn(l);
	l->ended_ns = now_ns();
	return NULL;
}

void rig_landlord_start(struct rig_landlord *l, const char *path,
			void (*fn)(struct rig_landlord *l), uint64_t bytes)
{
	*l = (struct rig_landlord){.path = path, .fn = fn, .bytes = bytes};
	assert_int_equal(pthread_create(&l->thread, NULL, landlord_main, l), 0);
}

uint64_t rig_landlord_join(struct rig_landlord *l)
{
	(void)pthread_join(l->thread, NULL);
	assert_int_equal(l->err, 0);
	return l->ended_ns - l->began_ns;
}

void landlord_truncate(struct rig_landlord *l)
{
	if (truncate(l->path, (off_t)l->bytes) != 0)
		l->err = errno;
}

void landlord_open_close(struct rig_landlord *l)
{
	int fd = open(l->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		l->err = errno;
	else
		(void)close(fd);
}
