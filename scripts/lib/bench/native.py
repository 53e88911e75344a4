# SPDX-License-Identifier: BSD-3-Clause
"""Usage: native.py --bin BUILD --out FOLDER --rounds N --ms N

The measurements of scripts/bench native, which sees to packages and the build. What is compared
with what, and why that is fair: docs/performance.md.
"""
import peers
import plan
import report

KIB, MIB = 1 << 10, 1 << 20
SMALL = 4 * KIB
BANDWIDTH_DEPTH = 16
IDLE_CLIENTS = 100
PACKAGES = ["libfabric1", "ucx-utils", "iperf3", "nbdkit", "fio"]

# Bytes on the wire of a direct access: a Read Request; the header of a tagged message; a CRC.
READ_REQUEST, TAGGED, CRC = 2 + 46, 2 + 14, 4


def unit(header, payload):
    """Bytes of an MPA unit."""
    return (header + payload + 3) // 4 * 4 + CRC


def make_plan(stack, build, work, ms):
    leasehold = peers.Leasehold(stack, build, work, ms)
    libfabric = peers.Libfabric(build, ms)
    pingpong = peers.PingPong(build, ms)
    iperf = peers.Iperf(stack, work, ms)
    ucx = peers.Ucx(work, ms)
    nbd_tcp = peers.Nbdkit(stack, work, ms, unix=False)
    nbd_unix = peers.Nbdkit(stack, work, ms, unix=True)
    p = plan.Plan()

    def ours(way, what, size, depth, who=None):
        for crc in ("off", "on"):
            p.add(who or f"Leasehold {way}", leasehold.io, way, what, size, depth, crc,
                  ours=True, crc=crc)

    def nbdkit(what, size, depth):
        p.add("nbdkit, TCP", nbd_tcp.io, what, size, depth)
        p.add("nbdkit, Unix socket", nbd_unix.io, what, size, depth)

    p.group("read", "4 KiB reads, one at a time", "latency", "mean_us")
    ours("direct", "read", SMALL, 1)
    p.add("libfabric tcp", libfabric.io, "read", SMALL, 1)
    p.add("TCP ping-pong", pingpong.ask, unit(READ_REQUEST, 0), unit(TAGGED, SMALL))
    ours("block", "read", SMALL, 1)
    nbdkit("read", SMALL, 1)

    p.group("write-left", "4 KiB writes, one at a time, until they have left", "latency", "mean_us")
    ours("direct", "write", SMALL, 1)
    p.add("libfabric tcp", libfabric.io, "write", SMALL, 1)

    p.group("write", "4 KiB writes, one at a time, until they are there", "latency", "mean_us")
    ours("direct", "write-seen", SMALL, 1, who="Leasehold direct, read behind")
    p.add("libfabric tcp, delivered", libfabric.io, "write-seen", SMALL, 1)
    p.add("TCP ping-pong", pingpong.ask, unit(TAGGED, SMALL) + unit(READ_REQUEST, 0),
          unit(TAGGED, 8))
    ours("direct", "write-persist", SMALL, 1, who="Leasehold direct, persisted")
    p.add("UCX tcp, half a round trip", ucx.latency, "ucp_put_lat", SMALL)
    ours("block", "write", SMALL, 1)
    nbdkit("write", SMALL, 1)

    for depth in (16, 64):
        for what in ("read", "write"):
            p.group(f"{what}-{depth}", f"4 KiB {what}s, {depth} at a time", "iops", "iops")
            ours("block", what, SMALL, depth)
            nbdkit(what, SMALL, depth)
            ours("direct", what, SMALL, depth)
            p.add("libfabric tcp", libfabric.io, what, SMALL, depth)

    for name, size in (("64 KiB", 64 * KIB), ("128 KiB", 128 * KIB), ("1 MiB", MIB)):
        for what in ("read", "write"):
            p.group(f"{what}-{size // KIB}k", f"{name} {what}s, {BANDWIDTH_DEPTH} at a time",
                    "bandwidth", "mib_s")
            ours("direct", what, size, BANDWIDTH_DEPTH)
            p.add("libfabric tcp", libfabric.io, what, size, BANDWIDTH_DEPTH)
            if size == MIB:
                p.add("iperf3", iperf.stream)
            if what == "write":
                p.add("UCX tcp, messages", ucx.bandwidth, "tag_bw", size)
            ours("block", what, size, BANDWIDTH_DEPTH)
            nbdkit(what, size, BANDWIDTH_DEPTH)

    p.group("idle", f"The daemon with {IDLE_CLIENTS} clients that are idle", "", "busy_percent")
    p.add("Leasehold", leasehold.idle, IDLE_CLIENTS, "off", ours=True, crc="off")
    return p


def make_aims(p):
    """The project's aims for this medium. With CRC off, since no peer has one."""
    aims = []

    def aim(text, group, who, peer, figure, relation, limit):
        aims.append(p.compare(text, group, who, peer, figure, relation, limit, crc="off"))

    for group, name, who, peer in (
            ("read", "direct read", "Leasehold direct", "libfabric tcp"),
            ("write-left", "direct write, until it has left", "Leasehold direct", "libfabric tcp"),
            ("write", "direct write, until it is there", "Leasehold direct, read behind",
             "libfabric tcp, delivered")):
        for figure, word in (("mean_us", "mean"), ("p99_us", "p99")):
            aim(f"{name}, 4 KiB: {word}, to libfabric's", group, who, peer, figure, "<=", 1.0)
        if group != "write-left":
            aim(f"{name}, 4 KiB: p50, to a TCP ping-pong's", group, who, "TCP ping-pong", "p50_us",
                "<=", 1.4)
    for what in ("read", "write"):
        for peer, limit in (("libfabric tcp", 1.1), ("iperf3", 1.0)):
            aim(f"direct {what}, 1 MiB: MiB/s, to {peer}", f"{what}-1024k", "Leasehold direct",
                peer, "mib_s", ">=", limit)
    for what in ("read", "write"):
        for peer in ("nbdkit, TCP", "nbdkit, Unix socket"):
            aim(f"block {what}, 4 KiB: mean, to {peer}", what, "Leasehold block", peer, "mean_us",
                "<=", .3)
            aim(f"block {what}, 4 KiB, 16 at a time: IOPS, to {peer}", f"{what}-16",
                "Leasehold block", peer, "iops", ">=", 2)
    aim(f"idle daemon, {IDLE_CLIENTS} clients: % of a core", "idle", "Leasehold", None,
        "busy_percent", "<=", .5)
    return aims


def make_costs(p):
    """Each row of ours that is there with CRC on, to the same with CRC off."""
    return [report.Comparison(f"{r.who}: {r.group.title}, {report.unit(r.group.figure)}", r,
                              p.find(r.group.key, r.who, "off"), r.group.figure)
            for r in p.rows if r.crc == "on"]


if __name__ == "__main__":
    plan.carry_out("native", PACKAGES, make_plan, make_aims, make_costs)
