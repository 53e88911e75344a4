#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# sector_atomic = "journal": what kill -9 tears the next start makes whole; it is said where it is off; it goes off
# needs: host
# why: nothing in it depends on the adapter, and the file is on tmpfs
# limit: 240
use d
make_file "$shm/data" 64
add_export data "$shm/data" 'lba = 4096; sector_atomic = "journal";'
daemon_start
expect "sector_atomic" "$(status .exports[0].sector_atomic)" journal
journal=$tmp/d/state/journals/data
expect "its mode" "$(stat -c %a "$journal")" 600

# Two files of which no byte is the same, one over the other, until the daemon dies.
truncate -s 64M "$tmp/old" "$tmp/new"
helper pattern "$tmp/old" 0 $((64 << 20)) 'oldoldol'
helper pattern "$tmp/new" 0 $((64 << 20)) 'NEWNEWNE'
# blocks: how many different ones the file has.
blocks() { od -An -v -tx8 -w4096 "$shm/data" | sort -u | wc -l; }
# put_and_kill: and has at least one write torn, in "$tmp/torn".
put_and_kill() {
	local try
	for ((try = 0; try < 40; try++)); do
		lh_ok put --block "$tmp/old" "$(target data)"
		same_files "$tmp/old" "$shm/data"
		client put put --block "$tmp/new" "$(target data)"
		sleep 0.1
		daemon_kill
		kill -KILL "${c_pid[put]}" 2>/dev/null || true
		wait "${c_pid[put]}" 2>/dev/null || true
		unset "c_pid[put]"
		helper tear "$journal" "$shm/data" >"$tmp/torn"
		[ ! -s "$tmp/torn" ] || return 0
		daemon_start
	done
	fail "no write was under way when the daemon was killed, 40 times: this proves nothing"
}
# whole_blocks: of the file; each is of one kind. Writes that were torn are of the new kind.
whole_blocks() {
	local offset length text
	expect "kinds of blocks" "$(blocks)" "$1"
	while read -r offset length text; do
		expect "bytes of the write" "$text" NEWNEWNE
		helper check "$shm/data" "$offset" "$length" NEWNEWNE
	done <"$tmp/torn"
}
put_and_kill
expect "kinds of blocks, with torn ones" "$(blocks)" 3
daemon_start
whole_blocks 2
expect_text "the log" "$(log)" "data: $(wc -l <"$tmp/torn") writes had not ended .* blocks made whole, 0 left"
[ "$(stats .journal_mended_blocks)" -gt 0 ] || fail "journal_mended_blocks is $(stats .journal_mended_blocks)"
before=$(stats .journal_records)
lh_ok put --block "$tmp/new" "$(target data)"
same_files "$tmp/new" "$shm/data"
[ "$(stats .journal_records)" -ge $((before + 512)) ] || fail "64 MiB went by $(stats .journal_records) records"

# What somebody writes in between stays; so does a hole.
put_and_kill
read -r offset length text <"$tmp/torn"
fallocate -p -o "$offset" -l 4096 "$shm/data"
helper pattern "$shm/data" $((offset + length - 4096)) 100 'local...'
daemon_start
helper check "$shm/data" $((offset + length - 4096)) 100 'local...'
expect "bytes of the page that was punched" \
	"$(tail -c +$((offset + 1)) "$shm/data" | head -c 4096 | tr -d '\0' | wc -c)" 0

# A start without one makes it good as well, and then it is gone. And what is said of it.
put_and_kill
sed -i 's/sector_atomic = "journal"/sector_atomic = "none"/' "$tmp/d/exports"
"$daemon" --config "$tmp/d/conf" --doctor >"$tmp/doctor.out" 2>&1 || true
expect_text "the doctor, with it" "$(cat "$tmp/doctor.out")" 'torn.* data .*no block'
daemon_start
whole_blocks 2
[ ! -e "$journal" ] || fail "$journal is there still"
expect "sector_atomic" "$(status .exports[0].sector_atomic)" none
"$daemon" --config "$tmp/d/conf" --doctor >"$tmp/doctor.out" 2>&1 || true
expect_text "the doctor, without" "$(cat "$tmp/doctor.out")" 'torn.* data .*may be torn'

# By a reload, on and off; the disk is the same.
uuid=$(status .exports[0].uuid)
for word in journal none; do
	sed -i "s/sector_atomic = \"[a-z]*\"/sector_atomic = \"$word\"/" "$tmp/d/exports"
	write_config
	lh_ok reload --socket "$tmp/d/admin.sock"
	wait_serving
	expect "sector_atomic" "$(status .exports[0].sector_atomic)" "$word"
	expect "uuid" "$(status .exports[0].uuid)" "$uuid"
done
[ ! -e "$journal" ] || fail "$journal is there still"
daemon_stop

# Where it cannot be.
use e
make_file "$shm/more" 1
add_export more "$shm/more" 'sector_atomic = "journal";'
set_option 'state_dir = "";'
daemon_refuses 'needs a place for the journal'
