// SPDX-License-Identifier: BSD-3-Clause
/* What depends on a place: folders, listeners, and the exports with the file systems that they lie on. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor/internal.h"
#include "export/export.h"
#include "region/region.h"
#include "tenure/tenure.h"
#include "wire/wire.h"

#define BUDGET_SHARE 4 /* of fs.lease-break-time, as the daemon has it */

/* ---- folders ---------------------------------------------------------------------------------- */

static bool writable(const char *path)
{
	return faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) == 0;
}

static void look_at_folder(struct doctor *d, const char *key, const char *path)
{
	char parent[PATH_MAX];
	struct stat st;

	(void)snprintf(parent, sizeof(parent), "%s", path);
	(void)dirname(parent);
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode) && writable(path))
		checklist_add(d->list, CHECK_OK, "folder", key, NULL, "%s", path);
	else if (stat(path, &st) == 0)
		checklist_add(d->list, CHECK_FAIL, "folder", key,
			      "run the daemon as its owner, or name another in the configuration",
			      "%s %s", path,
			      S_ISDIR(st.st_mode) ? "cannot be written to" : "is no folder");
	else if (writable(parent))
		checklist_add(d->list, CHECK_OK, "folder", key, NULL, "%s will be made", path);
	else
		checklist_add(d->list, CHECK_FAIL, "folder", key,
			      "make it, and have the daemon's user own it",
			      "%s is not there and cannot be made: %s", path, strerror(errno));
}

void doctor_look_at_folders(struct doctor *d)
{
	const struct daemon_config *c = d->config;

	look_at_folder(d, "runtime_dir", c->runtime_dir);
	if (strcmp(c->lock_dir, c->runtime_dir) != 0)
		look_at_folder(d, "of lock files", c->lock_dir);
	if (c->state_dir[0])
		look_at_folder(d, "state_dir", c->state_dir);
	else
		checklist_add(d->list, CHECK_WARN, "folder", "state_dir",
			      "set it if reservations and identities are to survive",
			      "none is configured: nothing is kept over a restart");
}

/* ---- listeners --------------------------------------------------------------------------------- */

static const char *listen_text(int err)
{
	switch (err) {
	case -EADDRINUSE:
		return "the port is in use";
	case -EADDRNOTAVAIL:
		return "this machine has no such address";
	case -ENODEV:
		return "no RDMA device serves this address";
	default:
		return strerror(-err);
	}
}

static const char *listen_next(int err)
{
	switch (err) {
	case -EADDRINUSE:
		return "stop the other program (ss -ltnp shows it), or choose another port";
	case -EADDRNOTAVAIL:
		return "ip address shows those there are";
	case -ENODEV:
		return "rdma link shows devices and their networks; or use the software fabric";
	case -EACCES:
		return "ports below 1024 need CAP_NET_BIND_SERVICE";
	default:
		return "look at the kernel's log";
	}
}

static void tell_listener(struct doctor *d, const char *about, int err)
{
	if (err == 0)
		checklist_add(d->list, CHECK_OK, "listener", about, NULL, "the port is free");
	else
		checklist_add(d->list, d->running && err == -EADDRINUSE ? CHECK_WARN : CHECK_FAIL,
			      "listener", about, listen_next(err), "%s", listen_text(err));
}

static int try_listen(struct fabric *f, const struct config_listener *l)
{
	struct fabric_listener *listener;
	struct fabric_cm *cm;
	int rc = fabric_cm_open(f, &cm);

	if (rc)
		return rc;
	rc = fabric_listen(cm, (const struct sockaddr *)&l->addr, 1, NULL, &listener);
	if (rc == 0)
		fabric_listener_destroy(listener);
	fabric_cm_close(cm);
	return rc;
}

