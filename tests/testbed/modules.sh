# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/testbed and the other pieces
# Modules that Debian lacks or that need a mend, built in the Debian 13 root against the guest's kernel: rxe with the
# patches beside this file, soft-iWARP, the livepatch. Each is cached by kernel version and the hash of what it is
# made of, so a changed patch is a new module. Sourced; wants kernel_prepare and buildroot_prepare.

# Sets $module to the .ko of a variant, which is built if it is not there.
module_prepare() { # rxe-fixed | rxe-fixed-mw | siw | klp-pin
	local name=$1 parts=()

	case $name in
	rxe-fixed) parts=("$testbed/rxe-odp.patch") ;;
	rxe-fixed-mw) parts=("$testbed/rxe-odp.patch" "$testbed/rxe-mw-bounds.patch") ;;
	siw) parts=() ;;
	klp-pin) parts=("$testbed/klp-pin/klp-pin.c" "$testbed/klp-pin/Makefile") ;;
	esac
	module=$cache/modules/$kernel/$name-$(hash_of "${parts[@]:-/dev/null}").ko
	[ ! -e "$module" ] || return 0
	say "building $name for $kernel"
	mkdir -p "${module%/*}"
	buildroot_prepare
	rm -rf "$buildroot/build"
	mkdir -p "$buildroot/build"
	module_sources "$name" "${parts[@]}"
	logged "modules-$name" in_buildroot modules_make "$name"
	cp "$buildroot/build/$(module_file "$name")" "$module.tmp.$$"
	mv "$module.tmp.$$" "$module"
	rm -rf "$buildroot/build"
}

module_file() { # NAME: what the module is called
	case $1 in
	rxe-*) echo rdma_rxe.ko ;;
	klp-pin) echo klp_pin.ko ;;
	*) echo "$1.ko" ;;
	esac
}

module_sources() { # NAME PART...
	local name=$1 part

	shift
	case $name in
	klp-pin) cp "$@" "$buildroot/build/" ;;
	siw) cp -r "$kernel_dir/source/siw/." "$buildroot/build/" ;;
	rxe-*)
		cp -r "$kernel_dir/source/rxe/." "$buildroot/build/"
		for part; do
			module_patch "$part"
		done
		;;
	esac
}

module_patch() { # PATCH
	local log=$cache/patch.log

	patch -d "$buildroot/build" -p5 --forward --no-backup-if-mismatch < "$1" > "$log" 2>&1 && return
	cat "$log" "$buildroot"/build/*.rej >&2 2> /dev/null
	die setup "${1##*/} does not apply to the sources of $kernel (rejects above): mend the patch, or name an" \
		"older kernel in LEASEHOLD_TESTBED_KERNEL"
}

# Runs inside in_buildroot. The headers' paths are absolute in them, so they are mounted where they were made for.
modules_make() { # NAME
	local dir config=()

	for dir in usr/src "usr/lib/linux-kbuild-${kernel%-amd64}"; do
		mkdir -p "$buildroot/$dir"
		mount --bind "$kernel_dir/build/$dir" "$buildroot/$dir"
	done
	case $1 in
	rxe-*) config=(CONFIG_RDMA_RXE=m) ;;
	siw) config=(CONFIG_RDMA_SIW=m) ;;
	esac
	buildroot_enter make -C "/usr/src/linux-headers-$kernel" M=/build "${config[@]}" modules
	buildroot_enter find /build -name '*.ko' -exec strip --strip-debug {} +
}
