#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034,SC2119 # variables of lib.sh
# top in a real terminal: keys, sizes, a recall with its deadline, a daemon that goes and comes; how it ends
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 240
use d
make_file "$files/data" 8
make_file "$files/other" 2
add_export data "$files/data"
add_export other "$files/other"
for i in $(seq -w 1 30); do
	truncate -s 64k "$files/e$i"
	add_export "e$i-of-which-the-name-is-long" "$files/e$i"
done
set_option 'recall_deadline_ms = 10000;'
daemon_start
socket=$tmp/d/admin.sock

# terminal ROWS COLUMNS ARG...: top in one. `step`: the next ones of terminal.py; it waits until they are done.
terminal() {
	local size=("$1" "$2")
	shift 2
	steps=0
	rm -f "$tmp/steps" "$tmp"/done.*
	mkfifo "$tmp/steps"
	E2E_SLOW=$slow "${python[@]}" "$lib/terminal.py" "${size[@]}" "$leasehold" top --socket "$socket" --interval 0.2 "$@" \
		<"$tmp/steps" >"$tmp/top.out" 2>&1 &
	c_pid[top]=$!
	exec 8>"$tmp/steps"
}
done_or_dead() { [ -e "$tmp/done.$steps" ] || ! client_alive top; }
step() {
	steps=$((steps + 1))
	printf '%s\n' "$@" "run touch $tmp/done.$steps" >&8
	wait_for 60 "a step of: $*" done_or_dead
	[ -e "$tmp/done.$steps" ] || fail "top: $(head -1 "$tmp/top.out")"
}
# The last ones.
steps_end() {
	printf '%s\n' "$@" end >&8
	exec 8>&-
	client_end top
}
line_lengths() { awk -v most="$1" 'length($0) > most { print NR ": " length($0); bad = 1 } END { exit bad }' "$2" || fail "lines of $2 are longer than $1"; }

client one hold --range 0:1M "$(target data)"
client two hold --range 2M:1M "$(target data)"
wait_for 10 "a grant for one" said one granted
wait_for 10 "a grant for two" said two granted

for size in "24 80" "50 200"; do
	# shellcheck disable=SC2086 # two words
	terminal $size
	step "see 10 ^leasehold top +leaseholdd .* pid $(pid), up .* every 0.2 s" \
		'see 5 ^exports +32, 32 serving +clients 2 +grants 2$' \
		'see 5 ^block +reads [0-9.]+/s, .* writes [0-9.]+/s' \
		"see 5 ^iwarp +registered [0-9]+ of " \
		'see 5 ^EXPORT +STATE +GEN +RUNG +SIZE +GRANTS +CLIENTS +RECALLS' \
		'see 5 ^data +serving +1 pinned +8.0 MiB +2 +2 +0' \
		'see 5 ^CLIENT +BLOCK|^ *CLIENT +BLOCK' "save $tmp/screen.${size// /x}" \
		"never 0.1 WAITING"
	# Sorted by another: the one with grants first; End: the last one, which was not shown on the small one.
	step 'key s' 'see 5 sorted by state' 'key s' 'see 5 sorted by grants' 'key s' 'key s' 'see 5 sorted by size' \
		'key s' 'see 5 sorted by name' 'key end' 'see 5 ^other ' 'key home' 'see 5 ^data '
	# Into an export and out of it; help.
	step 'key \r' "see 5 ^data: $files/data" 'see 5 ^ *CLIENT GRANTS +BYTES +HOST' \
		'see 5 ^ *[0-9]+ +1 +1.0 MiB +nqn' 'see 5 ^ *[0-9]+ +2097152 +1.0 MiB read +granted' \
		"save $tmp/inside.${size// /x}" 'key \e' 'see 5 ^EXPORT ' 'key ?' 'see 5 keys$' 'never 0.1 ^EXPORT' 'key x' 'see 5 ^EXPORT '
	# The other way round, while it runs: and back.
	step 'size 50 200' 'see 5 ^EXPORT .* WHY$' 'see 5 ^e30-of-which-the-~' 'size 24 80' 'see 5 ^EXPORT .* RECALLS$' \
		'see 10 q quit' 'size 10 30' 'see 5 ^leasehold top' 'size 5 20' 'see 5 ^leasehold' "size $size" 'see 5 ^EXPORT '
	# Reclaim asks first.
	step 'key r' 'see 5 Reclaim data from its clients\?.*y/n' 'key n' 'see 5 nothing was reclaimed' 'never 0.3 ^data .* [12]$'
	steps_end 'key q' 'status 0'
