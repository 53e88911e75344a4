// SPDX-License-Identifier: BSD-3-Clause
/*
 * How holdings reach the reactors: each reactor has its own copy of the namespace table, and an
 * operation (publish, quiesce, seal) is a message to every one of them. A part of an operation
 * waits on its reactor until what it asks for is true there; when all parts are through, the
 * holding's message goes back to control.
 *
 * Operations may overlap. Each has a sequence number; a published serving has that of its
 * operation. "Through" then means, on each reactor:
 *   publish(n):  no serving older than n is used any more (they are gone from the list);
 *   quiesce(n):  no command has work requests with region keys on a serving up to n;
 *   seal(n):     no commit is at work on a serving up to n;
 *   drain:       no such command touches the range, or names a key that reaches it, on a serving
 *                before the last one published (drain_all: on any);
 *   seal_range:  no commit that touches the range is at work;
 *   forget:      no command is left that has ever found the namespace: its slot may be another's.
 * Attach and detach wait for nothing; all come to a reactor in the order in which they were begun.
 * A later publish starts with fresh counters, so it never holds up an earlier operation.
 */
#include <errno.h>
#include <stdlib.h>

#include "nvme/commit_right.h"
#include "nvme/controller.h"
#include "nvme/direct_queue.h"
#include "nvme/nvme_queue.h"
#include "nvme/resv.h"
#include "util/log.h"

DEFINE_COUNTER(publishes, "nvme_publishes", "Servings handed to the reactors");
DEFINE_COUNTER(quiesces, "nvme_quiesces", "Namespaces switched to the file-system path");
DEFINE_COUNTER(block_fences, "nvme_block_fences", "Block queue pairs put in error at a deadline");

enum op_kind {
	OP_PUBLISH,
	OP_QUIESCE,
	OP_SEAL,
	OP_DRAIN,
	OP_DRAIN_ALL,
	OP_FENCE_RANGE,
	OP_SEAL_RANGE,
	OP_UNSEAL_RANGE,
	OP_ATTACH,
	OP_DETACH,
	OP_FORGET,
};

struct holding_op;

/** One reactor's share. */
struct holding_op_part {
	struct loop_msg msg;
	struct holding_op *op;
	struct nvme_reactor *nr;
	struct ns_use *use;   /* OP_PUBLISH: the new one */
	struct ns_seal *seal; /* OP_SEAL_RANGE: the new one */
	struct list link;     /* slot's waits */
};

/** Of a slot, where somebody has got back a range. */
struct ns_seal {
	struct list link;
	uint64_t offset, length;
};

struct holding_op {
	struct nvme_target *target;
	struct nvme_subsystem *subsystem;
	uint32_t nsid;
	unsigned int slot;
	enum op_kind kind;
	uint64_t seq;
	uint64_t before;	   /* OP_DRAIN…, OP_FENCE_RANGE: of servings older than this */
	uint64_t offset, length;   /* those and OP_SEAL_RANGE, OP_UNSEAL_RANGE */
	_Atomic unsigned int left; /* parts not through */
	struct loop_msg *done;
	void (*fn)(struct loop_msg *);
	struct holding_op_part parts[];
};

/* ---- on a reactor ----------------------------------------------------------------------------- */

static struct request *keyed_request(struct list *l)
{
	return list_entry(l, struct request, keyed_link);
}

/* It moves bytes of the range, or names a key that is to die because it reaches them. */
static bool request_touches(const struct request *r, const struct holding_op *op)
{
	const struct region *region = r->use->serving->regions[r->queue->q.device];

	if (range_overlaps(r->range.offset, r->range.length, op->offset, op->length))
		return true;
	return region &&
	       region_shares(region, op->offset, op->length, r->range.offset, r->range.length);
}

static bool commit_touches(const struct ns_commit *c, const struct holding_op *op)
{
	for (uint32_t i = 0; i < c->count; i++) {
		if (range_overlaps(le64toh(c->ranges[i].offset), le64toh(c->ranges[i].length),
				   op->offset, op->length))
			return true;
	}
	return false;
}

