#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# damaged memory is an error for the blocks that have it, and for nothing else; it is known, shown, not granted, and gone when written anew
# needs: host
# why: the damage is made by the daemon's own means; a key over it is the kernel's matter
# limit: 180
daemon=$bin/tests/e2e/poisoned
export LEASEHOLD_TEST_POISON=$tmp/poison
: >"$LEASEHOLD_TEST_POISON"
use d
for name in data other; do
	make_file "$shm/$name" 8
	cp "$shm/$name" "$tmp/$name"
	add_export $name "$shm/$name" 'lba = 512;'
done
daemon_start
socket=$tmp/d/admin.sock
field() { status ".exports[] | select(.name == \"$1\") | .$2"; }
bad() { field data 'bad_ranges | map("\(.offset)+\(.length)") | join(" ")'; }
bad_is() { [ "$(bad)" = "$1" ]; }
# damage [OFFSET LENGTH]...: that, and nothing else.
damage() {
	while [ $# -gt 0 ]; do
		echo "$shm/data $1 $2"
		shift 2
	done >"$tmp/poison.new"
	mv "$tmp/poison.new" "$LEASEHOLD_TEST_POISON"
	wait_for 5 "the damage in force" cmp -s "$LEASEHOLD_TEST_POISON" "$LEASEHOLD_TEST_POISON.done"
}
# reads HOW OFFSET LENGTH: right bytes.
reads() {
	lh_ok read "$1" "$(target data)" "$2" "$3"
	cmp -n "$3" --ignore-initial="$2":0 "$tmp/data" "$tmp/out" || fail "$1: other bytes at $2"
}
granted() { admin '{"v":1,"cmd":"grants","export":"data"}' | jq -r '.result.grants | map("\(.offset)+\(.length)") | sort | join(" ")'; }
granted_are() { [ "$(granted)" = "$1" ]; }
at=$(((1 << 20) + 8192))
end=$((8 << 20))
# Load elsewhere, all the time.
: >"$tmp/go"
make_file "$tmp/load" 2
elsewhere() {
	while [ -e "$tmp/go" ]; do
		"$leasehold" put "$1" "$tmp/load" "$(target other)" || return 1
		"$leasehold" get "$1" "$(target other)" "$tmp/back$1" || return 1
		cmp -n $((2 << 20)) "$tmp/load" "$tmp/back$1" || return 1
		echo round
	done
}
load=()
for how in --block --direct; do
	elsewhere $how >"$tmp/elsewhere$how.out" 2>&1 &
	load+=($!)
done
client holder hold "$(target data)"
wait_for 10 "a grant of all" granted_are "0+$end"
damage $at 4096

# Nobody knows yet. The first who reads it by block has an error for it, whatever becomes of his queue.
lh_fails 'unrecovered read error' read --block "$(target data)" $at 512
bad_is "$at+4096" || fail "what is known: $(bad)"
# Known, it is refused at once; around it all is well.
for how in --block --direct; do
	lh_fails 'unrecovered read error' read $how "$(target data)" $((at + 3584)) 512
	lh_fails 'unrecovered read error' read $how "$(target data)" $((at - 4096)) 8192
	reads $how $((at - 4096)) 4096
	reads $how $((at + 4096)) 4096
	reads $how 0 $at
	reads $how $((at + 4096)) $((end - at - 4096))
done
# Who held it was asked to let go of it, and holds the rest.
wait_for 10 "grants around the damage" granted_are "0+$at $((at + 4096))+$((end - at - 4096))"
said holder '\btold\b' || fail "the holder was not told: $(cat "$tmp/holder.out")"
expect_text "the log" "$(log)" "error.*data: $shm/data is damaged: its memory from byte $at on, 4096 bytes, cannot be read"
expect "how often the log says it" "$(log | grep -c 'is damaged: its memory')" 1
expect_text "its warning" "$(field data 'warnings | join(";")')" "4096 bytes of $shm/data, in 1 range"
[ "$(stats .media_errors)" -ge 5 ] || fail "media errors: $(stats .media_errors)"
client_end holder INT

# Writes: not of a part, nor of the whole, while the memory takes none; elsewhere as ever.
head -c 4096 /dev/urandom >"$tmp/page"
lh_fails 'write fault' write --block "$(target data)" $at <"$tmp/page"
bad_is "$at+4096" || fail "what is known after a write that failed: $(bad)"
# A long one, which would go straight into the file's memory, has an end, too.
head -c 262144 /dev/urandom >"$tmp/long"
lh_fails 'write fault' write --block "$(target data)" $((at - 131072)) <"$tmp/long"
lh write --block "$(target data)" $((at + 4096)) <"$tmp/page" || fail "a write beside it: $(cat "$tmp/err")"
# A recall, and the next generation: it is served again, and the damage is still known.
generation=$(field data generation)
cmp -n 4096 "$shm/data" "$tmp/data" || fail "a local read"
again() { [ "$(field data generation)" -gt "$generation" ] && [ "$(field data state)" = serving ]; }
wait_for 15 "the next generation" again
bad_is "$at+4096" || fail "what is known after a recall: $(bad)"
expect "how often the log says it" "$(log | grep -c 'is damaged: its memory')" 1
# The memory takes writes again: a part of a page does not mend it, the whole page does.
damage
lh write --block "$(target data)" $at < <(head -c 512 "$tmp/page") || fail "a write of a part: $(cat "$tmp/err")"
bad_is "$at+4096" || fail "what is known after a write of a part: $(bad)"
lh write --block "$(target data)" $at <"$tmp/page" || fail "a write of the whole page: $(cat "$tmp/err")"
bad_is "" || fail "what is known after a write of the whole: $(bad)"
lh_ok read --block "$(target data)" $at 4096
cmp "$tmp/page" "$tmp/out" || fail "other bytes than those that mended it"
cp "$shm/data" "$tmp/data" && wait_serving
client holder hold "$(target data)"
wait_for 10 "a grant of all again" granted_are "0+$end"

# A client that reads it by its own key loses the queue, not its program; and then it is known.
damage $at 4096 $((4 << 20)) 8192
lh read --direct --no-fallback "$(target data)" $((4 << 20)) 8192 && fail "it was read by its key"
wait_for 10 "the damage that a client met" bad_is "$((4 << 20))+8192"
lh_fails 'unrecovered read error' read --direct "$(target data)" $((4 << 20)) 8192
wait_for 10 "grants around it" granted_are "0+$((4 << 20)) $(((4 << 20) + 8192))+$((end - (4 << 20) - 8192))"
client_end holder INT
# Mended by who owns the file: then all of it is looked at anew.
damage
generation=$(field data generation)
dd if="$tmp/data" of="$shm/data" bs=4096 seek=1024 skip=1024 count=2 conv=notrunc status=none
wait_for 15 "the next generation" again
bad_is "" || fail "what is known after the file was mended: $(bad)"
lh_ok get --block "$(target data)" "$tmp/back"
same_files "$tmp/data" "$tmp/back"

rm "$tmp/go"
for p in "${load[@]}"; do
	wait "$p" || fail "a client failed: $(tail -qn1 "$tmp"/elsewhere*.out)"
done
client_reports "$tmp"/elsewhere*.out
for how in --block --direct; do
	[ "$(grep -c round "$tmp/elsewhere$how.out")" -ge 2 ] || fail "$how elsewhere came to nothing: $(tail -1 "$tmp/elsewhere$how.out")"
done
