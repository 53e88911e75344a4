# SPDX-License-Identifier: BSD-3-Clause
"""Leasehold and what it is compared with over loopback: how each is started, asked for one run of
one kind, and understood. A run gives a dict of figures, named as in report.py."""
import contextlib
import functools
import json
import math
import os
import pathlib
import platform
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import typing

MIB, GIB = 1 << 20, 1 << 30
HOST = "127.0.0.1"
SERVED_BYTES = 64 * MIB  # what all of them read and write, at random places
BUSY_LOAD = .5
SMALL_EXPORT_BYTES = 64 << 10
START_S, RUN_S = 60, 300  # limits for a server to be there, and for a run


class Failed(SystemExit):
    """What could not be had, and why. It ends the program unless somebody can do without."""


def die(text):
    raise Failed(f"bench: {text}")


# ---- programs ----------------------------------------------------------------------------------


server_cpus = sorted(os.sched_getaffinity(0))


def take_sides():
    """Half of the processors for servers, the others for this process and clients: as if they were
    two machines. If there is one, all share it."""
    global server_cpus
    half = len(server_cpus) // 2
    os.sched_setaffinity(0, server_cpus[half:])
    server_cpus = server_cpus[:half] or server_cpus


class Ran(typing.NamedTuple):
    out: str
    cpu_s: float  # of the process and its children, in steps of a clock tick


def run(argv, env=None):
    """Runs a program to its end; dies if it failed."""
    argv = [str(a) for a in argv]
    before = os.times()
    try:
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=RUN_S,
                              check=False)
    except (OSError, subprocess.TimeoutExpired) as e:
        die(f"{argv[0]}: {e}")
    after = os.times()
    if done.returncode != 0:
        die(f"{' '.join(argv)}\nended with {done.returncode}:\n{done.stderr or done.stdout}")
    return Ran(done.stdout, after.children_user + after.children_system -
               before.children_user - before.children_system)


