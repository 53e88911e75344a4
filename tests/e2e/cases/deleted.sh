#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a file that is deleted, renamed or emptied while it is served: said; after a recall it is offline
# needs: host
# why: it is the file's and the daemon's, not the adapter's
# limit: 90
serve 4
socket=$tmp/d/admin.sock
warned() { status '.exports[0].warnings[]' | grep -q "$1"; }
state_is() { [ "$(export_state)" = "$1" ]; }
make_file "$tmp/a" 4

not_warned() { ! warned "$1"; }
# Emptied: what hosts are told is the size that it has; and no warning is of what was there before.
resize "$files/data" 1000000
wait_for 10 "a warning of the tail" warned 'has 1000000 bytes, not a multiple'
resize "$files/data" 0
empty() { [[ $(status .exports[0].why) == *"is empty"* ]]; }
wait_for 15 "that it is empty is said" empty
expect "the size of an empty file" "$(status .exports[0].size_bytes)" 0
not_warned 'has 1000000 bytes' || fail "an empty file is warned of for the bytes that it had"
lh_ok list "$(target)" -o json
expect "the same in the list" "$(jq -r '.[0] | "\(.state) \(.size_bytes)"' "$tmp/out")" "reacquiring 0"
truncate -s 4M "$files/data"
wait_serving
warned 'data is sparse: 4194304 of 4194304' || fail "no warning of a file that is one hole"
lh_ok put --block "$tmp/a" "$(target data)"
wait_for 10 "no warning of holes that were written to" not_warned 'is sparse'

# Renamed: it is served on.
mv "$files/data" "$files/moved"
wait_for 10 "a warning that its path is gone" warned 'data does not exist any more'
expect "the state of a renamed file" "$(export_state)" serving
lh_ok put "$tmp/a" "$(target data)"
mv "$files/moved" "$files/data"
wait_for 10 "no warning any more" not_warned 'does not exist'

# Deleted.
rm "$files/data"
wait_for 10 "the warning" warned 'data was deleted: what is written is gone when the export stops'
sleep 5
expect "how often the log says it" "$(log | grep -c 'was deleted')" 1
expect "the state of a deleted file" "$(export_state)" deleted
"$leasehold" export list --socket "$socket" >"$tmp/out"
expect_text "leasehold export list" "$(cat "$tmp/out")" '^ *data +1 +deleted'
lh_fails 'data was deleted, or another file took its place.*save what is in it.*export remove data' \
	export resize data 8M --socket "$socket"
lh_fails 'was deleted' export resize data 1M --socket "$socket"
expect "the state after a resize that was refused" "$(export_state)" deleted
expect "the size after it" "$(status .exports[0].size_bytes)" $((4 << 20))
lh_ok put "$tmp/a" "$(target data)"
lh_ok get "$(target data)" "$tmp/back"
same_files "$tmp/a" "$tmp/back"

# Whoever opens it yet has it; then there is nothing that could be had again.
link=$(find "/proc/$(pid)/fd" -lname "$files/data (deleted)" | head -1)
[ -n "$link" ] || fail "the daemon does not have the file open"
helper open "$link" >/dev/null
wait_for 15 "offline" state_is offline
expect_text "why" "$(status .exports[0].why)" 'data: it was deleted'
lh_fails 'offline' put "$tmp/a" "$(target data)"
lh_ok list "$(target)" -o json
expect "what is listed" "$(jq -r '.[0].state' "$tmp/out")" offline

# Something else can be served under the name.
lh_ok export remove data --socket "$socket"
make_file "$files/data" 4
lh_ok export add data "$files/data" --adopt --socket "$socket"
wait_serving
lh_ok put "$tmp/a" "$(target data)"
