// SPDX-License-Identifier: BSD-3-Clause
/*
 * Parses targets. One pass from left to right: scheme, authority, export, query; each part is
 * checked where it is cut out. Pure but for target_uri_resolve(), which asks the resolver.
 */
#include "libleasehold/uri.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXAMPLE "write it as iwarp://HOST[:PORT]/EXPORT or rdma://HOST[:PORT]/EXPORT"

static const struct {
	const char *prefix;
	enum target_fabric fabric;
} schemes[] = {
	{"iwarp://", TARGET_IWARP},
	{"rdma://", TARGET_RDMA},
};

/* Copies [from, to) as a string; false if it does not fit. */
static bool cut(const char *from, const char *to, char *out, size_t bytes)
{
	size_t len = (size_t)(to - from);

	if (len >= bytes)
		return false;
	memcpy(out, from, len);
	out[len] = '\0';
	return true;
}

static int parse_port(const char *from, const char *to, uint16_t *port)
{
	unsigned int v = 0;

	if (from == to)
		return -EINVAL;
	for (; from < to; from++) {
		if (!isdigit((unsigned char)*from))
			return -EINVAL;
		v = v * 10 + (unsigned int)(*from - '0');
		if (v > 65535)
			return -EINVAL;
	}
	if (v == 0)
		return -EINVAL;
	*port = (uint16_t)v;
	return 0;
}

static int parse_authority(const char *from, const char *to, struct target_uri *uri,
			   struct errtext *err)
{
	const char *host_end, *rest;

	if (from < to && *from == '[') {
		from++;
		host_end = memchr(from, ']', (size_t)(to - from));
		if (!host_end)
			return errtext_set(err, -EINVAL,
					   "the IPv6 address in \"%s\" has no closing bracket",
					   from - 1);
		rest = host_end + 1;
	} else {
		host_end = memchr(from, ':', (size_t)(to - from));
		if (!host_end)
			host_end = to;
		rest = host_end;
		if (rest < to && memchr(rest + 1, ':', (size_t)(to - rest - 1)))
			return errtext_set(err, -EINVAL,
					   "write an IPv6 address in brackets, as in "
					   "iwarp://[::1]:4420/EXPORT");
	}
	if (host_end == from)
		return errtext_set(err, -EINVAL, "the target names no host: " EXAMPLE);
	if (!cut(from, host_end, uri->host, sizeof(uri->host)))
		return errtext_set(err, -EINVAL, "the host name is longer than %zu bytes",
				   sizeof(uri->host) - 1);
	if (rest == to)
		return 0;
	if (*rest != ':' || parse_port(rest + 1, to, &uri->port) < 0)
		return errtext_set(err, -EINVAL, "\"%.*s\" is no port: give 1 to 65535",
				   (int)(to - rest), rest);
	return 0;
}

static int hex_value(char c)
{
	if (isdigit((unsigned char)c))
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undoes %XX in place. */
static int percent_decode(char *text)
{
	char *out = text;

	for (; *text; text++) {
		if (*text == '%') {
			int high = hex_value(text[1]);
			int low = high < 0 ? -1 : hex_value(text[2]);

			if (low < 0 || (high == 0 && low == 0))
				return -EINVAL;
			*out++ = (char)(high << 4 | low);
			text += 2;
		} else {
			*out++ = *text;
		}
	}
	*out = '\0';
	return 0;
}

static int parse_crc(const char *value, struct target_uri *uri, struct errtext *err)
{
	static const struct {
		const char *text;
		enum target_crc crc;
	} words[] = {{"auto", TARGET_CRC_AUTO}, {"on", TARGET_CRC_ON}, {"off", TARGET_CRC_OFF}};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(value, words[i].text) == 0) {
			uri->crc = words[i].crc;
			return 0;
		}
	}
	return errtext_set(err, -EINVAL, "crc=%s: say auto, on or off", value);
}

static int given_twice(const char *key, struct errtext *err)
{
	return errtext_set(err, -EINVAL, "%s= is there twice: leave one out", key);
}

