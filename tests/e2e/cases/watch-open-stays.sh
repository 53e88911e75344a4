#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# tenure = watch: a local program that keeps the file open does not keep remote clients away
# needs: host
# why: it is the same in the emulated machine (watch-truncate runs there), and takes minutes
# limit: 180
serve_watch 16
client writer hold --write "$(target data)"
wait_for 10 "the first grant" said writer '\bgranted\b'
helper_start opener hold "$files/data" 600
wait_for 10 "the open" grep -q open "$tmp/opener.out"
wait_serving
wait_for 10 "granted while it is open" says_at_least writer 1 '\bregranted\b'
sleep 0.5
expect "recalls" "$(status .exports[0].recalls)" 1
wait_for 10 "the client's grant" eval '[ "$(status .exports[0].grants)" -gt 0 ]'
# Its descriptor is seen: what it does through it is a recall.
timeout $((10 * slow)) cat "$(fd_of "${c_pid[opener]}" "$files/data")" >/dev/null || fail "cat failed"
[ "$(status .exports[0].recalls)" -ge 2 ] || fail "reading it was no recall"
wait_serving
# A restart needs the file for itself, once; it says who has it.
client_end writer INT
daemon_stop
daemon_refuses "data: $files/data is open or mapped elsewhere: by .*pid ${c_pid[opener]}"
client_kill opener
daemon_start
lh_ok read "$(target data)" 0 4096
# Two at once, one added while the daemon runs; and a lease beside.
make_file "$files/b" 4
make_file "$files/c" 4
lh_ok export add b "$files/b" --tenure watch --socket "$tmp/d/admin.sock"
lh_ok export add c "$files/c" --tenure lease --socket "$tmp/d/admin.sock"
expect "tenure of b" "$(status .exports[1].tenure)" watch
expect "tenure of c" "$(status .exports[2].tenure)" lease
helper_start opener hold "$files/b" 600
wait_for 10 "the open" grep -q open "$tmp/opener.out"
for n in 1 2 0; do wait_serving $n; done
expect "recalls of data" "$(status .exports[0].recalls)" 0
expect "recalls of b" "$(status .exports[1].recalls)" 1
expect "recalls of c" "$(status .exports[2].recalls)" 0
# Removed: nobody asks any more.
asks=$(stats .watch_asks)
lh_ok export remove b --socket "$tmp/d/admin.sock"
timeout $((10 * slow)) cat "$files/b" >/dev/null
expect "asked after it was removed" "$(stats .watch_asks)" "$asks"
lh_ok export remove c --socket "$tmp/d/admin.sock"
client_kill opener
