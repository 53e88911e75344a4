// SPDX-License-Identifier: BSD-3-Clause
/*
 * Space that the file system gives to an export: looked for first, since a fallocate(2) that fails
 * may keep what it got, with a part of the file system that stays for others; then taken, a slice
 * at a time. Worker threads.
 */
#include "space.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>

#include "util/counter.h"

DEFINE_COUNTER(refused, "allocations_refused",
	       "Times that holes could not be filled, or shared blocks not unshared");

/* Exports that are to have more. All change under the lock. */
static pthread_mutex_t promise_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list promises = LIST_INIT(promises);

static uint64_t promised_to_others(const struct export *e)
{
	uint64_t bytes = 0;
	struct list *l;

	list_for_each (l, &promises) {
		const struct export *other = list_entry(l, struct export, promise_link);

		if (other != e && other->dev == e->dev)
			bytes += other->promised_bytes;
	}
	return bytes;
}

/* With the lock held. */
static int check_space(const struct export *e, const char *doing, uint64_t missing,
		       struct errtext *err)
{
	uint64_t free_bytes, kept, promised = promised_to_others(e);
	struct statvfs fs;

	/* A tmpfs without a limit has no blocks. hugetlbfs has no holes to be filled. */
	if (missing == 0 || e->hugetlbfs || fstatvfs(e->fd, &fs) || fs.f_blocks == 0)
		return 0;
	free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	kept = (uint64_t)fs.f_blocks * fs.f_frsize / 100 * e->allocate_reserve_percent;
	if (promised <= free_bytes && kept <= free_bytes - promised &&
	    missing <= free_bytes - promised - kept)
		return 0;
	counter_add(&refused, 1);
	return errtext_set(
		err, -ENOSPC,
		"no space on the file system to %s %s: %llu MiB are "
		"missing, %llu MiB are free, of which %llu stay for others "
		"(allocate_reserve_percent = %u) and %llu for the holes of other exports",
		doing, e->path, (unsigned long long)(missing / MIB(1)),
		(unsigned long long)(free_bytes / MIB(1)), (unsigned long long)(kept / MIB(1)),
		e->allocate_reserve_percent, (unsigned long long)(promised / MIB(1)));
}

int space_promise(struct export *e, const char *doing, uint64_t missing, struct errtext *err)
{
	int ret;

	(void)pthread_mutex_lock(&promise_lock);
	/* A promise is not taken back: others may have got what they were promised just now. */
	ret = missing <= e->promised_bytes ? 0 : check_space(e, doing, missing, err);
	if (!ret && e->promised_bytes == 0 && missing > 0)
		list_push(&promises, &e->promise_link);
	if (!ret)
		e->promised_bytes = max_u64(e->promised_bytes, missing);
	(void)pthread_mutex_unlock(&promise_lock);
	return ret;
}

void space_promise_end(struct export *e)
{
	(void)pthread_mutex_lock(&promise_lock);
	list_del(&e->promise_link);
	e->promised_bytes = 0;
	(void)pthread_mutex_unlock(&promise_lock);
}

int space_take(const struct export *e, int mode, uint64_t from, uint64_t to, uint64_t slice_bytes,
	       const atomic_bool *stop)
{
	while (from < to) {
		uint64_t n = min_u64(to - from, slice_bytes);

		if (stop && atomic_load_explicit(stop, memory_order_relaxed))
			return -ECANCELED;
		if (!fallocate(e->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)n))
			from += n;
		else if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int space_refused(const struct export *e, const char *doing, int ret, const char *rest,
		  struct errtext *err)
{
	counter_add(&refused, 1);
	if (ret == -ENOSPC || ret == -EDQUOT)
		return errtext_set(err, ret, "no space on the file system to %s %s: %s%s", doing,
				   e->path, strerror(-ret), rest);
	return errtext_set(err, ret, "cannot %s %s: %s%s", doing, e->path, strerror(-ret), rest);
}
