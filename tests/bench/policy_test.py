# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the bench `policy`, and that it runs every scenario of the simulator."""

import os
import subprocess
import sys
import unittest

from . import policy

RESULTS = {
    "policy": "acma",
    "counted_us": 600_000_000,
    "demand_fits_us": 4_000_000_000,
    "demand_met_us": 3_996_000_000,
    "stall_us": 2_500_000,
    "host_free_min_bytes": 1 << 30,
    "host_swap_max_bytes": 0,
    "unbacked_max_bytes": 0,
    "target_changes": 40,
}
SIMULATED = {"scenario": "doubles", "vms": 4, "doubling": True}


class Figures(unittest.TestCase):
    def test_they_are_per_vm_and_of_the_time_in_which_the_demand_fits(self):
        found = policy.figures(SIMULATED, {**RESULTS, "double_need_us": 1_100_000})
        self.assertAlmostEqual(found[policy.DEMAND_MET].number, 99.9)
        self.assertAlmostEqual(found[policy.TARGET_CHANGES].number, 1)
        self.assertAlmostEqual(found[policy.STALL].number, 2.5)
        self.assertAlmostEqual(found[policy.DOUBLE_NEED].number, 1.1)

    def test_a_need_that_is_never_met_has_no_figure_but_a_reason(self):
        found = policy.figures(SIMULATED, RESULTS)
        self.assertIsNone(found[policy.DOUBLE_NEED].number)
        self.assertTrue(found[policy.DOUBLE_NEED].why)

    def test_reservations_that_cannot_be_are_not_held_against_anybody(self):
        asked = {**SIMULATED, "reservation_bytes": 1}
        self.assertIn(policy.RESERVATION, policy.figures({**asked, "scenario": "squeezed-a"}, RESULTS))
        self.assertNotIn(policy.RESERVATION, policy.figures({**asked, "scenario": "squeezed-c"}, RESULTS))


class Scenarios(unittest.TestCase):
    def test_all_but_the_random_one_are_measured(self):
        listed = subprocess.run([ACMACTL, "simulate", "--list"], capture_output=True, text=True, check=True).stdout
        names = {line.split()[0] for line in listed.splitlines()[1:]}
        self.assertEqual(names - {"random"}, set(policy.SCENARIOS))


class Program(unittest.TestCase):
    def run_it(self, *arguments):
        return subprocess.run([ACMACTL, "simulate", *arguments], capture_output=True, text=True)

    def test_all_policies_stand_side_by_side_and_no_controller_is_asked(self):
        done = self.run_it("squeezed-h", "--socket", "/nonexistent")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([line.split()[0] for line in done.stdout.splitlines()[4:]], ["acma", "mom", "proxmox", "static"])

    def test_one_policy_alone_with_a_seed(self):
        done = self.run_it("random", "--policy", "mom", "--seed", "18446744073709551615")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(done.stdout.splitlines()), 5)

    def test_bad_input_is_refused_by_name(self):
        for arguments, word in [
            ([], "--list"),
            (["no-such"], "no-such"),
            (["day", "--policy", "best"], "best"),
            (["day", "--seed", "-1"], "seed"),
            (["day", "--seed", "one"], "seed"),
        ]:
            done = self.run_it(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(word, done.stderr)
            self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    ACMACTL = os.path.abspath(sys.argv.pop(1))
    unittest.main()
