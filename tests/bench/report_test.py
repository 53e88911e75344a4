# SPDX-License-Identifier: BSD-3-Clause
"""What scripts/lib/bench/report.py makes of figures: python3 -B report_test.py FOLDER_OF_REPORT."""
import json
import sys
import unittest

sys.path.insert(0, sys.argv.pop(1))
import report  # noqa: E402: where it is was said only now

GROUP = report.Group("read", "reads", "latency", "mean_us")


def row(who, *values, crc=""):
    return report.Row(GROUP, who, crc != "", crc, [{"mean_us": v} for v in values])


def compare(ours, peer, relation="<=", limit=1.0):
    return report.Comparison("a read", row("us", *ours, crc="off"), peer and row("them", *peer),
                             "mean_us", relation, limit)


class Verdict(unittest.TestCase):
    def test_every_round_says_so(self):
        self.assertEqual(compare([9, 8, 9], [10, 10, 10]).verdict(), report.MET)
        self.assertEqual(compare([11, 12, 11], [10, 10, 10]).verdict(), report.NOT_MET)
        self.assertEqual(compare([9, 8, 9], [10, 10, 10], ">=").verdict(), report.NOT_MET)
        self.assertEqual(compare([22, 21, 20], [10, 10, 10], ">=", 2).verdict(), report.MET)

    def test_none_where_one_round_disagrees(self):
        for one in (11, 9):
            self.assertEqual(compare([9, one, 11], [10, 10, 10]).verdict(), report.NO_VERDICT)

    def test_rounds_are_compared_in_pairs(self):
        """A machine that was slow for one round was so for both."""
        c = compare([8, 80, 8], [10, 100, 10])
        self.assertEqual(c.verdict(), report.MET)
        self.assertEqual(report.Spread.of(c.ratios()), report.Spread(.8, .8, .8))

    def test_without_a_peer_the_figure_itself(self):
        self.assertEqual(compare([.2, .4], None, limit=.5).verdict(), report.MET)
        self.assertEqual(compare([.6, .4], None, limit=.5).verdict(), report.NO_VERDICT)

    def test_without_a_limit_none(self):
        self.assertEqual(compare([1], [2], limit=None).verdict(), "")

    def test_none_where_a_row_could_not_be_had(self):
        for which in ("row", "peer"):
            c = compare([9], [10])
            setattr(c, which, row("nobody"))
            getattr(c, which).missing = "no such program"
            self.assertEqual(c.verdict(), report.NOT_HAD)
            self.assertIn(f"|  | {report.NOT_HAD} |", report.aims_table([c]))

    def test_a_round_is_missing(self):
        with self.assertRaises(ValueError):
            compare([1, 2], [1]).ratios()


class Written(unittest.TestCase):
    def test_every_row_of_ours_says_its_crc(self):
        rows = [row("us", 1, 3, 2, crc="off"), row("us", 4, 4, 4, crc="on"), row("them", 5, 5, 5)]
        table = report.group_table(rows).splitlines()
        self.assertEqual(table[2], "| **us** | off | 2.0 (1.0–3.0) |")
        self.assertEqual(table[3], "| **us** | on | 4.0 (4.0–4.0) |")
        self.assertEqual(table[4], "| them | none | 5.0 (5.0–5.0) |")

    def test_figures_that_not_all_have(self):
        rows = [row("us", 1, crc="off"), row("them", 2)]
        rows[1].rounds[0]["iops"] = 7
        self.assertEqual(report.group_table(rows).splitlines()[2:], [
            "| **us** | off | 1.0 (1.0–1.0) |  |", "| them | none | 2.0 (2.0–2.0) | 7 (7–7) |"])

    def test_no_column_for_crc_where_nobody_has_one(self):
        self.assertEqual(report.group_table([row("them", 2)]).splitlines()[2:],
                         ["| them | 2.0 (2.0–2.0) |"])

    def test_a_row_that_could_not_be_had_says_why(self):
        rows = [row("us", 1, crc="off"), row("them")]
        rows[1].missing = "no such program"
        self.assertEqual(report.group_table(rows).splitlines()[2:], [
            "| **us** | off | 1.0 (1.0–1.0) |", "| them | none |  |", "",
            "them could not be had: no such program"])
        said = json.loads(report.as_json({}, rows, [compare([9], [10])], []))
        self.assertEqual([r["missing"] for r in said["rows"]], ["", "no such program"])

    def test_aims(self):
        self.assertIn("| a read | ≤ 1.0 × | 0.90 (0.90–0.90) | met |",
                      report.aims_table([compare([9], [10])]))

    def test_json_has_every_round(self):
        c = compare([9, 12], [10, 10])
        said = json.loads(report.as_json({}, [c.row, c.peer], [c], []))
        self.assertEqual(said["rows"][0]["rounds"], [{"mean_us": 9}, {"mean_us": 12}])
        self.assertEqual(said["aims"][0]["rounds"], [.9, 1.2])
        self.assertEqual(said["aims"][0]["verdict"], report.NO_VERDICT)
        self.assertEqual(said["aims"][0]["crc"], "off")


if __name__ == "__main__":
    unittest.main()
