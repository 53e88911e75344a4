// SPDX-License-Identifier: BSD-3-Clause
/*
 * What an export would be, found out without touching its file: an export of a scratch file beside it. Its lock
 * file is in a folder of its own, since the one of daemons may not be there yet. Worker threads.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "scratch.h"

/* One at a time. */
static struct {
	char lock_dir[64];
	char path[PATH_MAX]; /* of the scratch file; "": it is a device */
} trial;

static void remove_all(void)
{
	if (trial.path[0])
		(void)unlink(trial.path);
	if (trial.lock_dir[0])
		(void)rmdir(trial.lock_dir);
	trial.path[0] = trial.lock_dir[0] = 0;
}

/* The folder of the file itself, which a link may hide; of one that is not there, that of its name. */
static int find_folder(const char *path, char folder[PATH_MAX])
{
	char copy[PATH_MAX], *real = realpath(path, NULL);

	if (strlen(real ? real : path) >= sizeof(copy)) {
		free(real);
		return -ENAMETOOLONG;
	}
	memcpy(copy, real ? real : path, strlen(real ? real : path) + 1);
	free(real);
	(void)snprintf(folder, PATH_MAX, "%s", dirname(copy));
	return 0;
}

/* Not empty, and of whole pages, whatever the file system calls one. */
static int give_size(int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -errno;
	return ftruncate(fd, (off_t)align_up(export_page_bytes(), (uint64_t)st.st_blksize)) ? -errno
											    : 0;
}

static int make_file(const char *folder)
{
	int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1, rc;
	char name[SCRATCH_NAME_BYTES];

	if (dir < 0)
		return -errno;
	rc = scratch_create(dir, name, &fd);
	(void)close(dir);
	if (rc)
		return rc;
	if (snprintf(trial.path, sizeof(trial.path), "%s/%s", folder, name) >=
	    (int)sizeof(trial.path))
		rc = -ENAMETOOLONG;
	if (rc == 0)
		rc = give_size(fd);
	/* The export's own must be the only open file description, for the lease. */
	(void)close(fd);
	return rc;
}

static bool is_device(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISCHR(st.st_mode);
}

int export_trial_open(const struct export_config *config, struct export **e, struct errtext *err)
{
	struct export_config c = *config;
	char folder[PATH_MAX];
	int rc;

	assert(!trial.lock_dir[0]);
	(void)snprintf(trial.lock_dir, sizeof(trial.lock_dir), "/tmp/leasehold-trial-XXXXXX");
	if (!mkdtemp(trial.lock_dir)) {
		rc = -errno;
		trial.lock_dir[0] = 0;
		return errtext_set(err, rc, "no folder can be made in /tmp: %s", strerror(-rc));
	}
	c.lock_dir = trial.lock_dir;
	c.state_dir = "";
	c.keep = c.adopt = false;
	c.uuid = NULL;
	if (!is_device(config->path)) {
		rc = find_folder(config->path, folder);
		if (rc == 0)
			rc = make_file(folder);
		if (rc) {
			remove_all();
			return errtext_set(err, rc, "no file can be made in %s: %s", folder,
					   strerror(-rc));
		}
		c.path = trial.path;
	}
	rc = export_open(&c, e, err);
	if (rc) {
		remove_all();
		return rc;
	}
	/* What is not locked is taken for one that was left behind. */
	if (trial.path[0])
		(void)flock(export_fd(*e), LOCK_EX | LOCK_NB);
	return 0;
}

void export_trial_close(struct export *e)
{
	export_close(e);
	remove_all();
}
