// SPDX-License-Identifier: BSD-3-Clause
/*
 * An inotify that comes late: in place of target/tenure/closes.c, under the real retry.c.
 */
#include "sim.h"

#include <string.h>

#include "tenure/closes.h"

#define THE_FILE 1

static struct {
	struct loop *loop; /* of who watches */
	struct loop_msg msg;
	bool posted, closed, came_in;
} c;

void closes_begin(void)
{
	memset(&c, 0, sizeof(c));
}

void closes_end(void)
{
	if (!retry_none())
		sim_fail(P_STUCK, "who waits for the file to be closed is left over");
}

static void on_events(struct loop_msg *msg)
{
	bool closed = c.closed, came_in = c.came_in;

	(void)msg;
	c.posted = c.closed = c.came_in = false;
	if (came_in)
		retry_came_in(THE_FILE);
	if (closed)
		retry_closed(THE_FILE);
	retry_after_events();
}

static void tell(void)
{
	if (!c.loop || c.posted)
		return;
	c.posted = true;
	loop_post(c.loop, &c.msg, on_events);
}

static void close_arrives(void *arg)
{
	(void)arg;
	c.closed = true;
	tell();
}

static void change_arrives(void *arg)
{
	(void)arg;
	c.came_in = true;
	tell();
}

void notice_close(void)
{
	sim_after(sim_delay(200 * NS_PER_US), close_arrives, NULL);
}

void notice_change(void)
{
	sim_after(sim_delay(200 * NS_PER_US), change_arrives, NULL);
}

/* ---- the door -------------------------------------------------------------------------------- */

int closes_watch(struct loop *loop, int fd)
{
	(void)fd;
	c.loop = loop;
	return THE_FILE;
}

void closes_unwatch(int wd)
{
	(void)wd;
	c.loop = NULL;
	c.closed = c.came_in = false;
}