def cpu_s(pid):
    """What a process has taken so far, all its threads, in steps of a clock tick."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port():
    """Below those that connections take by themselves."""
    while True:
        port = 15000 + secrets.randbelow(15000)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind((HOST, port))
            return port


def listens(port):
    """Found out without connecting: some servers take the first connection for their client."""
    table = [pathlib.Path("/proc/net", name).read_text() for name in ("tcp", "tcp6")]
    sockets = [line.split() for line in "".join(table).splitlines()]
    return any(s[1].endswith(f":{port:04X}") and s[3] == "0A" for s in sockets)


def wait_until(there, process, what, log=None):
    end = time.monotonic() + START_S
    while not there():
        if process.poll() is not None:
            said = f"\n{log.read_text()}" if log else ""
            die(f"{what} did not start: it ended with {process.returncode}{said}")
        if time.monotonic() > end:
            die(f"{what} did not start within {START_S} s")
        time.sleep(.05)


@contextlib.contextmanager
def server(argv, log, env=None):
    cpus = ",".join(map(str, server_cpus))
    with open(log, "w") as f:
        process = subprocess.Popen(["taskset", "-c", cpus, *argv], stdout=f,
                                   stderr=subprocess.STDOUT, env=env)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# ---- figures -----------------------------------------------------------------------------------


def figures(total, seconds, each, client_cpu, target_cpu, **times):
    """Of a run that moved `total` bytes, `each` at a time. Processor time None: not known."""
    return (times | {"iops": total / each / seconds, "mib_s": total / MIB / seconds} |
            {name: cpu / (total / GIB)
             for name, cpu in (("client_cpu_s_gib", client_cpu), ("target_cpu_s_gib", target_cpu))
             if cpu is not None})


def times_of(m):
    return {k: m[k] for k in ("mean_us", "p50_us", "p99_us")}


def own_figures(out, each):
    """Of a line that our own measuring programs print."""
    m = json.loads(out)
    return figures(m["bytes"], m["seconds"], each, m["client_cpu_s"], m["target_cpu_s"],
                   **times_of(m))


def about(rounds, ms, packages):
    """What it was measured on, for those who read it later."""
    facts = {"date": time.strftime("%Y-%m-%d %H:%M:%S %z")}
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True,
                            cwd=pathlib.Path(__file__).parent, text=True, check=False).stdout
    facts["commit"] = commit.strip() or "unknown"
    models = [line.split(":")[1].strip() for line in open("/proc/cpuinfo")
              if line.startswith("model name")]
    facts["machine"] = f"{len(models)} × {models[0]}, Linux {platform.release()}"
    if packages:
        facts["peers"] = run(["dpkg-query", "-W", "-f", "${Package} ${Version}, ",
                              *packages]).out.rstrip(", ")
    load = float(os.environ.get("LEASEHOLD_BENCH_LOAD", os.getloadavg()[0]))
    return facts | {"rounds": f"{rounds}, each run {ms} ms",
                    "load when it began": f"{load:.2f}" + (": busy, the figures are rough"
                                                           if load > BUSY_LOAD else "")}


# ---- fio ---------------------------------------------------------------------------------------


def fio(program, *options):
    """What it says of its one job."""
    out = run([program, "--name=bench", "--norandommap", "--lat_percentiles=1",
               "--clat_percentiles=0", "--percentile_list=50:99", "--output-format=json",
               *options]).out
    return json.loads(out[out.index("{"):])["jobs"][0]


def fio_shape(what, size, depth, ms):
    """Options: reads or writes at random places of what is served, for so long."""
    return [f"--rw=rand{what}", f"--bs={size}", f"--size={SERVED_BYTES}", f"--iodepth={depth}",
            "--time_based", f"--runtime={ms}ms"]


def fio_figures(job, what, size, client_cpu, target_cpu):
    m = job[what]
    if job["error"] or not m["io_bytes"]:
        die(f"fio moved {m['io_bytes']} bytes and ended with error {job['error']}")
    us = {k: v / 1000 for k, v in m["lat_ns"]["percentile"].items()}
    return figures(m["io_bytes"], m["runtime"] / 1000, size, client_cpu, target_cpu,
                   mean_us=m["lat_ns"]["mean"] / 1000, p50_us=us["50.000000"],
                   p99_us=us["99.000000"])


def fio_cpu_s(job):
    return (job["usr_cpu"] + job["sys_cpu"]) / 100 * job["job_runtime"] / 1000


# ---- Leasehold ---------------------------------------------------------------------------------


class Medium(typing.NamedTuple):
    """What a daemon is reached by, and where its file is."""
    fabric: str
    scheme: str
    host: str
    folder: str
    options: str = ""  # of the export "data"


LOOPBACK = Medium("iwarp", "iwarp", HOST, "/dev/shm")


def make_file(stack, folder):
    """What is served, in a folder of its own: every byte of it has been written."""
    files = pathlib.Path(tempfile.mkdtemp(prefix="leasehold-bench.", dir=folder))
    stack.callback(shutil.rmtree, files)
    with open(files / "data", "wb") as f:
        for _ in range(SERVED_BYTES // MIB):
            f.write(secrets.token_bytes(MIB))
    return files / "data"


def tell(log):
    """What a daemon has warned of."""
    if text := log.read_text():
        print(f"== the daemon says:\n{text}", end="", flush=True)


class Leasehold:
    """A daemon of its own, which serves files, "data" the first of them; CRC as each client asks
    for it."""

    def __init__(self, stack, build, work, ms, medium=LOOPBACK, more_exports=0, options=""):
        self.bench, self.ms, self.medium, self.port = build / "bench", ms, medium, free_port()
        data = make_file(stack, medium.folder)
        exports = [f'{{ name = "data"; path = "{data}"; {medium.options} }}']
        for i in range(more_exports):
            more = data.with_name(f"more-{i}")
            more.write_bytes(secrets.token_bytes(SMALL_EXPORT_BYTES))
            exports.append(f'{{ name = "more-{i}"; path = "{more}"; }}')
        work.mkdir(exist_ok=True)
        conf, log, self.admin = work / "conf", work / "log", work / "run/admin.sock"
        conf.write_text(f"""