/*
 * Who still waits for a Commit of what is sealed has given its grant back before it was answered, has none,
 * or is fenced: it is not told that the bytes are durable, and nobody waits for all of them.
 */
static void stop_commits(const struct ns_slot *slot, const struct holding_op *op)
{
	struct list *ul, *l;

	list_for_each (ul, &slot->uses) {
		list_for_each (l, &list_entry(ul, struct ns_use, link)->commit_list) {
			struct ns_commit *c = list_entry(l, struct ns_commit, link);

			if (op->kind != OP_SEAL && !commit_touches(c, op))
				continue;
			atomic_store(&c->stop, true);
			pool_hurry(op->target->env.workers, c->work);
		}
	}
}

/* Mostly the first that is looked at is in the way, or there are few. */
static bool range_is_quiet(const struct ns_slot *slot, const struct holding_op *op)
{
	struct list *ul, *l;

	list_for_each (ul, &slot->uses) {
		struct ns_use *use = list_entry(ul, struct ns_use, link);

		if (op->kind == OP_SEAL_RANGE) {
			list_for_each (l, &use->commit_list) {
				if (commit_touches(list_entry(l, struct ns_commit, link), op))
					return false;
			}
			continue;
		}
		if (use->seq >= op->before)
			break;
		list_for_each (l, &use->keyed_requests) {
			if (request_touches(keyed_request(l), op))
				return false;
		}
	}
	return true;
}

static void fence_range(const struct ns_slot *slot, const struct holding_op *op)
{
	struct list *ul, *l, *next;

	list_for_each (ul, &slot->uses) {
		struct ns_use *use = list_entry(ul, struct ns_use, link);

		if (use->seq >= op->before)
			break;
		list_for_each_safe (l, next, &use->keyed_requests) {
			struct request *r = keyed_request(l);

			if (r->queue->q.failed || !request_touches(r, op))
				continue;
			counter_add(&block_fences, 1);
			queue_fail(&r->queue->q,
				   "a recall's deadline passed with its work in flight");
		}
	}
}

static void unseal(struct ns_slot *slot, const struct holding_op *op)
{
	struct list *l, *next;

	list_for_each_safe (l, next, &slot->seals) {
		struct ns_seal *seal = list_entry(l, struct ns_seal, link);

		if (seal->offset != op->offset || seal->length != op->length)
			continue;
		list_del(l);
		free(seal);
		return;
	}
}

bool ns_sealed(const struct ns_slot *slot, uint64_t offset, uint64_t length)
{
	struct list *l;

	list_for_each (l, &slot->seals) {
		const struct ns_seal *seal = list_entry(l, struct ns_seal, link);

		if (range_overlaps(seal->offset, seal->length, offset, length))
			return true;
	}
	return false;
}

static bool part_through(const struct ns_slot *slot, const struct holding_op *op)
{
	struct list *l;

	switch (op->kind) {
	case OP_ATTACH:
	case OP_DETACH:
	case OP_FENCE_RANGE:
	case OP_UNSEAL_RANGE:
		return true;
	case OP_FORGET:
		return slot->requests == 0;
	case OP_DRAIN:
	case OP_DRAIN_ALL:
	case OP_SEAL_RANGE:
		return range_is_quiet(slot, op);
	default:
		break;
	}
	list_for_each (l, &slot->uses) {
		const struct ns_use *use = list_entry(l, struct ns_use, link);

		if (op->kind == OP_PUBLISH)
			return use->seq >= op->seq; /* the oldest tells */
		if (use->seq > op->seq)
			break;
		if (op->kind == OP_QUIESCE ? use->keyed > 0 : use->commits > 0)
			return false;
	}
	return true;
}

static void part_finish(struct holding_op_part *part)
{
	struct holding_op *op = part->op;

	if (atomic_fetch_sub(&op->left, 1) > 1)
		return;
	if (op->done)
		loop_post(op->target->env.control, op->done, op->fn);
	free(op);
}

