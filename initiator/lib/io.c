// SPDX-License-Identifier: BSD-3-Clause
/*
 * Reads and writes as callers ask for them: checked against the size, sent directly or by block
 * commands, waited for, sent another way when they come back undone. Callers' threads.
 */
#include "libleasehold/export.h"

#include <errno.h>
#include <string.h>

#define TRANSIENT_PAUSE_MS 20
#define PATCH_BYTES_MAX	   MIB(1)
#define IO_PATCH	   (1u << 16) /* beside enum lh_io_flags: holds bytes that nobody wrote */
#define IO_REPLAY	   (1u << 17) /* a copy of what was written directly */
#define TURN_NS		   (100 * NS_PER_US) /* lh_wait_any(): at one queue of several */

void op_settle(struct lh_op *op)
{
	if (op->in_flight || op->listed || op->confirming || (!op->stop && op->cursor < op->length))
		return;
	op->state = op->error || !op->stop ? OP_DONE : OP_RETRY;
}

/* ---- block access that is not aligned -------------------------------------------------------- */

static int block_aligned(struct lh_export *ex, unsigned int flags, uint64_t offset, void *buf,
			 uint64_t length, struct lh_error *err);

/* Reads whole blocks around [offset, offset + length), patches, writes them back. */
static int patch_piece(struct lh_export *ex, unsigned int flags, uint64_t offset, uint8_t *buf,
		       uint64_t length, uint8_t *blocks, struct lh_error *err)
{
	const uint64_t from = align_down(offset, ex->lba_bytes);
	const uint64_t to = align_up(offset + length, ex->lba_bytes);
	int rc = block_aligned(ex, LH_IO_BLOCK, from, blocks, to - from, err);

	if (rc < 0)
		return rc;
	if (!(flags & LH_IO_WRITE)) {
		memcpy(buf, blocks + (offset - from), length);
		return 0;
	}
	memcpy(blocks + (offset - from), buf, length);
	return block_aligned(ex, LH_IO_BLOCK | IO_PATCH | flags, from, blocks, to - from, err);
}

static int patch(struct lh_op *op, struct lh_error *err)
{
	struct lh_export *ex = op->ex;
	const bool write = op->flags & LH_IO_WRITE;
	uint8_t *blocks = lh_alloc(ex->client, PATCH_BYTES_MAX + 2ull * ex->lba_bytes);
	uint64_t done = 0;
	int rc = 0;

	if (!blocks)
		return client_failf(err, -ENOMEM, "out of memory");
	/* Two patches of one block must not lose each other's bytes. */
	if (write)
		(void)pthread_mutex_lock(&ex->patch_lock);
	while (rc == 0 && done < op->length) {
		uint64_t n = min_u64(op->length - done, PATCH_BYTES_MAX);

		rc = patch_piece(ex, op->flags & (LH_IO_WRITE | LH_IO_DURABLE), op->offset + done,
				 op->buf + done, n, blocks, err);
		done += n;
	}
	if (write)
		(void)pthread_mutex_unlock(&ex->patch_lock);
	lh_free(ex->client, blocks);
	return rc;
}

/* ---- routing --------------------------------------------------------------------------------- */

static int out_of_range(const struct lh_op *op, struct lh_error *err)
{
	const uint64_t size = atomic_load(&op->ex->size_bytes);

	/* The target looks at the file; the export's size follows when it is served again. */
	if (range_ok(op->offset, op->length, size))
		return client_failf(
			err, -ERANGE,
			"range error: %llu bytes at offset %llu do not lie in \"%s\" any "
			"more: its file has become shorter",
			(unsigned long long)op->length, (unsigned long long)op->offset,
			op->ex->name);
	return client_failf(
		err, -ERANGE,
		"range error: %llu bytes at offset %llu do not lie in \"%s\", which has "
		"%llu bytes%s",
		(unsigned long long)op->length, (unsigned long long)op->offset, op->ex->name,
		(unsigned long long)size, op->offset < size ? "" : " (was the file truncated?)");
}

/* The export may have grown since we last heard of it. */
static bool in_range(struct lh_op *op)
{
	struct lh_export *ex = op->ex;
	struct errtext why;

	if (range_ok(op->offset, op->length, atomic_load(&ex->size_bytes)))
		return true;
	if (now_ns() - atomic_load(&ex->refreshed_ns) > 10 * NS_PER_MS &&
	    client_wait_live_since(ex->client, op->begun_ns, op->give_up_ns, &why) == 0)
		(void)client_refresh(ex->client, NULL);
	return range_ok(op->offset, op->length, atomic_load(&ex->size_bytes));
}

