# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154,SC2034 # variables of tests/e2e/lib.sh and of the cases
# The kernel's own NVMe/RDMA host against leaseholdd, in the testbed VM. A case sources this first. It knows
#   $nqn   the subsystem            $ctrl  nvme0, the controller last connected     $host  what says who we are
here=$(dirname "${BASH_SOURCE[0]}")
nqn=nqn.2026-11.org.leasehold:target
host=(--hostnqn nqn.2014-08.org.nvmexpress:uuid:7a1f2a32-5b1e-4c8e-8b55-0b6f5c1d7e01
	--hostid 7a1f2a32-5b1e-4c8e-8b55-0b6f5c1d7e01)
ctrl=''

[ -n "$vm" ] || skip "only in the testbed VM: connects this machine's own kernel"
for tool in nvme fio; do
	command -v "$tool" >/dev/null || skip "there is no $tool"
done
modprobe -q nvme-rdma || skip "the kernel has no nvme-rdma"

# What was there or said before does not count.
[ -z "$(ls /sys/class/nvme)" ] || timeout "$((20 * slow))" nvme disconnect-all >"$tmp/before.out" 2>&1 || true
dmesg -C

# The helper in Python; see its head.
helper_py=("${python[@]}" "$here/host.py")

# ---- connecting ---------------------------------------------------------------------------------

# Where the current daemon is, for nvme-cli.
at() { printf '%s\n' -t rdma -a "$addr" -s "$(port)"; }

controllers() { # NQN: names
	local dir
	for dir in /sys/class/nvme/nvme*; do
		[ -e "$dir/subsysnqn" ] || continue
		[ "$(cat "$dir/subsysnqn")" != "$1" ] || basename "$dir"
	done
}

# connect [OPTION...]: to $nqn; its time-outs are short, and fit for a machine that is emulated.
connect() {
	local before options new
	before=$(controllers "$nqn")
	mapfile -t options < <(at)
	run nvme connect "${options[@]}" -n "$nqn" "${host[@]}" -k 30 -c 1 -l 120 "$@"
	new=$(comm -13 <(sort <<<"$before") <(controllers "$nqn" | sort))
	ctrl=$(tail -1 <<<"$new")
	[ -n "$ctrl" ] || fail "nvme connect succeeded, but there is no new controller"
}

disconnect() {
	run nvme disconnect -n "$nqn"
	wait_for 5 "the controllers gone" eval '[ -z "$(controllers "$nqn")" ]'
}

# disk [NSID]: the block device of a namespace, which may take a moment to appear.
disk() {
	local end=$((SECONDS + 10 * slow)) dir
	while [ $SECONDS -lt $end ]; do
		for dir in /sys/block/nvme*; do
			[[ $(basename "$dir") =~ ^nvme[0-9]+n[0-9]+$ ]] || continue
			[ "$(cat "$dir/nsid" 2>/dev/null)" = "${1:-1}" ] && [ -b "/dev/$(basename "$dir")" ] || continue
			[[ $(cat "$dir/device/subsysnqn" 2>/dev/null) = "$nqn" ]] || continue
			echo "/dev/$(basename "$dir")"
			return
		done
		sleep 0.1
	done
	fail "the host has no disk for namespace ${1:-1}"
}

disk_bytes() { blockdev --getsize64 "$1"; }
is_live() { [ "$(cat "/sys/class/nvme/$1/state")" = live ]; }

# ---- running ------------------------------------------------------------------------------------

# run COMMAND...: must succeed; its output in $tmp/out and $tmp/err.
run() {
	local status=0
	timeout -k 5 "$((60 * slow))" "$@" >"$tmp/out" 2>"$tmp/err" || status=$?
	[ $status -eq 0 ] || fail "$* failed with $status: $(cat "$tmp/out" "$tmp/err" | tail -3 | tr '\n' ' ')"
}

# refused REGEX COMMAND...: must fail, and say so.
refused() {
	local status=0 regex=$1
	shift
	timeout -k 5 "$((60 * slow))" "$@" >"$tmp/out" 2>"$tmp/err" || status=$?
	[ $status -ne 0 ] || fail "$* succeeded"
	[ $status -lt 124 ] || fail "$* did not end as it should: $status"
	expect_text "$*" "$(cat "$tmp/out" "$tmp/err")" "$regex"
}

# background NAME COMMAND...: ended like a client (client_end, client_alive).
background() {
	local name=$1
	shift
	"$@" >"$tmp/$name.out" 2>&1 &
	c_pid[$name]=$!
}

# A disk that has gone is not to be made as a file, which would be in the way of the next one.
fio_options=(--ioengine=libaio --direct=1 --allow_file_create=0 --verify=crc32c --verify_fatal=1 --randrepeat=0 --group_reporting
	--output-format=terse --terse-version=3)
# verified NAME DISK FIO-OPTION...: written, read back, compared.
verified() {
	local name=$1 disk=$2
	shift 2
	run fio --name="$name" --filename="$disk" "${fio_options[@]}" "$@"
	expect "fio's errors in $name" "$(fio_errors "$tmp/out")" 0
}
fio_errors() { awk -F';' '$1 == 3 { e += $5; n++ } END { print n ? e + 0 : "none said" }' "$1"; }

# ---- what the kernel said -----------------------------------------------------------------------

trouble='nvme.*(error|fail|time|invalid|bogus|unable|cannot|not )|I/O error|blk_update|Buffer I/O|WARNING|BUG:|Oops'
# quiet_kernel [REGEX]: nothing that sounds like trouble, but for what is expected.
quiet_kernel() {
	local said
	dmesg >"$tmp/dmesg.out"
	said=$(grep -E "$trouble" "$tmp/dmesg.out" | grep -vE -- "${1:-^$}" || true)
	[ -z "$said" ] || fail "the kernel says: $(head -3 <<<"$said" | tr '\n' ' ')"
}

# ---- the end ------------------------------------------------------------------------------------

# Before the daemon goes: a host that has lost its target would try for long.
at_end() {
	dmesg >"$tmp/dmesg.out"
	! mountpoint -q "$tmp/mnt" || umount "$tmp/mnt" || umount -l "$tmp/mnt"
	timeout "$((20 * slow))" nvme disconnect-all >/dev/null 2>&1 || true
	wait_for 5 "the controllers gone" eval '[ -z "$(ls /sys/class/nvme)" ]'
}
