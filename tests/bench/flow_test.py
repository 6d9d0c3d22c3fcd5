# SPDX-License-Identifier: Apache-2.0
"""The course of `reclaim` with made-up guests: every figure is asked for, and a guest that dies takes only its own along."""

import json
import random
import types
import unittest
from unittest import mock

from tests.rig.errors import RigError

from . import agent, reclaim, stop, trace
from .report import Report, Value
from .series import Sample
from .subject import Setup

_STEP = "entered 10.005\nleft 10.030\n"
_TRACE = "fired 10.0:\nbegun 10.01:\nwritten 9.9:\nwritten 10.03:\n" + _STEP + "lost 0\nlost 0\n"


class FakeSubject:
    """Pages 100 MB a second out from its start on; a hundred samples a ten seconds; settled after 20 s."""

    dies = ()  # names of the guests that do not boot
    lossy_traces = ()  # 1: the first spike's trace

    def __init__(self, setup, _programs, name, _keep, **_changes):
        if name in self.dies:
            raise RigError(f"{name} did not boot")
        self.setup, self.name = setup, name
        self.seconds = 0
        self.fetched = 0
        self.start_us, self.start_host_s = 1_000_000, 100.0
        self.noise = types.SimpleNamespace(cores=lambda: 0.0)
        self.guest = types.SimpleNamespace(pid=1, run=self._run)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def _run(self, script, timeout=60):
        if "spike" in script:
            return json.dumps({"spike_us": 700_000 if self.name == "ours" else 500_000})
        if "press.log" in script:
            return '{"t_us": 9900000}' if "tail" in script else '{"ready": true}'
        if script != trace.FETCH:
            return ""
        self.fetched += 1
        return _TRACE + ("lost 3\n" if self.fetched in self.lossy_traces else "")

    def start_agent(self):
        pass

    def begin_again(self):
        pass

    def settle(self):
        pass

    def start_tuner(self, _tuner):
        pass

    def pause(self):
        pass

    def resume(self):
        pass

    def wait(self, condition, _timeout_s, what):
        if not condition():
            raise RigError(what)

    def wait_at_most(self, condition, _timeout_s):
        return condition()

    def now_us(self):
        return 1_000_000 if self.name == "stop" else 100_000_000

    def seconds_since_start(self):
        return 99.0

    def samples(self):
        return [
            Sample(tenth * 100_000, 0, 0 if tenth < 10 else (tenth - 10) * 2441, 0, 0) for tenth in range(1001)
        ]

    def triggers(self):
        return []

    def workload_seconds(self):
        busy = 206_000 if self.name == "loss-ours" else 200_000
        self.seconds += 1
        return [{"t_us": 200_000_000, "busy_us": busy, "rounds": 10}] * self.seconds

    def host_bytes(self):
        return [(100.0 + second, 1000 if second < 20 else 110) for second in range(100)]

    def account(self):
        return {"needed_bytes": 100, "needed": {}, "floor": {}, "apart": {}, "rss": {}}


