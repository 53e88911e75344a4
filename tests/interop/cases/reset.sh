#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# controller reset and disconnect/reconnect under I/O: no error for the one, all acknowledged there after both
# limit: 90
. "$E2E_CASES/../host.sh"
use d
make_file "$files/data" 8
add_export data "$files/data"
daemon_start
connect -i 2
disk=$(disk)
acknowledged() { tail -1 "$tmp/writer.out" | sed -n 's/ acknowledged.*//p'; }
# It goes on: a hundred more than now.
goes_on() {
	local now
	now=$(acknowledged)
	wait_for 20 "the writer going on" eval '[ "$(acknowledged)" -ge '$((${now:-0} + 100))' ]'
}
background writer "${helper_py[@]}" writer "$disk" $((8 << 20)) "$tmp/acknowledged"
goes_on
for _ in 1 2 3; do
	run nvme reset "/dev/$ctrl"
	wait_for 20 "the controller live" is_live "$ctrl"
	goes_on
done
client_end writer TERM
quiet_kernel 'resetting controller|mapped [0-9/]+ default|creating [0-9]+ I/O'
run "${helper_py[@]}" written "$files/data" "$tmp/acknowledged"
wait_serving

# A disk taken away is an error for who writes, and nothing worse.
background gone "${helper_py[@]}" writer "$disk" $((8 << 20)) "$tmp/acknowledged2"
wait_for 20 "the writer at work" said gone '[1-9][0-9]* acknowledged'
disconnect
status=0
wait "${c_pid[gone]}" || status=$?
unset "c_pid[gone]"
[ $status -ne 0 ] || fail "the writer did not notice that its disk is gone"
wait_for 10 "the target rid of the controller" is_flat
connect -i 2
disk=$(disk)
verified again "$disk" --rw=randrw --bs=4k --size=1m --iodepth=16
disconnect
