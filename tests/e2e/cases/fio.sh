#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# fio's engine: writes verified, trim, several jobs, recalls, a lost daemon, errors that say why
# needs: host
# why: the engine is of the fio on this machine
# limit: 240
engine=$bin/bench/fio/fio-leasehold.so
[ -f "$engine" ] ||
	skip "the engine is not built: bench/fio/headers fetches what it takes; with sanitizers it never is"
command -v fio >/dev/null || skip "there is no fio"

fio --enghelp="$engine" >"$tmp/help.out" 2>&1 ||
	fail "fio does not load the engine: $(head -1 "$tmp/help.out")"
for option in uri mode persist fabric fallback busy_poll recall_rate recall_bytes admin_socket; do
	expect_text "the engine's help" "$(cat "$tmp/help.out")" "^ *$option *: [A-Za-z]"
done
# One that was built for another fio says so, and is not used.
LC_ALL=C sed "s/$(fio --version)/fio-0.00/" "$engine" >"$tmp/other.so"
! fio --enghelp="$tmp/other.so" >"$tmp/other.out" 2>&1 || fail "fio uses an engine of another fio"
expect_text "it" "$(cat "$tmp/other.out")" \
	"built against the headers of fio-0.00 and this is $(fio --version)"

serve 16
uri=$(target data) socket=$tmp/$D/admin.sock
cd "$tmp" || exit # fio leaves files where it runs

# run_fio NAME ARG...: its status; what it says in NAME.out, its figures in NAME.json
run_fio() {
	local name=$1
	shift
	timeout -k 5 $((40 * slow)) fio --output-format=json --output="$tmp/$name.json" \
		--name="$name" --ioengine=external:"$engine" "$@" >"$tmp/$name.out" 2>&1
}
words_of() { grep -h leasehold "$tmp/$1.json" "$tmp/$1.out" | head -3 | tr '\n' ' '; }
fio_ok() { run_fio "$@" || fail "fio $1 ended with $?: $(words_of "$1")"; }
direct() { fio_ok "$1" --uri="$uri" --mode=direct "${@:2}"; }
block() { fio_ok "$1" --uri="$uri" --mode=block "${@:2}"; }
# fails REGEX NAME ARG...: of a job that reads a MiB unless told otherwise
fails() {
	local status=0 regex=$1 name=$2
	shift 2
	run_fio "$name" --rw=read --size=1m "$@" || status=$?
	[ $status -ne 0 ] || fail "fio $name succeeded"
	[ $status -ne 124 ] || fail "fio $name did not end"
	expect_text "fio $name" "$(cat "$tmp/$name.json" "$tmp/$name.out")" "$regex"
}
# ios NAME read|write|trim: of all its jobs; what is said before them is not JSON.
ios() { sed -n '/^{/,$p' "$tmp/$1.json" | jq "[.jobs[].$2.total_ios] | add"; }
commits() {
	lh_ok stats --socket "$socket" -o json
	jq '[.. | objects | .nvme_commits? // empty] | add' "$tmp/out"
}

# Completions are taken one by one, in batches, and by one who never sleeps.
random=(--rw=randwrite --bs=4k --size=8m --verify=crc32c)
direct direct "${random[@]}" --iodepth=16
expect "direct writes" "$(ios direct write)" 2048
expect "direct reads" "$(ios direct read)" 2048
[ ! -s "$tmp/direct.out" ] || fail "not all of it went directly: $(cat "$tmp/direct.out")"
block block "${random[@]}" --iodepth=64 --iodepth_batch_complete_min=8 --busy_poll=1
expect "block writes" "$(ios block write)" 2048
direct odd --rw=randrw --bsrange=512-300k --bs_unaligned --iodepth=256 --size=16m --verify=md5

# Durable in each way, and what was written.
known=(--rw=write --bs=16k --buffer_pattern=0x5a)
before=$(commits)
direct commit "${known[@]}" --size=4m --iodepth=4 --persist=commit
[ "$(commits)" -gt "$before" ] || fail "persist=commit committed nothing"
direct sync "${known[@]}" --size=1m --offset=4m --fsync=8
block flush "${known[@]}" --size=1m --offset=5m --persist=auto
expect "bytes that were not written" "$(head -c 6M "$files/data" | tr -d Z | wc -c)" 0
wait_serving

