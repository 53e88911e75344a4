#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs a program in a terminal of its own, and looks at the screen as a person does, for tests/e2e/cases.

terminal.py ROWS COLUMNS PROGRAM ARG... <STEPS

Steps, one a line, done in order; the first that fails ends it all, with the screen:
  see SECONDS REGEX      until a line of the screen has it
  never SECONDS REGEX    no line has it, all the while
  key TEXT               types it; \\e, \\r, \\x7f and names (up, down, left, right, pgdn, end) are understood
  size ROWS COLUMNS      the terminal has another size
  signal NAME            to the program (TERM, INT)
  status N               it ends by itself, with that exit status, and has given the terminal back
  run COMMAND            a shell command, which must succeed
  save FILE              the screen as it is
  end                    no more steps; so does the end of the input
After each step: no line is so long that it would have gone on in the next one.
"""
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

KEYS = {"up": "\x1bOA", "down": "\x1bOB", "right": "\x1bOC", "left": "\x1bOD", "pgup": "\x1b[5~", "pgdn": "\x1b[6~",
        "end": "\x1bOF", "home": "\x1bOH"}


class Screen:
    """So much of an xterm as ncurses makes use of there. What is not known fails."""

    def __init__(self, rows, columns):
        self.wrapped = 0
        self.modes = set()
        self.rest = ""
        self.pen = False
        self.resize(rows, columns)

    def resize(self, rows, columns):
        old = getattr(self, "cells", [])
        self.rows, self.columns = rows, columns
        self.cells = [[" "] * columns for _ in range(rows)]
        for y, line in enumerate(old[:rows]):
            self.cells[y][: min(columns, len(line))] = line[:columns]
        self.top, self.bottom = 0, rows - 1
        self.y = min(getattr(self, "y", 0), rows - 1)
        self.x = min(getattr(self, "x", 0), columns - 1)
        self.last = " "
        self.pending = False
        self.reversed = set()

    def lines(self):
        return ["".join(line).rstrip() for line in self.cells]

    def scroll(self, by):
        for _ in range(abs(by)):
            if by > 0:
                del self.cells[self.top]
                self.cells.insert(self.bottom, [" "] * self.columns)
            else:
                del self.cells[self.bottom]
                self.cells.insert(self.top, [" "] * self.columns)

    def put(self, c):
        if self.pending:
            self.wrapped += 1
            self.x, self.pending = 0, False
            self.y = min(self.y + 1, self.rows - 1)
        self.cells[self.y][self.x] = self.last = c
        if self.pen:
            self.reversed.add(self.y)
        if self.x + 1 < self.columns:
            self.x += 1
        else:
            self.pending = True

    def csi(self, text, final):
        private = text[:1] in ("?", ">")
        numbers = [int(n) if n else 0 for n in text.lstrip("?>").split(";")] if text.lstrip("?>") else []
        n = numbers[0] if numbers and numbers[0] else 1
        first = numbers[0] if numbers else 0
        self.pending = False
        if private:
            for m in numbers:
                (self.modes.add if final == "h" else self.modes.discard)(m)
        elif final == "H":
            self.y = min(max(n, 1), self.rows) - 1
            self.x = min(max(numbers[1] if len(numbers) > 1 else 1, 1), self.columns) - 1
        elif final == "d":
            self.y = min(n, self.rows) - 1
        elif final == "G":
            self.x = min(n, self.columns) - 1
        elif final == "A":
            self.y = max(self.y - n, 0)
        elif final == "B":
            self.y = min(self.y + n, self.rows - 1)
        elif final == "C":
            self.x = min(self.x + n, self.columns - 1)
        elif final == "D":
            self.x = max(self.x - n, 0)
        elif final == "J":
            if first == 2:
                self.cells = [[" "] * self.columns for _ in range(self.rows)]
                self.reversed = set()
            else:
                self.cells[self.y][self.x:] = [" "] * (self.columns - self.x)
                for y in range(self.y + 1, self.rows):
                    self.cells[y] = [" "] * self.columns
        elif final == "K":
            if first == 1:
                self.cells[self.y][: self.x + 1] = [" "] * (self.x + 1)
            else:
                self.cells[self.y][self.x:] = [" "] * (self.columns - self.x)
        elif final == "X":
            for x in range(self.x, min(self.x + n, self.columns)):
                self.cells[self.y][x] = " "
        elif final == "P":
            line = self.cells[self.y]
            del line[self.x: self.x + n]
            line += [" "] * (self.columns - len(line))
        elif final == "@":
            line = self.cells[self.y]
            line[self.x: self.x] = [" "] * n
            del line[self.columns:]
        elif final in "LM":
            top, self.top = self.top, self.y
            self.scroll(n if final == "M" else -n)
            self.top = top
        elif final == "b":
            for _ in range(n):
                self.put(self.last)
        elif final in "ST":
            self.scroll(n if final == "S" else -n)
        elif final == "r":
            self.top = (numbers[0] or 1) - 1 if numbers else 0
            self.bottom = (numbers[1] if len(numbers) > 1 and numbers[1] else self.rows) - 1
            self.y = self.x = 0
        elif final == "m":
            for m in numbers or [0]:
                self.pen = True if m == 7 else False if m in (0, 27) else self.pen
        elif final not in "hlt":
            sys.exit(f"terminal.py: an unknown sequence: CSI {text}{final}")

    def feed(self, data):
        self.rest += data
        while self.rest:
            c = self.rest[0]
            if c == "\x1b":
                m = re.match(r"\x1b\[([0-9;?>]*)([@-~])|\x1b[()][A-Z0-9]|\x1b[=>78M]", self.rest)
                if not m:
                    return
                self.rest = self.rest[m.end():]
                if m.group(2):
                    self.csi(m.group(1), m.group(2))
                elif m.group(0) == "\x1bM":
                    self.scroll(-1) if self.y == self.top else setattr(self, "y", self.y - 1)
                continue
            self.rest = self.rest[1:]
            if c == "\r":
                self.x, self.pending = 0, False
            elif c == "\n":
                self.pending = False
                if self.y == self.bottom:
                    self.scroll(1)
                else:
                    self.y = min(self.y + 1, self.rows - 1)
            elif c == "\b":
                self.x, self.pending = max(self.x - 1, 0), False
            elif c >= " ":
                self.put(c)


class Session:
    def __init__(self, rows, columns, command):
        self.screen = Screen(rows, columns)
        self.master, slave = os.openpty()
        self.set_size(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.program = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                        env={**os.environ, "TERM": "xterm"},
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.seen = ""

    def set_size(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def fail(self, why):
        edge = "+" + "-" * self.screen.columns + "+"
        print(f"{why}\n{edge}")
        for line in self.screen.lines():
            print(f"|{line}")
        print(edge)
        self.program.kill()
        sys.exit(1)

    def take(self, seconds):
        """What comes within that time."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if not select.select([self.master], [], [], max(left, 0))[0]:
                break
            try:
                data = os.read(self.master, 65536).decode("utf-8", "replace")
            except OSError:
                break
            self.seen += data
            self.screen.feed(data)
            if left <= 0:
                break
        if self.screen.wrapped:
            self.fail(f"a line was longer than {self.screen.columns} columns")

    def has(self, regex):
        return any(re.search(regex, line) for line in self.screen.lines())

    def see(self, seconds, regex):
        end = time.monotonic() + seconds
        while not self.has(regex):
            if time.monotonic() > end:
                self.fail(f"after {seconds} s no line has /{regex}/")
            self.take(0.05)

    def never(self, seconds, regex):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.take(0.05)
            if self.has(regex):
                self.fail(f"a line has /{regex}/")

    def resize(self, rows, columns):
        self.take(0.2)
        self.screen.resize(rows, columns)
        self.set_size(rows, columns)
        os.killpg(self.program.pid, signal.SIGWINCH)

    def status(self, wanted):
        end = time.monotonic() + 20
        while self.program.poll() is None:
            if time.monotonic() > end:
                self.fail("it does not end")
            self.take(0.05)
        self.take(0.1)
        if self.program.returncode != wanted:
            self.fail(f"it ended with {self.program.returncode}, not {wanted}")
        if termios.tcgetattr(self.slave) != self.before:
            self.fail("the terminal's settings are not what they were")
        if 1049 in self.screen.modes:
            self.fail("it has left the other screen on")
        if self.seen.count("\x1b[?25l") and self.seen.rindex("\x1b[?25l") > max(
                self.seen.rfind("\x1b[?25h"), self.seen.rfind("\x1b[?12l\x1b[?25h")):
            self.fail("it has left the cursor hidden")

    def step(self, verb, rest, slow):
        if verb in ("see", "never"):
            seconds, regex = rest.split(" ", 1)
            getattr(self, verb)(float(seconds) * (slow if verb == "see" else 1), regex)
        elif verb == "key":
            os.write(self.master, KEYS.get(rest, rest.replace("\\e", "\x1b").encode().decode("unicode_escape")).encode())
        elif verb == "size":
            self.resize(*(int(n) for n in rest.split()))
        elif verb == "signal":
            self.program.send_signal(getattr(signal, "SIG" + rest))
        elif verb == "status":
            self.status(int(rest))
        elif verb == "run":
            if subprocess.run(rest, shell=True, stdin=subprocess.DEVNULL).returncode != 0:
                self.fail(f"{rest}: failed")
        elif verb == "save":
            self.take(0.3)
            with open(rest, "w") as f:
                f.write("\n".join(self.screen.lines()) + "\n")
        else:
            self.fail(f"there is no step {verb}")


def main(args):
    if len(args) < 3:
        sys.exit(__doc__)
    slow = float(os.environ.get("E2E_SLOW", "1"))
    session = Session(int(args[0]), int(args[1]), args[2:])
    for line in sys.stdin:
        line = line.rstrip("\n")
        if line == "end":
            break
        if line and not line.startswith("#"):
            verb, _, rest = line.partition(" ")
            session.step(verb, rest, slow)
    if session.program.poll() is None:
        session.fail("it still runs at the end of the steps")


if __name__ == "__main__":
    main(sys.argv[1:])
