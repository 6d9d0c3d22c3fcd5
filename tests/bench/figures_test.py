# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the benches, on made-up samples whose figures are known."""

import io
import json
import os
import struct
import subprocess
import tempfile
import unittest
from unittest import mock

from tests.rig.errors import RigError
from tests.rig.guest import Options

from . import agent, balloon, controller_noise, machine, needed, nested, series, trace
from .orchestration import Orchestration
from .report import Metric, Report, Value, worst
from .series import Sample
from .subject import KERNEL_TUNER, UNLIMITED, system_ram, tuner_script


def samples_at(step_us, rows):
    """Samples with these (stalled, pages written) totals."""
    return [Sample(index * step_us, stalled, out, 0, 0) for index, (stalled, out) in enumerate(rows)]


class Series(unittest.TestCase):
    def test_a_rate_is_taken_over_a_whole_second_even_where_samples_come_late(self):
        samples = [Sample(at, 0, out, 0, 0) for at, out in [(0, 0), (400_000, 100), (1_100_000, 200), (3_100_000, 600)]]
        self.assertEqual(
            series.page_out_rates(samples), [(1_100_000, 200 / 1.1 * 4096), (3_100_000, 200 * 4096.0)]
        )

    def test_one_burst_of_a_tenth_of_a_second_is_not_the_rate_of_a_second(self):
        samples = samples_at(100_000, [(0, 0)] * 10 + [(0, 1000)] * 10)
        self.assertEqual(max(rate for _, rate in series.page_out_rates(samples)), 1000 * 4096)

    def test_psi_is_the_share_of_the_second_before(self):
        samples = samples_at(500_000, [(0, 0), (0, 0), (2_500, 0), (5_000, 0)])
        self.assertEqual(series.psi_shares(samples), [(1_000_000, 0.0025), (1_500_000, 0.005)])

    def test_what_ended_before_the_start_does_not_count(self):
        points = [(1, 9.0), (2, 5.0), (3, 7.0)]
        self.assertEqual(series.highest(points, 1), 7.0)
        self.assertEqual(series.highest(points, 1, 2), 5.0)
        self.assertEqual(series.first_at_least(points, 6, 1), 3)
        self.assertIsNone(series.first_at_least(points, 8, 1))

    def test_typical_is_the_median_of_the_windows_with_something_to_do(self):
        points = [(1, 90), (2, 30), (3, 40), (4, 100), (5, 9), (6, 0)]
        self.assertEqual(series.typical(points, 0), 65)
        self.assertEqual(series.typical(points, 1), 40)
        self.assertEqual(series.typical([], 0), 0)

    def test_settled_is_from_when_on_it_stays_below(self):
        self.assertEqual(series.settled_at([(0, 9), (1, 4), (2, 6), (3, 5), (4, 1)], 5, 0), 3)
        self.assertIsNone(series.settled_at([(0, 4), (1, 6)], 5, 0))
        self.assertIsNone(series.settled_at([], 5, 0))


_ZONEINFO = """Node 0, zone      DMA
  per-node stats
      nr_free_pages 7
  pages free     3808
        min      22
        low      27
        managed  3840
Node 0, zone    DMA32
  pages free     100000
        min      1000
        low      1250
        managed  500000
Node 0, zone   Normal
  pages free     0
        min      0
        low      0
        managed  0
"""
_MEMINFO = "MemTotal: 1000 kB\nSlab: 10 kB\nPageTables: 20 kB\nKernelStack: 30 kB\nPercpu: 40 kB\nCached: 5 kB\n"


class Needed(unittest.TestCase):
    def test_the_floor_counts_zones_with_pages_and_never_more_than_they_have(self):
        floor = needed.reporting_floor(needed.parse_zones(_ZONEINFO))
        self.assertEqual(floor, {"node0/DMA": 3840 * 4096, "node0/DMA32": 1250 * 4096 + (64 << 20)})

    def test_needed_is_the_sum_of_its_parts(self):
        account = needed.account(1100 * 1024, 7, 8, 9, _MEMINFO, _ZONEINFO)
        floor = 3840 * 4096 + 1250 * 4096 + (64 << 20)
        self.assertEqual(account["needed_bytes"], 200 * 1024 + 7 + 8 + 9 + floor)
        self.assertEqual(account["needed"]["boot_reserved"], 100 * 1024)
        self.assertEqual(account["apart"], {"Cached": 5 * 1024})