static void attach(struct nvme_reactor *nr, struct nvme_subsystem *s, uint32_t nsid,
		   unsigned int slot)
{
	nr->slots[slot].detached = false;
	s->slot_of[nr->index][nsid] = (uint16_t)slot;
}

static void forget_seals(struct ns_slot *slot)
{
	struct list *l;

	while ((l = list_pop(&slot->seals)))
		free(list_entry(l, struct ns_seal, link));
}

/* The holding has stopped: what is served last is nothing. */
/* Before anybody else may have the slot. */
static void forget_figures(struct ns_figures *f)
{
	_Atomic uint64_t *const all[] = {&f->reads,	      &f->writes,	  &f->read_bytes,
					 &f->written_bytes,   &f->errors,	  &f->commits,
					 &f->committed_bytes, &f->commits_refused};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		atomic_store_explicit(all[i], 0, memory_order_relaxed);
}

static void forget(struct nvme_reactor *nr, const struct holding_op *op)
{
	struct ns_slot *slot = &nr->slots[op->slot];
	struct ns_use *use = slot->current;

	op->subsystem->slot_of[nr->index][op->nsid] = NVME_MAX_NAMESPACES;
	slot->current = NULL;
	slot->reservation = NULL;
	forget_seals(slot);
	forget_figures(&slot->figures);
	assert(slot->rights.count == 0);
	if (!use)
		return;
	assert(use->refs == 0 && !use->serving);
	list_del(&use->link);
	assert(list_empty(&slot->uses));
	free(use);
}

void ns_put_slow(struct ns_slot *slot)
{
	struct list through = LIST_INIT(through);
	struct list *l, *tmp;

	list_for_each_safe (l, tmp, &slot->uses) {
		struct ns_use *use = list_entry(l, struct ns_use, link);

		if (use == slot->current || use->refs > 0)
			continue;
		list_del(&use->link);
		free(use);
	}
	list_for_each_safe (l, tmp, &slot->waits) {
		if (!part_through(slot, list_entry(l, struct holding_op_part, link)->op))
			continue;
		list_del(l);
		list_push(&through, l);
		if (list_entry(l, struct holding_op_part, link)->op->kind == OP_FORGET)
			forget(list_entry(l, struct holding_op_part, link)->nr,
			       list_entry(l, struct holding_op_part, link)->op);
	}
	/* The last one may be what a stop waits for: the slot is not touched after it. */
	while ((l = list_pop(&through)))
		part_finish(list_entry(l, struct holding_op_part, link));
}

static void part_arrived(struct loop_msg *msg)
{
	struct holding_op_part *part = container_of(msg, struct holding_op_part, msg);
	const struct holding_op *op = part->op;
	struct ns_slot *slot = &part->nr->slots[op->slot];
	struct list *l;

	switch (op->kind) {
	case OP_PUBLISH:
		part->use->slot = slot;
		list_push(&slot->uses, &part->use->link);
		slot->current = part->use;
		break;
	case OP_QUIESCE:
		/* The older ones, too: the second half of a pair begins with what the first one had. */
		list_for_each (l, &slot->uses)
			list_entry(l, struct ns_use, link)->quiesced = true;
		/* From here on the queues' counters only go down: control may read them. */
		atomic_store_explicit(&slot->quiesced_seq, op->seq, memory_order_release);
		break;
	case OP_SEAL:
		if (slot->current)
			slot->current->sealed = true;
		stop_commits(slot, op);
		break;
	case OP_FENCE_RANGE:
		fence_range(slot, op);
		break;
	case OP_SEAL_RANGE:
		list_push(&slot->seals, &part->seal->link);
		stop_commits(slot, op);
		break;
	case OP_UNSEAL_RANGE:
		unseal(slot, op);
		break;
	case OP_ATTACH:
		attach(part->nr, op->subsystem, op->nsid, op->slot);
		break;
	case OP_DETACH:
		slot->detached = true;
		break;
	case OP_DRAIN:
	case OP_DRAIN_ALL:
	case OP_FORGET:
		break;
	}
	list_push(&slot->waits, &part->link);
	ns_put_slow(slot);
}

