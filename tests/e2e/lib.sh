#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What the cases are written with. tests/e2e/run starts it once a case, with the case's name; it
# sources the case, which says `fail WHY` or `skip WHY`, or comes to its end. Then every daemon still
# running is stopped and looked over: that is part of each test.
#
#   $files  a folder for exported files, on the medium under test   $shm  one on a tmpfs
#   $tmp    everything else: logs, configurations, sockets          $slow factor on time limits
set -eEuo pipefail
shopt -s inherit_errexit

readonly lib=$E2E_LIB bin=$E2E_BIN leasehold=$E2E_LEASEHOLD fabric=$E2E_FABRIC addr=$E2E_ADDR
# shellcheck disable=SC2034 # the cases use them
readonly slow=$E2E_SLOW tmp=$E2E_TMP vm=$E2E_VM
# Alone and without its site: in the testbed VM that is most of what it does.
readonly python=("$E2E_PYTHON" -I -S)
readonly rogue=$bin/tests/e2e/rogue
daemon=$bin/target/leaseholdd # a case may take another
files=$(mktemp -d "$E2E_BASE/case.XXXXXX")
shm=$(mktemp -d /dev/shm/leasehold-e2e.XXXXXX)
echo "$files $shm" >"$tmp/folders"
readonly files shm
export UBSAN_OPTIONS=print_stacktrace=1 ASAN_OPTIONS=detect_leaks=1

# ---- results ------------------------------------------------------------------------------------

fail() {
	local text=$* D
	trap - ERR
	# Then nothing else that is missing is a wonder, nor worth another try.
	for D in "${!d_pid[@]}"; do
		daemon_alive || text="leaseholdd has ended by itself; $*"
	done
	[ -s "$tmp/why" ] || printf '%s\n' "$text" >"$tmp/why"
	exit 1
}

skip() {
	printf '%s\n' "$*" >"$tmp/why"
	exit 77
}

# In a subshell it may be no failure: who made it looks at what it came to.
trap '[ "$BASH_SUBSHELL" -gt 0 ] || fail "${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND: exit status $?"' ERR

# expect WHAT GOT WANTED
expect() {
	[ "$2" = "$3" ] || fail "$1 is \"$2\", not \"$3\""
}

# expect_text WHAT TEXT REGEX
expect_text() {
	grep -qE -- "$3" <<<"$2" || fail "$1 does not say /$3/ but: $(head -c 300 <<<"$2" | tr '\n' ' ')"
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
	local limit=$(($1 * slow)) what=$2 end
	shift 2
	end=$((SECONDS + limit + 1))
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || fail "after $limit s still not: $what"
		sleep 0.05
	done
}

# The helper in Python; see its head.
helper() { "${python[@]}" "$lib/helper.py" "$@"; }
now_ns() { helper now; }
# helper_start NAME ARG...: in the background, to be ended like a client.
helper_start() {
	local name=$1
	shift
	: >"$tmp/$name.out"
	"${python[@]}" "$lib/helper.py" "$@" >"$tmp/$name.out" 2>&1 &
	c_pid[$name]=$!
}

# resize FILE BYTES: truncate(2), which waits for a recall. truncate(1) does not: it opens the file with
# O_NONBLOCK and fails while a lease is in the way.
resize() { helper truncate "$@" >/dev/null; }

# ---- files --------------------------------------------------------------------------------------

# make_file PATH MIB: random bytes, not the same ones twice.
make_file() {
	dd if=/dev/urandom of="$1" bs=1M count="$2" status=none
}

sha() { sha256sum "$1" | cut -d' ' -f1; }
size_of() { stat -c %s "$1"; }

same_files() { cmp -s "$1" "$2" || fail "$1 and $2 differ: $(cmp "$1" "$2" 2>&1 | head -1)"; }

# ---- daemons ------------------------------------------------------------------------------------
# One at a time is the current one; `use NAME` makes or selects. Everything of it is in $tmp/NAME.

D=''
declare -A d_pid=() d_port=() d_fds=() d_tasks=()

use() {
	D=$1
	[ -d "$tmp/$D" ] && return
	mkdir -p "$tmp/$D"
	: >"$tmp/$D/listeners"
	: >"$tmp/$D/exports"
	: >"$tmp/$D/options"
	d_port[$D]=$(helper free-port "$addr")
}

port() { echo "${d_port[$D]}"; }
pid() { echo "${d_pid[$D]}"; }
log() { cat "$tmp/$D/log"; }

# add_export NAME PATH ['key = value; …']
add_export() {
	printf '{ name = "%s"; path = "%s"; %s }\n' "$1" "$2" "${3-}" >>"$tmp/$D/exports"
}

