#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# grow, shrink and punch by a local process under fio --verify: no error but for the bytes that are gone
# limit: 120
. "$E2E_CASES/../host.sh"
use d
make_file "$files/data" 16
add_export data "$files/data"
daemon_start
connect -i 2
disk=$(disk)
has_bytes() { [ "$(disk_bytes "$disk")" = "$1" ]; }
# Over and over in the first 4 MiB, whatever becomes of the rest.
steady() {
	until [ -e "$tmp/enough" ]; do
		fio --name=steady --filename="$disk" "${fio_options[@]}" --rw=randwrite --bs=4k --size=4m --io_size=1m --iodepth=8 || return
	done
}
background steady steady

resize "$files/data" $((24 << 20))
wait_for 10 "the host told of the growth" has_bytes $((24 << 20))
run nvme write "$disk" -s $((20 << 8)) -c 0 -z 4096 -d /bin/bash --force
run nvme read "$disk" -s $((20 << 8)) -c 0 -z 4096 -d "$tmp/back"
cmp -s "$tmp/back" <(head -c 4096 /bin/bash) || fail "what was written into the new part is not read back"

resize "$files/data" $((8 << 20))
wait_for 10 "the host told of the shrinking" has_bytes $((8 << 20))
refused 'LBA|CAP|range' nvme read "$disk" -s $((8 << 8)) -c 0 -z 4096 -d "$tmp/back"
refused 'LBA|CAP|range' nvme write "$disk" -s $((20 << 8)) -c 0 -z 4096 -d /bin/bash --force
expect "size of the file" "$(size_of "$files/data")" $((8 << 20))

# Grown again there are zeros, not what was there once.
resize "$files/data" $((16 << 20))
wait_for 10 "the host told of the second growth" has_bytes $((16 << 20))
run nvme read "$disk" -s $((12 << 8)) -c 255 -z 1048576 -d "$tmp/back"
cmp -s "$tmp/back" <(head -c 1048576 /dev/zero) || fail "stale data beyond the old end"

fallocate -p -o $((5 << 20)) -l 1M "$files/data"
wait_serving
run nvme read "$disk" -s $((5 << 8)) -c 255 -z 1048576 -d "$tmp/back"
cmp -s "$tmp/back" <(head -c 1048576 /dev/zero) || fail "the punched range does not read as zeros"
run nvme write "$disk" -s $((5 << 8)) -c 0 -z 4096 -d /bin/bash --force
touch "$tmp/enough"
client_alive steady || fail "fio ended too early to show anything: $(tail -1 "$tmp/steady.out")"
client_end steady
expect "errors of the steady fio" "$(fio_errors "$tmp/steady.out")" 0
quiet_kernel 'Dev nvme.*LBA|capacity change|Rescanning|rescanning'

# Over the end and back: errors, of the kind they should be, and only there.
background torn fio --name=torn --filename="$disk" --ioengine=libaio --direct=1 --rw=randread --bs=4k --size=16m \
	--iodepth=8 --time_based --runtime=$((slow * 2)) --continue_on_error=io --output-format=terse --terse-version=3
sleep 1
resize "$files/data" $((8 << 20))
wait_for 10 "the host told of the last shrinking" has_bytes $((8 << 20))
client_status=0
wait "${c_pid[torn]}" || client_status=$?
unset "c_pid[torn]"
is_live "$ctrl" || fail "the controller is not live after all"
verified after "$disk" --rw=randrw --bs=4k --size=2m --iodepth=16
disconnect