static unsigned int any_slot(const struct nvme_reactor *nr, const struct nvme_subsystem *s,
			     uint32_t nsid)
{
	if (nsid == 0 || nsid > s->max_nsid)
		return NVME_MAX_NAMESPACES;
	return s->slot_of[nr->index][nsid];
}

unsigned int ns_slot(const struct nvme_reactor *nr, const struct nvme_subsystem *s, uint32_t nsid)
{
	unsigned int slot = any_slot(nr, s, nsid);

	if (slot < NVME_MAX_NAMESPACES && nr->slots[slot].detached)
		return NVME_MAX_NAMESPACES;
	return slot;
}

struct ns_use *ns_find(struct nvme_reactor *nr, const struct nvme_subsystem *s, uint32_t nsid,
		       unsigned int *slot)
{
	unsigned int index = ns_slot(nr, s, nsid);

	if (index >= NVME_MAX_NAMESPACES)
		return NULL;
	*slot = index;
	return nr->slots[index].current;
}

struct ns_use *ns_find_detached(struct nvme_reactor *nr, const struct nvme_subsystem *s,
				uint32_t nsid)
{
	unsigned int slot = any_slot(nr, s, nsid);

	return slot < NVME_MAX_NAMESPACES ? nr->slots[slot].current : NULL;
}

void holdings_init(struct nvme_reactor *nr)
{
	for (unsigned int i = 0; i < NVME_MAX_NAMESPACES; i++) {
		list_init(&nr->slots[i].uses);
		list_init(&nr->slots[i].waits);
		list_init(&nr->slots[i].seals);
	}
}

void holdings_fini(struct nvme_reactor *nr)
{
	for (unsigned int i = 0; i < NVME_MAX_NAMESPACES; i++) {
		struct list *l;

		assert(list_empty(&nr->slots[i].waits) && nr->slots[i].rights.count == 0);
		forget_seals(&nr->slots[i]);
		while ((l = list_pop(&nr->slots[i].uses))) {
			struct ns_use *use = list_entry(l, struct ns_use, link);

			assert(use->refs == 0);
			free(use);
		}
	}
}

/* ---- on control ------------------------------------------------------------------------------- */

static unsigned int home_of(const struct nvme_target *t, const struct holding *h)
{
	for (unsigned int i = 0; i < t->nr_homes; i++) {
		if (t->homes[i].holding == h)
			return i;
	}
	return NVME_MAX_NAMESPACES;
}

/* A recall that cannot even say so must not go on as if it had: no memory ends the daemon. */
static void *must_alloc(size_t bytes)
{
	void *p = calloc(1, bytes);

	if (!p) {
		log_error("out of memory in the middle of a recall");
		abort();
	}
	return p;
}

static struct holding_op *new_op(struct nvme_target *t, unsigned int slot, enum op_kind kind,
				 const struct serving *s, struct loop_msg *done,
				 void (*fn)(struct loop_msg *))
{
	unsigned int n = t->env.nr_reactors;
	struct holding_op *op = must_alloc(sizeof(*op) + n * sizeof(op->parts[0]));
	uint64_t seq = ++t->homes[slot].seq;

	op->target = t;
	op->subsystem = t->homes[slot].subsystem;
	op->nsid = holding_nsid(t->homes[slot].holding);
	op->slot = slot;
	op->kind = kind;
	op->seq = seq;
	op->done = done;
	op->fn = fn;
	atomic_init(&op->left, n);
	for (unsigned int i = 0; i < n; i++) {
		op->parts[i].op = op;
		op->parts[i].nr = &t->reactors[i];
		if (kind != OP_PUBLISH)
			continue;
		op->parts[i].use = must_alloc(sizeof(struct ns_use));
		op->parts[i].use->serving = s;
		op->parts[i].use->seq = seq;
		op->parts[i].use->ana_group = t->homes[slot].ana_group;
		list_init(&op->parts[i].use->keyed_requests);
		list_init(&op->parts[i].use->commit_list);
	}
	return op;
}

