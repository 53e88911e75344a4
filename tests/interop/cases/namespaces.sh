#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# exports added, resized and removed while the host writes to another: it sees each without being asked to look
# limit: 90
. "$E2E_CASES/../host.sh"
use d
make_file "$files/data" 8
make_file "$files/more" 4
add_export data "$files/data"
daemon_start
connect -i 1
disk=$(disk)
export_() { lh_ok export "$@" --socket "$tmp/d/admin.sock"; }
background writer "${helper_py[@]}" writer "$disk" 0:$((8 << 20)) "$tmp/acknowledged"
wait_for 20 "the writer at work" said writer '[1-9][0-9]* acknowledged'

export_ add more "$files/more" --nsid 7 --lba 512
more=$(disk 7)
expect "the new disk" "$(disk_bytes "$more") $(blockdev --getss "$more")" "$((4 << 20)) 512"
verified added "$more" --rw=randrw --bs=4k --size=512k --iodepth=8
export_ resize more 6M
wait_for 10 "the host told of the new size" eval '[ "$(disk_bytes "$more")" = $((6 << 20)) ]'
export_ resize more 2M
wait_for 10 "the host told of the smaller size" eval '[ "$(disk_bytes "$more")" = $((2 << 20)) ]'
export_ remove more
wait_for 10 "the disk gone" eval '[ ! -b "$more" ]'
client_alive writer || fail "the writer ended: $(tail -1 "$tmp/writer.out")"

# Removed under I/O: an error for who uses it, and only for them.
export_ add more "$files/more" --nsid 7
more=$(disk 7)
background gone "${helper_py[@]}" writer "$more" 0:$((2 << 20)) "$tmp/acknowledged2"
wait_for 20 "the second writer at work" said gone '[1-9][0-9]* acknowledged'
export_ remove more
wait_for 10 "the disk gone" eval '[ ! -b "$more" ]'
status=0
wait "${c_pid[gone]}" || status=$?
unset "c_pid[gone]"
[ $status -ne 0 ] || fail "the second writer did not notice that its disk is gone"
client_end writer TERM
disconnect
run "${helper_py[@]}" written "$files/data" "$tmp/acknowledged"
wait_serving
