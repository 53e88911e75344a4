#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# both doctors: what stands in the way is found before a start and before a transfer; nothing is changed by looking
# needs: host iwarp
# why: what it finds is the machine's
# limit: 120
use d
make_file "$files/data" 4
add_export data "$files/data"
write_config

# doctor STATUS [OPTION...]: leaseholdd's, in $tmp/doctor.out.
doctor() {
	local want=$1 status=0
	shift
	timeout -k 5 $((60 * slow)) "$daemon" --config "$tmp/$D/conf" --doctor "$@" >"$tmp/doctor.out" 2>"$tmp/doctor.err" || status=$?
	client_reports "$tmp/doctor.err"
	[ $status -eq "$want" ] || fail "leaseholdd --doctor ended with $status, not $want: $(cat "$tmp/doctor.out" "$tmp/doctor.err" | grep -v '^ok' | tr '\n' ' ')"
}
# finds STATE CHECK [ABOUT]: what was found, of the JSON.
finds() {
	jq -re --arg s "$1" --arg c "$2" --arg a "${3-}" \
		'[.checks[] | select(.state == $s and .check == $c and ($a == "" or .about == $a)) | .found][0]' "$tmp/doctor.out" ||
		fail "no check \"$2 ${3-}\" is \"$1\": $(jq -c '.checks[] | [.state, .check, .about]' "$tmp/doctor.out" | tr '\n' ' ')"
}
said_of() { expect_text "what it found of $2 ${3-}" "$(finds "$1" "$2" "${3-}")" "$4"; }
all_names() { { find "$files" "$shm" "$tmp/d"; find /tmp -maxdepth 1 -name "leasehold-trial-*"; } | sort; }

# A machine that will do, as a table and as JSON. Nothing is made, and nothing changed.
before=$(all_names; stat -c '%y %b' "$files/data"; sha "$files/data")
doctor 0
grep -qE '^ok +configuration ' "$tmp/doctor.out" || fail "no line of the configuration: $(cat "$tmp/doctor.out")"
grep -qE '^[0-9]+ checks: [0-9]+ ok, [0-9]+ warnings, 0 failed$' "$tmp/doctor.out" || fail "no sum: $(tail -1 "$tmp/doctor.out")"
doctor 0 --json
expect "failed" "$(jq .failed "$tmp/doctor.out")" 0
expect "checks in all" "$(jq '.ok + .warnings' "$tmp/doctor.out")" "$(jq '.checks | length' "$tmp/doctor.out")"
said_of ok file data "$files/data: 4 MiB"
said_of ok lease data 'can be taken'
said_of ok registration 'data by iwarp' '^pinned: works'
said_of ok listener "$fabric $addr port $(port)" free
said_of ok folder runtime_dir 'will be made'
expect "what there was" "$(all_names; stat -c '%y %b' "$files/data"; sha "$files/data")" "$before"
# What it says of the machine is so: the daemon starts.
daemon_start

# Beside a daemon that runs what that has is no fault; and it does not notice.
doctor 0 --json
said_of warn daemon '' 'one answers at'
said_of warn file data "served already by leaseholdd pid $(pid) as export data"
said_of warn listener '' 'in use'
expect "recalls of the daemon's export" "$(status .exports[0].generation)" 1
is_serving || fail "the daemon does not serve any more"

# Another one's: they stand in the way.
taken=$(port)
use e
add_export data "$files/data"
add_listener "$fabric" "$addr" "$taken"
write_config
doctor 1 --json
said_of fail file data "served already by leaseholdd pid ${d_pid[d]}"
said_of fail listener "$fabric $addr port $taken" 'in use'
expect_text "what to do" "$(jq -r '.checks[] | select(.check == "listener") | .next' "$tmp/doctor.out")" 'choose another port'