# add_listener FABRIC ADDRESS PORT ['key = value; …']; without any there is one on $fabric.
add_listener() {
	printf '{ fabric = "%s"; address = "%s"; port = %s; %s }\n' "$1" "$2" "$3" "${4-}" >>"$tmp/$D/listeners"
}

# set_option 'key = value;'; runtime_dir, state_dir and nqn have values of the case's own.
set_option() { printf '%s\n' "$*" >>"$tmp/$D/options"; }

write_config() {
	local at=$tmp/$D
	[ -s "$at/listeners" ] || add_listener "$fabric" "$addr" "$(port)"
	{
		grep -q '^runtime_dir' "$at/options" || echo "runtime_dir = \"$at/run\";"
		grep -q '^state_dir' "$at/options" || echo "state_dir = \"$at/state\";"
		grep -q '^admin_socket' "$at/options" || echo "admin_socket = \"$at/admin.sock\";"
		cat "$at/options"
		echo "listeners = ( $(paste -sd, "$at/listeners") );"
		echo "exports = ("
		sed '$!s/$/,/' "$at/exports"
		echo ");"
	} >"$at/conf"
	# How grants get keys: a case's own wish, or the whole run's.
	if [ -n "${LEASEHOLD_TEST_GRANT_KEYS-}" ]; then
		sed -i "/^{ name = .* path = /{/grant_keys/!s/path = /grant_keys = \"$LEASEHOLD_TEST_GRANT_KEYS\"; &/}" "$at/conf"
	fi
	# Receives that the I/O queues share: a case's own wish, or the whole run's.
	if [ -n "${LEASEHOLD_TEST_SHARED_RECEIVES-}" ]; then
		grep -q '^limits' "$at/conf" || echo 'limits = { };' >>"$at/conf"
		sed -i "s/^limits = {/& shared_receives = $LEASEHOLD_TEST_SHARED_RECEIVES;/" "$at/conf"
	fi
}

# shared: they do.
shared() { grep -q 'I/O queues of each reactor share' "$tmp/$D/log"; }

daemon_alive() { [ -n "${d_pid[$D]-}" ] && kill -0 "${d_pid[$D]}" 2>/dev/null; }

daemon_launch() {
	write_config
	"$daemon" --config "$tmp/$D/conf" --log-level info >>"$tmp/$D/log" 2>&1 &
	d_pid[$D]=$!
}

daemon_ready() {
	daemon_alive || fail "leaseholdd ended at start: $(log | tail -1)"
	grep -q 'is ready' "$tmp/$D/log"
}

# Starts it and waits until it is ready.
daemon_start() {
	: >"$tmp/$D/log"
	daemon_launch
	local end=$((SECONDS + 20 * slow))
	until daemon_ready; do
		[ $SECONDS -lt $end ] || fail "leaseholdd is not ready after $((20 * slow)) s"
		sleep 0.05
	done
	d_fds[$D]=$(count_fds)
	d_tasks[$D]=$(count_tasks)
}

# daemon_refuses REGEX: it must not come up, say why, and leave nothing.
daemon_refuses() {
	local status=0
	: >"$tmp/$D/log"
	write_config
	timeout -k 5 "$((20 * slow))" "$daemon" --config "$tmp/$D/conf" >>"$tmp/$D/log" 2>&1 || status=$?
	[ $status -ne 124 ] || fail "leaseholdd should have refused to start; it runs"
	[ $status -eq 1 ] || fail "leaseholdd refused with exit status $status, not 1: $(log | tail -1)"
	expect_text "the log" "$(log)" "$1"
	no_reports
	nothing_left
}

