#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# export add, list, resize, remove while the daemon runs; refusals in the words of the start; adopt
# needs: host
# why: what it asks is the daemon's, not the adapter's (live-under-load and live-resize run there), and it takes minutes
# limit: 120
serve 8
socket=$tmp/d/admin.sock
export_() { lh_ok export "$@" --socket "$socket"; }
export_fails() {
	local regex=$1
	shift
	lh_fails "$regex" export "$@" --socket "$socket"
}
listed() { "$leasehold" export list -o json --socket "$socket" | jq -r ".[] | select(.name == \"$1\") | .$2"; }

# Add: it is there at once, by block and direct.
make_file "$files/b" 4
export_ add b "$files/b" --lba 512
expect "nsid of b" "$(listed b nsid)" 2
expect "its blocks" "$(listed b lba_bytes)" 512
expect "its state" "$(listed b state)" serving
lh_ok list "$(target)"
expect_text "leasehold list" "$(cat "$tmp/out")" '\bb\b'
make_file "$tmp/a" 4
lh_ok put --direct "$tmp/a" "$(target b)"
lh_ok get --block "$(target b)" "$tmp/back"
same_files "$tmp/a" "$tmp/back"
uuid=$(listed b uuid)

# Refused, as at the start, and nothing is changed.
before=$(status .exports | jq -c 'map(.name)')
fds=$(count_fds)
mkfifo "$files/fifo"
: >"$files/empty"
export_fails 'name "b" is used already' add b "$files/b"
export_fails 'served already by this daemon as export b' add c "$files/b"
export_fails 'does not exist' add c "$files/nothing"
export_fails 'is a directory' add c "$files"
export_fails 'neither a regular file nor a device-dax device' add c "$files/fifo"
export_fails 'is empty' add c "$files/empty"
export_fails 'nsid 2 is used already by "b"' add c "$files/empty" --nsid 2
export_fails 'lba: expected 512 or 4096, not 1024' add c "$files/empty" --lba 1024
export_fails 'prepare: expected one of "none", "allocate", not "much"' add c "$files/empty" --prepare much
export_fails 'unknown key; known here: .*deallocate' add c "$files/empty" --set colour=red
export_fails 'letters, digits' add a/b "$files/empty"
export_fails 'there is no export "c"' remove c
export_fails 'there is no export "c"' resize c 1M
export_fails 'wants NAME, and PATH' add
export_fails 'say its path' add c
export_fails 'only export add' remove b --lba 512
make_file "$files/c" 1
helper_start opener hold "$files/c" 60
wait_for 10 "the file open" said opener open
export_fails 'is open or mapped elsewhere: by python' add c "$files/c"
export_ add c "$files/c" --busy wait
expect_text "the note" "$(cat "$tmp/err")" 'is open or mapped elsewhere: by python.*waiting until it is closed'
expect "state of a busy one" "$(listed c state)" starting
export_ remove c
kill "${c_pid[opener]}"
wait "${c_pid[opener]}" 2>/dev/null || true
unset 'c_pid[opener]'
expect "the exports" "$(status .exports | jq -c 'map(.name)')" "$before"
[ "$(count_fds)" -le "$fds" ] || fail "refusals cost descriptors: $fds, now $(count_fds)"

# Garbage on the socket.
for bad in '{"v":1,"cmd":"export add"}' '{"v":1,"cmd":"export add","export":[]}' '{"v":1,"cmd":"export add","export":{"name":"x"}}' \
	'{"v":1,"cmd":"export add","export":{"name":"x","path":{"a":1}}}' '{"v":1,"cmd":"export add","export":{"a b":1}}' \
	'{"v":1,"cmd":"export add","adopt":1,"export":{"name":"x","path":"/x"}}' '{"v":1,"cmd":"export remove","name":7}' \
	'{"v":1,"cmd":"export remove","name":"../x"}' '{"v":1,"cmd":"export resize","name":"b"}' '{"v":1,"cmd":"export resize","name":"b","size_bytes":-4096}' \
	'{"v":1,"cmd":"export list","extra":1}'; do
	[ "$(admin "$bad" | jq -r '.ok == false and (.error | length > 5)')" = true ] || fail "to $bad it says: $(admin "$bad")"