class Course(unittest.TestCase):
    def run_case(self, dies=(), lossy_traces=(), **setup):
        report = Report("reclaim", {}, reclaim.METRICS)
        with (
            mock.patch.object(reclaim, "Subject", FakeSubject),
            mock.patch.object(FakeSubject, "dies", dies),
            mock.patch.object(FakeSubject, "lossy_traces", lossy_traces),
            mock.patch.object(reclaim.time, "sleep"),
            mock.patch.object(stop.time, "sleep"),
        ):
            reclaim.Case(Setup(**{"kernel": "7.3", "swap": "disk", **setup}), None, report, lambda _: None, None, random.Random(1)).run(reclaim.PARTS)
        return {row["metric"]: row for row in report.rows()}

    def test_every_metric_gets_a_figure(self):
        rows = self.run_case()
        self.assertEqual(set(rows), {metric.name for metric in reclaim.METRICS} - {"ramp_by_clock_s", "workload_loss_pct"})
        # The unlimited quota is as fast, so nine tenths of it count, reached by the window that has nine of ten steps.
        self.assertEqual(rows["ramp_s"]["ours"], 0.9)
        self.assertEqual(set(rows["ramp_s"]["peers"]), {"kernel_tuner", "kernel_tuner_temporal"})
        self.assertEqual(rows["idle_over_needed_pct"]["ours"], 10)
        self.assertEqual(rows["idle_settle_s"]["ours"], 20)
        self.assertEqual(rows["spike_extra_ms"]["ours"], 200)
        self.assertEqual(rows["stop_ms"]["ours"], 30)

    def test_the_ramp_on_zram_counts_in_guests_that_count_instructions(self):
        by_clock = self.run_case(swap="zram")
        self.assertNotIn("ramp_s", by_clock)
        self.assertEqual((by_clock["ramp_by_clock_s"]["ours"], by_clock["idle_settle_s"]["ours"]), (0.9, 20))
        counted = self.run_case(swap="zram", icount=True)
        self.assertEqual(set(counted), {"ramp_s", "ramp_psi_over_target", "workload_loss_pct"})
        self.assertEqual((counted["ramp_s"]["ours"], counted["workload_loss_pct"]["ours"]), (0.9, 2.91))

    def test_the_case_of_the_workloads_loss_is_the_guest_that_it_was_measured_in(self):
        rows = self.run_case(swap="zram", icount=True)
        (case,) = rows["workload_loss_pct"]["cases"]
        self.assertEqual(case["case"], "7.3/zram/icount/1024")
        self.assertEqual([case[key] for key in ("ram_mib", "filled_mib", "hot_mib", "vcpus")], [1024, 400, 100, 1])
        self.assertTrue(case["icount"])
        self.assertEqual(case["ours"]["ours"]["samples"]["rows"], [[200_000_000, 206_000, 10]])
        (other,) = rows["ramp_s"]["cases"]
        self.assertEqual((other["case"], other["ram_mib"], other["unlimited_bytes_per_s"]), ("7.3/zram/icount/2048", 2048, 99_983_360))

    def test_a_loss_that_could_not_be_measured_names_its_own_guest_too(self):
        (case,) = self.run_case(dies=("loss-ours",), swap="zram", icount=True)["workload_loss_pct"]["cases"]
        self.assertEqual((case["case"], case["ours"]["value"]), ("7.3/zram/icount/1024", None))

    def test_a_spike_whose_trace_lost_events_does_not_count(self):
        row = self.run_case(lossy_traces=(1, 3))["stop_ms"]
        self.assertEqual(row["ours"], 30)
        self.assertEqual((len(row["cases"][0]["ours"]["trials"]), row["cases"][0]["ours"]["lossy_spikes"]), (1, 2))

    def test_without_a_whole_trace_there_is_no_stop_ms(self):
        row = self.run_case(lossy_traces=(1, 2, 3))["stop_ms"]
        self.assertEqual((row["ours"], row["why"]), (None, "7.3/disk: the traces of 3 spikes lost events"))

    def test_a_guest_that_dies_leaves_its_own_figures_empty_with_the_reason(self):
        counted = self.run_case(dies=("loss-without",), swap="zram", icount=True)
        self.assertIsNone(counted["workload_loss_pct"]["ours"])
        self.assertIn("without did not boot", counted["workload_loss_pct"]["why"])
        rows = self.run_case(dies=("without",))
        self.assertIsNone(rows["spike_extra_ms"]["ours"])
        self.assertEqual(rows["stop_ms"]["ours"], 30)
        self.assertEqual(rows["idle_settle_s"]["ours"], 20)

    def test_without_the_rate_of_an_unlimited_quota_there_is_no_ramp(self):
        rows = self.run_case(dies=("unlimited",))
        self.assertIsNone(rows["ramp_s"]["ours"])
        self.assertIn("unlimited", rows["ramp_s"]["why"])

    def test_a_guest_of_bench_agent_that_dies_keeps_what_was_measured_and_the_true_case(self):
        def dies_later(_setup, case, _programs, report, _say, _keep):
            report.add(agent.RSS, "ours", case, Value(7))
            raise RigError("gone")

        report = Report("agent", {}, agent.METRICS)
        given = types.SimpleNamespace(kernel=["7.3"], case=None, keep=None)
        with mock.patch.object(agent, "_measure", dies_later):
            agent.run(given, None, report, lambda _: None)
        rows = {row["metric"]: row for row in report.rows()}
        self.assertEqual((rows["rss_bytes"]["ours"], rows["guest_insns_per_s"]["ours"]), (7, None))
        self.assertEqual([row["cases"][0]["icount"] for row in rows.values()], [True] * 3)


if __name__ == "__main__":
    unittest.main()
