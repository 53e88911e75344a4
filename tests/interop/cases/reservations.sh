#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# two hosts and a reservation: register, acquire, report, conflicts, preempt, release; kept when the target is killed
# limit: 90
. "$E2E_CASES/../host.sh"
use d
make_file "$files/data" 8
add_export data "$files/data"
daemon_start
# Both are this kernel, by other names: what is sent to a controller is sent as its host.
connect -i 1
one=/dev/$ctrl
other=7a1f2a32-5b1e-4c8e-8b55-0b6f5c1d7e02
before=$(controllers "$nqn")
# nvme-cli takes the second for a connection that is there already; the kernel does not.
printf '%s' "transport=rdma,traddr=$addr,trsvcid=$(port),nqn=$nqn,hostnqn=nqn.2014-08.org.nvmexpress:uuid:$other" \
	",hostid=$other,nr_io_queues=1,keep_alive_tmo=30,reconnect_delay=1,ctrl_loss_tmo=120" >/dev/nvme-fabrics
two=/dev/$(comm -13 <(sort <<<"$before") <(controllers "$nqn" | sort))
[ -c "$two" ] || fail "the second host has no controller"
head -c 4096 /dev/urandom >"$tmp/in"
writes() { run "${helper_py[@]}" io "$1" write 5 "$tmp/in"; }
reads() { run "${helper_py[@]}" io "$1" read 5; }
conflict() { refused 'status 0x83' "${helper_py[@]}" io "$@"; }
report() { nvme resv-report "$1" -n 1 -d 1024 -e; }
writes $one
writes $two

run nvme resv-register $one -n 1 --nrkey=0x11 --rrega=0 --cptpl=3
run nvme resv-register $two -n 1 --nrkey=0x22 --rrega=0
expect_text "report" "$(report $one)" 'regctl *: *2'
refused 'RESERVATION_CONFLICT|[Rr]eservation [Cc]onflict' nvme resv-acquire $one -n 1 --crkey=0x99 --rtype=1 --racqa=0
# Write exclusive: the other reads, and no more.
run nvme resv-acquire $one -n 1 --crkey=0x11 --rtype=1 --racqa=0
expect_text "report" "$(report $two)" 'rtype *: *1'
refused 'RESERVATION_CONFLICT|[Rr]eservation [Cc]onflict' nvme resv-acquire $two -n 1 --crkey=0x22 --rtype=2 --racqa=0
writes $one
reads $two
conflict $two write 5 "$tmp/in"

# Persistent through a kill of the target.
daemon_kill
daemon_start
wait_for 20 "the first host back" is_live "${one#/dev/}"
wait_for 20 "the second host back" is_live "${two#/dev/}"
expect_text "report after the restart" "$(report $one)" 'rtype *: *1'
conflict $two write 5 "$tmp/in"
writes $one

# Preempted: now exclusive access for the second.
run nvme resv-acquire $two -n 1 --crkey=0x22 --prkey=0x11 --rtype=2 --racqa=1
expect_text "report" "$(report $two)" 'rtype *: *2'
conflict $one write 5 "$tmp/in"
conflict $one read 5
writes $two
run nvme resv-release $two -n 1 --crkey=0x22 --rtype=2 --rrela=0
expect_text "report" "$(report $two)" 'rtype *: *0'
writes $one
run nvme resv-register $two -n 1 --crkey=0x22 --rrega=1
expect_text "report" "$(report $two)" 'regctl *: *0'
disconnect
