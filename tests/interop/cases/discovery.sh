#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a persistent discovery controller: the host is told of listeners and referrals that come and go, under I/O
# limit: 120
. "$E2E_CASES/../host.sh"
use d
make_file "$files/data" 8
second=$(helper free-port "$addr")
add_listener "$fabric" "$addr" "$(port)"
add_export data "$files/data"
daemon_start
socket=$tmp/d/admin.sock
well_known=nqn.2014-08.org.nvmexpress.discovery
mapfile -t at < <(at)
run nvme discover "${at[@]}" "${host[@]}" -p -k 30
discovery=$(controllers "$well_known")
[[ $discovery =~ ^nvme[0-9]+$ ]] || fail "there should be one persistent discovery controller: ${discovery:-none}"
background uevents "${helper_py[@]}" uevents
wait_for 10 "the listener for uevents" said uevents '^ready$'
# shown: the log as the host reads it; from then on it may be told again.
shown() {
	run "${helper_py[@]}" discovery "/dev/$discovery"
	cut -d' ' -f2- "$tmp/out"
}
one="current:1:$(port) nvm:1:$(port)"
expect "the log" "$(shown)" "$one"
last=$(cut -d' ' -f1 "$tmp/out")
# told COUNT LOG: the host's user space had so many events, and then reads that.
told() {
	wait_for 10 "event $1" says_at_least uevents "$1" "^uevent $discovery 0x70f002\$"
	expect "the log after event $1" "$(shown)" "$2"
	expect "events" "$(grep -c '^uevent' "$tmp/uevents.out")" "$1"
	[ "$(cut -d' ' -f1 "$tmp/out")" -gt "$last" ] || fail "the generation did not rise: $last, $(cat "$tmp/out")"
	last=$(cut -d' ' -f1 "$tmp/out")
}

connect
first=$ctrl
disk=$(disk)
background writer "${helper_py[@]}" writer "$disk" 0:$((8 << 20)) "$tmp/acknowledged"
wait_for 20 "the writer at work" said writer '[1-9][0-9]* acknowledged'

# A listener comes: the host is told, and connects by it.
lh_ok listener add "$(scheme)://$addr:$second" --socket "$socket"
told 1 "$one nvm:2:$second"
run nvme connect -t rdma -a "$addr" -s "$second" -n "$nqn" "${host[@]}" -k 30 -c 1 -l 120
path=$(comm -13 <(echo "$first") <(controllers "$nqn" | sort))
[ -n "$path" ] || fail "there is no second controller"
is_live "$path" || fail "$path is not live"

# It goes: the host is told, and has its connection still.
lh_ok listener remove 2 --socket "$socket"
told 2 "$one"
sleep 2
is_live "$path" || fail "$path was cut: $(cat "/sys/class/nvme/$path/state")"
run nvme id-ctrl "/dev/$path"
expect "controllers by it" "$(admin '{"v":1,"cmd":"listener-list"}' | jq -r '.result.listeners[]|select(.port_id==2)|"\(.state) \(.controllers)"')" "removed 1"
# Access is set, I/O goes by the other path, and then it may be cut: no error.
lh_ok listener ana 2 inaccessible --socket "$socket"
lh_ok listener remove 2 --disconnect --socket "$socket"
not_live() { ! is_live "$path"; }
wait_for 10 "$path cut" not_live
run nvme disconnect -d "$path"
client_alive writer || fail "the writer did not go on: $(tail -1 "$tmp/writer.out")"

# Referrals.
lh_ok referral add rdma://192.0.2.77:8009 --socket "$socket"
told 3 "$one referral:32768:8009"
lh_ok referral remove 1 --socket "$socket"
told 4 "$one"

# A port again, which is another one, and all of it by connect-all.
lh_ok listener add "$(scheme)://$addr:$second" --socket "$socket"
told 5 "$one nvm:3:$second"
client_end uevents TERM
run nvme connect-all "${at[@]}" "${host[@]}" -k 30 -c 1 -l 120
wait_for 10 "two controllers" eval '[ "$(controllers "$nqn" | wc -l)" = 2 ]'
acknowledged=$(tail -1 "$tmp/writer.out")
more() { [ "$(tail -1 "$tmp/writer.out")" != "$acknowledged" ]; }
wait_for 20 "the writer going on" more
client_end writer TERM
quiet_kernel 'recovery|[Rr]econnect|rdma connection establishment|Removing ctrl|no usable path|rejected|Connect (Invalid|rejected)|Property Set error: 880'
disconnect
run nvme disconnect -n "$well_known"
run "${helper_py[@]}" written "$files/data" "$tmp/acknowledged"
wait_serving
