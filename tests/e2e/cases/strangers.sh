#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# connections that come to nothing: one line each that says who and why, and counters; a flood has few lines
# needs: host
# why: nothing in it depends on the file system
# limit: 120
sum() { stats '| [.nvme_strangers_garbage, .nvme_strangers_closed, .nvme_strangers_late, .nvme_strangers_no_room] | add'; }
lines() { grep -c 'came to nothing' "$tmp/$D/log" || true; }
# lines_that REGEX; has_line REGEX [MORE]: more than so many.
lines_that() { grep -cE "notice +a connection from $addr:[0-9]+ to $addr:$(port) came to nothing: $1\$" "$tmp/$D/log" || true; }
has_line() { [ "$(lines_that "$1")" -gt "${2-0}" ]; }
# told COUNTER REGEX COMMAND...: what it does has one line, and counts one, as that.
told() {
	local counter=$1 says=$2 before all had
	shift 2
	before=$(stats ".nvme_strangers_$counter") all=$(sum) had=$(lines_that "$says")
	"$@"
	wait_for 10 "a line that says \"$says\" after: $*" has_line "$says" "$had"
	expect "lines that say \"$says\" after: $*" "$(lines_that "$says")" $((had + 1))
	expect "nvme_strangers_$counter after: $*" "$(stats ".nvme_strangers_$counter")" $((before + 1))
	expect "all counters after: $*" "$(sum)" $((all + 1))
}
talk() { helper stranger "$addr" "$(port)" "$@"; }

set_options() { set_option 'limits = { first_command_ms = 1500; };'; }
make_file "$files/data" 4
use d
add_export data "$files/data"
set_options
daemon_start
told garbage 'it sent a capsule of 20 bytes, which has 64 to 4160; no Connect had come' rogue stranger capsule
told late 'it had not begun after 1500 ms, limits.first_command_ms; no Connect had come' rogue stranger silent
told garbage 'the peer closed the connection; what had come was no Connect' rogue stranger command
told garbage '(it refused a key that it had named itself|data could not be fetched); the data of its Connect had not come' rogue stranger key
rejects=$(stats .nvme_rejects)
rogue stranger data
expect "nvme_rejects" "$(stats .nvme_rejects)" $((rejects + 1))
grep -qE "a connection request from $addr:[0-9]+ to $addr:$(port) was rejected: its private data" "$tmp/d/log" ||
	fail "no line about the private data that are nobody's"
refused=$(stats .nvme_connects_refused)
lh_fails . list "$(target '' nqn=nqn.2026-11.org.example:other)"
expect "nvme_connects_refused" "$(stats .nvme_connects_refused)" $((refused + 1))
has_line 'the peer closed the connection; its Connect had been refused: .*NQN\)' ||
	wait_for 5 "a line about the Connect that was refused" has_line '.*; its Connect had been refused: .*NQN\)'
[ "$(lines)" -le 6 ] || fail "$(lines) lines for five that came to nothing"
daemon_stop
[ "$fabric" = iwarp ] || exit 0

use e
add_export data "$files/data"
set_options
daemon_start
told garbage 'its first bytes are no MPA request' talk random
told garbage 'its first bytes are no MPA request' talk http
told garbage 'its MPA request makes no sense: flags 40h, revision 7, 20 bytes long' talk revision
told closed 'closed after 0 of the 20 bytes of an MPA request' talk nothing
told closed 'closed after 9 of the 20 bytes of an MPA request' talk header
told closed 'the peer closed the connection; no Connect had come' talk unit
told garbage 'it sent a unit with a wrong CRC; no Connect had come' talk sum
told closed 'the peer closed the connection; the data of its Connect had not come' talk connect
told late 'it had not begun after 1500 ms, limits.first_command_ms; the data of its Connect had not come' talk late-connect
# All of it is counted, few have a line, and others are served meanwhile.
before=$(stats .nvme_strangers_garbage) few=$(lines) begun=$SECONDS
helper_start flood stranger "$addr" "$(port)" random 500
make_file "$tmp/a" 4
while client_alive flood; do
	lh_ok put --direct "$tmp/a" "$(target data)"
	lh_ok get --block "$(target data)" "$tmp/b"
	same_files "$tmp/a" "$tmp/b"
done
client_end flood
expect "nvme_strangers_garbage after a flood" "$(stats .nvme_strangers_garbage)" $((before + 500))
few=$(($(lines) - few)) took=$((SECONDS - begun + 1))
[ $few -ge 1 ] && [ $few -le $((10 + took)) ] || fail "a flood of 500 in $took s has $few lines"
sleep 1.1
talk nothing
wait_for 5 "how many had no line" has_line '.* \([0-9]+ more had no line\)'
wait_for 15 "no descriptor left of the flood" is_flat