# As the kernels print it.
_TRACE = """# tracer: nop
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
       kdamond.0-318     [001] d.... 47.100000: acma_entered: (damon_pa_apply_scheme+0x0/0x620)
       kdamond.0-318     [001] ..... 47.100010: damos_before_apply: ctx_idx=0 scheme_idx=0 target_idx=0 nr_regions=40 1-2: 0 25
       kdamond.0-318     [001] ..... 47.100011: damos_before_apply: ctx_idx=0 scheme_idx=3 target_idx=0 nr_regions=40 1-2: 0 25
       kdamond.0-318     [001] d..1. 47.100200: acma_swapout: (__swap_writepage+0x0/0x3a0)
       kdamond.0-318     [001] d.... 47.140000: acma_left: (damos_apply_scheme+0x1b1/0x6a0 <- damon_pa_apply_scheme)
          psimon-271     [000] d.h4. 47.150000: sched_waking: comm=acma-agent pid=300 prio=120 target_cpu=000
          <idle>-0       [000] dNs4. 47.160000: sched_waking: comm=acma-agent pid=300 prio=120 target_cpu=000
"""
_STATS = "entries: 6\noverrun: {}\ncommit overrun: 0\nbytes: 48\noldest event ts:    47.1\ndropped events: 0\nread events: 0\n"


class Tracing(unittest.TestCase):
    def fetch(self, overrun):
        """What the guest's commands make of files as the kernel's."""
        with tempfile.TemporaryDirectory() as directory:
            for cpu, lost in enumerate([0, overrun]):
                os.makedirs(f"{directory}/per_cpu/cpu{cpu}")
                with open(f"{directory}/per_cpu/cpu{cpu}/stats", "w", encoding="ascii") as file:
                    file.write(_STATS.format(lost))
            with open(f"{directory}/trace", "w", encoding="ascii") as file:
                file.write(_TRACE)
            script = trace.FETCH.replace("/sys/kernel/tracing", directory)
            return trace.parse(subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout)

    def test_what_the_guest_fetches_is_what_its_kernel_traced(self):
        expected = trace.Trace([47_150_000], [47_100_010], [47_100_200], [(47_100_000, 47_140_000)])
        self.assertEqual(self.fetch(overrun=0), expected)

    def test_what_a_full_buffer_overwrote_is_lost(self):
        self.assertTrue(self.fetch(overrun=7).lost)

    def test_only_what_begins_after_a_trigger_in_full_swing_counts(self):
        events = trace.parse("fired 10.000000\nbegun 9.9\nbegun 10.02\nwritten 9.95\nwritten 10.041\nwritten 13.5\nlost 0\n")
        self.assertEqual(
            trace.stops(events, 9_800_000),
            [
                {
                    "fired_us": 10_000_000,
                    "last_region_begun_us": 20_000,
                    "last_page_begun_us": 41_000,
                    "pages_after": 1,
                    "steps": 0,
                    "longest_step_us": None,
                    "median_step_us": None,
                }
            ],
        )
        self.assertEqual(trace.last_begun_us(trace.stops(events, 9_800_000)[0]), 41_000)
        self.assertFalse(events.lost)

    def test_events_lost_on_any_cpu_are_lost(self):
        self.assertTrue(trace.parse("lost 0\nlost 2\nlost 0\n").lost)

    def test_calls_without_a_sleep_between_them_are_one_step(self):
        text = "left 0.9\nentered 1.0\nleft 1.01\nentered 1.0109\nleft 1.02\nentered 1.024\nleft 1.03\nentered 1.05\n"
        steps = trace.parse(text).steps
        self.assertEqual(steps, [(1_000_000, 1_020_000), (1_024_000, 1_030_000)])

    def test_only_steps_while_pages_are_paged_out_count(self):
        events = trace.Trace(fired=[1000], written=[600, 900, 2000, 9_000_000])
        events.steps = [(0, 500), (550, 610), (700, 720), (1990, 2100), (2200, 5000)]
        (stop,) = trace.stops(events, 1000)
        self.assertEqual((stop["steps"], stop["longest_step_us"], stop["median_step_us"]), (3, 110, 60))

    def test_a_trigger_while_nothing_is_paged_out_is_no_trial(self):
        events = trace.parse("fired 10.0\nwritten 9.0\nbegun 9.9\n")
        self.assertEqual(trace.stops(events, 9_800_000), [])
        self.assertEqual(len(trace.stops(events, 9_400_000)), 1, "it paused when the spike began")

    def test_triggers_of_one_spike_are_one_trial(self):
        events = trace.parse("fired 10.0\nfired 10.4\nwritten 9.9\nwritten 10.1\n")
        self.assertEqual(len(trace.stops(events, 9_800_000)), 1)


