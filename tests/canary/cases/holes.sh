#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh and storm.sh
# writers who die while what they write to is punched or cut off: nothing of it comes back by itself
# limit: 300
prepare=allocate # once, when the export is added: not what is punched later
. "$E2E_CASES/../storm.sh"

clients_are() { [ "$(status '.clients | length')" = "$1" ]; }
# What the file takes, without opening it: that would be a recall.
blocks_now() { stat -c %b "$files/data"; }
# unchanged WHAT FORMAT: for a while, in which the others have grants again.
unchanged() {
	local before n
	before=$(stat -c "$2" "$files/data")
	wait_serving
	[ -z "${c_pid[direct]-}" ] || wait_for 20 "the bystander's grants" eval '[ "$(status .exports[0].grants)" -ge 1 ]'
	for n in 1 2 3 4 5 6; do
		sleep 0.05
		expect "$1, which nobody writes to any more, look $n" "$(stat -c "$2" "$files/data")" "$before"
	done
}
punch() { fallocate -p -n -o "$arena" -l "$arena_bytes" "$files/data" || fail "the hole could not be punched"; }

# One that asks for grants and one that does without; at a moment of theirs the landlord begins, and they die.
# What he does here ends, with the writes that were under way; then nothing may change but by him.
die_during() {
	local name op=$1 landlord
	load_blindly "$arena" "$arena_bytes"
	c_pid[granted]=${c_pid[blind]}
	[ "$rung" = staged ] || wait_for 20 "bytes written by a grant" said blind '^writing'
	load plain 2 block range "$arena" "$arena_bytes" blind
	wait_for 20 "bytes written by commands" said plain '^writing'
	sleep "0.0$((RANDOM % 10))"
	"$op" &
	landlord=$!
	[ $((RANDOM % 2)) = 0 ] || sleep "0.00$((RANDOM % 10))"
	unset "c_pid[blind]"
	for name in granted plain; do client_kill "$name"; done
	wait "$landlord" || fail "$op failed"
	wait_for 20 "the dead noticed" clients_are "$bystanders"
}

restore() {
	resize "$files/data" $((21 << 20))
	fallocate -o "$arena" -l "$arena_bytes" "$files/data"
	wait_serving
}

cut() { resize "$files/data" "$arena"; }

serve_arena
bystanders=0
if [ "$rung" != staged ]; then
	load direct 2 range 4M 4M
	bystanders=1
fi
end=$((SECONDS + seconds)) rounds=0
while [ $SECONDS -lt $end ] || [ $rounds -lt 3 ]; do
	restore
	full=$(blocks_now)
	die_during punch
	unchanged "what was punched" %b
	punch
	unchanged "a hole" %b
	[ "$(blocks_now)" -le $((full - arena_bytes / 512 + 64)) ] || fail "of $full sectors $(blocks_now) are left when $((arena_bytes / 512)) were punched"

	restore
	die_during cut
	expect "the size" "$(size_of "$files/data")" "$arena"
	unchanged "what was cut off" "%s %b"
	rounds=$((rounds + 1))
done
echo "  $rounds rounds, $(stats .recalls) recalls, $(stats .recalls_fenced) fenced"
[ $bystanders = 0 ] || {
	client_alive direct || fail "the bystander ended: $(tail -1 "$tmp/direct.out")"
	client_end direct INT
}
daemon_stop
