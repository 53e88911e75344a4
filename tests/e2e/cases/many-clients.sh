#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# 100 clients hold grants at a daemon with the default limits, which sleeps meanwhile; one recall reaches all
# limit: 120
count=100
[ "$fabric" = iwarp ] || count=10 # as many as an emulated machine carries in the time
serve 64
for ((i = 0; i < count; i++)); do
	client "c$i" hold --range "$((i << 17)):131072" "$(target data)"
done
all_hold() { grants_are "$count"; }
wait_for 30 "$count grants" all_hold
expect "clients" "$(status .exports[0].clients)" "$count"
sleep 1
before=$(helper cpu "$(pid)")
sleep 2
used=$(($(helper cpu "$(pid)") - before))
[ $used -le $((6 * slow)) ] || fail "with $count idle clients it used $((used * 10)) ms of CPU time in 2 s"
cat "$files/data" >"$tmp/copy"
wait_for 30 "all grants again" all_hold
expect "clients that were told" "$(status .exports[0].last_recall.clients)" "$count"
expect "clients that were fenced" "$(status .exports[0].last_recall.fenced_clients)" 0
for ((i = 0; i < count; i++)); do client_end "c$i" INT; done
