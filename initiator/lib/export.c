// SPDX-License-Identifier: BSD-3-Clause
/*
 * Exports: opening and closing, what is known of them, holds, events, statistics. Callers' threads;
 * export_update() also on the service thread.
 */
#include "libleasehold/admin.h"
#include "libleasehold/export.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define HOLD_WAIT_MS  10000
#define HOLD_BRIEF_MS 1000 /* LH_HOLD_BRIEF, from the target's first "not now" */

/* ---- what the target says -------------------------------------------------------------------- */

static void describe(const struct lh_export_entry *e, struct lh_export_info *info)
{
	*info = (struct lh_export_info){
		.nsid = le32toh(e->nsid),
		.generation = le32toh(e->generation),
		.block_bytes = le32toh(e->lba_bytes),
		.size_bytes = le64toh(e->size_bytes),
		.backed_bytes = le64toh(e->backed_bytes),
		.read_only = e->flags & LH_EXPORT_READ_ONLY,
		.volatile_cache = e->flags & LH_EXPORT_VOLATILE,
		.dax = e->flags & LH_EXPORT_DAX,
		.tail = e->flags & LH_EXPORT_TAIL,
		.state = lh_export_state_text(e->state),
		.rung = lh_rung_text(e->rung),
		.durability = lh_durability_text(e->durability),
	};
	memcpy(info->name, e->name, sizeof(info->name));
	memcpy(info->uuid, e->uuid, sizeof(info->uuid));
	static_assert(sizeof(info->rung_why) == sizeof(e->rung_why), "rung_why");
	memcpy(info->rung_why, e->rung_why, sizeof(info->rung_why));
}

/* The export list; should the connection be lost under it, then by the next one. */
static int read_list(struct lh_client *client, struct lh_export_entry **entries, size_t *count,
		     struct errtext *err)
{
	const uint64_t begun = now_ns(), deadline = begun + client->opt.reconnect_ms * NS_PER_MS;
	int rc;

	do {
		rc = client_wait_live_since(client, begun, deadline, err);
		if (rc < 0)
			return rc;
		rc = admin_exports(client, entries, count, err);
	} while (rc == -ENOTCONN && now_ns() < deadline);
	return rc;
}

int lh_list(struct lh_client *client, struct lh_export_info **out, size_t *count,
	    struct lh_error *err)
{
	struct lh_export_entry *entries = NULL;
	struct lh_export_info *list;
	struct errtext why;
	size_t n = 0;
	int rc = read_list(client, &entries, &n, &why);

	if (rc < 0)
		return client_fail(err, rc, &why);
	list = calloc(n + 1, sizeof(*list));
	for (size_t i = 0; list && i < n; i++)
		describe(&entries[i], &list[i]);
	free(entries);
	if (!list)
		return client_failf(err, -ENOMEM, "out of memory");
	*out = list;
	*count = n;
	return 0;
}

void export_update(struct lh_export *ex, const struct lh_export_entry *entry)
{
	const uint64_t size = le64toh(entry->size_bytes);
	struct direct *d = &ex->direct;
	bool regrant = entry->state == LH_EXPORT_SERVING && ex->entry.state != LH_EXPORT_SERVING;

	ex->entry = *entry;
	atomic_store(&ex->refreshed_ns, now_ns());
	if (size == atomic_load(&ex->size_bytes)) {
		if (regrant) {
			atomic_store(&ex->regrant, true);
			export_wake(ex);
		}
		return;
	}
	(void)pthread_mutex_lock(&d->q.lock);
	if (write_log_resize(&d->log, size) == 0)
		atomic_store(&ex->size_bytes, size);
	(void)pthread_mutex_unlock(&d->q.lock);
	atomic_store(&ex->regrant, true);
	export_wake(ex);
}

void export_wake(struct lh_export *ex)
{
	const uint64_t one = 1;

	(void)!write(ex->wake_fd, &one, sizeof(one));
}

/* ---- opening and closing --------------------------------------------------------------------- */

static int not_there(const struct lh_client *client, const char *name,
		     const struct lh_export_entry *entries, size_t n, struct lh_error *err)
{
	char names[300] = "";
	size_t used = 0;

	for (size_t i = 0; i < n && used < sizeof(names) - LH_NAME_BYTES - 8; i++)
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", i ? ", " : "",
					 entries[i].name);
	if (n == 0)
		return client_failf(err, -ENOENT,
				    "%s serves no export now, \"%s\" neither: it may be offline, "
				    "removed, or never configured (leasehold status on that host "
				    "tells)",
				    client->address, name);
	return client_failf(err, -ENOENT,
			    "%s serves no export \"%s\" now; it serves %s (what is offline there "
			    "only leasehold status on that host tells)",
			    client->address, name, names);
}

