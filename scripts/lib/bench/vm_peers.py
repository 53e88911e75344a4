# SPDX-License-Identifier: BSD-3-Clause
"""What Leasehold is compared with over RDMA in the testbed VM, in the manner of peers.py; and the
kernel's NVMe/RDMA host, which is its client, too."""
import contextlib
import os
import pathlib
import re
import subprocess
import time

import peers

ADDRESS = os.environ.get("LEASEHOLD_TESTBED_ADDR", "")
DEVICE = os.environ.get("LEASEHOLD_TESTBED_DEVICE", "")
FOLDER = os.environ.get("LEASEHOLD_TESTBED_DIR", "")
PMEM = "/dev/pmem0p2"  # what scripts/bench leaves without a file system

MEDIUM = peers.Medium("verbs", "rdma", ADDRESS, FOLDER, 'inbound_writes = "persistent";')


class Once:
    """What several rows share, started for the first of them; what failed is not tried again."""

    def __init__(self, start):
        self.start, self.started, self.failed = start, None, None

    def get(self):
        if self.failed:
            raise self.failed
        try:
            self.started = self.started or self.start()
        except peers.Failed as e:
            self.failed = e
            raise
        return self.started


class Perftest:
    """The limit: its memory is no file, and always the same place. Counts operations, not time."""

    LATENCY_S, BYTES_PER_S = 60e-6, 130e6  # a guess, for how many operations there are to be
    # Of its lines: size; operations; min, max, p50, mean, deviation, p99, p99.9; or peak, mean, …
    P50, MEAN, P99, MIB_S = 4, 5, 7, 3

    def __init__(self, work, ms):
        self.work, self.seconds = work, ms / 1000

    def fields(self, program, size, *options):
        port = peers.free_port()
        count = max(20, round(self.seconds / (self.LATENCY_S + size / self.BYTES_PER_S)))
        argv = [program, "-F", "-d", DEVICE, "-p", str(port), "-s", str(size), "-n", str(count),
                *options]
        with peers.server(argv, self.work / "perftest.log") as target:
            peers.wait_until(lambda: peers.listens(port), target, program)
            out = peers.run([*argv, ADDRESS]).out
        lines = [line.split() for line in out.splitlines()]
        said = [line for line in lines if line[:1] == [str(size)]]
        if not said:
            peers.die(f"{program} says what is not understood: {out}")
        return [float(f) for f in said[-1]]

    def latency(self, program, size):
        fields = self.fields(program, size)
        return {"mean_us": fields[self.MEAN], "p50_us": fields[self.P50],
                "p99_us": fields[self.P99]}

    def bandwidth(self, program, size, depth):
        return {"mib_s": self.fields(program, size, "-t", str(depth))[self.MIB_S]}


def rdma_listens(port):
    """A program that has asked the connection manager for this port."""
    said = peers.run(["rdma", "resource", "show", "cm_id"]).out
    return any(f":{port} " in f"{line} " and "LISTEN" in line for line in said.splitlines())


class Librpma:
    """fio's engines for it: a server that has the file mapped, and a client."""

    def __init__(self, stack, program, work, ms):
        self.program, self.work, self.ms = program, work, ms
        self.file = peers.make_file(stack, FOLDER)

    def io(self, what, size, depth):
        if not self.program.exists():
            peers.die("fio could not be built with engines for librpma")
        port = peers.free_port()
        common = ["--create_serialize=0", f"--serverip={ADDRESS}", f"--port={port}", "--thread"]
        argv = [self.program, "--name=server", "--ioengine=librpma_apm_server", *common,
                "--direct_write_to_pmem=1", f"--filename={self.file}",
                f"--size={peers.SERVED_BYTES}"]
        with peers.server(argv, self.work / "librpma.log") as target:
            peers.wait_until(lambda: rdma_listens(port), target, "librpma's server")
            before = peers.cpu_s(target.pid)
            job = peers.fio(self.program, "--ioengine=librpma_apm_client", *common,
                            f"--sync={int(depth == 1)}",
                            *peers.fio_shape(what, size, depth, self.ms))
            target_cpu = peers.cpu_s(target.pid) - before
        return peers.fio_figures(job, what, size, peers.fio_cpu_s(job), target_cpu)


# ---- block ---------------------------------------------------------------------------------------


def kernel_io(path, what, size, depth, ms):
    """Of what the kernel has as a file or a disk. Processor time is the kernel's: not known."""
    job = peers.fio("fio", "--ioengine=libaio", "--direct=1", "--allow_file_create=0",
                    f"--filename={path}", *peers.fio_shape(what, size, depth, ms))
    return peers.fio_figures(job, what, size, None, None)


def disk_of(nqn, nsid):
    """The disk that a connection of the kernel's host has made; its paths have other names."""
    for disk in pathlib.Path("/sys/block").glob("nvme*"):
        if not re.fullmatch(r"nvme\d+n\d+", disk.name):
            continue
        subsystem, number = disk / "device/subsysnqn", disk / "nsid"
        if (number.exists() and subsystem.exists() and subsystem.read_text().strip() == nqn and
                number.read_text().strip() == str(nsid)):
            return pathlib.Path("/dev", disk.name)
    return None