/*
 * A copy of what was written directly before, made again after this command, would undo it. It goes
 * before the command is sent, since the direct queue may be lost any time.
 */
static void overwrite_copies(struct lh_op *op)
{
	struct direct *d = &op->ex->direct;
	struct write_range lost;
	uint64_t before;

	if (!d->replay.on || !(op->flags & (LH_IO_WRITE | LH_IO_DEALLOCATE)) ||
	    op->flags & (IO_PATCH | IO_REPLAY))
		return;
	(void)pthread_mutex_lock(&d->q.lock);
	while (replay_out(&d->replay, op->offset, op->length))
		(void)pthread_cond_wait(&op->ex->changed, &d->q.lock);
	before = d->replay.bytes;
	if (replay_overwritten(&d->replay, op->offset, op->length, &lost) < 0)
		write_log_kill(&d->log, lost.offset, lost.length);
	op->overwrites |= d->replay.bytes != before;
	(void)pthread_mutex_unlock(&d->q.lock);
}

/* It failed: what was to be overwritten is not there for sure, and no copy is. */
static void own_up(struct lh_op *op)
{
	struct direct *d = &op->ex->direct;

	if (!op->overwrites)
		return;
	op->overwrites = false;
	(void)pthread_mutex_lock(&d->q.lock);
	write_log_kill(&d->log, op->offset, op->length);
	(void)pthread_mutex_unlock(&d->q.lock);
}

static int finish(struct lh_op *op, int rc)
{
	if (rc < 0)
		own_up(op);
	op->q = NULL; /* nobody else knows of it */
	op->error = rc;
	op->state = OP_DONE;
	return rc;
}

static int route_block(struct lh_op *op, struct lh_error *err)
{
	struct lh_client *client = op->ex->client;
	struct errtext why;

	overwrite_copies(op);
	if ((op->offset | op->length) & (op->ex->lba_bytes - 1)) {
		op->by_block = true;
		return finish(op, patch(op, err));
	}
	for (;;) {
		int rc = block_start(op, client_io_queue(client));

		if (rc == 0)
			return 0;
		/* Of many that were under way together one waits, and all know. */
		rc = client_wait_live_since(client, op->begun_ns, op->give_up_ns, &why);
		if (rc < 0)
			return finish(op, client_fail(err, rc, &why));
	}
}

/* Sends an operation on its way. On an error it is OP_DONE with that error. */
static int route(struct lh_op *op, struct lh_error *err)
{
	struct lh_export *ex = op->ex;
	struct errtext why;

	op->error = 0;
	if (!in_range(op))
		return finish(op, out_of_range(op, err));
	if (op->length == 0)
		return finish(op, 0);
	if (!op->buf && !(op->flags & LH_IO_DEALLOCATE))
		return finish(op, client_failf(err, -EINVAL, "no buffer was given for %llu bytes",
					       (unsigned long long)op->length));
	if (!(op->flags & LH_IO_BLOCK) && atomic_load(&ex->direct_wanted)) {
		int rc = direct_start(&ex->direct, op, &why);

		if (rc == 1)
			return 0;
		if (rc < 0)
			return finish(op, client_fail(err, rc, &why));
	}
	return route_block(op, err);
}

static const char *name_of(const struct lh_op *op)
{
	return op->flags & LH_IO_DEALLOCATE ? "deallocation"
	       : op->flags & LH_IO_WRITE    ? "write"
					    : "read";
}

static int explain(struct lh_op *op, struct lh_error *err)
{
	if (op->status && (op->status & 0x7ff) == NVME_SC_LBA_RANGE) {
		(void)client_refresh(op->ex->client, NULL);
		return out_of_range(op, err);
	}
	if ((op->status & 0x7ff) == NVME_SC_INVALID_NS)
		return client_failf(err, op->error, LH_EXPORT_GONE, op->ex->name);
	if (op->status)
		return client_failf(err, op->error,
				    "%s of \"%s\" at offset %llu failed: %s (%03xh)", name_of(op),
				    op->ex->name, (unsigned long long)op->offset,
				    nvme_status_text(op->status), op->status);
	return client_failf(err, op->error, "%s of \"%s\" at offset %llu failed: %s", name_of(op),
			    op->ex->name, (unsigned long long)op->offset, lh_strerror(op->error));
}