static void post_op(struct nvme_target *t, struct holding_op *op)
{
	/* The last part may finish and free the operation as soon as it is posted. */
	for (unsigned int i = 0, n = t->env.nr_reactors; i < n; i++)
		loop_post(t->reactors[i].loop, &op->parts[i].msg, part_arrived);
}

static uint64_t start_op(struct nvme_target *t, unsigned int slot, enum op_kind kind,
			 const struct serving *s, struct loop_msg *done,
			 void (*fn)(struct loop_msg *))
{
	struct holding_op *op = new_op(t, slot, kind, s, done, fn);
	uint64_t seq = op->seq;

	post_op(t, op);
	return seq;
}

static void start_range_op(struct nvme_target *t, const struct holding *h, enum op_kind kind,
			   uint64_t offset, uint64_t length, struct loop_msg *done,
			   void (*fn)(struct loop_msg *))
{
	unsigned int slot = home_of(t, h);
	struct holding_op *op;

	if (slot == NVME_MAX_NAMESPACES) {
		if (done)
			loop_post(t->env.control, done, fn);
		return;
	}
	op = new_op(t, slot, kind, NULL, done, fn);
	op->before = kind == OP_DRAIN_ALL ? UINT64_MAX : t->homes[slot].publish_seq;
	op->offset = offset;
	op->length = length;
	for (unsigned int i = 0; kind == OP_SEAL_RANGE && i < t->env.nr_reactors; i++) {
		struct ns_seal *seal = must_alloc(sizeof(*seal));

		seal->offset = offset;
		seal->length = length;
		op->parts[i].seal = seal;
	}
	post_op(t, op);
}

void holdings_attach(struct nvme_target *t, unsigned int slot, void (*done)(struct loop_msg *))
{
	const struct ns_home *home = &t->homes[slot];

	/* Nobody has come yet: the reactors see it with the first message about it. */
	if (t->last_portid == 0) {
		for (unsigned int i = 0; i < t->env.nr_reactors; i++)
			attach(&t->reactors[i], home->subsystem, holding_nsid(home->holding), slot);
		return;
	}
	t->nr_attaching++;
	(void)start_op(t, slot, OP_ATTACH, NULL, &t->homes[slot].attached_msg, done);
}

void holdings_detach(struct nvme_target *t, unsigned int slot)
{
	(void)start_op(t, slot, OP_DETACH, NULL, NULL, NULL);
}

void holdings_forget(struct nvme_target *t, unsigned int slot, void (*done)(struct loop_msg *))
{
	(void)start_op(t, slot, OP_FORGET, NULL, &t->homes[slot].forgotten_msg, done);
}

static uint64_t look(const _Atomic uint64_t *figure)
{
	return atomic_load_explicit(figure, memory_order_relaxed);
}

void nvme_target_ns_counts(const struct nvme_target *t, const struct holding *h,
			   struct nvme_ns_counts *counts)
{
	const unsigned int slot = home_of(t, h);

	*counts = (struct nvme_ns_counts){0};
	for (unsigned int i = 0; slot < NVME_MAX_NAMESPACES && i < t->env.nr_reactors; i++) {
		const struct ns_figures *f = &t->reactors[i].slots[slot].figures;

		counts->reads += look(&f->reads);
		counts->writes += look(&f->writes);
		counts->read_bytes += look(&f->read_bytes);
		counts->written_bytes += look(&f->written_bytes);
		counts->errors += look(&f->errors);
		counts->commits += look(&f->commits);
		counts->committed_bytes += look(&f->committed_bytes);
		counts->commits_refused += look(&f->commits_refused);
	}
}

static void holdings_publish(void *ctx, struct holding *h, const struct serving *s,
			     struct loop_msg *done, void (*fn)(struct loop_msg *))
{
	struct nvme_target *t = ctx;
	unsigned int slot = home_of(t, h);
	uint64_t bytes = s ? s->view->size_bytes : 0;

