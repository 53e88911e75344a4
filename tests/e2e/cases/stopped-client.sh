#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a client that is stopped is fenced at the deadline; continued, it recovers by itself
# limit: 90
use d
make_file "$files/data" 16
add_export data "$files/data"
set_option 'recall_deadline_ms = 700;'
daemon_start
client writer hold --write --allocate "$(target data)"
wait_for 10 "the first grant" said writer '\bgranted\b'
suspend "${c_pid[writer]}"
sleep 0.2
read -r begun ended <<<"$(helper truncate "$files/data" $((8 << 20)))"
took=$(((ended - begun) / 1000000))
[ $took -ge 600 ] || fail "truncate returned after $took ms, before the deadline, with a client that cannot have answered"
[ $took -le $((700 + 2000 * slow)) ] || fail "truncate took $took ms with a deadline of 700 ms"
expect "fenced clients" "$(status .exports[0].last_recall.fenced_clients)" 1
wait_serving
sleep 0.5
expect "size" "$(size_of "$files/data")" $((8 << 20))
kill -CONT "${c_pid[writer]}"
wait_for 30 "the client fenced" said writer '\bfenced\b'
wait_for 30 "the client granted again" said writer '\bregranted\b'
! said writer '\breleased\b' || fail "a client that was fenced says that it released: $(grep released "$tmp/writer.out")"
sleep 0.5
client_alive writer || fail "the client gave up"
expect "size" "$(size_of "$files/data")" $((8 << 20))
grants=$(status .exports[0].grants)
[ "$grants" -gt 0 ] || fail "it holds no grant"
client_end writer INT
