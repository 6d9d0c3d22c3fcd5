# SPDX-License-Identifier: Apache-2.0
"""Tests of what the demo shows and how it judges. They need no guest: python3 -m unittest tests.demo.demo_test"""

import io
import json
import unittest

from . import plan, record, screen
from .record import MIB, Record, Status


def phase_line(at, mib):
    return json.dumps({"t_us": at * 1_000_000, "unix_us": 0, "phase_bytes": mib * MIB}) + "\n"


def ready_line(at, mib, took_s=1):
    line = {"t_us": at * 1_000_000, "unix_us": 0, "ready_bytes": mib * MIB, "ready_us": took_s * 1_000_000}
    return json.dumps(line) + "\n"


def done_line(at, intact):
    return json.dumps({"t_us": at * 1_000_000, "done": True, "intact": intact}) + "\n"


def status(at, stalled_us=0, oom_kills=0):
    return Status(at, 3, stalled_us, oom_kills, "settled", "a reason", [], 100 * MIB, 300 * MIB, 200 * MIB, "a reason")


def vm(needs, host, oom_kills=0, planned=None):
    """A VM whose needs and host bytes (MiB) changed every ten seconds."""
    found = Record("vm", 10, planned or len(needs))
    for number, mib in enumerate(needs):
        found.add_workload_output(10 * number, phase_line(10 * number, mib))
        found.add_workload_output(10 * number + 1, ready_line(10 * number + 1, mib))
    for at, mib in enumerate(host):
        found.add_host(at, mib * MIB)
    found.add_status(status(0))
    found.add_status(status(10 * len(needs), 30_000, oom_kills))
    return found


def steps(*mib):
    """Ten seconds at each."""
    return [size for size in mib for _ in range(10)]


class PlanTest(unittest.TestCase):
    def test_the_need_moves_from_one_guest_to_the_other_and_ends_small(self):
        phases = plan.phases_of(150)
        self.assertEqual([phase.needs for phase in phases],
                         [{"left": 900, "right": 200}, {"left": 200, "right": 900}, {"left": 200, "right": 200}])

    def test_the_phases_fill_the_run_exactly(self):
        for seconds in (30, 100, 151, 299, 1000):
            self.assertEqual(sum(phase.seconds for phase in plan.phases_of(seconds)), seconds)

    def test_a_long_run_exchanges_more_often(self):
        self.assertEqual(len(plan.phases_of(150)), 3)
        self.assertEqual(len(plan.phases_of(250)), 5)

    def test_the_last_phase_of_a_workload_outlasts_the_run(self):
        self.assertEqual(plan.workload_argument(plan.phases_of(150), "right", 600), "200:50,900:50,200:650")

    def test_a_second_belongs_to_one_phase(self):
        phases = plan.phases_of(150)
        self.assertEqual([plan.phase_at(phases, at) for at in (0, 49.9, 50, 149, 200)], [0, 0, 1, 2, 2])