class Instructions(unittest.TestCase):
    def test_a_rate_is_over_all_threads_of_that_name(self):
        text = "at 10.0\ntask acma-agent 5 1000\ntask acma-agent 6 0\ntask kdamond.0 9 50\nat 20.0\n"
        text += "task acma-agent 5 3000\ntask acma-agent 6 500\ntask kdamond.0 9 150\n"
        readings = agent.parse_readings(text)
        self.assertEqual(agent.rates(readings, "acma-"), [250.0])
        self.assertEqual(agent.rates(readings, "kdamond"), [10.0])

    def test_a_task_that_came_or_went_leaves_no_rate(self):
        readings = agent.parse_readings("at 1.0\ntask kdamond.0 9 50\nat 2.0\ntask kdamond.1 10 7\nat 3.0\n")
        self.assertEqual(agent.rates(readings, "kdamond"), [None, None])


class Machine(unittest.TestCase):
    def accel(self, icount, answers):
        with mock.patch.object(machine.qemu, "accelerator", lambda wanted, kernel: answers[wanted, kernel]):
            with mock.patch.object(machine, "Options", lambda: mock.Mock(accel="auto")):
                return machine.accel(["6.12", "7.3"], icount)

    def test_the_accelerator_is_the_one_that_the_rig_takes(self):
        self.assertEqual(self.accel(False, {("auto", "6.12"): "kvm", ("auto", "7.3"): "kvm"}), "kvm")
        self.assertEqual(self.accel(False, {("auto", "6.12"): "tcg", ("auto", "7.3"): "kvm"}), "kvm and tcg")

    def test_guests_that_count_instructions_are_emulated(self):
        self.assertEqual(self.accel(True, {("auto", "6.12"): "kvm", ("auto", "7.3"): "kvm"}), "tcg")


_SLOW = Metric("slow_s", "s", "lower", 5)


class Rows(unittest.TestCase):
    def test_the_figure_is_the_worst_case(self):
        self.assertEqual(worst(_SLOW, {"a": Value(1), "b": Value(3)}).number, 3)
        self.assertEqual(worst(Metric("share", "%", "higher", 5), {"a": Value(1), "b": Value(3)}).number, 1)

    def test_a_case_without_a_figure_leaves_none_and_says_why(self):
        value = worst(_SLOW, {"a": Value(1), "b": Value(None, "the guest was gone")})
        self.assertEqual((value.number, value.why), (None, "b: the guest was gone"))

    def test_a_row_has_ours_peers_goal_and_every_case(self):
        report = Report("made-up", {}, [_SLOW])
        report.add(_SLOW, "ours", {"case": "a", "kernel": "6.12"}, Value(1, "", {"samples": [1, 2]}))
        report.add(_SLOW, "other", {"case": "a", "kernel": "6.12"}, Value(None, "never"))
        (row,) = report.rows()
        case = {
            "case": "a",
            "kernel": "6.12",
            "ours": {"value": 1, "samples": [1, 2]},
            "peers": {"other": {"value": None, "why": "never"}},
        }
        self.assertEqual(
            row,
            {
                "metric": "slow_s",
                "unit": "s",
                "better": "lower",
                "ours": 1,
                "peers": {"other": None},
                "peers_why": {"other": "a: never"},
                "goal": 5,
                "cases": [case],
            },
        )
        text = io.StringIO()
        report.table(text)
        self.assertIn("met", text.getvalue())
        self.assertIn("never", text.getvalue())


    def test_a_definition_that_leaves_cases_out_says_so_in_the_row_and_under_the_table(self):
        report = Report("made-up", {}, [Metric("loss", "%", "lower", 3, only="zram: why")])
        report.add(report.metrics[0], "ours", {"case": "a"}, Value(1))
        (row,) = report.rows()
        self.assertEqual((row["ours"], row["only"]), (1, "zram: why"))
        text = io.StringIO()
        report.table(text)
        self.assertIn("loss: only zram: why", text.getvalue())


