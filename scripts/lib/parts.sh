# SPDX-License-Identifier: BSD-3-Clause
# The parts of scripts/check: one function each. A part reports each test with pass, fail or skip.
# Sourced by scripts/check; needs common.sh and $results.

pass() { echo "PASS $1" >>"$results"; }
fail() {
	echo "FAIL $1: $2" >>"$results"
	echo "FAIL $1: $2"
}
skip() {
	echo "SKIP $1: $2" >>"$results"
	echo "SKIP $1: $2"
}
count() { grep -c "^$1 " "$results"; }

part_descriptions=(
	"build:the release build with gcc, warnings are errors; who includes what"
	"docs:the manual pages: built, without a warning; whether they and the documents say what the programs and headers say"
	"unit:unit tests of every room"
	"e2e:the daemon and the command line over the software fabric"
	"vm:over verbs in the testbed VM: end to end with ODP, what the file system has a part in, on ext4 and on xfs"
	"verbs:all other end-to-end tests over verbs in the testbed VM, the fabric suite, other adapters, siw as peer"
	"clang:the same build with clang"
	"debian13:the build, unit tests and some end-to-end tests in a Debian 13 root, with its compiler and libraries"
	"package:Debian packages for Debian 12 and 13: what lintian says; installed, served from and removed in clean roots"
	"format:clang-format on C, shellcheck on scripts; whether mistakes to be made on purpose still can be"
	"tidy:clang-tidy"
	"asan:unit and end-to-end tests under AddressSanitizer and UBSan"
	"fuzz:what strangers send, mutated: each fuzzer for 20 s over the corpus in tests/fuzz"
	"model:the model of a recall, checked with spin, and recall.c beside it"
	"sim:the target in simulated time: 10,000 seeds, and that it finds mistakes made on purpose"
	"bench:scripts/bench on the software fabric, in brief: that it works, not how fast it is"
	"interop:the kernel's own NVMe/RDMA host and nvme-cli in the testbed VM: rxe on ext4 and xfs, siw"
	"adversary:clients that do harm on purpose, one kind a case, among others who notice nothing"
	"storms:the canary, and some of the adversaries, over verbs in the testbed VM: ODP, and pinned by a livepatch"
	"reset:the testbed VM is reset while it is written to: what was promised is there when it is up again"
	"machines:vm, verbs, interop, storms and a reset as one part, several machines at once until all is done"
	"canary:blocks taken from an exported file, in every way there is, become another file's at once, under load"
	"crash:power fails at moments of many runs, on a simulated medium: what was promised is there afterwards"
	"tsan:unit tests, and end-to-end tests of what is threaded, under ThreadSanitizer"
)

describe_part() {
	local d
	for d in "${part_descriptions[@]}"; do
		[ "${d%%:*}" = "$1" ] && echo "${d#*:}"
	done
}
list_parts() {
	local d
	for d in "${part_descriptions[@]}"; do printf '%-9s %s\n' "${d%%:*}" "${d#*:}"; done
}
part_needs_vm() { [[ " vm verbs interop storms reset machines " == *" $1 "* ]]; }

# What a second try must not hide, whatever else the machine was doing.
never_again='AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|Assertion .* failed|\*\*\* stack'

