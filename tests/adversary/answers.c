// SPDX-License-Identifier: BSD-3-Clause
/* Answers that nobody asked for: Releases twice, of others' grants, of other generations; Commits. */
#include "adversary.h"

#include <stdio.h>

static void must_be(const char *what, int status, int wanted)
{
	char text[160];

	(void)snprintf(text, sizeof(text), "%s: status %03xh, wanted %03xh", what,
		       (unsigned int)status, (unsigned int)wanted);
	must_work(text, status == wanted);
}

static bool own_works(struct adversary *a, const struct raw_grant *g)
{
	return round_trip(&a->admin, &a->direct, g->address + 4096, g->rkey, 64) == FABRIC_OK;
}

/* What is no business of ours. */
static void release_others(struct adversary *a)
{
	const uint16_t dqid = a->direct.dqid;

	must_be("Release of the neighbour's range",
		release_try(&a->admin, &a->direct, a->prey + HALF, HALF, 0), 0);
	victim_fine(a, "a Release of its range");
	must_be("Release of everything, any generation",
		release_try(&a->admin, &a->direct, 0, UINT64_MAX, 0), 0);
	victim_fine(a, "a Release of everything");
	must_be("Release that wraps", release_try(&a->admin, &a->direct, 4096, UINT64_MAX, 0), 0);
	victim_fine(a, "a Release that wraps");
	a->direct.dqid = a->victim.dqid;
	must_be("Release in the neighbour's queue's name",
		release_try(&a->admin, &a->direct, 0, UINT64_MAX, 0), 0);
	victim_fine(a, "a Release in its queue's name");
	grant_command(&a->admin, 0, LH_ADMIN_RENEW, a->victim.dqid, 0, 0, 0, 0);
	must_be("Renew in its queue's name", command_status(&a->admin, &a->direct) & 0x7ff,
		LH_SC_NO_DIRECT_QUEUE);
	a->direct.dqid = dqid;
}

void attack_answers(struct adversary *a)
{
	struct raw_grant g;

	meet_victim(a);
	g = fresh_grant(a);
	must_be("Release", release_try(&a->admin, &a->direct, a->prey, HALF, g.generation), 0);
	must_be("Release again", release_try(&a->admin, &a->direct, a->prey, HALF, g.generation),
		0);
	victim_fine(a, "two Releases");
	release_others(a);
	g = fresh_grant(a);
	must_be("Release of a generation to come",
		release_try(&a->admin, &a->direct, 0, UINT64_MAX, g.generation + 1),
		LH_SC_STALE_GENERATION);
	must_work("our grant after it", own_works(a, &g));
	if (g.generation > 1) {
		must_be("Release of a generation gone by",
			release_try(&a->admin, &a->direct, 0, UINT64_MAX, g.generation - 1), 0);
		must_work("our grant after it", own_works(a, &g));
	}
	must_be("Release of what is not ours to hold",
		release_try(&a->admin, &a->direct, 0, a->prey, g.generation), 0);
	must_work("our grant after it", own_works(a, &g));

	await_recall(a);
	must_be("Release of the generation to come, when told",
		release_try(&a->admin, &a->direct, 0, UINT64_MAX, g.generation + 1),
		LH_SC_STALE_GENERATION);
	must_be("Release, when told",
		release_try(&a->admin, &a->direct, 0, UINT64_MAX, g.generation), 0);
	must_be("Release, once more",
		release_try(&a->admin, &a->direct, 0, UINT64_MAX, g.generation), 0);
	g = fresh_grant(a);
	must_be("Release of the generation recalled, late",
		release_try(&a->admin, &a->direct, 0, UINT64_MAX, g.generation - 1), 0);
	must_work("the newer grant after it", own_works(a, &g));
	release_all(&a->admin, &a->direct, g.generation);
}

/* ---- Commit ----------------------------------------------------------------------------------- */

static int commit(struct adversary *a, uint32_t generation, uint64_t offset, uint64_t length)
{
	return commit_try(&a->admin, &a->direct, raw.nsid, generation, offset, length);
}

/* In the form of a Commit, and never answered with success. */
static void commit_nonsense(struct adversary *a, const struct raw_grant *g)
{
	must_be("Commit of a generation gone by", commit(a, g->generation - 1, a->prey, 4096),
		LH_SC_STALE_GENERATION);
	must_be("Commit of a generation to come", commit(a, g->generation + 1, a->prey, 4096),
		LH_SC_STALE_GENERATION);
	must_be("Commit in a namespace that is not",
		commit_try(&a->admin, &a->direct, raw.nsid + 7, g->generation, a->prey, 4096),
		LH_SC_STALE_GENERATION);
	must_be("Commit behind the end of the export",
		commit(a, g->generation, GIB(1), 4096) & 0x7ff, NVME_SC_LBA_RANGE);
	must_be("Commit that wraps", commit(a, g->generation, a->prey, UINT64_MAX) & 0x7ff,
		NVME_SC_LBA_RANGE);
	must_be("Commit around the end", commit(a, g->generation, UINT64_MAX - 4095, 8192) & 0x7ff,
		NVME_SC_LBA_RANGE);
}

void attack_commits(struct adversary *a)
{
	struct lh_cm_request request;
	struct raw_grant g;
	int status;

	meet_victim(a);
	g = fresh_grant(a);
	must_be("Commit", commit(a, g.generation, a->prey, 4096), 0);
	commit_nonsense(a, &g);
	must_be("Commit of what is not ours", commit(a, g.generation, a->prey + HALF, HALF),
		LH_SC_NOT_GRANTED);
	victim_fine(a, "a Commit of its range");
	must_work("our grant after all that", own_works(a, &g));

	await_recall(a);
	must_be("Commit when told", commit(a, g.generation, a->prey, 4096), 0);
	release_all(&a->admin, &a->direct, g.generation);
	status = commit(a, g.generation, a->prey, 4096);
	must_work("Commit after the release is refused",
		  status == LH_SC_STALE_GENERATION || status == LH_SC_NOT_GRANTED);
	g = fresh_grant(a);
	must_be("Commit of the generation recalled", commit(a, g.generation - 1, a->prey, 4096),
		LH_SC_STALE_GENERATION);
	must_be("Commit of the newer one", commit(a, g.generation, a->prey, 4096), 0);

	/* Before Hello; and on a queue that died. */
	link_close(&a->direct);
	must_work("a token", token_take(&a->admin, &request) == 0);
	must_work("a queue", link_open(&a->direct, &request, sizeof(request)) == 0);
	must_be("Commit before Hello", commit(a, g.generation, a->prey, 4096), -1);
	link_close(&a->direct);
}
