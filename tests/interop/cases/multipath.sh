#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# two controllers on one namespace, the access by each changed under I/O: one disk, no error, I/O by the other path
# limit: 90
. "$E2E_CASES/../host.sh"
use d
make_file "$files/data" 8
second=$(helper free-port "$addr")
add_listener "$fabric" "$addr" "$(port)"
add_listener "$fabric" "$addr" "$second"
add_export data "$files/data"
daemon_start
mapfile -t at < <(at)
run nvme connect-all "${at[@]}" "${host[@]}" -k 30 -c 1 -l 120 -i 1
expect "controllers after connect-all" "$(controllers "$nqn" | wc -l)" 2
disk=$(disk)
expect "disks" "$(find /dev -name 'nvme*n*' -type b | wc -l)" 1
for c in $(controllers "$nqn"); do
	run nvme ana-log "/dev/$c"
	expect_text "ana-log" "$(cat "$tmp/out")" 'optimized'
done

# path PORT FILE: of the path by that port.
path() {
	local dir
	for dir in /sys/block/nvme*c*n1; do
		if grep -q "trsvcid=$1" "$dir/device/address"; then cat "$dir/$2"; return; fi
	done
	fail "there is no path by port $1"
}
state_is() { [ "$(path "$1" ana_state)" = "$2" ]; }
ana() { "$leasehold" listener ana --socket "$tmp/d/admin.sock" "$addr:$1" "$2" >"$tmp/out" 2>"$tmp/err" || fail "listener ana: $(cat "$tmp/err")"; }
# ios PORT: I/Os that went by that path.
ios() { path "$1" stat | awk '{ print $1 + $5 }'; }

background writer "${helper_py[@]}" writer "$disk" 0:$((8 << 20)) "$tmp/acknowledged"
wait_for 20 "the writer at work" said writer '[1-9][0-9]* acknowledged'
# goes_by PORT OTHER: I/O goes by the one, none by the other.
goes_by() {
	local one other
	sleep 0.5
	one=$(ios "$1") other=$(ios "$2")
	wait_for 20 "I/O by port $1" eval "[ \"\$(ios $1)\" -ge $((one + 50)) ]"
	expect "I/Os by the path without access" "$(ios "$2")" "$other"
}
ana "$(port)" inaccessible
wait_for 10 "the host told of the first path" state_is "$(port)" inaccessible
goes_by "$second" "$(port)"
ana "$(port)" optimized
wait_for 10 "the first path back" state_is "$(port)" optimized
ana "$second" non-optimized
wait_for 10 "the host told of the second path" state_is "$second" non-optimized
goes_by "$(port)" "$second"
# Nowhere to go for a while: it waits.
ana "$second" inaccessible
ana "$(port)" change
wait_for 10 "the host told of the change" state_is "$(port)" change
sleep 1
client_alive writer || fail "the writer did not wait: $(tail -1 "$tmp/writer.out")"
ana "$(port)" optimized
goes_by "$(port)" "$second"
# A path that is gone altogether.
ana "$second" optimized
for c in $(controllers "$nqn"); do
	grep -q "trsvcid=$(port)" "/sys/class/nvme/$c/address" || continue
	run nvme disconnect -d "$c"
done
one=$(ios "$second")
wait_for 20 "I/O by what is left" eval "[ \"\$(ios $second)\" -ge $((one + 50)) ]"
client_end writer TERM
quiet_kernel 'Removing ctrl|no usable path'
disconnect
run "${helper_py[@]}" written "$files/data" "$tmp/acknowledged"
wait_serving
