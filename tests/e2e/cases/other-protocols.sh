#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a peer that speaks something else is told apart: by the client, and in the target's log; targets that are none
# limit: 60
[ "$fabric" = iwarp ] || skip "MPA is the software fabric's"
serve 1
status=0
lh list nonsense || status=$?
expect "the exit status" "$status" 2

# answers BYTES: a server that reads what comes first and says BYTES (with Python's escapes); its port in $port.
answers() {
	rm -f "$tmp/port"
	"${python[@]}" -c '
import socket, sys
with socket.create_server(("127.0.0.1", 0)) as s:
    open(sys.argv[1] + ".new", "w").write(str(s.getsockname()[1]))
    __import__("os").rename(sys.argv[1] + ".new", sys.argv[1])
    c = s.accept()[0]
    c.recv(4096)
    c.sendall(sys.argv[2].encode().decode("unicode_escape").encode("latin1"))
    c.recv(1)' "$tmp/port" "$1" &
	server=$!
	wait_for 10 "a server" test -s "$tmp/port"
	port=$(cat "$tmp/port")
}
answers 'HTTP/1.1 400 Bad Request\r\n\r\n'
lh_fails 'does not speak MPA' list "iwarp://127.0.0.1:$port"
wait "$server" || true
answers 'MPA ID Rep Frame\x90\x02\x00\x04\x00\x04\x00\x04'
lh_fails 'demands MPA markers' list "iwarp://127.0.0.1:$port"
wait "$server" || true

# The other way round: 30 at once, whose lines in the log have a limit.
"${python[@]}" -c '
import socket, sys
for i in range(30):
    with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as s:
        s.settimeout(10)
        s.sendall(b"MPA ID Req Frame\x80\x01\x00\x00")
        assert s.recv(64)[16] & 0x20, "not rejected"' "$addr" "$(port)" || fail "a request for markers was not rejected"
expect_text "the log" "$(log)" 'from 127.0.0.1:[0-9]+ to 127.0.0.1:[0-9]+ was rejected: the peer demands MPA markers'
lines=$(grep -c 'was rejected' "$tmp/d/log")
[ "$lines" -le 20 ] || fail "$lines lines in the log about 30 strangers"
lh_ok list "$(target)"
