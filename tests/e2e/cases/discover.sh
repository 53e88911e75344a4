#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# the discovery service: listeners, the address that the host used, referrals, the mDNS file
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 60
use d
make_file "$files/data" 1
add_export data "$files/data"
other=$(helper free-port "$addr")
add_listener "$fabric" "$addr" "$(port)"
add_listener "$fabric" 0.0.0.0 "$other"
mkdir "$tmp/avahi"
set_option "mdns = true; mdns_dir = \"$tmp/avahi\";"
set_option "referrals = ( { fabric = \"verbs\"; address = \"192.0.2.77\"; port = 8009; } );"
daemon_start
nqn=$(status .daemon.nqn)
well_known=nqn.2014-08.org.nvmexpress.discovery

# entries JQ: of the last answer
entries() { jq -r ".entries$1" "$tmp/out"; }

lh_ok discover -o json "$(target)"
expect "entries" "$(entries '|length')" 4
expect "the service itself" "$(entries '[0]|[.kind,.nqn,.service,.persistent]|join(" ")')" "current $well_known $(port) true"
expect "the subsystem" "$(entries '[1]|[.kind,.transport,.address,.service,.nqn,.port_id]|join(" ")')" "nvm rdma $addr $(port) $nqn 1"
expect "the listener at all addresses" "$(entries '[2]|[.kind,.address,.service,.nqn,.port_id]|join(" ")')" "nvm $addr $other $nqn 2"
expect "the referral" "$(entries '[3]|[.kind,.address,.service,.nqn]|join(" ")')" "referral 192.0.2.77 8009 $well_known"
[ "$fabric" = verbs ] || expect "the provider" "$(entries '[1].provider')" iwarp
generation=$(jq .generation "$tmp/out")

# Through the other listener: the same subsystem, and it is the service now. By another address of this
# machine where the fabric is software.
from=$addr
[ "$fabric" = verbs ] || from=127.0.0.2
lh_ok discover -o json "$(scheme)://$from:$other"
expect "entries" "$(entries '|length')" 4
expect "the service itself" "$(entries '[]|select(.kind=="current")|[.address,.service]|join(" ")')" "$from $other"
expect "the address" "$(entries '[]|select(.kind=="nvm" and .port_id==2)|.address')" "$from"
expect "the generation" "$(jq .generation "$tmp/out")" "$generation"

# What was found can be connected to.
lh_ok list "$(scheme)://$from:$other?nqn=$nqn"
expect_text "the list" "$(cat "$tmp/out")" '\bdata\b'
lh_ok discover "$(target)"
expect_text "the table" "$(cat "$tmp/out")" "^nvm +rdma .* $other +$nqn"

lh_fails 'discovery is asked of a target' discover "$(target data)"
lh_fails . discover "$(target '' nqn=nqn.2026-11.org.example:other)"
lh_fails . discover "$(scheme)://$addr:$(helper free-port "$addr")"
# Who wants files there is told that there are none.
lh_fails . list "$(target '' nqn=$well_known)"

if [ "$fabric" = iwarp ]; then
	service=$(cat "$tmp"/avahi/*.service)
	expect_text "the service file" "$service" '<type>_nvme-disc\._tcp</type>'
	expect_text "the service file" "$service" "<port>$other</port>"
	expect_text "the service file" "$service" '<txt-record>p=iwarp</txt-record>'
	expect_text "the service file" "$service" "<txt-record>nqn=$well_known</txt-record>"
	# Loopback is nobody else's business.
	[ "$addr" != 127.0.0.1 ] || ! grep -q "<port>$(port)<" <<<"$service" || fail "a loopback listener is announced"
fi
daemon_stop
expect "service files after the stop" "$(find "$tmp/avahi" -type f | wc -l)" 0
