// SPDX-License-Identifier: BSD-3-Clause
/*
 * The client's life: connecting, the service thread (keep-alive, async events, reconnecting), the end.
 * The service thread owns the admin queue's and the I/O queues' connections once it runs.
 */
#include "libleasehold/admin.h"
#include "libleasehold/export.h"

#include "fabric/verbs.h"
#include "iwarp/iwarp.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define LOST_TOLD_MS 2000 /* a loss that is shorter is nobody's concern */
#define RETRY_MIN_MS 50
#define RETRY_MAX_MS 2000
#define WATCH_MS     1000 /* how often commands are looked at for their age */

/* ---- errors ---------------------------------------------------------------------------------- */

int client_fail(struct lh_error *err, int code, const struct errtext *text)
{
	if (err) {
		err->code = code;
		(void)snprintf(err->text, sizeof(err->text), "%.*s", LH_ERROR_BYTES - 1,
			       text->text);
	}
	return code;
}

int client_failf(struct lh_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		err->code = code;
		va_start(ap, fmt);
		(void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
	}
	return code;
}

const char *lh_strerror(int code)
{
	if (code < 0)
		code = -code;
	return code == LH_EDEAD ? "Written directly and never confirmed" : strerror(code);
}

const char *lh_version(void)
{
	return "0.1.0";
}

/* ---- small things others ask for ------------------------------------------------------------- */

void client_wake(struct lh_client *client)
{
	const uint64_t one = 1;

	(void)!write(client->wake_fd, &one, sizeof(one));
}

void client_queue_died(struct lh_client *client)
{
	client_wake(client);
}

uint64_t client_epoch(struct lh_client *client)
{
	uint64_t epoch;

	(void)pthread_mutex_lock(&client->lock);
	epoch = client->epoch;
	(void)pthread_mutex_unlock(&client->lock);
	return epoch;
}

enum client_state client_state(struct lh_client *client)
{
	enum client_state state;

	(void)pthread_mutex_lock(&client->lock);
	state = client->state;
	(void)pthread_mutex_unlock(&client->lock);
	return state;
}

struct nvme_queue *client_io_queue(struct lh_client *client)
{
	if (client->io_count == 1)
		return &client->io[0];
	return &client->io[atomic_fetch_add(&client->io_next, 1) % client->io_count];
}

/* True if each queue is up: after a death the state follows a moment later. */
static bool queues_live(struct lh_client *client)
{
	for (unsigned int i = 0; i < client->io_count; i++) {
		if (!nvme_queue_is_up(&client->io[i]))
			return false;
	}
	return nvme_queue_is_up(&client->admin);
}

int client_wait_live_since(struct lh_client *client, uint64_t since_ns, uint64_t deadline_ns,
			   struct errtext *err)
{
	struct timespec ts;
	int rc = 0;

	for (;;) {
		uint64_t until = min_u64(deadline_ns, now_ns() + 20 * NS_PER_MS);
		bool live;

		ts.tv_sec = (time_t)(until / NS_PER_S);
		ts.tv_nsec = (long)(until % NS_PER_S);
		live = queues_live(client);
		(void)pthread_mutex_lock(&client->lock);
		if (live && client->state == CLIENT_LIVE) {
			(void)pthread_mutex_unlock(&client->lock);
			return 0;
		}
		if (client->state == CLIENT_FAILED || atomic_load(&client->given_up) ||
		    client->gave_up_ns >= since_ns || now_ns() >= deadline_ns)
			rc = errtext_set(err, -ENOTCONN, "%s",
					 client->why.text[0] ? client->why.text
							     : "the connection was lost");
		else
			(void)pthread_cond_timedwait(&client->changed, &client->lock, &ts);
		/* Somebody wants it: a client that gave up begins again. */
		if (client->state == CLIENT_FAILED && !atomic_load(&client->given_up)) {
			client->state = CLIENT_LOST;
			client_wake(client);
		}
		(void)pthread_mutex_unlock(&client->lock);
		if (rc < 0)
			return rc;
	}
}

int client_wait_live(struct lh_client *client, uint64_t deadline_ns, struct errtext *err)
{
	return client_wait_live_since(client, UINT64_MAX, deadline_ns, err);
}

