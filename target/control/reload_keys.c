// SPDX-License-Identifier: BSD-3-Clause
/*
 * The keys that are no list: which of them differ, and which can change while the daemon runs. A key is
 * live if it is looked at anew each time it counts, by the control loop alone, and nothing was made
 * for its old value: threads, buffers, what a host was told when it connected. Pure.
 */
#include "control/reload_keys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum value_type {
	VALUE_UINT,
	VALUE_U64,
	VALUE_BOOL,
	VALUE_NOT, /* a bool that the file has the other way round */
	VALUE_TEXT,
	VALUE_WORD, /* one of `words`, an enum of theirs */
};

struct value {
	const char *name;
	enum value_type type;
	size_t offset, bytes;
	const char *const *words;
	bool live;
};

static const char *const level_words[] = {"error", "warning", "notice", "info", "debug"};
static const char *const crc_words[] = {"auto", "on", "off"};
static const char *const memory_words[] = {"any", "pinned", "odp", "none"};

#define AT(field) offsetof(struct daemon_config, field), sizeof(((struct daemon_config *)0)->field)
#define LIVE	  .live = true

static const struct value values[] = {
	{"nqn", VALUE_TEXT, AT(nqn)},
	{"runtime_dir", VALUE_TEXT, AT(runtime_dir)},
	{"state_dir", VALUE_TEXT, AT(state_dir)},
	{"admin_socket", VALUE_TEXT, AT(admin_socket)},
	{"log_level", VALUE_WORD, AT(log_level), level_words, LIVE},
	{"reactors", VALUE_UINT, AT(reactors)},
	{"worker_threads", VALUE_UINT, AT(worker_threads)},
	{"busy_poll_us", VALUE_UINT, AT(busy_poll_us)},
	{"recall_deadline_ms", VALUE_UINT, AT(recall_deadline_ms)},
	{"grant_expiry_ms", VALUE_UINT, AT(grant_expiry_ms)},
	{"max_grants_per_client", VALUE_UINT, AT(max_grants_per_client)},
	{"max_grants_per_export", VALUE_UINT, AT(max_grants_per_export)},
	{"max_grants_per_host", VALUE_UINT, AT(max_grants_per_host), LIVE},
	{"max_granted_bytes_per_client", VALUE_U64, AT(max_granted_bytes_per_client), LIVE},
	{"max_registrations_per_second", VALUE_UINT, AT(max_registrations_per_second), LIVE},
	{"max_registrations_per_adapter", VALUE_UINT, AT(max_registrations_per_adapter)},
	{"max_registered_bytes_per_adapter", VALUE_U64, AT(max_registered_bytes_per_adapter)},
	{"registration_retry_ms", VALUE_UINT, AT(registration_retry_ms), LIVE},
	{"allocate_reserve_percent", VALUE_UINT, AT(allocate_reserve_percent), LIVE},
	{"allow_any_host", VALUE_BOOL, AT(allow_any_host), LIVE},
	{"mdns", VALUE_BOOL, AT(mdns), LIVE},
	{"mdns_dir", VALUE_TEXT, AT(mdns_dir), LIVE},
	{"metrics_address", VALUE_TEXT, AT(metrics_address)},
	{"metrics_port", VALUE_UINT, AT(metrics_port)},
	{"ana_transition_s", VALUE_UINT, AT(limits.ana_transition_s)},
	{"iwarp.crc", VALUE_WORD, AT(iwarp.crc), crc_words},
	{"iwarp.memory", VALUE_WORD, AT(iwarp.memory), memory_words},
	{"iwarp.windows", VALUE_NOT, AT(iwarp.no_windows)},
	{"limits.queue_depth", VALUE_UINT, AT(limits.queue_depth)},
	{"limits.max_io_queues", VALUE_UINT, AT(limits.max_io_queues)},
	{"limits.max_controllers", VALUE_UINT, AT(limits.max_controllers)},
	{"limits.controllers_per_host", VALUE_UINT, AT(limits.controllers_per_host), LIVE},
	{"limits.max_connections", VALUE_UINT, AT(limits.max_connections), LIVE},
	{"limits.inline_bytes", VALUE_UINT, AT(limits.inline_bytes)},
	{"limits.mdts_bytes", VALUE_UINT, AT(limits.mdts_bytes)},
	{"limits.first_command_ms", VALUE_UINT, AT(limits.first_command_ms)},
	{"limits.transfer_timeout_ms", VALUE_UINT, AT(limits.transfer_timeout_ms)},
	{"limits.bounce_bytes", VALUE_U64, AT(limits.bounce_bytes)},
	{"limits.shared_receives", VALUE_UINT, AT(limits.shared_receives)},
};

static const void *field_of(const struct daemon_config *c, const struct value *v)
{
	return (const char *)c + v->offset;
}

static bool same(const struct value *v, const struct daemon_config *a,
		 const struct daemon_config *b)
{
	if (v->type == VALUE_TEXT)
		return strcmp(field_of(a, v), field_of(b, v)) == 0;
	return memcmp(field_of(a, v), field_of(b, v), v->bytes) == 0;
}

static void put_value(const struct value *v, const struct daemon_config *c, char *text, size_t size)
{
	const void *field = field_of(c, v);

	switch (v->type) {
	case VALUE_UINT:
		(void)snprintf(text, size, "%u", *(const uint32_t *)field);
		break;
	case VALUE_U64:
		(void)snprintf(text, size, "%llu", (unsigned long long)*(const uint64_t *)field);
		break;
	case VALUE_BOOL:
	case VALUE_NOT:
		(void)snprintf(text, size, "%s",
			       *(const bool *)field == (v->type == VALUE_BOOL) ? "true" : "false");
		break;
	case VALUE_TEXT:
		(void)snprintf(text, size, "\"%s\"", (const char *)field);
		break;
	case VALUE_WORD:
		(void)snprintf(text, size, "\"%s\"", v->words[*(const int *)field]);
		break;
	}
}

/* Shared receives were made for so many connections: there must be more of them than that. */
static bool is_live(const struct value *v, const struct daemon_config *now,
		    const struct daemon_config *wanted)
{
	if (v->offset == offsetof(struct daemon_config, limits.max_connections) &&
	    now->limits.shared_receives > 0 &&
	    wanted->limits.max_connections >= now->limits.shared_receives)
		return false;
	return v->live;
}

void reload_keys_each(const struct daemon_config *now, const struct daemon_config *wanted,
		      void (*fn)(const struct reload_key_change *change, void *arg), void *arg)
{
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		const struct value *v = &values[i];
		struct reload_key_change change = {.name = v->name};

		if (same(v, now, wanted))
			continue;
		change.live = is_live(v, now, wanted);
		put_value(v, now, change.now, sizeof(change.now));
		put_value(v, wanted, change.wanted, sizeof(change.wanted));
		fn(&change, arg);
	}
}

void reload_keys_take(struct daemon_config *now, const struct daemon_config *wanted)
{
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		const struct value *v = &values[i];

		if (is_live(v, now, wanted))
			memcpy((char *)now + v->offset, field_of(wanted, v), v->bytes);
	}
}

int reload_key_find(const char *name, bool *live)
{
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		if (strcmp(values[i].name, name) != 0)
			continue;
		*live = values[i].live;
		return 0;
	}
	return -ENOENT;
}