done
expect "recalls so far" "$(stats .recalls)" 0
line_lengths 80 "$tmp/screen.24x80"
line_lengths 200 "$tmp/screen.50x200"
expect "rows of the small one" "$(wc -l <"$tmp/screen.24x80")" 24

# A recall that somebody does not answer, with its deadline; then it does. Reclaim, for real.
terminal 24 80
step 'see 10 ^data '
suspend "${c_pid[two]}"
head -c 1 "$files/data" >/dev/null &
reader=$!
step 'see 10 ^RECALL +data: deadline in [0-9.]+ s; clients were asked, 2 clients, generation 1' 'see 5 ^data +recalling' \
	'key \r' 'see 5 ^RECALL +data: ' 'see 5 recalling' 'key \e'
kill -CONT "${c_pid[two]}"
wait "$reader"
step 'see 10 ^data +serving +2 ' 'never 0.3 ^RECALL' 'see 5 ^recalls +1, 0 fenced +owners waited: half <= '
step 'key r' 'see 5 y/n' 'key y' 'see 20 data was reclaimed' 'see 10 ^data +serving +3 '
wait_for 10 "who held it was asked" said one 'told generation 2'

# The daemon goes and comes back.
daemon_stop busy
step 'see 10 ^WAITING: no daemon answers at ' 'see 1 ^data '
daemon_launch 8>&-
wait_for 20 "the daemon" daemon_ready
step 'never 0 x' "see 20 pid $(pid)," 'never 0.5 WAITING' 'see 5 ^data +serving'
steps_end 'signal TERM' 'status 0'
client_end one INT
client_end two INT

# Before there is one; an interrupt from the keyboard; inside an export that goes.
daemon_stop
terminal 24 80
step 'see 10 WAITING: no daemon answers at '
daemon_launch 8>&-
wait_for 20 "the daemon" daemon_ready
step 'see 20 ^exports +32' 'key end' 'key \r' "see 5 ^other: $files/other"
lh_ok export remove --socket "$socket" other
step 'see 10 ^other: is no export any more' 'key left' 'see 10 ^exports +31'
steps_end 'key \x03' 'status 0'

# One plain screen, for scripts, also where there is no terminal. No line is too long.
lh_ok top --once --interval 0.1 --socket "$socket"
expect_text "once" "$(cat "$tmp/out")" '^data +serving '
expect "its exports" "$(grep -c '^e[0-9][0-9]-of' "$tmp/out")" 30
line_lengths 80 "$tmp/out"
COLUMNS=140 lh_ok top --once --interval 0.1 --socket "$socket"
expect_text "once, and wide" "$(cat "$tmp/out")" '^EXPORT .* WHY$'
line_lengths 140 "$tmp/out"
lh_ok top --interval 0.1 --socket "$socket"
expect_text "without a terminal" "$(cat "$tmp/out")" '^leasehold top +leaseholdd'
! grep -q $'\e' "$tmp/out" || fail "escapes are in what is for scripts"
lh_fails 'give seconds' top --interval 0 --socket "$socket"
lh_fails 'takes no "data"' top data
daemon_stop
status=0
lh top --once --socket "$socket" || status=$?
expect "the exit status without a daemon" "$status" 4