static void look_at_listener(struct doctor *d, struct config_listener *l)
{
	struct fabric *f = l->software ? d->software : d->verbs;
	struct errtext err;
	char about[320];

	(void)snprintf(about, sizeof(about), "%s %s port %u", l->software ? "iwarp" : "verbs",
		       l->host, l->port);
	if (listener_look_up(l, false, &err) != 0)
		checklist_add(d->list, CHECK_FAIL, "listener", about,
			      "write the address as numbers, or mend the name service", "%s",
			      err.text);
	else if (f)
		tell_listener(d, about, try_listen(f, l));
}

static void look_at_metrics(struct doctor *d)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6,
				   .sin6_port = htons((uint16_t)d->config->metrics_port)};
	struct sockaddr_in four = {.sin_family = AF_INET,
				   .sin_port = htons((uint16_t)d->config->metrics_port)};
	const bool is_six = inet_pton(AF_INET6, d->config->metrics_address, &six.sin6_addr) == 1;
	const int one = 1;
	char about[96];
	int fd, rc = 0;

	if (d->config->metrics_port == 0)
		return;
	(void)inet_pton(AF_INET, d->config->metrics_address, &four.sin_addr);
	(void)snprintf(about, sizeof(about), "metrics %s port %u", d->config->metrics_address,
		       d->config->metrics_port);
	fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		tell_listener(d, about, -errno);
		return;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, is_six ? (struct sockaddr *)&six : (struct sockaddr *)&four,
		 is_six ? sizeof(six) : sizeof(four)) != 0 ||
	    listen(fd, 1) != 0)
		rc = -errno;
	(void)close(fd);
	tell_listener(d, about, rc);
}

void doctor_look_at_listeners(struct doctor *d)
{
	for (unsigned int i = 0; i < d->config->nr_listeners; i++)
		look_at_listener(d, &d->config->listeners[i]);
	look_at_metrics(d);
}

/* ---- an export's file --------------------------------------------------------------------------- */

static struct export_config export_config_of(const struct doctor *d, const struct config_export *c)
{
	return (struct export_config){
		.name = c->name,
		.path = c->path,
		.lba_bytes = c->lba_bytes,
		.prepare = c->prepare,
		.unshare = c->unshare,
		.allocate_reserve_percent = d->config->allocate_reserve_percent,
		.read_only = c->read_only,
		.inbound_persistent = c->inbound_persistent,
		.software_fabric_only = !d->wants_verbs,
		.lock_dir = d->config->lock_dir,
		.state_dir = "",
	};
}

static void look_at_owner(struct doctor *d, const struct config_export *c, const struct stat *st)
{
	if (c->tenure != TENURE_LEASE || S_ISCHR(st->st_mode))
		return;
	if (st->st_uid == geteuid() || doctor_capable(CAP_LEASE))
		return;
	checklist_add(d->list, CHECK_FAIL, "lease", c->name,
		      "have the daemon's user own the file, or give the daemon CAP_LEASE",
		      "%s is another user's (uid %u), so its lease cannot be taken", c->path,
		      (unsigned int)st->st_uid);
}

/* False: there is nothing to be looked at further. */
static bool look_at_file(struct doctor *d, const struct config_export *c)
{
	const struct export_config config = export_config_of(d, c);
	struct errtext err;
	struct stat st;
	int rc = export_look(&config, &err);

	if (stat(c->path, &st) == 0)
		look_at_owner(d, c, &st);
	switch (rc) {
	case 0:
		checklist_add(d->list, CHECK_OK, "file", c->name, NULL, "%s: %llu MiB", c->path,
			      (unsigned long long)st.st_size / MIB(1));
		return true;
	case -EBUSY:
		checklist_add(d->list, d->running ? CHECK_WARN : CHECK_FAIL, "file", c->name,
			      d->running ? NULL : "stop that daemon: one serves a file", "%s",
			      err.text);
		return true;
	case -EAGAIN:
		checklist_add(
			d->list,
			c->wait_if_busy || c->tenure == TENURE_WATCH ? CHECK_WARN : CHECK_FAIL,
			"file", c->name, "end who has it, or set busy = \"wait\"", "%s", err.text);
		return true;
	case -ENOENT:
		checklist_add(
			d->list, CHECK_FAIL, "file", c->name,
			"make it (truncate -s SIZE), or mend its path, or mount what it is on",
			"%s", err.text);
		return false;
	default:
		checklist_add(d->list, CHECK_FAIL, "file", c->name, NULL, "%s", err.text);
		return rc != -EISDIR && rc != -EACCES;
	}
}

