# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154,SC2034 # variables of tests/e2e/lib.sh
# The crash sweep; sourced by each case, `sweep HOW` is the test. At moment 1, 2, 3 … of a run of the
# witness (what is a moment: powerfail.c) the target's machine loses power, comes back with what is on
# its medium, and the witness goes on and looks for what it was promised. It ends when a run is over
# before its moment comes.
#
# LEASEHOLD_CRASH_STEP: only each so-many-th moment (1: all of them).
# LEASEHOLD_CRASH_FIRST: and the first one.
# LEASEHOLD_CRASH_LOG: a file to which it adds a line for each moment.
daemon=$bin/tests/crash/powerfail
[ -x "$daemon" ] || skip "there is no $daemon"
step=${LEASEHOLD_CRASH_STEP:-1} first=${LEASEHOLD_CRASH_FIRST:-1}
export LEASEHOLD_POWERFAIL_MEDIUM=$shm/medium LEASEHOLD_POWERFAIL_JOURNAL=$shm/journal

# begin ['key = value; …']: of the export.
begin() {
	use d
	truncate -s 2M "$tmp/zeros"
	cat "$tmp/zeros" >"$shm/data"
	: >"$LEASEHOLD_POWERFAIL_JOURNAL"
	add_export data "$shm/data" "lba = 512; ${1-}"
	set_option 'recall_deadline_ms = 300;'
}

# What is on the medium is in the file again. The same inode: it is the same disk.
power_back() {
	cat "$LEASEHOLD_POWERFAIL_MEDIUM" >"$shm/data"
	[ ! -s "$LEASEHOLD_POWERFAIL_JOURNAL" ] ||
		cat "$LEASEHOLD_POWERFAIL_JOURNAL" >"$tmp/$D/state/journals/data"
}

# start MOMENT: it fails then.
start() {
	power_back
	LEASEHOLD_POWERFAIL_AT=$1 LEASEHOLD_POWERFAIL_SEED=$1 daemon_start
}

# start_early MOMENT: the same, counted from the daemon's first message, which is to itself: it may fail
# before anybody is served.
start_early() {
	power_back
	: >"$tmp/$D/log"
	LEASEHOLD_POWERFAIL_AT=$1 LEASEHOLD_POWERFAIL_SEED=$1 LEASEHOLD_POWERFAIL_EARLY=1 daemon_launch
}

# The daemon or the witness has ended.
one_ended() { ! daemon_alive || ! client_alive witness; }

witness_start() {
	: >"$tmp/witness.out"
	local witness=("$bin/tests/crash/witness" "$(target data)" "$shm/data" "$1")
	case $1 in
	commands | whole)
		witness=("$bin/tests/crash/commands" "$fabric" "$addr" "$(port)" "$(status .daemon.nqn)" 1
			"$LEASEHOLD_POWERFAIL_MEDIUM")
		[ "$1" = commands ] || witness+=(whole)
		;;
	esac
	"${witness[@]}" >"$tmp/witness.out" 2>&1 &
	c_pid[witness]=$!
}

# lost: the witness has lost the daemon; one that looks when it is back has found another.
lost() { said witness '^lost' && ! said witness '^back'; }

# crashed: waits for power to fail; 1: the witness was done before.
crashed() {
	local status=0
	wait_for 60 "a power failure, or the end" one_ended
	! client_alive witness && ! lost || wait_for 10 "the power failure" eval '! daemon_alive'
	daemon_alive && return 1
	wait "$(pid)" || status=$?
	unset "d_pid[$D]"
	no_reports
	[ $status -eq 137 ] || fail "at moment $n the daemon ended with $status: $(log | tail -1)"
}

# witness_ends: and its exit status.
witness_ends() {
	local status=0
	wait_for 90 "the witness" eval '! client_alive witness'
	wait "${c_pid[witness]}" || status=$?
	unset "c_pid[witness]"
	client_reports "$tmp/witness.out"
	return $status
}

witness_end() {
	witness_ends || fail "power failed at moment $n: $(tail -1 "$tmp/witness.out")"
}

# sweep HOW [MOMENT [OPTIONS]]: of the daemon that the witness meets first; with a MOMENT of the second one,
# on which it connects again after the first has failed then. OPTIONS are the export's.
sweep() {
	local n points=0
	begin "${3-}"
	for ((n = first; ; n += step)); do
		cat "$tmp/zeros" >"$LEASEHOLD_POWERFAIL_MEDIUM"
		start "${2:-$n}"
		witness_start "$1"
		if [ -n "${2-}" ]; then
			crashed || fail "a run of $1 has no moment $2: this proves nothing"
			start_early "$n"
		fi
		crashed || break
		start 0
		witness_end
		points=$((points + 1))
		echo "$1${2:+ $2} $n $(tail -1 "$tmp/witness.out")" >>"${LEASEHOLD_CRASH_LOG:-/dev/null}"
		daemon_stop
	done
	witness_end
	[ $points -gt 0 ] || fail "a run of $1 has no moment $first: this proves nothing"
}

# torn_somewhere [OPTIONS]: shows that there is something to be found, by finding it.
torn_somewhere() {
	local n
	begin "${1-}"
	for ((n = 1; ; n++)); do
		cat "$tmp/zeros" >"$LEASEHOLD_POWERFAIL_MEDIUM"
		start "$n"
		witness_start whole
		crashed || fail "power failed at each moment of a run, and no block was torn"
		start 0
		witness_ends || break
		daemon_stop
	done
	grep -q 'the block at byte [0-9]* is torn' "$tmp/witness.out" ||
		fail "power failed at moment $n: $(tail -1 "$tmp/witness.out")"
	echo "torn $n $(tail -1 "$tmp/witness.out")" >>"${LEASEHOLD_CRASH_LOG:-/dev/null}"
}
