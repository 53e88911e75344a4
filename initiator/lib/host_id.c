// SPDX-License-Identifier: BSD-3-Clause
/*
 * Who this host is to targets: /etc/nvme/hostnqn and hostid where nvme-cli put them, else a UUID
 * made from /etc/machine-id, the same at each start. Reads files, keeps nothing.
 */
#include "libleasehold/client.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define UUID_NQN "nqn.2014-08.org.nvmexpress:uuid:"

/* The first word of a file; false if there is none. */
static bool read_word(const char *path, char *word, size_t bytes)
{
	FILE *f = fopen(path, "re");
	bool ok = false;

	if (!f)
		return false;
	if (fgets(word, (int)bytes, f)) {
		word[strcspn(word, " \t\r\n")] = '\0';
		ok = word[0] != '\0';
	}
	(void)fclose(f);
	return ok;
}

/* Four rounds of FNV-1a with different seeds: not a secret, but not the machine-id itself either. */
static void hash_id(const char *text, uint8_t id[16])
{
	for (unsigned int round = 0; round < 4; round++) {
		uint32_t h = 2166136261u ^ (round * 0x9e3779b9u);

		for (const char *p = text; *p; p++)
			h = (h ^ (uint8_t)*p) * 16777619u;
		for (unsigned int i = 0; i < 4; i++)
			id[4 * round + i] = (uint8_t)(h >> 8 * i);
	}
	id[6] = (uint8_t)((id[6] & 0x0f) | 0x80); /* version 8: of our own making (RFC 9562) */
	id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

static void machine_uuid(uint8_t id[16])
{
	char word[NVME_NQN_BYTES];

	if (read_word("/etc/machine-id", word, sizeof(word)))
		hash_id(word, id);
	else
		uuid_random(id);
}

int host_identity(const char *wanted, char nqn[NVME_NQN_BYTES], uint8_t id[16], struct errtext *err)
{
	char word[NVME_NQN_BYTES], text[UUID_TEXT_BYTES];

	if (wanted && nqn_check(wanted, NVME_NQN_BYTES) < 0)
		return errtext_set(err, -EINVAL,
				   "\"%s\" is no host NQN: it looks like " UUID_NQN "…", wanted);
	if (!read_word("/etc/nvme/hostid", word, sizeof(word)) || uuid_parse(word, id) < 0)
		machine_uuid(id);
	if (wanted) {
		(void)snprintf(nqn, NVME_NQN_BYTES, "%s", wanted);
		return 0;
	}
	if (read_word("/etc/nvme/hostnqn", word, sizeof(word)) &&
	    nqn_check(word, sizeof(word)) == 0) {
		memcpy(nqn, word, NVME_NQN_BYTES);
		return 0;
	}
	uuid_format(id, text);
	(void)snprintf(nqn, NVME_NQN_BYTES, UUID_NQN "%s", text);
	return 0;
}
