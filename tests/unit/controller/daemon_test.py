#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""acma-controller and acmactl as programs, on libvirt's test driver: no root, no VM. Arguments: their paths."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

CONTROLLER, ACMACTL = sys.argv[1:3]
DEADLINE_S = 30


class Daemon(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="acma-daemon-")
        self.socket = os.path.join(self.directory, "c.sock")
        self.config = os.path.join(self.directory, "controller.toml")
        self.usage = os.path.join(self.directory, "usage.db")
        self.log = os.path.join(self.directory, "log")
        self.daemons = []
        self.write_config("")

    def tearDown(self):
        for daemon in self.daemons:
            if daemon.poll() is None:
                daemon.kill()
            daemon.wait()
        shutil.rmtree(self.directory)

    def write_config(self, text):
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f'usage-database = "{self.usage}"\n' + text)

    def start(self, *options):
        command = [CONTROLLER, "--config", self.config, "--connect", "test:///default", "--socket", self.socket]
        return self.launch([*command, *options])

    def launch(self, command):
        with open(self.log, "ab") as log:
            daemon = subprocess.Popen(command, stderr=log)
        self.daemons.append(daemon)
        self.until(lambda: self.ctl("show", "test").returncode == 0)
        return daemon

    def says(self, text):
        with open(self.log, encoding="utf-8") as log:
            return text in log.read()

    def ctl(self, *arguments):
        command = [ACMACTL, "--socket", self.socket, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def show(self):
        return json.loads(self.ctl("show", "test", "--json").stdout)["vm"]

    def until(self, condition):
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            self.assertLess(time.monotonic(), deadline, "deadline")
            time.sleep(0.05)

    def check_config(self, text):
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(text)
        command = [CONTROLLER, "--check-config", "--config", self.config]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def test_check_config_names_file_line_and_key(self):
        good = self.check_config('log-level = "debug"\n')
        self.assertEqual((good.returncode, good.stdout, good.stderr), (0, f"{self.config}: ok\n0 rules\n", ""))
        bad = self.check_config('\nlog-levle = "debug"\n')
        self.assertEqual(bad.returncode, 1)
        self.assertIn(f"{self.config}:2: log-levle: unknown key", bad.stderr)

    def test_a_config_that_was_asked_for_must_be_there(self):
        os.unlink(self.config)
        command = [CONTROLLER, "--check-config", "--config", self.config]
        self.assertEqual(subprocess.run(command, capture_output=True, check=False).returncode, 1)

    def test_a_wrong_command_line_is_a_usage_error(self):
        for arguments in (["--nope"], ["--socket", "here.sock"], ["--socket", ""], ["--connect", ""]):
            done = subprocess.run([CONTROLLER, *arguments], capture_output=True, check=False, timeout=20)
            self.assertEqual(done.returncode, 2, arguments)
        for arguments in ([], ["nope"], ["show"], ["set", "test"], ["set", "test", "--psi", "0%"],
                          ["top", "--interval", "nan"], ["top", "--count", "-1"],
                          ["set", "test", "--max-mem", "512"]):
            self.assertEqual(self.ctl(*arguments).returncode, 2, arguments)

    def test_without_a_controller_acmactl_says_so(self):
        done = self.ctl("list")
        self.assertEqual(done.returncode, 4)
        self.assertIn("is acma-controller running?", done.stderr)

    def test_a_second_controller_refuses(self):
        self.start()
        command = [CONTROLLER, "--config", self.config, "--connect", "test:///default", "--socket", self.socket]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(second.returncode, 1)
        self.assertIn("another acma-controller runs", second.stderr)
        self.assertEqual(self.ctl("list").returncode, 0, "the first one goes on")

    def test_a_policy_set_by_acmactl_holds_max_mem(self):
        self.start()
        self.assertEqual(self.show()["state"], "unmanaged")
        done = self.ctl("set", "test", "--min-mem", "512MiB", "--max-mem", "1GiB", "--psi", "0.5%")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.until(lambda: self.show()["balloon_actual_bytes"] == 1 << 30)
        self.assertEqual(self.show()["policy_source"], "metadata")
        done = self.ctl("set", "test", "--psi", "2%")
        self.assertEqual(done.returncode, 0, done.stderr)
        policy = self.show()["policy"]
        self.assertEqual((policy["psi_bp"], policy["max_mem_bytes"]), (200, 1 << 30), "only psi changes")
        why = json.loads(self.ctl("explain", "test", "--json").stdout)["entries"]
        shrink = [entry for entry in why if entry["decision"] == "shrink"]
        self.assertEqual(len(shrink), 1)
        self.assertIn("max-mem is 1 GiB", shrink[0]["reason"])
        self.assertEqual(shrink[0]["numbers"]["to_bytes"], 1 << 30)

    def test_a_bad_change_is_refused_and_the_policy_stays(self):
        self.start()
        self.ctl("set", "test", "--min-mem", "512MiB", "--max-mem", "1GiB")
        before = self.show()["policy"]
        done = self.ctl("set", "test", "--min-mem", "2GiB")
        self.assertEqual(done.returncode, 1)
        self.assertIn("min-mem 2 GiB is above max-mem 1 GiB", done.stderr)
        self.assertEqual(self.show()["policy"], before)
        self.assertEqual(self.ctl("set", "nope", "--psi", "1%").returncode, 3)

    def test_a_rule_observes_unless_it_says_otherwise(self):
        self.write_config('[[rule]]\nname = "te*"\nmin-mem = "512MiB"\nmax-mem = "1GiB"\n')
        self.start()
        vm = self.show()
        self.assertEqual((vm["state"], vm["policy_source"]), ("observed", "rule te*"))
        self.assertEqual(vm["balloon_actual_bytes"], 2 << 30)
        self.assertIn("would go from 2 GiB to 1 GiB", self.ctl("explain", "test").stdout)

    def test_a_dry_run_writes_nothing(self):
        self.write_config('[[rule]]\nname = "*"\nmin-mem = "512MiB"\nmax-mem = "1GiB"\nmode = "auto"\n')
        self.start("--dry-run")
        self.assertIn("dry run", self.ctl("explain", "test").stdout)
        self.assertEqual(self.ctl("set", "test", "--psi", "1%").returncode, 1)
        self.assertEqual(self.show()["balloon_actual_bytes"], 2 << 30)

    def test_top_prints_plain_lines_into_a_pipe(self):
        self.start()
        done = self.ctl("top", "--count", "2", "--interval", "0.1")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stdout.count(" test host_bytes="), 2)
        self.assertNotIn("\x1b", done.stdout)

    def usage_of_test(self):
        done = self.ctl("usage", "test", "--json")
        return json.loads(done.stdout)["vms"][0] if done.returncode == 0 else None

    def test_usage_survives_a_kill_and_tells_what_is_missing(self):
        # Domains of the test driver have no memory on this host: all their time is missing.
        daemon = self.start()
        self.until(lambda: (self.usage_of_test() or {"missing_us": 0})["missing_us"] >= 2_000_000)
        before = self.usage_of_test()
        self.assertEqual((before["name"], before["measured_us"], before["used_mib_seconds"]), ("test", 0, 0))
        daemon.kill()
        daemon.wait()
        time.sleep(2)
        self.start()
        self.until(lambda: (self.usage_of_test() or before)["missing_us"] >= before["missing_us"] + 2_000_000)
        self.until(lambda: self.says("metering: usage of 1 VMs is missing from"))
        csv = self.ctl("usage", "--csv", "--since", "1d").stdout.splitlines()
        self.assertEqual(len(csv), 2)
        self.assertIn('"test","6695eb01', csv[1])
        self.assertEqual(self.ctl("usage", "nope").returncode, 3)
        self.assertEqual(self.ctl("usage", "--since", "1h", "--until", "2h").returncode, 1)
        for arguments in (["--since", "yesterday"], ["--json", "--csv"], ["--until", ""]):
            self.assertEqual(self.ctl("usage", *arguments).returncode, 2, arguments)

    def test_a_usage_database_that_cannot_be_written_stops_nothing(self):
        self.usage = os.path.join(self.directory, "later", "usage.db")
        self.write_config("")
        self.start()
        self.until(lambda: self.says("metering: usage cannot be written"))
        self.until(lambda: (self.usage_of_test() or {"missing_us": 0})["missing_us"] >= 1_000_000)
        self.assertIn("only what was not written yet", self.ctl("usage").stderr)
        os.mkdir(os.path.dirname(self.usage))
        self.until(lambda: self.says("metering: usage is written again"))
        self.assertEqual(self.ctl("usage").stderr, "")
        self.assertGreater(self.usage_of_test()["missing_us"], 5_000_000, "nothing was lost")

    def test_a_full_disk_stops_nothing(self):
        # A file system of its own, which needs root and goes with its mount namespace.
        mount = f'mount -t tmpfs -o size=1m none "{self.directory}/disk" && exec "$@"'
        inside = ["unshare", "--mount", "sh", "-c", mount, "sh"]
        os.mkdir(os.path.join(self.directory, "disk"))
        if os.geteuid() != 0 or subprocess.run([*inside, "true"], capture_output=True, check=False).returncode != 0:
            self.skipTest("needs root and a mount namespace")
        self.usage = os.path.join(self.directory, "disk", "usage.db")
        self.write_config("")
        command = [CONTROLLER, "--config", self.config, "--connect", "test:///default", "--socket", self.socket]
        fill = f'head -c 2M /dev/zero >"{self.directory}/disk/fill" 2>/dev/null; exec "$@"'
        daemon = self.launch([*inside, "sh", "-c", fill, "sh", *command])
        self.until(lambda: self.says("metering: usage cannot be written: " + self.usage + ": database or disk is full"))
        self.until(lambda: (self.usage_of_test() or {"missing_us": 0})["missing_us"] >= 1_000_000)
        os.unlink(f"/proc/{daemon.pid}/root{self.directory}/disk/fill")
        self.until(lambda: self.says("metering: usage is written again"))
        self.assertEqual(self.ctl("usage").stderr, "")

    def test_a_stop_is_quick_and_removes_the_socket(self):
        daemon = self.start()
        daemon.send_signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(DEADLINE_S), 0)
        self.assertFalse(os.path.exists(self.socket))

    def test_a_crash_is_no_obstacle_to_the_next_start(self):
        daemon = self.start()
        daemon.kill()
        daemon.wait()
        self.assertTrue(os.path.exists(self.socket))
        self.start()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
