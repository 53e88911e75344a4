#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# unshare = on-acquire: what a clone shares is copied when a client wants it directly; never: it is not
# limit: 240
. "$E2E_LIB/blocks.sh"
bytes=$((8 << 20)) hole=$((2 << 20))

clone() { cp --reflink=always "$files/data" "$files/$1" 2>"$tmp/cp.err"; }
shared() { status .exports[0].shared_bytes; }
granted() { "$leasehold" status --socket "$tmp/d/admin.sock" --grants --json | jq '[.grants[].length] | add'; }
all_granted() { [ "$(granted)" = $bytes ]; }
# mostly FILE: its bytes before the hole.
mostly() { cmp -s -n $bytes "$files/$1" "$2" || fail "$1 is not what it should be: $(cmp -n $bytes "$files/$1" "$2" 2>&1)"; }

# begin OPTIONS: data, a clone of it, and its bytes in $tmp/a; a hole at the end.
begin() {
	use d
	make_file "$files/data" $((bytes >> 20))
	truncate -s $((bytes + hole)) "$files/data"
	sync "$files/data"
	cp "$files/data" "$tmp/a"
	add_export data "$files/data" "$@"
	daemon_start
	clone before || fail "it cannot be cloned: $(cat "$tmp/cp.err")"
	wait_serving
	expect "shared_bytes" "$(shared)" $bytes
}
end() {
	daemon_stop
	rm -rf "${tmp:?}/d" "$files/data" "$files/before" "$files/after"
}

make_file "$files/data" 1
if ! clone before; then
	use d
	add_export data "$files/data" 'unshare = "on-acquire";'
	daemon_refuses 'unshare = "on-acquire" cannot be so of .*does not unshare'
	skip "this file system does not clone: $(cat "$tmp/cp.err")"
fi
rm "$files/data" "$files/before"
make_file "$tmp/b" $((bytes >> 20))

# Who reads directly has it unshared, too: its key must see what others write from now on.
begin 'unshare = "on-acquire";'
blocks_of "$files/before" >"$tmp/before"
client reader hold --range 0:$bytes "$(target data)"
wait_for 20 "grants of all that was shared" all_granted
expect "shared_bytes" "$(shared)" 0
expect "unshared_bytes" "$(stats .unshared_bytes)" $bytes
expect "hole_bytes" "$(status .exports[0].hole_bytes)" $hole
client_end reader INT
# Nothing but directly: the clone keeps its bytes, and both their blocks.
lh_ok put --direct --no-fallback "$tmp/b" "$(target data)"
mostly before "$tmp/a"
mostly data "$tmp/b"
blocks_of "$files/data" >"$tmp/after"
expect "blocks in common" "$(shared_blocks "$tmp/before" "$tmp/after")" 0
wait_serving
# Again and again, under a client that writes: each clone stays what it was when it was made.
client writer hold --write --range 0:$bytes "$(target data)"
wait_for 20 "grants" all_granted
for _ in $(seq "$(rounds 5 2)"); do
	rm -f "$files/after"
	clone after
	cp "$files/after" "$tmp/then"
	wait_for 20 "grants of all of it again" all_granted
	sleep 0.2
	mostly after "$tmp/then"
done
client_end writer INT
mostly before "$tmp/a"
# But for what its block commands, and the kernel, parted beforehand.
[ "$(stats .unshared_bytes)" -gt $bytes ] || fail "nothing was unshared under the client that writes"
end

# never, which is the default.
begin
lh_fails 'shared' hold --seconds 1 "$(target data)"
lh_fails 'shared' put --direct --no-fallback "$tmp/b" "$(target data)"
lh_ok put --block "$tmp/b" "$(target data)"
mostly before "$tmp/a"
mostly data "$tmp/b"
expect "unshared_bytes" "$(stats .unshared_bytes)" 0
end

# What does not fit is not backed, and nothing else.
use d
set_option 'allocate_reserve_percent = 99;'
begin 'unshare = "on-acquire";'
lh_fails 'shared' hold --seconds 1 "$(target data)"
expect_text "the log" "$(log)" 'no space on the file system to unshare the blocks of .*allocate_reserve_percent = 99'
expect "the state" "$(export_state)" serving
expect "shared_bytes" "$(shared)" $bytes
lh_ok put "$tmp/b" "$(target data)"
mostly before "$tmp/a"
mostly data "$tmp/b"
end

# Nor where there is no space at all; when there is, it is had. Only the VM has so small a file system.
[ -n "$vm" ] || exit 0
use d
set_option 'allocate_reserve_percent = 0;'
begin 'unshare = "on-acquire";'
fill_up
lh_fails 'shared' hold --seconds 1 "$(target data)"
expect_text "the log" "$(log)" 'no space on the file system to unshare the blocks of'
expect "the state" "$(export_state)" serving
rm "$files/filler"
sync -f "$files"
lh_ok put --direct --no-fallback "$tmp/b" "$(target data)"
mostly before "$tmp/a"
mostly data "$tmp/b"
end