class RecordTest(unittest.TestCase):
    def test_memory_that_follows_is_good(self):
        self.assertEqual(vm((900, 200), steps(950, 300)).problems(), [])
        self.assertEqual(vm((200, 900, 200), steps(300, 950, 300)).problems(), [])

    def test_memory_that_does_not_fall_is_told_with_its_numbers(self):
        self.assertEqual(
            vm((900, 200), steps(950, 700)).problems(),
            ["vm: phase 2: only 200 MiB are needed, but host bytes only fell from 950 to 700 MiB"],
        )

    def test_memory_may_fall_in_a_later_phase_as_long_as_no_more_is_needed(self):
        self.assertEqual(vm((900, 200, 200), steps(950, 700, 300)).problems(), [])
        self.assertEqual(len(vm((900, 200, 900, 200), steps(950, 700, 950, 300)).problems()), 2)

    def test_memory_that_does_not_rise_is_told(self):
        self.assertEqual(
            vm((200, 900, 200), steps(300, 700, 200)).problems(),
            ["vm: phase 2: 900 MiB are needed, but host bytes only rose to 700 MiB"],
        )

    def test_memory_that_was_high_already_did_not_rise(self):
        self.assertEqual(
            vm((200, 900, 200), steps(950, 950, 300)).problems(),
            ["vm: phase 2: host bytes were at 950 MiB before 900 MiB were needed"],
        )

    def test_an_oom_kill_fails(self):
        self.assertEqual(vm((900, 200), steps(950, 300), oom_kills=2).problems(), ["vm: 2 OOM kills"])

    def test_a_workload_that_got_stuck_fails(self):
        self.assertEqual(vm((900, 200), steps(950, 300), planned=3).problems(),
                         ["vm: its workload only came to phase 2 of 3"])

    def test_a_workload_that_lost_content_fails(self):
        found = vm((900, 200), steps(950, 300))
        found.add_workload_output(20, done_line(20, False))
        self.assertEqual(found.problems(), ["vm: its workload stopped before the end of the run: memory lost its content"])

    def test_a_need_that_was_not_met_fails(self):
        found = vm((200, 900, 200), steps(300, 950, 300))
        found.phases[1].ready_us = None
        self.assertEqual(found.problems(), ["vm: phase 2: its workload did not get the 900 MiB that it needs"])

    def test_an_unheard_agent_fails(self):
        found = vm((900, 200), steps(950, 300))
        found.statuses.clear()
        self.assertIn("no status", found.problems()[0])
        self.assertIsNone(found.psi_bp)

    def test_figures_that_were_not_measured_fail(self):
        self.assertIn("not measured in every phase", vm((900, 200), steps(950)).problems()[0])

    def test_psi_is_the_share_of_the_run_that_was_stalled(self):
        self.assertEqual(vm((900, 200), steps(950, 300)).psi_bp, 15)  # 30 ms of 20 s

    def test_an_older_status_that_comes_late_is_ignored(self):
        found = vm((900, 200), steps(950, 300))
        found.add_status(status(21, 10_000))
        self.assertEqual(found.psi_bp, 15)

    def test_saved_is_what_static_vms_would_have_held_beside(self):
        found = vm((900, 200), [512] * 61)
        self.assertAlmostEqual(found.saved_gib_min, 1.0)

    def test_the_lowest_is_not_that_before_the_workload_had_its_memory(self):
        found = vm((900, 200), [100, 950] + steps(950, 300)[2:])
        self.assertEqual((found.host_min_bytes, found.host_max_bytes), (300 * MIB, 950 * MIB))

    def test_output_may_be_cut_anywhere(self):
        text = phase_line(100, 900) + ready_line(103, 900, 3)
        found = Record("vm", 10, 1)
        for character in text:
            found.add_workload_output(7, character)
        self.assertEqual((found.working_set_max_bytes, found.phases[0].ready_us), (900 * MIB, 3_000_000))
        self.assertEqual(found.starts(), [4.0])  # the best view of the guest's clock counts

    def test_the_json_has_the_agreed_fields(self):
        found = record.document([vm((900, 200), steps(950, 300))], 20, [])
        self.assertLessEqual({"vms", "saved_gib_min"}, set(found))
        agreed = {"name", "working_set_max_bytes", "host_min_bytes", "host_max_bytes", "psi_bp", "psi_target_bp", "oom_kills"}
        self.assertLessEqual(agreed, set(found["vms"][0]))
        self.assertTrue(found["moved"])
        json.dumps(found)


class Terminal(io.StringIO):
    def isatty(self):
        return True


class ScreenTest(unittest.TestCase):
    def setUp(self):
        self.phases = plan.phases_of(150)
        self.records = [vm((900, 200), steps(950, 300))]

    def test_a_bar_is_as_long_as_the_memory_held(self):
        self.assertEqual(screen.bar(8, 0, 16), "[" + "#" * 10 + "." * 10 + "]")
        self.assertEqual(screen.bar(0, 16, 16), "[" + "." * 19 + "|]")

    def test_nothing_is_cut_off_at_80_columns(self):
        self.assertTrue(all(len(row) <= 79 for row in screen.table(self.records) if not row.startswith("   ")))
        long = "       " + "a sentence with a reason " * 8
        lines = screen.wrapped(long, 79)
        self.assertTrue(all(len(line) <= 79 for line in lines))
        self.assertEqual(" ".join(" ".join(lines).split()), " ".join(long.split()))

    def test_blocks_that_never_moved_fail(self):
        record = vm((900, 200), steps(950, 300))
        for each in record.statuses:
            each.taken_bytes = 0
        self.assertEqual(record.problems(), ["vm: blocks: 0 MiB taken, 200 MiB given back"])

    def test_a_terminal_is_redrawn_in_place(self):
        out = Terminal()
        shown = screen.Screen(self.phases, 150, out)
        shown.draw(self.records, 0, 1.0)
        self.assertNotIn("\x1b[1", out.getvalue())
        rows = out.getvalue().count("\n")
        shown.draw(self.records, 0, 2.0)
        self.assertEqual(out.getvalue().count(f"\x1b[{rows}A"), 1)

    def test_elsewhere_lines_come_every_five_seconds_without_escapes(self):
        out = io.StringIO()
        shown = screen.Screen(self.phases, 150, out)
        for at in range(11):
            shown.draw(self.records, 0, float(at))
        self.assertNotIn("\x1b", out.getvalue())
        self.assertEqual(out.getvalue().count("vm "), 3)
        self.assertEqual(out.getvalue().count("phase 1 of 3"), 1)

    def test_the_summary_has_every_figure(self):
        text = "\n".join(screen.summary(self.records, 20))
        for figure in ("900", "300", "950", "0.15%", "0.10%", "1.00 s", "GiB-minutes"):
            self.assertIn(figure, text)


if __name__ == "__main__":
    unittest.main()
