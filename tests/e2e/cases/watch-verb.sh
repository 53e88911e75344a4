#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# watch: who holds nothing is told of recalls, sizes, offline and back, in order, and nobody waits for it
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 150
use d
make_file "$files/data" 8
make_file "$files/other" 4
add_export data "$files/data"
add_export other "$files/other"
daemon_start

# events NAME: what it was told since the last `mark`, a word each.
seen=0
mark() { seen=$(wc -l <"$tmp/w.out"); }
since() { tail -n +$((seen + 1)) "$tmp/w.out" | grep -qE -- "$1"; }
events() { tail -n +$(($([ "$1" = w ] && echo "$seen" || echo 0) + 1)) "$tmp/$1.out" | awk '{ print $2 }' | paste -sd' '; }
are() { [ "$(events "$1")" = "$2" ]; }
of_data() { status ".exports[] | select(.name == \"data\")$1"; }
is_later() { [ "$(of_data .generation)" -gt "$1" ] && [ "$(of_data .state)" = serving ]; }
recall() {
	local before
	before=$(of_data .generation)
	head -c 1 "$files/data" >/dev/null
	wait_for 10 "the next generation" is_later "$before"
}

client w watch "$(target data)"
client j watch --json "$(target data)"
client elsewhere watch "$(target other)"
wait_for 10 "the beginning" are w begun
wait_for 10 "the beginning in JSON" said j '"event":"begun"'
wait_for 10 "the beginning of the other" are elsewhere begun
expect_text "the first line" "$(cat "$tmp/w.out")" '^[0-9:]{8}\.[0-9]{6} begun serving, generation 1, 8\.0 MiB, pinned$'

# Recalls, while nobody holds it, and while somebody does. No grant is made for who watches.
recall
wait_for 10 "a recall" are w "begun recalling released served"
client holder hold "$(target data)"
wait_for 10 "a grant" said holder granted
expect "whose grants there are" "$(status '.exports[0].clients')" 1
recall
wait_for 10 "a recall of what is held" are w "begun recalling released served recalling released served"
client_end holder INT
expect_text "the words" "$(cat "$tmp/w.out")" 'recalling generation 2: the file system wants all back$'
expect_text "the words" "$(cat "$tmp/w.out")" 'served generation 3, 8\.0 MiB$'
expect "what was said of the other export" "$(events elsewhere)" begun

# Before it is over: while somebody has the file open it is told what is so far.
mark
exec 9<"$files/data"
wait_for 10 "what is so far" are w "recalling released"
sleep 0.3
expect "what is told while the file is open" "$(events w)" "recalling released"
exec 9<&-
wait_for 10 "the end" are w "recalling released served"

# Another size.
mark
fallocate -l 10M "$files/data"
wait_for 10 "the size" since 'resized to 10485760 bytes \(10\.0 MiB\)$'
wait_for 10 "the end" since 'served generation 5, 10\.0 MiB$'

# A range of it.
mark
wait_serving
lh_ok reclaim --socket "$tmp/d/admin.sock" --range 1M:1M --hold 1 data
wait_for 10 "a range" since "recalling generation 5: the file system wants 1048576 bytes at 1048576 back"
wait_for 10 "it is free" since "released generation 5: the file system has 1048576 bytes at 1048576"
wait_for 20 "it is served again" since 'served generation 5'

# It goes and comes back.
mark
lh_ok export remove --socket "$tmp/d/admin.sock" data
wait_for 10 "it is gone" since '\boffline\b'
lh_ok export add --socket "$tmp/d/admin.sock" data "$files/data"
wait_for 10 "it is back" since '\bserved\b'

# One that does not take what it is told: a recall does not wait for it, whatever the deadline is.
suspend "${c_pid[j]}"
for _ in 1 2 3; do recall; done
took=$(of_data '.last_recall | .unlocked_ns - .seen_ns')
[ "$took" -lt $((500000000 * slow)) ] || fail "a recall took $took ns while one that watches was stopped"
expect "fences" "$(stats .recalls_fenced)" 0
kill -CONT "${c_pid[j]}"
wait_for 10 "what it had missed" eval '[ "$(jq -r "select(.event == \"served\").generation" "$tmp/j.out" | tail -1)" = "$(of_data .generation)" ]'
client_end j INT
jq -es 'all(.[]; .time and .time_ns > 0 and .size_bytes > 0 and .state and (.generation | type) == "number")' "$tmp/j.out" >/dev/null || fail "a line lacks a field: $(tail -1 "$tmp/j.out")"
jq -es 'map(select(.event == "recalling")) | length >= 6 and (map(.whole) | index(false) != null) and all(.[]; .length > 0)' "$tmp/j.out" >/dev/null || fail "recalls in JSON: $(grep recalling "$tmp/j.out" | head -3)"

# The target goes and comes back.
mark
daemon_stop busy
wait_for 10 "the loss" since '\blost\b'
daemon_launch
wait_for 20 "its return" since '\breconnected\b'
wait_for 10 "the daemon" daemon_ready
wait_for 10 "what it is then" since 'served|reconnected$'
sleep 0.5
mark
recall
wait_for 10 "a recall after that" are w "recalling released served"
client_end w INT
client_end elsewhere TERM

# How it ends, and what it does not take.
lh_ok watch --seconds 1 "$(target data)"
expect_text "for a second" "$(cat "$tmp/out")" ' begun '
lh_fails 'whole number' watch --seconds x "$(target data)"
lh_fails 'wants one target' watch
lh_fails 'no export "nothing"' watch "$(target nothing)"
client gone watch "$(target data)"
wait_for 10 "the beginning" are gone begun
daemon_kill
wait_for 20 "the loss" said gone '\blost\b'
client_end gone INT
