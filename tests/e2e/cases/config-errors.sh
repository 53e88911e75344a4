#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# mistakes in the configuration: file, line, key and what was expected; nothing is started
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 60
use d
good_listener='listeners = ( { fabric = "iwarp"; address = "127.0.0.1"; } );'
good_export='exports = ( { name = "data"; path = "/nowhere/data"; } );'
check() {
	local status=0 regex=$1
	printf '%s\n' "${@:2}" >"$tmp/d/conf"
	"$daemon" --check --config "$tmp/d/conf" >"$tmp/out" 2>"$tmp/err" || status=$?
	expect "exit status of --check ($regex)" "$status" 1
	expect_text "--check" "$(cat "$tmp/err" "$tmp/out")" "$tmp/d/conf$regex"
	client_reports "$tmp/err"
}
echo 'reactors = 2;' >"$tmp/twice.conf"
check ':1: .*nosuch.*unknown key' 'nosuch = 1;' "$good_listener" "$good_export"
check ':1: reactors: expected a number from 1' 'reactors = 0;' "$good_listener" "$good_export"
check ':1: reactors: expected a number' 'reactors = "two";' "$good_listener" "$good_export"
check ':1: recall_deadline_ms: .*-5' 'recall_deadline_ms = -5;' "$good_listener" "$good_export"
check ':1: log_level: .*"debug"' 'log_level = "loud";' "$good_listener" "$good_export"
check ':1: fabric: expected one of "verbs", "iwarp", not "tcp"' 'listeners = ( { fabric = "tcp"; address = "x"; } );' "$good_export"
check ':1: .*address.*missing' 'listeners = ( { fabric = "iwarp"; } );' "$good_export"
check ':1: port: expected a number from 1 to 65535, not 70000' 'listeners = ( { fabric = "iwarp"; address = "::1"; port = 70000; } );' "$good_export"
check ':2: .*path.*missing' "$good_listener" 'exports = ( { name = "data"; } );'
check ':2: .*absolute path' "$good_listener" 'exports = ( { name = "data"; path = "data"; } );'
check ':2: .*name "a b"' "$good_listener" 'exports = ( { name = "a b"; path = "/data"; } );'
check ':2: .*lba: expected 512 or 4096' "$good_listener" 'exports = ( { name = "data"; path = "/data"; lba = 1024; } );'
check ':3: .*used already.*line 2' "$good_listener" 'exports = ( { name = "data"; path = "/data"; },' '{ name = "data"; path = "/data2"; } );'
check ':3: nsid|:3: .*nsid 4 is used' "$good_listener" 'exports = ( { name = "data"; path = "/data"; nsid = 4; },' '{ name = "more"; path = "/data2"; nsid = 4; } );'
check ':.*"listeners" is missing' "$good_export"
check ':.*"exports" is missing' "$good_listener"
check ':1: nqn' 'nqn = "hello";' "$good_listener" "$good_export"
check ':1: nqn: .*discovery' 'nqn = "nqn.2014-08.org.nvmexpress.discovery";' "$good_listener" "$good_export"
check ':1: nqn: expected an NQN like .*, not "nqn.2026-11.org:a[?]b"' $'nqn = "nqn.2026-11.org:a\eb";' "$good_listener" "$good_export"
check ':2: syntax error: expected key = value' "$good_listener" 'exports = ( { name = "data" path }'
check ':3: exports: is there a second time' "$good_listener" "$good_export" "$good_export"
check ':2: path: is there a second time' "$good_listener" 'exports = ( { name = "d"; path = "/a"; path = "/b"; } );'
check ':1: port: is there a second time' 'listeners = ( { port = 1; }, { port = 1; /* port = 1; */ address = "port = 2;"; port : 3; } );' "$good_export"
check ':3: windows: is there a second time' "$good_listener" '# iwarp = { reactors = 1; };' 'reactors = 1; iwarp = { windows = true; crc = "on"; windows = true; }; crc = 1; reactors = 1;' "$good_export"
# The key's own line in a group of several, and the file that was included.
check ':4: lba: expected 512' "$good_listener" 'exports = ( {' 'name = "data"; path = "/data";' 'lba = 777;' '} );'
check ':4: name "a b"' "$good_listener" 'exports = ( {' 'path = "/data";' 'name = "a b";' '} );'
printf 'log_level = "info";\nworker_threads = 0;\n' >"$tmp/inc.conf"
printf '%s\n' "$good_listener" "$good_export" "@include \"$tmp/inc.conf\"" >"$tmp/d/conf"
! "$daemon" --check --config "$tmp/d/conf" >"$tmp/out" 2>"$tmp/err" || fail "a mistake in an included file passed"
expect_text "a mistake in an included file" "$(cat "$tmp/err")" "$tmp/inc.conf:2: worker_threads: expected a number"
check ":2: reactors: is there a second time" "@include \"$tmp/twice.conf\"" 'reactors = 3;' "$good_listener" "$good_export"
check ':2: address "::1", port 4420: listened on already, by line 1' 'listeners = ( { fabric = "iwarp"; address = "::1"; },' '{ fabric = "iwarp"; address = "::1"; port = 4420; } );' "$good_export"
check ':3: admin_socket: .* at most 107' "$good_listener" "$good_export" "admin_socket = \"/$(printf %0120d 1)\";"
check ':2: .*"more" has path /data, which "data" exports already .line 2.' "$good_listener" 'exports = ( { name = "data"; path = "/data"; }, { name = "more"; path = "/data"; } );'
# What passes --check must start, so the limits of limits are the true ones.
check ':1: queue_depth: expected a number from 32 to 1024, not 31' 'limits = { queue_depth = 31; };' "$good_listener" "$good_export"
check ':1: inline_bytes: expected a number from 1024 to 16384, not 0' 'limits = { inline_bytes = 0; };' "$good_listener" "$good_export"
check ':1: mdts_bytes: expected a number from 8192 to 8388608, not 4096' 'limits = { mdts_bytes = 4096; };' "$good_listener" "$good_export"
check ':1: controllers_per_host: expected at most max_controllers, which is 8, not 9' 'limits = { max_controllers = 8; controllers_per_host = 9; };' "$good_listener" "$good_export"
check ':1: max_granted_bytes_per_client: expected 0, for no limit, or at least 4096, the smallest grant, not 4095' 'max_granted_bytes_per_client = 4095;' "$good_listener" "$good_export"
check ':1: max_registrations_per_second: expected a number from 0 to 1000000, not 1000001' 'max_registrations_per_second = 1000001;' "$good_listener" "$good_export"
for key in runtime_dir state_dir mdns_dir admin_socket; do
	check ":2: $key: expected an absolute path, not \"here/run\"" "$good_listener" "$key = \"here/run\";" "$good_export"
