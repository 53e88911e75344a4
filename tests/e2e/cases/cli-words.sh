#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# the command line: what fails says so once, with the size of now, leaves what it must and has the right exit status
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 120
use d
make_file "$files/data" 4
make_file "$files/fixed" 1
truncate -s 1G "$files/big" "$tmp/big"
add_export data "$files/data"
add_export fixed "$files/fixed" 'read_only = true;'
add_export big "$files/big"
daemon_start
# lh_status STATUS REGEX ARG...
lh_status() {
	local want=$1 status=0
	lh_fails "${@:2}"
	lh "${@:3}" || status=$?
	expect "the exit status of leasehold $3" "$status" "$want"
}

# write: a file is looked at first, a stream tells how far it came.
cp "$files/data" "$tmp/before"
make_file "$tmp/five" 5
for how in --direct --block; do
	lh_fails 'range error: 5242880 bytes at offset 0 .* has 4194304 bytes' write $how "$(target data)" 0 <"$tmp/five"
	lh_ok get $how "$(target data)" "$tmp/b"
	same_files "$tmp/before" "$tmp/b"
done
lh_fails 'stopped at offset 4194304: 4194304 bytes were written' write "$(target data)" 0 < <(cat "$tmp/five")
lh_ok get "$(target data)" "$tmp/b"
mkfifo "$tmp/pipe"
lh_status 2 "is a pipe, and nothing can be written at an offset" get "$(target data)" "$tmp/pipe"
same_files "$tmp/b" <(head -c 4194304 "$tmp/five")
lh_ok write "$(target data)" 0 <"$tmp/before"

# What is read-only says so.
for verb in write\ --block write; do
	# shellcheck disable=SC2086 # two words
	lh_fails 'fixed is read-only' $verb "$(target fixed)" 0 <"$tmp/before"
done

# Exit status 4 is for no connection, whatever kept it from being made.
lh_status 4 'no listener' list "$(scheme)://$addr:1"
"${python[@]}" -c '
import socket, struct, sys
with socket.create_server((sys.argv[1], 0)) as s:
    print(s.getsockname()[1], flush=True)
    while True:
        c = s.accept()[0]
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.recv(1)
        c.close()' "$addr" >"$tmp/rude.out" 2>&1 &
c_pid[rude]=$!
wait_for 10 "a server that hangs up" test -s "$tmp/rude.out"
rude=iwarp://$addr:$(cat "$tmp/rude.out")
lh_status 4 'closed the connection before it was made' list "$rude"
lh_status 4 'closed the connection before it was made' read "$rude/data" 0 512
lh_status 4 'closed the connection before it was made' discover "$rude"
client_kill rude
# Nor does a daemon that ends as it is asked take who asks with it: not always, so many times.
"${python[@]}" -c '
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.bind(sys.argv[1])
    s.listen(8)
    print("up", flush=True)
    while True:
        s.accept()[0].close()' "$tmp/rude.sock" >"$tmp/ruder.out" 2>&1 &
c_pid[ruder]=$!
wait_for 10 "a daemon that hangs up" test -s "$tmp/ruder.out"
for _ in $(seq 20); do lh_status 1 'did not answer' status --socket "$tmp/rude.sock"; done
client_kill ruder
"${python[@]}" -c '
import socket, sys, time
with socket.create_server((sys.argv[1], 0)) as s:
    print(s.getsockname()[1], flush=True)
    time.sleep(600)' "$addr" >"$tmp/mute.out" 2>&1 &
c_pid[mute]=$!
wait_for 10 "a server that says nothing" test -s "$tmp/mute.out"
lh_status 4 'accepted the connection and said nothing within' list "iwarp://$addr:$(cat "$tmp/mute.out")"
client_kill mute
lh_status 1 'there is no export|no export' read "$(target nosuch)" 0 512

# What is written wrongly is named.
for range in 4096: :4096 4096; do
	lh_status 2 "--range $range: write it as OFFSET:LENGTH|offset \"\" is no number" hold --range $range "$(target data)"
done
lh_status 2 '--range is there twice' hold --range 0:4k --range 4k:4k "$(target data)"
lh_status 2 '--range is there twice' reclaim --range 0:4k --range 0:4k --socket "$tmp/d/admin.sock" data
lh_status 2 'crc= is there twice' list "iwarp://$addr/data?crc=on&crc=off"
for nqn in $'nqn.2026-11.org.example:a\e[2J' $'nqn.2026-11.org.example:a\nb' $'nqn.2026-11.org.example:\xff'; do
	lh_status 2 'nqn.2026-11.org.example:.*\?.*is no host NQN' list --host-nqn "$nqn" "$(target)"
	! grep -qaE $'\e|\xff' "$tmp/err" || fail "the bad bytes of an NQN are printed as they are"
