#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# discover, connect-all, Identify, every log page, every feature, as nvme-cli asks for them
# limit: 90
. "$E2E_CASES/../host.sh"
use d
make_file "$files/data" 16
make_file "$files/more" 8
add_export data "$files/data"
add_export more "$files/more" 'lba = 512;'
daemon_start
mapfile -t at < <(at)

run nvme discover "${at[@]}" "${host[@]}"
expect_text "nvme discover" "$(cat "$tmp/out")" "subnqn: +$nqn"
expect_text "nvme discover" "$(cat "$tmp/out")" "traddr: +$addr"
run nvme connect-all "${at[@]}" "${host[@]}" -k 30 -c 1 -l 120
ctrl=$(controllers "$nqn")
expect "controllers after connect-all" "$(wc -w <<<"$ctrl")" 1
disk=$(disk 1) more=$(disk 2)
expect "size of the disk of 4 KiB blocks" "$(disk_bytes "$disk") $(blockdev --getss "$disk")" "$((16 << 20)) 4096"
expect "size of the disk of 512 byte blocks" "$(disk_bytes "$more") $(blockdev --getss "$more")" "$((8 << 20)) 512"

run nvme list -v
expect_text "nvme list -v" "$(cat "$tmp/out")" "$ctrl .* Leasehold "
expect_text "nvme list -v" "$(cat "$tmp/out")" "${disk#/dev/} "
run nvme list-subsys
run nvme id-ctrl -H "/dev/$ctrl"
for field in 'mn +: Leasehold' 'ver +: 0x20000' 'cntrltype +: 1' "subnqn +: $nqn" 'fuses +: 0x1' 'ioccsz +: (260|320)'; do
	expect_text "id-ctrl" "$(cat "$tmp/out")" "$field"
done
for d in "$disk" "$more"; do
	run nvme id-ns -H "$d"
	expect_text "id-ns" "$(cat "$tmp/out")" "nsze +: 0x$(printf %x $(($(disk_bytes "$d") / $(blockdev --getss "$d"))))"
	run nvme ns-descs "$d"
	expect_text "ns-descs" "$(cat "$tmp/out")" 'uuid +: [0-9a-f-]{36}'
	run nvme cmdset-ind-id-ns "$d" -n "$(cat "/sys/block/${d#/dev/}/nsid")"
	run nvme nvm-id-ns "$d"
done
run nvme nvm-id-ctrl "/dev/$ctrl"
run nvme id-iocs "/dev/$ctrl"
run nvme list-ns "/dev/$ctrl"
expect "namespaces" "$(grep -c '0x' "$tmp/out")" 2
run nvme get-ns-id "$more"
# (Not show-regs, which in nvme-cli 2.3 takes a property that is not there for the end of all.)
for property in 0x0 0x8 0x14 0x1c; do
	run nvme get-property "/dev/$ctrl" -o $property
done
expect_text "CSTS" "$(cat "$tmp/out")" 'value: 1$'

run nvme supported-log-pages "/dev/$ctrl"
for verb in error-log smart-log fw-log changed-ns-list-log effects-log ana-log fid-support-effects-log resv-notif-log; do
	run nvme $verb "/dev/$ctrl"
done
run "${helper_py[@]}" logs "/dev/$ctrl"
pages=$(cat "$tmp/out")
for page in 0x00 0x01 0x02 0x03 0x04 0x05 0x0c 0x12 0x80; do
	expect_text "the log pages" "$pages" $page
done
# Each raw, too.
for page in $pages; do
	run nvme get-log "/dev/$ctrl" --log-id="$page" --lpo=4 --log-len=12 -b
done
expect_text "SMART" "$(nvme smart-log "/dev/$ctrl")" 'critical_warning[^:]*: 0'

run "${helper_py[@]}" features "/dev/$ctrl"
features=$(cat "$tmp/out")
for feature in $features; do
	[ "$feature" != 0x06 ] || continue
	case $feature in
	0x05 | 0x8[23]) options=(-n 1) ;;
	0x81) options=(-c 1 -l 16) ;; # the extended form, the only one over fabrics
	*) options=(-n 0) ;;
	esac
	run nvme get-feature "/dev/$ctrl" "${options[@]}" -f "$feature" -H
done
for feature in 0x01 0x02 0x04 0x05 0x07 0x0a 0x0b 0x0f 0x16 0x81 0x82 0x83; do
	expect_text "the features" "$features" $feature
done
run nvme set-feature "/dev/$ctrl" -f 0x04 --value=0x150
expect_text "the temperature threshold" "$(nvme get-feature "/dev/$ctrl" -f 4)" '0x0*150'
run "${helper_py[@]}" bad "/dev/$ctrl" "$disk"
run nvme error-log "/dev/$ctrl"
expect_text "the error log" "$(cat "$tmp/out")" 'error_count'
quiet_kernel
disconnect
