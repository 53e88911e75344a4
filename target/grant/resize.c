// SPDX-License-Identifier: BSD-3-Clause
/*
 * A new size of an export's file, from the wish to the answer. What happens to keys and file is
 * punch.c's; here is who waits for it. Control loop only.
 */
#include "grant/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "util/counter.h"
#include "util/log.h"

DEFINE_COUNTER(resizes, "resizes", "Times that a file got another size on request");

static void on_answer(struct loop_msg *msg)
{
	struct resize *r = container_of(msg, struct resize, msg);
	void (*done)(void *arg, int err, const char *why) = r->done;

	r->busy = false;
	done(r->arg, r->err, r->why);
}

/* Never from inside the caller. */
static void answer(struct holding *h, int err, const char *why)
{
	struct resize *r = &h->resize;

	r->err = err;
	r->file_done = false;
	(void)snprintf(r->why, sizeof(r->why), "%s", why);
	loop_post(h->env->control, &r->msg, on_answer);
}

static void resized(struct holding_punch *punch, int err)
{
	struct holding *h = container_of(punch, struct holding, resize.punch);
	char text[ERRTEXT_BYTES];

	if (err) {
		(void)snprintf(text, sizeof(text), "%s: the size of %s cannot be changed: %s",
			       h->config.export.name, h->config.export.path,
			       err == -ENODEV ? "the export is being stopped" : strerror(-err));
		answer(h, err, text);
		return;
	}
	counter_add(&resizes, 1);
	log_notice("%s: %s has %llu bytes now", h->config.export.name, h->config.export.path,
		   (unsigned long long)punch->resize_to);
	if (h->state == HOLDING_SERVING) {
		answer(h, 0, "");
		return;
	}
	h->resize.file_done = true;
	/* `leasehold reclaim` may hold it for long: nobody tries to take it, so nobody fails. */
	if (h->kept > 0 && h->recall.state == RECALL_RELEASED)
		resize_not_served(h);
}

void resize_served(struct holding *h)
{
	if (h->resize.file_done)
		answer(h, 0, "");
}

void resize_not_served(struct holding *h)
{
	char text[ERRTEXT_BYTES];

	if (!h->resize.file_done)
		return;
	if (h->state == HOLDING_OFFLINE) {
		(void)snprintf(text, sizeof(text),
			       "the file has its new size, but the export is offline: %.400s",
			       h->why);
		answer(h, -ENODEV, text);
		return;
	}
	(void)snprintf(text, sizeof(text), "not served yet: %.450s", h->why);
	answer(h, 0, text);
}

/* NULL: it can be tried. */
static const char *unfit(const struct holding *h, uint64_t bytes, int *err)
{
	*err = -EBUSY;
	if (h->resize.busy)
		return "its size is being changed already";
	*err = -ENODEV;
	if (h->recall.stopping || h->state == HOLDING_OFFLINE)
		return "it is not served";
	if (h->generation == 0)
		return "it was not served yet";
	*err = -EROFS;
	if (h->config.export.read_only)
		return "it is read-only";
	*err = -EOPNOTSUPP;
	if (export_by_mapping_only(holding_file(h)))
		return "a device has the size that it has";
	*err = -EINVAL;
	if (bytes == 0)
		return "a namespace has at least one block: remove the export instead";
	if (bytes % h->config.export.lba_bytes != 0)
		return h->config.export.lba_bytes == 512 ? "the size must be a multiple of 512"
							 : "the size must be a multiple of 4096";
	*err = -EFBIG;
	if (bytes > GRANT_MAX_RESIZE_BYTES)
		return "more than 64 TiB cannot be mapped";
	*err = 0;
	return NULL;
}

/* Touches err. */
static void look_run(struct work *work)
{
	struct resize *r = container_of(work, struct resize, work);
	uint64_t bytes;

	r->err = export_size(r->export, &bytes);
}

/* One that was deleted is served until its tenure is wanted, and never again. */
static void look_done(struct work *work)
{
	struct holding *h = container_of(work, struct holding, resize.work);
	char text[ERRTEXT_BYTES];

	h->resize.looking = false;
	if (h->resize.err == -ENOLINK) {
		(void)snprintf(
			text, sizeof(text),
			"%s: %s was deleted, or another file took its place: with another "
			"size what is served could not be served any more. Its size stays; "
			"save what is in it (leasehold get), then leasehold export remove %s "
			"and export add --adopt",
			h->config.export.name, h->config.export.path, h->config.export.name);
		answer(h, -ENOLINK, text);
	} else {
		holding_punch(h, &h->resize.punch);
	}
	holding_check_stopped(h);
}

void holding_resize(struct holding *h, uint64_t bytes,
		    void (*done)(void *arg, int err, const char *why), void *arg)
{
	struct resize *r = &h->resize;
	char text[ERRTEXT_BYTES];
	const char *why;
	int err;

	why = unfit(h, bytes, &err);
	if (why) {
		(void)snprintf(text, sizeof(text), "%s: %s", h->config.export.name, why);
		done(arg, err, text);
		return;
	}
	*r = (struct resize){.busy = true, .done = done, .arg = arg};
	/* A grant over the last page that stays sees what the kernel clears of it. */
	r->range.offset = align_down(bytes, LH_GRANT_ALIGN);
	r->range.length = INT64_MAX - r->range.offset;
	r->punch = (struct holding_punch){
		.ranges = &r->range,
		.nr_ranges = 1,
		.done = resized,
		.resize_to = bytes,
	};
	r->looking = true;
	r->export = holding_file(h);
	pool_submit(h->env->workers, &r->work, POOL_NORMAL, look_run, look_done, h->env->control);
}
