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
count=$(rounds 4 2)
for ((i = 0; i < count; i++)); do
	[ $((i % 2)) = 0 ] && how=--block || how=--direct
	lh_ok export add b "$files/b" --socket "$socket"
	: >"$tmp/go"
	(while [ -e "$tmp/go" ]; do
		"$leasehold" put "$how" "$tmp/a" "$(target b)" >"$tmp/put.out" 2>&1 &
		echo $! >"$tmp/client.new"
		mv "$tmp/client.new" "$tmp/client"
		wait || true
	done) &
	loop=$!
	caught=no
	for _ in $(seq 20); do
		sleep 0.1
		client=$(cat "$tmp/client") || continue
		kill -STOP "$client" || continue
		[ "$(status '.clients | map(.io_queues) | add // 0')" -ge 1 ] && caught=yes && break
		kill -CONT "$client" 2>/dev/null || true
	done 2>/dev/null
	rm "$tmp/go"
	start=$(now_ns)
	lh_ok export remove b --socket "$socket"
	took=$((($(now_ns) - start) / 1000000))
	[ $took -lt $((7000 * slow)) ] || fail "$how: the removal took $took ms"
	if [ $caught = yes ]; then
		stopped=$((stopped + 1))
		kill -CONT "$client" || fail "the client that stood still is gone"
	fi
	wait "$loop"
	client_reports "$tmp/put.out"
	expect "exports" "$(status '.exports | length')" 1
	one_lock
	lh_ok get "$(target data)" "$tmp/back"
done
[ $stopped -ge $((count - 1)) ] || fail "only $stopped clients were caught at work"