count_fds() { find "/proc/$(pid)/fd" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l; }
# The kernel's own helpers of an io_uring come and go as it likes.
count_tasks() { cat "/proc/$(pid)"/task/*/comm 2>/dev/null | grep -cv '^iou-' || true; }

is_flat() { [ "$(count_fds)" -le "${d_fds[$D]}" ] && [ "$(count_tasks)" -le "${d_tasks[$D]}" ]; }

# No descriptor and no thread more than when it had started. Clients must be gone.
daemon_flat() {
	local end=$((SECONDS + 5 * slow))
	until is_flat; do
		if [ $SECONDS -ge $end ]; then
			ls -l "/proc/$(pid)/fd" >"$tmp/fds.out" 2>&1
			fail "leaseholdd grew from ${d_fds[$D]} descriptors and ${d_tasks[$D]} threads to $(count_fds) and $(count_tasks)"
		fi
		sleep 0.1
	done
}

no_reports() {
	local report
	report=$(grep -m1 -E 'AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|Assertion .* failed|\*\*\*' "$tmp/$D/log" || true)
	[ -z "$report" ] || fail "leaseholdd's log has: $report"
}

nothing_left() {
	local left
	left=$(find "$tmp/$D/run" "$tmp/$D/admin.sock" ! -type d 2>/dev/null | paste -sd' ' || true)
	[ -z "$left" ] || fail "leaseholdd left behind: $left"
}

# rounds MANY FEW: few in the testbed VM, where all is emulated and each takes long.
rounds() { echo "${LEASEHOLD_TESTBED:+$2}" | grep . || echo "$1"; }

# The daemon serves one file, and has no lock file of another.
one_lock() {
	local locks
	locks=$(grep -slx "pid $(pid) export .*" /run/leasehold/lock-* "${XDG_RUNTIME_DIR:-/nowhere}"/leasehold/lock-* || true)
	[ "$(grep -c . <<<"$locks")" = 1 ] || fail "one lock file is expected, there are: $locks"
}

lease_of() { awk -v pid="$1" '$2 == "LEASE" && $5 == pid' /proc/locks; }

# shellcheck disable=SC2120 # cases give it
# daemon_stop [busy]: a clean stop on SIGTERM; `busy`: clients are still there, so growth is no test.
daemon_stop() {
	local pid status=0 end
	pid=$(pid)
	daemon_alive || fail "leaseholdd is gone: $(log | tail -1)"
	[ "${1-}" = busy ] || daemon_flat
	kill -TERM "$pid"
	end=$((SECONDS + 10 * slow + 1))
	while kill -0 "$pid" 2>/dev/null; do
		[ $SECONDS -lt $end ] || fail "leaseholdd still runs $((10 * slow)) s after SIGTERM"
		sleep 0.05
	done
	wait "$pid" || status=$?
	unset "d_pid[$D]"
	no_reports
	[ $status -eq 0 ] || fail "leaseholdd ended with status $status after SIGTERM: $(log | tail -1)"
	nothing_left
	[ -z "$(lease_of "$pid")" ] || fail "a lease is left: $(lease_of "$pid")"
}

daemon_kill() {
	local pid
	pid=$(pid)
	kill -KILL "$pid"
	wait "$pid" 2>/dev/null || true
	unset "d_pid[$D]"
}

# admin REQUEST: one line to the admin socket, one line back.
admin() { nc -N -U -w "$((20 * slow))" "$tmp/$D/admin.sock" <<<"$1"; }
# status JQ: a field of `status`. stats JQ: of `stats`.
status() { admin '{"v":1,"cmd":"status"}' | jq -r ".result$1"; }
stats() { admin '{"v":1,"cmd":"stats"}' | jq -r ".result$1"; }

export_state() { status ".exports[${1:-0}].state"; }
is_serving() { [ "$(export_state "${1:-0}")" = serving ]; }
generation() { status ".exports[${1:-0}].generation"; }
grants_are() { [ "$(status ".exports[0].grants")" = "$1" ]; }
wait_serving() { wait_for 15 "export ${1:-0} serving again" is_serving "${1:-0}"; }

# One daemon with one export "data" on a new file of so many MiB: what most cases want.
serve() {
	use d
	make_file "$files/data" "$1"
	add_export data "$files/data"
	daemon_start
}

# serve_watch MIB ['key = value; …']: the same, under watch. Skips where there are no such events.
serve_watch() {
	use d
	make_file "$files/data" "$1"
	helper can-watch "$files/data" 2>"$tmp/can" || skip "$(tail -1 "$tmp/can")"
	add_export data "$files/data" "tenure = \"watch\"; ${2-}"
	daemon_start
	expect "tenure" "$(status .exports[0].tenure)" watch
}

# ---- clients ------------------------------------------------------------------------------------

declare -A c_pid=()

scheme() { if [ "$fabric" = verbs ]; then echo rdma; else echo iwarp; fi; }
# target [EXPORT [QUERY]]
target() { echo "$(scheme)://$addr:$(port)${1:+/$1}${2:+?$2}"; }

# lh ARG...: the command line; its status; its output in $tmp/out and $tmp/err.
lh() {
	timeout -k 5 "$((60 * slow))" "$leasehold" "$@" >"$tmp/out" 2>"$tmp/err"
}

lh_ok() {
	local status=0
	lh "$@" || status=$?
	[ $status -eq 0 ] || fail "leasehold $* failed with $status: $(tail -n 2 "$tmp/err" | tr '\n' ' ')$(grep -m 2 '^FAIL' "$tmp/out" | tr '\n' ' ')"
	client_reports "$tmp/err"
}

# lh_fails REGEX ARG...: must fail, within its time, and say so.
lh_fails() {
	local status=0 regex=$1
	shift
	lh "$@" || status=$?
	[ $status -ne 0 ] || fail "leasehold $* succeeded"
	[ $status -ne 124 ] || fail "leasehold $* did not end"
	[ $status -lt 128 ] || fail "leasehold $* died with $status: $(tail -2 "$tmp/err" | tr '\n' ' ')"
	client_reports "$tmp/err"
	expect_text "leasehold $1" "$(cat "$tmp/err")" "$regex"
}

client_reports() {
	local report
	report=$(grep -m1 -E 'AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|Assertion .* failed|\*\*\*' "$@" || true)
	[ -z "$report" ] || fail "leasehold: $report"
}

# client NAME ARG...: in the background; output in $tmp/NAME.out. That is emptied before: what an earlier one
# of that name said may stand there until the new one runs.
client() {
	local name=$1
	shift
	: >"$tmp/$name.out"
	"$leasehold" "$@" >"$tmp/$name.out" 2>&1 &
	c_pid[$name]=$!
}

# rogue MODE ARG...: a client that misbehaves (see rogue.c), on the first namespace. It cleans nothing up.
rogue() {
	ASAN_OPTIONS=detect_leaks=0 timeout $((60 * slow)) "$rogue" "$fabric" "$addr" "$(port)" "$(status .daemon.nqn)" 1 "$@"
}
# rogue_start NAME MODE ARG...: in the background.
rogue_start() {
	local name=$1
	shift
	: >"$tmp/$name.out"
	ASAN_OPTIONS=detect_leaks=0 "$rogue" "$fabric" "$addr" "$(port)" "$(status .daemon.nqn)" 1 "$@" >"$tmp/$name.out" 2>&1 &
	c_pid[$name]=$!
}

# A trial of an old key that costs the queue before it is answered is told as a fence, and proves nothing:
# how many of them. Over soft-RoCE that happens at times.
unanswered_trials() { grep -c 'could not be tried' "$tmp/$1.out" || true; }
old_key_tried() { said "$1" '\bold key.*(refused: remote access error|could not be tried)'; }
old_key_refused() { said "$1" '\bold key.*refused: remote access error'; }

# suspend PID: SIGSTOP, and each of its threads has stopped; the signal alone is only on its way.
suspend() {
	kill -STOP "$1"
	wait_for 5 "each thread of $1 stopped" all_stopped "$1"
}
all_stopped() { awk '/^State:/ && $2 != "T" { runs = 1 } END { exit runs }' "/proc/$1"/task/*/status; }

