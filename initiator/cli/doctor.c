// SPDX-License-Identifier: BSD-3-Clause
/*
 * leasehold doctor: what this machine can do as a client, and what is between it and a target. Of the target
 * it asks what others may ask as well; of an export it holds one page for reading, for a moment.
 */
#include "cli.h"

#include "checklist/checklist.h"
#include "fabric/verbs.h"
#include "libleasehold/client.h"
#include "libleasehold/uri.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define PAGE_BYTES KIB(4)
#define ROUNDS	   16	   /* of which the median counts */
#define MEMORY_LOW MIB(64) /* of RLIMIT_MEMLOCK: less is little for an adapter's buffers */
#define CONNECT_MS 5000

/* ---- this machine ----------------------------------------------------------------------------- */

/* Returns whether adapters can be used. */
static bool look_at_adapters(struct checklist *list, bool wanted)
{
	struct fabric *f;
	struct errtext err;

	if (verbs_fabric_open(&f, &err) != 0) {
		checklist_add(
			list, wanted ? CHECK_FAIL : CHECK_OK, "adapter", NULL,
			wanted ? "do that, or use iwarp:// where the target listens so" : NULL,
			"%s%s", wanted ? "" : "none; targets with iwarp:// need none: ", err.text);
		return false;
	}
	for (unsigned int i = 0; i < fabric_device_count(f); i++) {
		const struct fabric_device_info *info = fabric_device_info(fabric_device_at(f, i));

		checklist_add(list, CHECK_OK, "adapter", info->name, NULL, "%s%s%s",
			      info->transport == FABRIC_TRANSPORT_IWARP ? "iWARP"
			      : info->ethernet				? "RoCE"
									: "InfiniBand",
			      info->windows_type2 ? "; claims windows" : "",
			      info->flush ? "; claims flush" : "");
	}
	fabric_close(f);
	return true;
}

static void look_at_memory(struct checklist *list, bool adapters)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0)
		return;
	if (limit.rlim_cur == RLIM_INFINITY)
		checklist_add(list, CHECK_OK, "memory to pin", NULL, NULL, "no limit (ulimit -l)");
	else if (adapters && limit.rlim_cur < MEMORY_LOW)
		checklist_add(list, CHECK_WARN, "memory to pin", NULL,
			      "raise ulimit -l (limits.conf(5)); root has no limit",
			      "at most %llu KiB: buffers for an adapter may not be got",
			      (unsigned long long)limit.rlim_cur / KIB(1));
	else
		checklist_add(list, CHECK_OK, "memory to pin", NULL, NULL,
			      "at most %llu KiB (ulimit -l)%s",
			      (unsigned long long)limit.rlim_cur / KIB(1),
			      adapters ? "" : "; without an adapter nothing is pinned");
}

/* ---- a target --------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void look_at_times(struct checklist *list, struct lh_export *ex)
{
	uint64_t times[ROUNDS];
	struct lh_export_info info;
	struct lh_error err;

	for (size_t i = 0; i < ROUNDS; i++) {
		const uint64_t begun = now_ns();

		if (lh_export_info(ex, true, &info, &err) < 0) {
			checklist_add(list, CHECK_FAIL, "round trip", NULL,
				      "look at the log of the target", "%s", err.text);
			return;
		}
		times[i] = now_ns() - begun;
	}
	qsort(times, ROUNDS, sizeof(times[0]), by_value);
	checklist_add(list, CHECK_OK, "round trip", NULL, NULL,
		      "a command is answered in %llu µs (median of %d), at most %llu",
		      (unsigned long long)(times[ROUNDS / 2] / NS_PER_US), ROUNDS,
		      (unsigned long long)(times[ROUNDS - 1] / NS_PER_US));
}

/* Which way bytes would go: by doing. */
static void look_at_way(struct checklist *list, struct lh_export *ex,
			const struct lh_export_info *info)
{
	uint64_t length = info->size_bytes < PAGE_BYTES ? info->size_bytes : PAGE_BYTES;
	struct lh_hold *hold;
	struct lh_error err;
	int rc = lh_hold(ex, 0, length, LH_READ, LH_HOLD_BRIEF, &hold, &err);

	if (rc == 0) {
		struct lh_hold_info held;

		lh_hold_info(hold, &held);
		checklist_add(list, held.granted_bytes > 0 ? CHECK_OK : CHECK_WARN, "way",
			      info->name, NULL, "%s (%s; direct writes: %s)",
			      held.granted_bytes > 0 ? "direct, by one-sided RDMA"
						     : "nothing is granted just now",
			      info->rung, info->durability);
		(void)lh_unhold(hold);
	} else {
		checklist_add(
			list, CHECK_WARN, "way", info->name,
			rc == -ENODATA ? "leasehold hold --allocate has its holes filled"
			: rc == -EBUSY || rc == -ETIMEDOUT
				? "try again when it is free: leasehold status --grants on the "
				  "target's host says whose it is"
				: "leaseholdd --doctor on the target's host says why",
			"by block commands: %s", err.text);
	}
}

static void look_at_export(struct checklist *list, struct lh_client *client, const char *name,
			   bool way)
{
	struct lh_export_info info;
	struct lh_export *ex;
	struct lh_error err;

	if (lh_export_open(client, name, &ex, &err) < 0) {
		checklist_add(list, CHECK_FAIL, "export", name,
			      "leasehold list shows those there are", "%s", err.text);
		return;
	}
	if (lh_export_info(ex, false, &info, &err) < 0) {
		checklist_add(list, CHECK_FAIL, "export", name, NULL, "%s", err.text);
	} else if (strcmp(info.state, "offline") == 0) {
		checklist_add(list, CHECK_FAIL, "export", name,
			      "leasehold status on the target's host says why", "offline");
	} else {
		checklist_add(list, CHECK_OK, "export", name, NULL, "%s, %llu MiB%s%s", info.state,
			      (unsigned long long)info.size_bytes / MIB(1), info.dax ? ", dax" : "",
			      info.read_only ? ", read-only" : "");
		look_at_times(list, ex);
		if (way)
			look_at_way(list, ex, &info);
	}
	(void)lh_export_close(ex);
}

