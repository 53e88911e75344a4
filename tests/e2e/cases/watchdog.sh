#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# the service manager hears that the daemon is well as long as it is: not while a thread stands that others need
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 120
use d
make_file "$files/data" 4
add_export data "$files/data"
set_option 'reactors = 1; worker_threads = 2;'
export NOTIFY_SOCKET=$tmp/notify WATCHDOG_USEC=1000000
helper_start notified notified "$NOTIFY_SOCKET"
wait_for 10 "the service manager" test -S "$NOTIFY_SOCKET"

beats() { grep -c '^WATCHDOG=1$' "$tmp/notified.out" || true; }
# beats_in SECONDS
beats_in() {
	local before
	before=$(beats)
	sleep "$1"
	echo $(($(beats) - before))
}
# beating SECONDS WHEN: two a second are sent, and this machine may be slow. silent SECONDS WHEN: none.
beating() {
	local n
	n=$(beats_in "$1")
	[ "$n" -ge "$1" ] && [ "$n" -le $((2 * $1 + 1)) ] || fail "$n beats in $1 s $2"
}
silent() { expect "beats in $1 s $2" "$(beats_in "$1")" 0; }
more_than() { [ "$(beats)" -gt "$1" ]; }
beats_again() { wait_for 5 "a beat $1" more_than "$(beats)"; }
thread() { grep -lx "$1" "/proc/$(pid)"/task/*/comm | head -1 | cut -d/ -f5 | grep .; }

daemon_start
beating 4 "of a daemon that is idle"

# The whole of it.
suspend "$(pid)"
silent 3 "of one that is stopped"
kill -CONT "$(pid)"
beats_again "of one that goes on"

# One thread. stands NAME WORDS
stands() {
	helper_start ice freeze "$(thread "$1")" 4
	wait_for 5 "$1 stopped" test -s "$tmp/ice.out"
	said ice '^frozen' || skip "a thread cannot be stopped here: $(cat "$tmp/ice.out")"
	sleep 1
	silent 2 "while $1 stands"
	client_end ice
	beats_again "after $1 went on"
	expect_text "the log" "$(log)" "$2 has not answered for [0-9]+ ms: the service manager is not told"
	expect_text "the log" "$(log)" "$2 answers again"
}
stands reactor/0 'reactor 0'
if helper can-watch "$files/data" 2>"$tmp/can"; then
	daemon_stop
	sed -i 's/}$/tenure = "watch"; }/' "$tmp/d/exports"
	daemon_start
	stands watch 'the listener of watches'
fi

# A worker that sleeps in the file system is what workers are for. Here in open(2) of a FIFO, where an export's
# identity is to be written first …
sleeper() {
	fifo=$tmp/$D/state/exports/.late.$(pid).tmp
	mkfifo "$fifo"
	make_file "$files/late-$D" 1
	client adder export add late "$files/late-$D" --socket "$tmp/$D/admin.sock"
}
# Fails if nobody sleeps there.
wake() {
	timeout 5 cat "$fifo" >"$tmp/late" || fail "no worker slept in open(2)"
	[ -s "$tmp/late" ] || fail "what was written to the FIFO is empty"
	wait "${c_pid[adder]}" && fail "an identity was kept in a FIFO"
	unset "c_pid[adder]"
}
sleeper
beating 6 "while one of two workers sleeps"
wake
daemon_stop

# … but when none is left nothing gets on that needs one: they are given eight beats.
use e
make_file "$files/other" 4
add_export other "$files/other"
set_option 'worker_threads = 1;'
daemon_start
sleeper
beating 2 "while the only worker has just begun to sleep"
sleep 4
silent 3 "while the only worker sleeps"
expect_text "the log" "$(log)" 'every worker has not answered for 4[0-9]{3} ms'
wake
beats_again "after the worker woke"
daemon_stop

# Nobody reads: the daemon goes on, and so does who asks it.
use f
make_file "$files/third" 4
add_export third "$files/third"
export WATCHDOG_USEC=100000
daemon_start
suspend "${c_pid[notified]}"
sleep 4
timeout 5 "$leasehold" status --socket "$tmp/f/admin.sock" >"$tmp/out" 2>&1 || fail "the daemon hangs: $(cat "$tmp/out")"
kill -CONT "${c_pid[notified]}"
beats_again "when the manager reads again"
daemon_stop
client_kill notified
