#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# fio --verify=crc32c: random and sequential, queue depths 1 to 128, several queues, blocks of 512 and 4096
# limit: 90
. "$E2E_CASES/../host.sh"
use d
make_file "$files/data" 16
make_file "$files/more" 8
set_option 'reactors = 2;'
add_export data "$files/data"
add_export more "$files/more" 'lba = 512;'
daemon_start
connect -i 2 -Q 128
disk=$(disk 1) more=$(disk 2)
expect "queues" "$(cat "/sys/class/nvme/$ctrl/queue_count")" 3
verified random-1 "$disk" --rw=randrw --bs=4k --size=1m --iodepth=1
verified sequential-16 "$disk" --rw=write --bs=128k --size=12m --iodepth=16
verified random-16 "$disk" --rw=randrw --bsrange=4k-64k --size=8m --iodepth=16
verified random-128 "$disk" --rw=randwrite --bs=4k --size=6m --iodepth=128
verified small-16 "$more" --rw=randrw --bsrange=512-8k --bs_unaligned=0 --size=2m --iodepth=16
verified small-sequential-1 "$more" --rw=rw --bs=8k --size=1m --iodepth=1
# Two at once on queues of their own, with trims between.
background other fio --name=other --filename="$more" "${fio_options[@]}" --rw=randtrimwrite --bs=4k --size=2m --iodepth=32
verified deep-128 "$disk" --rw=randrw --bs=4k --size=4m --iodepth=128 --numjobs=2 --offset_increment=8m
client_end other
expect "errors of the fio with trims" "$(fio_errors "$tmp/other.out")" 0
quiet_kernel
disconnect