static void begin(struct lh_op *op, struct lh_export *ex, unsigned int flags, uint64_t offset,
		  void *buf, uint64_t length)
{
	const bool direct = !(flags & LH_IO_BLOCK);
	const bool write = flags & LH_IO_WRITE;

	memset(op, 0, sizeof(*op));
	op->ex = ex;
	op->flags = flags;
	op->offset = offset;
	op->length = length;
	op->buf = buf;
	op->mr = memory_find(&ex->client->memory, buf, length);
	op->begun_ns = now_ns();
	op->give_up_ns = op->begun_ns + ex->client->opt.reconnect_ms * NS_PER_MS;
	if (flags & LH_IO_DEALLOCATE)
		return;
	/* Counted where callers asked for it; `fallbacks` says what went another way. */
	op->for_direct = direct && atomic_load_explicit(&ex->direct_wanted, memory_order_relaxed);
	if (op->for_direct) {
		stat_add(ex, write ? STAT_DIRECT_WRITES : STAT_DIRECT_READS, 1);
		stat_add(ex, write ? STAT_DIRECT_WRITE_BYTES : STAT_DIRECT_READ_BYTES, length);
	} else {
		stat_add(ex, write ? STAT_BLOCK_WRITES : STAT_BLOCK_READS, 1);
		stat_add(ex, write ? STAT_BLOCK_WRITE_BYTES : STAT_BLOCK_READ_BYTES, length);
	}
}

static bool op_is_back(void *arg)
{
	const struct lh_op *op = arg;

	return op->state == OP_DONE || op->state == OP_RETRY;
}

/* Block commands wrote it: what had died there before it was confirmed is made good. */
static void revive(const struct lh_op *op)
{
	struct direct *d = &op->ex->direct;

	if (!(op->flags & LH_IO_WRITE) || op->flags & IO_PATCH)
		return;
	(void)pthread_mutex_lock(&d->q.lock);
	write_log_revive(&d->log, op->offset, op->length);
	(void)pthread_mutex_unlock(&d->q.lock);
}

/*
 * Until the operation is the caller's alone again, however often it must be sent anew; then it is OP_DONE.
 * -ETIMEDOUT: it is not.
 */
static int get_back(struct lh_op *op, uint64_t deadline_ns, struct lh_error *err)
{
	while (op->q) {
		struct queue *q = op->q;
		enum op_state state;
		int rc;

		(void)pthread_mutex_lock(&q->lock);
		rc = queue_wait(q, op_is_back, op, deadline_ns);
		state = op->state;
		(void)pthread_mutex_unlock(&q->lock);
		if (rc < 0)
			return client_failf(err, rc, "not done yet");
		op->by_block = q != &op->ex->direct.q;
		op->q = NULL;
		if (state == OP_DONE)
			break;
		/* Counted from the first refusal: the caller may have come to wait late. */
		if (!op->retried)
			op->give_up_ns = now_ns() + op->ex->client->opt.reconnect_ms * NS_PER_MS;
		op->retried = true;
		if (now_ns() > op->give_up_ns)
			return finish(op, client_failf(err, -ETIMEDOUT,
						       "\"%s\" at offset %llu: the target took no "
						       "command within %u ms",
						       op->ex->name, (unsigned long long)op->offset,
						       op->ex->client->opt.reconnect_ms));
		stat_add(op->ex, STAT_RETRIES, 1);
		if (op->transient)
			(void)poll(NULL, 0, TRANSIENT_PAUSE_MS);
		if (route(op, err) < 0)
			return op->error;
	}
	return 0;
}

static int see_through(struct lh_op *op, uint64_t deadline_ns, struct lh_error *err)
{
	int rc = get_back(op, deadline_ns, err);

	if (rc < 0)
		return rc;
	if (op->error) {
		own_up(op);
		return explain(op, err);
	}
	if (op->by_block) {
		revive(op);
		if (op->for_direct)
			stat_add(op->ex, STAT_FALLBACK_BYTES, op->length);
	}
	return 0;
}

static int run(struct lh_export *ex, unsigned int flags, uint64_t offset, void *buf,
	       uint64_t length, struct lh_error *err)
{
	struct lh_op op;

	begin(&op, ex, flags, offset, buf, length);
	if (route(&op, err) < 0)
		return op.error;
	return see_through(&op, UINT64_MAX, err);
}

static int block_aligned(struct lh_export *ex, unsigned int flags, uint64_t offset, void *buf,
			 uint64_t length, struct lh_error *err)
{
	return run(ex, flags, offset, buf, length, err);
}

