#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# export offline under load lets go of the file whole, online brings the same disk back; other exports notice nothing
# needs: host
# why: what it asks is the daemon's, not the adapter's (live-under-load runs there), and it takes minutes
# limit: 180
serve 8
socket=$tmp/d/admin.sock
daemon_stop
make_file "$files/b" 8
add_export b "$files/b"
daemon_start
export_() { lh_ok export "$@" --socket "$socket"; }
export_fails() {
	local regex=$1
	shift
	lh_fails "$regex" export "$@" --socket "$socket"
}
field() { status ".exports[] | select(.name == \"$1\") | .$2"; }
# Nothing of the daemon's is on the file: no descriptor, mapping, lease or lock file, and another may lease it.
let_go() {
	local file=$1
	! fd_of "$(pid)" "$file*" >/dev/null || fail "$file is open: $(find "/proc/$(pid)/fd" -lname "$file*" -printf '%p %l ')"
	! grep -F "$file" "/proc/$(pid)/maps" || fail "$file is mapped"
	expect "leases" "$(lease_of "$(pid)" | wc -l)" "$2"
	expect "who may lease $file" "$("${python[@]}" -c '
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("anybody")' "$file")" anybody
}
# Load on both, by block and direct. Elsewhere: no error, right bytes. On the same: errors, none that hangs, and
# right bytes whenever it succeeds.
make_file "$tmp/a" 8
make_file "$tmp/small" 4
: >"$tmp/go"
elsewhere() {
	while [ -e "$tmp/go" ]; do
		"$leasehold" put "$1" "$tmp/a" "$(target data)" || return 1
		"$leasehold" get "$1" "$(target data)" "$tmp/back$1" || return 1
		cmp "$tmp/a" "$tmp/back$1" || return 1
		echo round
	done
}
same() {
	local status
	while [ -e "$tmp/go" ]; do
		status=0
		timeout -k 5 60 "$leasehold" put "$1" "$tmp/small" "$(target b)" || status=$?
		[ $status -lt 124 ] || return 1
		[ $status -ne 0 ] || echo round
	done
}
load=()
for how in --block --direct; do
	elsewhere $how >"$tmp/elsewhere$how.out" 2>&1 &
	load+=($!)
	same $how >"$tmp/same$how.out" 2>&1 &
	load+=($!)
done
rounds_of() { grep -c round "$tmp/$1.out"; }
more_rounds() { [ "$(rounds_of "$1")" -gt "$2" ]; }
# A client that holds what nobody else writes is told, gives it back, and gets it again.
client holder hold --range 4M:4M "$(target b)"
wait_for 20 "the holder's grant" said holder '\bgranted\b'
nsid=$(field b nsid) uuid=$(field b uuid) generation=$(field data generation)
for n in $(seq "$(rounds 8 3)"); do
	for how in --block --direct; do
		wait_for 30 "load before round $n" more_rounds "same$how" "$((n - 1))"
	done
	before=$(field b generation)
	export_ offline b
	let_go "$files/b" 1
	expect "state and why" "$(field b state): $(field b why)" "offline: by the administrator"
	export_ online b
	expect "the disk that came back" "$(field b state),$(field b nsid),$(field b uuid)" "serving,$nsid,$uuid"
	[ "$(field b generation)" -gt "$before" ] || fail "generation $(field b generation) after $before"
	for how in --block --direct; do
		got=$(rounds_of "same$how")
		wait_for 30 "load after round $n" more_rounds "same$how" "$got"
	done
done
wait_for 20 "the holder's next grant" said holder regranted
said holder '\btold\b' || fail "the holder was not told: $(cat "$tmp/holder.out")"
client_end holder INT
rm "$tmp/go"
for p in "${load[@]}"; do
	wait "$p" || fail "a client failed: $(tail -qn1 "$tmp"/elsewhere*.out "$tmp"/same*.out)"
done
client_reports "$tmp"/elsewhere*.out "$tmp"/same*.out
for how in --block --direct; do
	[ "$(rounds_of "elsewhere$how")" -ge 2 ] || fail "$how elsewhere came to nothing: $(tail -1 "$tmp/elsewhere$how.out")"
