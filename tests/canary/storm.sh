# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154,SC2034 # variables of tests/e2e/lib.sh and of the cases
# A landlord who takes blocks of an exported file away as often as he can, and gives them to a canary at
# once, while remote hosts write. Sourced by each case; `storm OP...` is the test. The file:
#
#   0      4 MiB   block commands, verified: fio on the kernel's host in the testbed VM, else our client
#   4 MiB  4 MiB   direct, verified, by our client
#   8 MiB  12 MiB  the arena: the landlord's; and our client writes blindly whatever it can
#   20 MiB 1 MiB   behind it
#
# LEASEHOLD_CANARY_SECONDS: how long each storm lasts (10).
# LEASEHOLD_CANARY_RUNG: odp, pinned or staged (what the adapter is best on); staged has no direct clients.
#
# A case may set `prepare`, as the export has it. One that sets `unshare` has its clones unshared for who wants
# grants: then whoever writes blindly uses no block commands, and the landlord's round goes on until all of the
# arena is granted again beside the clone. One that sets `directly` has whoever writes blindly use no block
# commands, either.
canary=$(dirname "${BASH_SOURCE[0]}")
. "$E2E_LIB/blocks.sh"
seconds=${LEASEHOLD_CANARY_SECONDS:-10} rung=${LEASEHOLD_CANARY_RUNG-}
arena=$((8 << 20)) arena_bytes=$((12 << 20))
unshare=${unshare-} prepare=${prepare-} directly=${directly-$unshare}
# How many the landlord waits for each time.
grants=2
[ "$rung" != staged ] || grants=0
stress=$bin/initiator/stress/lh-stress

counted() { sed -n "s/.*\b$2=\([0-9]*\).*/\1/p" "$tmp/$1.out"; }

# load NAME ARG...: lh-stress, until the storm is over.
load() {
	local name=$1
	shift
	: >"$tmp/$name.out"
	"$stress" "$(target data)" 100000 "$@" >"$tmp/$name.out" 2>&1 &
	c_pid[$name]=$!
}

# load_blindly OFFSET LENGTH: whatever can be written there, by grants where there are such; by nothing else
# if it has to be `directly`.
load_blindly() {
	if [ "$rung" = staged ]; then
		load blind 2 block range "$1" "$2" blind
	else
		load blind 2 range "$1" "$2" blind ${directly:+no-fallback}
	fi
}

kernel_host() {
	[ -n "$vm" ] && [ "$fabric" = verbs ] && command -v nvme >/dev/null && command -v fio >/dev/null && modprobe -q nvme-rdma
}
steady() {
	until [ -e "$tmp/enough" ]; do
		fio --name=steady --filename="$1" "${fio_options[@]}" --rw=randrw --bsrange=4k-64k --size=4m --io_size=4m --iodepth=16 || return
	done
}

start_loads() {
	# First: beside the others the emulated machine takes long to find its disk.
	if kernel_host; then
		. "$canary/../interop/host.sh"
		connect -i 2
		background steady steady "$(disk)"
	else
		load block 2 block range 0 4M
	fi
	[ "$rung" = staged ] || load direct 2 range 4M 4M
	# Not where the first MiB of the arena is: collapse moves there what nobody writes.
	load_blindly $((arena + (1 << 20))) $((arena_bytes - (1 << 20)))
	[ "$rung" = staged ] || wait_for 20 "grants" eval '[ "$(status .exports[0].grants)" -ge 2 ]'
}

end_loads() {
	local name
	touch "$tmp/enough"
	for name in direct block blind; do
		[ -n "${c_pid[$name]-}" ] || continue
		client_alive "$name" || fail "the $name load ended before the storm did: $(tail -1 "$tmp/$name.out")"
		client_end "$name" INT
		[ "$(counted "$name" writes)" -gt 0 ] || fail "the $name load wrote nothing: this proves nothing"
		[ "$name" = blind ] || [ "$(counted "$name" reads)" -gt 0 ] || fail "the $name load read nothing: this proves nothing"
	done
	[ "$rung" = staged ] || [ "$(counted direct recalls)" -ge 2 ] || fail "the direct load saw $(counted direct recalls) recalls only"
	[ -n "${c_pid[steady]-}" ] || return 0
	client_end steady
	expect "errors of fio" "$(fio_errors "$tmp/steady.out")" 0
	disconnect
}

