// SPDX-License-Identifier: BSD-3-Clause
/*
 * Listeners and referrals that come and go while a discovery controller looks on and a host works: what
 * the log says, who is told, who stays and who goes.
 */
#include "nvme_host.h"

#include <arpa/inet.h>
#include <errno.h>

#include "nvme/internal.h"
#include "tenure/tenure.h"

static struct rig rig;

static int setup(void **state)
{
	if (leaks_setup(state))
		return -1;
	rig_start(&rig);
	return 0;
}

static int teardown(void **state)
{
	rig_stop(&rig);
	return leaks_teardown(state);
}

/* ---- listeners -------------------------------------------------------------------------------- */

struct listing {
	unsigned int count, removed;
	struct nvme_listener_status of[NVME_MAX_LISTENERS + 4];
};

static void note_listener(const struct nvme_listener_status *status, void *arg)
{
	struct listing *listing = arg;

	assert_true(listing->count < ARRAY_SIZE(listing->of));
	listing->of[listing->count++] = *status;
	listing->removed += status->removed;
}

static struct listing list_all(void)
{
	struct listing listing = {0};

	nvme_target_each_listener(rig.target, note_listener, &listing);
	return listing;
}

static const struct nvme_listener_status *with_id(const struct listing *listing, uint16_t portid)
{
	for (unsigned int i = 0; i < listing->count; i++) {
		if (listing->of[i].portid == portid)
			return &listing->of[i];
	}
	return NULL;
}

