#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# a host that has all the controllers it may have: refused one more, with the limit's name; then another is free
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 60
use d
set_option 'limits = { controllers_per_host = 1; };'
serve 4
expect "the limit in status" "$(status .daemon.controllers_per_host)" 1
client first hold --write "$(target data)"
wait_for 10 "a grant" said first '\bgranted\b'
lh_fails 'no controller free.*limits\.controllers_per_host' list "$(target)"
expect "refusals" "$(stats .nvme_controllers_refused)" 1
expect_text "the log" "$(log)" 'host nqn\.[^ ]* was refused a controller of nqn\.[^ ]*: it has 1, as many as limits\.controllers_per_host allows; disconnect some there'
expect "who has it" "$(status '.clients|length')" 1
client_alive first || fail "the first client ended"
client_end first INT
lets_in() { lh list "$(target)"; }
wait_for 10 "a controller for the next" lets_in
