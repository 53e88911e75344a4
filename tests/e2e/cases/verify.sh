#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# --verify finds what differs, and nothing else; a put of a file larger than the export is refused
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 120
use d
make_file "$files/data" 16
truncate -s 512M "$files/large"
add_export data "$files/data"
add_export large "$files/large"
daemon_start
make_file "$tmp/a" 16
for how in --direct --block; do
	lh_ok put --verify "$how" "$tmp/a" "$(target data)"
	lh_ok get --verify "$how" "$(target data)" "$tmp/b"
	same_files "$tmp/a" "$tmp/b"
done
make_file "$tmp/large" 17
lh_fails 'larger|does not fit|bytes|range' put "$tmp/large" "$(target data)"
lh_ok get "$(target data)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"

# What differs is found: byte 3 of the copy is changed while the rest of it still comes, before it is compared.
mkdir "$tmp/sink"
client get get --verify --block --depth 1 "$(target large)" "$tmp/sink/copy"
"${python[@]}" - "${c_pid[get]}" "$tmp/sink" >"$tmp/changed.out" 2>&1 <<'P'
import os, signal, sys, time
pid, sink, end = int(sys.argv[1]), sys.argv[2], time.monotonic() + 30
while True:
    parts = os.listdir(sink)
    size = os.stat(os.path.join(sink, parts[0])).st_size if parts else 0
    if size > 0:
        break
    assert time.monotonic() < end, "it does not begin"
    time.sleep(0.001)
os.kill(pid, signal.SIGSTOP)
part = os.path.join(sink, parts[0])
size = os.stat(part).st_size
with open(part, "r+b") as f:
    f.seek(3)
    f.write(b"\x5a")
os.kill(pid, signal.SIGCONT)
print(size)
P
[ "$(cat "$tmp/changed.out")" -lt $((512 << 20)) ] || fail "it was all there already: this proves nothing"
status=0
wait "${c_pid[get]}" || status=$?
unset "c_pid[get]"
expect "the exit status of a get whose copy differs" "$status" 3
expect_text "what it says" "$(cat "$tmp/get.out")" 'verify: byte 3 of the export is 00h, .* has 5ah'
expect "files left by it" "$(find "$tmp/sink" -type f | wc -l)" 0
