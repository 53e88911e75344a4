# SPDX-License-Identifier: BSD-3-Clause
"""Usage: vm.py --bin BUILD --out FOLDER --rounds N --ms N

The measurements of scripts/bench vm, which sees to packages, builds and the VM that this runs in.
What is compared with what, and why that is fair: docs/performance.md.
"""
import pathlib

import peers
import plan
import vm_peers

KIB, MIB = 1 << 10, 1 << 20
SMALL = 4 * KIB
DEPTH = 16
LARGE = {64 * KIB: "64 KiB", 128 * KIB: "128 KiB", MIB: "1 MiB"}
PACKAGES = ["perftest", "librpma0", "fio", "nvme-cli", "nfs-kernel-server", "libibverbs1"]

BY_READ, BY_COMMIT = "Leasehold direct, fio, read behind", "Leasehold direct, fio, commit"
BY_FIO = "Leasehold direct, fio"
LIBRPMA = "librpma, fio"
BLOCK, NVMET_FILE, NVMET_PMEM = "Leasehold block", "nvmet-rdma, file", "nvmet-rdma, pmem device"


def make_plan(stack, build, work, ms):
    leasehold = peers.Leasehold(stack, build, work, ms, vm_peers.MEDIUM)
    fio = build.parent / "build-fio-librpma/fio"
    perftest = vm_peers.Perftest(work, ms)
    librpma = vm_peers.Librpma(stack, fio, work, ms)
    host = vm_peers.KernelHost(stack, leasehold.nqn(), leasehold.port, [1], ms)
    nvmet = vm_peers.Nvmet(stack, ms)
    nfs = vm_peers.Nfs(stack, work, ms)
    p = plan.Plan()

    def direct(what, size, depth):
        p.add("Leasehold direct", leasehold.io, "direct", what, size, depth, ours=True)

    def by_fio(who, what, depth, persist="none"):
        p.add(who, leasehold.fio, fio if fio.exists() else "fio", what, SMALL, depth,
              f"--persist={persist}", ours=True)

    def block(what, size, depth):
        p.add(BLOCK, host.io, 1, what, size, depth, ours=True)
        p.add(NVMET_FILE, nvmet.io, vm_peers.Nvmet.FILE, what, size, depth)
        p.add(NVMET_PMEM, nvmet.io, vm_peers.Nvmet.DEVICE, what, size, depth)
        p.add("NFS over RDMA", nfs.io, what, size, depth)

    p.group("read", "4 KiB direct reads, one at a time", "latency", "mean_us")
    direct("read", SMALL, 1)
    p.add("ib_read_lat", perftest.latency, "ib_read_lat", SMALL)
    by_fio(BY_FIO, "read", 1)
    p.add(LIBRPMA, librpma.io, "read", SMALL, 1)

    p.group("write", "4 KiB direct writes, one at a time, until they are durable", "latency",
            "mean_us")
    by_fio(BY_READ, "write", 1, "read-after-write")
    p.add(LIBRPMA, librpma.io, "write", SMALL, 1)
    by_fio(BY_COMMIT, "write", 1, "commit")

    for what in ("read", "write"):
        p.group(f"direct-{what}-{DEPTH}", f"4 KiB direct {what}s, {DEPTH} at a time" +
                (", until they are durable" if what == "write" else ""), "iops", "iops")
        if what == "read":
            by_fio(BY_FIO, what, DEPTH)
        else:
            by_fio(BY_READ, what, DEPTH, "read-after-write")
        p.add(LIBRPMA, librpma.io, what, SMALL, DEPTH)
        if what == "write":
            by_fio(BY_COMMIT, what, DEPTH, "commit")

    for size, name in LARGE.items():
        for what in ("read", "write"):
            p.group(f"direct-{what}-{size // KIB}k", f"{name} direct {what}s, {DEPTH} at a time",
                    "bandwidth", "mib_s")
            direct(what, size, DEPTH)
            p.add(f"ib_{what}_bw", perftest.bandwidth, f"ib_{what}_bw", size, DEPTH)

    for what in ("read", "write"):
        p.group(f"block-{what}", f"4 KiB block {what}s, one at a time", "latency", "mean_us")
        block(what, SMALL, 1)
    for what in ("read", "write"):
        p.group(f"block-{what}-{DEPTH}", f"4 KiB block {what}s, {DEPTH} at a time", "iops", "iops")
        block(what, SMALL, DEPTH)
    for what in ("read", "write"):
        p.group(f"block-{what}-128k", f"128 KiB block {what}s, {DEPTH} at a time", "bandwidth",
                "mib_s")
        block(what, 128 * KIB, DEPTH)
    return p


def make_aims(p):
    """The project's aims for this medium."""
    aims = []

    def aim(text, group, who, peer, figure, relation, limit):
        aims.append(p.compare(text, group, who, peer, figure, relation, limit))

    aim("direct read, 4 KiB: p50, to ib_read_lat's", "read", "Leasehold direct", "ib_read_lat",
        "p50_us", "<=", 1.05)
    aim("direct read, 4 KiB: p99, to librpma's", "read", BY_FIO, LIBRPMA, "p99_us", "<=", 1.0)
    aim("direct write + persist, 4 KiB: mean, to librpma's", "write", BY_READ, LIBRPMA, "mean_us",
        "<=", 1.05)
    aim(f"direct write + persist, 4 KiB, {DEPTH} at a time: IOPS, to librpma's",
        f"direct-write-{DEPTH}", BY_READ, LIBRPMA, "iops", ">=", 1.1)
    for size, name in LARGE.items():
        for what in ("read", "write"):
            aim(f"direct {what}, {name}: MiB/s, to ib_{what}_bw",
                f"direct-{what}-{size // KIB}k", "Leasehold direct", f"ib_{what}_bw", "mib_s",
                ">=", .97)
    for what in ("read", "write"):
        for end, shape, figure, relation, limit in (
                ("", "4 KiB: mean", "mean_us", "<=", .85),
                (f"-{DEPTH}", f"4 KiB, {DEPTH} at a time: IOPS", "iops", ">=", 1.2),
                ("-128k", "128 KiB: MiB/s", "mib_s", ">=", 1.05)):
            aim(f"block {what}, {shape}, to nvmet-rdma's on a file", f"block-{what}{end}", BLOCK,
                NVMET_FILE, figure, relation, limit)
    return aims


if __name__ == "__main__":
    plan.carry_out("vm", PACKAGES, make_plan, make_aims)
