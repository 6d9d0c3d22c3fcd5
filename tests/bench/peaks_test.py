# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the bench `peaks`, on made-up samples whose figures are known."""

import types
import unittest
from unittest import mock

from tests.rig.controller import overpromises
from tests.rig.errors import RigError

from . import peaks
from .peaks import MIB, Course, Peak, Sample, Setup
from .report import Report

SETUP = Setup("6.12", ram_mib=700)
BUDGET = Setup("6.12").budget(100 * MIB)


def course(took_s=(3, 4, 5), host_mib=(500, 1000, 1500)):
    """Three peaks of ten seconds each, while the host holds so much; the budget is 1500 MiB, with QEMU's own 100."""
    samples = [Sample(at, (host_mib[at // 10] * MIB - 100 * MIB, 0, 0), (50 * MIB, 30 * MIB, 20 * MIB)) for at in range(0, 30, 2)]
    found = [Peak(10 * number, 10 * number + 9, took) for number, took in enumerate(took_s)]
    return Course(1500 * MIB, found, samples, 0, 2.5, 1, 0.5)


class Figures(unittest.TestCase):
    def test_a_peak_is_met_where_all_was_touched_and_the_host_held_no_more_than_the_budget(self):
        for took_s, host_mib, met in [
            ((3, 4, 5), (500, 1000, 1500), 3),
            ((3, 4, 5), (500, 1000, 1501), 2),
            ((3, None, 5), (500, 1000, 1500), 2),
            ((None, None, None), (500, 1000, 1501), 0),
        ]:
            self.assertEqual(peaks.figures(SETUP, course(took_s, host_mib))[peaks.PEAKS_MET].number, met, (took_s, host_mib))

    def test_the_rest_is_of_the_whole_course(self):
        found = peaks.figures(SETUP, course(host_mib=(500, 1000, 1600)))
        self.assertEqual(found[peaks.OVER_BUDGET].number, 100 * MIB)
        self.assertEqual((found[peaks.PEAK].number, found[peaks.OOM_KILLS].number, found[peaks.STALL].number), (5, 1, 2.5))
        self.assertEqual([peak["over_budget_bytes"] // MIB for peak in found[peaks.PEAKS_MET].detail["peaks"]], [-1000, -500, 100])
        self.assertEqual(found[peaks.OVER_BUDGET].detail["samples"]["rows"][1], [2, 400 * MIB, 0, 0, 100 * MIB])

    def test_a_peak_that_never_came_has_no_time_but_a_reason(self):
        value = peaks.figures(SETUP, course(took_s=(3, None, 5)))[peaks.PEAK]
        self.assertIsNone(value.number)
        self.assertIn("vm2", value.why)

    def test_fixed_sizes_fit_two_whatever_qemu_has_of_its_own(self):
        for qemu_mib in (0, 90, 600):
            self.assertEqual(SETUP.static_fits(SETUP.budget(qemu_mib * MIB)), 2)


class Promises(unittest.TestCase):
    @staticmethod
    def decision(*vms):
        """Of VMs with (own, grant, holds, granted); the budget is 100, of which 10 are reserved."""
        names = ("own_bytes", "grant_bytes", "holds_bytes", "granted_bytes")
        return {"host": {"budget_bytes": 100, "reserved_bytes": 10}, "vms": [dict(zip(names, vm)) for vm in vms]}

    def test_only_what_grows_beyond_the_budget_is_an_overpromise(self):
        for vms, wrong in [
            ([(5, 40, 40, 60), (5, 40, 40, 20)], True),  # vm2 has not given up anything yet
            ([(5, 40, 40, 40), (5, 40, 20, 40)], False),
            ([(5, 40, 40, 41), (5, 40, 20, 40)], True),
            ([(5, 70, 70, 60), (5, 40, 40, 30)], False),  # too much already, and nobody gets more
        ]:
            self.assertEqual(overpromises(self.decision(*vms)), wrong, vms)


class Touched(unittest.TestCase):
    def test_a_peak_is_there_when_both_programs_have_touched_all_of_theirs(self):
        lines = [{"start_s": 17.25}, {"phase_bytes": 7, "t_us": 18_000_000}, {"ready_us": 5, "t_us": 19_000_000}]
        self.assertIsNone(peaks.took_s([]))
        self.assertIsNone(peaks.took_s(lines))
        lines += [{"rounds": 3, "t_us": 20_000_000}, {"ready_us": 9, "t_us": 20_750_000}]
        self.assertEqual(peaks.took_s(lines), 3.5)


class Run(unittest.TestCase):
    def run_bench(self, broken=()):
        """The report of a run on hosts that are made up; those of `broken` contestants do not start."""
        budgets = []

        class FakeHost:
            def __init__(self, _setup, contestant, _programs, budget):
                if contestant in broken:
                    raise RigError("no host")
                budgets.append(budget)
                self.budget = budget or BUDGET

            def __enter__(self):
                return self

            def __exit__(self, *_):
                pass

            def keep_logs(self, _directory):
                pass

        report = Report("peaks", {}, peaks.METRICS)
        given = types.SimpleNamespace(kernel=["6.12"], case=None, keep=None, seed=1)
        with mock.patch.object(peaks, "Host", FakeHost), mock.patch.object(peaks, "run_peaks", lambda *_: course()):
            peaks.run(given, None, report, lambda _: None)
        return {row["metric"]: row for row in report.rows()}, budgets

    def test_all_contestants_have_the_budget_of_the_first(self):
        rows, budgets = self.run_bench()
        self.assertEqual(budgets, [None, BUDGET])
        self.assertEqual((rows["peaks_met"]["ours"], rows["peaks_met"]["peers"]), (3, {"fpr": 3, "static": 2}))
        self.assertEqual(rows["peak_s"]["peers"], {"fpr": 5})
        self.assertEqual(rows["peaks_met"]["cases"][0]["budget_bytes"], BUDGET)

    def test_a_host_that_does_not_start_leaves_its_own_figures_empty_with_the_reason(self):
        rows, _ = self.run_bench(broken=("ours",))
        self.assertIsNone(rows["peaks_met"]["ours"])
        self.assertIn("no host", rows["peaks_met"]["why"])
        self.assertEqual(rows["peaks_met"]["peers"]["fpr"], 3)


if __name__ == "__main__":
    unittest.main()
