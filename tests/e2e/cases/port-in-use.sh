#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a port that somebody listens on, an address that is not ours: refused with file and line
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 60
serve 1
make_file "$files/b" 1
taken=$(port)
use b
add_export data "$files/b"
add_listener "$fabric" "$addr" "$taken"
daemon_refuses "port $taken.*(in use|EADDRINUSE)"
expect_text "the log" "$(log)" 'conf:[0-9]+: listener'
use c
add_export data "$files/b"
add_listener "$fabric" 192.0.2.77 "$(port)"
daemon_refuses '192\.0\.2\.77'
use e
add_export data "$files/b"
add_listener "$fabric" no-such-host.invalid "$(port)"
daemon_refuses 'no-such-host'
use d
lh_ok list "$(target)"
