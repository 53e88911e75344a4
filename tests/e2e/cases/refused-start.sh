#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a start, or an export add, that is refused leaves the files as they were: no hole is filled
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 120
truncate -s 16M "$files/sparse"
make_file "$files/other" 1
as_it_is() { echo "$(stat -c '%b %s %Y' "$files/sparse") $(sha "$files/sparse")"; }
before=$(as_it_is)
unchanged() { expect "the sparse file, $1" "$(as_it_is)" "$before"; }
n=0
# start_with NAME PATH [OPTIONS]: beside the file whose holes are to be filled.
start_with() {
	n=$((n + 1))
	use "r$n"
	add_export sparse "$files/sparse" 'prepare = "allocate";'
	[ $# = 0 ] || add_export "$@"
}

# A port that somebody listens on, also where it is the second; an admin socket of another's.
use taken
add_export other "$files/other"
daemon_start
taken=$(port)
start_with
add_listener "$fabric" "$addr" "$(port)"
add_listener "$fabric" "$addr" "$taken"
daemon_refuses "port $taken.*(in use|EADDRINUSE)"
unchanged "a port being in use"
! grep -q 'error   stopped' "$tmp/$D/log" || fail "the end of what was begun is called an error: $(tail -1 "$tmp/$D/log")"
start_with
set_option "admin_socket = \"$tmp/taken/admin.sock\";"
daemon_refuses 'another leaseholdd answers there'
unchanged "the admin socket being in use"

if [ "$fabric" = iwarp ]; then
	make_file "$files/declared" 1
	start_with declared "$files/declared" 'inbound_writes = "persistent";'
	daemon_refuses 'inbound_writes = "persistent" .*every listener is of the software fabric'
	unchanged "a declaration that cannot be so"
fi

# One that has no holes has the times that it had, too.
make_file "$files/full" 4
full=$(stat -c '%b %s %y %z' "$files/full")
use "full"
add_export full "$files/full" 'prepare = "allocate";'
add_listener "$fabric" "$addr" "$taken"
daemon_refuses "port $taken.*(in use|EADDRINUSE)"
expect "the full file" "$(stat -c '%b %s %y %z' "$files/full")" "$full"

# Another export that cannot be.
start_with second "$files/other"
daemon_refuses 'other.*(is exported|is served|already)'
unchanged "another file being served by another daemon"
start_with second "$files/missing"
daemon_refuses 'does not exist'
unchanged "another file missing"
start_with second "$files"
daemon_refuses 'is a directory'
unchanged "another one being a directory"
ln "$files/sparse" "$files/same"
start_with second "$files/same"
daemon_refuses 'already'
unchanged "the same file being exported twice"
: >"$files/empty"
start_with second "$files/empty"
daemon_refuses 'empty'
unchanged "another file being empty"

# Another one whose holes do not fit: it is as large as the file system.
truncate -s $(($(stat -f -c '%b * %S' "$files"))) "$files/huge"
start_with huge "$files/huge" 'prepare = "allocate";'
daemon_refuses 'no space on the file system to fill the holes of'
unchanged "there being no room for another's holes"
expect "blocks of the other" "$(stat -c %b "$files/huge")" 0

# export add.
use d
add_export other "$shm/plain"
make_file "$shm/plain" 1
daemon_start
socket=$tmp/d/admin.sock
# add REGEX ARG...
add() {
	local regex=$1
	shift
	lh_fails "$regex" export add "$@" --prepare allocate --socket "$socket"
	unchanged "export add $* being refused"
}
add 'is used already' other "$files/sparse"
add 'nsid 1' sparse "$files/sparse" --nsid 1
add 'nsid' sparse "$files/sparse" --nsid 5000
lh_fails 'no space' export add huge "$files/huge" --prepare allocate --socket "$socket"
expect "blocks of what was not added" "$(stat -c %b "$files/huge")" 0

# And it is these holes that a start fills.
rm "$files/huge"
lh_ok export add sparse "$files/sparse" --prepare allocate --socket "$socket"
expect "its holes" "$(status .exports[1].hole_bytes)" 0
lh_ok export remove sparse --socket "$socket"
truncate -s 0 "$files/sparse"
truncate -s 16M "$files/sparse"
start_with
daemon_start
expect "its holes at a start" "$(status .exports[0].hole_bytes)" 0
