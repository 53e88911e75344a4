// SPDX-License-Identifier: BSD-3-Clause
/*
 * A lease rides on an open file description. The service manager (sd_pid_notify_with_fds(3),
 * FDSTORE) has a descriptor of it, too, so it outlives a daemon that crashes: whoever wants the file
 * meanwhile waits, for at most fs.lease-break-time, until the daemon that follows has taken it over and
 * lets go. Keys died with the process, so nothing has to be proven then. An open(2) of the file instead
 * would be one more that wants it.
 */
#include "kept.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "util/log.h"

#define KEPT_PREFIX	"export-" /* of the names that descriptors are kept under */
#define KEPT_NAME_BYTES 64

static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;
static int *kept; /* what came and was not taken yet; -1 where it was */
static unsigned int nr_kept;

/* No colon in it: sd_listen_fds_with_names(3) parts by them. */
static void name_of(dev_t dev, ino_t ino, char name[KEPT_NAME_BYTES])
{
	(void)snprintf(name, KEPT_NAME_BYTES, KEPT_PREFIX "%u.%u-%llu", major(dev), minor(dev),
		       (unsigned long long)ino);
}

static void forget(dev_t dev, ino_t ino)
{
	char name[KEPT_NAME_BYTES];

	name_of(dev, ino, name);
	(void)sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

/* A file of an export, as open_locked() opens it? */
static bool is_ours(int fd, const char *name)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	return strncmp(name, KEPT_PREFIX, strlen(KEPT_PREFIX)) == 0 && flags >= 0 &&
	       (flags & O_ACCMODE) == O_RDWR && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

void export_kept_receive(void)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names);

	kept = n > 0 ? calloc((size_t)n, sizeof(*kept)) : NULL;
	for (int i = 0; i < n; i++) {
		int fd = SD_LISTEN_FDS_START + i;

		if (kept && is_ours(fd, names[i])) {
			kept[nr_kept++] = fd;
		} else {
			log_warning("a descriptor that the service manager passed is closed, since "
				    "it is of no use here: %s",
				    names[i]);
			(void)close(fd);
		}
		free(names[i]);
	}
	free(names);
	if (nr_kept > 0)
		log_notice("%u file(s) stayed open over the restart, with their leases", nr_kept);
}

int kept_take(const struct stat *st)
{
	int fd = -1;

	(void)pthread_mutex_lock(&kept_lock);
	for (unsigned int i = 0; i < nr_kept && fd < 0; i++) {
		struct stat is;

		if (kept[i] < 0 || fstat(kept[i], &is) || is.st_dev != st->st_dev ||
		    is.st_ino != st->st_ino)
			continue;
		fd = kept[i];
		kept[i] = -1;
	}
	(void)pthread_mutex_unlock(&kept_lock);
	return fd;
}

void export_kept_drop(void)
{
	(void)pthread_mutex_lock(&kept_lock);
	for (unsigned int i = 0; i < nr_kept; i++) {
		struct stat st;

		if (kept[i] < 0)
			continue;
		if (fstat(kept[i], &st) == 0)
			forget(st.st_dev, st.st_ino);
		/* The manager may take a while, or have another of the same. */
		(void)fcntl(kept[i], F_SETLEASE, F_UNLCK);
		(void)close(kept[i]);
	}
	free(kept);
	kept = NULL;
	nr_kept = 0;
	(void)pthread_mutex_unlock(&kept_lock);
}

void kept_store(const struct export *e)
{
	char name[KEPT_NAME_BYTES], text[KEPT_NAME_BYTES + 32];
	int rc;

	if (e->medium == EXPORT_DEVICE)
		return;
	name_of(e->dev, e->ino, name);
	(void)snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s", name);
	rc = sd_pid_notify_with_fds(0, 0, text, &e->fd, 1);
	if (rc < 0)
		log_warning("%s: the service manager cannot be asked to keep the file open over a "
			    "restart: %s",
			    e->name, strerror(-rc));
}

void kept_forget(const struct export *e)
{
	if (e->medium != EXPORT_DEVICE)
		forget(e->dev, e->ino);
}
