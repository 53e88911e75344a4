// SPDX-License-Identifier: BSD-3-Clause
/* What the verbs share: common options, messages, opening and closing, signals. Main thread. */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INTERRUPT_GRACE_S 10 /* to end in good order */

volatile sig_atomic_t cli_interrupted;
static const char *volatile temporary;
static struct lh_client *volatile connected;

static const char *const way_help =
	"      --direct           by one-sided RDMA through grants (default), by block commands\n"
	"                         where that is not possible and during a recall\n"
	"      --block            by NVMe block commands only\n";
static const char *const transfer_help =
	"      --no-fallback      nothing by block commands: wait for the grant, fail over holes\n"
	"      --io-queues N      block queues (default 1)\n";
static const char *const target_help =
	"\nOptions for every target:\n"
	"      --host-nqn NQN     who to be (default /etc/nvme/hostnqn)\n"
	"  -o, --output json      for scripts\n"
	"  -h, --help             this\n";

void cli_help(const struct verb *verb)
{
	const char *export = verb->only_asks ? "[/EXPORT]" : "/EXPORT";

	(void)printf("Usage: leasehold %s %s\n\n%s\n%s", verb->name, verb->usage, verb->summary,
		     verb->help);
	if (!strstr(verb->usage, "TARGET"))
		return;
	if (!verb->only_asks)
		(void)printf("\nOptions for every transfer:\n%s%s",
			     verb->only_direct ? "" : way_help, transfer_help);
	(void)fputs(target_help, stdout);
	(void)printf("\nTargets: iwarp://HOST[:4420]%s[?nqn=NQN&crc=auto|on|off] (software, any\n"
		     "network) or rdma://HOST[:4420]%s[?nqn=NQN] (RDMA adapters). IPv6 addresses\n"
		     "in brackets.\n",
		     export, export);
	(void)printf("\nExit status: 0 done, 1 failed, 2 bad command line, %s4 no connection.\n",
		     verb->verifies ? "3 --verify found other\nbytes, " : "");
}

int cli_usage(const struct verb *verb, const char *fmt, ...)
{
	va_list ap;

	(void)fputs("leasehold: ", stderr);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fprintf(stderr, "\nUsage: leasehold %s %s\nleasehold %s --help has examples.\n",
		      verb->name, verb->usage, verb->name);
	return EXIT_USAGE;
}

int cli_failf(int code, const char *fmt, ...)
{
	va_list ap;

	(void)fputs("leasehold: ", stderr);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	return code;
}

void cli_note(const char *fmt, ...)
{
	va_list ap;

	(void)fputs("leasehold: ", stderr);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
}

int cli_fail(const struct lh_error *err)
{
	(void)fprintf(stderr, "leasehold: %s\n", err->text);
	switch (err->code) {
	case -ECONNREFUSED:
	case -ENOTCONN:
	case -EHOSTUNREACH:
	case -ENETUNREACH:
	case -ENODEV:
		return EXIT_NO_CONNECT;
	default:
		return EXIT_FAILED;
	}
}

int cli_fail_connect(const struct lh_error *err)
{
	(void)cli_fail(err);
	switch (err->code) {
	case -EINVAL:
		return EXIT_USAGE;
	case -ENOENT: /* connected; it has no such export */
	case -ENOMEM:
		return EXIT_FAILED;
	default:
		return EXIT_NO_CONNECT;
	}
}

int cli_size(const struct verb *verb, const char *what, const char *text, uint64_t *bytes)
{
	if (size_parse(text, bytes) < 0)
		return cli_usage(verb,
				 "%s \"%s\" is no number of bytes: write it as 4096, 64k, 2M or 1G",
				 what, text);
	return 0;
}

int cli_span(const struct verb *verb, const char *text, uint64_t *offset, uint64_t *length)
{
	const char *colon = strchr(text, ':');
	char *copy;
	int rc;

	if (!colon)
		return cli_usage(verb, "--range %s: write it as OFFSET:LENGTH", text);
	copy = strndup(text, (size_t)(colon - text));
	if (!copy)
		return cli_failf(EXIT_FAILED, "out of memory");
	rc = cli_size(verb, "offset", copy, offset);
	*length = UINT64_MAX;
	if (rc == 0 && colon[1] != '\0')
		rc = cli_size(verb, "length", colon + 1, length);
	free(copy);
	if (rc)
		return rc;
	if (*length == 0)
		return cli_usage(verb, "--range: a length of 0 is no range");
	if (*offset > INT64_MAX || (*length > INT64_MAX && colon[1] != '\0'))
		return cli_usage(verb, "--range %s: no file is that long", text);
	return 0;
}

/* -1, or there is no such way. */
static int check_way(const struct verb *verb, const struct target_options *o)
{
	if (o->block && o->direct)
		return cli_usage(verb, "--direct and --block: choose one of them");
	if (o->block && o->lh.no_fallback)
		return cli_usage(verb,
				 "--no-fallback means nothing by block commands: leave --block "
				 "or it out");
	return -1;
}