static int init_parts(struct lh_export *ex)
{
	pthread_condattr_t attr;
	int rc;

	list_init(&ex->link);
	list_init(&ex->holds);
	list_init(&ex->free_ops);
	ex->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ex->wake_fd < 0)
		return -errno;
	ex->ops = calloc(LH_OPS_MAX, sizeof(*ex->ops));
	if (!ex->ops) {
		(void)close(ex->wake_fd);
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < LH_OPS_MAX; i++)
		list_push(&ex->free_ops, &ex->ops[i].link);
	rc = direct_init(&ex->direct, ex);
	if (rc < 0) {
		free(ex->ops);
		(void)close(ex->wake_fd);
		return rc;
	}
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&ex->changed, &attr);
	(void)pthread_condattr_destroy(&attr);
	(void)pthread_mutex_init(&ex->keeper_lock, NULL);
	(void)pthread_mutex_init(&ex->ops_lock, NULL);
	(void)pthread_mutex_init(&ex->patch_lock, NULL);
	return 0;
}

static void fini_parts(struct lh_export *ex)
{
	direct_fini(&ex->direct);
	(void)pthread_mutex_destroy(&ex->patch_lock);
	(void)pthread_mutex_destroy(&ex->ops_lock);
	(void)pthread_mutex_destroy(&ex->keeper_lock);
	(void)pthread_cond_destroy(&ex->changed);
	free(ex->ops);
	(void)close(ex->wake_fd);
}

int lh_export_open(struct lh_client *client, const char *name, struct lh_export **out,
		   struct lh_error *err)
{
	const struct lh_export_entry *entry = NULL;
	struct lh_export_entry *entries = NULL;
	struct lh_export *ex;
	struct errtext why;
	size_t n = 0;
	int rc = read_list(client, &entries, &n, &why);

	if (rc < 0)
		return client_fail(err, rc, &why);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(entries[i].name, name) == 0)
			entry = &entries[i];
	}
	if (!entry) {
		rc = not_there(client, name, entries, n, err);
		free(entries);
		return rc;
	}
	ex = calloc(1, sizeof(*ex));
	if (ex) {
		ex->client = client;
		ex->entry = *entry;
		ex->nsid = le32toh(entry->nsid);
		ex->lba_bytes = le32toh(entry->lba_bytes);
		ex->size_bytes = le64toh(entry->size_bytes);
		memcpy(ex->name, entry->name, sizeof(ex->name));
		rc = init_parts(ex);
		if (rc < 0) {
			free(ex);
			ex = NULL;
		}
	}
	free(entries);
	if (!ex)
		return client_failf(err, -ENOMEM, "out of memory for export \"%s\"", name);
	(void)pthread_mutex_lock(&client->lock);
	list_push(&client->exports, &ex->link);
	(void)pthread_mutex_unlock(&client->lock);
	*out = ex;
	return 0;
}

int lh_open(const char *uri, const struct lh_options *options, struct lh_client **client,
	    struct lh_export **ex, struct lh_error *err)
{
	struct target_uri parsed;
	struct lh_client *c;
	struct errtext why;
	int rc = target_uri_parse(uri, &parsed, &why);

	if (rc < 0)
		return client_fail(err, rc, &why);
	if (!parsed.export_name[0])
		return client_failf(err, -EINVAL,
				    "\"%s\" names no export: put it behind the host, "
				    "as in iwarp://HOST/EXPORT",
				    uri);
	rc = lh_connect(uri, options, &c, err);
	if (rc < 0)
		return rc;
	rc = lh_export_open(c, parsed.export_name, ex, err);
	if (rc < 0) {
		lh_client_close(c);
		return rc;
	}
	*client = c;
	return 0;
}

int lh_export_close(struct lh_export *ex)
{
	struct lh_client *client;
	struct list *pos, *tmp;
	int rc;

	if (!ex)
		return 0;
	client = ex->client;
	rc = keeper_stop(ex);
	(void)pthread_mutex_lock(&client->lock);
	list_del(&ex->link);
	watch_fini(&ex->watch);
	(void)pthread_mutex_unlock(&client->lock);
	list_for_each_safe (pos, tmp, &ex->holds)
		free(list_entry(pos, struct lh_hold, link));
	fini_parts(ex);
	free(ex);
	return rc;
}

