#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# status --grants: who holds what, of all exports or one, one host or client; also of more than one answer holds
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 120
use d
make_file "$files/data" 8
make_file "$files/other" 4
add_export data "$files/data"
add_export other "$files/other"
# One block in each 2 MiB: as many grants.
many=300
for i in $(seq 0 $((many - 1))); do
	head -c 4096 /dev/urandom | dd of="$files/many" bs=4k seek=$((i * 512)) conv=notrunc status=none
done
add_export many "$files/many"
daemon_start
socket=$tmp/d/admin.sock mib=$((1 << 20))
grants() { lh_ok status --socket "$socket" --grants "$@"; }
# of JQ ARG...: what jq makes of the JSON.
of() {
	local query=$1
	shift
	grants --json "$@"
	jq -r "$query" "$tmp/out"
}

grants
expect "the table when nothing is held" "$(cat "$tmp/out")" '  none'
expect "the JSON when nothing is held" "$(of '.grants | tojson')" '[]'
expect "the same of one export" "$(of '.grants | tojson' data)" '[]'

one=nqn.2026-11.org.example:one two=nqn.2026-11.org.example:two
client one hold --host-nqn $one --write --range 1M:2M "$(target data)"
wait_for 10 "a grant for one" said one '\bgranted\b'
client two hold --host-nqn $two --range 4M:1M "$(target data)"
client third hold --host-nqn $two "$(target other)"
wait_for 10 "a grant for two" said two '\bgranted\b'
wait_for 10 "a grant for the third" said third '\bgranted\b'

expect "the grants" "$(of '.grants[] | "\(.export) \(.hostnqn) \(.offset) \(.length) \(.access) \(.generation) \(.state)"')" \
	"data $one $mib $((2 * mib)) read-write 1 granted
data $two $((4 * mib)) $mib read 1 granted
other $two 0 $((4 * mib)) read 1 granted"
expect "the fields" "$(jq -r '.grants | map(keys) | unique | .[] | join(" ")' "$tmp/out")" \
	"access age_s cntlid device durability expires_s export generation hostnqn id key length offset rung state"
expect "device, rung and key" "$(jq -r '.grants[0] | "\(.device) \(.rung) \(.key)"' "$tmp/out")" \
	"$(status '.exports[0].rungs[0] | "\(.device) \(.rung)"') mr"
expect "a durability" "$(jq -r '.grants[0].durability | IN("none", "commit")' "$tmp/out")" true
expect "times" "$(jq -r '.grants | all(.expires_s > 0 and .expires_s <= 60 and .age_s >= 0)' "$tmp/out")" true
expect "the controllers of the list" "$(jq -r '.grants | map(.cntlid) | unique | tojson' "$tmp/out")" \
	"$(status '.clients | map(select(.direct_queues > 0).cntlid) | sort | tojson')"

id=$(of '.grants[0].cntlid' other)
expect "of one export" "$(of '.grants | map(.export) | tojson' other)" '["other"]'
expect "of one host" "$(of '.grants | map(.export) | tojson' --host $two)" '["data","other"]'
expect "of both" "$(of '.grants | map(.offset) | tojson' --host $two data)" "[$((4 * mib))]"
expect "of one client" "$(of '.grants | map(.export) | tojson' --client "$id")" '["other"]'
expect "of a host that is not there" "$(of '.grants | tojson' --host nqn.nobody)" '[]'
grants other
expect_text "the head of the table" "$(cat "$tmp/out")" "^other: controller $id of $two\$"
expect_text "its columns" "$(cat "$tmp/out")" '^  id +generation +offset +length +access +durability +key +rung +device +expires_s +age_s +state$'
expect_text "its line" "$(cat "$tmp/out")" "^  1 +1 +0 +$((4 * mib)) +read +.* granted\$"

lh_fails 'no export "nothing"' status --socket "$socket" --grants nothing
lh_fails 'one export' status --socket "$socket" --grants data other
lh_fails 'with --grants' status --socket "$socket" --host $two
lh_fails 'cntlid' status --socket "$socket" --grants --client two
ask() { admin "{\"v\":1,\"cmd\":\"grants\",$1}" | jq -c .; }
expect_text "a bad place to go on" "$(ask '"after":7')" '"ok":false.*as .*next'
expect_text "a bad number there" "$(ask '"after":{"offset":-1}')" '"ok":false.*offset.* must be a number'
expect_text "an unknown key" "$(ask '"color":7')" '"ok":false.*unknown key.*color'
expect_text "a client that is none" "$(ask '"client":70000')" '"ok":false.*client.* must be at most 65535'
expect_text "an export that is no text" "$(ask '"export":1')" '"ok":false.*export.* is no text'

client_end one INT
client_end two INT
client_end third INT
expect "when all have let go" "$(of '.grants | tojson')" '[]'

# More than one answer holds: the answers are pieces, the command has them all, once each.
client lots hold "$(target many)"
wait_for 20 "its grants" said lots "granted .* $((many * 4096)) bytes"
expect "all of them" "$(of '[(.grants | length), (.grants | map(.offset) | unique | length)] | tojson')" "[$many,$many]"
ask '"export":"many"' >"$tmp/piece"
piece=$(jq '.result.grants | length' "$tmp/piece")
expect "some are in the first answer, not all" $((piece > 0 && piece < many)) 1
# The next one goes on where that one ended.
ask "\"after\":$(jq -c .result.next "$tmp/piece")" >"$tmp/more"
expect "where the next answer begins" "$(jq '.result.grants[0].offset' "$tmp/more")" $((piece * 2 * mib))
expect "of another host" "$(of '.grants | tojson' --host $one)" '[]'
client_end lots INT
