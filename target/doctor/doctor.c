// SPDX-License-Identifier: BSD-3-Clause
/* The order of the checks: what others need first. */
#include "doctor/doctor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "doctor/internal.h"
#include "export/export.h"
#include "region/region.h"
#include "tenure/tenure.h"

static void look_at_config(struct doctor *d, const char *file)
{
	struct errtext err;

	if (config_load(file, &d->config, &err) != 0) {
		d->config = NULL;
		checklist_add(d->list, CHECK_FAIL, "configuration", NULL,
			      "mend the file; leaseholdd.conf(5) has every key. Without it only "
			      "the machine is looked at",
			      "%s", err.text);
		return;
	}
	for (unsigned int i = 0; i < d->config->nr_listeners; i++) {
		d->wants_software |= d->config->listeners[i].software;
		d->wants_verbs |= !d->config->listeners[i].software;
	}
	for (unsigned int i = 0; i < d->config->nr_exports; i++)
		d->wants_watch |= d->config->exports[i].tenure == TENURE_WATCH;
	checklist_add(d->list, CHECK_OK, "configuration", NULL, NULL,
		      "%s: %u export(s), %u listener(s)", file, d->config->nr_exports,
		      d->config->nr_listeners);
}

/* Asks nothing: that it lets us in is enough. */
static void look_for_daemon(struct doctor *d)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t length;
	int fd;

	if (!d->config)
		return;
	length = strlen(d->config->admin_socket);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && length < sizeof(to.sun_path)) {
		memcpy(to.sun_path, d->config->admin_socket, length);
		/* EAGAIN: others ask it just now. */
		d->running = connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0 ||
			     errno == EAGAIN;
	}
	if (fd >= 0)
		(void)close(fd);
	if (d->running)
		checklist_add(
			d->list, CHECK_WARN, "daemon", NULL,
			"leasehold status says what it serves; stop it to see whether another "
			"could start",
			"one answers at %s: what is in use below may be in use by it",
			d->config->admin_socket);
	else
		checklist_add(d->list, CHECK_OK, "daemon", NULL, NULL, "none answers at %s",
			      d->config->admin_socket);
}

static void nothing_broken(void *arg)
{
	(void)arg;
}

static int look(struct doctor *d, const char *file)
{
	struct tenure_signals *signals;
	int rc = loop_new("doctor", &d->loop);

	if (rc)
		return rc;
	rc = tenure_signals_new(d->loop, nothing_broken, NULL, &signals);
	if (rc)
		return rc;
	look_at_config(d, file);
	look_for_daemon(d);
	doctor_look_at_machine(d);
	doctor_look_at_adapters(d);
	if (d->config) {
		doctor_look_at_folders(d);
		doctor_look_at_listeners(d);
		doctor_look_at_exports(d);
	}
	tenure_signals_free(signals);
	return 0;
}

int doctor_run(const char *file, bool json)
{
	struct doctor d = {.list = checklist_new()};
	int rc = d.list ? export_guard_init() : -ENOMEM;

	/* What matters of it is in the list. */
	log_set_level(LOG_LEVEL_ERROR);
	tenure_block_signals();
	tenure_reserve_group();
	if (rc == 0)
		rc = look(&d, file);
	region_probe_forget(NULL);
	if (d.software)
		fabric_close(d.software);
	if (d.verbs)
		fabric_close(d.verbs);
	tenure_close_group();
	loop_free(d.loop);
	if (d.config)
		config_free(d.config);
	if (rc == 0)
		checklist_print(d.list, stdout, json);
	else
		(void)fprintf(stderr, "leaseholdd: the doctor cannot begin: %s\n", strerror(-rc));
	if (d.list && checklist_count(d.list, CHECK_FAIL) > 0)
		rc = -EINVAL;
	checklist_free(d.list);
	return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