done
expect "generation of the other export" "$(field data generation)" "$generation"
expect "queues cut" "$(stats .nvme_namespace_cuts)" 0
lh_ok get --block "$(target b)" "$tmp/back"
cmp -n $((4 << 20)) "$tmp/small" "$tmp/back" || fail "it has other bytes than those that were written"

# A client that does not answer is fenced, and holds nobody up.
client mute hold "$(target b)"
wait_for 20 "a grant" said mute '\bgranted\b'
suspend "${c_pid[mute]}"
export_ offline b
let_go "$files/b" 1
expect_text "the log" "$(log)" 'b: 1 clients did not release'
kill -CONT "${c_pid[mute]}"
client_kill mute

# What it is now, and what is refused.
lh_ok list "$(target)"
expect "exports that clients see" "$(grep -cw data "$tmp/out"),$(grep -cw b "$tmp/out")" 1,0
lh_fails 'serves no export "b" now' get "$(target b)" "$tmp/back"
export_fails 'export "b" is offline already: by the administrator' offline b
export_fails 'export "b" is offline: by the administrator' resize b 4M
export_fails 'export "b" is offline: by the administrator' rung b staged
lh_fails 'export "b" is offline: by the administrator' reclaim b --socket "$socket"
export_fails 'export "data" is not offline' online data
for verb in offline online; do
	export_fails 'there is no export "c"; leasehold export list' $verb c
	export_fails "export $verb wants NAME" $verb
	export_fails 'only export add takes such options' $verb b --lba 512
	for bad in '' ',"name":7' ',"name":"../b"' ',"name":"b","extra":1'; do
		expect "what is refused" "$(admin "{\"v\":1,\"cmd\":\"export $verb\"$bad}" | jq .ok)" false
	done
done
# In the midst of being added: its holes are being filled, which takes a while; on a busy machine nobody may
# have asked meanwhile, so there is another try.
: >"$tmp/answers"
for _ in 1 2 3 4 5; do
	rm -f "$files/slow"
	truncate -s 256M "$files/slow"
	"$leasehold" export add slow "$files/slow" --prepare allocate --adopt --socket "$socket" >"$tmp/slow.out" 2>&1 &
	adding=$!
	while kill -0 "$adding" 2>/dev/null && ! grep -q 'is being added' "$tmp/answers"; do
		admin '{"v":1,"cmd":"export offline","name":"slow"}' >>"$tmp/answers"
	done
	wait "$adding" || fail "export add: $(cat "$tmp/slow.out")"
	state=$(field slow state)
	export_ remove slow
	! grep -q 'is being added' "$tmp/answers" || break
done
expect_text "offline while it is added" "$(cat "$tmp/answers")" 'export ."slow." is being added'
expect "the added one" "$state" serving
expect "b still" "$(field b state)" offline
# What is not there cannot be online; and it stays what it was.
mv "$files/b" "$files/away"
export_fails 'does not exist' online b
expect "state" "$(field b state): $(field b why)" "offline: by the administrator"
mv "$files/away" "$files/b"
# A reload leaves it alone, says so where the file is otherwise, and does it once it is back.
lh_ok reload --socket "$socket"
expect "state after a reload" "$(field b state)" offline
sed -i "s|path = \"$files/b\";|& lba = 512;|" "$tmp/d/exports"
write_config
lh_ok reload --socket "$socket"
expect_text "the reload" "$(cat "$tmp/out" "$tmp/err")" 'export b: stays offline, where the administrator put it'
expect "state after another one" "$(field b state)" offline
export_ online b
expect "blocks before the reload" "$(field b lba_bytes)" 4096
lh_ok reload --socket "$socket"
expect "blocks after it" "$(field b state),$(field b lba_bytes),$(field b uuid)" "serving,512,$uuid"
# Nothing of it is kept over a restart.
export_ offline b
daemon_stop
daemon_start
expect "after a restart" "$(field b state),$(field b nsid),$(field b uuid)" "serving,$nsid,$uuid"
# Away and removed: nothing is left of it.
export_ offline b
export_ remove b
expect "exports" "$(status '.exports | map(.name) | join(",")')" data