runtime_dir = "{work}/run";
state_dir = "{work}/state";
log_level = "warning";
{options}
listeners = ( {{ fabric = "{medium.fabric}"; address = "{medium.host}"; port = {self.port}; }} );
exports = ( {", ".join(exports)} );
""")
        stack.callback(tell, log)
        begun = time.monotonic()
        self.daemon = stack.enter_context(
            server([build / "target/leaseholdd", "--config", conf], log))
        self.status = [build / "initiator/cli/leasehold", "status", "-o", "json", "--socket",
                       self.admin]
        wait_until(self.serving, self.daemon, "leaseholdd", log)
        self.started_ms = (time.monotonic() - begun) * 1000

    def serving(self):
        if not self.admin.exists():
            return False
        asked = subprocess.run(self.status, capture_output=True, text=True, check=False)
        return (asked.returncode == 0 and
                all(e["state"] == "serving" for e in json.loads(asked.stdout)["exports"]))

    def nqn(self):
        return json.loads(run(self.status).out)["daemon"]["nqn"]

    def target(self, crc=""):
        return (f"{self.medium.scheme}://{self.medium.host}:{self.port}/data" +
                (f"?crc={crc}" if crc else ""))

    def io(self, way, what, size, depth, crc=""):
        return own_figures(run([self.bench / "lh-bench-io", self.target(crc), way, what, size,
                                depth, self.ms, self.daemon.pid]).out, size)

    def fio(self, program, what, size, depth, *options):
        """Directly, through our engine for fio. In a thread: soft-RoCE posts by write(2), which the
        kernel refuses a process that was forked after the device was opened."""
        before = cpu_s(self.daemon.pid)
        job = fio(program, f"--ioengine=external:{self.bench / 'fio/fio-leasehold.so'}",
                  f"--uri={self.target()}", "--mode=direct", "--fallback=0", "--busy_poll=1",
                  "--thread", *options, *fio_shape(what, size, depth, self.ms))
        return fio_figures(job, what, size, fio_cpu_s(job), cpu_s(self.daemon.pid) - before)

    def idle(self, clients, crc):
        m = json.loads(run([self.bench / "lh-bench-idle", self.target(crc), clients,
                            self.daemon.pid]).out)
        return {"busy_percent": m["busy_percent"]}

    def memory_kib(self):
        """Anonymous and resident."""
        status = pathlib.Path(f"/proc/{self.daemon.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines()
                    if line.startswith("RssAnon:"))

    def scale(self, *args):
        m = json.loads(run([self.bench / "lh-bench-scale", self.target("off"), *args, self.ms,
                            self.daemon.pid]).out)
        return times_of(m) | {k: m[k] for k in ("iops", "made_ms", "kib_each")}


# ---- peers -------------------------------------------------------------------------------------


class PingPong:
    def __init__(self, build, ms):
        self.program, self.ms = build / "bench/lh-bench-pingpong", ms

    def ask(self, out, back):
        return times_of(json.loads(run([self.program, out, back, self.ms]).out))


class Libfabric:
    def __init__(self, build, ms):
        self.program, self.ms = build / "bench/lh-bench-libfabric", ms
        if not self.program.exists():
            die(f"{self.program} was not built: libfabric's headers were not found")

    def io(self, what, size, depth):
        return own_figures(run([self.program, what, size, depth, self.ms]).out, size)


class Iperf:
    """A single stream."""

    def __init__(self, stack, work, ms):
        self.port, self.seconds = free_port(), max(1, round(ms / 1000))
        process = stack.enter_context(
            server(["iperf3", "-s", "-B", HOST, "-p", str(self.port)], work / "iperf3.log"))
        wait_until(lambda: listens(self.port), process, "iperf3")

    def stream(self):
        m = json.loads(run(["iperf3", "-c", HOST, "-p", self.port, "-t", self.seconds, "-J"]).out)
        moved, cpu = m["end"]["sum_received"], m["end"]["cpu_utilization_percent"]
        gib = moved["bytes"] / GIB
        return {"mib_s": moved["bytes"] / MIB / moved["seconds"],
                "client_cpu_s_gib": cpu["host_total"] / 100 * moved["seconds"] / gib,
                "target_cpu_s_gib": cpu["remote_total"] / 100 * moved["seconds"] / gib}


class Ucx:
    """ucx_perftest with nothing but TCP over loopback. Counts operations, not time."""

    LATENCY_S, BYTES_PER_S = 10e-6, 4e9  # a guess, for how many operations there are to be
    # Its line of CSV: operations; percentile, average of late and of all (µs); MiB/s so; …
    PERCENTILE, AVERAGE, MIB_S, FIELDS = 1, 3, 5, 8

    def __init__(self, work, ms):
        self.work, self.seconds = work, ms / 1000
        self.env = os.environ | {"UCX_TLS": "tcp", "UCX_NET_DEVICES": "lo"}

    def perftest(self, test, size):
        """The fields, and processor time: of the whole of both programs."""
        port = free_port()
        count = math.ceil(self.seconds / (self.LATENCY_S + size / self.BYTES_PER_S))
        warm = math.ceil(count / 10)
        with server(["ucx_perftest", "-p", str(port)], self.work / "ucx.log", self.env) as target:
            wait_until(lambda: listens(port), target, "ucx_perftest")
            ran = run(["ucx_perftest", HOST, "-p", port, "-t", test, "-s", size, "-n", count,
                       "-w", warm, "-R", "99", "-f", "-v"], self.env)
            gib = (count + warm) * size / GIB
            cpu = {"client_cpu_s_gib": ran.cpu_s / gib,
                   "target_cpu_s_gib": cpu_s(target.pid) / gib}
        fields = ran.out.split()[-1].split(",")
        if len(fields) != self.FIELDS:
            die(f"ucx_perftest says what is not understood:\n{ran.out}")
        return [float(f) for f in fields], cpu

    def latency(self, test, size):
        fields, _ = self.perftest(test, size)
        return {"mean_us": fields[self.AVERAGE], "p99_us": fields[self.PERCENTILE]}

    def bandwidth(self, test, size):
        fields, cpu = self.perftest(test, size)
        return {"mib_s": fields[self.MIB_S]} | cpu


class Nbdkit:
    """The memory plugin, through fio's own NBD engine."""

    def __init__(self, stack, work, ms, unix):
        self.ms = ms
        if unix:
            path = work / "nbd.sock"
            self.uri, at, there = f"nbd+unix:///?socket={path}", ["-U", path], path.exists
        else:
            port = free_port()
            self.uri, at = f"nbd://{HOST}:{port}/", ["-i", HOST, "-p", str(port)]
            there = functools.partial(listens, port)
        # Memory of one piece, all of it written once: none is read as a hole is.
        self.process = stack.enter_context(server(
            ["nbdkit", "-f", *at, "memory", f"size={SERVED_BYTES}", "allocator=malloc"],
            work / f"nbdkit-{'unix' if unix else 'tcp'}.log"))
        wait_until(there, self.process, "nbdkit")
        self.fio("--rw=write", f"--bs={MIB}", f"--size={SERVED_BYTES}")

    def fio(self, *options):
        return fio("fio", "--ioengine=nbd", f"--uri={self.uri}", *options)

    def io(self, what, size, depth):
        before = cpu_s(self.process.pid)
        job = self.fio(*fio_shape(what, size, depth, self.ms))
        return fio_figures(job, what, size, fio_cpu_s(job), cpu_s(self.process.pid) - before)
