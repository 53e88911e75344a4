#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a device-dax device is served, pinned and without a lease; its content and identity outlast the daemon
# needs: vm
# why: it takes /dev/dax0.0 (scripts/testbed --fs devdax)
# limit: 120
device=/dev/dax0.0
[ -c $device ] || skip "there is no $device; run it under scripts/testbed --fs devdax"
mib=$((1 << 20))
bytes=$(<"/sys/bus/dax/devices/${device##*/}/size")
use d
add_export data $device
daemon_start
expect "medium" "$(status .exports[0].medium)" device-dax
expect "tenure" "$(status .exports[0].tenure)" none
expect "rung" "$(status .exports[0].rungs[0].rung)" pinned
expect "volatile_cache" "$(status .exports[0].volatile_cache)" false
expect "size" "$(status .exports[0].size_bytes)" "$bytes"
uuid=$(status .exports[0].uuid)

# Both ways in see the same bytes, to the last one.
head -c $((4 * mib)) /dev/urandom >"$tmp/a"
for at in 0 $((64 * mib + 4097)) $((bytes - 4 * mib)); do
	lh_ok write --direct "$(target data)" "$at" <"$tmp/a"
	lh_ok read --block "$(target data)" "$at" $((4 * mib))
	same_files "$tmp/out" "$tmp/a"
done
head -c 65536 /dev/urandom >"$tmp/b"
lh_ok write --block "$(target data)" $((128 * mib + 512)) <"$tmp/b"
lh_ok read --direct "$(target data)" $((128 * mib + 512)) 65536
same_files "$tmp/out" "$tmp/b"
lh_fails 'range|beyond|past|behind' read --block "$(target data)" "$bytes" 512

# No file system asks for it; who runs it may. Meanwhile there is its mapping.
lh_ok reclaim --socket "$tmp/d/admin.sock" --hold 3600 data
expect "state" "$(export_state)" released
lh_ok read --block "$(target data)" $((bytes - 4 * mib)) $((4 * mib))
same_files "$tmp/out" "$tmp/a"
lh_ok write --block "$(target data)" 4096 <"$tmp/b"
lh_ok reclaim --socket "$tmp/d/admin.sock" --end data
wait_serving
lh_ok read --direct "$(target data)" 4096 65536
same_files "$tmp/out" "$tmp/b"
expect "fences" "$(stats .clients_fenced)" 0

lh_fails 'a device has the size that it has' export --socket "$tmp/d/admin.sock" resize data $((8 * mib))

# The same device under another name, and under a watch.
mknod "$tmp/dax" c $((0x$(stat -c %t $device))) $((0x$(stat -c %T $device)))
use other
add_export data "$tmp/dax"
daemon_refuses 'served already by leaseholdd pid'
use watched
add_export data $device 'tenure = "watch";'
daemon_refuses 'served already|tenure = "watch" is for files'
use d
daemon_stop
use watched
daemon_refuses 'tenure = "watch" is for files'
use d
daemon_start
expect "uuid" "$(status .exports[0].uuid)" "$uuid"
lh_ok read --block "$(target data)" $((bytes - 4 * mib)) $((4 * mib))
same_files "$tmp/out" "$tmp/a"
daemon_stop

# Without its driver there is no node.
echo "${device##*/}" >/sys/bus/dax/drivers/device_dax/unbind
rm -f $device
use gone
add_export data $device
daemon_refuses 'dax0.0 is disabled: "daxctl enable-device dax0.0"'

# As the kernel's ordinary memory it has none either. Nothing of it is made use of.
name=${device##*/}
if modprobe -q kmem && echo offline >/sys/devices/system/memory/auto_online_blocks &&
	echo "$name" >/sys/bus/dax/drivers/kmem/new_id && [ -e /sys/bus/dax/drivers/kmem/$name ]; then
	use ordinary
	add_export data $device
	daemon_refuses "$name is in system-ram mode: .*daxctl reconfigure-device --mode=devdax $name"
	echo "refused in system-ram mode"
else
	echo "this kernel does not make $name ordinary memory: that it is refused so is not tested here"
fi
