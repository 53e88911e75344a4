// SPDX-License-Identifier: BSD-3-Clause
/* leasehold reclaim: an export of this machine's daemon, or a range of it, for local tools. */
#include "admin_socket.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPT_SOCKET = OPT_VERB,
	OPT_RANGE,
	OPT_HOLD,
	OPT_END,
};

struct reclaim_options {
	struct target_options target;
	const char *socket;
	bool part, end, said_hold;
	uint64_t offset, length;
	double hold_s;
};

static int take_range(struct reclaim_options *o, const char *text)
{
	int rc;

	if (o->part)
		return cli_usage(&verb_reclaim, "--range is there twice: a reclaim has one");
	rc = cli_span(&verb_reclaim, text, &o->offset, &o->length);
	if (rc)
		return rc;
	if (o->length == UINT64_MAX)
		o->length = 0; /* to the end */
	o->part = true;
	return -1;
}

static int take_hold(struct reclaim_options *o, const char *text)
{
	char *end;

	o->hold_s = strtod(text, &end);
	if (end == text || *end != '\0' || !(o->hold_s >= 0 && o->hold_s <= 86400) ||
	    (o->hold_s > 0 && o->hold_s < 0.001))
		return cli_usage(&verb_reclaim,
				 "--hold %s: give seconds, at least 0.001 and at most 86400 (a "
				 "day), or 0",
				 text);
	o->said_hold = true;
	return -1;
}

static int take_options(int argc, char **argv, struct reclaim_options *o)
{
	static const struct option options[] = {{"socket", required_argument, NULL, OPT_SOCKET},
						{"range", required_argument, NULL, OPT_RANGE},
						{"hold", required_argument, NULL, OPT_HOLD},
						{"end", no_argument, NULL, OPT_END},
						{"output", required_argument, NULL, 'o'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	int c, rc = -1;

	while (rc == -1 &&
	       (c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		switch (c) {
		case OPT_SOCKET:
			o->socket = optarg;
			break;
		case OPT_RANGE:
			rc = take_range(o, optarg);
			break;
		case OPT_HOLD:
			rc = take_hold(o, optarg);
			break;
		case OPT_END:
			o->end = true;
			break;
		default:
			rc = cli_option(&verb_reclaim, c, &o->target);
		}
	}
	return rc;
}

static int ask(const struct reclaim_options *o, const char *name)
{
	struct json_object *request = admin_socket_command("reclaim"), *result, *note;
	int rc;

	json_object_object_add(request, "name", json_object_new_string(name));
	if (o->part) {
		json_object_object_add(request, "offset", json_object_new_uint64(o->offset));
		if (o->length > 0)
			json_object_object_add(request, "length",
					       json_object_new_uint64(o->length));
	}
	if (o->said_hold)
		json_object_object_add(request, "hold_ms",
				       json_object_new_uint64((uint64_t)(o->hold_s * 1000)));
	if (o->end)
		json_object_object_add(request, "end", json_object_new_boolean(true));
	rc = admin_socket_wait(o->socket, request, -1, &result);
	if (rc)
		return rc;
	if (o->target.json)
		(void)puts(json_object_to_json_string_ext(result, JSON_C_TO_STRING_PRETTY));
	else if (o->end)
		cli_note("%s: goes back to its clients", name);
	else if (o->hold_s > 0)
		cli_note("%s: %s quiet, for %g s from now", name, o->part ? "the range is" : "is",
			 o->hold_s);
	if (!o->target.json && json_object_object_get_ex(result, "note", &note))
		cli_note("%s", json_object_get_string(note));
	(void)json_object_put(result);
	return EXIT_OK;
}

static int run_reclaim(int argc, char **argv)
{
	struct reclaim_options o = {0};
	int rc = take_options(argc, argv, &o);

	if (rc != -1)
		return rc;
	if (argc - optind != 1)
		return cli_usage(&verb_reclaim, "which export? It takes one name");
	if (o.end && (o.part || o.said_hold))
		return cli_usage(&verb_reclaim, "--end ends all of them: it takes nothing else");
	return ask(&o, argv[optind]);
}

const struct verb verb_reclaim = {
	.name = "reclaim",
	.usage = "[OPTIONS] EXPORT",
	.summary = "get an export of this machine, or a range, back from its clients for a while",
	.help = "\nFor tools of this machine that want a file quiet. Clients are asked to let go, "
		"as\n"
		"when a program opens the file, and cut off if they do not within\n"
		"recall_deadline_ms. When the command ends with 0 nothing remote reaches those\n"
		"bytes: no key is alive, no transfer is under way. Hosts' block commands go on "
		"all\n"
		"the while, through the file system: whoever must not see them stops the hosts.\n"
		"\nWithout --range all of it, and the lease: any program can open, truncate or "
		"move\n"
		"the file without waiting. With --range the rest is served on, at full speed and\n"
		"with its grants; the lease stays, so a program that opens the file recalls all "
		"of\n"
		"it still.\n"
		"\n      --range OFF:LEN    only these bytes (OFF: alone: to the end of the file)\n"
		"      --hold SECONDS     keep it quiet so long (default 0: clients can have it\n"
		"                         again at once; at most a day). When the time is over,\n"
		"                         and nobody else has the file open any more, it is\n"
		"                         looked at and registered again, and clients are told\n"
		"      --end              end every reclaim of EXPORT before its time\n" ADMIN_HELP
		"\nExamples:\n"
		"  leasehold reclaim data --hold 60 && fsck.tool /mnt/pmem/data; leasehold reclaim "
		"--end data\n"
		"  leasehold reclaim data --range 1G:64M --hold 5\n"
		"\nExit status: 0 done, 1 the daemon refused and said why, 2 bad command line, 4 "
		"no\n"
		"daemon answers.\n",
	.run = run_reclaim,
};
