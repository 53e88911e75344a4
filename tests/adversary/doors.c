// SPDX-License-Identifier: BSD-3-Clause
/* Connections: tokens that are not good, halves of connections, and floods of commands. */
#include "adversary.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Opens with that request; whether the target let it in. Closed again if so. */
static bool lets_in(const struct lh_cm_request *request, uint16_t *why)
{
	struct link l = {0};
	struct lh_cm_reject reject;
	bool in = link_open(&l, request, sizeof(*request)) == 0;

	memcpy(&reject, l.reply, sizeof(reject));
	*why = in ? 0 : le16toh(reject.status);
	link_close(&l);
	return in;
}

static void must_keep_out(const char *what, const struct lh_cm_request *request)
{
	uint16_t why;

	must_fail(what, lets_in(request, &why));
	must_work("the reason: a bad token", why == LH_CM_BAD_TOKEN);
}

void attack_tokens(struct adversary *a)
{
	struct lh_cm_request late, good, other, bad;
	uint64_t taken;
	uint16_t why;

	a->neighbour.host = a->admin.host + 1;
	admin_open(&a->neighbour);
	must_work("a token", token_take(&a->admin, &late) == 0);
	taken = now_ns();
	must_work("another", token_take(&a->admin, &good) == 0);
	must_work("the neighbour's", token_take(&a->neighbour, &other) == 0);
	bad = other;
	bad.cntlid = htole16(a->admin.cntlid);
	must_keep_out("the token of another controller", &bad);
	bad = good;
	bad.cntlid = htole16(a->neighbour.cntlid);
	must_keep_out("our token at another controller", &bad);
	bad = good;
	bad.token[0] ^= 1;
	must_keep_out("a token that is nearly right", &bad);
	memset(bad.token, 0, sizeof(bad.token));
	must_keep_out("a token of zeros", &bad);
	must_work("a good token", lets_in(&good, &why));
	must_keep_out("the same once more", &good);
	must_work("the neighbour's token, by the neighbour", lets_in(&other, &why));
	raw_say("ready", now_ns(), "");
	while (now_ns() < taken + (LH_TOKEN_LIFE_MS + 300) * NS_PER_MS)
		link_turn(&a->admin, &a->neighbour);
	must_keep_out("a token after its time", &late);
	for (unsigned int i = 0; i < 64; i++)
		must_work("a token that is never used", token_take(&a->admin, &late) == 0);
	must_work("the last of them", lets_in(&late, &why));
}

/* ---- halves ----------------------------------------------------------------------------------- */

#define EACH	    8
#define DEAF_BYTES  MIB(1)
#define PATIENCE_NS (40 * NS_PER_S) /* more than the target has for who says nothing */

/* Reads more than any buffer on the way holds, and takes nothing. */
static void be_deaf(struct adversary *a, struct link *io)
{
	void *memory = aligned_alloc(4096, DEAF_BYTES);
	struct fabric_mr *mr;

	*io = (struct link){.host = a->admin.host, .cntlid = a->admin.cntlid};
	queue_open(io, 1);
	if (!memory ||
	    fabric_mr_reg(raw.pd, memory, DEAF_BYTES, (uint64_t)(uintptr_t)memory,
			  FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_WRITE, &mr) < 0)
		errx(1, "no memory");
	for (unsigned int i = 0; i < RAW_DEPTH - 2; i++) {
		struct nvme_command *cmd = command_in(io, i, NVME_IO_READ, 0);

		cmd->nsid = htole32(raw.nsid);
		cmd->cdw10 = htole32((uint32_t)(a->prey / 4096));
		cmd->cdw12 = htole32(DEAF_BYTES / 4096 - 1);
		nvme_keyed_sgl_set(&cmd->sgl, (uint64_t)(uintptr_t)memory, DEAF_BYTES, mr->rkey,
				   NVME_SGL_ADDRESS);
		if (link_send_slot(io, i, sizeof(*cmd)) < 0)
			break;
	}
	/* Sends what is to be sent, a little. */
	for (int i = 0; i < 3; i++)
		link_turn(&a->admin, io);
}

static bool all_dead(struct link *links, unsigned int n, uint64_t end)
{
	unsigned int dead;

	do {
		dead = 0;
		for (unsigned int i = 0; i < n; i++) {
			link_turn(&links[i], NULL);
			dead += links[i].dead;
		}
	} while (dead < n && now_ns() < end);
	return dead == n;
}

