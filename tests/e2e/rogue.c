// SPDX-License-Identifier: BSD-3-Clause
/*
 * A client that misbehaves, for the end-to-end tests; see tests/raw.
 *
 *	rogue FABRIC ADDRESS PORT NQN NSID MODE [ARGUMENT...]
 *
 *	keep SECONDS [OFFSET BYTES]
 *			   gives its grant back when asked, then goes on using the key, on the same
 *			   queue pair and on new ones
 *	ignore SECONDS [OFFSET BYTES]
 *			   never answers a recall and goes on using the key. SECONDS of both count
 *			   from when it was asked, or cut off
 *	idle SECONDS	   gets a grant and prints it, does nothing else
 *	steal ADDR RKEY	   uses another client's key on its own direct queue
 *	beyond [OFFSET]	   reads and writes past either end of its grant, and around the end of all addresses
 *	read-only [OFFSET] writes through a grant for reading
 *	garbage SEED N	   N connections that break off or send nonsense at some step
 *	stranger WHAT	   one that comes to nothing: data (private data that are nobody's), silent,
 *			   capsule (of 20 bytes), command (one that is no Connect; then it closes), key
 *			   (a Connect whose data lie under a key that is none)
 *	resv HOST WHAT CRKEY KEY TYPE
 *			   one reservation command as the host of that number, on an I/O queue:
 *			   register, register-kept, unregister, acquire, preempt, preempt-abort,
 *			   release, clear; or read, write: one block. Prints "status XXXh".
 *	discovery SECONDS  stays connected to the discovery service and reads the log after each
 *			   event. Prints "log GENERATION RECORDS PORTID:SERVICE...", then for each
 *			   event "event XXXXXXXXh" and another "log".
 *
 * Lines on stdout: granted GENERATION ADDRESS RKEY LENGTH | told NS GENERATION | released NS |
 * refused NS WORDS | worked NS (posting time of the last round trip that the target let happen,
 * printed when it is refused and at the end). Exit: 0 done, 1 could not, 3 something worked that must not.
 */
#include "raw/raw.h"

#include <err.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define UNASKED_S 120 /* keep and ignore go on for so long if nobody wants anything back */
#define BOTH	  (LH_GRANT_READ | LH_GRANT_WRITE)

/* ---- modes ----------------------------------------------------------------------------------- */

/** Uses a key on new direct queues until the time is up. Returns whether one worked. */
static bool try_on_new_queues(struct link *admin, const struct raw_grant *g, uint64_t end)
{
	while (now_ns() < end) {
		struct link l = {0};
		const uint64_t begun = now_ns();
		enum fabric_status status;

		if (direct_open(admin, &l) >= 0) {
			status = round_trip(admin, &l, g->address, g->rkey, 8);
			if (status == FABRIC_OK) {
				raw_say("worked", begun, "on another queue pair");
				return true;
			}
			raw_say("refused", begun, fabric_status_text(status));
		}
		link_close(&l);
		usleep(100000);
	}
	return false;
}

/** keep and ignore: see the top. The whole granted range is aimed at, a page at a time. */
static int misuse(bool answers, uint64_t seconds, uint64_t offset, uint64_t bytes)
{
	struct link admin = {0}, direct = {0};
	uint64_t end = now_ns() + UNASKED_S * NS_PER_S, worked = 0, released = 0;
	bool asked = false;
	struct raw_grant g;
	uint64_t page = 0;

	admin_open(&admin);
	direct_must_open(&admin, &direct);
	g = acquire(&admin, &direct, BOTH, offset, bytes);
	while (now_ns() < end) {
		const uint64_t begun = now_ns();
		enum fabric_status status =
			round_trip(&admin, &direct, g.address + page, g.rkey, 4096);

		if (!asked && (status != FABRIC_OK || direct.told)) {
			asked = true;
			end = now_ns() + seconds * NS_PER_S;
		}
		if (status != FABRIC_OK) {
			raw_say("refused", begun, fabric_status_text(status));
			break;
		}
		worked = begun;
		page = (page + 4096) % g.length;
		if (released) {
			raw_say("worked", begun, "after it was released");
			return RAW_BAD_EXIT;
		}
		if (direct.told) {
			raw_say("told", now_ns(), "");
			direct.told = false;
			if (answers) {
				release_all(&admin, &direct, direct.told_generation);
				released = now_ns();
				raw_say("released", released, "");
				/* What stays in the file: behind its end the kernel refuses too. */
				page = 0;
			}
		}
	}
	raw_say("worked", worked, "last");
	if (try_on_new_queues(&admin, &g, end))
		return RAW_BAD_EXIT;
	return 0;
}

