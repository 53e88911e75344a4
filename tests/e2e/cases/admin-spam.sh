#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# connections that flood the admin socket, and do not read, do not hold a recall up
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 120
serve 8
client writer hold --write "$(target data)"
wait_for 10 "a grant" grants_are 1
# One, or two where the file has grown since the first.
is_granted() { [ "$(status ".exports[0].grants")" -ge 1 ]; }
# slowest: of five truncates with a client that answers, in ms
slowest() {
	local i start end most=0
	for i in 1 2 3 4 5; do
		wait_serving
		wait_for 10 "a grant" is_granted
		read -r start end < <(helper truncate "$files/data" $((4096 * (1000 - i))))
		[ $(((end - start) / 1000000)) -le "$most" ] || most=$(((end - start) / 1000000))
	done
	echo "$most"
}
quiet=$(slowest)
rss=$(awk '/^VmRSS/ { print $2 }' "/proc/$(pid)/status")
helper_start spam spam "$tmp/d/admin.sock" 28 600
wait_for 10 "the connections" grep -q open "$tmp/spam.out"
loud=$(slowest)
echo "truncate: $quiet ms, under the flood $loud ms"
[ "$loud" -lt $(((quiet + 250) * slow)) ] || fail "truncate took $quiet ms, and $loud ms while the admin socket is flooded"
expect "fenced clients" "$(status .exports[0].last_recall.fenced_clients)" 0
# What nobody reads is not kept without an end: 28 connections of 64 KiB each, and some.
grown=$(($(awk '/^VmRSS/ { print $2 }' "/proc/$(pid)/status") - rss))
[ "$slow" -gt 1 ] || [ "$grown" -lt 16384 ] || fail "leaseholdd grew by $grown KiB"
client_kill spam
client_end writer INT
# Nor do connections that say nothing keep anybody out: whoever comes gets the place of the oldest.
"${python[@]}" -c '
import socket, sys, time
all = []
for _ in range(100):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    all.append(s)
print("open", flush=True)
time.sleep(600)' "$tmp/d/admin.sock" >"$tmp/idle.out" 2>&1 &
c_pid[idle]=$!
wait_for 10 "idle connections" grep -q open "$tmp/idle.out"
for _ in 1 2 3; do
	lh_ok status --socket "$tmp/d/admin.sock"
done
client_kill idle