static void look_at_subsystem(struct checklist *list, struct lh_client *client, const char *name)
{
	struct lh_export_info *exports;
	struct lh_client_info info;
	struct lh_error err;
	size_t n;

	lh_client_info(client, &info);
	checklist_add(list, CHECK_OK, "subsystem", NULL, NULL, "%s (%s %s)", info.nqn, info.model,
		      info.firmware);
	if (info.direct)
		checklist_add(list, CHECK_OK, "direct access", NULL, NULL,
			      "offered, version %u:%s%s%s; a recall is to be answered in %u ms",
			      client->ext.version,
			      client->ext.capabilities & LH_CAP_ALLOCATE ? " allocate" : "",
			      client->ext.capabilities & LH_CAP_COMMIT ? " commit" : "",
			      client->ext.capabilities & LH_CAP_PART ? " release-part" : "",
			      info.recall_deadline_ms);
	else
		checklist_add(list, CHECK_WARN, "direct access", NULL,
			      "a target of Leasehold has it",
			      "not offered: a plain NVMe target, block commands only");
	if (name[0]) {
		look_at_export(list, client, name, info.direct);
		return;
	}
	if (lh_list(client, &exports, &n, &err) < 0) {
		checklist_add(list, CHECK_FAIL, "exports", NULL, NULL, "%s", err.text);
		return;
	}
	if (n == 0)
		checklist_add(list, CHECK_WARN, "exports", NULL,
			      "leasehold status on the target's host", "none is served");
	for (size_t i = 0; i < n; i++)
		look_at_export(list, client, exports[i].name, info.direct);
	free(exports);
}

static const char *next_of(int rc)
{
	switch (rc) {
	case -ECONNREFUSED:
		return "is leaseholdd running there, with a listener of this kind, address and "
		       "port? leaseholdd --doctor on that host tells";
	case -ETIMEDOUT:
	case -EHOSTUNREACH:
	case -ENETUNREACH:
		return "look at routes and firewalls between here and there (ping, and for RoCE "
		       "UDP "
		       "port 4791)";
	default:
		return NULL;
	}
}

static void look_at_target(struct checklist *list, const char *text, const char *name,
			   const struct lh_options *options)
{
	const uint64_t begun = now_ns();
	struct lh_client_info info;
	struct lh_client *client;
	struct lh_error err;
	int rc = lh_connect(text, options, &client, &err);

	if (rc < 0) {
		checklist_add(list, CHECK_FAIL, "connection", NULL, next_of(rc), "%s", err.text);
		return;
	}
	lh_client_info(client, &info);
	checklist_add(list, CHECK_OK, "connection", NULL, NULL, "to %s by %s (%s), made in %llu µs",
		      info.address, info.device, info.fabric,
		      (unsigned long long)((now_ns() - begun) / NS_PER_US));
	look_at_subsystem(list, client, name);
	lh_client_close(client);
}

static int run(int argc, char **argv)
{
	enum {
		OPT_JSON = OPT_VERB
	};
	static const struct option options[] = {
		ASK_LONG_OPTIONS, {"json", no_argument, NULL, OPT_JSON}, {0}};
	struct target_options o = {.lh.connect_ms = CONNECT_MS, .lh.reconnect_ms = CONNECT_MS};
	struct checklist *list;
	struct target_uri uri = {0};
	struct errtext why;
	bool adapters;
	int c, rc;

	while ((c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		if (c == OPT_JSON) {
			o.json = true;
			continue;
		}
		rc = cli_option(&verb_doctor, c, &o);
		if (rc != -1)
			return rc;
	}
	if (argc - optind > 1)
		return cli_usage(&verb_doctor, "doctor takes one target, or none");
	if (optind < argc && target_uri_parse(argv[optind], &uri, &why) < 0)
		return cli_usage(&verb_doctor, "%s", why.text);
	list = checklist_new();
	if (!list)
		return cli_failf(EXIT_FAILED, "out of memory");
	adapters = look_at_adapters(list, optind < argc && uri.fabric == TARGET_RDMA);
	look_at_memory(list, adapters);
	if (optind < argc)
		look_at_target(list, argv[optind], uri.export_name, &o.lh);
	checklist_print(list, stdout, o.json);
	rc = checklist_count(list, CHECK_FAIL) > 0 ? EXIT_FAILED : EXIT_OK;
	checklist_free(list);
	return rc;
}

const struct verb verb_doctor = {
	.name = "doctor",
	.usage = "[OPTIONS] [TARGET]",
	.only_asks = true,
	.summary = "look at what this machine can do as a client, and at the way to a target",
	.help = "\nWith an export in the target, or of each that it serves, a page is held for a\n"
		"moment, to see which way bytes would go. Nothing is changed. Exits with 1 if a\n"
		"check failed. On a storage host leaseholdd(8) has a doctor of its own.\n"
		"\n      --json             for scripts, as -o json\n"
		"\nExamples:\n"
		"  leasehold doctor\n"
		"  leasehold doctor rdma://storage1/data\n"
		"  leasehold doctor --json iwarp://127.0.0.1 | jq '.checks[] | "
		"select(.state != \"ok\")'\n",
	.run = run,
};