/* ---- its file system ---------------------------------------------------------------------------- */

static bool has_dax_attribute(const char *path, bool *has)
{
	struct statx st;

	if (statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &st) != 0 ||
	    !(st.stx_attributes_mask & STATX_ATTR_DAX))
		return false;
	*has = st.stx_attributes & STATX_ATTR_DAX;
	return true;
}

static void look_at_medium(struct doctor *d, const struct config_export *c, const struct export *e)
{
	bool dax;

	if (c->sector_atomic && !c->read_only && !export_volatile_cache(e) &&
	    export_state_is_volatile(d->config->state_dir))
		checklist_add(d->list, CHECK_FAIL, "torn writes", c->name,
			      "set state_dir to a folder on a disk, at best on DAX, or leave "
			      "sector_atomic out",
			      "the journal would be gone with the power: %s is on tmpfs",
			      d->config->state_dir);
	switch (export_medium(e)) {
	case EXPORT_DAX:
		if (has_dax_attribute(c->path, &dax) && !dax) {
			checklist_add(d->list, CHECK_WARN, "memory", c->name,
				      "copy the file to a new one, or xfs_io -c 'chattr +x' and "
				      "drop it from the cache",
				      "new files beside it are fsdax, this one is not (statx)");
			return;
		}
		checklist_add(d->list, CHECK_OK, "memory", c->name, NULL, "fsdax; durable %s",
			      export_caches_survive(e)
				      ? "once it is stored: caches survive a power failure (eADR)"
				      : "once the processor has flushed it (no eADR)");
		return;
	case EXPORT_DEVICE:
		checklist_add(d->list, CHECK_OK, "memory", c->name, NULL, "device-dax; durable %s",
			      export_caches_survive(e) ? "once it is stored (eADR)"
						       : "once the processor has flushed it");
		return;
	case EXPORT_MEMORY:
		checklist_add(d->list, CHECK_WARN, "memory", c->name,
			      "put it on a file system mounted with dax if it is to survive",
			      "tmpfs or hugetlbfs: all is gone with the power");
		return;
	case EXPORT_PAGE_CACHE:
		if (c->sector_atomic && !c->read_only)
			checklist_add(
				d->list, CHECK_FAIL, "torn writes", c->name,
				"leave sector_atomic out",
				"no journal helps: the kernel writes pages back when it likes");
		checklist_add(d->list, CHECK_WARN, "memory", c->name,
			      "mount a file system on persistent memory with -o dax=always for "
			      "more",
			      "a file system without DAX: the page cache is served, for the "
			      "software fabric only, durable when a host flushes");
	}
}

/* What power leaves of a write that it stops. */
static void look_at_tearing(struct doctor *d, const struct config_export *c)
{
	if (c->read_only)
		return;
	if (!c->sector_atomic)
		checklist_add(d->list, CHECK_OK, "torn writes", c->name, NULL,
			      "a block (LBA) that is being written when power fails may be torn; "
			      "sector_atomic = \"journal\" prevents it, and is slower");
	else if (d->config->state_dir[0] == '\0')
		checklist_add(d->list, CHECK_FAIL, "torn writes", c->name,
			      "set state_dir, or leave sector_atomic out",
			      "there is no place for a journal");
	else if (export_state_is_volatile(d->config->state_dir))
		checklist_add(d->list, CHECK_OK, "torn writes", c->name, NULL,
			      "no block is torn by the end of the daemon (sector_atomic = "
			      "\"journal\"); by a power failure it is: state_dir is on tmpfs");
	else
		checklist_add(
			d->list, CHECK_OK, "torn writes", c->name, NULL,
			"no block is torn by a power failure (sector_atomic = \"journal\"); of "
			"direct writes nothing is promised");
}

