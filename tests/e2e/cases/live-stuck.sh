#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# export remove ends in its time while hosts stand still with commands and grants on it
# limit: 150
serve 4
socket=$tmp/d/admin.sock
make_file "$files/b" 64
make_file "$tmp/a" 64
stopped=0
for how in --block --direct --block --direct; do
	lh_ok export add b "$files/b" --socket "$socket"
	: >"$tmp/go"
	(while [ -e "$tmp/go" ]; do
		"$leasehold" put $how "$tmp/a" "$(target b)" >"$tmp/put.out" 2>&1 || true
	done) &
	loop=$!
	sleep 0.3
	client=''
	for _ in $(seq 100); do
		client=$(pgrep -n -P "$loop" -x leasehold || true)
		[ -n "$client" ] && [ "$(status '.clients | map(.io_queues) | add')" -ge 1 ] && kill -STOP "$client" 2>/dev/null && break
		client=''
		sleep 0.01
	done
	rm "$tmp/go"
	start=$(now_ns)
	lh_ok export remove b --socket "$socket"
	took=$((($(now_ns) - start) / 1000000))
	[ $took -lt $((7000 * slow)) ] || fail "$how: the removal took $took ms"
	if [ -n "$client" ]; then
		stopped=$((stopped + 1))
		kill -CONT "$client" 2>/dev/null || true
	fi
	wait "$loop"
	client_reports "$tmp/put.out"
	expect "exports" "$(status '.exports | length')" 1
	[ "$(find "$(run_dir)" -name 'lock-*' | wc -l)" = 1 ] || fail "a lock file is left"
	lh_ok get "$(target data)" "$tmp/back"
done
[ $stopped -ge 2 ] || fail "only $stopped clients were caught at work"