# Adds the tests of a ctest run to the results. More at once than processors: most of them wait. One
# that fails among the others is tried once more alone, and shown as TRIED: its limits of time are
# for a machine with nothing else to do.
run_ctest() {
	local build=$1 name=$2 rc=0 line test again
	shift 2
	(cd "$build" && ctest --repeat after-timeout:2 --output-on-failure --output-junit "$work/ctest.xml" -j "$(($(nproc) * 2))" "$@") >"$work/ctest.log" 2>&1
	sed -n "s|.*Test *#[0-9]*: \([^ ]*\) .*\*\*\*Timeout.*|TRIED $name/\1: time-out|p" "$work/ctest.log" | sort -u >>"$results"
	"$root/scripts/lib/ctest-results" "$work/ctest.xml" "$work/ctest.log" "$never_again" >"$work/ctest.results"
	while IFS= read -r line; do
		test=${line#* } test=${test%%:*}
		if [ "${line%% *}" = AGAIN ]; then
			again=$(cd "$build" && ctest --output-on-failure -R "^$test\$" 2>&1) &&
				echo "TRIED $name/$test: failed among the others" >>"$results" && line="PASS $test"
			[ "${line%% *}" = PASS ] || line="FAIL $test: twice"
			printf '%s\n' "$again" | tail -n 40
		fi
		[ "${line%% *}" != FAIL ] || rc=1
		echo "${line%% *} $name/${line#* }" >>"$results"
	done <"$work/ctest.results"
	[ $rc -eq 0 ] && ! grep -q '^AGAIN ' "$work/ctest.results" || sed -n '1,200p' "$work/ctest.log"
	return $rc
}

# Runs tests/e2e/run and adds its lines to the results.
run_e2e() {
	local name=$1 log=$work/$1.e2e rc
	shift
	"$@" >"$log" 2>&1
	rc=$?
	grep -vE '^PASS ' "$log"
	grep -E '^(PASS|FAIL|SKIP|TRIED) ' "$log" | sed "s|^\([A-Z]*\) |\1 $name/|" >>"$results"
	grep -qE '^(PASS|FAIL|SKIP) ' "$log" || fail "$name" "the run reported no test (exit status $rc)"
	# A run that fails without a test that did: the VM, say.
	[ $rc -eq 0 ] || grep -q '^FAIL ' "$log" || fail "$name" "exit status $rc"
	return "$rc"
}

part_build() {
	need_packages "${packages_build[@]}" "${packages_run[@]}"
	if build_preset release; then pass build/release; else
		fail build/release "see above"
		return 1
	fi
	if "$root/tests/includes"; then pass build/includes; else fail build/includes "a header is included outside its room"; fi
}

# What man and mandoc have to say of a page. Every page of scdoc's has empty paragraphs; and a table that is cut
# where paper would end is whole on a terminal.
lint_page() {
	LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$1" 2>&1 >/dev/null |
		grep -v 'table text block will not fit on one page'
	mandoc -Tlint -W warning "$1" | grep -v 'skipping paragraph macro: PP'
}

part_docs() {
	local page warnings
	need_packages "${packages_build[@]}" "${packages_run[@]}" "${packages_docs[@]}"
	# Configures anew: scdoc may not have been there before.
	if build_preset release; then pass docs/build; else
		fail docs/build "see above"
		return 1
	fi
	for page in "$root"/docs/man/*.scd; do
		page=$root/build-release/docs/man/$(basename "$page" .scd)
		warnings=$(lint_page "$page")
		if [ -s "$page" ] && [ -z "$warnings" ]; then pass "docs/${page##*/}"; else
			printf '%s\n' "$warnings"
			fail "docs/${page##*/}" "see above"
		fi
	done
	"$root/tests/docs/pages" --bin "$root/build-release" | tee "$work/pages.log"
	local rc=${PIPESTATUS[0]}
	grep -E '^(PASS|FAIL) ' "$work/pages.log" | sed 's|^\([A-Z]*\) |\1 docs/|' >>"$results"
	return "$rc"
}

part_unit() {
	ensure_build release && run_ctest "$root/build-release" unit -L unit
}

# on_host NAME BUILD SLOW CASE...: end-to-end tests on this machine, one more at once than there are
# processors: most of them wait.
on_host() {
	local name=$1 build=$2 slow=$3
	shift 3
	run_e2e "$name" "$root/tests/e2e/run" --retry --times --jobs "$(($(nproc) + 1))" --bin "$build" --slow "$slow" "$@"
}

part_e2e() {
	local cases
	ensure_build release || return 1
	# For the case "fio", which is skipped without; the build has to look again whether they are there.
	if "$root/bench/fio/headers" >"$work/fio.log" 2>&1; then
		build_preset release || return 1
	else
		tail -n 1 "$work/fio.log"
	fi
	mapfile -t cases < <("$root/tests/e2e/run" --list | awk '{ print $1 }')
	on_host e2e "$root/build-release" 1 "${cases[@]}"
}

