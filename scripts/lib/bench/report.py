# SPDX-License-Identifier: BSD-3-Clause
"""What figures of several rounds come to: medians, spreads, verdicts; JSON, Markdown and plots.

A figure is taken once a round, of everybody in turn. So two of them are compared round by round:
the ratio is the median of the rounds' ratios, its spread their range. Where a limit lies within
that range, some rounds say this and some say that, and there is no verdict.
"""
import dataclasses
import json
import pathlib
import statistics
import subprocess

MET, NOT_MET = "met", "not met"
NO_VERDICT = "no verdict: spread wider than the difference"
NOT_HAD = "no verdict: what it compares could not be had"

# Columns of the tables: figure, heading, digits behind the point.
COLUMNS = [("mean_us", "mean µs", 1), ("p50_us", "p50 µs", 1), ("p99_us", "p99 µs", 1),
           ("iops", "IOPS", 0), ("mib_s", "MiB/s", 0),
           ("client_cpu_s_gib", "client CPU s/GiB", 3), ("target_cpu_s_gib", "target CPU s/GiB", 3),
           ("busy_percent", "busy, % of a core", 3), ("made_ms", "ms until they are there", 0),
           ("kib_each", "KiB each at the target", 1)]
OURS_COLOUR, PEER_COLOUR = "0x2a6f97", "0xb0b7bf"


def unit(figure):
    return next(heading for name, heading, _ in COLUMNS if name == figure)


@dataclasses.dataclass(frozen=True)
class Spread:
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values):
        return cls(statistics.median(values), min(values), max(values))


@dataclasses.dataclass(frozen=True)
class Group:
    """Rows that are measured next to each other and compared."""
    key: str
    title: str
    plot: str  # the picture that it is a panel of; "": none
    figure: str  # the one that is drawn


@dataclasses.dataclass
class Row:
    group: Group
    who: str
    ours: bool = False
    crc: str = ""  # of what is ours: "on" or "off"; "": it has none
    rounds: list = dataclasses.field(default_factory=list)  # a dict of figures each
    missing: str = ""  # why it could not be had; then there are no rounds

    def figures(self):
        return self.rounds[0] if self.rounds else {}

    def spread(self, figure):
        """None: it has no such figure."""
        return Spread.of([r[figure] for r in self.rounds]) if figure in self.figures() else None


@dataclasses.dataclass
class Comparison:
    """One figure of a row over that of another, or (peer None) by itself; `limit` None: no aim."""
    text: str
    row: Row
    peer: Row | None
    figure: str
    relation: str = ""  # "<=" or ">="
    limit: float | None = None

    def ratios(self):
        """None are there if a row could not be had."""
        if self.row.missing or self.peer and self.peer.missing:
            return []
        mine = [r[self.figure] for r in self.row.rounds]
        if self.peer is None:
            return mine
        return [a / b[self.figure] for a, b in zip(mine, self.peer.rounds, strict=True)]

    def ratio(self):
        ratios = self.ratios()
        return Spread.of(ratios) if ratios else None

    def verdict(self):
        if self.limit is None:
            return ""
        good = [r <= self.limit if self.relation == "<=" else r >= self.limit
                for r in self.ratios()]
        if not good:
            return NOT_HAD
        return MET if all(good) else NO_VERDICT if any(good) else NOT_MET


# ---- JSON --------------------------------------------------------------------------------------


def measured(row):
    return {"group": row.group.key, "title": row.group.title, "who": row.who, "ours": row.ours,
            "crc": row.crc, "missing": row.missing, "rounds": row.rounds,
            "figures": {f: dataclasses.asdict(row.spread(f)) for f in row.figures()}}


def compared(c):
    return {"text": c.text, "group": c.row.group.key, "who": c.row.who, "crc": c.row.crc,
            "peer": c.peer and {"who": c.peer.who, "crc": c.peer.crc}, "figure": c.figure,
            "relation": c.relation, "limit": c.limit, "verdict": c.verdict(),
            "ratio": c.ratio() and dataclasses.asdict(c.ratio()), "rounds": c.ratios()}


def as_json(about, rows, aims, costs):
    return json.dumps({"about": about, "rows": [measured(r) for r in rows],
                       "aims": [compared(c) for c in aims],
                       "costs": [compared(c) for c in costs]}, indent=1) + "\n"


# ---- Markdown ----------------------------------------------------------------------------------


