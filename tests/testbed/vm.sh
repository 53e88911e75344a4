# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/testbed and the other pieces
# One run of the VM: its settings, QEMU, and the judgement afterwards. Sourced by scripts/testbed, whose options it
# reads; vm_run is the last thing that happens and sets the exit status.

# What a line of the console or of dmesg looks like when the kernel is in trouble. Only the first line of a report: one
# that is known would be found by its second line otherwise.
readonly TROUBLE='WARNING: |BUG: |Oops[: ]|kernel BUG at|general protection fault|Kernel panic|[Uu]nable to handle kernel'\
'|refcount_t: |UBSAN: |corruption\. |INFO: task .* blocked for more than'

vm_run() {
	work=$(mktemp -d "${TMPDIR:-/tmp}/leasehold-testbed.XXXXXX")
	qemu_pid='' follow_pid=''
	trap vm_cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	log_prepare
	medium_prepare
	settings_write
	mkfifo "$work/stdout" "$work/stderr"
	vm_once
	if emulation_failed; then
		warn "the emulated processor failed while the kernel came up; once more (console log: $log)"
		log_prepare
		vm_once
	fi
	log_finish
	judge
}

vm_once() {
	local cats

	cat "$work/stdout" &
	cats=($!)
	cat "$work/stderr" >&2 &
	cats+=($!)
	vm_start
	console_follow
	vm_wait
	wait "${cats[@]}" || true
}

# Code that one processor patches while another runs it is sometimes emulated wrongly, early in the boot. Nothing of
# ours has run by then.
emulation_failed() {
	! grep -q '^ready ' "$work/report" && grep -qa 'Oops: int3' "$log"
}

vm_cleanup() {
	[ -z "$qemu_pid" ] || kill "$qemu_pid" 2> /dev/null || true
	[ -z "$follow_pid" ] || kill "$follow_pid" 2> /dev/null || true
	rm -rf "$work"
}

log_prepare() {
	if [ -z "$log" ]; then
		mkdir -p "$cache/console"
		find "$cache/console" -type f -printf '%T@ %p\n' | sort -rn | tail -n +20 | cut -d' ' -f2- | xargs -r rm -f
		log=$cache/console/$(date +%Y%m%d-%H%M%S)-$$.log
	fi
	: > "$log" || die usage "--log: cannot write $log"
	: > "$work/report"
	: > "$work/dmesg"
}

medium_prepare() {
	[ -n "$medium" ] || return 0
	[ "$keep" = yes ] || truncate -s "$pmem" "$medium" || die setup "cannot make $medium of $pmem"
	medium=$(realpath "$medium")
	pmem=$(stat -c %s "$medium")
}

# The folder /testbed of the guest's initramfs.
settings_write() {
	local dir=$work/initramfs/testbed name environment=() checkout=''

	mkdir -p "$dir"
	while IFS= read -r name; do
		case $name in
		PATH | HOME | LANG | LC_* | TERM | LEASEHOLD_*) environment+=("$name=${!name}") ;;
		esac
	done < <(compgen -e)
	[ "$root" = host ] || checkout=$(git rev-parse --show-toplevel 2> /dev/null || pwd)
	results=${results:+$(realpath "$results")}
	{
		printf 'fs=%q rdma=%q klp=%q keep=%q\n' "$fs" "$rdma" "$klp" "$keep"
		printf 'results=%q checkout=%q cwd=%q timeout=%q\n' "${results:+yes}" "$checkout" "$PWD" "$timeout"
		printf 'environment=(%s)\n' "$(quoted "${environment[@]}")"
		printf 'command=(%s)\n' "$(quoted "${command[@]}")"
	} > "$dir/settings"
	cp "$testbed/guest-run" "$dir/"
	[ -z "$livepatch" ] || cp "$livepatch" "$dir/klp_pin.ko"
	cpio_archive "$work/initramfs" | cat "$initramfs" - > "$work/initramfs.gz"
}

