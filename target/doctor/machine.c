// SPDX-License-Identifier: BSD-3-Clause
/* What does not depend on a file: kernel, rights, limits, adapters. */
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "doctor/internal.h"
#include "fabric/verbs.h"
#include "tenure/tenure.h"

/* Pre-content events of fanotify(7). */
#define WATCH_MAJOR 6
#define WATCH_MINOR 14

/* A connection takes some, an export a few. */
#define FILES_WANTED 4096

/* ---- kernel and rights ------------------------------------------------------------------------ */

static void look_at_kernel(struct doctor *d)
{
	unsigned long major, minor = 0;
	struct utsname name;
	char *end;

	if (uname(&name) != 0)
		return;
	major = strtoul(name.release, &end, 10);
	if (*end == '.')
		minor = strtoul(end + 1, NULL, 10);
	if (major > WATCH_MAJOR || (major == WATCH_MAJOR && minor >= WATCH_MINOR))
		checklist_add(d->list, CHECK_OK, "kernel", NULL, NULL, "%s %s", name.sysname,
			      name.release);
	else
		checklist_add(d->list, d->wants_watch ? CHECK_FAIL : CHECK_WARN, "kernel", NULL,
			      "use Linux 6.14 or later, or tenure = \"lease\" for all exports",
			      "%s %s is too old for tenure = \"watch\"", name.sysname,
			      name.release);
}

bool doctor_capable(unsigned int capability)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long long effective = 0;
	char line[256];

	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, "CapEff:", 7) == 0)
			effective = strtoull(line + 7, NULL, 16);
	}
	(void)fclose(f);
	return effective >> capability & 1;
}

static void look_at_rights(struct doctor *d)
{
	static const struct {
		unsigned int number;
		const char *name;
		const char *what;
	} rights[] = {
		{CAP_LEASE, "CAP_LEASE", "files of others can be leased"},
		{CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "files can be watched"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rights); i++) {
		const bool needed = rights[i].number == CAP_SYS_ADMIN && d->wants_watch;

		if (doctor_capable(rights[i].number))
			checklist_add(d->list, CHECK_OK, "right", rights[i].name, NULL, "there: %s",
				      rights[i].what);
		else if (needed)
			checklist_add(d->list, CHECK_FAIL, "right", rights[i].name,
				      "run the daemon with it (root has it), or use tenure = "
				      "\"lease\"",
				      "missing, and an export has tenure = \"watch\"");
		else
			checklist_add(d->list, CHECK_OK, "right", rights[i].name, NULL,
				      "not there, and not needed: only with it %s", rights[i].what);
	}
}

/* ---- limits ---------------------------------------------------------------------------------- */

/* As the daemon does. Returns the limit. */
static rlim_t raised(int resource)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) != 0)
		return RLIM_INFINITY;
	if (limit.rlim_cur != limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(resource, &limit);
	}
	return limit.rlim_max;
}

static void look_at_limits(struct doctor *d)
{
	const rlim_t memory = raised(RLIMIT_MEMLOCK), files = raised(RLIMIT_NOFILE);

	if (memory == RLIM_INFINITY || doctor_capable(CAP_IPC_LOCK))
		checklist_add(d->list, CHECK_OK, "memory to pin", NULL, NULL,
			      "no limit (RLIMIT_MEMLOCK)");
	else if (d->wants_verbs)
		checklist_add(d->list, CHECK_WARN, "memory to pin", NULL,
			      "systemd: LimitMEMLOCK=infinity; elsewhere limits.conf(5), or "
			      "CAP_IPC_LOCK",
			      "at most %llu KiB (RLIMIT_MEMLOCK): adapters may not get what they "
			      "pin",
			      (unsigned long long)memory / KIB(1));
	else
		checklist_add(d->list, CHECK_OK, "memory to pin", NULL, NULL,
			      "at most %llu KiB (RLIMIT_MEMLOCK): the software fabric pins none",
			      (unsigned long long)memory / KIB(1));
	if (files >= FILES_WANTED)
		checklist_add(d->list, CHECK_OK, "descriptors", NULL, NULL,
			      "up to %llu (RLIMIT_NOFILE)", (unsigned long long)files);
	else
		checklist_add(d->list, CHECK_WARN, "descriptors", NULL,
			      "systemd: LimitNOFILE=; elsewhere limits.conf(5)",
			      "at most %llu (RLIMIT_NOFILE): enough for few hosts only",
			      (unsigned long long)files);
}

static void look_at_patience(struct doctor *d)
{
	const uint32_t most_ms = grant_longest_deadline_ms();
	const int seconds = tenure_break_time_s();

	if (seconds < 0)
		checklist_add(
			d->list, CHECK_FAIL, "fs.lease-break-time", NULL,
			"mount /proc, and use a kernel with file leases (CONFIG_FILE_LOCKING)",
			"cannot be read: %s", strerror(-seconds));
	else if (d->config && d->config->recall_deadline_ms > most_ms)
		checklist_add(d->list, CHECK_FAIL, "fs.lease-break-time", NULL,
			      "raise it (sysctl fs.lease-break-time=45), or shorten "
			      "recall_deadline_ms",
			      "%d s: a quarter of it is less than recall_deadline_ms (%u)", seconds,
			      d->config->recall_deadline_ms);
	else
		checklist_add(d->list, CHECK_OK, "fs.lease-break-time", NULL, NULL,
			      "%d s: a recall may take %u ms", seconds, most_ms);
}

void doctor_look_at_machine(struct doctor *d)
{
	look_at_kernel(d);
	look_at_rights(d);
	look_at_limits(d);
	look_at_patience(d);
}

/* ---- adapters --------------------------------------------------------------------------------- */

static void look_at_adapter(struct doctor *d, const struct fabric_device *dev)
{
	const struct fabric_device_info *info = fabric_device_info(dev);

	checklist_add(d->list, CHECK_OK, "adapter", info->name, NULL,
		      "%s%s; up to %u registrations; claims:%s%s%s%s",
		      info->transport == FABRIC_TRANSPORT_IWARP ? "iWARP"
		      : info->ethernet				? "RoCE"
								: "InfiniBand",
		      info->software_fabric ? " in software" : "", info->max_mr,
		      info->odp ? " on-demand paging" : "", info->windows_type2 ? " windows" : "",
		      info->flush ? " flush" : "",
		      info->odp || info->windows_type2 || info->flush ? "" : " nothing of use");
}

void doctor_look_at_adapters(struct doctor *d)
{
	struct errtext err;

	if (d->wants_software && iwarp_fabric_open(&d->config->iwarp, &d->software, &err) != 0) {
		d->software = NULL;
		checklist_add(d->list, CHECK_FAIL, "software fabric", NULL, NULL, "%s", err.text);
	}
	if (verbs_fabric_open(&d->verbs, &err) != 0) {
		d->verbs = NULL;
		checklist_add(d->list, d->wants_verbs ? CHECK_FAIL : CHECK_OK, "adapter", NULL,
			      d->wants_verbs ? "do that, or use listeners with fabric = \"iwarp\""
					     : NULL,
			      "%s%s", d->wants_verbs ? "" : "none, and none needed: ", err.text);
		return;
	}
	for (unsigned int i = 0; i < fabric_device_count(d->verbs); i++)
		look_at_adapter(d, fabric_device_at(d->verbs, i));
}