	/* Not ours to serve: nothing uses it. */
	if (slot == NVME_MAX_NAMESPACES) {
		loop_post(t->env.control, done, fn);
		return;
	}
	counter_add(&publishes, 1);
	t->change_count++;
	if (s)
		resv_served(t->homes[slot].resv);
	t->homes[slot].publish_seq = start_op(t, slot, OP_PUBLISH, s, done, fn);
	if (bytes != t->homes[slot].announced_bytes && !t->homes[slot].detached) {
		if ((bytes == 0) != (t->homes[slot].announced_bytes == 0))
			ana_members_changed(t, t->homes[slot].ana_group);
		t->homes[slot].announced_bytes = bytes;
		/* Behind the message that publishes: who asks on this event sees the new size. */
		controllers_ns_changed(t, &t->homes[slot]);
	}
}

static void holdings_quiesce(void *ctx, struct holding *h, struct loop_msg *done,
			     void (*fn)(struct loop_msg *))
{
	struct nvme_target *t = ctx;
	unsigned int slot = home_of(t, h);

	if (slot == NVME_MAX_NAMESPACES) {
		loop_post(t->env.control, done, fn);
		return;
	}
	counter_add(&quiesces, 1);
	t->change_count++;
	t->homes[slot].quiesce_seq = start_op(t, slot, OP_QUIESCE, NULL, done, fn);
}

static void holdings_seal(void *ctx, struct holding *h, struct loop_msg *done,
			  void (*fn)(struct loop_msg *))
{
	struct nvme_target *t = ctx;
	unsigned int slot = home_of(t, h);

	if (slot == NVME_MAX_NAMESPACES) {
		loop_post(t->env.control, done, fn);
		return;
	}
	(void)start_op(t, slot, OP_SEAL, NULL, done, fn);
}

/*
 * Waits for nobody. A reactor that has seen the quiesce starts nothing new on the keys, so its
 * queues' counters tell who still has work on them. One that has not might start more at any
 * moment: all its block queues go.
 */
static void holdings_fence_block(void *ctx, struct holding *h)
{
	struct nvme_target *t = ctx;
	unsigned int slot = home_of(t, h);
	struct list *l;

	if (slot == NVME_MAX_NAMESPACES)
		return;
	list_for_each (l, &t->queues) {
		struct queue *q = list_entry(l, struct queue, link);
		uint64_t seen = atomic_load_explicit(&q->nr->slots[slot].quiesced_seq,
						     memory_order_acquire);
		bool told = seen >= t->homes[slot].quiesce_seq;

		if (!q->has_qp || !queue_is_nvme(q))
			continue;
		if (told && atomic_load_explicit(&q->keyed[slot], memory_order_acquire) == 0)
			continue;
		(void)fabric_conn_fence(q->conn);
		counter_add(&block_fences, 1);
		log_warning("recall of %s: the queue of %s had work on it at the deadline and was "
			    "cut; the host reconnects",
			    holding_name(h), q->address);
		queue_stop(q, "a recall's deadline passed with its work in flight");
	}
}

static void holdings_drain(void *ctx, struct holding *h, uint64_t offset, uint64_t length,
			   struct loop_msg *done, void (*fn)(struct loop_msg *))
{
	start_range_op(ctx, h, OP_DRAIN, offset, length, done, fn);
}

static void holdings_drain_all(void *ctx, struct holding *h, uint64_t offset, uint64_t length,
			       struct loop_msg *done, void (*fn)(struct loop_msg *))
{
	start_range_op(ctx, h, OP_DRAIN_ALL, offset, length, done, fn);
}

/* Each reactor looks itself. Should one hang, a recall of the whole export comes. */
static void holdings_fence_range(void *ctx, struct holding *h, uint64_t offset, uint64_t length)
{
	start_range_op(ctx, h, OP_FENCE_RANGE, offset, length, NULL, NULL);
}

static void holdings_seal_range(void *ctx, struct holding *h, uint64_t offset, uint64_t length,
				struct loop_msg *done, void (*fn)(struct loop_msg *))
{
	start_range_op(ctx, h, OP_SEAL_RANGE, offset, length, done, fn);
}

static void holdings_unseal_range(void *ctx, struct holding *h, uint64_t offset, uint64_t length,
				  struct loop_msg *done, void (*fn)(struct loop_msg *))
{
	start_range_op(ctx, h, OP_UNSEAL_RANGE, offset, length, done, fn);
}