int client_refresh(struct lh_client *client, struct errtext *err)
{
	struct lh_export_entry *entries;
	struct list *pos;
	size_t n;
	int rc = admin_exports(client, &entries, &n, err);

	if (rc < 0)
		return rc;
	(void)pthread_mutex_lock(&client->lock);
	list_for_each (pos, &client->exports) {
		struct lh_export *ex = list_entry(pos, struct lh_export, link);

		ex->watch.listed = false;
		for (size_t i = 0; i < n; i++) {
			if (le32toh(entries[i].nsid) == ex->nsid &&
			    strcmp(entries[i].name, ex->name) == 0) {
				ex->watch.listed = true;
				export_update(ex, &entries[i]);
			}
		}
	}
	(void)pthread_mutex_unlock(&client->lock);
	free(entries);
	return 0;
}

/* ---- the controller -------------------------------------------------------------------------- */

static void close_queues(struct lh_client *client)
{
	for (unsigned int i = 0; i < client->opt.io_queues; i++)
		nvme_queue_close(&client->io[i]);
	nvme_queue_close(&client->admin);
}

static int open_io_queues(struct lh_client *client, unsigned int count, struct errtext *err)
{
	for (unsigned int i = 0; i < count; i++) {
		uint16_t cntlid = client->cntlid;
		int rc;

		if (nvme_queue_is_up(&client->io[i]))
			continue;
		nvme_queue_close(&client->io[i]);
		rc = nvme_queue_open(&client->io[i], client->opt.connect_ms, 0, &cntlid, err);
		if (rc < 0)
			return rc;
	}
	if (client->io_count != count)
		client->io_count = count;
	return 0;
}

/* An export whose direct queue was lost, and keys of it may be alive. */
static bool find_unburied(struct lh_client *client, uint32_t *nsid, uint8_t token[LH_TOKEN_BYTES])
{
	struct list *pos;
	bool found = false;

	(void)pthread_mutex_lock(&client->lock);
	list_for_each (pos, &client->exports) {
		struct lh_export *ex = list_entry(pos, struct lh_export, link);

		(void)pthread_mutex_lock(&ex->direct.q.lock);
		if (ex->direct.unburied && !found) {
			found = true;
			*nsid = ex->nsid;
			memcpy(token, ex->direct.token, LH_TOKEN_BYTES);
		}
		(void)pthread_mutex_unlock(&ex->direct.q.lock);
	}
	(void)pthread_mutex_unlock(&client->lock);
	return found;
}

static void set_buried(struct lh_client *client, const uint8_t token[LH_TOKEN_BYTES])
{
	struct list *pos;

	(void)pthread_mutex_lock(&client->lock);
	list_for_each (pos, &client->exports) {
		struct direct *d = &list_entry(pos, struct lh_export, link)->direct;

		(void)pthread_mutex_lock(&d->q.lock);
		if (memcmp(d->token, token, LH_TOKEN_BYTES) == 0)
			d->unburied = false;
		(void)pthread_mutex_unlock(&d->q.lock);
	}
	(void)pthread_mutex_unlock(&client->lock);
}

/*
 * What was posted on direct queues that are lost may be on its way still: their keys are dead before
 * anybody can write anything newer by the controller just made.
 */
static int bury_lost(struct lh_client *client, struct errtext *err)
{
	uint8_t token[LH_TOKEN_BYTES];
	uint32_t nsid = 0;
	int rc = 0;

	while (rc == 0 && find_unburied(client, &nsid, token)) {
		rc = admin_bury(client, nsid, token, err);
		if (rc == 0)
			set_buried(client, token);
	}
	return rc;
}

/* Makes a controller: admin queue, setup, I/O queues. Nothing is left of it on failure. */
static int open_controller(struct lh_client *client, struct errtext *err)
{
	unsigned int io_queues = client->opt.io_queues;
	uint16_t cntlid = NVME_CNTLID_DYNAMIC;
	int rc;

	rc = nvme_queue_open(&client->admin, client->opt.connect_ms, client->opt.kato_ms, &cntlid,
			     err);
	if (rc < 0)
		return rc;
	client->cntlid = cntlid;
	client->change_next = 0;
	atomic_store(&client->keep_alive_since_ns, 0);
	rc = admin_setup(client, &io_queues, err);
	if (rc == 0)
		rc = bury_lost(client, err);
	if (rc == 0)
		rc = open_io_queues(client, io_queues, err);
	if (rc < 0)
		close_queues(client);
	return rc;
}

