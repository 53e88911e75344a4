// SPDX-License-Identifier: BSD-3-Clause
/*
 * Questions that are one command to the target: how far away it is, what else an export is called.
 * Callers' threads; keeps nothing.
 */
#include "libleasehold/admin.h"
#include "libleasehold/export.h"

#include <errno.h>
#include <string.h>

static int wait_live(struct lh_client *client, struct errtext *err)
{
	return client_wait_live(client, now_ns() + client->opt.reconnect_ms * NS_PER_MS, err);
}

int lh_ping(struct lh_client *client, uint64_t *ns, struct lh_error *err)
{
	struct errtext why;
	int rc = wait_live(client, &why);
	const uint64_t begun = now_ns();

	if (rc == 0)
		rc = admin_ping(client, &why);
	if (rc < 0)
		return client_fail(err, rc, &why);
	*ns = now_ns() - begun;
	return 0;
}

int lh_export_nguid(struct lh_export *ex, uint8_t nguid[16], struct lh_error *err)
{
	struct errtext why;
	int rc = wait_live(ex->client, &why);

	if (rc == 0)
		rc = admin_nguid(ex->client, ex->nsid, nguid, &why);
	return rc < 0 ? client_fail(err, rc, &why) : 0;
}
