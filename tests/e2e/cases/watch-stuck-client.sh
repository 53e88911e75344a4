#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# tenure = watch: a client that is stopped is fenced at the deadline, and the landlord goes on
# needs: host
# why: it is the same in the emulated machine (watch-truncate runs there), and takes minutes
# limit: 180
use d
set_option 'recall_deadline_ms = 700;'
serve_watch 16
client writer hold --write --allocate "$(target data)"
wait_for 10 "the first grant" said writer '\bgranted\b'
suspend "${c_pid[writer]}"
sleep 0.2
# Several wait at once, one is killed meanwhile; all others are let go on, none before the deadline. Who
# opens is first: he wants all, and whoever named a part before him would have the client fenced sooner.
helper_start two open "$files/data"
wait_for 10 "the recall" eval '[ "$(status .exports[0].recalls)" -ge 1 ]'
seen=$(status .exports[0].last_recall.seen_ns)
helper_start one pwrite "$files/data" 0 4096 'one '
helper_start three truncate "$files/data" $((8 << 20))
helper_start dies pwrite "$files/data" 8192 4096 'dies '
sleep 0.1
client_kill dies
for n in one two three; do
	client_end $n
	read -r begun ended <"$tmp/$n.out"
	took=$(((ended - begun) / 1000000))
	[ $took -le $((700 + 2000 * slow)) ] || fail "$n waited for $took ms with a deadline of 700 ms"
	early=$(((seen + 700000000 - ended) / 1000))
	[ $early -le 0 ] || fail "$n went on $early µs before the deadline, with a client that cannot have answered"
done
expect_text "the log" "$(log)" '1 clients did not release generation 1 in 700 ms'
expect "operations that got EBUSY" "$(stats .watch_expired)" 0
wait_serving
sleep 0.5
expect "size" "$(size_of "$files/data")" $((8 << 20))
kill -CONT "${c_pid[writer]}"
wait_for 30 "the client fenced" said writer '\bfenced\b'
wait_for 30 "the client granted again" said writer '\bregranted\b'
client_alive writer || fail "the client gave up"
client_end writer INT