def table(headings, lines):
    """The first column is text, the others are right-aligned."""
    rule = ["---"] + ["---:"] * (len(headings) - 1)
    return "".join("| " + " | ".join(cells) + " |\n" for cells in [headings, rule, *lines])


def cell(spread, digits):
    if spread is None:
        return ""
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}–{spread.high:.{digits}f})"


def group_table(rows):
    columns = [c for c in COLUMNS if any(c[0] in r.figures() for r in rows)]
    crc = any(r.crc for r in rows)
    text = table([""] + ["CRC"] * crc + [c[1] for c in columns],
                 [[f"**{r.who}**" if r.ours else r.who] + [r.crc or "none"] * crc +
                  [cell(r.spread(figure), digits) for figure, _, digits in columns] for r in rows])
    return text + "".join(f"\n{r.who} could not be had: {r.missing}\n" for r in rows if r.missing)


def aims_table(aims):
    lines = []
    for c in aims:
        sign = {"<=": "≤", ">=": "≥"}[c.relation]
        aim = f"{sign} {c.limit} ×" if c.peer else f"{sign} {c.limit}"
        lines.append([c.text, aim, cell(c.ratio(), 2), c.verdict()])
    return table(["", "aim", "seen (lowest–highest round)", ""], lines)


def markdown(kind, about, groups, rows, aims, costs, plots):
    text = f"# scripts/bench {kind}\n\n"
    text += "".join(f"- {k}: {v}\n" for k, v in about.items())
    text += "\nEach figure is the median of the rounds; in brackets the lowest and the highest.\n"
    if aims:
        text += "\n## Aims\n\n" + aims_table(aims)
    if costs:
        text += "\n## What CRC costs\n\n"
        text += table(["", "on / off"], [[c.text, cell(c.ratio(), 2)] for c in costs])
    for p in plots:
        text += f"\n![{p}]({p}.svg)\n"
    for g in groups:
        text += f"\n## {g.title}\n\n" + group_table([r for r in rows if r.group == g])
    return text


# ---- plots -------------------------------------------------------------------------------------


def panel(group, rows):
    """Bars with the spread, ours in another colour; data inline."""
    lines = []
    for r in rows:
        s = r.spread(group.figure)
        name = r.who + (f", CRC {r.crc}" if r.crc else "")
        colour = OURS_COLOUR if r.ours else PEER_COLOUR
        lines.append(f'"{name}" {s.median} {s.low} {s.high} {colour}')
    data = "\n".join(lines)
    return f"""
$data << EOD
{data}
EOD
set title "{group.title}"
set xlabel "{unit(group.figure)}"
set xrange [0:*]
set yrange [{len(rows) - .4}:-.6]
plot $data using 2:0:(0):2:($0-.35):($0+.35):5:ytic(1) \\
         with boxxyerror fill solid lc rgb variable notitle, \\
     $data using 2:0:3:4 with xerrorbars pt 0 lc rgb "black" notitle
"""


def draw(folder, name, panels):
    """NAME.png, NAME.svg, and NAME.gnuplot, which makes them."""
    width, height = (1, len(panels)) if len(panels) < 3 else (2, (len(panels) + 1) // 2)
    bars = max(len(rows) for _, rows in panels)
    size = f"{900 * width},{(130 + 30 * bars) * height}"
    body = f"set multiplot layout {height},{width}\nset grid xtics\n"
    body += "".join(panel(g, rows) for g, rows in panels) + "unset multiplot\n"
    script = ""
    for terminal, ending in (("pngcairo", "png"), ("svg background '#ffffff'", "svg")):
        script += f"set terminal {terminal} size {size}\nset output '{name}.{ending}'\n{body}"
    script += "set output\n"
    path = folder / f"{name}.gnuplot"
    path.write_text(script)
    subprocess.run(["gnuplot", path.name], cwd=folder, check=True)


def write(folder, kind, about, groups, rows, aims, costs):
    """All of it into a folder that is there."""
    folder = pathlib.Path(folder)
    panels = [(g, [r for r in rows if r.group == g and r.rounds]) for g in groups]
    panels = [(g, had) for g, had in panels if g.plot and had]
    plots = list(dict.fromkeys(g.plot for g, _ in panels))
    (folder / "results.json").write_text(as_json(about, rows, aims, costs))
    for name in plots:
        draw(folder, name, [(g, had) for g, had in panels if g.plot == name])
    (folder / "results.md").write_text(markdown(kind, about, groups, rows, aims, costs, plots))