static int idle(uint64_t seconds)
{
	struct link admin = {0}, direct = {0};
	const uint64_t end = now_ns() + seconds * NS_PER_S;

	admin_open(&admin);
	direct_must_open(&admin, &direct);
	(void)acquire(&admin, &direct, BOTH, 0, MIB(1));
	while (now_ns() < end && !direct.dead)
		link_turn(&admin, &direct);
	return 0;
}

enum from {
	FROM_BEGINNING,
	FROM_END,
	FROM_ZERO, /* of all addresses: what is named wraps around */
};

/**
 * One access to a grant of 1 MiB at `start` that must be refused; a queue of its own, since it
 * dies of it.
 */
static bool must_refuse(const char *what, struct link *admin, uint64_t start, unsigned int access,
			enum fabric_op op, int64_t offset, uint32_t bytes, enum from from)
{
	struct link l = {0};
	enum fabric_status status;
	struct raw_grant g;
	uint64_t address;

	direct_must_open(admin, &l);
	g = acquire(admin, &l, access, start, MIB(1));
	address = (uint64_t)offset + (from == FROM_ZERO ? 0 : g.address);
	if (from == FROM_END)
		address += g.length;
	memset(link_data(&l), 0xbd, RAW_SLOT_BYTES);
	status = rma(admin, &l, op, address, g.rkey, bytes);
	if (status == FABRIC_OK) /* of a write it means sent */
		status = rma(admin, &l, FABRIC_OP_READ, g.address, g.rkey, 8);
	raw_say(status == FABRIC_OK ? "worked" : "refused", now_ns(), what);
	link_close(&l);
	usleep(50000);
	return status != FABRIC_OK;
}

struct trespass {
	const char *what;
	enum fabric_op op;
	int64_t offset;
	uint32_t bytes;
	enum from from;
};

static const struct trespass trespasses[] = {
	{"write past the end", FABRIC_OP_WRITE, -7, 8, FROM_END},
	{"write of a byte behind the end", FABRIC_OP_WRITE, 0, 1, FROM_END},
	{"write of a page behind the end", FABRIC_OP_WRITE, 0, 4096, FROM_END},
	{"write a page behind the end", FABRIC_OP_WRITE, 4096, 8, FROM_END},
	{"write before the beginning", FABRIC_OP_WRITE, -1, 8, FROM_BEGINNING},
	{"write of a byte before the beginning", FABRIC_OP_WRITE, -1, 1, FROM_BEGINNING},
	{"write of a page before the beginning", FABRIC_OP_WRITE, -4096, 4096, FROM_BEGINNING},
	{"write around the end of all addresses", FABRIC_OP_WRITE, -4, 8, FROM_ZERO},
	{"read past the end", FABRIC_OP_READ, -7, 8, FROM_END},
	{"read before the beginning", FABRIC_OP_READ, -1, 8, FROM_BEGINNING},
	{"read around the end of all addresses", FABRIC_OP_READ, -4, 8, FROM_ZERO},
};

static int beyond(uint64_t start)
{
	struct link admin = {0};
	bool ok = true;

	admin_open(&admin);
	for (size_t i = 0; i < ARRAY_SIZE(trespasses); i++) {
		const struct trespass *t = &trespasses[i];

		ok &= must_refuse(t->what, &admin, start, BOTH, t->op, t->offset, t->bytes,
				  t->from);
	}
	link_close(&admin);
	return ok ? 0 : RAW_BAD_EXIT;
}