# What the file system has a part in: on each of them.
file_system_cases=(transfer recall-truncate truncate-command recall-open sparse allocate crash)
# And these on one of them.
ext4_cases=(canary)
xfs_cases=(watch-truncate unshare)
# Of the others those that the second machine runs when it is done with the other adapters.
second_verbs_cases=(fabric-suite many-clients page-cache reclaim recalls-and-block stopped-client tmpfs testbed-units)

# in_vm NAME [OPTION...] -- [CASE...]: end-to-end tests in a testbed VM.
in_vm() {
	local name=$1 options=()
	shift
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	run_e2e "$name" "$root/scripts/testbed" --quiet --timeout 2400 "${options[@]}" -- \
		"$root/tests/e2e/run" --retry --bin "$root/build-release" --times "$@"
}

prepare_vm() {
	ensure_build release || return 1
	"$root/scripts/testbed" --prepare || {
		fail "$1/prepare" "the testbed could not be set up"
		return 1
	}
}

# on_machines JOB...: each is a function that runs in_vm, and gets a line of the table; the next is begun when a
# machine is done. One machine more than there are processors: each waits a third of its time. The longest ought to
# come first.
on_machines() {
	local job pid one rc=0 begun=() left most=$(($(nproc) + 1))
	for job in "$@"; do
		if [ ${#begun[@]} -eq "$most" ]; then
			wait -n -p pid "${begun[@]}" || rc=1
			left=()
			for one in "${begun[@]}"; do [ "$one" = "$pid" ] || left+=("$one"); done
			begun=("${left[@]}")
		fi
		timed_job "$job" &
		begun+=($!)
	done
	for pid in "${begun[@]}"; do wait "$pid" || rc=1; done
	return $rc
}
timed_job() {
	local rc=0 started
	started=$(date +%s)
	"$1" || rc=1
	table_line "  ${1//_/-}" "$started"
	return $rc
}

vm_ext4() { in_vm vm-ext4 --fs ext4 -- "${file_system_cases[@]}" "${ext4_cases[@]}"; }
vm_xfs() { in_vm vm-xfs --fs xfs -- "${file_system_cases[@]}" "${xfs_cases[@]}"; }
vm_jobs=(vm_xfs vm_ext4)

verbs_ext4() {
	local rest
	mapfile -t rest < <("$root/tests/e2e/run" --list | awk '{ print $1 }' |
		grep -vxF -f <(printf '%s\n' "${file_system_cases[@]}" "${ext4_cases[@]}" "${xfs_cases[@]}" "${second_verbs_cases[@]}"))
	in_vm verbs-ext4 --fs ext4 -- "${rest[@]}"
}
# The build of Debian 13, whose libibverbs has RDMA FLUSH.
verbs_flush() {
	"$root/scripts/testbed" --quiet --root trixie --no-vm -- "$root/tests/debian13" --build >"$work/flush.build" 2>&1 || {
		tail -n 40 "$work/flush.build"
		fail verbs-flush "no build in the Debian 13 root"
		return 1
	}
	run_e2e verbs-flush "$root/scripts/testbed" --quiet --timeout 600 --root trixie --fs ext4 -- \
		"$root/tests/e2e/run" --retry --bin "$root/build-trixie" --times by-flush
}
verbs_stock() { in_vm verbs-stock --rdma stock -- stock-refused; }
verbs_windows() { in_vm verbs-windows --rdma fixed-mw -- windows window-grants fabric-suite; }
verbs_siw() { in_vm verbs-siw --rdma siw -- --fabric iwarp siw-peer; }
verbs_device() { in_vm verbs-device --fs devdax -- device-dax; }
verbs_more() { in_vm verbs-more --fs ext4 -- "${second_verbs_cases[@]}"; }
verbs_jobs=(verbs_ext4 verbs_more verbs_windows verbs_flush verbs_device verbs_siw verbs_stock)

# What the file system has a part in: on each of them. Of the others those that the second machine runs.
interop_fs_cases=(filesystem landlord)
interop_second_cases=(multipath namespaces reservations)
# What the fabric has a part in.
interop_siw_cases=(fio reset)
interop_cases=$root/tests/interop/cases

interop_ext4() {
	local first
	mapfile -t first < <("$root/tests/e2e/run" --cases "$interop_cases" --list | awk '{ print $1 }' |
		grep -vxF -f <(printf '%s\n' "${interop_second_cases[@]}"))
	in_vm interop-ext4 --fs ext4 -- --cases "$interop_cases" "${first[@]}"
}
interop_xfs() {
	in_vm interop-xfs --fs xfs -- --cases "$interop_cases" "${interop_fs_cases[@]}" "${interop_second_cases[@]}"
}
interop_siw() { in_vm interop-siw --rdma siw -- --cases "$interop_cases" --fabric iwarp "${interop_siw_cases[@]}"; }
interop_jobs=(interop_ext4 interop_xfs interop_siw)

# Over verbs those of the adversaries that meet the adapter.
adversary_verbs_cases=(keeps-writing floods)

# canary_in_vm RUNG FILE_SYSTEM [OPTION...] -- CASE...: shorter, the emulated machine is slow.
canary_in_vm() {
	local rung=$1 options=(--fs "$2")
	shift 2
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	LEASEHOLD_CANARY_SECONDS=3 LEASEHOLD_CANARY_RUNG=$rung in_vm "canary-$rung" "${options[@]}" -- \
		--say --cases "$root/tests/canary/cases" "$@"
}
storm_odp() { canary_in_vm odp xfs -- every clone-out-unshared refill; }
storm_pinned() { canary_in_vm pinned ext4 --klp pin -- every killed-unlinked; }
storm_adversary() { in_vm adversary-verbs --fs ext4 -- --cases "$root/tests/adversary/cases" "${adversary_verbs_cases[@]}"; }
storm_jobs=(storm_odp storm_pinned storm_adversary)

# reset FILE_SYSTEM RUNG: a machine that is reset while it is written to, and what it has kept.
reset() {
	local name=reset-$1-$2 log=$work/reset-$1-$2.log rc=0
	"$root/tests/reset/run" --bin "$root/build-release" --fs "$1" --rung "$2" >"$log" 2>&1 || rc=1
	grep -v '^PASS ' "$log"
	if [ $rc -eq 0 ]; then pass "$name"; else fail "$name" "see above"; fi
	return $rc
}
reset_ext4() { reset ext4 odp; }
reset_xfs() { reset xfs odp; }
reset_jobs=(reset_ext4 reset_xfs)

part_reset() { prepare_vm reset && on_machines "${reset_jobs[@]}"; }
part_vm() { prepare_vm vm && on_machines "${vm_jobs[@]}"; }
part_verbs() { prepare_vm verbs && on_machines "${verbs_jobs[@]}"; }
part_storms() { need_packages "${packages_interop[@]}" && prepare_vm storms && on_machines "${storm_jobs[@]}"; }
part_interop() { need_packages "${packages_interop[@]}" && prepare_vm interop && on_machines "${interop_jobs[@]}"; }

# All of the four as one, so that no machine waits for the end of a part.
part_machines() {
	need_packages "${packages_interop[@]}" && prepare_vm machines || return 1
	on_machines verbs_ext4 interop_ext4 vm_xfs interop_xfs vm_ext4 "${storm_jobs[@]}" verbs_more interop_siw \
		verbs_windows verbs_flush reset_xfs verbs_device verbs_siw verbs_stock
}

part_clang() {
	need_packages "${packages_build[@]}" "${packages_lint[@]}"
	if build_preset clang; then pass build/clang; else fail build/clang "see above"; fi
}

part_debian13() {
	need_packages "${packages_build[@]}"
	run_e2e debian13 "$root/scripts/testbed" --quiet --root trixie --no-vm -- "$root/tests/debian13"
}

# packages_of SUITE DIR OPTION...
packages_of() {
	local suite=$1 dir=$2
	shift 2
	if "$root/scripts/package" --fio --lint "$@" "$dir" >"$work/package.log" 2>&1; then
		pass "package/$suite-build"
	elif grep -q 'does not give the source of fio' "$work/package.log" &&
		"$root/scripts/package" --lint "$@" "$dir" >"$work/package.log" 2>&1; then
		pass "package/$suite-build"
		skip "package/$suite-fio" "the mirror that apt is set up with has no source of this fio"
	else
		tail -n 40 "$work/package.log"
		fail "package/$suite-build" "see above"
		return 1
	fi
	run_e2e "package-$suite" "$root/tests/package/run" --suite "$suite" "$dir"
}

# Of this machine's suite, and of Debian 13.
part_package() {
	local here rc=0
	here=$(. /etc/os-release && echo "$VERSION_CODENAME")
	need_packages debootstrap
	[ "$here" = trixie ] || packages_of "$here" "$work/packages-$here" || rc=1
	packages_of trixie "$work/packages-trixie" --debian13 || rc=1
	return $rc
}

part_format() {
	need_packages "${packages_lint[@]}"
	local files scripts
	mapfile -t files < <(cd "$root" && git ls-files '*.c' '*.h' | grep -v '^tests/testbed/')
	if (cd "$root" && clang-format-19 --dry-run -Werror "${files[@]}"); then pass format/c; else fail format/c "run clang-format-19 -i"; fi
	mapfile -t scripts < <(cd "$root" && git ls-files scripts tests bench .ci | while read -r f; do
		head -c 30 "$f" | grep -qE '^#!.*\b(ba)?sh' && echo "$f"
	done)
	if "$root/tests/adversary/mutate" --stale && "$root/tests/adversary/mutate" --stale --of "$root/tests/crash"; then
		pass format/mutations
	else
		fail format/mutations "mend the file mutations"
	fi
	if (cd "$root" && shellcheck -x -S warning "${scripts[@]}"); then pass format/shell; else fail format/shell "shellcheck"; fi
}

part_tidy() {
	need_packages "${packages_build[@]}" "${packages_lint[@]}"
	local files word options=()
	ensure_build clang || return 1
	# What is built: some need a library that is not there.
	mapfile -t files < <(cd "$root" && git ls-files 'common/*.c' 'target/*.c' 'initiator/*.c' 'bench/*.c' |
		while read -r f; do ! grep -qF "\"$root/$f\"" build-clang/compile_commands.json || echo "$f"; done)
	# A third of the analyzer's paths through each function take less than half of its time.
	for word in -Xclang -analyzer-config -Xclang max-nodes=75000; do options+=("--extra-arg=$word"); done
	if (cd "$root" && printf '%s\n' "${files[@]}" |
		xargs -P "$(nproc)" -n 4 clang-tidy-19 -p build-clang --quiet "${options[@]}" >"$work/tidy.log" 2>/dev/null); then
		grep 'warning:' "$work/tidy.log" | sort -u
		pass tidy
	else
		grep -E 'error|warning' "$work/tidy.log" | sort -u | head -60
		fail tidy "clang-tidy"
	fi
}

# What waits more than it does: without the sanitizers is enough.
waiting_cases=(no-fallback stalled-hosts live-stuck live-resize watch-open-stays watch-refuse watch-kill busy-file
	deleted exported-twice port-in-use)

part_asan() {
	local cases
	need_packages "${packages_build[@]}" "${packages_run[@]}"
	if build_preset asan; then pass build/asan; else fail build/asan "see above"; return 1; fi
	run_ctest "$root/build-asan" asan -L unit
	mapfile -t cases < <("$root/tests/e2e/run" --list | awk '{ print $1 }' |
		grep -vxF -f <(printf '%s\n' "${waiting_cases[@]}"))
	on_host asan-e2e "$root/build-asan" 5 "${cases[@]}"
}

part_adversary() {
	ensure_build release && run_e2e adversary "$root/tests/e2e/run" --retry --bin "$root/build-release" --cases "$root/tests/adversary/cases"
}

# One moment of so many, others each time; docs/testing.md says how to have all.
crash_step=11

part_crash() {
	ensure_build release || return 1
	LEASEHOLD_CRASH_STEP=$crash_step LEASEHOLD_CRASH_FIRST=$((RANDOM % crash_step + 1)) \
		run_e2e crash "$root/tests/e2e/run" --retry --jobs "$(nproc)" --bin "$root/build-release" --cases "$root/tests/crash/cases"
}

part_canary() {
	ensure_build release || return 1
	run_e2e canary "$root/tests/e2e/run" --retry --say --jobs 2 --bin "$root/build-release" --cases "$root/tests/canary/cases" every unlink holes refill
}

part_fuzz() {
	need_packages "${packages_build[@]}" "${packages_lint[@]}"
	if build_preset fuzz; then pass build/fuzz; else fail build/fuzz "see above"; return 1; fi
	"$root/tests/fuzz/run" --bin "$root/build-fuzz" | tee "$work/fuzz.log"
	local rc=${PIPESTATUS[0]}
	grep -E '^(PASS|FAIL) ' "$work/fuzz.log" | sed 's|^\([A-Z]*\) |\1 fuzz/|' >>"$results"
	return "$rc"
}

# Where several threads of the daemon meet.
threaded_cases=(transfer recall-truncate recalls-and-block rungs two-clients stopped-client killed-client stop-under-load live-under-load reload watch-read watch-stuck-client)

part_tsan() {
	need_packages "${packages_build[@]}" "${packages_run[@]}"
	if build_preset tsan; then pass build/tsan; else fail build/tsan "see above"; return 1; fi
	run_ctest "$root/build-tsan" tsan -L unit
	on_host tsan-e2e "$root/build-tsan" 10 "${threaded_cases[@]}"
}

part_model() {
	need_packages gcc libc6-dev "${packages_model[@]}"
	"$root/tests/model/run" | tee "$work/model.log"
	local rc=${PIPESTATUS[0]}
	grep -E '^(PASS|FAIL) ' "$work/model.log" | sed 's|^\([A-Z]*\) |\1 model/|' >>"$results"
	return "$rc"
}

part_bench() {
	if "$root/scripts/bench" recall --brief; then pass bench/recall; else fail bench/recall "see above"; fi
	if "$root/scripts/bench" native --quick --rounds 1 --out "$work/native"; then pass bench/native; else fail bench/native "see above"; fi
	if "$root/scripts/bench" scale --quick --rounds 1 --out "$work/scale"; then pass bench/scale; else fail bench/scale "see above"; fi
}

sim_seeds=10000

part_sim() {
	local sim=$root/build-release/tests/sim/sim
	ensure_build release || return 1
	if "$sim" --seeds "$sim_seeds" --jobs "$(nproc)" | tee "$work/sim.log"; [ "${PIPESTATUS[0]}" -eq 0 ]; then
		pass sim/seeds
	else
		fail sim/seeds "$(grep -m1 ^replay: "$work/sim.log" || echo "see above")"
	fi
	"$root/tests/sim/mutate" --seeds "$sim_seeds" | tee "$work/mutate.log"
	grep -E '^(PASS|FAIL) ' "$work/mutate.log" | sed -E 's|^([A-Z]*) ([^:]*).*|\1 sim/\2|; s|^FAIL.*|&: see above|' >>"$results"
}

# A part run alone builds what it needs.
ensure_build() {
	[ -x "$root/build-$1/target/leaseholdd" ] && [ "$1" = release ] && (cd "$root" && cmake --build --preset release >/dev/null 2>&1) && return 0
	need_packages "${packages_build[@]}" "${packages_run[@]}"
	[ "$1" = clang ] && need_packages "${packages_lint[@]}"
	build_preset "$1"
}
