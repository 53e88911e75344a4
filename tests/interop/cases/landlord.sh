#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# grow, shrink and punch by a local process under I/O: no error but for the bytes that are gone, and none of them back
# limit: 150
. "$E2E_CASES/../host.sh"
use d
make_file "$files/data" 16
add_export data "$files/data"
daemon_start
connect -i 2
disk=$(disk)
has_bytes() { [ "$(disk_bytes "$disk")" = "$1" ]; }
# Over and over in the first 3 MiB, whatever becomes of the rest.
steady() {
	until [ -e "$tmp/enough" ]; do
		fio --name=steady --filename="$disk" "${fio_options[@]}" --rw=randwrite --bs=4k --size=3m --io_size=1m --iodepth=8 || return
	done
}
background steady steady
# And of the rest each block by itself: what is punched and what is cut below may go, and only that.
background torn "${helper_py[@]}" writer "$disk" $((4 << 20)):$((12 << 20)) "$tmp/acknowledged" \
	$((4 << 20)):$((6 << 20)) $((8 << 20)):$((12 << 20))
# torn_by FIELD: acknowledged, gone. goes_on: it writes, whatever was taken.
torn_by() { tail -1 "$tmp/torn.out" | grep -oE "[0-9]+ $1" | cut -d' ' -f1; }
has_done() { [ "$(torn_by acknowledged)" -ge "$1" ]; }
goes_on() { wait_for 20 "the writer going on" has_done $(($(torn_by acknowledged) + 100)); }
wait_for 10 "the writer at work" has_done 100

resize "$files/data" $((24 << 20))
wait_for 10 "the host told of the growth" has_bytes $((24 << 20))
run nvme write "$disk" -s $((20 << 8)) -c 0 -z 4096 -d /bin/bash --force
run nvme read "$disk" -s $((20 << 8)) -c 0 -z 4096 -d "$tmp/back"
cmp -s "$tmp/back" <(head -c 4096 /bin/bash) || fail "what was written into the new part is not read back"

resize "$files/data" $((8 << 20))
wait_for 10 "the host told of the shrinking" has_bytes $((8 << 20))
refused 'LBA|CAP|range' nvme read "$disk" -s $((8 << 8)) -c 0 -z 4096 -d "$tmp/back"
refused 'LBA|CAP|range' nvme write "$disk" -s $((20 << 8)) -c 0 -z 4096 -d /bin/bash --force
goes_on
expect "size of the file" "$(size_of "$files/data")" $((8 << 20))

# Grown again there are zeros, not what was there once: from 12 MiB on nobody wrote meanwhile.
resize "$files/data" $((16 << 20))
wait_for 10 "the host told of the second growth" has_bytes $((16 << 20))
run nvme read "$disk" -s $((12 << 8)) -c 255 -z 1048576 -d "$tmp/back"
cmp -s "$tmp/back" <(head -c 1048576 /dev/zero) || fail "stale data beyond the old end"

# Of 3 MiB the first is nobody's.
fallocate -p -o $((3 << 20)) -l 3M "$files/data"
wait_serving
run nvme read "$disk" -s $((3 << 8)) -c 255 -z 1048576 -d "$tmp/back"
cmp -s "$tmp/back" <(head -c 1048576 /dev/zero) || fail "the punched range does not read as zeros"
run nvme write "$disk" -s $((3 << 8)) -c 0 -z 4096 -d /bin/bash --force
goes_on

resize "$files/data" $((8 << 20))
wait_for 10 "the host told of the last shrinking" has_bytes $((8 << 20))
goes_on
client_end torn TERM
[ "$(torn_by gone)" -gt 0 ] || fail "no command met what was taken: this proves nothing"
run "${helper_py[@]}" written "$files/data" "$tmp/acknowledged"
touch "$tmp/enough"
client_alive steady || fail "fio ended too early to show anything: $(tail -1 "$tmp/steady.out")"
client_end steady
expect "errors of the steady fio" "$(fio_errors "$tmp/steady.out")" 0
# A command for what is gone fails, and the kernel says so.
quiet_kernel 'Dev nvme.*LBA|capacity change|Rescanning|rescanning|LBA Out of Range|critical target error|beyond EOD|callbacks suppressed'
is_live "$ctrl" || fail "the controller is not live after all"
verified after "$disk" --rw=randrw --bs=4k --size=2m --iodepth=16
disconnect
