#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# what is said of an export that is offline or removed is so, to who asks anew and to who is at it
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 120
serve 4
make_file "$files/b" 4
socket=$tmp/d/admin.sock
make_file "$tmp/a" 4

# Removed under clients that use it: they say that, and not a number.
client holder hold --range 2M:2M "$(target data)"
client writer hold --write --range 0:1M "$(target data)"
wait_for 10 "a hold" said holder granted
wait_for 10 "a writer" said writer granted
lh_ok export remove data --socket "$socket"
status=0
wait "${c_pid[writer]}" || status=$?
unset "c_pid[writer]"
expect "the exit status of a writer whose export is removed" "$status" 1
expect_text "the writer" "$(tail -1 "$tmp/writer.out")" '"data" is not served any more: the export was removed or taken offline on the target'
! grep -qE 'invalid namespace|00bh' "$tmp/writer.out" || fail "the writer says: $(cat "$tmp/writer.out")"
sleep 1
! grep -qE 'invalid namespace|00bh' "$tmp/holder.out" || fail "the holder says: $(cat "$tmp/holder.out")"
client_end holder INT

# Nothing is served. It is not said that nothing is configured: it is.
nothing() {
	lh_ok list "$(target)"
	expect "what list says" "$(cat "$tmp/out")" "no exports are served now: there may be none, or they are offline (leasehold status on the target's host tells)"
	lh_ok list -o json "$(target)"
	expect "the list" "$(jq -c . "$tmp/out")" '[]'
	for verb in "get $(target data) $tmp/b" "put $tmp/a $(target data)" "list $(target data)" "hold $(target data)"; do
		# shellcheck disable=SC2086 # words
		lh_fails 'serves no export now, "data" neither: it may be offline, removed, or never configured \(leasehold status' $verb
		! grep -q 'add one' "$tmp/err" || fail "$verb: $(cat "$tmp/err")"
	done
}
nothing
lh_ok export add b "$files/b" --socket "$socket"
lh_fails 'serves no export "data" now; it serves b \(what is offline' get "$(target data)" "$tmp/b"
daemon_stop

# Another file under the configured name: the daemon is up, the export offline.
mv "$files/data" "$files/old"
make_file "$files/data" 4
daemon_start
expect "the state of a file that was replaced" "$(status '.exports[0].state')" offline
nothing
