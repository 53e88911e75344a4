#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# mkfs, mount, files, trim, umount, fsck on the remote disk, and all there after reconnecting
# limit: 90
. "$E2E_CASES/../host.sh"
use d
# The port and the words of the README.
d_port[d]=4420
truncate -s 64M "$files/data"
add_export data "$files/data" 'prepare = "allocate";'
daemon_start
run nvme discover -t rdma -a "$addr"
run nvme connect -t rdma -a "$addr" -n "$nqn"
disk=$(disk)
mkdir "$tmp/mnt"
run mkfs.ext4 -q "$disk"
run mount -o discard "$disk" "$tmp/mnt"
cp -r "$lib" "$tmp/mnt/files"
cp -L /bin/bash "$tmp/mnt/bash"
make_file "$tmp/mnt/big" 4
sums=$(cd "$tmp/mnt" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
sync -f "$tmp/mnt"
make_file "$tmp/mnt/gone" 8
sync -f "$tmp/mnt"
rm "$tmp/mnt/gone"
run fstrim "$tmp/mnt"
run umount "$tmp/mnt"
run fsck.ext4 -fn "$disk"
expect_text "fsck" "$(cat "$tmp/out")" 'files'
quiet_kernel
disconnect

connect
disk=$(disk)
run mount -o ro "$disk" "$tmp/mnt"
expect "all files after reconnecting" "$(cd "$tmp/mnt" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)" "$sums"
run umount "$tmp/mnt"
quiet_kernel
disconnect
daemon_flat
daemon_stop
# The file is the file system.
run fsck.ext4 -fn "$files/data"
[ $(($(stat -c %b "$files/data") * 512)) -lt $((60 << 20)) ] || fail "fstrim gave nothing back to the file system"