int lh_read(struct lh_export *ex, uint64_t offset, void *buf, uint64_t length, struct lh_error *err)
{
	return run(ex, 0, offset, buf, length, err);
}

int lh_write(struct lh_export *ex, uint64_t offset, const void *buf, uint64_t length,
	     struct lh_error *err)
{
	return run(ex, LH_IO_WRITE, offset, (void *)(uintptr_t)buf, length, err);
}

int lh_block_read(struct lh_export *ex, uint64_t offset, void *buf, uint64_t length,
		  struct lh_error *err)
{
	return run(ex, LH_IO_BLOCK, offset, buf, length, err);
}

int lh_block_write(struct lh_export *ex, uint64_t offset, const void *buf, uint64_t length,
		   struct lh_error *err)
{
	return run(ex, LH_IO_BLOCK | LH_IO_WRITE, offset, (void *)(uintptr_t)buf, length, err);
}

int io_replay(struct lh_export *ex, uint64_t offset, const void *buf, uint64_t length)
{
	return run(ex, LH_IO_BLOCK | LH_IO_WRITE | IO_REPLAY, offset, (void *)(uintptr_t)buf,
		   length, NULL);
}

/* ---- submitted operations -------------------------------------------------------------------- */

static void put_op(struct lh_op *op)
{
	struct lh_export *ex = op->ex;

	(void)pthread_mutex_lock(&ex->ops_lock);
	list_push_front(&ex->free_ops, &op->link);
	(void)pthread_mutex_unlock(&ex->ops_lock);
}

/* The flags of an operation as the rest of this file has them. */
static int take_flags(const struct lh_export *ex, const struct lh_io *io, unsigned int *flags,
		      struct lh_error *err)
{
	*flags = io->flags;
	if (io->flags == LH_IO_DEALLOCATE) {
		*flags |= LH_IO_BLOCK;
		if ((io->offset | io->length) & (ex->lba_bytes - 1))
			return client_failf(
				err, -EINVAL,
				"%llu bytes at offset %llu cannot be deallocated: they are "
				"not whole blocks of %u bytes",
				(unsigned long long)io->length, (unsigned long long)io->offset,
				ex->lba_bytes);
	} else if (io->flags & ~(unsigned int)(LH_IO_WRITE | LH_IO_BLOCK | LH_IO_DURABLE) ||
		   (io->flags & LH_IO_DURABLE && !(io->flags & LH_IO_WRITE))) {
		return client_failf(err, -EINVAL,
				    "flags %xh: there are LH_IO_WRITE, with it LH_IO_DURABLE, and "
				    "LH_IO_BLOCK; or LH_IO_DEALLOCATE alone",
				    io->flags);
	}
	return 0;
}

int lh_submit(struct lh_export *ex, const struct lh_io *io, struct lh_op **out,
	      struct lh_error *err)
{
	unsigned int flags;
	struct lh_op *op;
	struct list *l;
	int rc = take_flags(ex, io, &flags, err);

	if (rc < 0)
		return rc;
	(void)pthread_mutex_lock(&ex->ops_lock);
	l = list_pop(&ex->free_ops);
	(void)pthread_mutex_unlock(&ex->ops_lock);
	if (!l)
		return client_failf(err, -EAGAIN, "%u operations are out: wait for one first",
				    LH_OPS_MAX);
	op = list_entry(l, struct lh_op, link);
	begin(op, ex, flags, io->offset, io->buf, io->length);
	op->pooled = true;
	rc = route(op, err);
	if (rc < 0) {
		put_op(op);
		return rc;
	}
	*out = op;
	return 0;
}

int lh_wait(struct lh_op *op, int timeout_ms, struct lh_error *err)
{
	uint64_t deadline =
		timeout_ms < 0 ? UINT64_MAX : now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	int rc = see_through(op, deadline, err);

	assert(op->pooled);
	if (!op->q)
		put_op(op);
	return rc;
}

/* Those of `ops` that are on one queue. */
struct many {
	struct lh_op *const *ops;
	size_t count;
	const struct queue *q;
	size_t back;
};

static bool one_is_back(void *arg)
{
	struct many *m = arg;

	for (size_t i = 0; i < m->count; i++) {
		if (m->ops[i]->q == m->q && op_is_back(m->ops[i])) {
			m->back = i;
			return true;
		}
	}
	return false;
}

