# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/testbed and the other pieces
# A Debian 13 root: it has the compiler that the guest's kernel was built with, and with `--root trixie` the guest runs
# in it (rdma-core with RDMA FLUSH). Sourced; buildroot_prepare sets $buildroot.

# For the kernel's modules; for Leasehold and its tests; for the guest itself.
readonly BUILDROOT_PACKAGES="
	gcc-14-for-host gcc make patch xz-utils pahole libelf1t64 libssl3t64 libc6-dev
	g++ cmake ninja-build pkgconf git python3 libibverbs-dev librdmacm-dev libpmem2-dev libndctl-dev libdaxctl-dev liburing-dev libcmocka-dev
	libjson-c-dev libconfig-dev libsystemd-dev libmicrohttpd-dev libncurses-dev libcap-dev uuid-dev libssl-dev
	bash iproute2 iputils-ping procps kmod ndctl e2fsprogs xfsprogs util-linux rdma-core ibverbs-utils
	ibverbs-providers rdmacm-utils perftest nvme-cli fio attr acl strace jq netcat-openbsd
	dpkg-dev file scdoc lintian"

buildroot_prepare() {
	local stamp

	buildroot=$cache/trixie
	stamp=$buildroot.packages
	[ -d "$buildroot" ] || buildroot_make
	[ "$(cat "$stamp" 2> /dev/null)" = "$BUILDROOT_PACKAGES" ] && return
	say "installing the build root's packages"
	logged buildroot-apt in_buildroot buildroot_install
	printf '%s\n' "$BUILDROOT_PACKAGES" > "$stamp"
}

buildroot_make() {
	local ring args=(--variant=minbase)

	say "making a Debian 13 build root in $buildroot"
	ring=$(debian_keyring)
	if [ -n "$ring" ]; then args+=(--keyring="$ring"); else args+=(--no-check-gpg); fi
	rm -f "$buildroot.packages"
	logged debootstrap debootstrap "${args[@]}" trixie "$buildroot.tmp.$$" "$(mirror)"
	buildroot_sources "$buildroot.tmp.$$"
	printf '#!/bin/sh\nexit 101\n' > "$buildroot.tmp.$$/usr/sbin/policy-rc.d"
	chmod 755 "$buildroot.tmp.$$/usr/sbin/policy-rc.d"
	mv "$buildroot.tmp.$$" "$buildroot"
}

buildroot_sources() { # DIR
	local ring

	ring=$(find "$1/usr/share/keyrings" -name 'debian-archive-keyring.*' -printf '/usr/share/keyrings/%f\n' | sort | tail -n 1)
	rm -f "$1/etc/apt/sources.list"
	{
		printf 'Types: deb\nURIs: %s\nSuites: trixie\nComponents: main\n' "$(mirror)"
		if [ -n "$ring" ]; then
			printf 'Signed-By: %s\n' "$ring"
		else
			warn "the build root has no debian-archive-keyring: its packages are taken on trust"
			printf 'Trusted: yes\n'
		fi
	} > "$1/etc/apt/sources.list.d/debian.sources"
}

# Runs a function in a mount namespace of its own, where $buildroot is ready to be entered.
in_buildroot() { # FUNCTION ARGUMENT...
	(
		export -f buildroot_install buildroot_enter modules_make
		export buildroot kernel kernel_dir BUILDROOT_PACKAGES
		unshare --mount bash -euc '"$@"' in_buildroot "$@"
	)
}

buildroot_enter() { # COMMAND...
	mountpoint -q "$buildroot/proc" || mount -t proc proc "$buildroot/proc" # objtool reads its limits there
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
		${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
		chroot "$buildroot" "$@"
}

buildroot_install() {
	local file

	for file in /etc/resolv.conf /etc/hosts; do # the host's way to find the mirror
		[ -e "$buildroot$file" ] || touch "$buildroot$file"
		[ ! -e "$file" ] || mount --bind "$(realpath "$file")" "$buildroot$file"
	done
	buildroot_enter apt-get update -q
	# shellcheck disable=SC2086 # a list of words
	buildroot_enter apt-get install -yq --no-install-recommends $BUILDROOT_PACKAGES
}

# Runs a command in the build root, on this machine, in the current directory: the checkout around it is at its place.
# The status is the command's.
buildroot_run() { # COMMAND...
	local checkout ours

	checkout=$(git rev-parse --show-toplevel) || die usage "--no-vm: $PWD is in no git checkout"
	mapfile -t ours < <(env | grep -E '^(LEASEHOLD_[A-Z_]*|TERM)=')
	export buildroot
	# shellcheck disable=SC2016 # for the shell within
	unshare --mount --pid --fork --kill-child bash -euc '
		checkout=$1 here=$2
		shift 2
		mount --make-rprivate /
		mount -t tmpfs tmpfs "$buildroot/tmp"
		mount -t tmpfs tmpfs "$buildroot/run"
		mount -t tmpfs tmpfs "$buildroot/var/tmp"
		mount -t proc proc "$buildroot/proc"
		mount --rbind /sys "$buildroot/sys"
		mount --rbind /dev "$buildroot/dev"
		mkdir -p "$buildroot$checkout"
		mount --rbind "$checkout" "$buildroot$checkout"
		exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
			chroot "$buildroot" bash -euc "cd \"\$1\"; shift; exec env \"\$@\"" bash "$here" "$@"
	' bash "$checkout" "$PWD" "${ours[@]}" "$@"
}