done
# A comment without an end would hide what follows.
check ':3: a comment begins here and has no end' "$good_listener" "$good_export" '/* reactors = 2;' 'nqn = "x";'
check ':1: a comment begins here' '/*'
check ':4: @include "nope": No such file' "$good_listener" "$good_export" '// @include "this"' '  @include "nope"'
check ":1: @include $tmp: is a directory" "@include \"$tmp\"" "$good_listener" "$good_export"
printf 'reactors = 2;\n\n /* and\n' >"$tmp/inner.conf"
printf '%s\n' "@include \"$tmp/inner.conf\"" "$good_listener" "$good_export" >"$tmp/d/conf"
status=0
XDG_RUNTIME_DIR=$tmp "$daemon" --check --config "$tmp/d/conf" >"$tmp/out" 2>&1 || status=$?
expect "exit status with a comment open in what is included" "$status" 1
expect_text "the message" "$(cat "$tmp/out")" "$tmp/inner.conf:3: a comment begins here"
printf 'reactors = 2; /* two */ // "\n' >"$tmp/inner.conf"
XDG_RUNTIME_DIR=$tmp "$daemon" --check --config "$tmp/d/conf" >"$tmp/out" 2>&1 || fail "--check with an @include: $(cat "$tmp/out")"
printf '@include "%s"\n' "$tmp/inner.conf" >"$tmp/inner.conf"
status=0
"$daemon" --check --config "$tmp/d/conf" >"$tmp/out" 2>&1 || status=$?
expect "exit status with a file that includes itself" "$status" 1
expect_text "the message" "$(cat "$tmp/out")" "$tmp/inner.conf:1: "
client_reports "$tmp/out"
# Of a folder that cannot be made the start says so before anything is listened on or opened.
unmakeable() {
	local status=0
	printf '%s\n' "$good_listener" "runtime_dir = \"$1\";" "$good_export" >"$tmp/d/conf"
	"$daemon" --config "$tmp/d/conf" >"$tmp/out" 2>&1 || status=$?
	expect "exit status with runtime_dir $1" "$status" 1
	expect_text "the message" "$(cat "$tmp/out")" "$tmp/d/conf:2: runtime_dir: $1 cannot be made: $2"
	expect "lines" "$(wc -l <"$tmp/out")" 1
	client_reports "$tmp/out"
}
unmakeable "$tmp/nowhere/run" 'No such file'
unmakeable "$tmp/d/conf" 'Not a directory'
unmakeable "$tmp/d/conf/run" 'Not a directory'
status=0
"$daemon" --config "$tmp/nowhere.conf" >"$tmp/out" 2>&1 || status=$?
expect "exit status without a file" "$status" 1
expect_text "the message" "$(cat "$tmp/out")" "$tmp/nowhere.conf: cannot be read: No such file"
printf '%s\n' "$good_listener" "$good_export" >"$tmp/d/conf"
XDG_RUNTIME_DIR=$tmp "$daemon" --check --config "$tmp/d/conf" >"$tmp/out" 2>&1 || fail "--check of a good file: $(cat "$tmp/out")"
XDG_RUNTIME_DIR=$tmp "$daemon" --check --config "$lib/../../config/leaseholdd.conf.example" >"$tmp/out" 2>&1 ||
	fail "--check of the example: $(cat "$tmp/out")"