def wait_for_disk(nqn, nsid):
    end = time.monotonic() + peers.START_S
    while not (disk := disk_of(nqn, nsid)) or not disk.is_block_device():
        if time.monotonic() > end:
            peers.die(f"the kernel has no disk for namespace {nsid} of {nqn}")
        time.sleep(.1)
    return disk


class KernelHost:
    """The kernel's NVMe/RDMA host, connected to a subsystem for as long as the stack lasts."""

    def __init__(self, stack, nqn, port, nsids, ms):
        self.ms = ms
        peers.run(["modprobe", "nvme-rdma"])
        peers.run(["nvme", "connect", "-t", "rdma", "-a", ADDRESS, "-s", port, "-n", nqn])
        stack.callback(subprocess.run, ["nvme", "disconnect", "-n", nqn], capture_output=True,
                       check=False)
        self.disks = {nsid: wait_for_disk(nqn, nsid) for nsid in nsids}

    def io(self, nsid, what, size, depth):
        return kernel_io(self.disks[nsid], what, size, depth, self.ms)


class Nvmet:
    """The kernel's NVMe/RDMA target: namespace 1 a file as Leasehold's, 2 the pmem device."""

    NQN, ROOT = "nqn.2026-11.org.leasehold:bench-nvmet", pathlib.Path("/sys/kernel/config/nvmet")
    FILE, DEVICE = 1, 2

    def __init__(self, stack, ms):
        self.stack, self.ms, self.host = stack, ms, Once(self.start)

    def start(self):
        port = peers.free_port()
        peers.run(["modprobe", "nvmet-rdma"])
        try:
            self.configure(port)
        except OSError as e:
            peers.die(f"the kernel's target: {e}")
        return KernelHost(self.stack, self.NQN, port, (self.FILE, self.DEVICE), self.ms)

    def configure(self, port):
        subsystem, at = self.ROOT / "subsystems" / self.NQN, self.ROOT / "ports/1"
        subsystem.mkdir()
        self.stack.callback(subsystem.rmdir)
        (subsystem / "attr_allow_any_host").write_text("1")
        for nsid, path in ((self.FILE, peers.make_file(self.stack, FOLDER)), (self.DEVICE, PMEM)):
            namespace = subsystem / "namespaces" / str(nsid)
            namespace.mkdir()
            self.stack.callback(namespace.rmdir)
            (namespace / "device_path").write_text(str(path))
            (namespace / "buffered_io").write_text("0")
            (namespace / "enable").write_text("1")
        at.mkdir()
        self.stack.callback(at.rmdir)
        for name, value in (("trtype", "rdma"), ("adrfam", "ipv4"), ("traddr", ADDRESS),
                            ("trsvcid", str(port))):
            (at / f"addr_{name}").write_text(value)
        link = at / "subsystems" / self.NQN
        link.symlink_to(subsystem)
        self.stack.callback(link.unlink)

    def io(self, nsid, what, size, depth):
        return self.host.get().io(nsid, what, size, depth)


class Nfs:
    """The kernel's NFS server and client over RDMA, version 4.2, a file as Leasehold's."""

    PORT = 20049

    def __init__(self, stack, work, ms):
        self.stack, self.work, self.ms, self.file = stack, work, ms, Once(self.start)

    def start(self):
        served = peers.make_file(self.stack, FOLDER)
        pipes, mounted = self.work / "rpc_pipefs", self.work / "nfs"
        pipes.mkdir()
        mounted.mkdir()
        peers.run(["modprobe", "-a", "nfsd", "rpcrdma"])
        self.mount("rpc_pipefs", "rpc_pipefs", pipes)
        with contextlib.suppress(peers.Failed):  # it may be mounted
            peers.run(["mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd"])
        # Without it the server waits for it, and then for clients of before.
        self.background("nfsdcld", "-F", "-p", pipes, "-s", self.work)
        peers.run(["exportfs", "-o", "rw,insecure,no_root_squash,no_subtree_check,fsid=0",
                   f"*:{served.parent}"])
        self.stack.callback(subprocess.run, ["exportfs", "-au"], check=False)
        self.background("rpc.mountd", "-F", "-N", "3")
        peers.run(["timeout", "60", "rpc.nfsd", "-N", "3", "8"])
        self.stack.callback(subprocess.run, ["rpc.nfsd", "0"], check=False)
        try:
            pathlib.Path("/proc/fs/nfsd/portlist").write_text(f"rdma {self.PORT}\n")
        except OSError as e:
            peers.die(f"the kernel's NFS server over RDMA: {e}")
        self.mount("nfs", f"{ADDRESS}:/", mounted, "-o",
                   f"vers=4.2,proto=rdma,port={self.PORT},soft,timeo=100")
        return mounted / served.name

    def mount(self, kind, what, where, *options):
        peers.run(["timeout", "60", "mount", "-t", kind, what, where, *options])
        self.stack.callback(subprocess.run, ["umount", where], check=False)

    def background(self, program, *options):
        self.stack.enter_context(peers.server([program, *options], self.work / f"{program}.log"))

    def io(self, what, size, depth):
        return kernel_io(self.file.get(), what, size, depth, self.ms)
