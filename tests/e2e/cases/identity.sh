#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# the same export has the same UUID after restart and after kill -9; a replaced file is offline until it is adopted; a refused start leaves no identity
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 120
serve 4
uuid=$(status .exports[0].uuid)
make_file "$tmp/a" 4
lh_ok put --direct "$tmp/a" "$(target data)"
daemon_stop
daemon_start
expect "UUID after a restart" "$(status .exports[0].uuid)" "$uuid"
daemon_kill
daemon_start
expect "UUID after kill -9" "$(status .exports[0].uuid)" "$uuid"
lh_ok get --block "$(target data)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
daemon_stop
# SMART's power cycles and unsafe shutdowns.
expect "what is kept of starts" "$(tr '\n' ' ' <"$tmp/d/state/daemon/starts")" \
	"starts 3 unclean 1 running 0 "
# Renamed, it is the same file.
mv "$files/data" "$files/moved"
sed -i "s|$files/data|$files/moved|" "$tmp/d/exports"
daemon_start
expect "UUID after a rename" "$(status .exports[0].uuid)" "$uuid"
daemon_stop
# Another file under the old name is not: it stays offline, the others are served.
field() { status ".exports[] | select(.name == \"$1\") | .$2"; }
export_() { lh_ok export "$@" --socket "$tmp/d/admin.sock"; }
export_fails() {
	local regex=$1
	shift
	lh_fails "$regex" export "$@" --socket "$tmp/d/admin.sock"
}
replace() {
	cp "$1" "$files/copy"
	mv "$files/copy" "$1"
}
was='not the file that export data was \(another inode\).* leasehold export add --adopt data;'
replace "$files/moved"
before=$(sha "$files/moved")
make_file "$files/other" 1
add_export other "$files/other" 'lba = 512;'
daemon_start
expect "states" "$(field data state),$(field other state)" offline,serving
expect_text "why" "$(field data why)" "$was"
expect_text "its warning" "$(field data 'warnings[0]')" "$was"
expect "warnings of the other" "$(field other 'warnings | map(select(test("adopt"))) | length')" 0
expect_text "the log" "$(log)" "warning.*$was"
expect_text "the log" "$(log)" '1 of 2 export\(s\) are offline: '
lh_ok list "$(target)"
expect "exports that clients see" "$(grep -cw data "$tmp/out"),$(grep -cw other "$tmp/out")" 0,1
lh_fails 'no export|there is no|not exist|unknown' get "$(target data)" "$tmp/b"
lh_ok get --block "$(target other)" "$tmp/b"
same_files "$files/other" "$tmp/b"
# Whatever is refused leaves it as it was.
export_fails "$was" add data
export_fails "$was" add data "$files/moved"
export_fails "$was" resize data 8M
export_fails 'does not exist' add --adopt data "$files/nothing"
export_fails 'nsid 2 is used already by "other"' add --adopt data "$files/moved" --nsid 2
export_fails 'nsid 1 is used already by "data"' add new "$files/x" --nsid 1
export_fails 'no option can be said' add data --lba 512
export_fails 'was not in .*/conf when that was read last' add more
expect "exports" "$(status '.exports | map(.name + " " + .state) | sort | join(",")')" "data offline,other serving"
expect_text "why" "$(field data why)" "$was"
daemon_stop
# With --adopt, by its name alone, it is that disk again.
daemon_start
export_ add --adopt data
expect "the adopted" "$(field data state),$(field data nsid),$(field data lba_bytes)" serving,1,4096
expect "UUID of the adopted" "$(field data uuid)" "$uuid"
expect "its warnings" "$(field data 'warnings | map(select(test("adopt"))) | length')" 0
lh_ok get --direct "$(target data)" "$tmp/b"
same_files "$tmp/a" "$tmp/b"
export_ remove other
export_ add other
expect "options of the other" "$(field other state),$(field other nsid),$(field other lba_bytes)" serving,2,512
daemon_stop busy
expect "SHA-256 of the new file" "$(sha "$files/moved")" "$before"
daemon_start
expect "after a restart" "$(field data state),$(field data uuid)" "serving,$uuid"
daemon_stop
# All of them: the daemon runs. What is removed can come back; what is offline at the end is forgotten.
replace "$files/moved"
replace "$files/other"
daemon_start
expect_text "the log" "$(log)" '2 of 2 export\(s\) are offline, nothing is served: '
export_ remove data
export_fails "$was" add data
expect "exports" "$(status '.exports | map(.name) | join(",")')" other
export_ add --adopt data
expect "the adopted" "$(field data nsid),$(field data uuid)" "1,$uuid"
daemon_stop busy
# Without a state directory nothing is kept, and nothing is said about it.
use none
set_option 'state_dir = "";'
add_export data "$files/moved"
daemon_start
expect "warnings about it" "$(log | grep -ciE 'starts|state' || true)" 0
expect "state" "$(export_state)" serving
daemon_stop
expect "warnings about it" "$(log | grep -ciE 'starts|state' || true)" 0
use d
# Any other mistake ends the start, also beside one that would be offline.
truncate -s 100 "$files/tiny"
add_export bad "$files/tiny"
daemon_refuses 'smaller|block|empty|LBA'
# Two exports never share an identity.
use pair
make_file "$files/x" 1
make_file "$files/y" 1
add_export x "$files/x"
add_export y "$files/y"
daemon_start
[ "$(status .exports[0].uuid)" != "$(status .exports[1].uuid)" ] || fail "two exports have one UUID"
daemon_stop
# A start that is refused leaves none: mended by another path, it succeeds.
use refused
make_file "$files/small" 1
make_file "$files/right" 4
truncate -s 100 "$files/tiny"
add_export good "$files/small"
add_export bad "$files/tiny"
daemon_refuses 'smaller|block|empty|LBA'
expect "identities kept" "$(ls "$tmp/refused/state/exports")" ""
sed -i "s|$files/tiny|$files/right|; s|$files/small|$files/x|" "$tmp/refused/exports"
daemon_start