# What the example says in comments is right too.
sed 's/^\( *\)# \([a-z_]* = .*\)/\1\2/; s/^# \(  [a-z_]* = .*\)/\1/; s/^# };/};/' "$lib/../../config/leaseholdd.conf.example" >"$tmp/d/conf"
"$daemon" --check --config "$tmp/d/conf" >"$tmp/out" 2>&1 || fail "--check of the example, all keys in: $(cat "$tmp/out")"
# No key is left out: what the daemon says it knows is there.
example=$(cat "$tmp/d/conf")
complete() {
	local key
	printf '%s\n' "$@" >"$tmp/d/conf"
	"$daemon" --check --config "$tmp/d/conf" >"$tmp/out" 2>&1 || true
	expect_text "--check" "$(cat "$tmp/out")" 'known here: '
	for key in $(sed -n 's/.*known here: //p' "$tmp/out" | tr -d ,); do
		grep -qE "\b$key = " <<<"$example" || fail "the example lacks the key $key"
	done
}
complete 'nosuch = 1;' "$good_listener" "$good_export"
complete 'iwarp = { nosuch = 1; };' "$good_listener" "$good_export"
complete 'limits = { nosuch = 1; };' "$good_listener" "$good_export"
complete 'listeners = ( { nosuch = 1; } );' "$good_export"
complete "$good_listener" 'exports = ( { nosuch = 1; } );'
status=0
"$daemon" --no-such-option >"$tmp/out" 2>&1 || status=$?
expect "exit status of wrong usage" "$status" 2