static bool no_part(void *arg, const struct tenure_ask *ask)
{
	(void)arg;
	(void)ask;
	return false;
}

static void not_broken(void *arg)
{
	(void)arg;
}

/* Takes it and lets it go. */
static int try_tenure(struct doctor *d, enum tenure_kind kind, const struct export *e,
		      struct errtext *err)
{
	const struct tenure_config config = {
		.kind = kind,
		.fd = export_fd(e),
		.loop = d->loop,
		.name = "the doctor's",
		.patience_ns = NS_PER_S,
		.broken = not_broken,
		.part = no_part,
		.refuse = no_part,
	};
	struct tenure *t;
	int rc = tenure_new(&config, &t);

	if (rc)
		return errtext_set(err, rc, "%s", strerror(-rc));
	(void)errtext_set(err, 0, "%s", "");
	tenure_begin(t);
	rc = tenure_take(t, err);
	tenure_release(t);
	tenure_end(t);
	tenure_free(t);
	if (rc && !err->text[0])
		(void)errtext_set(err, rc, "%s",
				  rc == -EINVAL ? "the file system has no leases" : strerror(-rc));
	return rc;
}

static void look_at_tenure(struct doctor *d, const struct config_export *c, const struct export *e)
{
	const bool watch = c->tenure == TENURE_WATCH;
	struct errtext err;

	if (export_by_mapping_only(e)) {
		if (watch)
			checklist_add(d->list, CHECK_FAIL, "watch", c->name,
				      "leave tenure out: it is for files",
				      "nobody asks for parts of a device");
		return;
	}
	if (try_tenure(d, c->tenure, e, &err) == 0)
		checklist_add(d->list, CHECK_OK, watch ? "watch" : "lease", c->name, NULL,
			      "can be taken on its file system");
	else
		checklist_add(d->list, CHECK_FAIL, watch ? "watch" : "lease", c->name,
			      watch ? NULL : "put the file on ext4, xfs or tmpfs of this machine",
			      "%s", err.text);
	if (watch)
		return;
	if (try_tenure(d, TENURE_WATCH, e, &err) == 0)
		checklist_add(d->list, CHECK_OK, "watch", c->name, NULL,
			      "possible (tenure = \"watch\"), not asked for");
	else
		checklist_add(d->list, CHECK_OK, "watch", c->name, NULL,
			      "not possible, not asked for: %s", err.text);
}

/* ---- and what adapters can do with it ------------------------------------------------------------ */

/* A recall has to fit into who waits' patience. */
static void look_at_budget(struct doctor *d, const struct config_export *c, const char *about,
			   const struct region_probe *found)
{
	const int seconds = tenure_break_time_s();
	uint64_t need_ns, most_ns;
	struct stat st;

	if (seconds < 0 || c->tenure == TENURE_WATCH || stat(c->path, &st) != 0)
		return;
	most_ns = (uint64_t)seconds * NS_PER_S / BUDGET_SHARE;
	need_ns = d->config->recall_deadline_ms * NS_PER_MS +
		  (uint64_t)st.st_size / MIB(1) * (found->dereg_ns_per_gib / KIB(1)) +
		  d->config->max_grants_per_export * found->dereg_ns_per_key;
	if (need_ns > most_ns)
		checklist_add(d->list, CHECK_FAIL, "recall", about,
			      "raise fs.lease-break-time, or shorten recall_deadline_ms, or allow "
			      "fewer grants (max_grants_per_export)",
			      "may take %llu ms, and may take %llu",
			      (unsigned long long)(need_ns / NS_PER_MS),
			      (unsigned long long)(most_ns / NS_PER_MS));
}