static int parse_query(const char *from, struct target_uri *uri, struct errtext *err)
{
	bool named = false;

	while (*from) {
		const char *end = from + strcspn(from, "&");
		char pair[512];
		char *value;

		if (!cut(from, end, pair, sizeof(pair)))
			return errtext_set(err, -EINVAL, "the part behind '?' is too long");
		value = strchr(pair, '=');
		if (!value)
			return errtext_set(err, -EINVAL,
					   "\"%s\": write it as nqn=NQN or crc=auto|on|off", pair);
		*value++ = '\0';
		if (percent_decode(value) < 0)
			return errtext_set(err, -EINVAL, "%s=%s: bad %%XX", pair, value);
		if (strcmp(pair, "nqn") == 0) {
			size_t len = strlen(value);

			if (named)
				return given_twice(pair, err);
			if (nqn_check(value, len + 1) < 0)
				return errtext_set(err, -EINVAL,
						   "\"%s\" is no NQN: it looks like %s", value,
						   LH_DEFAULT_NQN);
			memcpy(uri->nqn, value, len + 1);
			named = true;
		} else if (strcmp(pair, "crc") == 0) {
			if (uri->fabric != TARGET_IWARP)
				return errtext_set(err, -EINVAL,
						   "crc= is for iwarp:// targets; adapters "
						   "always check");
			if (uri->crc != TARGET_CRC_UNSET)
				return given_twice(pair, err);
			if (parse_crc(value, uri, err) < 0)
				return -EINVAL;
		} else {
			return errtext_set(err, -EINVAL,
					   "\"%s\" is not known behind '?': there are nqn and crc",
					   pair);
		}
		from = *end ? end + 1 : end;
	}
	return 0;
}

int target_uri_parse(const char *text, struct target_uri *uri, struct errtext *err)
{
	struct target_uri u = {.port = NVME_RDMA_PORT, .nqn = LH_DEFAULT_NQN};
	const char *authority = NULL, *end, *path_end;
	int rc;

	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
		size_t len = strlen(schemes[i].prefix);

		if (strncasecmp(text, schemes[i].prefix, len) == 0) {
			u.fabric = schemes[i].fabric;
			authority = text + len;
		}
	}
	if (!authority)
		return errtext_set(err, -EINVAL, "\"%.200s\" is no target: " EXAMPLE, text);
	end = authority + strcspn(authority, "/?");
	rc = parse_authority(authority, end, &u, err);
	if (rc < 0)
		return rc;
	if (*end == '/') {
		end++;
		path_end = end + strcspn(end, "?");
		if (!cut(end, path_end, u.export_name, sizeof(u.export_name)) ||
		    (u.export_name[0] && export_name_check(u.export_name) < 0))
			return errtext_set(err, -EINVAL,
					   "\"%.*s\" is no export name: 1 to 63 letters, digits, "
					   "'-', '_' and '.', the first a letter or a digit",
					   (int)min_u64((uint64_t)(path_end - end), 200), end);
		end = path_end;
	}
	if (*end == '?') {
		rc = parse_query(end + 1, &u, err);
		if (rc < 0)
			return rc;
	}
	*uri = u;
	return 0;
}

void target_uri_address(const struct target_uri *uri, char *text, size_t bytes)
{
	bool v6 = strchr(uri->host, ':') != NULL;

	(void)snprintf(text, bytes, "%s%s%s:%u", v6 ? "[" : "", uri->host, v6 ? "]" : "",
		       uri->port);
}

int target_uri_resolve(const struct target_uri *uri, struct sockaddr_storage *addr,
		       struct errtext *err)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	char port[8];
	int rc;

	(void)snprintf(port, sizeof(port), "%u", uri->port);
	rc = getaddrinfo(uri->host, port, &hints, &found);
	if (rc != 0)
		return errtext_set(err, rc == EAI_AGAIN ? -EAGAIN : -EHOSTUNREACH,
				   "host \"%s\" is not known (%s): check the name, or give an "
				   "address",
				   uri->host, gai_strerror(rc));
	memset(addr, 0, sizeof(*addr));
	memcpy(addr, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return 0;
}
