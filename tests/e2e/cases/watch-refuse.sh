#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# tenure = watch, refuse = while-granted: local operations get EBUSY while there are grants, and only then
# needs: host
# why: it is the same in the emulated machine (watch-truncate runs there), and takes minutes
# limit: 180
# busy COMMAND...: it must fail, since the file is busy.
busy() {
	local said
	said=$(LC_ALL=C "$@" 2>&1 >/dev/null) && fail "$* succeeded while there is a grant"
	expect_text "$1" "$said" 'Device or resource busy'
}
serve_watch 32 'refuse = "while-granted";'
full=$((32 << 20))
cat "$files/data" >/dev/null || fail "cat failed without grants"
wait_serving
rogue_start idle idle 600
wait_for 10 "a grant" grep -q granted "$tmp/idle.out"
recalls=$(status .exports[0].recalls)
busy cat "$files/data"
busy truncate -s 4096 "$files/data"
busy fallocate -p -o 4096 -l 4096 "$files/data"
expect "size" "$(size_of "$files/data")" $full
expect "recalls" "$(status .exports[0].recalls)" "$recalls"
expect "refused" "$(stats .watch_refused)" 3
! grep -q told "$tmp/idle.out" || fail "the client was told to let go"
client_kill idle
wait_for 10 "its grants gone" grants_are 0
truncate -s $((full / 2)) "$files/data"
wait_for 10 "the new size" eval '[ "$(status .exports[0].size_bytes)" = '$((full / 2))' ]'
wait_serving
# What we do ourselves is not refused.
client reader hold "$(target data)"
wait_for 10 "a grant" said reader '\bgranted\b'
lh_ok export resize data $full --socket "$tmp/d/admin.sock"
wait_serving
expect "size" "$(size_of "$files/data")" $full
client_end reader INT
# It makes no sense for a lease, and that is said.
lh_fails 'refuse = "while-granted" needs tenure = "watch"' export add b "$files/data" --refuse while-granted --socket "$tmp/d/admin.sock"
