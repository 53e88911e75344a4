/* SPDX-License-Identifier: BSD-3-Clause */
/* What the room wants from a TCP socket, and what the socket says of the way to the peer. */
#include "iwarp_internal.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#define KEEPALIVE_IDLE_S  10 /* a silent peer is asked for a sign of life */
#define KEEPALIVE_EVERY_S 3
#define KEEPALIVE_PROBES  3
#define USER_TIMEOUT_MS	  60000 /* data not acknowledged for so long: the peer is gone */
#define LARGE_ULPDU	  (64512 + sizeof(struct iw_tagged) - IW_MPA_LENGTH) /* 17 for a MiB */
#define MIN_SEGMENT_BYTES 512

void iw_socket_tune(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{IPPROTO_TCP, TCP_NODELAY, 1},
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
		{IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_EVERY_S},
		{IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
		{IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS},
	};

	/* Each is a wish; a local socket has none of them. */
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		(void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
				 sizeof(options[i].value));
}

/* The address as IPv6, with IPv4 mapped into it. */
static struct in6_addr plain_address(const struct sockaddr_storage *ss)
{
	struct in6_addr a = {0};

	if (ss->ss_family == AF_INET6)
		return ((const struct sockaddr_in6 *)ss)->sin6_addr;
	a.s6_addr[10] = a.s6_addr[11] = 0xff;
	memcpy(&a.s6_addr[12], &((const struct sockaddr_in *)ss)->sin_addr, 4);
	return a;
}

bool iw_socket_is_loopback(int fd)
{
	struct sockaddr_storage peer = {0}, mine = {0};
	socklen_t peer_len = sizeof(peer), mine_len = sizeof(mine);
	struct in6_addr a, b;

	if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) ||
	    getsockname(fd, (struct sockaddr *)&mine, &mine_len))
		return false;
	if (peer.ss_family == AF_UNIX)
		return true;
	/* Both addresses ours also means that it does not leave the machine. */
	a = plain_address(&peer);
	b = plain_address(&mine);
	return IN6_IS_ADDR_LOOPBACK(&a) || (IN6_IS_ADDR_V4MAPPED(&a) && a.s6_addr[12] == 127) ||
	       memcmp(&a, &b, sizeof(a)) == 0;
}

uint32_t iw_socket_mulpdu(int fd, bool large)
{
	int mss = 0;
	socklen_t len = sizeof(mss);

	if (large)
		return LARGE_ULPDU;
	if (getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, &len) || mss < MIN_SEGMENT_BYTES)
		mss = MIN_SEGMENT_BYTES;
	/* A unit without padding fills at most one segment (RFC 5044 §4.5). */
	mss = (int)min_u64((uint64_t)mss, IW_MPA_MAX_ULPDU);
	return (((uint32_t)mss - IW_MPA_CRC_BYTES) & ~3u) - IW_MPA_LENGTH;
}