static void look_at_way(struct doctor *d, const struct config_export *c, const struct export *e,
			struct fabric_device *dev)
{
	const struct fabric_device_info *info = fabric_device_info(dev);
	enum region_choice choice = c->registration;
	struct region_probe found;
	struct errtext err;
	char about[160];
	int rc;

	(void)snprintf(about, sizeof(about), "%s by %s", c->name, info->name);
	if (choice == REGION_STAGED) {
		checklist_add(d->list, CHECK_OK, "registration", about, NULL,
			      "staged, as asked for: the daemon copies, there are no grants");
		return;
	}
	/* What a watch lets go on must be memory that the file system can take back itself. */
	if (c->tenure == TENURE_WATCH && !info->software_fabric)
		choice = REGION_ODP;
	rc = region_probe(dev, e, choice, &found, &err);
	if (rc)
		checklist_add(d->list, choice == REGION_AUTO ? CHECK_WARN : CHECK_FAIL,
			      "registration", about, NULL, "%s", err.text);
	else if (region_registers(found.rung)) {
		checklist_add(d->list, CHECK_OK, "registration", about, NULL, "%s%s%s", found.why,
			      found.iova ? "" : "; not at addresses of our choice",
			      found.windows ? "; windows work" : "");
		look_at_budget(d, c, about, &found);
	} else
		checklist_add(d->list,
			      choice == c->registration && choice != REGION_AUTO ? CHECK_FAIL
										 : CHECK_WARN,
			      "registration", about,
			      "raise ulimit -l, or mount with dax=always, or update the driver or "
			      "kernel; staged works meanwhile",
			      "staged: the daemon copies, there are no grants (%s)", found.why);
}

static void look_at_fabric(struct doctor *d, const struct config_export *c, const struct export *e,
			   struct fabric *f)
{
	for (unsigned int i = 0; f && i < fabric_device_count(f); i++)
		look_at_way(d, c, e, fabric_device_at(f, i));
}

static void look_at_place(struct doctor *d, const struct config_export *c)
{
	const struct export_config config = export_config_of(d, c);
	struct export *e;
	struct errtext err;

	if (export_trial_open(&config, &e, &err) != 0) {
		checklist_add(d->list, CHECK_FAIL, "place", c->name,
			      "make the folder, or have the daemon's user write to it", "%s",
			      err.text);
		return;
	}
	look_at_medium(d, c, e);
	look_at_tenure(d, c, e);
	look_at_fabric(d, c, e, d->software);
	if (d->wants_verbs)
		look_at_fabric(d, c, e, d->verbs);
	export_trial_close(e);
}

/* Another export was looked at whose answers are the same. */
static const struct config_export *like(const struct doctor *d, unsigned int n)
{
	const struct config_export *c = &d->config->exports[n];
	struct stat st, other;

	for (unsigned int i = 0; i < n; i++) {
		const struct config_export *o = &d->config->exports[i];

		if (stat(c->path, &st) == 0 && stat(o->path, &other) == 0 &&
		    st.st_dev == other.st_dev && S_ISREG(st.st_mode) && S_ISREG(other.st_mode) &&
		    c->tenure == o->tenure && c->registration == o->registration &&
		    c->sector_atomic == o->sector_atomic)
			return o;
	}
	return NULL;
}

void doctor_look_at_exports(struct doctor *d)
{
	for (unsigned int i = 0; i < d->config->nr_exports; i++) {
		const struct config_export *c = &d->config->exports[i], *same = like(d, i);

		look_at_tearing(d, c);
		if (!look_at_file(d, c))
			continue;
		if (same)
			checklist_add(d->list, CHECK_OK, "place", c->name, NULL,
				      "the file system of %s: as there", same->name);
		else
			look_at_place(d, c);
	}
	if (d->config->nr_exports == 0)
		checklist_add(d->list, CHECK_WARN, "exports", NULL,
			      "add some to the configuration, or by leasehold export add",
			      "there are none");
}