static int read_only(uint64_t start)
{
	struct link admin = {0};
	bool ok;

	admin_open(&admin);
	ok = must_refuse("write through a grant for reading", &admin, start, LH_GRANT_READ,
			 FABRIC_OP_WRITE, 0, 8, FROM_BEGINNING);
	link_close(&admin);
	return ok ? 0 : RAW_BAD_EXIT;
}

static int steal(uint64_t address, uint32_t rkey)
{
	struct link admin = {0}, direct = {0};
	enum fabric_status status;

	admin_open(&admin);
	direct_must_open(&admin, &direct);
	status = round_trip(&admin, &direct, address, rkey, 8);
	raw_say(status == FABRIC_OK ? "worked" : "refused", now_ns(), fabric_status_text(status));
	return status == FABRIC_OK ? RAW_BAD_EXIT : 0;
}

static uint64_t random_state;

static uint32_t dice(uint32_t sides)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(random_state >> 33) % sides;
}

/** A connection that goes wrong in one of several ways. */
static void nonsense(void)
{
	struct nvmf_rdma_cm_request request = {.hrqsize = htole16(RAW_DEPTH),
					       .hsqsize = htole16(RAW_DEPTH - 1)};
	struct lh_cm_request direct = {.recfmt = htole16(LH_CM_RECFMT),
				       .version = htole16(LH_PROTOCOL_VERSION)};
	uint8_t private_data[FABRIC_PRIVATE_DATA_MAX];
	const uint32_t way = dice(7);
	struct link l = {0};
	int rc;

	for (size_t i = 0; i < sizeof(private_data); i++)
		private_data[i] = (uint8_t)dice(256);
	switch (way) {
	case 0: /* private data that is nobody's */
		rc = link_open(&l, private_data, (uint8_t)dice(sizeof(private_data)));
		break;
	case 1: /* a direct queue without a token */
		memcpy(direct.token, private_data, sizeof(direct.token));
		rc = link_open(&l, &direct, sizeof(direct));
		break;
	case 2: /* an I/O queue of a controller that is not there */
		request.qid = htole16(1);
		request.cntlid = htole16(999);
		rc = link_open(&l, &request, sizeof(request));
		break;
	default:
		rc = link_open(&l, &request, sizeof(request));
	}
	if (rc == 0) {
		for (size_t i = 0; i < RAW_SLOT_BYTES; i++)
			link_slot(&l, 0)[i] = (uint8_t)dice(256);
		if (way == 4) /* half a capsule */
			rc = link_send(&l, 1 + dice(63));
		else if (way > 4) /* a whole one, of nonsense, perhaps with data behind */
			rc = link_send(&l, 64 + dice(2) * dice(4096));
		for (int i = 0; rc == 0 && way >= 4 && i < 500 && !l.got && !l.dead; i++)
			link_turn(&l, NULL);
	}
	link_close(&l);
}

static int garbage(uint64_t seed, uint64_t count)
{
	random_state = seed;
	for (uint64_t i = 0; i < count; i++)
		nonsense();
	return 0;
}

static int stranger(const char *what)
{
	struct nvmf_rdma_cm_request request = queue_request(0, 0);
	bool data = strcmp(what, "data") == 0, command = strcmp(what, "command") == 0;
	const uint64_t end = now_ns() + RAW_STEP_NS;
	struct nvmf_connect_data unread;
	struct link l = {0};
	int rc = data ? link_open(&l, "\033[2J\xff", 5) : link_open(&l, &request, sizeof(request));

	if (data || rc < 0) {
		link_close(&l);
		return data == (rc < 0) ? 0 : 1;
	}
	(void)command_new(&l, NVME_ADMIN_IDENTIFY, 0);
	if (strcmp(what, "key") == 0) {
		struct nvme_command *cmd = command_new(&l, NVME_FABRICS, sizeof(unread));

		connect_build((void *)cmd, &unread, 0, 1, 0);
		nvme_keyed_sgl_set(&cmd->sgl, 0x1000, sizeof(unread), l.mr->rkey ^ 0x5a5a5a00,
				   NVME_SGL_ADDRESS);
	}
	if (strcmp(what, "silent") != 0)
		rc = link_send(&l, strcmp(what, "capsule") == 0 ? 20 : sizeof(struct nvme_command));
	while (rc == 0 && !l.dead && !(command && l.got) && now_ns() < end)
		link_turn(&l, NULL);
	rc = l.dead || l.got ? 0 : 1;
	link_close(&l);
	return rc;
}

