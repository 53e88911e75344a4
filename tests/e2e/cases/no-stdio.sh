#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# started without standard input, output or error, neither program takes a descriptor of its own for it
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 60
serve 1
cp "$files/data" "$tmp/before"
wait_serving
# run CLOSED ARG...: with timeout's descriptors; its status.
run() {
	local closed=$1 status=0
	shift
	(
		case $closed in *0*) exec 0<&- ;; esac
		case $closed in *1*) exec 1>&- ;; esac
		case $closed in *2*) exec 2>&- ;; esac
		exec "$leasehold" "$@"
	) </dev/null >"$tmp/out" 2>"$tmp/err" || status=$?
	echo $status
}
expect "write without standard input" "$(run 0 write "$(target data)" 0)" 1
expect_text "it" "$(cat "$tmp/err")" 'standard input: it is not open'
expect "read without standard output" "$(run 1 read "$(target data)" 0 4096)" 1
expect_text "it" "$(cat "$tmp/err")" 'standard output: it is not open'
expect "list without standard output" "$(run 1 list "$(target)")" 1
expect_text "it" "$(cat "$tmp/err")" 'standard output cannot be written'
for how in --direct --block; do
	expect "get without any" "$(run 012 get $how "$(target data)" "$tmp/b")" 1 # its summary is not out
	same_files "$tmp/b" "$tmp/before"
	expect "read without the others" "$(run 02 read $how "$(target data)" 0 1048576)" 0
	same_files "$tmp/out" "$tmp/before"
done
expect "read without any" "$(run 012 read "$(target data)" 0 4096)" 1
daemon_stop
same_files "$files/data" "$tmp/before"

# The daemon, without a log: it serves, and its numbers 0 to 2 are nobody else's.
: >"$tmp/d/log"
"$daemon" --config "$tmp/d/conf" <&- >&- 2>&- &
d_pid["$D"]=$!
wait_for 20 "the daemon ready" admin '{"v":1,"cmd":"status"}'
for fd in 0 1 2; do
	expect "descriptor $fd of the daemon" "$(readlink "/proc/$(pid)/fd/$fd")" /dev/null
done
wait_serving
d_fds["$D"]=$(count_fds)
d_tasks["$D"]=$(count_tasks)
lh_ok get "$(target data)" "$tmp/b"
same_files "$tmp/b" "$tmp/before"
