#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh; one for eval
# the daemon is killed while its file, deleted before, is registered and written to: it is gone, and so are the blocks
# limit: 300
. "$E2E_CASES/../storm.sh"
serve_arena
load_blindly 0 $((20 << 20))
wait_for 20 "the client writing" said blind '^writing'
free() { stat -f -c %f "$files"; }
before=$(free)
rm "$files/data"
client_alive blind || fail "the client ended with the file's name: $(tail -1 "$tmp/blind.out")"
# Pinned, it would hang in the kernel at exit if the file were closed after the adapter's device.
process=$(pid)
daemon_kill
[ ! -e "/proc/$process" ] || fail "process $process is still there: $(cat "/proc/$process/wchan" 2>/dev/null)"
client_kill blind
[ -z "$vm" ] || wait_for 20 "the blocks free" eval 'sync -f "$files"; [ $(($(free) - before)) -ge $(((20 << 20) / 4096)) ]'
