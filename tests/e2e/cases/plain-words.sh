#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# what cannot be done says what it is: a discovery service, a read-only export, ways that contradict, a target that is lost, an export that cannot start
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 120
use bad
make_file "$files/good" 1
add_export good "$files/good"
add_export missing "$files/nowhere"
daemon_refuses 'missing: .*nowhere'

use d
truncate -s 1G "$files/data" "$tmp/big"
make_file "$files/fixed" 1
add_export data "$files/data"
add_export fixed "$files/fixed" 'read_only = true;'
daemon_start
discovery='nqn=nqn.2014-08.org.nvmexpress.discovery'
lh_fails 'is a discovery service, which has no exports: leasehold discover' read "$(target data "$discovery")" 0 512
lh_fails 'is a discovery service' put "$files/fixed" "$(target data "$discovery")"
lh_fails 'is a discovery service' list "$(target data "$discovery")"
lh_ok discover "$(target)"
lh_fails 'names no export' read "$(target)" 0 512

lh_fails 'fixed is read-only: hold it without --write' hold --write --seconds 1 "$(target fixed)"
lh_ok hold --seconds 1 "$(target fixed)"

for ways in '--block --no-fallback' '--no-fallback --block' '--block --direct' '--direct --block'; do
	status=0
	# shellcheck disable=SC2086 # two words
	lh get $ways "$(target data)" "$tmp/out.bin" || status=$?
	expect "exit status of get $ways" "$status" 2
	expect_text "get $ways" "$(cat "$tmp/err")" '^leasehold: --(no-fallback|direct)'
done
lh_ok read --direct --no-fallback "$(target fixed)" 0 512

# A target that is gone: said once, in time, and that it is back.
put_runs() { [ "$(stats .nvme_writes)" -gt "$((before + 8))" ]; }
before=$(stats .nvme_writes)
client put put --block "$tmp/big" "$(target data)"
wait_for 20 "the put under way" put_runs
daemon_kill
wait_for 8 "the loss told" said put 'connection to .* was lost: .*; trying again for another 5[0-9] s'
sleep 3
expect "how often it was told" "$(grep -c 'trying again' "$tmp/put.out")" 1
rm -f "$tmp/d/admin.sock"
daemon_start
wait_for 15 "the connection told" said put 'connected again, after [0-9]+ s'
client_end put
expect_text "what put says" "$(cat "$tmp/put.out")" 'put 1.0 GiB in'
