#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# queues that share receives: one host stopped, one killed, a recall: the others are served
# limit: 180
count=$(rounds 6 3)
use d
for ((i = 0; i < count; i++)); do
	make_file "$tmp/in$i" 4
	truncate -s 4M "$files/data$i"
	add_export "data$i" "$files/data$i" 'prepare = "allocate";'
done
# A hole: by the file-system path, so through buffers, and slower.
truncate -s 256M "$files/hole" "$tmp/big"
add_export hole "$files/hole"
# As few as there may be, so that they do run out.
LEASEHOLD_TEST_SHARED_RECEIVES=33
set_option 'limits = { max_connections = 32; };'
daemon_start
shared || fail "the queues share no receives: $(log | grep -i 'share' | tail -1)"
all_served() {
	local i pids=()
	for ((i = 0; i < count; i++)); do
		"$leasehold" put --block "$tmp/in$i" "$(target "data$i")" >"$tmp/put$i.out" 2>&1 &
		pids+=($!)
	done
	for ((i = 0; i < count; i++)); do
		wait "${pids[$i]}" || fail "put $i failed: $(tail -1 "$tmp/put$i.out")"
	done
	for ((i = 0; i < count; i++)); do
		lh_ok get --block "$(target "data$i")" "$tmp/back$i"
		same_files "$tmp/in$i" "$tmp/back$i"
		same_files "$tmp/in$i" "$files/data$i"
	done
}
all_served

client stopped put --block "$tmp/big" "$(target hole)"
busy() { [ "$(stats .nvme_bytes_from_hosts)" -gt $((count * 4 + 4 << 20)) ]; }
wait_for 15 "data from the host" busy
suspend "${c_pid[stopped]}"
all_served
kill -CONT "${c_pid[stopped]}"
client killed put --block "$tmp/big" "$(target hole)"
sleep 0.2
client_kill killed
all_served
client_alive stopped && client_kill stopped
client holder hold "$(target data0)"
wait_for 10 "a grant" said holder '\bgranted\b'
resize "$files/data0" $((2 << 20))
wait_for 10 "the holder told" said holder '\btold\b'
client_end holder INT
resize "$files/data0" $((4 << 20))
wait_serving 0
all_served
expect "receives that could not be posted at once" "$(stats .nvme_shared_receives_unposted)" 0