class Tuners(unittest.TestCase):
    def test_system_ram_is_every_range_of_it(self):
        text = "00001000-0009fbff : System RAM\n00100000-7ffdbfff : System RAM\n  01000000-01ffffff : Kernel code\n"
        self.assertEqual(system_ram(text), [(0x1000, 0x9FC00), (0x100000, 0x7FFDC000)])

    def test_only_a_tuner_with_a_goal_gets_one(self):
        self.assertIn("some_mem_psi_us", tuner_script(KERNEL_TUNER, [(0, 4096)]))
        self.assertNotIn("goals", tuner_script(UNLIMITED, [(0, 4096)]))


class Balloon(unittest.TestCase):
    def test_run_time_is_that_of_all_cpus_and_nothing_else(self):
        domain = "domain0 3 9 9 9 9 9 9 9 9\n"
        text = f"version 16\ntimestamp 4294900000\ncpu0 0 0 0 0 0 0 700 9 9\n{domain}cpu1 0 0 0 0 0 0 11 9 9\n{domain}"
        self.assertEqual(balloon.run_time_ns(text), 711)

    def test_cpu_seconds_are_user_and_system_whatever_the_name_of_the_process(self):
        ticks = os.sysconf("SC_CLK_TCK")
        stat = f"7 (a) b) S 1 2 3 4 5 6 7 8 9 10 {2 * ticks} {ticks} 13 14"
        self.assertEqual(balloon.cpu_seconds(stat), 3)

    @staticmethod
    def _seconds(rounds):
        return [{"t_us": index * 1_000_000, "rounds": number} for index, number in enumerate(rounds)]

    def test_a_loss_is_what_is_missing_while_blocks_moved_of_what_the_whole_time_would_have_had(self):
        lines = self._seconds([0, 100, 100, 100, 40, 50, 100, 100])
        # 110 rounds of 100 a second: 1.1 of 60 s.
        self.assertAlmostEqual(balloon.loss_pct(lines, 3_100_000, 4_900_000, 60), 100 * 1.1 / 60)

    def test_a_line_that_spans_two_seconds_counts_for_two(self):
        lines = [*self._seconds([0, 100, 100]), {"t_us": 4_000_000, "rounds": 100}, {"t_us": 5_000_000, "rounds": 1}]
        self.assertAlmostEqual(balloon.loss_pct(lines, 2_500_000, 3_500_000, 60), 100 / 60)

    def test_no_loss_is_none_and_too_few_lines_are_an_error(self):
        self.assertEqual(balloon.loss_pct(self._seconds([0, 5, 5, 5, 5]), 2_000_000, 4_000_000, 60), 0)
        for start, end in ((0, 2_000_000), (1_000_000, 3_500_000)):
            with self.assertRaises(RigError):
                balloon.loss_pct(self._seconds([0, 5, 5, 5]), start, end, 60)

    def test_no_more_is_freed_than_was_taken(self):
        self.assertEqual(balloon.freed_pct(32, 64 << 20), 100)
        self.assertEqual(balloon.freed_pct(33, 64 << 20), 100)
        self.assertEqual(balloon.freed_pct(8, 64 << 20), 25)
        self.assertEqual(balloon.freed_pct(0, 64 << 20), 0)

    def test_every_case_has_a_name_of_its_own_and_measures_ours(self):
        setups = balloon.setups(["6.12", "7.3"])
        self.assertEqual(len({setup.name for setup in setups}), len(setups))
        for setup in setups:
            if setup.content != "hugetlb":
                self.assertIn("ours", setup.contestants)

    def test_whoever_is_held_against_a_peer_meets_it_in_a_case(self):
        met = {}
        for setup in balloon.setups(["6.12"]):
            if setup.icount and setup.reporting and setup.content not in ("hugetlb", "loss"):
                for of in (balloon._reclaim, balloon._return):
                    met.setdefault(of(setup), set()).update(setup.contestants)
        for metric, (peer, _) in balloon.GOALS.items():
            if metric not in (balloon.SUM, balloon.RETURN_TOUCH, balloon.RETURN_TOUCH_INIT):
                self.assertIn(peer, met[metric], metric.name)


