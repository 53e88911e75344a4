// SPDX-License-Identifier: BSD-3-Clause
/* Ports as people write them, FABRIC://HOST[:PORT], for the daemon on this machine. */
#include "admin_socket.h"

#include "libleasehold/uri.h"

#include <netdb.h>
#include <netinet/in.h>
#include <string.h>

int admin_socket_port(const struct verb *verb, const char *uri, struct json_object *group)
{
	struct sockaddr_storage addr = {0};
	struct target_uri parsed;
	struct errtext err;
	char host[NI_MAXHOST];
	socklen_t length;

	if (target_uri_parse(uri, &parsed, &err) != 0)
		return cli_usage(verb, "%s", err.text);
	if (parsed.export_name[0] || strchr(uri, '?'))
		return cli_usage(verb, "%s: only FABRIC://HOST[:PORT] is wanted here", uri);
	if (target_uri_resolve(&parsed, &addr, &err) != 0)
		return cli_failf(EXIT_FAILED, "%s", err.text);
	length = addr.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
					    : sizeof(struct sockaddr_in);
	if (getnameinfo((struct sockaddr *)&addr, length, host, sizeof(host), NULL, 0,
			NI_NUMERICHOST) != 0)
		return cli_failf(EXIT_FAILED, "%s: its address cannot be written down", uri);
	json_object_object_add(
		group, "fabric",
		json_object_new_string(parsed.fabric == TARGET_IWARP ? "iwarp" : "verbs"));
	json_object_object_add(group, "address", json_object_new_string(host));
	json_object_object_add(group, "port", json_object_new_int(parsed.port));
	return EXIT_OK;
}
