# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/testbed and the other pieces
# The guest's initramfs: a static busybox, the closure of the modules it starts with, in load order, and guest-init.
# The part that is the same from run to run is cached; a run adds its own settings as a second archive behind it.
# Sourced; wants kernel_prepare.

readonly GUEST_MODULES="
	9p 9pnet_virtio virtio_net virtio_console overlay
	libnvdimm nd_pmem nfit dax_pmem device_dax ext4 xfs
	ib_uverbs rdma_cm rdma_ucm iw_cm nvme_fabrics nvme_rdma nvmet nvmet_rdma
	configfs null_blk dummy veth hwpoison_inject"

# Sets $initramfs to the one for this choice of modules: `stock` takes the kernel's own rxe, a file ending in .ko that
# file instead, `none` neither.
initramfs_prepare() { # RXE SIW
	local rxe=$1 siw=$2 key

		key=$(printf '%s\n' "$kernel" "$rxe" "$siw" "$GUEST_MODULES" | cat - "$testbed/guest-init" "$testbed/initramfs.sh" |
		sha256sum | cut -c1-16)
	initramfs=$cache/initramfs/$key.cpio.gz
	[ ! -e "$initramfs" ] || return 0
	say "making an initramfs for $kernel"
	mkdir -p "$initramfs.tmp.$$"/{bin,modules,proc,sys,dev}
	cp "$(command -v busybox)" "$initramfs.tmp.$$/bin/busybox"
	install -m 755 "$testbed/guest-init" "$initramfs.tmp.$$/init"
	initramfs_modules "$initramfs.tmp.$$/modules" "$rxe" "$siw"
	cpio_archive "$initramfs.tmp.$$" > "$initramfs.tmp.$$.gz"
	mv "$initramfs.tmp.$$.gz" "$initramfs"
	rm -rf "$initramfs.tmp.$$"
}

# Copies the modules as NNN-NAME.ko: the guest loads them in the order of their names.
initramfs_modules() { # DIR RXE SIW
	local dir=$1 rxe=$2 siw=$3 n=100 want=$GUEST_MODULES file name

	# What rxe and siw need comes with the stock rxe's closure, even if neither it nor they are loaded.
	# shellcheck disable=SC2086 # a list of words
	for file in $(modules_closure $want rdma_rxe); do
		name=${file##*/}
		name=${name%.xz}
		n=$((n + 1))
		case $name:$rxe in
		rdma_rxe.ko:none) ;;
		rdma_rxe.ko:*.ko) cp "$rxe" "$dir/$n-$name" ;;
		*) module_copy "$file" "$dir/$n-$name" ;;
		esac
	done
	[ "$siw" = none ] || cp "$siw" "$dir/999-siw.ko"
}

# An empty modprobe configuration: ndctl's would hide libnvdimm.
modules_closure() { # MODULE...
	local module

	for module; do
		modprobe -C /dev/null -d "$kernel_dir/root" -S "$kernel" --show-depends "$module" ||
			die setup "kernel $kernel has no module $module"
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

module_copy() { # FROM TO
	case $1 in
	*.xz) xz -dc "$1" > "$2" ;;
	*.zst) zstd -qdc "$1" > "$2" ;;
	*) cp "$1" "$2" ;;
	esac
}

cpio_archive() { # DIR
	(cd "$1" && find . | LC_ALL=C sort | cpio --quiet -o -H newc | gzip -1)
}
