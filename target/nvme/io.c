// SPDX-License-Identifier: BSD-3-Clause
/* I/O commands: which there are, what each needs before it may run, and its place in the order. */
#include "nvme/io.h"
#include "nvme/resv.h"

#include <errno.h>

DEFINE_COUNTER(lock_waits, "nvme_interlock_waits", "Commands that waited for an overlapping one");

enum io_lock_kind {
	LOCK_NONE, /* or by the command itself */
	LOCK_SHARED,
	LOCK_EXCLUSIVE,
};

/* The groups of the reservations' conflict table (NVM command set 1.0 figure 4). */
enum io_access {
	ACCESS_WRITES,
	ACCESS_READS,
	ACCESS_RESERVATION, /* judged by what it wants, where reservations are */
};

struct io_command {
	void (*execute)(struct request *r);
	/** Fills r->range; returns 0 or a refusal. NULL: there is no range in the command. */
	uint32_t (*parse)(struct request *r, const struct view *view);
	enum io_lock_kind lock;
	bool writes;
	enum io_access access;
};

static uint32_t parse_data(struct request *r, const struct view *view)
{
	return command_parse_range(request_sqe(r), &r->command, export_lba_bytes(view->export),
				   view->size_bytes, r->queue->q.target->env.limits.mdts_bytes,
				   &r->range);
}

static uint32_t parse_blocks(struct request *r, const struct view *view)
{
	return command_parse_blocks(request_sqe(r), export_lba_bytes(view->export),
				    view->size_bytes, &r->range);
}

static uint32_t parse_verify(struct request *r, const struct view *view)
{
	return verify_parse(request_sqe(r), export_lba_bytes(view->export), view->size_bytes,
			    &r->range);
}

static const struct io_command commands[] = {
	[NVME_IO_FLUSH] = {.execute = io_flush},
	[NVME_IO_WRITE] = {io_write, parse_data, LOCK_EXCLUSIVE, true, ACCESS_WRITES},
	[NVME_IO_READ] = {io_read, parse_data, LOCK_SHARED, false, ACCESS_READS},
	[NVME_IO_COMPARE] = {io_compare, parse_data, LOCK_SHARED, false, ACCESS_READS},
	[NVME_IO_WRITE_ZEROES] = {io_write_zeroes, parse_blocks, LOCK_EXCLUSIVE, true,
				  ACCESS_WRITES},
	[NVME_IO_DSM] = {.execute = io_dsm, .writes = true},
	[NVME_IO_VERIFY] = {io_verify, parse_verify, LOCK_SHARED, false, ACCESS_READS},
	[NVME_IO_RESV_REGISTER] = {.execute = resv_change_execute, .access = ACCESS_RESERVATION},
	[NVME_IO_RESV_REPORT] = {.execute = resv_report_execute, .access = ACCESS_RESERVATION},
	[NVME_IO_RESV_ACQUIRE] = {.execute = resv_change_execute, .access = ACCESS_RESERVATION},
	[NVME_IO_RESV_RELEASE] = {.execute = resv_change_execute, .access = ACCESS_RESERVATION},
	[NVME_IO_COPY] = {.execute = io_copy, .writes = true},
};

/* No more than what a file may say: the errors of our own protocol mean other things. */
static const struct {
	int err;
	uint16_t status; /* DNR: it will be so again */
} file_statuses[] = {
	{0, NVME_SC_SUCCESS},
	{-ERANGE, NVME_SC_LBA_RANGE | NVME_SC_DNR},
	{-ENOSPC, NVME_SC_CAP_EXCEEDED | NVME_SC_DNR},
	{-EDQUOT, NVME_SC_CAP_EXCEEDED | NVME_SC_DNR},
	{-EFBIG, NVME_SC_CAP_EXCEEDED | NVME_SC_DNR},
	{-EROFS, NVME_SC_NS_WRITE_PROTECTED | NVME_SC_DNR},
	{-EPERM, NVME_SC_NS_WRITE_PROTECTED | NVME_SC_DNR}, /* immutable, or sealed */
	{-EIO, NVME_SC_WRITE_FAULT},
	{-ENODEV, NVME_SC_NS_NOT_READY},
	{-EAGAIN, NVME_SC_NS_NOT_READY},
	{-EBUSY, NVME_SC_NS_NOT_READY},
	{-EINTR, NVME_SC_NS_NOT_READY},
	{-ENOMEM, NVME_SC_INTERNAL},
};

uint16_t io_status(int err)
{
	for (size_t i = 0; i < ARRAY_SIZE(file_statuses); i++) {
		if (file_statuses[i].err == err)
			return file_statuses[i].status;
	}
	return NVME_SC_INTERNAL | NVME_SC_DNR;
}

bool io_known(uint8_t opcode, bool *writes)
{
	if (opcode >= ARRAY_SIZE(commands) || !commands[opcode].execute)
		return false;
	*writes = commands[opcode].writes;
	return true;
}

/* ---- the namespace ---------------------------------------------------------------------------- */

static uint16_t find_namespace(struct request *r)
{
	const struct nvme_subsystem *s = r->queue->controller->subsystem;
	uint32_t nsid = r->command.nsid;
	unsigned int slot = 0;
	struct ns_use *use = ns_find(r->queue->q.nr, s, nsid, &slot);
	uint16_t status;

	if (!use) {
		bool known = ns_slot(r->queue->q.nr, s, nsid) < NVME_MAX_NAMESPACES;

		return known ? NVME_SC_NS_NOT_READY : NVME_SC_INVALID_NS | NVME_SC_DNR;
	}
	status = ana_status(&r->queue->controller->listener->ana, use->ana_group);
	if (status)
		return status;
	if (!use->serving)
		return NVME_SC_NS_NOT_READY;
	request_get_ns(r, use, slot);
	return NVME_SC_SUCCESS;
}