/* ---- reservations ---------------------------------------------------------------------------- */

struct resv_word {
	const char *name;
	uint8_t opcode, bytes;
	uint32_t cdw10;
};

static const struct resv_word resv_words[] = {
	{"register", NVME_IO_RESV_REGISTER, 16, NVME_RREGA_REGISTER},
	{"register-kept", NVME_IO_RESV_REGISTER, 16, NVME_RREGA_REGISTER | 3u << 30},
	{"unregister", NVME_IO_RESV_REGISTER, 16, NVME_RREGA_UNREGISTER},
	{"acquire", NVME_IO_RESV_ACQUIRE, 16, NVME_RACQA_ACQUIRE},
	{"preempt", NVME_IO_RESV_ACQUIRE, 16, NVME_RACQA_PREEMPT},
	{"preempt-abort", NVME_IO_RESV_ACQUIRE, 16, NVME_RACQA_PREEMPT_ABORT},
	{"release", NVME_IO_RESV_RELEASE, 8, NVME_RRELA_RELEASE},
	{"clear", NVME_IO_RESV_RELEASE, 8, NVME_RRELA_CLEAR},
};

static void resv_fill(struct link *io, const char *what, char **numbers)
{
	struct nvme_resv_keys keys = {.crkey = htole64(raw_number(numbers[0])),
				      .key = htole64(raw_number(numbers[1]))};
	struct nvme_command *cmd;

	for (size_t i = 0; i < ARRAY_SIZE(resv_words); i++) {
		const struct resv_word *w = &resv_words[i];

		if (strcmp(w->name, what) != 0)
			continue;
		cmd = command_new(io, w->opcode, w->bytes);
		cmd->nsid = htole32(raw.nsid);
		cmd->cdw10 = htole32(w->cdw10 | (uint32_t)raw_number(numbers[2]) << 8);
		memcpy(link_data(io), &keys, sizeof(keys));
		return;
	}
	/* The first 4096 bytes, which are one block or eight. */
	cmd = command_new(io, strcmp(what, "write") == 0 ? NVME_IO_WRITE : NVME_IO_READ, 4096);
	cmd->nsid = htole32(raw.nsid);
}

static int reserve(char **argv)
{
	struct link admin = {0}, io = {0};
	struct nvme_completion cqe;

	admin.host = io.host = (int)raw_number(argv[0]);
	admin_open(&admin);
	io.cntlid = admin.cntlid;
	queue_open(&io, 1);
	resv_fill(&io, argv[1], &argv[2]);
	cqe = command_run(&io, &admin);
	(void)printf("status %03xh\n", raw_status_of(&cqe));
	link_close(&io);
	link_close(&admin);
	return 0;
}

/* ---- discovery ------------------------------------------------------------------------------- */