/* Waits at the queue of ops[first]. True: `*which` is the caller's alone. */
static bool wait_one_back(struct lh_op *const *ops, size_t count, size_t first,
			  uint64_t deadline_ns, size_t *which)
{
	struct queue *q = ops[first]->q;
	struct many m = {.ops = ops, .count = count, .q = q};
	int rc;

	(void)pthread_mutex_lock(&q->lock);
	rc = queue_wait(q, one_is_back, &m, deadline_ns);
	(void)pthread_mutex_unlock(&q->lock);
	if (rc < 0)
		return false;
	(void)get_back(ops[m.back], 0, NULL);
	if (ops[m.back]->q)
		return false; /* it had to be sent anew */
	*which = m.back;
	return true;
}

int lh_wait_any(struct lh_op *const *ops, size_t count, int timeout_ms, size_t *which,
		struct lh_error *err)
{
	const uint64_t deadline =
		timeout_ms < 0 ? UINT64_MAX : now_ns() + (uint64_t)timeout_ms * NS_PER_MS;

	if (count == 0)
		return client_failf(err, -EINVAL, "there is no operation to wait for");
	do {
		bool several = false;

		for (size_t i = 0; i < count; i++) {
			if (!ops[i]->q) {
				*which = i;
				return 0;
			}
			several = several || ops[i]->q != ops[0]->q;
		}
		for (size_t i = 0; i < count; i++) {
			if (i > 0 && ops[i]->q == ops[i - 1]->q)
				continue;
			if (wait_one_back(ops, count, i,
					  several ? min_u64(deadline, now_ns() + TURN_NS)
						  : deadline,
					  which))
				return 0;
		}
	} while (now_ns() < deadline);
	return client_failf(err, -ETIMEDOUT, "not one is done yet");
}

/* ---- making sure ----------------------------------------------------------------------------- */

int lh_flush(struct lh_export *ex, struct lh_error *err)
{
	const uint64_t give_up = now_ns() + ex->client->opt.reconnect_ms * NS_PER_MS;
	struct errtext why;
	uint16_t status = 0;
	int rc;

	for (;;) {
		rc = block_flush(ex, client_io_queue(ex->client), &status);
		if (rc != -ENOTCONN)
			break;
		rc = client_wait_live(ex->client, give_up, &why);
		if (rc < 0)
			return client_fail(err, rc, &why);
	}
	if (rc < 0)
		return client_failf(err, rc, "flush of \"%s\" failed: %s", ex->name, strerror(-rc));
	if (status != NVME_SC_SUCCESS)
		return client_failf(err, nvme_status_to_errno(status),
				    "flush of \"%s\" failed: %s (%03xh)", ex->name,
				    nvme_status_text(status), status);
	return 0;
}

int lh_persist(struct lh_export *ex, uint64_t offset, uint64_t length, struct lh_error *err)
{
	struct direct *d = &ex->direct;
	struct write_range dead = {0};
	bool is_dead;
	int rc;

	(void)pthread_mutex_lock(&d->q.lock);
	/* The keeper is confirming everything itself, or clearing up: see what comes of it. */
	while (d->gate_closed)
		(void)pthread_cond_wait(&ex->changed, &d->q.lock);
	rc = d->log.dirty_pages ? export_check_level(ex, d->durability, err) : 0;
	if (rc < 0) {
		(void)pthread_mutex_unlock(&d->q.lock);
		return rc;
	}
	rc = direct_commit(d, offset, length, now_ns() + CLIENT_COMMAND_MS * NS_PER_MS);
	if (rc < 0)
		queue_kill(&d->q, "a Commit was not answered");
	/* Should the queue have died under it: what was not sent is dead when that is cleared up. */
	while (d->gate_closed)
		(void)pthread_cond_wait(&ex->changed, &d->q.lock);
	is_dead = write_log_dead(&d->log, offset, length, &dead);
	(void)pthread_mutex_unlock(&d->q.lock);
	if (is_dead)
		return client_failf(err, -LH_EDEAD,
				    "bytes from offset %llu of \"%s\" (%llu in one stretch) were "
				    "written directly and never confirmed before their grant died: "
				    "write them again",
				    (unsigned long long)dead.offset, ex->name,
				    (unsigned long long)dead.length);
	return 0;
}

void lh_forget(struct lh_export *ex, uint64_t offset, uint64_t length)
{
	(void)pthread_mutex_lock(&ex->direct.q.lock);
	write_log_forget(&ex->direct.log, offset, length);
	(void)pthread_mutex_unlock(&ex->direct.q.lock);
}
