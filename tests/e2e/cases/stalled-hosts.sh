#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# hosts that stop in the middle of writes: others connect and read at once, write soon, and the stopped ones are cut
# limit: 60
[ "$fabric" = iwarp ] || skip "over verbs the adapter answers for a process that is stopped"
count=14
use d
# Holes: by the file-system path, so through buffers.
truncate -s 512M "$files/data"
make_file "$files/other" 1
truncate -s 16M "$files/other"
add_export data "$files/data"
add_export other "$files/other"
set_option 'limits = { transfer_timeout_ms = 4000; };'
daemon_start
truncate -s 512M "$tmp/big"
for ((i = 0; i < count; i++)); do client "h$i" put --block "$tmp/big" "$(target data)"; done
busy() { [ "$(stats .nvme_bytes_from_hosts)" -gt $((count << 20)) ]; }
wait_for 15 "data from the hosts" busy
for ((i = 0; i < count; i++)); do suspend "${c_pid[h$i]}"; done
sleep 0.3
begun=$(now_ns)
lh_ok read --block "$(target other)" 0 4096
took=$((($(now_ns) - begun) / 1000000))
[ $took -le $((1500 * slow)) ] || fail "with $count stopped hosts a read of another export took $took ms"
dd if=/dev/urandom of="$tmp/small" bs=64K count=4 status=none
begun=$(now_ns)
lh_ok put --block --offset 8M "$tmp/small" "$(target other)"
took=$((($(now_ns) - begun) / 1000000))
[ $took -le $((9000 * slow)) ] || fail "with $count stopped hosts a write of 256 KiB to another export took $took ms"
cut() { grep -q 'is cut: its host has answered no transfer' "$tmp/$D/log"; }
wait_for 10 "stopped hosts cut, and the log saying so" cut
for ((i = 0; i < count; i++)); do kill -CONT "${c_pid[h$i]}"; done
sleep 0.3
for ((i = 0; i < count; i++)); do client_alive "h$i" && client_kill "h$i"; done
lh_ok read --block "$(target other)" 0 4096