/* ---- the service thread ---------------------------------------------------------------------- */

static void on_change(struct lh_client *client, const struct lh_change_entry *change)
{
	struct list *pos;

	(void)pthread_mutex_lock(&client->lock);
	list_for_each (pos, &client->exports) {
		struct lh_export *ex = list_entry(pos, struct lh_export, link);

		if (ex->nsid != le32toh(change->nsid))
			continue;
		watch_change(ex, change);
		/* What wants a part comes by the direct queue; without one, nothing is held. */
		if (change->change == LH_CHANGE_RECALL &&
		    (change->offset || le64toh(change->length) != UINT64_MAX))
			continue;
		if (change->change == LH_CHANGE_RECALL) {
			(void)pthread_mutex_lock(&ex->direct.q.lock);
			direct_message_recall(&ex->direct, le32toh(change->generation));
			(void)pthread_mutex_unlock(&ex->direct.q.lock);
		} else if (change->change == LH_CHANGE_REGRANT) {
			atomic_store(&ex->regrant, true);
			export_wake(ex);
		}
	}
	(void)pthread_mutex_unlock(&client->lock);
}

/* What has changed at the target: the export list says in full, the log in short. */
static void take_events(struct lh_client *client)
{
	bool gap = false, fresh;

	/* The sizes first: who acquires again should know how much there is. */
	if (client_refresh(client, NULL) < 0)
		return;
	fresh = client->change_next == 0;
	if (client->direct && admin_changes(client, on_change, &gap, NULL) < 0)
		return;
	watch_look(client, gap && !fresh);
	if (gap) {
		struct list *pos;

		(void)pthread_mutex_lock(&client->lock);
		list_for_each (pos, &client->exports) {
			struct lh_export *ex = list_entry(pos, struct lh_export, link);

			atomic_store(&ex->regrant, true);
			export_wake(ex);
		}
		(void)pthread_mutex_unlock(&client->lock);
	}
}

static void set_state(struct lh_client *client, enum client_state state, const struct errtext *why)
{
	struct list *pos;

	(void)pthread_mutex_lock(&client->lock);
	if (state == CLIENT_LIVE && client->state != CLIENT_LIVE)
		client->epoch++;
	if ((state == CLIENT_LIVE) != (client->state == CLIENT_LIVE))
		watch_connection(client, state == CLIENT_LIVE);
	client->state = state;
	if (state == CLIENT_FAILED)
		client->gave_up_ns = now_ns();
	if (why)
		client->why = *why;
	(void)pthread_cond_broadcast(&client->changed);
	list_for_each (pos, &client->exports) {
		struct lh_export *ex = list_entry(pos, struct lh_export, link);

		atomic_store(&ex->regrant, state == CLIENT_LIVE);
		export_wake(ex);
	}
	(void)pthread_mutex_unlock(&client->lock);
}

static void pause_ms(struct lh_client *client, int ms)
{
	struct pollfd pfd = {.fd = client->wake_fd, .events = POLLIN};
	uint64_t drained;

	(void)poll(&pfd, 1, ms);
	(void)!read(client->wake_fd, &drained, sizeof(drained));
}

/* An I/O queue alone was lost (a fence of the target's): the controller still stands. */
static bool reopen_io_queues(struct lh_client *client)
{
	struct errtext why;

	if (!nvme_queue_is_up(&client->admin))
		return false;
	return open_io_queues(client, client->io_count, &why) == 0 &&
	       nvme_queue_is_up(&client->admin);
}

/* The first of the queues that is down says it. */
static const char *why_lost(struct lh_client *client)
{
	struct nvme_queue *nq = &client->admin;

	for (unsigned int i = 0; nvme_queue_is_up(nq) && i < client->io_count; i++)
		nq = &client->io[i];
	return queue_why(&nq->q);
}

static void tell_lost(struct lh_client *client, const struct lh_lost *lost)
{
	void (*fn)(const struct lh_lost *lost, void *user);
	void *user;

	(void)pthread_mutex_lock(&client->lock);
	fn = client->on_lost;
	user = client->on_lost_user;
	(void)pthread_mutex_unlock(&client->lock);
	if (fn)
		fn(lost, user);
}

