#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# tenure = watch: local readers and writers under remote load: whole bytes, in bounded time, then grants again
# needs: host
# why: in the emulated machine each local read takes longer than the case can wait
# limit: 180
use d
# Here it is not the time that is tested, and where all is emulated registration takes its own.
set_option 'recall_deadline_ms = 5000;'
serve_watch 16
client writer hold --write "$(target data)"
wait_for 10 "the first grant" said writer '\bgranted\b'
for n in 1 2 3; do
	timeout $((10 * slow)) cat "$files/data" >"$tmp/copy" || fail "cat failed"
	expect "size of the copy" "$(size_of "$tmp/copy")" $((16 << 20))
	wait_serving
	wait_for 15 "granted again" says_at_least writer "$n" '\bregranted\b'
done
client_end writer INT
wait_for 10 "no grant" grants_are 0

# What a local process writes remote readers see; what they write it sees.
client reader hold "$(target data)"
wait_for 10 "a grant" said reader '\bgranted\b'
read -r begun ended <<<"$(helper pwrite "$files/data" 4096 65536 'local bytes ')"
[ $((ended - begun)) -lt $((3000000000 * slow)) ] || fail "open and pwrite took $(((ended - begun) / 1000)) µs"
lh_ok read --block "$(target data)" 4096 65536
cmp -s "$tmp/out" <(tail -c +4097 "$files/data" | head -c 65536) || fail "a remote reader does not see what was written locally"
expect_text "what was written" "$(head -c 100 "$tmp/out")" 'local bytes local bytes'
wait_serving
wait_for 15 "granted again" said reader '\bregranted\b'
client_end reader INT
make_file "$tmp/a" 16
lh_ok put --direct "$tmp/a" "$(target data)"
same_files "$tmp/a" "$files/data"
wait_serving

# One that reads in a loop gets on, and so does who is remote.
client writer hold --write "$(target data)"
wait_for 10 "a grant" said writer '\bgranted\b'
begun=$(status .exports[0].recalls)
helper_start loop pread-loop "$files/data" 6
wait_for 10 "the loop" grep -q open "$tmp/loop.out"
head -c 4096 /dev/urandom >"$tmp/piece"
lh_ok write --block "$(target data)" 8388608 <"$tmp/piece"
lh_ok read --block "$(target data)" 8388608 4096
client_end loop
recalls=$(($(status .exports[0].recalls) - begun))
read -r _ reads _ longest _ < <(grep reads "$tmp/loop.out")
[ "$reads" -ge 20 ] || fail "a local reader got only $reads reads in 6 s"
[ "$longest" -le $((2000 + 1000 * slow)) ] || fail "a local read took $((longest * 1000)) µs"
[ "$recalls" -ge 1 ] || fail "the local reader was no recall"
[ "$recalls" -le 30 ] || fail "$recalls recalls in 6 s of $reads local reads"
wait_serving
again=$(grep -cE '\bregranted\b' "$tmp/writer.out")
wait_for 15 "granted again when the reader is gone" eval '[ "$(status .exports[0].grants)" -gt 0 ]'
client_alive writer || fail "the client gave up"
client_end writer INT
expect "operations that got EBUSY" "$(stats .watch_expired)" 0
echo "$reads local reads, longest $longest ms, $recalls recalls, client regranted $again times" >"$tmp/summary.out"
