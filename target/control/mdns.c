// SPDX-License-Identifier: BSD-3-Clause
/*
 * The discovery service on the local network (NVMe TP 8009): a service file in Avahi's folder, which
 * its daemon watches. iWARP is announced as _nvme-disc._tcp, RoCE as _nvme-disc._udp. Control loop.
 */
#include "control/control.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_BYTES 16384

struct service_file {
	char text[TEXT_BYTES];
	size_t used;
	unsigned int services;
	struct {
		uint16_t port;
		bool iwarp;
	} seen[CONTROL_MAX_LISTENERS];
};

/* One file for each subsystem; an NQN has characters that no file name should have. */
static int file_name(const struct daemon_config *c, const char *prefix, const char *suffix,
		     char *path, size_t bytes)
{
	char nqn[NVME_NQN_BYTES];
	int n;

	(void)snprintf(nqn, sizeof(nqn), "%s", c->nqn);
	for (char *p = nqn; *p; p++) {
		if (!isalnum((unsigned char)*p) && *p != '.' && *p != '-')
			*p = '_';
	}
	n = snprintf(path, bytes, "%s/%sleasehold-%s%s", c->mdns_dir, prefix, nqn, suffix);
	return n < 0 || (size_t)n >= bytes ? -ENAMETOOLONG : 0;
}

static bool is_loopback(const struct sockaddr_storage *addr)
{
	if (addr->ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)addr)->sin6_addr);
	return ntohl(((const struct sockaddr_in *)addr)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

static void append(struct service_file *f, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void append(struct service_file *f, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(f->text + f->used, sizeof(f->text) - f->used, fmt, ap);
	va_end(ap);
	/* At most CONTROL_MAX_LISTENERS services of a few hundred bytes. */
	assert(n >= 0 && (size_t)n < sizeof(f->text) - f->used);
	f->used += (size_t)n;
}

static void add_service(const struct nvme_listener_status *status, void *arg)
{
	struct service_file *f = arg;
	const bool iwarp = status->provider == NVMF_RDMA_IWARP;
	const uint16_t port =
		ntohs(status->bound.ss_family == AF_INET6
			      ? ((const struct sockaddr_in6 *)&status->bound)->sin6_port
			      : ((const struct sockaddr_in *)&status->bound)->sin_port);

	if (status->removed || is_loopback(&status->bound) ||
	    f->services == CONTROL_MAX_LISTENERS ||
	    (!iwarp && status->provider != NVMF_RDMA_ROCE_V2))
		return;
	/* The address is the host's own in DNS: listeners that differ in it alone are one service. */
	for (unsigned int i = 0; i < f->services; i++) {
		if (f->seen[i].port == port && f->seen[i].iwarp == iwarp)
			return;
	}
	f->seen[f->services].port = port;
	f->seen[f->services].iwarp = iwarp;
	f->services++;
	append(f,
	       "  <service>\n"
	       "    <type>_nvme-disc.%s</type>\n"
	       "    <port>%u</port>\n"
	       "    <txt-record>p=%s</txt-record>\n"
	       "    <txt-record>nqn=%s</txt-record>\n"
	       "  </service>\n",
	       iwarp ? "_tcp" : "_udp", port, iwarp ? "iwarp" : "roce", NVME_DISCOVERY_NQN);
}

/* Whole or not at all: Avahi reads it as soon as it is there. */
static int write_file(const struct daemon_config *c, const struct service_file *f)
{
	char path[PATH_MAX + 300], temporary[PATH_MAX + 300];
	int rc = file_name(c, "", ".service", path, sizeof(path));
	int fd;

	if (rc == 0)
		rc = file_name(c, ".", ".new", temporary, sizeof(temporary));
	if (rc)
		return rc;
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	rc = write_full(fd, f->text, f->used);
	if (rc == 0 && fchmod(fd, 0644) != 0)
		rc = -errno;
	(void)close(fd);
	if (rc == 0 && rename(temporary, path) != 0)
		rc = -errno;
	if (rc)
		(void)unlink(temporary);
	return rc;
}

int mdns_publish(const struct daemon_config *c, struct nvme_target *target, struct errtext *err)
{
	struct service_file f = {.used = 0};
	int rc;

	if (!c->mdns) {
		mdns_withdraw(c);
		return 0;
	}
	append(&f, "<?xml version=\"1.0\" standalone='no'?>\n"
		   "<!DOCTYPE service-group SYSTEM \"avahi-service.dtd\">\n"
		   "<!-- Written by leaseholdd, which removes it when it stops. -->\n"
		   "<service-group>\n"
		   "  <name replace-wildcards=\"yes\">Leasehold on %%h</name>\n");
	nvme_target_each_listener(target, add_service, &f);
	append(&f, "</service-group>\n");
	if (f.services == 0)
		return errtext_set(err, -ENOENT,
				   "mdns: no listener can be announced: all are on loopback "
				   "addresses or InfiniBand");
	rc = write_file(c, &f);
	return rc ? errtext_set(err, rc,
				"mdns: no service file can be written in %.200s: %s; is Avahi "
				"installed, and mdns_dir its folder?",
				c->mdns_dir, strerror(-rc))
		  : 0;
}

void mdns_withdraw(const struct daemon_config *c)
{
	char path[PATH_MAX + 300];

	if (file_name(c, "", ".service", path, sizeof(path)) == 0)
		(void)unlink(path);
}
