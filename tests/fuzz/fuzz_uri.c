// SPDX-License-Identifier: BSD-3-Clause
/* Targets as people write them. What passes has a host, a name or none, and can be written again. */
#include "fuzz.h"
#include "../../initiator/lib/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct errtext err = {""};
	struct target_uri uri;
	char address[300];

	if (!text)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	memset(&uri, 0xa5, sizeof(uri));
	if (target_uri_parse(text, &uri, &err) == 0) {
		assert(uri.host[0] && memchr(uri.host, 0, sizeof(uri.host)));
		assert(memchr(uri.export_name, 0, sizeof(uri.export_name)));
		assert(uri.nqn[0] && memchr(uri.nqn, 0, sizeof(uri.nqn)) && uri.port != 0);
		target_uri_address(&uri, address, sizeof(address));
		assert(strchr(address, ':'));
	} else {
		assert(err.text[0]);
	}
	free(text);
	return 0;
}