# Holes.
used=$(stat -c %b "$files/data")
block trim --rw=trim --bs=64k --iodepth=4 --size=4m
expect "trims" "$(ios trim trim)" 64
expect "blocks given back" $((used - $(stat -c %b "$files/data"))) $((4 << 11))
expect "bytes of holes that are not zero" "$(head -c 4M "$files/data" | tr -d '\0' | wc -c)" 0
wait_serving
direct trimwrite --rw=trimwrite --bs=64k --size=1m
expect "trims of what is held" "$(ios trimwrite trim)" 16

# Jobs, as processes and as threads, each with its part.
parts=(--rw=randwrite --bs=4k --iodepth=8 --size=4m --offset_increment=4m --numjobs=2 --verify=crc32c)
direct processes "${parts[@]}"
expect "writes of two processes" "$(ios processes write)" 2048
direct threads "${parts[@]}" --thread
expect "writes of two threads" "$(ios threads write)" 2048
fails 'offset_increment' overlapping --uri="$uri" --rw=randwrite --numjobs=2 --time_based --runtime=2

# Recalls under way.
for_3s=("${random[@]}" --iodepth=8 --verify_backlog=32 --time_based --runtime=3)
direct recalls "${for_3s[@]}" --recall_rate=50 --admin_socket="$socket"
asked=$(sed -n 's/^leasehold: recalls: \([0-9]*\) recalls asked for.*/\1/p' recalls.out)
heard=$(sed -n 's/^leasehold: .* asked for; \([0-9]*\) heard.*/\1/p' recalls.out)
[ "${asked:-0}" -ge 10 ] && [ "${heard:-0}" -ge 10 ] ||
	fail "only ${asked:-0} recalls were asked for, ${heard:-0} heard"
wait_for 10 "its grants gone" grants_are 0

# The daemon dies, and a new one: what was not confirmed is written again.
run_fio lost --uri="$uri" --mode=direct --persist=commit "${for_3s[@]}" &
lost=$!
wait_for 10 "its grant" eval '[ "$(status .exports[0].grants)" -gt 0 ]'
sleep 0.5
daemon_kill
daemon_start
wait $lost || fail "fio ended with $? when the daemon died: $(words_of lost)"
expect_text "it" "$(cat lost.out)" '^leasehold: lost: .* 1 reconnects'
wait_for 10 "its grants gone" grants_are 0

# What is wrong is said.
fails 'uri= is missing' no-uri
fails 'no listener at' bad-port --uri=iwarp://127.0.0.1:1/data
fails 'serves no export "nosuch"' bad-export --uri="$(target nosuch)"
fails 'is of another fabric than fabric=verbs' bad-fabric --uri=iwarp://127.0.0.1/data --fabric=verbs
fails 'durability "none" here, not "flush"' bad-persist --uri="$uri" --rw=write --persist=flush
fails 'are of mode=direct' bad-commit --uri="$uri" --mode=block --persist=commit
fails 'durability "none" here' bad-level --uri="$uri" --rw=write --persist=read-after-write
fails 'are of mode=direct' bad-read --uri="$uri" --mode=block --persist=read-after-write
fails 'iodepth is more than 256' bad-depth --uri="$uri" --iodepth=257
fails 'beyond the end' bad-range --uri="$uri" --size=17m
fails 'no daemon answers at .*nosuch' bad-socket --uri="$uri" --recall_rate=5 --admin_socket="$tmp/nosuch"
fio_ok fabric --uri="${uri#*://}" --fabric="$fabric" --rw=read --size=1m

# The sample jobs are understood.
export ENGINE=$engine URI=$uri SOCKET=$socket
for sample in direct block recalls verify; do
	fio --parse-only "$lib/../../bench/fio/$sample.fio" >"$tmp/$sample.out" 2>&1 ||
		fail "fio does not understand $sample.fio: $(tail -1 "$tmp/$sample.out")"
done
wait_for 10 "its grants gone" grants_are 0
