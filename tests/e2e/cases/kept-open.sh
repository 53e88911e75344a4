#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a daemon that was killed: leases stay, kept by the service manager; who wants the file waits for the next daemon
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 120
break_time=$(cat /proc/sys/fs/lease-break-time)
[ "$break_time" -ge 20 ] || skip "fs.lease-break-time is $break_time s: the kernel would let everybody go on at once"
use d
make_file "$files/data" 4
make_file "$files/other" 4
add_export data "$files/data"
add_export other "$files/other"
set_option 'recall_deadline_ms = 500;'

# Not by the lease's owner, who may be dead: any lease on the file.
leased() { awk -v ino="$(stat -c %i "$files/$1")" '$2 == "LEASE" && $6 ~ ":" ino "$"' /proc/locks; }
is_leased() { [ -n "$(leased "$1")" ]; }

export NOTIFY_SOCKET=$tmp/notify
helper_start store keep-fds "$NOTIFY_SOCKET" "$tmp/give"
wait_for 10 "the service manager" test -S "$tmp/give"
daemon_start
expect "files kept open" "$(grep -c '^kept export-' "$tmp/store.out")" 2
is_leased data && is_leased other || fail "the files are not leased"

# shellcheck disable=SC2016 # a script
printf '#!/bin/bash\nexec %q -I -S %q with-fds %q %q "$@"\n' "${python[0]}" "$lib/helper.py" "$tmp/give" "$daemon" >"$tmp/next"
chmod +x "$tmp/next"
plain=$daemon

# Nobody wants it: the next one goes on with the lease that there is.
client reader hold "$(target data)"
wait_for 10 "a grant" said reader '\bgranted\b'
daemon_kill
is_leased data && is_leased other || fail "the leases went with the daemon"
daemon=$tmp/next
daemon_start
expect_text "the log" "$(log)" '2 file\(s\) stayed open over the restart'
expect "leases of the file" "$(leased data | wc -l)" 1
wait_for 20 "granted again" says_at_least reader 1 '\bregranted\b'

# Somebody who comes in the gap waits until the next one lets go; and only then.
daemon_kill
helper_start opener open "$files/data"
sleep 1
[ ! -s "$tmp/opener.out" ] || fail "the file was opened while a killed daemon's lease was kept"
begun=$(now_ns)
daemon_start
wait_for 5 "the opener let in" test -s "$tmp/opener.out"
read -r _ opened <"$tmp/opener.out"
[ "$opened" -ge "$begun" ] || fail "the file was open before the next daemon was started"
client_end opener
wait_serving
wait_for 20 "granted again" says_at_least reader 2 '\bregranted\b'
client_end reader INT

# What is no export any more is let go at once.
daemon_kill
sed -i '/name = "other"/d' "$tmp/d/exports"
daemon_start
! is_leased other || fail "the file that is no export any more is leased still"
expect "of the two" "$(grep -c '^removed export-' "$tmp/store.out")" 1

# Nothing is left by a clean stop.
daemon=$plain
daemon_stop
! is_leased data || fail "a lease is left by a clean stop"
expect "files kept open at last" "$(grep -c '^removed export-' "$tmp/store.out")" 2
client_kill store