void lh_client_on_lost(struct lh_client *client, void (*fn)(const struct lh_lost *lost, void *user),
		       void *user)
{
	(void)pthread_mutex_lock(&client->lock);
	client->on_lost = fn;
	client->on_lost_user = user;
	(void)pthread_mutex_unlock(&client->lock);
}

/* Until there is a controller again, or it is time to give up. */
static void reconnect(struct lh_client *client)
{
	const uint64_t since = now_ns();
	const uint64_t give_up = since + client->opt.reconnect_ms * NS_PER_MS;
	struct lh_lost lost = {.since_ns = since, .give_up_ns = give_up};
	struct errtext why, first;
	int ms = RETRY_MIN_MS;
	bool told = false;

	if (reopen_io_queues(client))
		return;
	(void)errtext_set(&why, 0, "the connection to %s was lost: %s", client->address,
			  why_lost(client));
	set_state(client, CLIENT_LOST, &why);
	first = why;
	lost.why = first.text;
	close_queues(client);
	while (!atomic_load(&client->stop)) {
		if (open_controller(client, &why) == 0) {
			atomic_fetch_add(&client->reconnects, 1);
			set_state(client, CLIENT_LIVE, NULL);
			atomic_store(&client->aen_pending, true);
			lost.back = true;
			if (told)
				tell_lost(client, &lost);
			return;
		}
		if (!told && now_ns() - since > LOST_TOLD_MS * NS_PER_MS) {
			told = true;
			tell_lost(client, &lost);
		}
		if (now_ns() > give_up || atomic_load(&client->given_up)) {
			set_state(client, CLIENT_FAILED, &why);
			return;
		}
		pause_ms(client, ms);
		ms = (int)min_u64((uint64_t)ms * 2, RETRY_MAX_MS);
	}
}

/* A command that is never answered is a connection that is lost. */
static void check_age(struct nvme_queue *nq)
{
	const uint64_t now = now_ns();

	(void)pthread_mutex_lock(&nq->q.lock);
	for (unsigned int i = 0; i < nq->depth && nq->q.live; i++) {
		const struct nvme_slot *slot = &nq->slots[i];

		/* One that is posted just now may be younger than `now`. */
		if (slot->busy && slot->cmd->opcode != NVME_ADMIN_ASYNC_EVENT &&
		    slot->posted_ns + CLIENT_COMMAND_MS * NS_PER_MS < now)
			queue_kill(&nq->q, CLIENT_NO_ANSWER);
	}
	(void)pthread_mutex_unlock(&nq->q.lock);
}

/* Sends Keep Alive when due; says in how many ms to come again. */
static int keep_alive(struct lh_client *client, uint64_t *next_ns)
{
	const uint64_t now = now_ns(), since = atomic_load(&client->keep_alive_since_ns);

	if (client->opt.kato_ms == 0)
		return -1;
	if (since && now - since > client->opt.kato_ms * NS_PER_MS) {
		(void)pthread_mutex_lock(&client->admin.q.lock);
		queue_kill(&client->admin.q, "Keep Alive was not answered in time");
		(void)pthread_mutex_unlock(&client->admin.q.lock);
		return 0;
	}
	if (now >= *next_ns) {
		*next_ns = now + client->opt.kato_ms * NS_PER_MS / 3;
		if (!since)
			(void)admin_keep_alive(client);
	}
	return (int)min_u64((*next_ns - now) / NS_PER_MS + 1, WATCH_MS);
}

static bool needs_reconnect(struct lh_client *client)
{
	enum client_state state;

	(void)pthread_mutex_lock(&client->lock);
	state = client->state;
	(void)pthread_mutex_unlock(&client->lock);
	if (state == CLIENT_FAILED)
		return false;
	return state == CLIENT_LOST || !queues_live(client);
}

