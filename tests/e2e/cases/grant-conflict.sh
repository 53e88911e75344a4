#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# grant_conflict: what another host writes by block recalls the one grant in its way, or is denied
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 120
# other_writes STATUS: a host of its own, its first page.
other_writes() { expect "the other host's write" "$(rogue resv 7 write 0 0 0)" "status $1h"; }
regrants_are() { says_at_least low "$1" '\bregranted\b'; }
# Both clients say by /etc that they are of one host; without either file each is one of its own.
one_host() { [ -s /etc/nvme/hostid ] || [ -s /etc/machine-id ]; }

serve 16
client low hold --write --range 0:8M "$(target data)"
client high hold --write --range 8M:8M "$(target data)"
wait_for 10 "a grant for low" said low '\bgranted\b'
wait_for 10 "a grant for high" said high '\bgranted\b'
other_writes 000
wait_for 10 "low told" said low '\btold\b'
wait_for 10 "low granted again" regrants_are 1
! said high '\btold\b' || fail "high was told, which is in nobody's way"
expect "generation" "$(generation)" 1
expect "recalls of the whole export" "$(status .exports[0].recalls)" 0

# The grant comes back each time, and goes again.
for round in 2 3 4; do
	other_writes 000
	wait_for 10 "low granted again" regrants_are $round
done
expect "commands that waited" "$(stats .grant_conflicts)" 4
expect "fences" "$(stats .clients_fenced)" 0

# Its own host writes beside it: nobody is told.
if one_host; then
	head -c 65536 /dev/urandom >"$tmp/piece"
	lh_ok write --block "$(target data)" 1M <"$tmp/piece"
	expect "commands that waited" "$(stats .grant_conflicts)" 4
	expect "times that low was told" "$(grep -cE '\btold\b' "$tmp/low.out")" 4
fi

# A client that does not answer is fenced; the command has waited for that.
suspend "${c_pid[low]}"
other_writes 000
expect "fences" "$(stats .clients_fenced)" 1
kill -CONT "${c_pid[low]}"
wait_for 10 "low granted again" regrants_are 5
client_end low INT
client_end high INT
! said high '\btold\b' || fail "high was told"
daemon_stop

use denying
add_export data "$files/data" 'grant_conflict = "deny";'
daemon_start
client low hold --write --range 0:8M "$(target data)"
wait_for 10 "a grant" said low '\bgranted\b'
other_writes 286
other_writes 286
expect "commands denied" "$(stats .nvme_conflicts_denied)" 2
! said low '\btold\b' || fail "it was told, though the command is denied"
! one_host || lh_ok write --block "$(target data)" 1M <"$tmp/piece"
client_end low INT
other_writes 000
