#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# leasehold reload: what is new in the file is carried out, whoever works on another export notices nothing; a bad file changes nothing
# needs: host
# why: nothing in it depends on the adapter or on the file system
# limit: 240
use d
make_file "$files/data" 8
for name in b c held; do make_file "$files/$name" 4; done
socket=$tmp/d/admin.sock
first=$(port) second=$(helper free-port "$addr")
stress=$bin/initiator/stress/lh-stress
[ -x "$stress" ] || skip "there is no $stress"

# The file of now, by lists of its own.
exports_are() {
	: >"$tmp/d/exports"
	while [ $# -gt 0 ]; do
		add_export "$1" "$files/$1" "$2"
		shift 2
	done
}
ports_are() {
	: >"$tmp/d/listeners"
	while [ $# -gt 0 ]; do
		add_listener "$fabric" "$addr" "$1" "$2"
		shift 2
	done
}
options_are() { printf '%s\n' "$@" >"$tmp/d/options"; }
reload() {
	write_config
	lh_ok reload --socket "$socket"
}
says() { expect_text "reload" "$(cat "$tmp/out" "$tmp/err")" "$1"; }
says_lines() { expect "lines of reload" "$(cat "$tmp/out" "$tmp/err" | wc -l)" "$1"; }
# What there is, without what moves by itself.
all() { status '|[(.exports|map({name,nsid,uuid,path,state,generation,recalls,lba_bytes})), .listeners, .daemon.config]|tostring' | sed 's/"controllers":[0-9]*,//g'; }
of() { status ".exports[]|select(.name == \"$1\")|.$2"; }
ports() { status '.listeners|map("\(.address|split(":")|last):\(.ana[0].state)")|join(" ")'; }
no_listen() { ! lh list "$(scheme)://$addr:$1"; }

# Told of each reload as a service manager is.
export NOTIFY_SOCKET=$tmp/notify
helper_start notified notified "$NOTIFY_SOCKET"
wait_for 10 "the socket to notify" test -S "$NOTIFY_SOCKET"
exports_are data ''
ports_are "$first" ''
daemon_start
unset NOTIFY_SOCKET
wait_for 5 "READY" said notified '^READY=1$'

# Two who work on `data`, directly and by block, all the while.
"$stress" "$(target data)" 600 2 range 0 4194304 >"$tmp/direct.out" 2>&1 &
c_pid[direct]=$!
"$stress" "$(target data)" 600 1 block range 4194304 4194304 >"$tmp/block.out" 2>&1 &
c_pid[block]=$!
two() { [ "$(status '.clients|length')" = 2 ] && [ "$(of data grants)" -gt 0 ]; }
wait_for 20 "both at work" two
before=$(all)

# Nothing new: nothing is done, and that is said.
reload
says '^nothing was to be changed$'
says_lines 1
expect "what there is" "$(all)" "$before"
expect "what the service manager heard" "$(grep -cE '^(RELOADING=1|MONOTONIC_USEC=[0-9]+|READY=1)$' "$tmp/notified.out")" 4
expect_text "the end of it" "$(tail -1 "$tmp/notified.out")" '^READY=1$'

# A bad file: the words and the line of the start, and nothing changes.
refused() {
	lh_fails "$1" reload --socket "$socket"
	expect "what there is" "$(all)" "$before"
	expect_text "the log" "$(log | tail -1)" "reload: nothing was changed: .*"
}
exports_are data '' b 'lba = 777;'
write_config
refused "conf:[0-9]+: lba: expected 512 or 4096, not 777"
exports_are b '' data 'nosuch = 1;'
write_config
refused 'conf:[0-9]+: nosuch: unknown key; known here'
exports_are data '' b ''
write_config
printf 'reactors = 1;\nworker_threads = 0;\n' >"$tmp/inc.conf"
echo "@include \"$tmp/inc.conf\"" >>"$tmp/d/conf"
refused "inc.conf:2: worker_threads: expected a number"
echo 'exports = ( {' >"$tmp/d/conf"
refused 'conf:.*syntax error'
: >"$tmp/d/conf"
refused 'listeners.*is missing'
rm "$tmp/d/conf"
refused 'conf: cannot be read: No such file'
mkfifo "$tmp/d/conf"
refused 'is no file: it cannot be read again'
rm "$tmp/d/conf"
ports_are "$first" '' "$second" ''
sed -i "2s/$addr/nowhere.invalid/" "$tmp/d/listeners"
write_config
refused "conf:[0-9]+: listener nowhere.invalid port $second: address \"nowhere.invalid\""

# Exports that come, change and go; a port that does.
ports_are "$first" '' "$second" 'ana = "non-optimized";'
exports_are data '' b ''
reload
says "^listener $addr port $second \($fabric\): added$"
says '^export b: added$'
says_lines 2
expect "ports" "$(ports)" "$first:optimized $second:non-optimized"
expect "b" "$(of b state),$(of b nsid),$(of b lba_bytes)" serving,2,4096
make_file "$tmp/a" 4
lh_ok put "$tmp/a" "$(scheme)://$addr:$second/b"
uuid=$(of b uuid)
exports_are data '' b 'lba = 512; busy = "wait";'
ports_are "$first" '' "$second" 'ana = "inaccessible";'
reload
says '^export b: lba 512, was 4096; busy wait, was refuse$'
says "^listener $addr port $second .*: access is as the file has it$"
says_lines 2
expect "b made anew" "$(of b state),$(of b nsid),$(of b lba_bytes),$(of b uuid)" "serving,2,512,$uuid"
expect "ports" "$(ports)" "$first:optimized $second:inaccessible"
lh_ok get "$(target b)" "$tmp/back"
same_files "$tmp/a" "$tmp/back"
exports_are data '' b 'lba = 512; registration = "staged";'
ports_are "$first" ''
reload
says '^export b: registration staged, was auto; busy refuse, was wait$|^export b: busy refuse, was wait; registration staged, was auto$'
says "^listener $addr port $second .*: removed"
expect "the rung of b" "$(of b 'rungs[0].rung')" staged
wait_for 5 "nobody at the port" no_listen "$second"

# Another host's port: it stays until it leaves.
ports_are "$first" '' "$second" ''
reload
ports_are "$first" '' "$second" 'remote_invalidate = false;'
reload
says "^listener $addr port $second .*: removed, to be added with other options$"
says "^listener $addr port $second .*: added$"
lh_ok list "$(scheme)://$addr:$second"
exports_are data '' c 'nsid = 7;' held ''
reload
says '^export b: removed$'
says '^export c: added$'
says '^export held: added$'
expect "the exports" "$(status '.exports|map("\(.name)=\(.nsid)")|join(" ")')" "data=1 c=7 held=3"
client hold hold --range 0:64k "$(scheme)://$addr:$second/held"
wait_for 10 "a grant" said hold granted
ports_are "$first" ''
reload
says "^listener $addr port $second .*: removed; [0-9]+ controller\(s\) that came by it stay until they leave$"
client_alive hold || fail "the client by the removed listener has gone"
expect "grants of held" "$(of held grants)" 1
client_end hold INT

# Limits: what can be changed is, and counts; what cannot is named with both values, each time.
options_are 'limits = { controllers_per_host = 2; max_controllers = 40; };' 'log_level = "debug";' 'grant_expiry_ms = 70000;' 'max_registrations_per_second = 5000;' 'max_grants_per_host = 77;'
reload
says '^limits.controllers_per_host: 2, was 128$'
says '^max_registrations_per_second: 5000, was 100000$'
says '^max_grants_per_host: 77, was 8192$'
says 'limits.max_controllers: stays 256 until a restart; the file says 40$'
says 'grant_expiry_ms: stays 60000 until a restart; the file says 70000$'
says 'log_level: the file says "debug"; --log-level wins$'
expect "in status" "$(status .daemon.controllers_per_host),$(status .daemon.max_controllers),$(status .daemon.max_registrations_per_second)" 2,256,5000
lh_fails 'no controller free.*limits\.controllers_per_host' list "$(target)"
options_are 'limits = { controllers_per_host = 100; max_controllers = 200; };'
reload
says 'limits.max_controllers: stays 256 until a restart; the file says 200$'
lh_ok list "$(target)"
lh_ok reload -o json --socket "$socket"
expect "as JSON" "$(jq -c '[.done,.failed,(.steps|map("\(.outcome) \(.what)"))]' "$tmp/out")" '[0,0,["stays limits.max_controllers"]]'
options_are ''
reload

# What verbs changed stays, and is said.
lh_ok export add b "$files/b" --socket "$socket"
lh_ok export remove c --socket "$socket"
lh_ok listener add "$(scheme)://$addr:$second" --socket "$socket"
reload
says 'export b: was added while the daemon ran, is not in the file, and stays'
says 'export c: was removed while the daemon ran, and stays so'
says 'listener [0-9]+: was added while the daemon ran, is not in the file, and stays'
says '^nothing was to be changed$'
expect "the exports" "$(status '.exports|map(.name)|sort|join(" ")')" "b data held"
# Now the file has it, too; then it has not.
exports_are data '' b 'read_only = true;'
ports_are "$first" '' "$second" ''
reload
says '^export b: read_only true, was false$'
says '^export held: removed$'
says_lines 2
exports_are data ''
ports_are "$first" ''
reload
says '^export b: removed$'
says "^listener $addr port $second .*: removed"
expect "the exports" "$(status '.exports|map(.name)|join(" ")')" data

# Some of it cannot be: the rest is done, what could not is said, and tried again.
mkdir "$files/gone"
exports_are data '' b ''
add_export gone "$files/gone" 'nsid = 4;'
write_config
lh_fails 'export gone: .*is a directory' reload --socket "$socket"
says '^export b: added$'
says 'not all of .* could be done'
expect "the exports" "$(status '.exports|map(.name)|sort|join(" ")')" "b data"
rmdir "$files/gone"
make_file "$files/gone" 1
reload
says '^export gone: added$'
says_lines 1
# One that cannot be made anew is served as it was.
before=$(all)
exports_are data '' b 'nsid = 4;'
add_export gone "$files/gone" 'nsid = 2;'
write_config
lh_fails 'export b: nsid 4 is used already by "gone"; it is served as it was' reload --socket "$socket"
says 'export gone: nsid 2 is used already by "b"; it is served as it was'
expect "b" "$(of b state),$(of b nsid),$(of gone state),$(of gone nsid)" serving,2,serving,4
# Another file under the name is another disk.
exports_are data ''
add_export b "$files/c"
reload
says "export b: stays as it was \(path $files/c, was $files/b\): under its name hosts would find another disk"
expect "b" "$(of b state),$(of b path)" "serving,$files/b"
lh_ok export remove b --socket "$socket"
lh_ok export add --adopt b --socket "$socket"
expect "b" "$(of b state),$(of b path)" "serving,$files/c"
exports_are data ''
reload

# A number by place that is not the next start's.
exports_are data '' held '' c ''
reload
exports_are data '' c ''
reload
says 'export c: has nsid [0-9]+, and by its place in the file 2 after a restart: say nsid = [0-9]+ there'

# SIGHUP is the same; several at once are at least one after the last.
exports_are data '' c '' held 'nsid = 3;'
write_config
for _ in 1 2 3; do kill -HUP "$(pid)"; done
has_held() { [ "$(of held state)" = serving ]; }
wait_for 10 "held by SIGHUP" has_held
exports_are data ''
write_config
kill -HUP "$(pid)"
only_data() { [ "$(status '.exports|map(.name)|join(" ")')" = data ]; }
wait_for 10 "no held by SIGHUP" only_data
# Many at once: one is under way, others are told so; nothing is left half done.
exports_are data '' held 'nsid = 3;'
write_config
for n in 1 2 3 4; do "$leasehold" reload --socket "$socket" >"$tmp/many.$n" 2>&1 & many+=($!); done
for p in "${many[@]}"; do wait "$p" || true; done
[ "$(cat "$tmp"/many.* | grep -cE '^export held: added$')" = 1 ] || fail "held was added $(cat "$tmp"/many.*)"
[ "$(cat "$tmp"/many.* | grep -vcE '^export held: added$|^nothing was to be changed$|another reload is under way: try again')" = 0 ] || fail "somebody was told: $(cat "$tmp"/many.*)"

# Who leaves before the answer does not stop it.
exports_are data ''
write_config
echo '{"v":1,"cmd":"reload"}' | helper drop "$socket"
wait_for 10 "no held by one who left" only_data
expect "garbage" "$(admin '{"v":1,"cmd":"reload","force":true}' | jq -r .error)" 'unknown key "force" in the request'

# Nobody on `data` noticed.
for name in direct block; do
	client_alive $name || fail "$name ended: $(tail -1 "$tmp/$name.out")"
	client_end $name INT
	expect_text "what $name counted" "$(cat "$tmp/$name.out")" 'dead=0 recalls=0 regrants=0 fenced=0 .*reconnects=0'
	expect_text "what $name did" "$(cat "$tmp/$name.out")" 'writes=[1-9][0-9]* reads=[1-9]'
done
expect "recalls of data" "$(of data recalls),$(of data generation)" 0,1
exports_are data ''
reload
d_fds[$D]=$(count_fds)
daemon_stop

# SIGTERM while one is under way: the client is told how far it came, and the daemon ends as it should.
make_file "$files/big" 64
for s in 0 0.002 0.005 0.01 0.02 0.05; do
	exports_are data '' held 'nsid = 3;'
	daemon_start
	client hold hold --write "$(target held)"
	wait_for 10 "a grant" said hold '\bgranted\b'
	exports_are data '' c '' gone '' big 'prepare = "allocate";'
	write_config
	client asks reload --socket "$socket"
	sleep "$s"
	daemon_stop busy
	# Its export has gone, or the daemon.
	kill -KILL "${c_pid[hold]}" 2>/dev/null || true
	for name in hold asks; do
		wait "${c_pid[$name]}" 2>/dev/null || true
		unset "c_pid[$name]"
	done
	client_reports "$tmp/asks.out"
	expect_text "the answer after $s s" "$(cat "$tmp/asks.out")" 'added|the daemon is being stopped|did not answer|no daemon answers'
done
client_kill notified