static void serve_once(struct lh_client *client, uint64_t *next_ka, uint64_t *next_age)
{
	struct pollfd fds[1 + 2 * (1 + LH_IO_QUEUES_MAX)] = {
		{.fd = client->wake_fd, .events = POLLIN}};
	const unsigned int io_count = client->io_count;
	int ms = keep_alive(client, next_ka), watch_ms;
	uint64_t drained;

	if (ms < 0 || ms > WATCH_MS)
		ms = WATCH_MS;
	watch_ms = queue_watch(&client->admin.q, &fds[1]);
	if (watch_ms >= 0 && watch_ms < ms)
		ms = watch_ms;
	for (unsigned int i = 0; i < io_count; i++) {
		watch_ms = queue_watch(&client->io[i].q, &fds[3 + 2 * i]);
		if (watch_ms >= 0 && watch_ms < ms)
			ms = watch_ms;
	}
	if (atomic_load(&client->aen_pending))
		ms = 0;
	(void)poll(fds, 3 + 2 * io_count, ms);
	(void)!read(client->wake_fd, &drained, sizeof(drained));
	queue_watched(&client->admin.q, &fds[1]);
	for (unsigned int i = 0; i < io_count; i++)
		queue_watched(&client->io[i].q, &fds[3 + 2 * i]);
	if (now_ns() >= *next_age) {
		*next_age = now_ns() + WATCH_MS * NS_PER_MS;
		check_age(&client->admin);
		for (unsigned int i = 0; i < io_count; i++)
			check_age(&client->io[i]);
	}
}

static void *service_main(void *arg)
{
	struct lh_client *client = arg;
	uint64_t next_ka = now_ns() + client->opt.kato_ms * NS_PER_MS / 3, next_age = 0;

	(void)pthread_setname_np(pthread_self(), "lh-service");
	while (!atomic_load(&client->stop)) {
		if (needs_reconnect(client)) {
			reconnect(client);
			continue;
		}
		if (atomic_exchange(&client->aen_pending, false))
			take_events(client);
		if (!atomic_load(&client->aer_out))
			(void)admin_arm_event(client);
		serve_once(client, &next_ka, &next_age);
	}
	return NULL;
}

/* ---- connecting and closing ------------------------------------------------------------------ */

static int check_options(const struct lh_options *o, struct errtext *err)
{
	if (o->kato_ms < LH_KATO_MIN_MS)
		return errtext_set(err, -EINVAL, "kato_ms %u: give at least %u", o->kato_ms,
				   LH_KATO_MIN_MS);
	if (o->io_depth < LH_IO_DEPTH_MIN || o->io_depth > LH_DEPTH_MAX)
		return errtext_set(err, -EINVAL, "io_depth %u: give %u to %u", o->io_depth,
				   LH_IO_DEPTH_MIN, LH_DEPTH_MAX);
	if (o->direct_depth > LH_DEPTH_MAX)
		return errtext_set(err, -EINVAL, "direct_depth %u: give at most %u",
				   o->direct_depth, LH_DEPTH_MAX);
	if (o->io_queues > LH_IO_QUEUES_MAX)
		return errtext_set(err, -EINVAL, "io_queues %u: give at most %u", o->io_queues,
				   LH_IO_QUEUES_MAX);
	if ((unsigned int)o->crc > LH_CRC_OFF)
		return errtext_set(err, -EINVAL, "crc %u: that is none of enum lh_crc",
				   (unsigned int)o->crc);
	if ((unsigned int)o->keys > LH_KEYS_LASTING)
		return errtext_set(err, -EINVAL, "keys %u: that is none of enum lh_keys",
				   (unsigned int)o->keys);
	if ((unsigned int)o->persist > LH_PERSIST_FLUSH)
		return errtext_set(err, -EINVAL, "persist %u: that is none of enum lh_persist_by",
				   (unsigned int)o->persist);
	return 0;
}

static int set_options(struct lh_client *client, const struct lh_options *given,
		       struct errtext *err)
{
	struct lh_options *o = &client->opt;

	if (given)
		*o = *given;
	o->kato_ms = o->kato_ms ? o->kato_ms : 15000;
	o->connect_ms = o->connect_ms ? o->connect_ms : 5000;
	o->reconnect_ms = o->reconnect_ms ? o->reconnect_ms : 60000;
	o->io_queues = o->io_queues ? o->io_queues : 1;
	o->io_depth = o->io_depth ? o->io_depth : 128;
	o->direct_depth = o->direct_depth ? o->direct_depth : 128;
	o->max_unconfirmed_kib = o->max_unconfirmed_kib ? o->max_unconfirmed_kib : 65536;
	return check_options(o, err);
}

