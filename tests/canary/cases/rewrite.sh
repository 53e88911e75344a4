#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154 # variables of lib.sh
# rewritten by a local process: what it wrote is read from remote, directly or by block commands
# limit: 600
. "$E2E_CASES/../storm.sh"
# Behind the arena, where nobody else writes.
serve_arena
start_loads
half=$((seconds / 2))
for how in --direct --block; do
	seconds=$half arena=$((20 << 20)) arena_bytes=$((64 << 10)) \
		take rewrite 2 "$leasehold" read "$how" "$(target data)" $((20 << 20)) $((64 << 10))
done
end_loads
daemon_stop
