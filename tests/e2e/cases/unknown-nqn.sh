#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a subsystem that is not there, and an export that is not there: named, refused
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 60
serve 1
lh_fails 'nqn\.2026-11\.org\.example:other' list "$(target '' nqn=nqn.2026-11.org.example:other)"
lh_fails 'nothere' get "$(target nothere)" "$tmp/x"
expect_text "the message" "$(cat "$tmp/err")" '\bdata\b'
[ ! -s "$tmp/x" ] || fail "a file was made all the same"
lh_fails . list "$(scheme)://$addr:$(helper free-port "$addr")"
lh_fails . list "gopher://$addr"
lh_ok list "$(target)"
expect_text "the list" "$(cat "$tmp/out")" '\bdata\b'