static int open_fabric(struct lh_client *client, struct errtext *err)
{
	struct iwarp_options iwarp = {.crc = IWARP_CRC_AUTO};

	if (client->uri.fabric == TARGET_RDMA)
		return verbs_fabric_open(&client->fabric, err);
	if (client->opt.crc == LH_CRC_ON || client->uri.crc == TARGET_CRC_ON)
		iwarp.crc = IWARP_CRC_ON;
	if (client->opt.crc == LH_CRC_OFF)
		iwarp.crc = IWARP_CRC_OFF;
	if (client->uri.crc == TARGET_CRC_OFF)
		iwarp.crc = IWARP_CRC_OFF;
	else if (client->uri.crc == TARGET_CRC_AUTO)
		iwarp.crc = IWARP_CRC_AUTO;
	return iwarp_fabric_open(&iwarp, &client->fabric, err);
}

static int init_queues(struct lh_client *client)
{
	int rc = nvme_queue_init(&client->admin, client, 0, CLIENT_ADMIN_DEPTH, NULL);

	if (rc < 0)
		return rc;
	client->io = calloc(client->opt.io_queues, sizeof(*client->io));
	if (!client->io) {
		nvme_queue_fini(&client->admin);
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < client->opt.io_queues; i++) {
		rc = nvme_queue_init(&client->io[i], client, (uint16_t)(i + 1),
				     client->opt.io_depth, block_pump);
		if (rc < 0) {
			while (i-- > 0)
				nvme_queue_fini(&client->io[i]);
			free(client->io);
			nvme_queue_fini(&client->admin);
			return rc;
		}
	}
	return 0;
}

static void fini_queues(struct lh_client *client)
{
	for (unsigned int i = 0; i < client->opt.io_queues; i++)
		nvme_queue_fini(&client->io[i]);
	free(client->io);
	nvme_queue_fini(&client->admin);
}

static int start_service(struct lh_client *client)
{
	sigset_t all, old;
	int rc;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = -pthread_create(&client->service, NULL, service_main, client);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	client->service_started = rc == 0;
	return rc;
}

static struct lh_client *client_new(void)
{
	struct lh_client *client = calloc(1, sizeof(*client));
	pthread_condattr_t attr;

	if (!client)
		return NULL;
	client->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (client->wake_fd < 0) {
		free(client);
		return NULL;
	}
	memory_init(&client->memory);
	list_init(&client->exports);
	(void)pthread_mutex_init(&client->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&client->changed, &attr);
	(void)pthread_condattr_destroy(&attr);
	return client;
}

static void client_free(struct lh_client *client)
{
	memory_fini(&client->memory);
	if (client->fabric)
		fabric_close(client->fabric);
	(void)pthread_cond_destroy(&client->changed);
	(void)pthread_mutex_destroy(&client->lock);
	(void)close(client->wake_fd);
	free(client);
}

int client_new_for(const char *uri, const struct lh_options *options, struct lh_client **out,
		   struct errtext *err)
{
	struct lh_client *client = client_new();
	int rc;

	if (!client) {
		(void)errtext_set(err, -ENOMEM, "out of memory");
		return -ENOMEM;
	}
	rc = set_options(client, options, err);
	if (rc == 0)
		rc = target_uri_parse(uri, &client->uri, err);
	if (rc == 0)
		rc = host_identity(client->opt.host_nqn, client->host_nqn, client->host_id, err);
	client->opt.host_nqn = client->host_nqn;
	target_uri_address(&client->uri, client->address, sizeof(client->address));
	if (rc == 0)
		rc = target_uri_resolve(&client->uri, &client->addr, err);
	if (rc == 0)
		rc = open_fabric(client, err);
	if (rc == 0) {
		rc = init_queues(client);
		if (rc < 0)
			(void)errtext_set(err, rc, "out of memory");
	}
	if (rc < 0) {
		client_free(client);
		return rc;
	}
	*out = client;
	return 0;
}

void client_end(struct lh_client *client)
{
	close_queues(client);
	fini_queues(client);
	client_free(client);
}

