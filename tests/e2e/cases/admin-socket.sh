#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# the admin socket: mode, shape of status and stats, garbage, a stale one, a second daemon
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 60
serve 4
socket=$tmp/d/admin.sock
expect "mode of the socket" "$(stat -c %a "$socket")" 600
answer=$(admin '{"v":1,"cmd":"status"}')
jq -e '.v == 1 and .ok == true and (.result | (.daemon.pid | type == "number") and (.daemon.version | type == "string")
	and (.devices | length >= 1) and (.listeners | length == 1) and (.clients | length == 0)
	and (.exports | length == 1) and (.exports[0] | .name == "data" and .state == "serving" and .generation == 1
	and (.uuid | test("^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")) and .size_bytes == 4194304
	and .grants == 0 and .recalls == 0 and (.rungs | length >= 1)))' <<<"$answer" >/dev/null || fail "status has another shape: $answer"
expect "pid in status" "$(jq .result.daemon.pid <<<"$answer")" "$(pid)"
answer=$(admin '{"v":1,"cmd":"stats"}')
jq -e '.ok == true and (.result | length > 0) and (.result | del(.rungs, .exports, .hosts) | [.[]] | all(type == "number"))
	and (.result.exports | length == 1 and all(.name == "data" and (del(.name) | [.[]] | all(type == "number"))))
	and (.result.hosts == [])
	and (.result.rungs | length >= 1 and all(.export == "data" and (.rung | type == "string") and (.why | type == "string")))' <<<"$answer" >/dev/null || fail "stats has another shape: $answer"
lh_ok status --socket "$socket"
grep -q data "$tmp/out" || fail "leasehold status does not name the export"
lh_ok stats --socket "$socket"
# Counters count.
make_file "$tmp/a" 4
lh_ok put --block "$tmp/a" "$(target data)"
[ "$(stats '' | jq '[.[] | numbers] | add')" -gt "$(jq '[.result[] | numbers] | add' <<<"$answer")" ] || fail "no counter moved"

refuses() {
	local got
	got=$(printf '%b' "$1" | helper raw "$socket" | head -1)
	iconv -f utf-8 -t utf-8 <<<"$got" >/dev/null || fail "to ${1:0:40} it says what is no UTF-8"
	expect_text "the answer to ${1:0:40}" "$got" "${2:-error}"
	jq -e '.v == 1 and .ok == false and (.error | length > 5)' <<<"$got" >/dev/null || fail "to ${1:0:40} it says: $got"
}
refuses 'hello\n'
refuses '{"v":1}\n' 'cmd.* is missing'
refuses '{"v":2,"cmd":"status"}\n'
refuses '{"v":1,"cmd":"explode"}\n'
refuses '{"v":1,"cmd":7}\n' 'cmd.* is no string'
refuses '{"v":1,"cmd":["status"]}\n' 'cmd.* is no string'
refuses '{"v":1,"cmd":null}\n' 'cmd.* is no string'
refuses "{\"v\":1,\"cmd\":'status'}\n" 'not one JSON object'
refuses '{"v":1,"cmd":"status",}\n' 'not one JSON object'
refuses '{"v":1,"cmd":"\xff"}\n' 'not one JSON object'
refuses '{"v":1,"cmd":"\\u001b[2J\\u009b"}\n' 'unknown cmd ..[?][[]2J[?][?]'
refuses '{"v":1,"cmd":"status","verbose":true}\n'
refuses '{"v":1,"cmd":"stats","since":0}\n'
refuses '[1,2,3]\n'
refuses '{"v":"1","cmd":"status"}\n'
refuses '{"v":1.5,"cmd":"status"}\n'
refuses '{"v":4294967297,"cmd":"status"}\n'
refuses '{"v":1,"cmd":"status"} and more\n'
refuses '{"v":1,"cmd":"status"}{"v":1,"cmd":"stats"}\n'
refuses '{"v":1,"cmd":"status"}\x00\n'
[ "$(admin '{"v":1,"cmd":"status"}  ' | jq .ok)" = true ] || fail "blanks behind a request are refused"
refuses '\n'
refuses '\x00\xff\xfe\n'
refuses "$(head -c 70000 /dev/zero | tr '\0' x)"
for seed in 1 2 3; do
	head -c $((seed * 99)) /dev/urandom | helper raw "$socket" >/dev/null
done
[ "$(admin '{"v":1,"cmd":"status"}' | jq .ok)" = true ] || fail "it does not answer any more"
# Two requests in one packet.
got=$(printf '%s\n%s\n' '{"v":1,"cmd":"status"}' '{"v":1,"cmd":"stats"}' | helper raw "$socket" | jq -c .ok | paste -sd,)
expect "answers to two requests" "$got" true,true

# A second daemon at the same socket is refused, and takes nothing away from the first.
make_file "$files/b" 1
use second
set_option "admin_socket = \"$socket\";"
add_export data "$files/b"
write_config
status=0
timeout $((20 * slow)) "$daemon" --config "$tmp/second/conf" >"$tmp/second/log" 2>&1 || status=$?
expect "exit status of the second daemon" "$status" 1
expect_text "its log" "$(log)" 'another leaseholdd answers there'
use d
[ "$(admin '{"v":1,"cmd":"status"}' | jq .ok)" = true ] || fail "the first daemon lost its socket"

# A socket that a dead daemon left is replaced; what is no socket is not.
daemon_kill
[ -S "$socket" ] || fail "kill -9 removed the socket?"
daemon_start
[ "$(admin '{"v":1,"cmd":"status"}' | jq .ok)" = true ] || fail "it does not answer after a kill -9"
daemon_stop
use third
echo precious >"$tmp/third/admin.sock"
add_export data "$files/b"
write_config
status=0
timeout $((20 * slow)) "$daemon" --config "$tmp/third/conf" >"$tmp/third/log" 2>&1 || status=$?
expect "exit status with a file there" "$status" 1
expect "the file" "$(cat "$tmp/third/admin.sock")" precious
