#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# what one client may have: bytes and registrations a second are kept, said, counted, and given back
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 90
use d
make_file "$files/data" 8
add_export data "$files/data"
set_option 'max_granted_bytes_per_client = "4M"; max_grants_per_client = 1; max_registrations_per_second = 1;'
daemon_start
expect "the limits in status" "$(status '.daemon | "\(.max_grants_per_client) \(.max_granted_bytes_per_client) \(.max_registrations_per_second)"')" \
	"1 $((4 << 20)) 1"

lh_fails 'limit of bytes granted to one client is reached.*max_granted_bytes_per_client' hold --seconds 1 --no-fallback "$(target data)"
expect "refusals for bytes" "$(stats '.acquires_over_bytes_limit > 0')" true
expect "grants" "$(status .exports[0].grants)" 0
# Exactly as many, for each client; and again, whoever had them before.
for _ in 1 2; do
	client one hold --range 0:4M "$(target data)"
	client two hold --range 4M:4M "$(target data)"
	wait_for 10 "a grant for one" said one '\bgranted\b'
	wait_for 10 "a grant for two" said two '\bgranted\b'
	client_end one INT
	client_end two INT
done

# Each recall costs a registration, of which there is one a second: the client waits, is told why, and gets
# its grant again. Only a machine on which a recall takes a second has to try more than once.
client often hold --range 0:64k "$(target data)"
wait_for 10 "a grant" said often '\bgranted\b'
i=0
until said often 'waiting .*max_registrations_per_second'; do
	i=$((i + 1))
	[ $i -le 20 ] || fail "20 recalls, and no registration was one too many"
	resize "$files/data" $((8 << 20))
	wait_for 20 "the grant after recall $i" says_at_least often $i '\bregranted\b'
done
expect "refusals for the rate" "$(stats '.acquires_over_rate_limit > 0')" true
expect "refusals for grants" "$(stats .acquires_over_grants_limit)" 0
client_end often INT