int cli_option(const struct verb *verb, int c, struct target_options *o)
{
	unsigned long n;
	char *end;

	switch (c) {
	case 'h':
		cli_help(verb);
		return EXIT_OK;
	case 'o':
		if (strcmp(optarg, "json") == 0)
			o->json = true;
		else if (strcmp(optarg, "text") != 0)
			return cli_usage(verb, "--output %s: there are text and json", optarg);
		return -1;
	case OPT_DIRECT:
		o->direct = true;
		return check_way(verb, o);
	case OPT_BLOCK:
		o->block = true;
		return check_way(verb, o);
	case OPT_HOST_NQN:
		o->lh.host_nqn = optarg;
		return -1;
	case OPT_IO_QUEUES:
		n = strtoul(optarg, &end, 10);
		if (*end || n < 1 || n > LH_IO_QUEUES_MAX)
			return cli_usage(verb, "--io-queues %s: give 1 to %u", optarg,
					 LH_IO_QUEUES_MAX);
		o->lh.io_queues = (uint32_t)n;
		return -1;
	case OPT_NO_FALLBACK:
		o->lh.no_fallback = true;
		return check_way(verb, o);
	case '?':
	case ':':
		/* getopt_long(3) has said what is wrong. */
		(void)fprintf(stderr, "Usage: leasehold %s %s\nleasehold %s --help has examples.\n",
			      verb->name, verb->usage, verb->name);
		return EXIT_USAGE;
	default:
		return -2;
	}
}

/* On the library's service thread. */
static void on_lost(const struct lh_lost *lost, void *user)
{
	const uint64_t now = now_ns();
	/* Beside the progress line, not in it. */
	const char *line = isatty(STDERR_FILENO) ? "\n" : "";

	(void)user;
	if (lost->back)
		(void)fprintf(stderr, "%sleasehold: connected again, after %llu s\n", line,
			      (unsigned long long)((now - lost->since_ns) / NS_PER_S));
	else
		(void)fprintf(stderr, "%sleasehold: %s; trying again for another %llu s\n", line,
			      lost->why,
			      (unsigned long long)(lost->give_up_ns > now
							   ? (lost->give_up_ns - now) / NS_PER_S
							   : 0));
}

int cli_open_any(const char *uri, const struct target_options *o, struct lh_client **client,
		 struct lh_export **ex)
{
	struct lh_error err;
	int rc = lh_open(uri, &o->lh, client, ex, &err);

	if (rc < 0)
		return cli_fail_connect(&err);
	connected = *client;
	lh_client_on_lost(*client, on_lost, NULL);
	return 0;
}

int cli_open(const char *uri, const struct target_options *o, struct lh_client **client,
	     struct lh_export **ex)
{
	struct lh_export_info info;
	struct lh_error err;
	int rc = cli_open_any(uri, o, client, ex);

	if (rc)
		return rc;
	/* It has no bytes, so that whatever is asked of it would end in an odd way. */
	if (lh_export_info(*ex, false, &info, &err) == 0 && strcmp(info.state, "offline") == 0) {
		rc = cli_failf(EXIT_FAILED,
			       "export %s is offline: the target does not have its file now "
			       "(another process may have it open; leasehold status on that host "
			       "tells); try again later",
			       info.name);
		return cli_close(*client, *ex, rc);
	}
	return 0;
}

int cli_range(struct lh_export *ex, uint64_t offset, uint64_t length, struct lh_export_info *info)
{
	struct lh_error err;

	if (lh_export_info(ex, false, info, &err) < 0)
		return cli_fail(&err);
	if (range_ok(offset, length, info->size_bytes))
		return 0;
	if (lh_export_info(ex, true, info, &err) < 0)
		return cli_fail(&err);
	if (range_ok(offset, length, info->size_bytes))
		return 0;
	return cli_failf(EXIT_FAILED,
			 "range error: %llu bytes at offset %llu are not all inside %s, which has "
			 "%llu bytes",
			 (unsigned long long)length, (unsigned long long)offset, info->name,
			 (unsigned long long)info->size_bytes);
}

int cli_not_held(const struct lh_error *err, bool no_fallback, bool can_allocate)
{
	if (!no_fallback) {
		cli_note("going by block commands: %s", err->text);
		return 0;
	}
	(void)cli_fail(err);
	if (err->code == -ENODATA)
		cli_note("that is: %sleave out --no-fallback",
			 can_allocate ? "give --allocate, or " : "");
	return err->code == -ENOTCONN ? EXIT_NO_CONNECT : EXIT_FAILED;
}

int cli_close(struct lh_client *client, struct lh_export *ex, int code)
{
	if (lh_export_close(ex) == -LH_EDEAD && code == 0)
		code = cli_failf(EXIT_FAILED, "bytes that were written directly were never "
					      "confirmed by the target: write them again");
	connected = NULL;
	lh_client_close(client);
	return code;
}

/* The target may be gone, and the library waits for it to come back. Signal handler. */
static void leave(void)
{
	static const char text[] =
		"leasehold: interrupted; not waiting for the target any longer\n";

	if (temporary)
		(void)unlink(temporary);
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	_exit(EXIT_FAILED);
}

static void on_signal(int sig)
{
	if (cli_interrupted || sig == SIGALRM)
		leave();
	cli_interrupted = 1;
	if (connected)
		lh_client_give_up(connected);
	(void)alarm(INTERRUPT_GRACE_S);
}

void cli_catch_signals(void)
{
	const struct sigaction sa = {.sa_handler = on_signal};

	(void)sigaction(SIGINT, &sa, NULL);
	(void)sigaction(SIGTERM, &sa, NULL);
	(void)sigaction(SIGALRM, &sa, NULL);
}

void cli_temporary(const char *path)
{
	temporary = path;
}