void attack_half_open(struct adversary *a)
{
	static struct link no_connect[EACH], no_hello[EACH], deaf_admin, deaf_io;
	const struct nvmf_rdma_cm_request queue = queue_request(0, 0);
	uint64_t end;

	for (unsigned int i = 0; i < EACH; i++) {
		struct lh_cm_request request;

		must_work("a connection", link_open(&no_connect[i], &queue, sizeof(queue)) == 0);
		must_work("a token", token_take(&a->admin, &request) == 0);
		must_work("a queue", link_open(&no_hello[i], &request, sizeof(request)) == 0);
	}
	/* An admin queue that asks and asks, and never takes an answer. */
	deaf_admin.host = a->admin.host + 2;
	admin_open(&deaf_admin);
	for (unsigned int i = 0; i < RAW_DEPTH - 2; i++) {
		struct nvme_command *cmd =
			command_in(&deaf_admin, i, NVME_ADMIN_IDENTIFY, RAW_SLOT_BYTES / 2);

		cmd->cdw10 = htole32(1);
		if (link_send_slot(&deaf_admin, i, sizeof(*cmd)) < 0)
			break;
	}
	be_deaf(a, &deaf_io);
	end = now_ns() + PATIENCE_NS;
	raw_say("ready", now_ns(), "");
	must_work("who says no Connect is shown out", all_dead(no_connect, EACH, end));
	must_work("who says no Hello is shown out", all_dead(no_hello, EACH, end));
	for (unsigned int i = 0; i < EACH; i++) {
		link_close(&no_connect[i]);
		link_close(&no_hello[i]);
	}
	/* The deaf ones stay until the end. */
}

/* ---- floods ----------------------------------------------------------------------------------- */

#define IN_FLIGHT 24u

static void flood_once(struct adversary *a, struct link *direct, unsigned int round)
{
	const uint64_t end = now_ns() + RAW_STEP_NS;
	const unsigned int before = a->admin.answers;

	for (unsigned int i = 0; i < IN_FLIGHT; i++) {
		const unsigned int n = round * IN_FLIGHT + i;
		const uint64_t at = a->prey + (uint64_t)(n * 7 % (PREY_BYTES / 4096)) * 4096;
		const uint8_t op = n % 5 < 2   ? LH_ADMIN_ACQUIRE
				   : n % 5 < 4 ? LH_ADMIN_RELEASE
					       : LH_ADMIN_RENEW;

		grant_command(&a->admin, i, op, direct->dqid, at,
			      n % 11 == 0 ? PREY_BYTES + a->prey - at : 4096, 0,
			      op == LH_ADMIN_ACQUIRE ? BOTH : 0);
		if (link_send_slot(&a->admin, i, sizeof(struct nvme_command)) < 0)
			errx(1, "the admin queue is gone");
	}
	while (a->admin.answers - before < IN_FLIGHT && !a->admin.dead && now_ns() < end)
		link_turn(&a->admin, direct);
	if (a->admin.answers - before < IN_FLIGHT)
		errx(1, "commands were not answered");
}

/* As many grants as there are, then as many queues. */
static void take_all(struct adversary *a)
{
	static struct link queues[64];
	const uint64_t end = now_ns() + PATIENCE_NS;
	unsigned int grants = 0, opened = 0;
	uint16_t status = 0;
	struct raw_grant g;

	must_work("a Release of everything",
		  release_try(&a->admin, fresh_queue(a), 0, UINT64_MAX, 0) == 0);
	while (grants < PREY_BYTES / 4096 && status == 0 && now_ns() < end) {
		status = acquire_try(&a->admin, fresh_queue(a), BOTH,
				     a->prey + (uint64_t)grants * 4096, 4096, &g);
		grants += status == 0;
		/* The landlord may be at work: then all of them are gone, and maybe the queue. */
		if (status == LH_SC_RECALLING || status == LH_SC_NO_DIRECT_QUEUE) {
			status = 0;
			grants = 0;
		}
	}
	must_work("one grant too many is refused as that", status == LH_SC_LIMIT);
	must_work("the limit is what was configured", grants == a->tries);
	while (opened < ARRAY_SIZE(queues) && direct_open(&a->admin, &queues[opened]) >= 0)
		opened++;
	must_fail("direct queues without an end", opened == ARRAY_SIZE(queues));
	for (unsigned int i = 0; i <= opened && i < ARRAY_SIZE(queues); i++)
		link_close(&queues[i]);
}

void attack_flood(struct adversary *a)
{
	const uint64_t end = now_ns() + 6 * NS_PER_S;
	unsigned int round = 0;

	(void)fresh_queue(a);
	raw_say("ready", now_ns(), "");
	while (now_ns() < end || round < 20)
		flood_once(a, fresh_queue(a), round++);
	must_work("a flood", round > 0);
	take_all(a);
}
