# SPDX-License-Identifier: BSD-3-Clause
"""Usage: scale.py --bin BUILD --out FOLDER --rounds N --ms N [--quick]

The measurements of scripts/bench scale, which sees to the build: what many of a kind cost each other, and
the daemon's memory. On the software fabric, CRC off.
"""
import argparse
import contextlib
import functools
import pathlib
import signal
import sys
import tempfile

import peers
import report

CLIENTS = (1, 2, 8, 32, 128)
GRANTS = (10, 100, 1000, 10000)
EXPORTS = (1, 10, 100, 1000)
OPTIONS = "".join(f"max_grants_per_{whose} = {2 * GRANTS[-1]};" for whose in ("client", "export", "host"))


class Exports:
    """A daemon that has so many, made anew each round; read from by one client."""

    def __init__(self, build, work, ms):
        self.build, self.work, self.ms = build, work, ms
        self.first_kib = None

    def measure(self, n):
        with contextlib.ExitStack() as stack:
            work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self.work)))
            leasehold = peers.Leasehold(stack, self.build, work, self.ms, more_exports=n - 1)
            kib = leasehold.memory_kib()
            if n == 1:
                self.first_kib = kib
            each = kib if n == 1 else (kib - self.first_kib) / (n - 1)
            return leasehold.scale("clients", 1, "block") | {"made_ms": leasehold.started_ms,
                                                             "kib_each": each}


def make_rows(stack, build, work, ms, quick):
    """The rows, and how each of them is measured."""
    leasehold = peers.Leasehold(stack, build, work / "many", ms, options=OPTIONS)
    exports = Exports(build, work, ms)
    groups, rows = [], []

    def group(key, title, numbers, noun, how):
        g = report.Group(key, title, "latency", "p50_us")
        groups.append(g)
        for n in numbers[:-1] if quick else numbers:
            rows.append((report.Row(g, f"{n} {noun}{'' if n == 1 else 's'}", True, "off"),
                         functools.partial(how, n)))

    for way in ("block", "direct"):
        group(way, f"Clients, each reading 4 KiB at a time, {way}", CLIENTS, "client",
              lambda n, way=way: leasehold.scale("clients", n, way))
    group("grants", "Grants of 4 KiB to one client, who reads from them at random", GRANTS, "grant",
          lambda n: leasehold.scale("grants", n))
    group("exports", "Exports of a daemon; one client reads from one of them", EXPORTS, "export",
          exports.measure)
    return groups, rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--ms", type=int, required=True)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # servers and files go with the stack
        signal.signal(number, lambda n, _: sys.exit(128 + n))
    facts = peers.about(args.rounds, args.ms, [])
    peers.take_sides()
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(stack.enter_context(
            tempfile.TemporaryDirectory(prefix="leasehold-bench.")))
        groups, rows = make_rows(stack, args.bin, work, args.ms, args.quick)
        for i in range(args.rounds):
            print(f"== round {i + 1} of {args.rounds}, {len(rows)} runs", flush=True)
            for row, how in rows:
                row.rounds.append(how())
    rows = [row for row, _ in rows]
    report.write(args.out, "scale", facts, groups, rows, [], [])
    for g in groups:
        print(f"\n{g.title}\n\n" + report.group_table([r for r in rows if r.group == g]))
    print(f"== plots, and all figures: {args.out}/results.md")


if __name__ == "__main__":
    main()
