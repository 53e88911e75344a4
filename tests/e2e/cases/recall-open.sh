#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# cat and a writer open the exported file: each waits for the recall, sees whole data, is let in
# limit: 90
serve 8
client writer hold --write "$(target data)"
wait_for 10 "the first grant" said writer '\bgranted\b'
for n in 1 2 3; do
	timeout $((10 * slow)) cat "$files/data" >"$tmp/copy" || fail "cat failed"
	expect "size of the copy" "$(size_of "$tmp/copy")" $((8 << 20))
	wait_for 10 "generation $((n + 1))" eval '[ "$(generation)" = '$((n + 1))' ]'
	wait_serving
	wait_for 10 "granted again" says_at_least writer $n '\bregranted\b'
done
# An opener that stays: block I/O goes on, grants do not come back before it closes.
helper_start opener hold "$files/data" 600
wait_for 10 "the open" grep -q open "$tmp/opener.out"
head -c 4096 /dev/urandom >"$tmp/piece"
lh_ok write --block "$(target data)" 4194304 <"$tmp/piece"
lh_ok read --block "$(target data)" 4194304 4096
[ "$(export_state)" != serving ] || fail "the export is registered while another process has the file open"
expect "grants" "$(status .exports[0].grants)" 0
client_kill opener
wait_serving
client_end writer INT