static void show_log(struct link *admin)
{
	const uint32_t bytes = RAW_SLOT_BYTES;
	const struct nvmf_discovery_head *head = (const void *)link_data(admin);
	const struct nvmf_discovery_entry *e = (const void *)(link_data(admin) + 1024);
	struct nvme_command *cmd = command_new(admin, NVME_ADMIN_GET_LOG_PAGE, bytes);
	struct nvme_completion cqe;

	memset(link_data(admin), 0, bytes);
	cmd->cdw10 = htole32(NVME_LOG_DISCOVERY | (bytes / 4 - 1) << 16);
	cqe = command_run(admin, NULL);
	if (raw_status_of(&cqe) != 0)
		errx(1, "the discovery log: status %03xh", raw_status_of(&cqe));
	(void)printf("log %llu %llu", (unsigned long long)le64toh(head->genctr),
		     (unsigned long long)le64toh(head->numrec));
	for (uint64_t i = 0; i < le64toh(head->numrec) && i < bytes / 1024 - 1; i++)
		(void)printf(" %u:%.*s", le16toh(e[i].portid), (int)strcspn(e[i].trsvcid, " "),
			     e[i].trsvcid);
	(void)printf("\n");
	(void)fflush(stdout);
}

/* The answer comes when something has changed; nothing else is asked for until then. */
static void ask_for_event(struct link *admin)
{
	struct nvme_command *cmd = command_new(admin, NVME_ADMIN_ASYNC_EVENT, 0);

	cmd->flags = NVME_FLAGS_SGL;
	cmd->cid = htole16(9);
	if (link_send(admin, sizeof(*cmd)) < 0)
		errx(1, "the admin queue is gone");
	while (!admin->sent && !admin->dead)
		link_turn(admin, NULL);
}

static int discovery(uint64_t seconds)
{
	const uint64_t end = now_ns() + seconds * NS_PER_S;
	struct link admin = {0};
	struct nvme_completion cqe;
	struct nvme_command *cmd;

	raw.nqn = NVME_DISCOVERY_NQN;
	admin_open(&admin);
	cmd = command_new(&admin, NVME_ADMIN_SET_FEATURES, 0);
	cmd->cdw10 = htole32(NVME_FEAT_ASYNC_EVENT);
	cmd->cdw11 = htole32(NVME_AEN_CFG_DISCOVERY);
	cqe = command_run(&admin, NULL);
	if (raw_status_of(&cqe) != 0)
		errx(1, "events: status %03xh", raw_status_of(&cqe));
	show_log(&admin);
	ask_for_event(&admin);
	while (now_ns() < end && !admin.dead) {
		link_turn(&admin, NULL);
		if (!admin.got)
			continue;
		memcpy(&cqe, admin.in, sizeof(cqe));
		(void)printf("event %08xh\n", le32toh(cqe.dw0));
		show_log(&admin);
		ask_for_event(&admin);
	}
	if (admin.dead)
		(void)printf("the connection is gone\n");
	link_close(&admin);
	return 0;
}

static int run(char **argv, const char *mode)
{
	char **args = argv + 7;

	if (strcmp(mode, "discovery") == 0)
		return discovery(raw_number(args[0]));
	if (strcmp(mode, "keep") == 0 || strcmp(mode, "ignore") == 0)
		return misuse(mode[0] == 'k', raw_number(args[0]),
			      args[0] && args[1] ? raw_number(args[1]) : 0,
			      args[0] && args[1] ? raw_number(args[2]) : MIB(32));
	if (strcmp(mode, "idle") == 0)
		return idle(raw_number(args[0]));
	if (strcmp(mode, "beyond") == 0)
		return beyond(raw_number(args[0]));
	if (strcmp(mode, "read-only") == 0)
		return read_only(raw_number(args[0]));
	if (strcmp(mode, "steal") == 0 && args[0])
		return steal(raw_number(args[0]), (uint32_t)raw_number(args[1]));
	if (strcmp(mode, "garbage") == 0 && args[0])
		return garbage(raw_number(args[0]), raw_number(args[1]));
	if (strcmp(mode, "stranger") == 0 && args[0])
		return stranger(args[0]);
	if (strcmp(mode, "resv") == 0 && args[0] && args[1] && args[2] && args[3] && args[4])
		return reserve(args);
	errx(2, "what is %s? See the top of rogue.c", mode);
}

int main(int argc, char **argv)
{
	if (argc < 7)
		errx(2, "FABRIC ADDRESS PORT NQN NSID MODE [ARGUMENT...]");
	raw_open(argv + 1);
	return run(argv, argv[6]);
}
