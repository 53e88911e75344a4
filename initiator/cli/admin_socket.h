/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's admin socket: one line of JSON out, one line back. */
#ifndef LEASEHOLD_ADMIN_SOCKET_H
#define LEASEHOLD_ADMIN_SOCKET_H

#include "cli.h"

#include <json-c/json.h>

/* Of the help of each verb that asks the daemon. */
#define ADMIN_SOCKET_HELP                                                                          \
	"      --socket PATH      the daemon's admin socket (default /run/leasehold/admin.sock,\n" \
	"                         or leasehold/admin.sock in $XDG_RUNTIME_DIR when not root)\n"
#define ADMIN_HELP                               \
	ADMIN_SOCKET_HELP                        \
	"  -o, --output json      for scripts\n" \
	"  -h, --help             this\n"

/** {"v":1,"cmd":COMMAND}, to which more may be added. */
struct json_object *admin_socket_command(const char *command);

/**
 * Sends the request, which is freed, to the socket at `path` (NULL: where a daemon of this user puts
 * it) and returns the result, to be freed by json_object_put(). 0 or an exit code, with the sentence
 * printed.
 */
int admin_socket_request(const char *path, struct json_object *request,
			 struct json_object **result);

/** The same for what may take its time: waits at most `ms` for the answer, -1: as long as it takes. */
int admin_socket_wait(const char *path, struct json_object *request, int ms,
		      struct json_object **result);

/** The same with the sentence in `err` instead. */
int admin_socket_try(const char *path, struct json_object *request, int ms,
		     struct json_object **result, struct errtext *err);

/** The same with a command that needs nothing more. */
int admin_socket_ask(const char *path, const char *command, struct json_object **result);

/**
 * Puts FABRIC://HOST[:PORT] into `group` as a listener or referral has it in the configuration file:
 * fabric, address, port. HOST is looked up here: the daemon must not wait. 0 or an exit code, with the
 * sentence printed.
 */
int admin_socket_port(const struct verb *verb, const char *uri, struct json_object *group);

#endif