# A client's.
use d
lh_ok doctor
lh_ok doctor --json
jq -e '.failed == 0 and (.checks | length > 0)' "$tmp/out" >/dev/null || fail "no JSON: $(cat "$tmp/out")"
lh_ok doctor --json "$(target data)"
cp "$tmp/out" "$tmp/doctor.out"
said_of ok connection '' "to $addr:$(port) by iwarp"
said_of ok 'direct access' '' 'version [0-9]+:.* commit'
said_of ok 'round trip' '' 'answered in [0-9]+ µs'
said_of ok way data '^direct, by one-sided RDMA'
wait_for 5 "no grants left" grants_are 0
lh_ok doctor "$(target)"
expect_text "its table" "$(cat "$tmp/out")" '^ok +export data '
lh_status=0
lh doctor --json "$(target nosuch)" || lh_status=$?
expect "status with an export that is not there" $lh_status 1
cp "$tmp/out" "$tmp/doctor.out"
said_of fail export nosuch 'nosuch'
lh_fails 'one target, or none' doctor a b
lh_fails 'nothing://x' doctor nothing://x
daemon_stop
lh_status=0
lh doctor --json "$(target)" || lh_status=$?
expect "status without a daemon" $lh_status 1
cp "$tmp/out" "$tmp/doctor.out"
said_of fail connection '' 'no listener'

# What is wrong in the file, and what it names: each is found, and the rest looked at all the same.
use broken
echo 'listeners = ( { fabric = "pigeon"; } );' >"$tmp/broken/conf"
doctor 1 --json
said_of fail configuration '' 'conf:1: .*pigeon'
finds ok kernel >/dev/null || finds warn kernel >/dev/null
rm "$tmp/broken/conf"
doctor 1 --json
said_of fail configuration '' 'conf'

use f
mkdir "$files/dir"
: >"$files/empty"
make_file "$files/held" 1
add_export gone "$files/nosuch/data"
add_export absent "$files/absent"
add_export folder "$files/dir"
add_export empty "$files/empty"
add_export held "$files/held"
set_option "state_dir = \"$tmp/nosuch/state\";"
helper_start opener hold "$files/held" 60
wait_for 10 "the file open" said opener open
write_config
doctor 1 --json
said_of fail file gone 'does not exist'
said_of fail file absent 'does not exist'
said_of fail file folder 'is a directory'
said_of fail file empty 'is empty'
said_of fail file held 'open or mapped elsewhere: by python'
said_of fail folder state_dir 'cannot be made'
client_kill opener

# Adapters where there are none; tmpfs, which has no events to watch; an address that is not ours.
use g
make_file "$shm/data" 1
add_export data "$shm/data" 'tenure = "watch";'
add_listener iwarp 192.0.2.77 "$(port)"
[ -n "$(ls /sys/class/infiniband 2>/dev/null)" ] || add_listener verbs "$addr" "$(port)"
write_config
doctor 1 --json
said_of fail watch data 'fanotify|CAP_SYS_ADMIN'
said_of warn memory data 'gone with the power'
said_of fail listener "iwarp 192.0.2.77 port $(port)" 'no such address'
[ -n "$(ls /sys/class/infiniband 2>/dev/null)" ] || said_of fail adapter '' 'RDMA device|rdma_ucm|ib_uverbs'

# By somebody who may do little: it says so, and does not fail where nothing is needed.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	use h
	mkdir "$files/locked" "$tmp/h/locked"
	make_file "$files/locked/root" 1
	chown 65534 "$files/locked/root"
	chmod 666 "$files/locked/root"
	chmod 555 "$files/locked" "$tmp/h/locked"
	add_export root "$files/locked/root"
	set_option "runtime_dir = \"$tmp/h/locked/run\";"
	write_config
	status=0
	setpriv --bounding-set=-all --inh-caps=-all "$daemon" --config "$tmp/h/conf" --doctor --json >"$tmp/doctor.out" 2>"$tmp/doctor.err" || status=$?
	expect "status without rights" $status 1
	said_of fail folder runtime_dir 'cannot be made'
	said_of fail lease root "another user's \(uid 65534\)"
	said_of ok right CAP_SYS_ADMIN 'not there, and not needed'
	said_of fail place root 'no file can be made'
	chmod 755 "$files/locked" "$tmp/h/locked"
fi

# Wrong usage.
status=0
"$daemon" --json 2>"$tmp/err" || status=$?
expect "status of --json alone" $status 2
status=0
"$daemon" --check --doctor 2>"$tmp/err" || status=$?
expect "status of --check --doctor" $status 2
[ -z "$(find /tmp -maxdepth 1 -name 'leasehold-trial-*' -newer "$files/data")" ] || fail "a folder of the doctor's is left in /tmp"
[ -z "$(find "$files" "$shm" -name '.leasehold-probe-*')" ] || fail "a scratch file is left"
