#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# what a client, a host and an export may have: it is kept, said, counted, given back; no more than a recall can take
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

# All clients of an export, all of a host: whoever comes too late is told which limit it was, and gets in when
# somebody lets go.
use many
make_file "$files/first" 1
make_file "$files/second" 1
add_export first "$files/first"
add_export second "$files/second"
set_option 'max_grants_per_export = 2; max_grants_per_host = 3;'
daemon_start
expect "those limits in status" "$(status '.daemon | "\(.max_grants_per_export) \(.max_grants_per_host)"')" "2 3"
expect "the cost of a key is known" "$(status '.exports[0].rungs[0].dereg_ns_per_key > 0')" true
for who in a:first b:first c:second; do
	client "${who%:*}" hold "$(target "${who#*:}")"
	wait_for 10 "a grant for $who" said "${who%:*}" '\bgranted\b'
done
lh_fails 'as many grants of "first".*max_grants_per_export' hold --seconds 1 --no-fallback "$(target first)"
lh_fails 'programs of this host.*max_grants_per_host' hold --seconds 1 --no-fallback "$(target second)"
expect "refusals for the export" "$(stats '.acquires_over_export_limit > 0')" true
expect "refusals for the host" "$(stats '.acquires_over_host_limit > 0')" true
client_end a INT
lh_ok hold --seconds 1 --no-fallback "$(target second)"
client_end b INT
client_end c INT
daemon_stop

# So many that no recall could kill their keys in time: not served.
use far
make_file "$files/far" 1
add_export far "$files/far"
set_option 'max_grants_per_export = 16777216;'
daemon_refuses 'far: .* 16777216 grants back may take .*lease-break-time.*lower max_grants_per_export'
