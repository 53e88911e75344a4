// SPDX-License-Identifier: BSD-3-Clause
/* The raw client of direct queues, and what it sees of the target. */
#include "direct_client.h"

#include "tenure/lease.h"

#define WR_WRITE   2000
#define READ_WRITE (LH_GRANT_READ | LH_GRANT_WRITE)

struct rig rig;
struct host_queue admin;
uint16_t cntlid;
struct persists persists;
struct ends ends;

/* ---- what the target does, seen --------------------------------------------------------------- */

int __real_view_persist(const struct view *view, uint64_t offset, uint64_t length);
int __wrap_view_persist(const struct view *view, uint64_t offset, uint64_t length);
int __real_fabric_conn_fence(struct fabric_conn *conn);
int __wrap_fabric_conn_fence(struct fabric_conn *conn);
void __real_lease_release(int fd);
void __wrap_lease_release(int fd);

int __wrap_view_persist(const struct view *view, uint64_t offset, uint64_t length)
{
	unsigned int n = atomic_fetch_add(&persists.begun, 1);
	int err;

	if (n < MAX_PERSISTS)
		persists.ranges[n] = (struct lh_commit_range){offset, length};
	if (atomic_load(&persists.hold) && length >= LARGE)
		(void)sem_wait(&persists.gate);
	err = persists.err && n >= persists.fails_after ? persists.err
							: __real_view_persist(view, offset, length);
	atomic_fetch_add(&persists.done, 1);
	return err;
}

int __wrap_fabric_conn_fence(struct fabric_conn *conn)
{
	struct fabric_send_wr wr = {.op = FABRIC_OP_SEND};
	int err = __real_fabric_conn_fence(conn);

	if (!pthread_equal(pthread_self(), ends.control))
		return err;
	if (ends.watched && ends.fences++ == 0)
		ends.error_here = fabric_post_send(conn, &wr, NULL) == -ENOTCONN;
	return err;
}

void __wrap_lease_release(int fd)
{
	uint64_t end = now_ns() + 2 * NS_PER_S;

	/* The client need not have looked yet, but if it does it sees its queue dead. */
	while (ends.watched && ends.releases == 0 && !ends.watched->dead && now_ns() < end) {
		host_poll(ends.watched);
		(void)usleep(100);
	}
	if (ends.watched && ends.releases++ == 0)
		ends.dead_at_release = ends.watched->dead;
	__real_lease_release(fd);
}

void let_go(void)
{
	atomic_store(&persists.hold, false);
	for (unsigned int i = 0; i < LH_MSG_DEFAULT_CREDITS; i++)
		(void)sem_post(&persists.gate);
}

/* ---- the client ------------------------------------------------------------------------------- */

static void on_message(struct host_queue *q, const void *bytes, uint32_t length)
{
	struct direct *d = q->user;
	struct lh_msg m;

	assert_true(length >= sizeof(m));
	memcpy(&m, bytes, sizeof(m));
	assert_int_equal(le32toh(m.length), length);
	d->owed++;
	switch (le16toh(m.type)) {
	case LH_MSG_COMMITTED:
		assert_true(le64toh(m.tag) < TAGS);
		assert_false(d->has[le64toh(m.tag)]);
		d->has[le64toh(m.tag)] = true;
		d->status[le64toh(m.tag)] = le16toh(m.status);
		d->persisted[le64toh(m.tag)] = atomic_load(&persists.done);
		d->committed++;
		break;
	case LH_MSG_RECALL:
		assert_int_equal(length, sizeof(d->recall));
		memcpy(&d->recall, bytes, sizeof(d->recall));
		d->recalled = true;
		d->recalls++;
		break;
	default:
		assert_int_equal(le16toh(m.type), LH_MSG_CREDIT);
	}
}

void post(struct direct *d, const void *bytes, uint32_t length)
{
	unsigned int slot = d->slot++ % HOST_DEPTH;
	void *at = host_command(&d->q, slot, 0);

	memcpy(at, bytes, length);
	host_post(&d->q, slot, length);
}

void post_type(struct direct *d, unsigned int type, uint16_t credits)
{
	struct lh_msg m = {.type = htole16((uint16_t)type),
			   .credits = htole16(credits),
			   .length = htole32(sizeof(m))};

	post(d, &m, sizeof(m));
}

bool turn_until(struct direct *d, const bool *flag, unsigned int ms)
{
	uint64_t end = now_ns() + ms * NS_PER_MS;

	while (!*flag && now_ns() < end) {
		holding_scan(rig.holding);
		rig_turn(&rig, &d->q);
	}
	return *flag;
}