int lh_export_info(struct lh_export *ex, bool refresh, struct lh_export_info *info,
		   struct lh_error *err)
{
	struct errtext why;

	if (refresh) {
		int rc = client_wait_live(
			ex->client, now_ns() + ex->client->opt.reconnect_ms * NS_PER_MS, &why);

		if (rc == 0)
			rc = client_refresh(ex->client, &why);
		if (rc < 0)
			return client_fail(err, rc, &why);
	}
	(void)pthread_mutex_lock(&ex->client->lock);
	describe(&ex->entry, info);
	(void)pthread_mutex_unlock(&ex->client->lock);
	return 0;
}

/* ---- holds ----------------------------------------------------------------------------------- */

/* What is waited for in vain: with the target's reason, if it gave one. */
static int not_granted(const struct lh_export *ex, const struct hold_error *error, uint64_t ms,
		       struct lh_error *err)
{
	if (error->text.text[0])
		return client_failf(err, -ETIMEDOUT, "not granted within %llu s: %s",
				    (unsigned long long)(ms / 1000), error->text.text);
	return client_failf(err, -ETIMEDOUT,
			    "\"%s\" was not granted within %llu s (its file system may have the "
			    "blocks): try again, or use block commands",
			    ex->name, (unsigned long long)(ms / 1000));
}

static int await_hold(struct lh_hold *h, bool brief, struct lh_error *err)
{
	struct lh_export *ex = h->ex;
	struct direct *d = &ex->direct;
	const uint64_t begun = now_ns();
	uint64_t deadline = begun + HOLD_WAIT_MS * NS_PER_MS;
	struct hold_error error = {0};

	(void)pthread_mutex_lock(&d->q.lock);
	while (h->state == HOLD_NEW && now_ns() < deadline) {
		struct timespec ts;

		if (brief && h->later_ns)
			deadline = min_u64(deadline, h->later_ns + HOLD_BRIEF_MS * NS_PER_MS);
		ts.tv_sec = (time_t)(deadline / NS_PER_S);
		ts.tv_nsec = (long)(deadline % NS_PER_S);
		(void)pthread_cond_timedwait(&ex->changed, &d->q.lock, &ts);
	}
	if (h->state != HOLD_SETTLED)
		error = h->error;
	if (h->state == HOLD_NEW)
		error.code = -ETIMEDOUT;
	if (error.code) {
		h->leaving = true;
		atomic_store(&ex->poke, true);
		export_wake(ex);
		while (!h->gone)
			(void)pthread_cond_wait(&ex->changed, &d->q.lock);
	}
	(void)pthread_mutex_unlock(&d->q.lock);
	if (!error.code)
		return 0;
	free(h);
	if (error.code == -ETIMEDOUT)
		return not_granted(ex, &error, (deadline - begun) / NS_PER_MS, err);
	return client_fail(err, error.code, &error.text);
}

int export_check_level(const struct lh_export *ex, enum lh_durability level, struct lh_error *err)
{
	const enum lh_persist_by by = ex->client->opt.persist;
	const char *is = lh_durability_text(level);

	if (by == LH_PERSIST_READ && level != LH_DURABLE_READ_AFTER_WRITE)
		return client_failf(err, -EOPNOTSUPP,
				    "direct writes to \"%s\" have the durability \"%s\" here, not "
				    "\"read-after-write\", so a read does not make them durable: "
				    "persist by Commit, or have the target's administrator look at "
				    "inbound_writes",
				    ex->name, is);
	if (by == LH_PERSIST_FLUSH && level != LH_DURABLE_FLUSH)
		return client_failf(
			err, -EOPNOTSUPP,
			"direct writes to \"%s\" have the durability \"%s\" here, not "
			"\"flush\", so RDMA FLUSH does not make them durable: persist by "
			"Commit (leasehold status on the target tells of flush_proven)",
			ex->name, is);
	if (by == LH_PERSIST_FLUSH && !client_can_flush(ex->client))
		return client_failf(err, -EOPNOTSUPP,
				    "adapter %s of this machine, or its libibverbs, has no RDMA "
				    "FLUSH: persist by Commit",
				    fabric_device_info(client_device(ex->client))->name);
	return 0;
}

