#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# SIGHUP changes nothing but the log
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 60
serve 1
kill -HUP "$(pid)"
told() { log | grep -q 'SIGHUP: the configuration is not read again'; }
wait_for 5 "a line in the log" told
is_serving || fail "it does not serve after SIGHUP"
lh_ok list "$(target)"
daemon_stop