quoted() { # WORD...
	[ $# -eq 0 ] || printf '%q ' "$@"
}

vm_start() {
	local args

	vm_arguments
	timeout --kill-after=10 "$timeout" qemu-system-x86_64 "${args[@]}" < /dev/null > "$work/qemu" 2>&1 &
	qemu_pid=$!
}

# Time in the guest is the host's, shared with whatever else runs there: no watchdog of time makes sense.
vm_arguments() {
	local append='console=ttyS0 loglevel=5 panic=-1 oops=panic tsc=reliable nowatchdog hugepages=32 log_buf_len=4M'
	# What guards against attackers: nobody attacks this kernel, and emulated it costs a tenth of the time.
	local unguarded='mitigations=off init_on_alloc=0 hardened_usercopy=off randomize_kstack_offset=off apparmor=0 no5lvl'
	local memory="memory-backend-ram,id=nvdimm,size=$pmem" lower=/ name

	[ -z "$medium" ] || memory="memory-backend-file,id=nvdimm,size=$pmem,share=on,mem-path=${medium//,/,,}"
	[ "$root" = host ] || lower=$buildroot
	# shellcheck disable=SC2054 # the commas are QEMU's
	args=(-M "pc,nvdimm=on,accel=${LEASEHOLD_TESTBED_ACCEL:-tcg}" -cpu max -smp "$smp" -m "$mem,slots=4,maxmem=64G"
		-nodefaults -no-user-config -display none -no-reboot
		-kernel "$(vm_kernel)" -initrd "$work/initramfs.gz"
		-append "$append $unguarded rcupdate.rcu_cpu_stall_suppress=1"
		-object "$memory" -device nvdimm,id=nv1,memdev=nvdimm
		-netdev user,id=n0,restrict=on -device virtio-net-pci,netdev=n0,host_mtu=9000,romfile=
		-serial "file:${log//,/,,}" -device virtio-serial-pci)
	for name in stdout stderr report dmesg; do
		args+=(-chardev "file,id=$name,path=$work/$name" -device "virtserialport,chardev=$name,name=$name")
	done
	share root "$lower" on
	share modules "$kernel_dir/root/lib/modules" on
	[ "$root" = host ] || share host / on
	[ -z "$results" ] || share results "$results" off
}

share() { # TAG DIR READONLY
	args+=(-virtfs "local,path=${2//,/,,},mount_tag=$1,security_model=none,readonly=$3,multidevs=remap")
}

vm_kernel() {
	local file

	for file in "$kernel_dir/root/lib/modules/$kernel/vmlinuz" "$kernel_dir/root/boot/vmlinuz-$kernel"; do
		[ ! -e "$file" ] || break
	done
	printf '%s\n' "$file"
}

# The kernel's own words as they come, each line marked as such, beside the command's standard error.
console_follow() {
	[ "$quiet" -eq 0 ] || return 0
	tail -n +1 -s 0.2 --pid="$qemu_pid" -f "$log" 2> /dev/null |
		sed -u -n 's/\r//g; s/^\(\x1b\[[0-9;]*[a-zA-Z]\)*//; /./s/^/kernel: /p' >&2 &
	follow_pid=$!
}

vm_wait() {
	vm_status=0
	wait "$qemu_pid" 2> /dev/null || vm_status=$?
	qemu_pid=''
	[ -z "$follow_pid" ] || wait "$follow_pid" || true
	follow_pid=''
}

# The console log is kept with the whole of dmesg behind it.
log_finish() {
	sed -i 's/\r//g' "$log"
	[ ! -s "$work/qemu" ] || { echo '--- qemu'; cat "$work/qemu"; } >> "$log"
	[ ! -s "$work/dmesg" ] || { echo '--- dmesg'; cat "$work/dmesg"; } >> "$log"
	[ ! -s "$work/report" ] || { echo '--- report'; cat "$work/report"; } >> "$log"
}

judge() {
	local status acquired released stuck

	sed -n 's/^note //p' "$work/report" | while IFS= read -r line; do say "$line"; done
	trouble_find > "$work/trouble"
	if [ -s "$work/trouble" ]; then
		head -n 20 "$work/trouble" >&2
		die kernel "kernel trouble (console log: $log)"
	fi
	grep -q '^ready ' "$work/report" || not_up
	status=$(sed -n 's/^exit //p' "$work/report")
	read -r acquired released < <(sed -n 's/^pins //p' "$work/report") || true
	[ -z "$status" ] || [[ ${acquired:-} =~ ^[0-9]+$ && ${released:-} =~ ^[0-9]+$ ]] ||
		die pins "the kernel's count of pinned pages was not read (console log: $log)"
	[ "${acquired:-}" = "${released:-}" ] ||
		die pins "$((acquired - released)) pages are still pinned ($acquired pinned, $released released);" \
			"the command returned ${status:-nothing} (console log: $log)"
	stuck=$(sed -n 's/^stuck //p' "$work/report")
	[ -z "$stuck" ] || die kernel "processes that no signal ends: $stuck(console log: $log)"
	[ -n "$status" ] || not_finished
	exit "$status"
}

trouble_find() {
	{ grep -aE "$TROUBLE" "$log" || true; } | known_filter | sort -u
}

known_filter() {
	local known

	known=$(grep -vE '^(#|$)' "$testbed/known-warnings") || true
	if [ -n "$known" ]; then grep -avE "$known"; else cat; fi || true
}

not_up() {
	sed -n 's/^failed /testbed: in the VM: /p' "$work/report" >&2
	grep -a '^TESTBED: ' "$log" >&2 || true
	cat "$work/qemu" >&2
	[ "$vm_status" -ne 124 ] || warn "the VM did not come up in $timeout s"
	die setup "the VM did not come up (console log: $log)"
}

not_finished() {
	[ "$vm_status" -ne 124 ] || die unfinished "the VM was ended after $timeout s (console log: $log)"
	die unfinished "the VM ended before the command did (console log: $log)"
}
