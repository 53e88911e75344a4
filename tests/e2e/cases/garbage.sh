#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# peers that send nonsense, half a message, or close in the middle: served on, nothing grows
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 150
serve 4
if [ "$fabric" = iwarp ]; then
	for seed in 1 2 3; do helper garbage "$addr" "$(port)" $seed 60; done
fi
for seed in 1 2 3; do
	rogue garbage $seed 30 >"$tmp/rogue.out" 2>&1 || fail "the peer that misbehaves could not: $(tail -1 "$tmp/rogue.out")"
done
# Half-open connections do not keep others out, and are dropped in time.
if [ "$fabric" = iwarp ]; then
	helper_start half half-open "$addr" "$(port)" 20 $((60 * slow))
	wait_for 10 "half-open connections" grep -q open "$tmp/half.out"
fi
make_file "$tmp/a" 4
lh_ok put --direct "$tmp/a" "$(target data)"
lh_ok get --block "$(target data)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
wait_for 15 "half-open connections dropped" is_flat
if [ "$fabric" = iwarp ]; then
	client_alive half || fail "the half-open connections were given up by the peer, not by the daemon"
	client_kill half
fi
lines=$(log | wc -l)
[ "$lines" -lt 2000 ] || fail "$lines lines of log from some hundred connections"