void watch_quiet(struct direct *d)
{
	static const bool never = false;

	(void)turn_until(d, &never, QUIET_MS);
}

void take_token(struct host_queue *from, struct lh_cm_request *request, uint16_t id)
{
	struct nvme_command *cmd = host_command(from, 0, LH_ADMIN_OPEN_DIRECT);
	struct lh_token token;

	host_keyed(from, cmd, sizeof(token));
	assert_int_equal(host_run(from, 64), 0);
	memcpy(&token, from->data, sizeof(token));
	assert_int_equal(le32toh(token.life_ms), LH_TOKEN_LIFE_MS);
	*request = (struct lh_cm_request){.recfmt = htole16(LH_CM_RECFMT),
					  .version = htole16(LH_PROTOCOL_VERSION),
					  .cntlid = htole16(id),
					  .credits = htole16(HOST_DEPTH)};
	memcpy(request->token, token.token, sizeof(request->token));
}

uint16_t connect_with(struct direct *d, const struct lh_cm_request *request)
{
	struct lh_cm_accept accept;

	memset(d, 0, sizeof(*d));
	if (!host_connect(&rig, &d->q, request, sizeof(*request))) {
		host_close(&d->q);
		assert_int_not_equal(d->q.direct_reject, 0);
		return d->q.direct_reject;
	}
	d->q.user = d;
	d->q.message = on_message;
	d->gives_credits = true;
	memcpy(&accept, d->q.accept, sizeof(accept));
	assert_int_equal(le16toh(accept.recfmt), LH_CM_RECFMT);
	assert_int_equal(le16toh(accept.version), LH_PROTOCOL_VERSION);
	assert_int_equal(le16toh(accept.credits), LH_MSG_DEFAULT_CREDITS);
	d->dqid = le16toh(accept.dqid);
	return 0;
}

void open_silent(struct direct *d)
{
	struct lh_cm_request request;

	take_token(&admin, &request, cntlid);
	assert_int_equal(connect_with(d, &request), 0);
}

void open_direct(struct direct *d)
{
	open_silent(d);
	post_type(d, LH_MSG_HELLO, 0);
}

uint16_t ask(const struct direct *d, uint8_t opcode, uint64_t offset, uint64_t length,
	     uint32_t generation)
{
	struct lh_admin_command *cmd = (void *)host_command(&admin, 0, opcode);

	cmd->nsid = htole32(TEST_NSID);
	cmd->dqid = htole16(d->dqid);
	cmd->offset = htole64(offset);
	cmd->length = htole64(length);
	cmd->generation = htole32(generation);
	if (opcode == LH_ADMIN_ACQUIRE || opcode == LH_ADMIN_RELEASE_PART) {
		cmd->access_flags = htole16(READ_WRITE);
		host_keyed(&admin, (struct nvme_command *)(void *)cmd, 65536);
	}
	return host_run(&admin, 64);
}

struct lh_grant acquire(const struct direct *d, uint64_t offset, uint64_t length,
			uint32_t *generation)
{
	uint64_t end = now_ns() + STEP_MS * NS_PER_MS;
	struct lh_acquire_reply reply;
	struct lh_grant grant;
	uint16_t status;

	do
		status = ask(d, LH_ADMIN_ACQUIRE, offset, length, 0);
	while (status == LH_SC_RECALLING && now_ns() < end);
	assert_int_equal(status, 0);
	memcpy(&reply, admin.data, sizeof(reply));
	memcpy(&grant, admin.data + sizeof(reply), sizeof(grant));
	assert_int_equal(le16toh(reply.count), 1);
	assert_int_equal(le64toh(grant.length), length);
	*generation = le32toh(reply.generation);
	return grant;
}

void give_back(const struct direct *d, uint32_t generation)
{
	assert_int_equal(ask(d, LH_ADMIN_RELEASE, 0, UINT64_MAX, generation), 0);
}

void post_write(struct direct *d, const struct lh_grant *grant, uint64_t at, uint8_t byte,
		uint32_t length)
{
	struct fabric_sge sge = {(uint64_t)(uintptr_t)d->q.data, length, d->q.mr->lkey};
	struct fabric_send_wr wr = {.wr_id = WR_WRITE,
				    .op = FABRIC_OP_WRITE,
				    .flags = FABRIC_F_SIGNALED,
				    .sg_list = &sge,
				    .num_sge = 1,
				    .remote_addr = le64toh(grant->address) + at,
				    .rkey = le32toh(grant->rkey)};

	memset(d->q.data, byte, length);
	if (fabric_post_send(d->q.conn, &wr, NULL) < 0)
		d->q.dead = true;
}

