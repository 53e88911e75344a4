#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# SIGHUP reads the file again: nothing new in it, something new, a mistake; also while the daemon starts
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 60
serve 1
told() { log | grep -cE "$1" | grep -qx "$2"; }
kill -HUP "$(pid)"
wait_for 5 "a line in the log" told 'reload: nothing was to be changed' 1
is_serving || fail "it does not serve after SIGHUP"
lh_ok list "$(target)"
make_file "$files/b" 1
add_export b "$files/b"
write_config
kill -HUP "$(pid)"
wait_for 5 "export b" told 'reload: export b: added' 1
echo 'reactors = 0;' >>"$tmp/d/conf"
kill -HUP "$(pid)"
wait_for 5 "a line in the log" told 'reload: nothing was changed: .*/conf:[0-9]+: reactors: expected a number from 1 to 64, not 0' 1
expect "the exports" "$(status '.exports|map(.name)|join(" ")')" "data b"
sed -i '/name = "b"/d' "$tmp/d/exports"
write_config
kill -HUP "$(pid)"
wait_for 5 "no export b" told 'reload: export b: removed' 1
daemon_stop

# While it starts: as soon as it is ready.
for n in $(seq 32); do
	truncate -s 16M "$files/more$n"
	add_export "more$n" "$files/more$n" 'prepare = "allocate";'
done
: >"$tmp/d/log"
daemon_launch
end=$((SECONDS + 20 * slow))
until grep -q 'self-test of' "$tmp/d/log"; do [ $SECONDS -lt $end ] || fail "it does not start: $(log | tail -1)"; done
kill -STOP "$(pid)"
kill -HUP "$(pid)"
add_export b "$files/b"
write_config
log | grep -q 'is ready' && fail "it was ready before SIGHUP: that proves nothing"
kill -CONT "$(pid)"
wait_for 20 "export b" told 'reload: export b: added' 1
expect_text "the log" "$(log | grep -E 'is ready|is read again' | head -1)" 'is ready'
expect "the exports" "$(status '.exports|length')" 34
daemon_stop busy