done
# Answers come in order; who leaves before the answer does not stop what was asked for.
got=$(printf '%s\n%s\n' "{\"v\":1,\"cmd\":\"export resize\",\"name\":\"b\",\"size_bytes\":$((5 << 20))}" '{"v":1,"cmd":"stats"}' |
	helper raw "$socket" | jq -c '.result.name // "stats"' | paste -sd,)
expect "the order of answers" "$got" '"b","stats"'
printf '%s\n' "{\"v\":1,\"cmd\":\"export resize\",\"name\":\"b\",\"size_bytes\":$((6 << 20))}" | helper drop "$socket"
is_size() { [ "$(listed b size_bytes)" = "$1" ]; }
wait_for 10 "the new size of a client that left" is_size $((6 << 20))

# Resize: what is added reads as zeros, what is cut off is gone, the rest stays.
export_ resize b 8M
expect "size" "$(listed b size_bytes),$(size_of "$files/b")" "$((8 << 20)),$((8 << 20))"
lh_ok get --block "$(target b)" "$tmp/back"
cmp -n $((4 << 20)) "$tmp/a" "$tmp/back" || fail "growing changed what was there"
cmp -n $((4 << 20)) --ignore-initial=$((4 << 20)):0 "$tmp/back" /dev/zero || fail "what was added is not zeros"
export_ resize b $((3 << 20))
expect "size" "$(listed b size_bytes),$(size_of "$files/b")" "$((3 << 20)),$((3 << 20))"
lh_ok get --direct "$(target b)" "$tmp/back"
cmp -n $((3 << 20)) "$tmp/a" "$tmp/back" || fail "shrinking changed what stays"
export_fails 'multiple of 512' resize b 1000
export_fails 'at least one block' resize b 0

# Remove: the file is let go, its bytes stay; the number stays the disk's.
export_ remove b
expect "exports" "$(status '.exports | length')" 1
lh_fails 'no export|there is no|not exist|unknown' get "$(target b)" "$tmp/back"
one_lock
expect "lease" "$(lease_of "$(pid)" | wc -l)" 1
cmp -n $((3 << 20)) "$tmp/a" "$files/b" || fail "the removal changed the file"
make_file "$files/d" 1
export_ add d "$files/d"
[ "$(listed d nsid)" -gt 2 ] || fail "nsid $(listed d nsid) was another disk's"
export_fails 'nsid 2 was "b"' add e "$files/c" --nsid 2
export_ add b "$files/b" --read-only
expect "nsid and UUID of b again" "$(listed b nsid),$(listed b uuid)" "2,$uuid"
export_fails 'read-only' resize b 8M
export_ remove b
# Another file under the name: refused, but for --adopt, which makes it the same disk.
cp "$files/b" "$files/copy"
mv "$files/copy" "$files/b"
export_fails 'not the file that export b was.*--adopt' add b "$files/b"
export_ add --adopt b "$files/b"
expect "UUID of the adopted" "$(listed b uuid)" "$uuid"
export_ remove b
export_ add b "$files/b"
# A new identity is another disk: not under the number that hosts know.
export_ remove b
rm "$tmp/d/state/exports/b"
export_fails 'another disk' add b "$files/b"
export_ add b "$files/b" --nsid 77
[ "$(listed b uuid)" != "$uuid" ] || fail "the identity was not new"
export_ remove b
export_ remove d
# By the name alone: as the configuration file has it. Who holds it is granted it again, in a generation
# that it has not seen.
client holder hold "$(target data)"
wait_for 10 "a grant" grants_are 1
export_ remove data
export_ add data
wait_for 10 "a grant again" grants_are 1
expect "generation" "$(generation)" 2
client_end holder INT
expect "data again" "$(listed data state),$(listed data nsid),$(listed data path)" "serving,1,$files/data"
lh_ok export list --socket "$socket"
expect "lines of the list" "$(wc -l <"$tmp/out")" 2