/* ---- Acquires for writing --------------------------------------------------------------------- */

/* A place behind the commands that are there. */
struct settle {
	struct interlock_node node;
	struct nvme_target *target;
	struct interlock *interlock;
	struct loop_msg *done;
	void (*fn)(struct loop_msg *);
};

/* On the thread of whoever made way. */
static void settled(struct interlock_node *node)
{
	struct settle *s = container_of(node, struct settle, node);

	interlock_unlock(s->interlock, node);
	loop_post(s->target->env.control, s->done, s->fn);
	free(s);
}

static int holdings_settle(void *ctx, struct holding *h, uint64_t offset, uint64_t length,
			   struct loop_msg *done, void (*fn)(struct loop_msg *))
{
	struct nvme_target *t = ctx;
	unsigned int slot = home_of(t, h);
	struct settle *s;

	if (slot == NVME_MAX_NAMESPACES) {
		loop_post(t->env.control, done, fn);
		return 0;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	*s = (struct settle){
		.node = {.offset = offset,
			 .end = offset + length,
			 .passive = true,
			 .granted = settled},
		.target = t,
		.interlock = t->homes[slot].interlock,
		.done = done,
		.fn = fn,
	};
	if (interlock_lock(s->interlock, &s->node))
		settled(&s->node);
	return 0;
}

static void holdings_tell(void *ctx, struct grant_client *client, struct holding *h,
			  uint64_t offset, uint64_t length, uint32_t generation,
			  uint32_t deadline_ms)
{
	struct nvme_target *t = ctx;
	struct direct_queue *dq = grant_client_user(client);

	t->change_count++;
	direct_queue_tell(dq, holding_nsid(h), offset, length, generation, deadline_ms);
}

static void holdings_bind(void *ctx, struct grant_client *client, struct grant_bind *bind,
			  void (*fn)(struct loop_msg *))
{
	(void)ctx;
	direct_queue_bind(grant_client_user(client), bind, fn);
}

/* The slot is not forgotten before the last grant has gone. */
static void *holdings_commit_begins(void *ctx, struct grant_client *client, struct holding *h,
				    uint64_t offset, uint64_t length)
{
	unsigned int slot = home_of(ctx, h);

	if (slot == NVME_MAX_NAMESPACES)
		return NULL;
	return direct_queue_commit_begins(grant_client_user(client), slot, offset, length);
}

static void holdings_commit_ends(void *ctx, void *right)
{
	(void)ctx;
	commit_right_end(right);
}

static void holdings_changed(void *ctx, struct holding *h, unsigned int change)
{
	struct nvme_target *t = ctx;
	unsigned int slot = home_of(t, h);

	t->change_count++;
	if (slot < NVME_MAX_NAMESPACES)
		controllers_changed(t, &t->homes[slot], change);
}

static void holdings_recalled(void *ctx, struct holding *h, unsigned int change, uint64_t offset,
			      uint64_t length)
{
	struct nvme_target *t = ctx;
	unsigned int slot = home_of(t, h);

	t->change_count++;
	if (slot < NVME_MAX_NAMESPACES)
		controllers_recalled(t, &t->homes[slot], change, offset, length);
}

static const struct holding_ops holding_ops = {
	.publish = holdings_publish,
	.quiesce = holdings_quiesce,
	.seal = holdings_seal,
	.fence_block = holdings_fence_block,
	.drain = holdings_drain,
	.drain_all = holdings_drain_all,
	.fence_range = holdings_fence_range,
	.seal_range = holdings_seal_range,
	.unseal_range = holdings_unseal_range,
	.settle = holdings_settle,
	.tell = holdings_tell,
	.bind = holdings_bind,
	.commit_begins = holdings_commit_begins,
	.commit_ends = holdings_commit_ends,
	.changed = holdings_changed,
	.recalled = holdings_recalled,
};

const struct holding_ops *nvme_holding_ops(void)
{
	return &holding_ops;
}
