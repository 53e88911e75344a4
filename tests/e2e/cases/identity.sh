#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# the same export has the same UUID after restart and after kill -9; a replaced file is refused; a refused start leaves no identity
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 90
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
# Another file under the old name is not.
cp "$files/moved" "$files/copy"
mv "$files/copy" "$files/moved"
before=$(sha "$files/moved")
daemon_refuses 'replaced|another file|not the same|identity|adopt'
expect "SHA-256 of the new file" "$(sha "$files/moved")" "$before"
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