class Nested(unittest.TestCase):
    def test_memory_is_the_mapping_of_its_size_that_is_a_memfd(self):
        maps = "7f00-7f10 rw-p 0 00:00 0 \n10000-20000 rw-p 0 00:00 0 [heap]\n40000000-50000000 rw-s 0 00:0f 9 /memfd:memory-backend-memfd (deleted)\n"
        self.assertEqual(nested.ram_mapping(maps, 0x10000000), 0x40000000)
        with self.assertRaises(RigError):
            nested.ram_mapping(maps, 0x10000)

    def test_a_huge_page_is_there_when_its_first_entry_says_so(self):
        entry = lambda present: struct.pack("<Q", (1 << 63 if present else 1 << 62) | 12345) + bytes(511 * 8)
        self.assertEqual(nested.present_pages(entry(True) + entry(False) + entry(True)), [True, False, True])


class Orchestrated(unittest.TestCase):
    def test_a_part_of_memory_can_be_unplugged_and_the_sum_stays(self):
        options = Orchestration(2048, 512).apply(Options(cmdline="init_on_alloc=0", balloon_driver="shim"))
        self.assertEqual((options.memory_mib, options.ram_block_mib), (2048, [1536, 512]))
        self.assertEqual(options.memory_args[1], "1536M,maxmem=4096M")
        self.assertEqual(options.cmdline, "init_on_alloc=0 memhp_default_state=online_movable")
        self.assertIn("free-page-reporting=on", options.balloon_properties)
        self.assertEqual(options.balloon_driver, "stock")

    def test_it_reclaims_in_every_range_under_a_goal_and_compacts(self):
        script = Orchestration(2048, 512, every_s=7).script([(0, 4096), (1 << 32, 2 << 32)], "temporal")
        for part in ("nr_regions", f"echo {1 << 32} >", "some_mem_psi_us", "echo 50 >access_pattern/age/min", "temporal", "sleep 7", "compact_memory"):
            self.assertIn(part, script)

    def test_what_fails_is_given_up_and_no_longer_asked_for(self):
        asked = []

        class Monitor:
            size = 512 << 20

            def command(self, name, **arguments):
                if name == "qom-set":
                    asked.append(arguments["value"])
                    Monitor.size = max(arguments["value"], 400 << 20)
                return Monitor.size

        guest = mock.Mock(qmp=Monitor())
        self.assertEqual(Orchestration(2048, 512, still_s=0.2).take(guest, 256 << 20), 112 << 20)
        self.assertEqual(asked, [256 << 20, 400 << 20])


class SimulatedNoise:
    """A host on which a round with a bad guest takes a half longer, while the machine gets slower all the time."""

    count = 1000

    def __init__(self, mark_of):
        self.now_ms, self.bad, self._mark_of = 10.0, None, mark_of
        self.noisy_guests = []

    def behave(self, vm, manners):
        self.bad = None if manners == "honest" else manners
        if self.bad:
            self.noisy_guests.append(vm)

    def request(self, *_):
        return json.dumps({"vm": {"marks": [{"what": self._mark_of.get(self.bad, "none")}]}})

    def round_ms(self, _seconds, _rest_s):
        self.now_ms += 0.1
        return self.now_ms * (1.5 if self.bad else 1)


class ControllerNoise(unittest.TestCase):
    MARKS = {manners: min(marks) for manners, (marks, _) in controller_noise.MANNERS.items()}

    def measure(self, host):
        host.bytes_sent = lambda vm, count=iter(range(0, 1 << 30, 1 << 16)): next(count)
        return controller_noise.measure(host, 1, host.round_ms, lambda _: None)

    def test_rounds_are_compared_inside_their_block_so_that_a_drift_of_the_machine_is_none_of_the_guest(self):
        host = SimulatedNoise(self.MARKS)
        rounds, sent = self.measure(host)
        for manners in controller_noise.MANNERS:
            change, detail = controller_noise.case_of(rounds, sent, manners)
            self.assertAlmostEqual(change, 50, delta=4)
            self.assertAlmostEqual(detail["control_pct"], 0, delta=3)
            self.assertEqual(len(detail["bytes_sent"]), controller_noise.BLOCKS)
        self.assertEqual(len(set(host.noisy_guests)), 3 * controller_noise.BLOCKS)

    def test_a_round_in_which_the_guest_was_not_noisy_is_an_error(self):
        with self.assertRaisesRegex(RigError, "calling was not noisy"):
            self.measure(SimulatedNoise(self.MARKS | {"calling": "silent"}))


if __name__ == "__main__":
    unittest.main()