/** At a free port, or at `port`; from then on the host goes there. Returns its port id, or -errno. */
static int listen_at(uint16_t port)
{
	const struct sockaddr_in at = {.sin_family = AF_INET,
				       .sin_port = htons(port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct nvme_listen_options options = {.no_invalidate = false};
	struct listing listing;
	struct errtext err;
	int newest = 0;
	int rc = nvme_target_listen(rig.target, rig.fabric, (const struct sockaddr *)&at, &options,
				    &err);

	if (rc)
		return rc;
	listing = list_all();
	for (unsigned int i = 0; i < listing.count; i++) {
		if (listing.of[i].portid > newest) {
			newest = listing.of[i].portid;
			rig.addr = listing.of[i].bound;
		}
	}
	return newest;
}

static uint16_t host_port(void)
{
	return ntohs(((struct sockaddr_in *)&rig.addr)->sin_port);
}

/* ---- hosts ------------------------------------------------------------------------------------ */

static void ask_for_event(struct host_queue *q, unsigned int slot)
{
	q->has_cid[slot] = false;
	(void)host_command(q, slot, NVME_ADMIN_ASYNC_EVENT);
	host_post(q, slot, 64);
}

static void discover(struct host_queue *q)
{
	struct nvme_command *cmd;

	assert_true(host_connect_nvme(&rig, q, 0));
	assert_int_equal(host_associate(q, 0, NVME_CNTLID_DYNAMIC, NVME_DISCOVERY_NQN, 60000), 0);
	assert_int_equal(host_enable(q), 0);
	cmd = host_command(q, 0, NVME_ADMIN_SET_FEATURES);
	cmd->cdw10 = htole32(NVME_FEAT_ASYNC_EVENT);
	cmd->cdw11 = htole32(NVME_AEN_CFG_DISCOVERY);
	assert_int_equal(host_run(q, 64), 0);
	ask_for_event(q, 1);
}

/** The log; its records' port ids, but for the service's own. Returns how many. */
static unsigned int read_log(struct host_queue *q, uint64_t *generation, uint16_t ids[32])
{
	const struct nvmf_discovery_head *head = (const void *)q->data;
	const struct nvmf_discovery_entry *e = (const void *)(q->data + 1024);
	struct nvme_command *cmd = host_command(q, 0, NVME_ADMIN_GET_LOG_PAGE);
	unsigned int n = 0;

	cmd->cdw10 = htole32(NVME_LOG_DISCOVERY | (65536 / 4 - 1) << 16);
	host_keyed(q, cmd, 65536);
	assert_int_equal(host_run(q, 64), 0);
	*generation = le64toh(head->genctr);
	assert_true(le64toh(head->numrec) <= 33);
	for (uint64_t i = 0; i < le64toh(head->numrec); i++) {
		if (e[i].subtype != NVMF_SUBTYPE_CURRENT)
			ids[n++] = le16toh(e[i].portid);
	}
	return n;
}

/** One event has come for one change, and the log is this one now. */
static void told(struct host_queue *q, uint64_t *generation, unsigned int count, uint16_t last)
{
	uint16_t ids[33] = {0};
	uint64_t now;

	assert_int_equal(host_wait(q, 1), 0);
	assert_int_equal(le32toh(q->by_cid[1].dw0), 0x70f002);
	assert_int_equal(read_log(q, &now, ids), count);
	assert_int_equal(now, *generation + 1);
	if (count)
		assert_int_equal(ids[count - 1], last);
	*generation = now;
	ask_for_event(q, 1);
}

static bool works(struct host_queue *q)
{
	(void)host_command(q, 0, NVME_ADMIN_KEEP_ALIVE);
	return host_run(q, 64) == 0;
}

/** Until the target has nothing that came in by it. */
static void wait_gone(uint16_t portid)
{
	const bool never = false;

	for (int i = 0; i < 200 && listener_find(rig.target, portid); i++)
		(void)rig_wait(&rig, NULL, &never, 50);
	assert_null(listener_find(rig.target, portid));
}

/* Who came by a removed one stays, is seen, and can be told of its access, until he leaves. */
static void test_stays(void **state)
{
	struct host_queue looker, host, late;
	struct listing listing;
	const bool never = false;
	uint64_t generation;
	uint16_t ids[33];
	int second;

	(void)state;
	discover(&looker);
	assert_int_equal(read_log(&looker, &generation, ids), 1);
	second = listen_at(0);
	assert_int_equal(second, 2);
	told(&looker, &generation, 2, 2);
	(void)host_admin(&rig, &host);
	listing = list_all();
	assert_int_equal(with_id(&listing, 2)->controllers, 1);
	assert_false(with_id(&listing, 2)->removed);

	assert_int_equal(nvme_target_unlisten(rig.target, 2, false), 0);
	told(&looker, &generation, 1, 1);
	assert_false(host_connect_nvme(&rig, &late, 0));
	host_close(&late);
	assert_true(works(&host));
	listing = list_all();
	assert_int_equal(listing.count, 2);
	assert_true(with_id(&listing, 2)->removed);
	assert_int_equal(nvme_target_set_ana(rig.target, 2, 0, NVME_ANA_INACCESSIBLE), 0);
	listing = list_all();
	assert_int_equal(with_id(&listing, 2)->ana_state[1], NVME_ANA_INACCESSIBLE);
	/* Again: that is no change. */
	assert_int_equal(nvme_target_unlisten(rig.target, 2, false), 0);
	assert_false(rig_wait(&rig, &looker, &looker.has_cid[1], 200));
	assert_true(works(&host));

	/* The same port is another listener meanwhile. */
	assert_int_equal(listen_at(host_port()), 3);
	told(&looker, &generation, 2, 3);
	host_close(&host);
	wait_gone(2);
	listing = list_all();
	assert_int_equal(listing.count, 2);
	assert_int_equal(listing.removed, 0);
	assert_int_equal(nvme_target_unlisten(rig.target, 2, true), -ENOENT);
	assert_int_equal(nvme_target_unlisten(rig.target, 0, false), -ENOENT);
	assert_int_equal(nvme_target_set_ana(rig.target, 2, 0, NVME_ANA_OPTIMIZED), -ENOENT);
	(void)rig_wait(&rig, NULL, &never, 10);
	host_close(&looker);
}

/* Who is to go goes, at once or later; who came by another does not, nor one that is half there. */
static void test_disconnected(void **state)
{
	const struct sockaddr_storage first = rig.addr;
	struct host_queue looker, host, io, other, half;
	uint64_t generation;
	uint16_t ids[33], cntlid;

	(void)state;
	discover(&looker);
	(void)host_admin(&rig, &other);
	assert_int_equal(read_log(&looker, &generation, ids), 1);
	assert_int_equal(listen_at(0), 2);
	told(&looker, &generation, 2, 2);
	cntlid = host_admin(&rig, &host);
	assert_true(host_connect_nvme(&rig, &io, 1));
	assert_int_equal(host_associate(&io, 1, cntlid, TEST_NQN, 0), 0);
	/* Connected, and no controller's yet. */
	assert_true(host_connect_nvme(&rig, &half, 0));
	assert_int_equal(nvme_target_unlisten(rig.target, 2, true), 0);
	told(&looker, &generation, 1, 1);
	assert_true(rig_wait(&rig, &host, &host.dead, 10000));
	assert_true(rig_wait(&rig, &io, &io.dead, 10000));
	assert_true(rig_wait(&rig, &half, &half.dead, 10000));
	host_close(&io);
	host_close(&host);
	host_close(&half);
	wait_gone(2);
	assert_true(works(&other));

	/* First they may stay, then not. */
	assert_int_equal(listen_at(0), 3);
	told(&looker, &generation, 2, 3);
	(void)host_admin(&rig, &host);
	assert_int_equal(nvme_target_unlisten(rig.target, 3, false), 0);
	told(&looker, &generation, 1, 1);
	assert_true(works(&host));
	assert_int_equal(nvme_target_unlisten(rig.target, 3, true), 0);
	assert_true(rig_wait(&rig, &host, &host.dead, 10000));
	host_close(&host);
	wait_gone(3);

	/* The last one: nobody can come, who is there looks on. */
	assert_int_equal(nvme_target_unlisten(rig.target, 1, false), 0);
	told(&looker, &generation, 0, 0);
	rig.addr = first;
	assert_false(host_connect_nvme(&rig, &host, 0));
	host_close(&host);
	assert_true(works(&other));
	assert_int_equal(listen_at(0), 4);
	told(&looker, &generation, 1, 4);
	(void)host_admin(&rig, &host);
	host_close(&host);
	host_close(&other);
	host_close(&looker);
	wait_gone(1);
}

static void test_limits(void **state)
{
	uint16_t taken = host_port();

	(void)state;
	assert_int_equal(listen_at(taken), -EADDRINUSE);
	for (int i = 2; i <= NVME_MAX_LISTENERS; i++)
		assert_int_equal(listen_at(0), i);
	assert_int_equal(listen_at(0), -ENOSPC);
	assert_int_equal(nvme_target_unlisten(rig.target, 5, false), 0);
	assert_int_equal(listen_at(0), NVME_MAX_LISTENERS + 1);
	/* Numbers are not used again, also when there are no more. */
	assert_int_equal(nvme_target_unlisten(rig.target, 6, false), 0);
	rig.target->last_portid = NVME_MAX_PORTID - 1;
	assert_int_equal(listen_at(0), NVME_MAX_PORTID);
	assert_int_equal(nvme_target_unlisten(rig.target, NVME_MAX_PORTID, true), 0);
	assert_int_equal(listen_at(0), -ENOSPC);
}

struct removal {
	struct loop_timer timer;
	uint16_t portid;
	bool disconnect, done;
};

static void remove_now(struct loop_timer *timer)
{
	struct removal *r = container_of(timer, struct removal, timer);

	assert_int_equal(nvme_target_unlisten(rig.target, r->portid, r->disconnect), 0);
	r->done = true;
}

/* Requests that are under way when their listener goes are taken up or refused; none is lost. */
static void test_removed_meanwhile(void **state)
{
	unsigned int came = 0;

	(void)state;
	for (unsigned int i = 0; i < 60; i++) {
		struct removal removal = {.timer.fn = remove_now, .disconnect = i % 2 == 0};
		struct host_queue q;
		int portid = listen_at(0);

		assert_true(portid > 1);
		removal.portid = (uint16_t)portid;
		loop_timer_set(rig.control, &removal.timer, now_ns() + i * 40 * NS_PER_US);
		came += host_connect_nvme(&rig, &q, 0);
		assert_true(rig_wait(&rig, &q, &removal.done, 10000));
		if (removal.disconnect && q.established)
			assert_true(rig_wait(&rig, &q, &q.dead, 10000));
		host_close(&q);
		wait_gone((uint16_t)portid);
	}
	print_message("%u of 60 were in before\n", came);
}

/* ---- referrals -------------------------------------------------------------------------------- */

static void note_referral(uint16_t id, const struct nvme_referral *r, void *arg)
{
	uint16_t *ids = arg;

	assert_string_equal(r->nqn, NVME_DISCOVERY_NQN);
	while (*ids)
		ids++;
	*ids = id;
}

/* A daemon that is starting listens, but nobody comes in yet. */
static void test_shut(void **state)
{
	struct host_queue host;

	(void)state;
	nvme_target_admit(rig.target, false);
	assert_false(host_connect_nvme(&rig, &host, 0));
	host_close(&host);
	nvme_target_admit(rig.target, true);
	assert_true(host_connect_nvme(&rig, &host, 0));
	host_close(&host);
}

static void test_referrals(void **state)
{
	struct nvme_referral r = {.nqn = NVME_DISCOVERY_NQN};
	struct sockaddr_in *in = (struct sockaddr_in *)&r.addr;
	uint16_t ids[NVME_MAX_REFERRALS + 1] = {0};
	struct host_queue looker;
	uint64_t generation;
	uint16_t seen[33];

	(void)state;
	in->sin_family = AF_INET;
	in->sin_port = htons(8009);
	in->sin_addr.s_addr = htonl(0xc0000209);
	discover(&looker);
	assert_int_equal(read_log(&looker, &generation, seen), 1);
	assert_int_equal(nvme_target_remove_referral(rig.target, 1), -ENOENT);
	assert_int_equal(nvme_target_remove_referral(rig.target, 0), -ENOENT);
	for (unsigned int i = 1; i <= 3; i++) {
		assert_int_equal(nvme_target_add_referral(rig.target, &r), 0);
		told(&looker, &generation, 1 + i, (uint16_t)(NVME_MAX_PORTID + i));
	}
	assert_int_equal(nvme_target_remove_referral(rig.target, 2), 0);
	told(&looker, &generation, 3, NVME_MAX_PORTID + 3);
	assert_int_equal(nvme_target_remove_referral(rig.target, 2), -ENOENT);
	assert_int_equal(nvme_target_add_referral(rig.target, &r), 0);
	told(&looker, &generation, 4, NVME_MAX_PORTID + 4);
	nvme_target_each_referral(rig.target, note_referral, ids);
	assert_int_equal(ids[0], 1);
	assert_int_equal(ids[1], 3);
	assert_int_equal(ids[2], 4);
	assert_int_equal(ids[3], 0);
	assert_int_equal(nvme_target_remove_referral(rig.target, 4), 0);
	told(&looker, &generation, 3, NVME_MAX_PORTID + 3);
	host_close(&looker);
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disconnected, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_removed_meanwhile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_referrals, setup, teardown),
	};

	print_message("in %s\n", where);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	tenure_block_signals();
	if (export_guard_init() < 0)
		return 1;
	iwarp_set_copy_hook(export_guarded_copy);
	return for_each_dir(run);
}
