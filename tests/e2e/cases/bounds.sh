#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a grant works for its range, its access and its client only (a client that is not ours tries)
# limit: 60
serve 4
cp "$files/data" "$tmp/before"
wait_serving
rogue beyond >"$tmp/beyond.out" 2>&1 || fail "beyond: $(grep -v refused "$tmp/beyond.out" | tail -1)"
expect "refusals" "$(grep -c '^refused' "$tmp/beyond.out")" 11
rogue read-only >"$tmp/ro.out" 2>&1 || fail "read-only: $(tail -1 "$tmp/ro.out")"
rogue_start owner idle 30
wait_for 10 "a grant" grep -q granted "$tmp/owner.out"
read -r _ _ address rkey _ <"$tmp/owner.out"
rogue steal "$address" "$rkey" >"$tmp/thief.out" 2>&1 || fail "another client's key worked: $(tail -1 "$tmp/thief.out")"
client_kill owner
wait_for 5 "the owner's grant gone" grants_are 0
daemon_stop
same_files "$files/data" "$tmp/before"