int client_open_discovery(struct lh_client *client, struct errtext *err)
{
	uint16_t cntlid = NVME_CNTLID_DYNAMIC;
	int rc;

	/* Gone again before a keep-alive would be due. */
	rc = nvme_queue_open(&client->admin, client->opt.connect_ms, 0, &cntlid, err);
	if (rc < 0)
		return rc;
	client->cntlid = cntlid;
	return admin_enable(client, err);
}

int lh_connect(const char *uri, const struct lh_options *options, struct lh_client **out,
	       struct lh_error *err)
{
	struct lh_client *client;
	struct errtext why;
	int rc = client_new_for(uri, options, &client, &why);

	if (rc < 0)
		return client_fail(err, rc, &why);
	rc = open_controller(client, &why);
	if (rc == 0) {
		client->epoch = 1;
		rc = start_service(client);
		if (rc < 0)
			(void)errtext_set(&why, rc, "no thread for the service: %s", strerror(-rc));
	}
	if (rc < 0) {
		client_end(client);
		return client_fail(err, rc, &why);
	}
	*out = client;
	return 0;
}

void lh_client_close(struct lh_client *client)
{
	if (!client)
		return;
	assert(list_empty(&client->exports));
	atomic_store(&client->stop, true);
	client_wake(client);
	(void)pthread_join(client->service, NULL);
	if (nvme_queue_is_up(&client->admin))
		admin_shutdown(client);
	client_end(client);
}

void lh_client_give_up(struct lh_client *client)
{
	atomic_store(&client->given_up, true);
	client_wake(client);
}

void lh_client_info(struct lh_client *client, struct lh_client_info *info)
{
	memset(info, 0, sizeof(*info));
	(void)snprintf(info->address, sizeof(info->address), "%.79s", client->address);
	(void)snprintf(info->nqn, sizeof(info->nqn), "%.223s", client->uri.nqn);
	(void)snprintf(info->fabric, sizeof(info->fabric), "%s", fabric_name(client->fabric));
	(void)snprintf(info->device, sizeof(info->device), "%s",
		       fabric_device_info(client_device(client))->name);
	(void)pthread_mutex_lock(&client->lock);
	memcpy(info->model, client->model, sizeof(info->model));
	memcpy(info->firmware, client->firmware, sizeof(info->firmware));
	info->controller = client->cntlid;
	info->direct = client->direct;
	info->recall_deadline_ms = client->ext.recall_deadline_ms;
	info->max_transfer_bytes = client->max_transfer_bytes;
	if (client->direct) {
		info->can_allocate = client->ext.capabilities & LH_CAP_ALLOCATE;
		info->can_split = client->ext.capabilities & LH_CAP_PART;
		info->can_commit = client->ext.capabilities & LH_CAP_COMMIT;
		info->can_flush = client_can_flush(client);
		info->can_watch = client->ext.capabilities & LH_CAP_WATCH;
		info->grant_expiry_ms = client->ext.grant_expiry_ms;
		info->max_grants = client->ext.max_grants;
		info->max_grant_bytes = client->ext.max_grant_bytes;
	}
	(void)pthread_mutex_unlock(&client->lock);
}

/* ---- memory ---------------------------------------------------------------------------------- */

void *lh_alloc(struct lh_client *client, size_t bytes)
{
	const size_t whole = (size_t)align_up(max_u64(bytes, 1), 4096);
	struct lh_buf *buf;
	void *p = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int rc;

	if (p == MAP_FAILED)
		return NULL;
	rc = memory_register(&client->memory, client, p, whole, &buf, NULL);
	if (rc < 0) {
		(void)munmap(p, whole);
		errno = -rc;
		return NULL;
	}
	buf->ours = true;
	return p;
}

void lh_free(struct lh_client *client, void *memory)
{
	struct lh_buf *buf = memory ? memory_at(&client->memory, memory) : NULL;

	if (!memory)
		return;
	assert(buf && buf->ours);
	memory_unregister(&client->memory, buf);
}

int lh_buf_register(struct lh_client *client, void *memory, size_t bytes, struct lh_buf **buf,
		    struct lh_error *err)
{
	struct errtext why;
	int rc = memory_register(&client->memory, client, memory, bytes, buf, &why);

	return rc < 0 ? client_fail(err, rc, &why) : 0;
}

void lh_buf_unregister(struct lh_buf *buf)
{
	memory_unregister(&buf->client->memory, buf);
}