done
for seconds in 1e-9 0.0009 -1 86401 nan; do
	lh_status 2 "--hold $seconds: give seconds, at least 0.001 and at most 86400" reclaim --hold $seconds --socket "$tmp/d/admin.sock" data
done

# Output that goes nowhere is no success.
full_of() {
	local status=0
	timeout $((60 * slow)) "$@" >/dev/full 2>"$tmp/err" || status=$?
	expect "the exit status of ${1##*/} $2 to a full device" "$status" 1
	expect_text "${1##*/} $2 to a full device" "$(cat "$tmp/err")" 'standard output'
}
full() {
	full_of "$leasehold" "$@"
}
for option in --help --version --check; do
	full_of "$daemon" --config "$tmp/d/conf" $option
done
full list "$(target)"
full list -o json "$(target)"
full status --socket "$tmp/d/admin.sock"
full get -o json "$(target data)" "$tmp/b"
full read "$(target data)" 0 512
full --help

# list shows the one that is asked for, and has no options that mean nothing to it.
lh_ok list -o json "$(target fixed)"
expect "what is listed" "$(jq -r '.[].name' "$tmp/out")" fixed
lh_status 1 'nosuch' list "$(target nosuch)"
for verb in list discover; do
	lh_status 2 'unrecognized option' $verb --block "$(target)"
	lh_ok $verb --help
	! grep -qE -- '--(direct|block|no-fallback|io-queues)' "$tmp/out" || fail "$verb --help offers what means nothing to it"
	grep -q -- --host-nqn "$tmp/out" || fail "$verb --help does not name --host-nqn"
done

# get: what it writes to.
lh_status 2 'no regular file' get --verify "$(target data)" /dev/null
lh_ok get "$(target data)" /dev/null
: >"$tmp/mine"
chmod 640 "$tmp/mine"
ln -s mine "$tmp/link"
lh_ok get --verify "$(target data)" "$tmp/link"
[ -L "$tmp/link" ] || fail "get replaced a symbolic link"
same_files "$tmp/mine" "$tmp/before"
expect "the mode of a file that was there" "$(stat -c %a "$tmp/mine")" 640
ln -s nowhere/at/all "$tmp/dangling"
lh_status 1 'symbolic link' get "$(target data)" "$tmp/dangling"
expect "files left by get" "$(find "$tmp" -name '*.part-*' | wc -l)" 0
lh_ok put -o json "$tmp/before" "$(target data)"
expect "what put says of fences" "$(jq -c '[.fenced, .dead_bytes]' "$tmp/out")" '[0,0]'

# Cut off under eight pieces in flight: one sentence, with no size that is not so.
writes() { stats '' | jq '[.. | .nvme_writes? // empty] | add'; }
before=$(writes)
under_way() { [ "$(writes)" -gt $((before + 16)) ]; }
client put put --block "$tmp/big" "$(target big)"
wait_for 20 "the put under way" under_way
resize "$files/big" $((1 << 20))
status=0
wait "${c_pid[put]}" || status=$?
unset "c_pid[put]"
expect "the exit status of a put that was cut off" "$status" 1
expect "its sentences" "$(grep -c 'range error' "$tmp/put.out")" 1
! grep -q 'which has 1073741824' "$tmp/put.out" || fail "it names a size that is not so: $(cat "$tmp/put.out")"
wait_serving 2
resize "$files/data" 0
for how in --direct --block; do
	lh_fails 'range error|offline' read $how "$(target data)" 0 512
	! grep -q 'which has 4194304' "$tmp/err" || fail "it names a size that is not so: $(cat "$tmp/err")"
done
resize "$files/data" 4096
wait_serving

lh_status 2 'it takes no argument' reload conf
lh_status 2 'did you mean reload' relaod

# --help is of that verb: what it has no part in is not there.
for verb in discover list put get hold read write status stats listener referral export reclaim reload; do
	"$leasehold" $verb --help >"$tmp/help.$verb"
	expect_text "$verb --help" "$(cat "$tmp/help.$verb")" '^  -h, --help +this$'
done
expect "who has --verify" "$(cd "$tmp" && grep -l -e --verify help.* | sort | paste -sd' ')" 'help.get help.put'
expect "who goes by block commands alone" "$(cd "$tmp" && grep -lE '^ +--block' help.* | sort | paste -sd' ')" \
	'help.get help.put help.read help.write'
expect "who needs no export" "$(cd "$tmp" && grep -lF 'iwarp://HOST[:4420][/EXPORT]' help.* | sort | paste -sd' ')" \
	'help.discover help.list'
expect "who asks the daemon" "$(cd "$tmp" && grep -lF 'default /run/leasehold/admin.sock' help.* | sort | paste -sd' ')" \
	'help.export help.listener help.reclaim help.referral help.reload help.stats help.status'
expect_text "leasehold --help" "$("$leasehold" --help)" '--version'
expect_text "leaseholdd --help" "$("$daemon" --help)" 'leaseholdd\.conf\(5\)'
