#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# --no-fallback: what cannot be reached directly is an error at once that names holes and the way out
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 120
use d
make_file "$files/half" 4
truncate -s 8M "$files/half"
add_export half "$files/half"
daemon_start
wait_serving
make_file "$tmp/a" 8

# refused REGEX ARG...: within a few seconds, with exit status 1, and by no block command.
refused() {
	local regex=$1 status=0 begun=$SECONDS
	shift
	lh "$@" || status=$?
	expect "the exit status of leasehold $*" "$status" 1
	[ $((SECONDS - begun)) -le $((8 * slow)) ] || fail "leasehold $* took $((SECONDS - begun)) s"
	expect_text "leasehold $*" "$(cat "$tmp/err")" 'holes'
	expect_text "leasehold $*" "$(cat "$tmp/err")" "$regex"
	! grep -q 'going by block' "$tmp/err" || fail "leasehold $*: $(cat "$tmp/err")"
	client_reports "$tmp/err"
}
lh_ok get --block "$(target half)" "$tmp/before"
refused '4194304 of 8388608 bytes.*offset 4194304' put --no-fallback "$tmp/a" "$(target half)"
refused 'give --allocate, or leave out --no-fallback' put --no-fallback "$tmp/a" "$(target half)"
refused '4194304 of 8388608 bytes' get --no-fallback "$(target half)" "$tmp/b"
refused 'that is: leave out --no-fallback' get --no-fallback "$(target half)" "$tmp/b"
refused 'that is: leave out --no-fallback' read --no-fallback "$(target half)" 4M 4096
refused 'no byte of the range' read --no-fallback "$(target half)" 4M 4096
refused '4096 of 8192 bytes' read --no-fallback "$(target half)" $(((4 << 20) - 4096)) 8192
refused 'give --allocate' hold --no-fallback --seconds 1 "$(target half)"
echo hello >"$tmp/hello"
write_hello() { refused "$1" write --no-fallback "$(target half)" 4M <"$tmp/hello"; }
write_hello 'give --allocate, or leave out --no-fallback'
lh_ok get --block "$(target half)" "$tmp/b"
same_files "$tmp/b" "$tmp/before"

# What is backed goes, and without the option all of it does, with words that are so.
lh_ok read --no-fallback "$(target half)" 0 4096
cmp -s "$tmp/out" <(head -c 4096 "$tmp/before") || fail "what is backed reads otherwise"
lh_ok get "$(target half)" "$tmp/b"
same_files "$tmp/b" "$tmp/before"
expect_text "what get says" "$(cat "$tmp/out")" '4\.0 MiB directly, 4\.0 MiB by block commands.*\(4 operations went by block commands, where nothing was granted\)$'
! grep -qE 'recall|meanwhile' "$tmp/out" || fail "there was no recall: $(cat "$tmp/out")"
lh_ok put --no-fallback --allocate --verify "$tmp/a" "$(target half)"
lh_ok get --no-fallback "$(target half)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"

# A file that somebody has open: the reason, and not "no connection".
helper_start opener hold "$files/half" $((60 * slow))
wait_for 10 "the file open" said opener open
for verb in "put --no-fallback $tmp/a $(target half)" "read --no-fallback $(target half) 0 4096"; do
	status=0
	# shellcheck disable=SC2086 # words
	lh $verb || status=$?
	expect "the exit status of leasehold $verb of a file that is open" "$status" 1
	expect_text "leasehold $verb" "$(cat "$tmp/err")" 'not granted within 10 s'
done
client_kill opener
wait_serving
