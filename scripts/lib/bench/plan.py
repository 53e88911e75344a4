# SPDX-License-Identifier: BSD-3-Clause
"""The rows of a kind of scripts/bench, and the run: each row measured once a round, in turn, and
what it comes to written. What is measured is the kind's own (native.py, vm.py)."""
import argparse
import contextlib
import functools
import pathlib
import signal
import sys
import tempfile

import peers
import report


class Plan:
    """All rows, in the order in which they are measured, and how each of them is."""

    def __init__(self):
        self.groups, self.rows, self.how = [], [], []

    def group(self, key, title, plot, figure):
        self.groups.append(report.Group(key, title, plot, figure))

    def add(self, who, how, *args, ours=False, crc=""):
        """A row of the latest group."""
        self.rows.append(report.Row(self.groups[-1], who, ours, crc))
        self.how.append(functools.partial(how, *args))

    def find(self, group, who, crc=""):
        return next(r for r in self.rows if (r.group.key, r.who, r.crc) == (group, who, crc))

    def compare(self, text, group, who, peer, figure, relation, limit, crc=""):
        """An aim. `peer` None: the figure by itself."""
        return report.Comparison(text, self.find(group, who, crc), peer and self.find(group, peer),
                                 figure, relation, limit)

    def measure_round(self):
        """A row that cannot be had says why, and is not asked again."""
        for row, how in zip(self.rows, self.how, strict=True):
            if row.missing:
                continue
            try:
                row.rounds.append(how())
            except peers.Failed as e:
                row.missing = " ".join(str(e).split()).removeprefix("bench: ")
                print(f"== {row.group.title}, {row.who}: {row.missing}", flush=True)
                row.rounds.clear()


def measure(kind, packages, make_plan, make_aims, make_costs=lambda p: []):
    """All of it, as the command line says; whether every row of ours could be had."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--ms", type=int, required=True)
    args = parser.parse_args()
    facts = peers.about(args.rounds, args.ms, packages)
    peers.take_sides()
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(tempfile.TemporaryDirectory(prefix="leasehold-bench."))
        p = make_plan(stack, args.bin, pathlib.Path(work), args.ms)
        for i in range(args.rounds):
            print(f"== round {i + 1} of {args.rounds}, {len(p.rows)} runs", flush=True)
            p.measure_round()
            aims = make_aims(p)  # after each: a run that is cut short leaves what it has seen
            report.write(args.out, kind, facts, p.groups, p.rows, aims, make_costs(p))
    print(report.aims_table(aims))
    return not any(r.ours and r.missing for r in p.rows)


def carry_out(*args):
    """measure(), as a program: it ends with what came of it."""
    for number in (signal.SIGINT, signal.SIGTERM):  # servers and files go with the stack
        signal.signal(number, lambda n, _: sys.exit(128 + n))
    sys.exit(0 if measure(*args) else 1)
