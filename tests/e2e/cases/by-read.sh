#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# where a read behind direct writes makes them durable, libleasehold confirms by reads, and keeps its promises
# limit: 180
# On DAX, over verbs, an administrator may declare it; elsewhere a daemon of ours only says so.
declared='inbound_writes = "persistent";'
if [ -z "$vm" ] || [ "$fabric" != verbs ]; then
	declared='' daemon=$bin/tests/e2e/declared
	[ -x "$daemon" ] || skip "there is no $daemon"
fi
use d
make_file "$files/data" 8
add_export data "$files/data" "$declared"
set_option 'recall_deadline_ms = 300;'
daemon_start
lh_ok list "$(target)" -o json
expect "the level" "$(jq -r '.[0].durability' "$tmp/out")" read-after-write

for what in by-read durable durable-recall replay replay-order dead dead-close dead-meanwhile made-good forgotten unhold; do
	status=0
	timeout -k 5 $((50 * slow)) "$bin/tests/e2e/promises" "$(target data)" "$files/data" $what >"$tmp/$what.out" 2>&1 || status=$?
	client_reports "$tmp/$what.out"
	[ $status -eq 0 ] || fail "promises $what ended with $status: $(tail -1 "$tmp/$what.out")"
	wait_for 5 "its grants gone" grants_are 0
	wait_serving 0
done

# So does fio's engine.
engine=$bin/bench/fio/fio-leasehold.so
commits() {
	lh_ok stats --socket "$tmp/$D/admin.sock" -o json
	jq '[.. | objects | .nvme_commits? // empty] | add' "$tmp/out"
}
if [ -f "$engine" ] && command -v fio >/dev/null; then
	before=$(commits)
	(
		cd "$tmp" # fio leaves files where it runs
		timeout -k 5 $((40 * slow)) fio --output="$tmp/fio.json" --output-format=json --name=by-read \
			--ioengine=external:"$engine" --uri="$(target data)" --rw=write --bs=4k --size=1m \
			--persist=read-after-write >"$tmp/fio.out" 2>&1
	) || fail "fio ended with $?: $(head -1 "$tmp/fio.out")"
	expect "what fio wrote" "$(sed -n '/^{/,$p' "$tmp/fio.json" | jq '.jobs[0].write.total_ios')" 256
	expect "commits of fio's" "$(($(commits) - before))" 0
	wait_for 5 "its grants gone" grants_are 0
fi

# A read that is not answered confirms nothing.
if [ "$fabric" = iwarp ]; then
	through=$(helper free-port "$addr")
	"${python[@]}" "$lib/proxy.py" "$addr" "$through" "$(port)" "$tmp/proxy.sock" >"$tmp/proxy.out" 2>&1 &
	c_pid[proxy]=$!
	wait_for 10 "the proxy" said proxy '^ready'
	for mode in '' replay; do
		status=0
		# shellcheck disable=SC2086 # no mode, no word
		timeout -k 5 $((30 * slow)) "$bin/tests/e2e/late" "$(target data)" "iwarp://$addr:$through/data" "$tmp/proxy.sock" \
			"$files/data" "$(pid)" unanswered $mode >"$tmp/late.out" 2>&1 || status=$?
		client_reports "$tmp/late.out"
		[ $status -eq 0 ] || fail "late unanswered $mode ended with $status: $(tail -1 "$tmp/late.out")"
		wait_for 5 "its grants gone" grants_are 0
		wait_serving 0
	done
	client_kill proxy
fi
