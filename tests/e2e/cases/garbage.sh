#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# peers that send nonsense, half a message, or close in the middle: served on, nothing grows
# limit: 150
serve 4
if [ "$fabric" = iwarp ]; then
	for seed in 1 2 3; do helper garbage "$addr" "$(port)" $seed 60; done
fi
for seed in 1 2 3; do
	timeout $((60 * slow)) "$rogue" "$fabric" "$addr" "$(port)" "$(status .daemon.nqn)" 1 garbage $seed 30 >"$tmp/rogue.out" 2>&1 ||
		fail "the peer that misbehaves could not: $(tail -1 "$tmp/rogue.out")"
done
# Half-open connections do not keep others out, and are dropped in time.
if [ "$fabric" = iwarp ]; then
	for n in $(seq 20); do
		(timeout $((30 * slow)) nc "$addr" "$(port)" < <(printf 'MPA ID Req F'; sleep $((30 * slow))) >/dev/null 2>&1 || true) &
		half[n]=$!
	done
	sleep 1
fi
make_file "$tmp/a" 4
lh_ok put --direct "$tmp/a" "$(target data)"
lh_ok get --block "$(target data)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
if [ "$fabric" = iwarp ]; then
	wait_for 15 "half-open connections dropped" is_flat
	wait "${half[@]}" || true
fi
daemon_flat
lines=$(log | wc -l)
[ "$lines" -lt 2000 ] || fail "$lines lines of log from some hundred connections"
