#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# direct writes on a queue that stalled and was lost never land over what was acknowledged after them
# needs: host
# why: the bytes are held back between the software fabric's two ends
# limit: 90
[ "$fabric" = iwarp ] || skip "an adapter's bytes do not pass by a proxy"
late=$bin/tests/e2e/late
[ -x "$late" ] || skip "there is no $late"
use d
make_file "$files/data" 4
add_export data "$files/data"
set_option 'recall_deadline_ms = 300;'
daemon_start
through=$(helper free-port "$addr")
"${python[@]}" "$lib/proxy.py" "$addr" "$through" "$(port)" "$tmp/proxy.sock" >"$tmp/proxy.out" 2>&1 &
c_pid[proxy]=$!
wait_for 10 "the proxy" said proxy '^ready'
for what in cut cut-all unanswered durable recall give-up stop; do
	for mode in '' replay; do
		status=0
		# shellcheck disable=SC2086 # no mode, no word
		timeout -k 5 $((30 * slow)) "$late" "$(target data)" "iwarp://$addr:$through/data" "$tmp/proxy.sock" \
			"$files/data" "$(pid)" $what $mode >"$tmp/late.out" 2>&1 || status=$?
		kill -CONT "$(pid)"
		client_reports "$tmp/late.out"
		[ $status -eq 0 ] || fail "late $what $mode ended with $status: $(tail -1 "$tmp/late.out")"
		wait_for 5 "its grants gone" grants_are 0
		wait_serving
	done
done
[ "$(wc -l <"$tmp/proxy.out")" = 1 ] || fail "the proxy says: $(tail -1 "$tmp/proxy.out")"
client_kill proxy