/* What was chosen to confirm with, before anything is written that it could not confirm. */
static int check_hold(const struct lh_export *ex, unsigned int access, struct lh_error *err)
{
	uint8_t level;

	if (ex->client->opt.persist == LH_PERSIST_READ && !(access & LH_READ))
		return client_failf(err, -EINVAL,
				    "LH_PERSIST_READ reads what was written: hold it for LH_READ, "
				    "too, or persist by Commit");
	(void)pthread_mutex_lock(&ex->client->lock);
	level = ex->entry.durability;
	(void)pthread_mutex_unlock(&ex->client->lock);
	return export_check_level(ex, level, err);
}

int lh_hold(struct lh_export *ex, uint64_t offset, uint64_t length, unsigned int access,
	    unsigned int flags, struct lh_hold **hold, struct lh_error *err)
{
	struct direct *d = &ex->direct;
	uint64_t end = length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
	struct lh_hold *h;
	int rc;

	if (!(access & (LH_READ | LH_WRITE)) || access & ~(unsigned int)(LH_READ | LH_WRITE) ||
	    length == 0)
		return client_failf(err, -EINVAL,
				    "hold something: LH_READ, LH_WRITE or both, over "
				    "at least one byte");
	if (flags & ~(unsigned int)(LH_HOLD_ALLOCATE | LH_HOLD_NOWAIT | LH_HOLD_BRIEF))
		return client_failf(err, -EINVAL,
				    "flags %xh: there are LH_HOLD_ALLOCATE, LH_HOLD_NOWAIT and "
				    "LH_HOLD_BRIEF only",
				    flags);
	rc = access & LH_WRITE ? check_hold(ex, access, err) : 0;
	if (rc < 0)
		return rc;
	h = calloc(1, sizeof(*h));
	if (!h)
		return client_failf(err, -ENOMEM, "out of memory");
	h->ex = ex;
	h->offset = align_down(offset, LH_GRANT_ALIGN);
	h->end = end > UINT64_MAX - LH_GRANT_ALIGN ? UINT64_MAX : align_up(end, LH_GRANT_ALIGN);
	h->access = access;
	h->allocate = flags & LH_HOLD_ALLOCATE;
	h->patient = (flags & LH_HOLD_NOWAIT) && !ex->client->opt.no_fallback;
	static_assert((int)LH_READ == (int)LH_GRANT_READ && (int)LH_WRITE == (int)LH_GRANT_WRITE,
		      "one set of bits");
	(void)pthread_mutex_lock(&d->q.lock);
	list_push(&ex->holds, &h->link);
	(void)pthread_mutex_unlock(&d->q.lock);
	rc = keeper_start(ex);
	if (rc < 0) {
		(void)pthread_mutex_lock(&d->q.lock);
		list_del(&h->link);
		(void)pthread_mutex_unlock(&d->q.lock);
		free(h);
		return client_failf(err, rc, "no thread for the keeper: %s", strerror(-rc));
	}
	atomic_store(&ex->poke, true);
	export_wake(ex);
	if (!(flags & LH_HOLD_NOWAIT)) {
		rc = await_hold(h, flags & LH_HOLD_BRIEF, err);
		if (rc < 0)
			return rc;
	}
	atomic_store(&ex->direct_wanted, true);
	if (hold)
		*hold = h;
	return 0;
}

int lh_unhold(struct lh_hold *h)
{
	struct lh_export *ex = h->ex;
	struct direct *d = &ex->direct;
	struct write_range dead;
	int rc;

	(void)pthread_mutex_lock(&d->q.lock);
	h->leaving = true;
	export_wake(ex);
	while (!h->gone)
		(void)pthread_cond_wait(&ex->changed, &d->q.lock);
	if (list_empty(&ex->holds))
		atomic_store(&ex->direct_wanted, false);
	rc = write_log_dead(&d->log, h->offset, h->end - h->offset, &dead) ? -LH_EDEAD : 0;
	(void)pthread_mutex_unlock(&d->q.lock);
	free(h);
	return rc;
}