# fd_of PID FILE: the path of its descriptor, which is open on the file.
fd_of() { find "/proc/$1/fd" -mindepth 1 -lname "$2" | head -1 | grep .; }

client_alive() { kill -0 "${c_pid[$1]}" 2>/dev/null; }
said() { grep -qE -- "$2" "$tmp/$1.out"; }
# says_at_least NAME COUNT REGEX
says_at_least() { [ "$(grep -cE -- "$3" "$tmp/$1.out")" -ge "$2" ]; }

# client_end NAME [SIGNAL]: it must end with status 0.
client_end() {
	local status=0
	[ -z "${2-}" ] || kill "-$2" "${c_pid[$1]}" 2>/dev/null || true
	wait "${c_pid[$1]}" || status=$?
	unset "c_pid[$1]"
	client_reports "$tmp/$1.out"
	[ $status -eq 0 ] || fail "client $1 ended with $status: $(tail -1 "$tmp/$1.out")"
}

client_kill() {
	kill -KILL "${c_pid[$1]}"
	wait "${c_pid[$1]}" 2>/dev/null || true
	unset "c_pid[$1]"
}

# ---- the end ------------------------------------------------------------------------------------

# What a folder of cases has to undo before the daemons are looked over; also when a case failed.
at_end() { :; }

finish() {
	local name status=$?
	trap - EXIT
	if [ $status -eq 0 ]; then
		at_end
		for name in "${!c_pid[@]}"; do
			kill -0 "${c_pid[$name]}" 2>/dev/null || continue
			fail "client $name still runs at the end of the case"
		done
		for D in "${!d_pid[@]}"; do daemon_stop; done
	else
		(at_end) >>"$tmp/at_end.out" 2>&1 || true
		# What still runs is ended with the session; a daemon first, so that it can say why.
		for D in "${!d_pid[@]}"; do kill -TERM "${d_pid[$D]}" 2>/dev/null || true; done
		sleep 0.5
	fi
	rm -rf "$files" "$shm"
	exit $status
}

trap finish EXIT
# shellcheck source=/dev/null
. "$E2E_CASES/$1.sh"
