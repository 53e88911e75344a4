#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC1091,SC2154 # variables of lib.sh
# a journal on tmpfs, of a file that outlives the power, is refused, and found by the doctor; on a disk it is not
# needs: iwarp host
# why: another daemon than the one that is installed, on a file that is no DAX
# limit: 120
. "$E2E_CASES/../sweep.sh"
export LEASEHOLD_POWERFAIL_FOLDERS=1
# doctor: 0, or 1 if something failed; $tmp/doctor.out.
doctor() { "$daemon" --config "$tmp/d/conf" --doctor >"$tmp/doctor.out" 2>&1; }

begin 'sector_atomic = "journal";'
cat "$tmp/zeros" >"$LEASEHOLD_POWERFAIL_MEDIUM"
write_config
doctor || fail "the doctor: $(grep -v '^ok' "$tmp/doctor.out")"
expect_text "the doctor" "$(cat "$tmp/doctor.out")" 'ok +torn writes +data .*power failure'
start 0
daemon_stop

set_option "state_dir = \"$shm/state\";"
write_config
! doctor || fail "the doctor finds nothing wrong: $(grep torn "$tmp/doctor.out")"
expect_text "the doctor" "$(cat "$tmp/doctor.out")" 'FAIL +torn writes +data .*gone with the power'
daemon_refuses 'needs a state_dir that survives a power failure'
[ ! -e "$shm/state/journals" ] || fail "a journal was made on tmpfs"