static uint32_t check(struct request *r, const struct io_command *command)
{
	const struct resv_state *held = r->use->slot->reservation;
	const struct view *view = r->use->serving->view;
	struct export_range bad;
	uint32_t status;

	if (held && command->access != ACCESS_RESERVATION &&
	    resv_conflicts(held, r->queue->controller, command->access == ACCESS_WRITES))
		return NVME_SC_RESERVATION_CONFLICT | NVME_SC_DNR;
	if (command->writes && export_read_only(view->export))
		return NVME_SC_NS_WRITE_PROTECTED | NVME_SC_DNR;
	if (command->writes && export_unwritable(view->export))
		return NVME_SC_WRITE_FAULT | NVME_SC_DNR;
	status = command->parse ? command->parse(r, view) : NVME_SC_SUCCESS;
	/* It is not touched again: on some machines that costs more than the command. */
	if (!status && command->parse && !command->writes &&
	    export_bad(view->export, r->range.offset, r->range.length, &bad))
		return NVME_SC_READ_ERROR;
	return status;
}

/* ---- the order -------------------------------------------------------------------------------- */

/* Its turn has come. */
static void lock_arrived(struct loop_msg *msg)
{
	struct request *r = container_of(msg, struct request, msg);

	r->locked = true;
	request_set_state(r, REQUEST_PARSED);
	if (r->queue->q.failed)
		request_release(r);
	else
		io_begin(r);
}

/* On the thread of whoever made way. */
static void lock_granted(struct interlock_node *node)
{
	struct request *r = container_of(node, struct request, lock);

	loop_post(r->queue->q.nr->loop, &r->msg, lock_arrived);
}

/* r->lock says which bytes. */
static bool take_place(struct request *r)
{
	r->lock.granted = lock_granted;
	if (interlock_lock(request_interlock(r), &r->lock)) {
		r->locked = true;
		return true;
	}
	counter_add(&lock_waits, 1);
	request_put_ns(r);
	request_set_state(r, REQUEST_WAIT_LOCK);
	return false;
}

bool io_lock(struct request *r, uint64_t offset, uint64_t end, bool exclusive)
{
	if (r->locked) {
		/* A namespace whose blocks changed their size meanwhile is another one. */
		if (r->lock.offset == offset && r->lock.end == end)
			return true;
		request_complete(r, NVME_SC_NS_NOT_READY);
		return false;
	}
	r->lock.offset = offset;
	r->lock.end = end;
	r->lock.exclusive = exclusive;
	r->lock.nr_parts = 0;
	return take_place(r);
}

bool io_lock_parts(struct request *r, const struct interlock_part *parts, unsigned int nr)
{
	assert(!r->locked);
	r->lock.offset = parts[0].offset;
	r->lock.end = parts[0].end;
	for (unsigned int i = 1; i < nr; i++) {
		r->lock.offset = min_u64(r->lock.offset, parts[i].offset);
		r->lock.end = max_u64(r->lock.end, parts[i].end);
	}
	r->lock.exclusive = true;
	r->lock.nr_parts = nr > 1 ? nr : 0;
	r->lock.parts = parts;
	return take_place(r);
}

/* ---- what is read must be durable ------------------------------------------------------------- */

static void commit_there(struct request *r)
{
	r->err = export_flush(r->use->serving->view->export);
}

static void committed(struct request *r)
{
	if (r->err)
		request_complete(r, NVME_SC_READ_ERROR);
	else
		commands[r->command.opcode].execute(r);
}

static bool must_commit(const struct request *r, const struct io_command *command)
{
	return command->parse && !command->writes && r->range.fua &&
	       export_volatile_cache(r->use->serving->view->export);
}

void io_begin(struct request *r)
{
	const struct io_command *command = &commands[r->command.opcode];
	struct request *second = r->pair;
	bool changes = second || command->lock == LOCK_EXCLUSIVE;
	uint32_t status = find_namespace(r);

	if (!status)
		status = check(r, command);
	if (status) {
		request_reject(r, status);
		return;
	}
	if (second) {
		/* Both or neither: the Write is checked before the Compare runs. */
		second->range = r->range;
		request_get_ns(second, r->use, r->slot);
		status = check(second, &commands[second->command.opcode]);
		request_put_ns(second);
		if (status) {
			request_reject(second, status);
			return;
		}
	}
	if (command->lock != LOCK_NONE &&
	    !io_lock(r, r->range.offset, r->range.offset + r->range.length, changes))
		return;
	if (changes && !io_clear_range(r))
		return;
	if (must_commit(r, command))
		request_on_worker_long(r, commit_there, committed);
	else
		command->execute(r);
}

void io_execute(struct request *r)
{
	uint8_t opcode = r->command.opcode;

	if ((r->command.fuse != FUSE_NONE || r->queue->fused_first || r->queue->fused_broken) &&
	    io_fused(r))
		return;
	if (opcode >= ARRAY_SIZE(commands) || !commands[opcode].execute) {
		request_complete(r, NVME_SC_INVALID_OPCODE | NVME_SC_DNR);
		return;
	}
	io_begin(r);
}
