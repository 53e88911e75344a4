# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154,SC2034 # variables of tests/e2e/lib.sh and of the cases
# Where each attack takes place, and what is looked at afterwards, the same for all. A case sources
# this first. The export, in MiB:
#
#    0   4         8     10    11    12            16
#    | - | block   | dir | -   | prey | -            |      - : nobody's, a pattern that must stay
#
# Two bystanders read, write and verify all the time, one with block commands, one directly. The
# landlord truncates the file to 12 MiB, and what he gets is given to another file at once.
. "$E2E_LIB/blocks.sh"

readonly adversary=$bin/tests/adversary/adversary stress=$bin/initiator/stress/lh-stress
readonly mib=1048576 prey=11534336 cut=12582912
readonly pattern='nobody writes here. '
readonly deadline=$((1500 * (slow < 4 ? slow : 4)))
# $grant_keys: what the case wants of the export; mr unless it says so.
# Only in the VM is there a file system small enough to fill.
full=${vm:-no}
blocks_fenced=0

bystander() {
	local name=$1
	shift
	"$stress" "$(target data)" 600 1 pause $((20 * slow)) "$@" >"$tmp/$name.out" 2>&1 &
	c_pid[$name]=$!
}

both_here() { [ "$(status '.clients | length')" = 2 ] && grants_are 1; }

arena() {
	truncate -s $((16 * mib)) "$files/data"
	helper pattern "$files/data" 0 $((16 * mib)) "$pattern"
	sync "$files/data"
	blocks_of "$files/data" >"$tmp/before"
	use d
	add_export data "$files/data" "grant_keys = \"${grant_keys:-mr}\";"
	set_option "recall_deadline_ms = $deadline;"
	set_option 'max_grants_per_client = 64;'
	daemon_start
	if [ "$full" = yes ]; then
		fill_up
		leave $((256 << 10))
	fi
	# Over verbs it takes an adapter for which windows are proven.
	[ "$(status .exports[0].rungs[0].grant_keys)" = "${grant_keys:-mr}" ] ||
		skip "no windows: $(status .exports[0].rungs[0].grant_keys_why)"
	own_keys=$(status .exports[0].keys)
	bystander block block range $((4 * mib)) $((4 * mib))
	bystander direct range $((8 * mib)) $((2 * mib))
	wait_for 10 "the bystanders at work" both_here
}

# attack NAME [TRIES]: in the background, as the client "foe".
attack() {
	ASAN_OPTIONS=detect_leaks=0 "$adversary" "$fabric" "$addr" "$(port)" "$(status .daemon.nqn)" 1 "$1" $prey "${2-1}" >"$tmp/foe.out" 2>&1 &
	c_pid[foe]=$!
}

foe_is() { said foe "^$1" || ! client_alive foe; }
foe_failed() { grep -m1 -E '^(WORKED|FAILED|adversary:|rogue:)' "$tmp/foe.out" || tail -1 "$tmp/foe.out"; }

# foe_says WHAT SECONDS
foe_says() {
	wait_for "$2" "the attack is $1" foe_is "$1"
	said foe "^$1" || fail "the attack broke off: $(foe_failed)"
}

# The attack is over, and nothing has come of it. foe_ends [SIGNAL]
foe_ends() {
	local status=0
	[ -z "${1-}" ] || kill "-$1" "${c_pid[foe]}" 2>/dev/null || true
	wait "${c_pid[foe]}" || status=$?
	unset "c_pid[foe]"
	[ $status -eq 0 ] || fail "$(foe_failed) (exit status $status)"
	! grep -qE '^(WORKED|FAILED)' "$tmp/foe.out" || fail "$(foe_failed)"
}

# At least so many attempts were refused.
refused() {
	local n
	n=$(grep -c '^refused' "$tmp/foe.out" || true)
	[ "$n" -ge "$1" ] || fail "only $n attempts were refused: the test proves nothing"
}

# The landlord takes the last quarter back, and the blocks are another file's.
landlord() {
	local begun ended took
	read -r begun ended <<<"$(helper truncate "$files/data" $cut)"
	fallocate -l $((4 * mib)) "$files/canary" || fail "no room for the canary: the blocks were not freed"
	helper pattern "$files/canary" 0 $((4 * mib)) "$pattern"
	landlord_done=$ended
	took=$(((ended - begun) / 1000000))
	[ $took -le $((deadline + 1000 * slow)) ] || fail "the landlord waited $took ms with a deadline of $deadline ms"
	if [ "$full" = yes ]; then
		blocks_of "$files/canary" >"$tmp/after"
		shared=$(shared_blocks "$tmp/before" "$tmp/after")
		[ "$shared" -ge 900 ] || fail "only $shared of the canary's blocks were freed ones: the test proves nothing"
	fi
}

undisturbed() {
	local line n
	client_end "$1" INT
	line=$(tail -1 "$tmp/$1.out")
	for n in reconnects fenced dead; do
		grep -q "\\b$n=0\\b" <<<"$line" || fail "the $1 bystander was disturbed: $line"
	done
	for n in reads writes; do
		! grep -q "\\b$n=0\\b" <<<"$line" || fail "the $1 bystander did nothing: $line"
	done
}

# verdict FENCED: how many clients the recall may have fenced.
verdict() {
	daemon_alive || fail "leaseholdd died: $(log | tail -1)"
	wait_for 20 "the export serving" is_serving
	expect "fenced clients" "$(status .exports[0].last_recall.fenced_clients)" "$1"
	expect "size of the export" "$(status .exports[0].size_bytes)" $cut
	expect "block queues cut" "$(stats .nvme_block_fences)" $blocks_fenced
	undisturbed block
	undisturbed direct
	wait_for 20 "no grant left" grants_are 0
	wait_for 20 "no client left" eval '[ "$(status ".clients | length")" = 0 ]'
	expect "keys" "$(status .exports[0].keys)" "$own_keys"
	expect "size of the file" "$(size_of "$files/data")" $cut
	helper check "$files/data" 0 $((4 * mib)) "$pattern" || fail "bytes changed that are nobody's"
	helper check "$files/data" $((10 * mib)) $mib "$pattern" || fail "bytes changed that are nobody's"
	helper check "$files/canary" 0 $((4 * mib)) "$pattern" || fail "the canary changed"
	rm -f "$files/filler"
}