serve_arena() {
	make_file "$files/data" 21
	sync "$files/data"
	use d
	set_option "recall_deadline_ms = 500; ${unshare:+allocate_reserve_percent = 0;}"
	add_export data "$files/data" "${rung:+registration = \"$rung\";} ${unshare:+unshare = \"on-acquire\";} ${prepare:+prepare = \"$prepare\";}"
	daemon_start
	on_its_rung
	[ -z "$vm" ] || fill_up
}

on_its_rung() {
	[ -z "$rung" ] || expect "the rung" "$(status '.exports[0].rungs | map(.rung) | unique | join(",")')" "$rung"
}

# take OP GRANTS [COMMAND...]: the landlord himself, who waits for so many grants each time.
take() {
	local op=$1 grants=$2
	shift 2
	"${python[@]}" "$canary/landlord.py" "$op" "$files/data" "$files/canary" "$arena" "$arena_bytes" "$seconds" \
		"$tmp/d/admin.sock" "$grants" ${unshare:+--whole} "$@" >"$tmp/landlord.out" 2>&1 || fail "$op: $(tail -1 "$tmp/landlord.out")"
	echo "  $op: $(tail -1 "$tmp/landlord.out")"
}

# The canary has had the blocks that were taken away; without that nothing is shown.
was_given() {
	local given of
	read -r given of < <(sed -n 's/.*given \([0-9]*\) of \([0-9]*\) blocks.*/\1 \2/p' "$tmp/landlord.out")
	[ "$of" -gt 0 ] || fail "the landlord found no blocks: this proves nothing"
	[ $((given * 100)) -ge $((of * $1)) ] || fail "the canary got only $given of the $of blocks taken away: this proves nothing"
}

# act OP: in the VM, what is taken away must have become the canary's, but for what is written elsewhere
# meanwhile. xfs notes down more when it shares.
act() {
	local op=$1 left=$((2 << 20)) percent=70
	case $op in
	clone-out) left=$((8 << 20)) ;;
	clone-in) left=$(((8 << 20) + arena_bytes)) percent=95 ;; # the canary is there before
	refill) left=$(((2 << 20) + arena_bytes)) ;;
	esac
	# What is parted takes as much again, and what was freed just before is free when the journal says so.
	[ -z "$unshare" ] || left=$((left + 4 * arena_bytes))
	[ -z "$vm" ] || leave $left
	take "$op" "$grants"
	[ -z "$vm" ] || was_given $percent
}

# What a local process writes is read from remote, behind the arena, where nobody else writes.
rewritten() {
	local half=$((seconds / 2)) how
	for how in --direct --block; do
		[ "$rung" != staged ] || [ $how = --block ] || continue
		seconds=$half arena=$((20 << 20)) arena_bytes=$((64 << 10)) \
			take rewrite "$grants" "$leasehold" read "$how" "$(target data)" $((20 << 20)) $((64 << 10))
	done
}

# storm OP...: one after another, under the same loads.
storm() {
	local op
	[ -z "$directly" ] || [ "$rung" != staged ] || skip "nobody has grants on the staged rung"
	serve_arena
	start_loads
	for op in "$@"; do
		if [ "$op" = rewrite ]; then rewritten; else act "$op"; fi
	done
	end_loads
	if [ -n "$unshare" ]; then
		[ "$(stats .unshared_bytes)" -ge $((arena_bytes - (1 << 20))) ] || fail "only $(stats .unshared_bytes) bytes were unshared: this proves nothing"
		echo "  $(counted blind writes) direct writes, $(stats .unshared_bytes) bytes unshared"
	fi
	daemon_stop
}

clones() {
	local status=0
	make_file "$files/probe" 1
	cp --reflink=always "$files/probe" "$files/probed" 2>"$tmp/probe.err" || status=1
	rm -f "$files/probe" "$files/probed"
	return $status
}
needs_clones() { clones || skip "this file system does not clone: $(cat "$tmp/probe.err")"; }
