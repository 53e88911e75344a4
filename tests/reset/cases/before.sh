#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# hosts and clients write, and the machine is reset in the midst of it: there is no end to this one
# limit: 120
results=/run/results
head -c 12M /dev/zero >"$files/data"
sync -f "$files"
use d
add_export data "$files/data" "registration = \"$LEASEHOLD_RESET_RUNG\";"
daemon_start
expect "the rung" "$(status '.exports[0].rungs[0].rung')" "$LEASEHOLD_RESET_RUNG"
: >"$tmp/witness.out"
"$bin/tests/reset/reset-witness" write "$(target data)" $results >"$tmp/witness.out" 2>&1 &
c_pid[witness]=$!
for way in block durable persist; do wait_for 20 "$way" said witness "^$way has begun"; done
sleep "$LEASEHOLD_RESET_AFTER"
client_alive witness || fail "the witness ended: $(tail -1 "$tmp/witness.out")"
# Its place, for whoever comes after.
echo "${files##*/}" >$results/place
sync $results/place
echo b >/proc/sysrq-trigger
sleep 60
fail "the machine was not reset"
