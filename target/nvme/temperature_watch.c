// SPDX-License-Identifier: BSD-3-Clause
/*
 * Looks at the temperature now and then, as long as there are controllers, and sensors; they are told what
 * changes, and each says for itself whether that is worth an event. Control loop, but for the look, which
 * is a worker's.
 */
#include "nvme/controller.h"

static void measure_run(struct work *work)
{
	struct nvme_target *t = container_of(work, struct nvme_target, warmth.work);

	t->warmth.measured = health_memory_temperature(HEALTH_SENSORS);
}

static void look(struct loop_timer *timer);

static void measure_done(struct work *work)
{
	struct nvme_target *t = container_of(work, struct nvme_target, warmth.work);

	t->warmth.busy = false;
	if (t->stopping) {
		target_check_stopped(t);
		return;
	}
	if (t->warmth.asked || t->warmth.measured != t->warmth.temperature) {
		t->warmth.asked = false;
		t->warmth.temperature = t->warmth.measured;
		controllers_temperature(t, t->warmth.temperature);
	}
	/* Without sensors, or hosts, the daemon sleeps on. */
	if (t->warmth.temperature == 0 || list_empty(&t->controllers))
		return;
	t->warmth.armed = true;
	t->warmth.timer.fn = look;
	loop_timer_set(t->env.control, &t->warmth.timer,
		       now_ns() + t->warmth.period_ms * NS_PER_MS);
}

static void measure(struct nvme_target *t)
{
	t->warmth.busy = true;
	pool_submit(t->env.workers, &t->warmth.work, POOL_BULK, measure_run, measure_done,
		    t->env.control);
}

static void look(struct loop_timer *timer)
{
	struct nvme_target *t = container_of(timer, struct nvme_target, warmth.timer);

	t->warmth.armed = false;
	measure(t);
}

void temperature_watch(struct nvme_target *t)
{
	t->warmth.asked = true;
	if (t->warmth.busy || t->stopping)
		return;
	temperature_forget(t);
	measure(t);
}

void temperature_forget(struct nvme_target *t)
{
	if (t->warmth.armed)
		loop_timer_cancel(t->env.control, &t->warmth.timer);
	t->warmth.armed = false;
}
