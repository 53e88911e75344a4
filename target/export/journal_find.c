// SPDX-License-Identifier: BSD-3-Clause
/*
 * Which journals have writes of a file that an earlier daemon did not end. A journal has the name of its
 * export and the mark of its file, and the mark counts: who gives the export another name has the file made
 * whole as ever, and what was being written to one file never goes into another that has its name now. Worker
 * threads, under tenure.
 */
#include "journal_file.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "util/log.h"

static int replay(const struct export *e, const struct view *view, struct journal *j,
		  struct errtext *err)
{
	struct journal_found found;
	int ret = journal_replay(j, view, &found, err);

	if (!ret && found.records > 0)
		log_notice("%s: %u writes had not ended when the last daemon did: %u blocks made "
			   "whole, %u left as others have written them since",
			   e->name, found.records, found.mended, found.kept);
	return ret;
}

/* One that is not to be the export's own. It is of no use then. */
static int replay_and_remove(const struct export *e, const struct view *view, struct journal *j,
			     struct errtext *err)
{
	int ret = replay(e, view, j, err);

	if (ret)
		journal_close(j);
	else
		journal_remove(j);
	return ret;
}

static int under_other_name(const struct export *e, const struct view *view, const char *name,
			    const struct identity_mark *mark, struct errtext *err)
{
	struct journal *j = NULL;
	int ret = journal_open_named(e->state_dir, name, mark, false, &j, err);

	if (ret || !j)
		return ret;
	return replay_and_remove(e, view, j, err);
}

/* Nobody else writes one with this mark: who serves a file has its lock. */
static int under_other_names(const struct export *e, const struct view *view,
			     const struct identity_mark *mark, struct errtext *err)
{
	int fd = journal_folder_open(e->state_dir), ret = 0;
	const struct dirent *entry;
	DIR *dir;

	if (fd == -ENOENT)
		return 0;
	dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir) {
		ret = fd < 0 ? fd : -errno;
		if (fd >= 0)
			(void)close(fd);
		return errtext_set(err, ret, "cannot look for journals in %s: %s", e->state_dir,
				   strerror(-ret));
	}
	while (!ret && (entry = readdir(dir)))
		if (strcmp(entry->d_name, e->name) != 0 &&
		    journal_is_of(dirfd(dir), entry->d_name, mark))
			ret = under_other_name(e, view, entry->d_name, mark, err);
	(void)closedir(dir);
	return ret;
}

/* Under the export's name, and not its own; `wanted`: the name is. */
static int under_its_name(const struct export *e, const struct view *view,
			  const struct identity_mark *mark, bool wanted, struct errtext *err)
{
	struct journal *j = NULL;
	unsigned int nr = 0;
	int ret = journal_open_named(e->state_dir, e->name, mark, false, &j, err);

	if (ret || !j)
		return ret;
	if (j->whose == JOURNAL_OURS)
		return replay_and_remove(e, view, j, err);
	ret = j->whose == JOURNAL_OTHERS ? journal_count(j, &nr) : 0;
	if (ret) {
		ret = errtext_set(err, ret, "cannot read the journal %s: %s", j->path,
				  strerror(-ret));
		journal_close(j);
	} else if (nr == 0) {
		journal_remove(j);
	} else if (wanted) {
		ret = journal_set_aside(j, err);
	} else {
		journal_close(j);
	}
	return ret;
}

int journal_recover(struct export *e, const struct view *view, struct errtext *err)
{
	const bool wanted = export_atomic_bytes(e) > 0;
	struct journal *own = NULL;
	struct identity_mark mark;
	int ret = identity_mark(e, &mark);

	if (ret)
		return errtext_set(err, ret, "cannot tell which file %s is: %s", e->path,
				   strerror(-ret));
	ret = under_other_names(e, view, &mark, err);
	if (!ret && e->journal)
		return replay(e, view, e->journal, err);
	if (!ret)
		ret = under_its_name(e, view, &mark, wanted, err);
	if (!ret && wanted)
		ret = journal_open(e, &own, err);
	if (!ret && wanted)
		atomic_store(&e->journal, own);
	return ret;
}
