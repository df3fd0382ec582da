"""What can be tried of the measurement without an Envoy: python3 -B -m unittest discover integration/bench"""

import base64
import json
import pathlib
import unittest

from cost import figures, report, rows, targets
from cost.load import latencies
from cost.memory import Held
from cost.rows import Figures, Listener, Modules, Row
from cost.tokens import Provider, group


def measured(key: str, *costs: float) -> Row:
    """A row whose slices of a thousand requests cost so many µs each."""
    row = Row(key, key, Listener(key, []))
    row.slices = [(1_000, cost / 1e3, 1.0) for cost in costs]
    return row


class FiguresOfSlices(unittest.TestCase):
    def test_a_percentile_is_a_value_that_was_measured(self):
        hundred = range(100, 0, -1)
        self.assertEqual([figures.percentile(hundred, share) for share in (0.5, 0.99, 1)], [50, 99, 100])
        self.assertEqual(figures.percentile([7], 0.01), 7)
        with self.assertRaises(ValueError):
            figures.percentile([], 0.5)

    def test_a_ratio_is_taken_within_rounds(self):
        # A neighbour makes the third round ten times dearer, for both.
        self.assertEqual(figures.ratio([10, 20, 300], [5, 10, 150]), 2)

    def test_a_row_that_has_left_is_compared_in_its_rounds_alone(self):
        self.assertEqual(figures.ratio([10, 10], [5, 5, 1, 1, 1]), 2)
        self.assertEqual(figures.share([6, 6, 100, 100], [8, 8], [4, 4, 4, 4]), 0.5)

    def test_there_is_no_share_of_no_overhead(self):
        self.assertIsNone(figures.share([6, 6], [4, 4], [4, 4]))


class Latencies(unittest.TestCase):
    def test_what_leaves_during_the_opening_does_not_count(self):
        def line(start: float) -> dict:
            return {"request-start": str(start), "request-duration": str(start)}

        answered = [line(at / 10) for at in range(25)]
        self.assertEqual(latencies(answered, 10, 2), [at / 10 for at in range(5, 25)])

    def test_a_row_that_does_not_keep_the_rate_has_none(self):
        answered = [{"request-start": "1", "request-duration": "0.001"}] * 97
        self.assertIsNone(latencies(answered, 100, 1))
        self.assertIsNotNone(latencies(answered + answered[:1], 100, 1))


    def test_a_rate_that_was_not_kept_is_not_one_that_was_not_tried(self):
        row = measured("none", 10, 10)
        row.latencies = {1_000: [(0.001, 0.002), (0.003, 0.004), (0.002, 0.009)], 4_000: []}
        cells = [report.latency_of(row, rate) for rate in (1_000, 4_000, 9_000)]
        self.assertEqual(cells, [("2.000", "4.000"), ("not kept", "not kept"), ("", "")])


class Targets(unittest.TestCase):
    def verdicts(self, *found: Row, memory: tuple = ()) -> dict:
        every = targets.targets(Figures(list(found)), list(memory))
        return {(target.what.split(":")[0], target.form): target.verdict for target in every}

    def test_each_form_has_its_own_bounds(self):
        none, rbac = measured("none", 10, 10), measured("rbac-10", 20, 20)
        same = [measured(f"{form}-10", 17, 17) for form in ("gate", "native")]
        # 1.18 times as dear, and seven tenths of the overhead.
        said = self.verdicts(none, rbac, *same)
        for what in ("warm, 10 tenants, equal work", "overhead / overhead of jwt_authn + RBAC(10), equal work"):
            self.assertEqual((said[what, "gate"], said[what, "native"]), ("met", "missed"))

    def test_a_bound_itself_is_met(self):
        said = self.verdicts(measured("rbac-10", 12, 12), measured("native-10", 10, 10))
        self.assertEqual(said["warm, 10 tenants, equal work", "native"], "met")

    def test_what_was_not_measured_is_neither_met_nor_missed(self):
        self.assertEqual(set(self.verdicts().values()), {"not measured"})

    def test_the_memory_is_that_of_a_further_worker(self):
        held = Held("native", "native scopegate", first=40 * 2**20, further=17 * 2**20, remembered=4_096)
        said = self.verdicts(memory=(held,))
        self.assertEqual(said["memory of a worker, 10,000 tenants and 4,096 tokens", "native"], "missed")

    def test_all_are_in_the_document(self):
        of = Figures([measured("none", 10, 10)])
        written = report.document(of, [], targets.targets(of, []), {"seconds": 1})
        self.assertEqual(len(json.loads(json.dumps(written))["targets"]), 2 * (len(targets.COMPARED) + 1))


class Rows(unittest.TestCase):
    every = rows.table({}, Modules(*(pathlib.Path(name) for name in ("gate", "native", "e.wasm", "e.so", "before"))))

    def test_each_has_a_key_of_its_own_and_is_compared_with_rows_of_its_section(self):
        keys = {row.key: row for row in self.every}
        self.assertEqual(len(keys), len(self.every))
        for row in self.every:
            self.assertEqual({keys[row.floor].section, keys[row.reference].section}, {row.section})

    def test_first_seen_tokens_have_a_process_with_one_native_listener(self):
        there = {row.key for row in self.every if row.listener.process == rows.FIRST_SEEN}
        self.assertEqual(there, {row.key for row in self.every if row.first_seen})
        self.assertEqual([key for key in there if key.startswith("native")], ["native-cold"])

    def test_rows_of_one_process_share_listeners_but_not_measurements(self):
        keys = {row.key: row for row in self.every}
        self.assertIs(keys["gate-10-h2"].listener, keys["gate-10"].listener)
        self.assertIsNot(keys["gate-10-two"].listener, keys["gate-10"].listener)
        self.assertIsNot(keys["gate-10-h2"].slices, keys["gate-10"].slices)
        self.assertIsNot(keys["gate-10-h2"].latencies, keys["gate-10"].latencies)


class Tokens(unittest.TestCase):
    provider = Provider()

    def test_they_are_as_long_and_in_as_many_groups_as_is_asked(self):
        for size in (1_024, 4_096, 12_288):
            self.assertIn(size - len(self.provider.token(group(5), 0, size=size)), (0, 1, 2))
        claims = self.provider.token(group(5), 0, count=200).split(".")[1]
        self.assertEqual(len(json.loads(base64.urlsafe_b64decode(claims + "=="))["groups"]), 200)


if __name__ == "__main__":
    unittest.main()