unsigned int post_commit_as(struct direct *d, uint32_t nsid, uint32_t generation,
			    const struct lh_commit_range *ranges, uint32_t count)
{
	union {
		struct lh_msg_commit m;
		uint8_t bytes[sizeof(struct lh_msg_commit) +
			      (LH_COMMIT_MAX_RANGES + 1) * sizeof(struct lh_commit_range)];
	} wire = {0};
	uint32_t bytes = (uint32_t)(sizeof(wire.m) + count * sizeof(ranges[0]));
	unsigned int tag = d->next_tag++;

	assert_true(tag < TAGS && count <= LH_COMMIT_MAX_RANGES + 1);
	wire.m.header = (struct lh_msg){
		.type = htole16(LH_MSG_COMMIT),
		.credits = htole16((uint16_t)(d->gives_credits ? d->owed : 0)),
		.length = htole32(bytes),
		.tag = htole64(tag),
		.nsid = htole32(nsid),
	};
	if (d->gives_credits)
		d->owed = 0;
	wire.m.generation = htole32(generation);
	wire.m.count = htole32(count);
	for (uint32_t i = 0; i < count; i++)
		wire.m.ranges[i] = (struct lh_commit_range){htole64(ranges[i].offset),
							    htole64(ranges[i].length)};
	post(d, &wire, bytes);
	return tag;
}

unsigned int post_commit(struct direct *d, uint32_t generation, uint64_t offset, uint64_t length)
{
	struct lh_commit_range range = {offset, length};

	return post_commit_as(d, TEST_NSID, generation, &range, 1);
}

uint16_t committed(struct direct *d, unsigned int tag)
{
	uint64_t end = now_ns() + STEP_MS * NS_PER_MS;

	while (!d->has[tag] && !d->q.dead && now_ns() < end)
		(void)turn_until(d, &d->has[tag], 1);
	return d->has[tag] ? d->status[tag] : NO_ANSWER;
}

uint16_t commit(struct direct *d, uint32_t generation, uint64_t offset, uint64_t length)
{
	return committed(d, post_commit(d, generation, offset, length));
}

void assert_byte(uint64_t offset, uint8_t byte)
{
	uint8_t is;

	assert_int_equal(pread(export_fd(holding_export(rig.holding)), &is, 1, (off_t)offset), 1);
	assert_int_equal(is, byte);
}

void wait_begun(struct direct *d)
{
	uint64_t end = now_ns() + STEP_MS * NS_PER_MS;

	while (atomic_load(&persists.begun) == 0 && now_ns() < end)
		rig_turn(&rig, &d->q);
	assert_int_equal(atomic_load(&persists.begun), 1);
}

void assert_persisted(unsigned int n, uint64_t offset, uint64_t length)
{
	assert_int_equal(persists.ranges[n].offset, offset);
	assert_int_equal(persists.ranges[n].length, length);
}

void assert_ended(struct direct *d)
{
	assert_true(turn_until(d, &d->q.dead, STEP_MS));
	host_close(&d->q);
	(void)host_command(&admin, 0, NVME_ADMIN_KEEP_ALIVE);
	assert_int_equal(host_run(&admin, 64), 0);
}

/* ---- the landlord ----------------------------------------------------------------------------- */

int landlord_open(struct direct *d, unsigned int ms)
{
	uint64_t end = now_ns() + ms * NS_PER_MS;
	int fd;

	for (;;) {
		fd = open(in_dir("export"), O_RDWR | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0 || now_ns() >= end)
			return fd;
		assert_int_equal(errno, EWOULDBLOCK);
		(void)turn_until(d, &d->recalled, 1);
		rig_turn(&rig, &d->q);
	}
}

/* ---- up and down ------------------------------------------------------------------------------ */

int setup_with(void **state, void (*start)(struct rig *rig))
{
	if (leaks_setup(state))
		return -1;
	memset(&persists, 0, sizeof(persists));
	ends = (struct ends){.control = pthread_self()};
	(void)sem_init(&persists.gate, 0, 0);
	start(&rig);
	cntlid = host_admin(&rig, &admin);
	return 0;
}

static void start_patient(struct rig *r)
{
	rig_start_deadline(r, PATIENT_MS);
}

int setup(void **state)
{
	return setup_with(state, start_patient);
}

static void start_strict(struct rig *r)
{
	rig_start_deadline(r, FENCE_MS);
}

int setup_strict(void **state)
{
	return setup_with(state, start_strict);
}

int teardown(void **state)
{
	ends.watched = NULL;
	let_go();
	host_close(&admin);
	rig_stop(&rig);
	return leaks_teardown(state);
}
