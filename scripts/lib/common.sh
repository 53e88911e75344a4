# SPDX-License-Identifier: BSD-3-Clause
# Shared by the scripts: where things are, how to say things, how to get packages. Sourced, not run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export root

say() { printf '%s\n' "== $*"; }
die() {
	printf '%s\n' "$(basename "$0"): $*" >&2
	exit 1
}

# Packages by purpose. Debian 12 and 13 have all of them.
packages_build=(gcc cmake ninja-build pkg-config libc6-dev linux-libc-dev libibverbs-dev librdmacm-dev
	ibverbs-providers libpmem2-dev libndctl-dev libdaxctl-dev liburing-dev libjson-c-dev libconfig-dev
	libsystemd-dev libmicrohttpd-dev libncurses-dev libcmocka-dev)
packages_run=(jq procps util-linux python3 netcat-openbsd xfsprogs e2fsprogs)
packages_model=(spin)
packages_interop=(nvme-cli fio)
packages_peers=(libfabric-dev ucx-utils iperf3 nbdkit fio gnuplot-nox fonts-dejavu-core)
packages_vm_peers=(perftest fio nvme-cli nfs-kernel-server nfs-common fdisk gnuplot-nox fonts-dejavu-core)
packages_package=(dpkg-dev file scdoc gzip)
packages_docs=(scdoc man-db mandoc)
packages_lint=(clang-19 clang-format-19 clang-tidy-19 libclang-rt-19-dev shellcheck)

# Installs what is missing of the packages named, and says which.
need_packages() {
	local missing=() p
	for p in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
	done
	[ ${#missing[@]} -eq 0 ] && return 0
	[ "$(id -u)" = 0 ] || die "these packages are missing and only root can install them: ${missing[*]}
Run: sudo apt-get install ${missing[*]}"
	say "installing with apt: ${missing[*]}"
	# One at a time: parts of a check run side by side.
	(
		flock 9
		apt-get update -qq || die "apt-get update failed: is a Debian mirror set up and reachable?"
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
			die "apt-get could not install: ${missing[*]}"
	) 9>/run/lock/leasehold-packages || exit 1
}

# Configures (once) and builds a preset of CMakePresets.json into build-PRESET.
build_preset() {
	local preset=$1
	(cd "$root" && cmake --preset "$preset" >"build-$preset.log" 2>&1 && cmake --build --preset "$preset" -j "$(nproc)" >>"build-$preset.log" 2>&1) || {
		tail -40 "$root/build-$preset.log" >&2
		return 1
	}
}
