#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# libleasehold with three threads on one handle: what is read is what was written, over recalls, fences and restarts
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 240
use d
make_file "$files/data" 24
add_export data "$files/data"
set_option 'recall_deadline_ms = 700;'
daemon_start
stress=$bin/initiator/stress/lh-stress
[ -x "$stress" ] || skip "there is no $stress"

# stress NAME ARG...: in the background; how it ended is for stress_end.
stress() {
	local name=$1
	shift
	"$stress" "$(target data)" "$@" >"$tmp/$name.out" 2>&1 &
	c_pid["$name"]=$!
	wait_for 20 "its grant" eval '[ "$(status .exports[0].grants)" -gt 0 ]'
}
counted() { sed -n "s/.*\b$2=\([0-9]*\).*/\1/p" "$tmp/$1.out"; }
recall() { head -c 1 "$files/data" >/dev/null; }

# Recalls that are answered: nothing is lost, nothing fenced.
stress recalls 5 3
for _ in 1 2 3 4 5 6; do
	sleep 0.6
	recall
done
client_end recalls
[ "$(counted recalls recalls)" -ge 3 ] || fail "there were only $(counted recalls recalls) recalls"
expect "deaths in answered recalls" "$(counted recalls dead)" 0
expect "fences in answered recalls" "$(counted recalls fenced)" 0

# Fences: what dies unconfirmed is reported and written again; with copies, by the library itself.
for how in '' replay no-fallback; do
	# shellcheck disable=SC2086
	stress fences 6 3 $how
	for _ in 1 2 3; do
		sleep 1
		client_alive fences || break
		suspend "${c_pid[fences]}"
		recall
		kill -CONT "${c_pid[fences]}"
	done
	client_end fences
	[ "$(counted fences fenced)" -ge 1 ] || fail "nobody was fenced"
	[ "$how" != replay ] || expect "deaths with replay" "$(counted fences dead)" 0
done

# Fenced, and no grant to be had for long: what died is made good by block commands.
for _ in 1 2 3; do
	stress blocked 4 3 lazy
	sleep 1.5
	suspend "${c_pid[blocked]}"
	helper hold "$files/data" $((8 * slow)) >"$tmp/opener.out" &
	opener=$!
	wait_for 10 "the fence" eval '[ "$(status .exports[0].last_recall.fenced_clients)" = 1 ]'
	kill -CONT "${c_pid[blocked]}"
	client_end blocked
	kill -0 $opener || fail "the file is not open any more: this proves nothing"
	wait $opener
	wait_serving
	[ "$(counted blocked dead)" -eq 0 ] || break
done
[ "$(counted blocked dead)" -ge 1 ] || fail "nothing died unconfirmed: this proves nothing"

# kill -9 of the daemon, and a new one.
stress restart 8 3
for _ in 1 2; do
	sleep 1
	# The new daemon counts generations from 1 again: what was recalled before must not matter.
	recall
	wait_serving
	daemon_kill
	daemon_start
	wait_for 10 "granted after the restart" eval '[ "$(status .exports[0].grants)" -gt 0 ]'
done
client_end restart
[ "$(counted restart reconnects)" -ge 1 ] || fail "it never connected again"
wait_for 10 "its grants gone" grants_are 0
