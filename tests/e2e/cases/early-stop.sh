#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# SIGTERM while the daemon is still starting is a stop like any other
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 60
use d
make_file "$files/data" 8
truncate -s 16M "$files/sparse"
add_export data "$files/data"
add_export sparse "$files/sparse" 'prepare = "allocate";'
write_config
stopped=0
for ms in 2 4 6 8 10 12 15 20 25 30 40 60; do
	"$daemon" --config "$tmp/d/conf" >"$tmp/d/log" 2>&1 &
	early=$! status=0
	sleep "$(printf '0.%03d' $((ms * slow)))"
	kill -TERM $early
	wait $early || status=$?
	# Before it listens to signals it dies by it.
	[ $status = 143 ] || expect "the exit status, stopped after $ms ms" "$status" 0
	! grep -E ' (error|warning) ' "$tmp/d/log" | grep -vq 'page cache\|is sparse' || fail "stopped after $ms ms: $(tail -1 "$tmp/d/log")"
	[ $status = 143 ] || stopped=$((stopped + 1))
done
[ $stopped -gt 0 ] || skip "each time it was over before it heard of signals"
nothing_left
