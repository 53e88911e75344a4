#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# each I/O command by nvme-cli, and the bytes as the file has them
# limit: 90
. "$E2E_CASES/../host.sh"
use d
make_file "$files/data" 16
add_export data "$files/data"
daemon_start
want=$shm/want
cp "$files/data" "$want"
connect
disk=$(disk)
# as_wanted WHAT: opening the file recalls it, so this is a landlord at work, too.
as_wanted() {
	cmp "$files/data" "$want" >"$tmp/cmp.out" 2>&1 || fail "after $1 the file is not as it should be: $(cat "$tmp/cmp.out")"
	wait_serving
}
# put BLOCK FILE: what the file should have.
put() { dd if="$2" of="$want" bs=4096 seek="$1" conv=notrunc status=none; }
zero() { dd if=/dev/zero of="$want" bs=4096 seek="$1" count="$2" conv=notrunc status=none; }
as_wanted "copying it"

# In the capsule, by one key, and as much as a command may carry.
for blocks in 1 2 64 256; do
	dd if=/dev/urandom of="$tmp/in" bs=4096 count=$blocks status=none
	run nvme write "$disk" -s 7 -c $((blocks - 1)) -z $((blocks * 4096)) -d "$tmp/in" --force
	put 7 "$tmp/in"
	run nvme read "$disk" -s 7 -c $((blocks - 1)) -z $((blocks * 4096)) -d "$tmp/back"
	same_files "$tmp/in" "$tmp/back"
done
run nvme write "$disk" -s 4000 -c 0 -z 4096 -d "$tmp/in" --force --force-unit-access
head -c 4096 "$tmp/in" >"$tmp/one"
put 4000 "$tmp/one"
run nvme flush "$disk"
as_wanted "writes"

run nvme compare "$disk" -s 7 -c 255 -z 1048576 -d "$tmp/in"
dd if=/dev/urandom of="$tmp/other" bs=4096 count=1 status=none
refused 'COMPARE_FAIL|[Cc]ompare' nvme compare "$disk" -s 7 -c 0 -z 4096 -d "$tmp/other"
run nvme verify "$disk" -s 0 -c 1023

run nvme copy "$disk" -d 2000 -s 7,1000 -b 15,31 -F 0
dd if="$want" of="$tmp/a" bs=4096 skip=7 count=16 status=none
dd if="$want" of="$tmp/b" bs=4096 skip=1000 count=32 status=none
put 2000 "$tmp/a"
put 2016 "$tmp/b"
as_wanted "copy"
# Which lie over each other:
refused 'OVERLAP|[Oo]verlap|INVALID|0x[0-9a-f]*187' nvme copy "$disk" -d 10 -s 7 -b 15 -F 0

run nvme write-zeroes "$disk" -s 100 -c 99 --force
zero 100 100
before=$(stat -c %b "$files/data")
as_wanted "write-zeroes"
expect "blocks after write-zeroes" "$(stat -c %b "$files/data")" "$before"
run nvme write-zeroes "$disk" -s 512 -c 511 --deac --force
zero 512 512
run nvme dsm "$disk" -d -s 1536,3072 -b 128,128
zero 1536 128
zero 3072 128
as_wanted "deallocation"
freed=$(((before - $(stat -c %b "$files/data")) / 8))
[ $freed -ge 700 ] || fail "deallocation of 768 blocks gave $freed back to the file system"
# Into the holes, and read from what is left of them.
run nvme write "$disk" -s 600 -c 63 -z 262144 -d "$tmp/in" --force
head -c 262144 "$tmp/in" >"$tmp/part"
put 600 "$tmp/part"
run nvme read "$disk" -s 512 -c 255 -z 1048576 -d "$tmp/back"
as_wanted "a write into holes"
cmp "$tmp/back" <(dd if="$want" bs=4096 skip=512 count=256 status=none) || fail "holes are read wrongly"

refused 'INVALID_OPCODE|[Ii]nvalid|opcode' nvme write-uncor "$disk" -s 0 -c 0 --force
refused 'LBA_RANGE|LBA|range' nvme read "$disk" -s 4096 -c 0 -z 4096 -d "$tmp/back"
quiet_kernel
disconnect
daemon_flat
daemon_stop
cmp -s "$files/data" "$want" || fail "the file changed after all"
