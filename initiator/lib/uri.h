/* SPDX-License-Identifier: BSD-3-Clause */
/* Targets as people write them: iwarp://HOST[:PORT][/EXPORT][?nqn=…&crc=…]. Pure, any thread. */
#ifndef LEASEHOLD_URI_H
#define LEASEHOLD_URI_H

#include "util/util.h"
#include "wire/wire.h"

#include <sys/socket.h>

enum target_fabric {
	TARGET_IWARP,
	TARGET_RDMA,
};

enum target_crc {
	TARGET_CRC_UNSET,
	TARGET_CRC_AUTO,
	TARGET_CRC_ON,
	TARGET_CRC_OFF,
};

struct target_uri {
	enum target_fabric fabric;
	char host[256]; /* without brackets */
	uint16_t port;
	char export_name[LH_NAME_BYTES]; /* "" if there is none */
	char nqn[NVME_NQN_BYTES];	 /* LH_DEFAULT_NQN if not given */
	enum target_crc crc;
};

/** Parses `text`. Returns 0, or -EINVAL with a sentence that quotes what is wrong. */
MUST_CHECK int target_uri_parse(const char *text, struct target_uri *uri, struct errtext *err);

/** "127.0.0.1:4420", "[::1]:4420". */
void target_uri_address(const struct target_uri *uri, char *text, size_t bytes);

/** Looks HOST up (blocks). Returns 0 or -errno with a sentence. */
MUST_CHECK int target_uri_resolve(const struct target_uri *uri, struct sockaddr_storage *addr,
				  struct errtext *err);

#endif
