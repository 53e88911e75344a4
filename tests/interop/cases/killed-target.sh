#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# the target killed and started again under I/O: the host reconnects, nothing acknowledged is lost
# limit: 120
. "$E2E_CASES/../host.sh"
use d
truncate -s 8M "$files/data"
add_export data "$files/data" 'prepare = "allocate";'
daemon_start
connect -i 2
disk=$(disk)
acknowledged() { tail -1 "$tmp/writer.out" | sed -n 's/ acknowledged.*//p'; }
goes_on() {
	local now
	now=$(acknowledged)
	wait_for 20 "the writer going on" eval '[ "$(acknowledged)" -ge '$((${now:-0} + 100))' ]'
}
background writer "${helper_py[@]}" writer "$disk" 0:$((8 << 20)) "$tmp/acknowledged"
goes_on
for receives in '' 1100; do
	daemon_kill
	# The second time its queues share their receives, of which the host has seen nothing yet.
	LEASEHOLD_TEST_SHARED_RECEIVES=$receives
	sleep 0.5
	client_alive writer || fail "the writer did not wait for the target: $(tail -1 "$tmp/writer.out")"
	daemon_start
	wait_for 20 "the controller live" is_live "$ctrl"
	goes_on
done
shared || fail "the queues share no receives: $(log | grep -i 'share' | tail -1)"
client_end writer TERM
disconnect
daemon_flat
daemon_stop
run "${helper_py[@]}" written "$files/data" "$tmp/acknowledged"
