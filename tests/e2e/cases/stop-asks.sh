#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154 # variables of lib.sh
# a clean stop asks direct clients first: they confirm and release, nothing is lost; who is silent is fenced
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 150
use d
make_file "$files/data" 16
make_file "$files/more" 16
add_export data "$files/data"
add_export more "$files/more"
daemon_start
for round in 1 2; do
	client "writer$round" hold --write "$(target data)"
	client "reader$round" hold "$(target more)"
	wait_for 10 "a grant" said "writer$round" '\bgranted\b'
	wait_for 10 "a grant" said "reader$round" '\bgranted\b'
	sleep 0.3
	begun=$(now_ns)
	daemon_stop busy
	took=$((($(now_ns) - begun) / 1000000))
	[ $took -lt $((1500 * slow)) ] || fail "the stop took $took ms with clients that answer"
	for name in writer reader; do
		wait_for 5 "$name told" said "$name$round" '\btold generation 1\b'
		# A client that is slow may be cut before it hears that its Release was taken.
		[ "$slow" = 1 ] || continue
		wait_for 5 "$name released" said "$name$round" '\breleased generation 1\b'
		! said "$name$round" '\b(fenced|dead|unconfirmed)\b' || fail "$name says: $(grep -E 'fenced|dead|unconfirmed' "$tmp/$name$round.out" | head -1)"
	done
	daemon_start
	wait_for 20 "the writer granted again" said "writer$round" 'regranted'
	client_end "writer$round" INT
	client_end "reader$round" INT
	[ $round = 1 ] || daemon_stop busy
	[ "$slow" != 1 ] || expect_text "the summary" "$(cat "$tmp/writer$round.out")" ' 0 fences, .* 0 unconfirmed'
done

# The same of a file that is watched.
if helper can-watch "$files/data" 2>"$tmp/can"; then
	use w
	add_export data "$files/data" 'tenure = "watch";'
	daemon_start
	expect "tenure" "$(status .exports[0].tenure)" watch
	client watched hold --write "$(target data)"
	wait_for 10 "a grant" said watched '\bgranted\b'
	daemon_stop busy
	wait_for 5 "watched told" said watched '\btold generation 1\b'
	[ "$slow" != 1 ] || wait_for 5 "the release" said watched '\breleased generation 1\b'
	[ "$slow" != 1 ] || ! said watched '\b(fenced|dead|unconfirmed)\b' || fail "a client of a watched export says: $(grep -E 'fenced|dead|unconfirmed' "$tmp/watched.out" | head -1)"
	client_kill watched
	use d
fi

# One that does not answer is fenced at the deadline, and holds the stop up no longer.
daemon_start
client silent hold --write "$(target data)"
wait_for 10 "a grant" said silent '\bgranted\b'
suspend "${c_pid[silent]}"
begun=$(now_ns)
daemon_stop busy
took=$((($(now_ns) - begun) / 1000000))
[ $took -ge 800 ] || fail "the stop took $took ms: the client was not asked"
[ $took -lt $((4000 * slow)) ] || fail "the stop took $took ms with a client that is silent"
expect_text "the log" "$(log)" 'past the deadline: fenced'
client_kill silent
