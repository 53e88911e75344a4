#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a reservation takes grants and block commands from those it shuts out, and survives the daemon
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 150
# resv HOST WHAT CRKEY KEY TYPE STATUS: types are 1 write exclusive, 2 exclusive access.
resv() {
	local got
	got=$(rogue resv "${@:1:5}")
	expect "host $1, $2" "$got" "status $6h"
}
serve 32
expect "what is reserved" "$(status .exports[0].reservation)" null
resv 1 register 0 17 0 000
expect "what is reserved" "$(status .exports[0].reservation.type)" none
resv 2 register 0 34 0 000
resv 1 acquire 99 0 1 083

# A direct client, a host of its own, has a grant when the export is reserved.
client holder hold "$(target data)"
wait_for 10 "a grant" said holder '\bgranted\b'
resv 1 acquire 17 0 2 000
wait_for 10 "the holder told" said holder '\btold\b'
wait_for 10 "the holder's release" said holder '\breleased\b'
expect "fenced clients" "$(status .exports[0].last_recall.fenced_clients)" 0
lh_fails 'reserv' hold --seconds 1 "$(target data)"
lh_fails 'reserv' read --block "$(target data)" 0 4096
client_end holder INT
resv 2 read 0 0 0 083
resv 1 write 0 0 0 000
expect "what is reserved" "$(status .exports[0].reservation.type)" "exclusive access"
expect "kept" "$(status .exports[0].reservation.persists)" false
expect "registered" "$(status '.exports[0].registrants | length')" 2
expect "holders" "$(status '.exports[0].registrants | map(select(.holds)) | length')" 1
lh_ok status --socket "$tmp/$D/admin.sock"
expect_text "leasehold status" "$(cat "$tmp/out")" 'reservation: type=exclusive access persists=no'
expect_text "leasehold status" "$(cat "$tmp/out")" 'registrants: hostid=.* holds=(yes|no), hostid='

# One that does not answer is fenced.
resv 1 release 17 0 2 000
wait_serving
rogue_start deaf ignore 20
wait_for 10 "a grant for the deaf one" said deaf '\bgranted\b'
resv 1 acquire 17 0 1 000
expect "fenced clients" "$(status .exports[0].last_recall.fenced_clients)" 1
client_kill deaf
resv 2 write 0 0 0 083
resv 2 read 0 0 0 000
lh_ok read --block "$(target data)" 0 4096
wait_serving
lh_ok hold --seconds 1 "$(target data)"
lh_fails 'reserv' hold --write --seconds 1 "$(target data)"
resv 2 preempt-abort 34 17 2 000
resv 1 read 0 0 0 083
resv 2 read 0 0 0 000

# Not asked to be kept: gone with the daemon. Asked to: there again, also after kill -9.
daemon_stop
daemon_start
resv 1 read 0 0 0 000
resv 3 register-kept 0 51 0 000
resv 3 acquire 51 0 2 000
daemon_kill
daemon_start
resv 1 read 0 0 0 083
resv 3 read 0 0 0 000
expect "what is reserved" "$(status .exports[0].reservation.type)" "exclusive access"
expect "kept" "$(status .exports[0].reservation.persists)" true
daemon_stop
printf x >>"$tmp/$D/state/reservations/data"
daemon_refuses 'state/reservations/data: its checksum is wrong'
rm "$tmp/$D/state/reservations/data"
daemon_start
resv 1 read 0 0 0 000

# Removed and added again while the daemon runs: the same.
lh_ok export remove data --socket "$tmp/$D/admin.sock"
lh_ok export add data "$files/data" --socket "$tmp/$D/admin.sock"
resv 3 register 0 51 0 000
resv 3 acquire 51 0 2 000
resv 1 read 0 0 0 083
lh_ok export remove data --socket "$tmp/$D/admin.sock"
lh_ok export add data "$files/data" --socket "$tmp/$D/admin.sock"
resv 1 read 0 0 0 000
resv 3 register-kept 0 51 0 000
resv 3 acquire 51 0 2 000
lh_ok export remove data --socket "$tmp/$D/admin.sock"
lh_ok export add data "$files/data" --socket "$tmp/$D/admin.sock"
resv 1 read 0 0 0 083
lh_ok export remove data --socket "$tmp/$D/admin.sock"
printf x >>"$tmp/$D/state/reservations/data"
lh_fails 'reservations/data: its checksum is wrong' export add data "$files/data" --socket "$tmp/$D/admin.sock"