int lh_hold_narrow(struct lh_hold *h, uint64_t offset, uint64_t length, struct lh_error *err)
{
	struct lh_export *ex = h->ex;
	struct direct *d = &ex->direct;
	const uint64_t from = align_down(offset, LH_GRANT_ALIGN);
	uint64_t end = length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
	uint64_t dead_from, dead_to;
	struct write_range dead;
	int rc;

	end = end > UINT64_MAX - LH_GRANT_ALIGN ? UINT64_MAX : align_up(end, LH_GRANT_ALIGN);
	if (length == 0 || from < h->offset || end > h->end)
		return client_failf(err, -EINVAL,
				    "%llu bytes at offset %llu are no part of the hold, which is "
				    "over bytes %llu to %llu",
				    (unsigned long long)length, (unsigned long long)offset,
				    (unsigned long long)h->offset, (unsigned long long)h->end - 1);
	(void)pthread_mutex_lock(&d->q.lock);
	dead_from = h->narrowed_from = h->offset;
	dead_to = h->narrowed_to = h->end;
	h->offset = from;
	h->end = end;
	h->narrowing = true;
	export_wake(ex);
	while (h->narrowing)
		(void)pthread_cond_wait(&ex->changed, &d->q.lock);
	rc = write_log_dead(&d->log, dead_from, dead_to - dead_from, &dead) ? -LH_EDEAD : 0;
	(void)pthread_mutex_unlock(&d->q.lock);
	if (rc < 0)
		return client_failf(err, rc,
				    "bytes that were held were written directly and never "
				    "confirmed, the first at offset %llu: write them again",
				    (unsigned long long)dead.offset);
	return 0;
}

void lh_hold_info(struct lh_hold *h, struct lh_hold_info *info)
{
	struct lh_export *ex = h->ex;
	struct direct *d = &ex->direct;
	const uint64_t size = atomic_load(&ex->size_bytes);
	const uint64_t end = max_u64(min_u64(h->end, size), h->offset);
	size_t pieces;

	(void)pthread_mutex_lock(&d->q.lock);
	*info = (struct lh_hold_info){
		.offset = h->offset,
		.length = end - h->offset,
		.granted_bytes = grant_map_bytes(&d->map, h->offset, end, &pieces),
		.generation = d->map.count ? d->generation : 0,
		.pieces = (uint32_t)pieces,
		.durability = lh_durability_text(d->durability),
	};
	info->pieces = (uint32_t)pieces;
	(void)pthread_mutex_unlock(&d->q.lock);
}

/* ---- events, statistics, keys ---------------------------------------------------------------- */

void lh_export_on_event(struct lh_export *ex, void (*fn)(const struct lh_event *event, void *user),
			void *user)
{
	(void)pthread_mutex_lock(&ex->direct.q.lock);
	ex->on_event = fn;
	ex->on_event_user = user;
	(void)pthread_mutex_unlock(&ex->direct.q.lock);
}

const char *lh_event_name(enum lh_event_kind kind)
{
	static const char *const names[] = {
		[LH_EVENT_GRANTED] = "granted",		[LH_EVENT_TOLD] = "told",
		[LH_EVENT_RELEASED] = "released",	[LH_EVENT_REGRANTED] = "regranted",
		[LH_EVENT_FENCED] = "fenced",		[LH_EVENT_DEAD] = "dead",
		[LH_EVENT_REPLAYED] = "replayed",	[LH_EVENT_RESIZED] = "resized",
		[LH_EVENT_RECONNECTED] = "reconnected", [LH_EVENT_WAITING] = "waiting",
	};

	return (size_t)kind < ARRAY_SIZE(names) ? names[kind] : "unknown";
}

void lh_export_stats(struct lh_export *ex, struct lh_stats *stats)
{
	uint64_t values[STAT_COUNT];

	for (unsigned int i = 0; i < STAT_COUNT; i++)
		values[i] = atomic_load(&ex->stats[i]);
	values[STAT_RECONNECTS] = atomic_load(&ex->client->reconnects);
	memcpy(stats, values, sizeof(*stats));
}

int lh_export_key(struct lh_export *ex, uint64_t offset, struct lh_key *key)
{
	struct direct *d = &ex->direct;
	const struct grant_piece *p;

	(void)pthread_mutex_lock(&d->q.lock);
	p = grant_map_find(&d->map, offset, 0);
	if (p)
		*key = (struct lh_key){.offset = p->offset,
				       .address = p->address,
				       .length = p->length,
				       .rkey = p->rkey,
				       .generation = d->generation,
				       .queue = d->incarnation};
	(void)pthread_mutex_unlock(&d->q.lock);
	return p ? 0 : -ENOENT;
}
