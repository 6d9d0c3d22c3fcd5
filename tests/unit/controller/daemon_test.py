#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""acma-controller and acmactl as programs, on libvirt's test driver: no root, no VM. Arguments: their paths, that
of tests/fakes/set_clock.c as a library, and a class of tests."""

import fcntl
import json
import os
import pty
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
import unittest

CONTROLLER, ACMACTL, SET_CLOCK = (os.path.abspath(path) for path in sys.argv[1:4])
DEADLINE_S = 30


class WithADaemon(unittest.TestCase):
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

    def last_lines(self):
        with open(self.log, encoding="utf-8") as log:
            return "deadline; the log ends with\n" + log.read()[-2000:]

    def ctl(self, *arguments):
        command = [ACMACTL, "--socket", self.socket, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def show(self):
        return json.loads(self.ctl("show", "test", "--json").stdout)["vm"]

    def until(self, condition):
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            if time.monotonic() > deadline:
                self.fail(self.last_lines())
            time.sleep(0.05)

    def check_config(self, text):
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(text)
        command = [CONTROLLER, "--check-config", "--config", self.config]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def command(self):
        return [CONTROLLER, "--config", self.config, "--connect", "test:///default", "--socket", self.socket]

    def usage_of_test(self):
        done = self.ctl("usage", "test", "--json")
        return json.loads(done.stdout)["vms"][0] if done.returncode == 0 else None


class Daemon(WithADaemon):
    def top(self, *options):
        """acmactl top on a terminal of its own: the process, the terminal, and its settings before."""
        mine, its = pty.openpty()
        before = termios.tcgetattr(its)
        command = [ACMACTL, "--socket", self.socket, "top", "--interval", "0.1", *options]
        process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, start_new_session=True,
                                   preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.daemons.append(process)
        self.addCleanup(os.close, mine)
        self.addCleanup(os.close, its)
        return process, mine, its, before

    def seen(self, terminal, text, before=b""):
        seen = before
        deadline = time.monotonic() + DEADLINE_S
        while text not in seen:
            self.assertTrue(select.select([terminal], [], [], deadline - time.monotonic())[0], f"{text} not in {seen[-2000:]}")
            seen += os.read(terminal, 65536)
        return seen

    def test_check_config_names_file_line_and_key(self):
        good = self.check_config('log-level = "debug"\n')
        self.assertEqual((good.returncode, good.stdout, good.stderr), (0, f"{self.config}: ok\n0 rules\n", ""))
        bad = self.check_config('\nlog-levle = "debug"\n')
        self.assertEqual(bad.returncode, 1)
        self.assertIn(f"{self.config}:2: log-levle: unknown key", bad.stderr)

    def test_what_does_not_fit_together_is_refused_before_it_starts(self):
        for text, why in (('host-reserve = "1024TiB"\n', "leaves nothing for VMs"),
                          (f'usage-database = "{self.usage}"\ndecision-log = "{self.usage}-wal"\n', "would write over"),
                          ('connect = "qemu+ssh://node7/system"\n', "the libvirt of node7")):
            done = self.check_config(text)
            self.assertEqual(done.returncode, 1, text)
            self.assertIn(why, done.stderr)
        self.write_config("")
        command = [CONTROLLER, "--config", self.config, "--socket", self.socket, "--connect", "qemu+ssh://node7/system"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        self.assertEqual(done.returncode, 1)
        self.assertIn("the libvirt of node7", done.stderr)

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
                          ["set", "test", "--max-mem", "512"], ["usage", ""], ["reserve", "--domain", "x", "--wait", "5"],
                          ["reserve", "--for", "5"]):
            self.assertEqual(self.ctl(*arguments).returncode, 2, arguments)
        for number in ("abc", "0", "-1", "1x", "99999999999999999999"):
            done = self.ctl("reserve", "--free", number)
            self.assertEqual(done.returncode, 2, number)
            self.assertIn(f"--free: '{number}' is not the number of a reservation\n", done.stderr)

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

    def test_nothing_is_promised_while_libvirt_is_not_connected(self):
        command = [CONTROLLER, "--config", self.config, "--socket", self.socket,
                   "--connect", f"qemu:///session?socket={self.directory}/nobody"]
        with open(self.log, "ab") as log:
            self.daemons.append(subprocess.Popen(command, stderr=log))
        self.until(lambda: self.ctl("list").returncode == 0)
        for arguments in (["reserve", "1GiB", "--wait", "5"], ["release", "--all"], ["set", "vm1", "--psi", "1%"]):
            done = self.ctl(*arguments)
            self.assertEqual((done.returncode, done.stdout), (1, ""), arguments)
            self.assertIn("libvirt is not connected", done.stderr)
        self.assertIn("libvirt is not connected", self.ctl("list").stdout)
        self.assertIn("libvirt is not connected", self.ctl("top", "--count", "1").stderr)

    def test_a_wait_that_is_ended_leaves_no_reservation(self):
        self.start()
        self.until(lambda: json.loads(self.ctl("list", "--json").stdout)["host"]["budget_bytes"] > 0)
        budget = json.loads(self.ctl("list", "--json").stdout)["host"]["budget_bytes"]
        command = [ACMACTL, "--socket", self.socket, "reserve", f"{budget >> 20}MiB", "--wait", "60"]
        for end in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            self.daemons.append(process)
            number = process.stderr.readline().split()[2]
            self.assertIn(f"\n{number} ", self.ctl("reserve").stdout)
            process.send_signal(end)
            self.assertEqual(process.wait(DEADLINE_S), -end)
            self.assertEqual(process.stderr.read(), f"acmactl: stopped; reservation {number} is given up\n")
            process.stderr.close()
            self.assertNotIn(f"\n{number} ", self.ctl("reserve").stdout)
        late = self.ctl("reserve", f"{budget >> 20}MiB", "--wait", "1")
        self.assertEqual(late.returncode, 1)
        self.assertIn("is given up", late.stderr)

    def test_top_prints_plain_lines_into_a_pipe(self):
        self.start()
        done = self.ctl("top", "--count", "2", "--interval", "0.1")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stdout.count(" test host_bytes="), 2)
        self.assertNotIn("\x1b", done.stdout)

    def test_decisions_are_logged_and_replayed(self):
        decisions = os.path.join(self.directory, "decisions.jsonl")
        self.write_config(f'decision-log = "{decisions}"\ndecision-log-size = "1MiB"\n')
        daemon = self.start()
        self.ctl("set", "test", "--min-mem", "512MiB", "--max-mem", "1GiB")

        def lines():
            with open(decisions, encoding="utf-8") as file:
                return file.read().splitlines()

        self.until(lambda: os.path.exists(decisions) and len(lines()) >= 3)
        self.assertEqual(os.stat(decisions).st_mode & 0o777, 0o600)
        daemon.kill()
        daemon.wait()
        line = json.loads(lines()[-2])
        self.assertEqual((line["version"], line["vms"][0]["name"]), (1, "test"))
        whole = len(lines())
        with open(decisions, "a", encoding="utf-8") as file:
            file.write('{"version":1,"time_us":17')  # it was killed here
        self.start()
        self.until(lambda: len(lines()) >= whole + 2)
        with open(decisions, "a", encoding="utf-8") as file:
            file.write('{"version":2}\n')
        done = self.ctl("replay", decisions)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("1 line broken or cut off, and skipped\n1 line of a newer version", done.stdout)
        for policy in ("recorded", "acma", "mom", "proxmox", "static"):
            self.assertIn(f"\n{policy} ", done.stdout)
        report = json.loads(self.ctl("replay", decisions, "--policy", "static", "--json").stdout)
        self.assertEqual([each["policy"] for each in report["policies"]], ["recorded", "static"])
        self.assertEqual((report["broken_lines"], report["newer_lines"], report["vms"]), (1, 1, 1))
        self.assertEqual(self.ctl("replay", decisions, "--policy", "nope").returncode, 2)
        self.assertEqual(self.ctl("replay", self.config).returncode, 1)
        self.assertEqual(self.ctl("replay", decisions + ".not-there").returncode, 1)

    def test_explain_ends_with_where_the_vm_stands(self):
        self.start()
        self.ctl("set", "test", "--min-mem", "512MiB", "--max-mem", "1GiB")
        self.until(lambda: self.show()["balloon_actual_bytes"] == 1 << 30)

        def entries():
            return json.loads(self.ctl("explain", "test", "--json").stdout)["entries"]

        self.until(lambda: "what it needs is not known" in entries()[-1]["reason"])
        last = entries()[-1]
        self.assertEqual(last["decision"], "standing")
        self.assertEqual(last["numbers"]["max_bytes"], 1 << 30)

    def test_top_leaves_the_terminal_as_it_was(self):
        daemon = self.start()
        for end in (b"q", b"\x03", signal.SIGTERM, signal.SIGHUP, "controller"):
            process, mine, its, before = self.top()
            self.seen(mine, b"OVER TIME")
            self.assertNotEqual(termios.tcgetattr(its)[3] & termios.ECHO, termios.ECHO)
            if end == "controller":
                daemon.kill()
            elif isinstance(end, bytes):
                os.write(mine, end)
            else:
                process.send_signal(end)
            told = self.seen(mine, b"\x1b[?25h\x1b[?1049l")
            if end == "controller":
                self.seen(mine, b"is acma-controller running?", told.split(b"\x1b[?1049l")[1])
            wanted = {b"q": 0, b"\x03": -signal.SIGINT, "controller": 4}.get(end) if not isinstance(end, int) else -end
            self.assertEqual(process.wait(DEADLINE_S), wanted, end)
            self.assertEqual(termios.tcgetattr(its), before, end)

    def test_top_sorts_by_key_and_goes_on_after_a_stop(self):
        self.start()
        process, mine, its, before = self.top()
        self.seen(mine, b"1 VM by host")
        os.write(mine, b"p")
        self.seen(mine, b"1 VM by psi")
        os.write(mine, b"\x1a")
        self.seen(mine, b"\x1b[?1049l")
        self.until(lambda: termios.tcgetattr(its) == before)
        process.send_signal(signal.SIGCONT)
        self.seen(mine, b"\x1b[?1049h")
        self.seen(mine, b"1 VM by psi")
        os.write(mine, b"q")
        self.assertEqual(process.wait(DEADLINE_S), 0)

    def test_top_writes_a_line_of_json_each_time(self):
        self.start()
        done = self.ctl("top", "--json", "--count", "2", "--interval", "0.1")
        self.assertEqual([json.loads(line)["vms"][0]["name"] for line in done.stdout.splitlines()], ["test", "test"])

    def test_a_stop_is_quick_and_removes_the_socket(self):
        daemon = self.start()
        daemon.send_signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(DEADLINE_S), 0)
        self.assertFalse(os.path.exists(self.socket))


NODE = """<node><domain type='test'><name>test</name><uuid>{uuid}</uuid><memory unit='MiB'>512</memory><vcpu>1</vcpu>
<os><type>hvm</type></os><devices><memballoon model='virtio'/></devices></domain></node>"""
# As much RAM as the domain has; so much of it, in MiB, is touched.
RAM = """
import mmap, time
ram = mmap.mmap(-1, 512 << 20, mmap.MAP_PRIVATE)
ram[:{mib} << 20] = bytes({mib} << 20)
print("there", flush=True)
for mib in range({mib}, 500, 4):  # what stands still is measured rarely
    time.sleep(1)
    ram[mib << 20 : mib + 4 << 20] = bytes(4 << 20)
"""


class Held(WithADaemon):
    """A guest that does not give back what its balloon says it has."""

    def start_holding(self, config):
        uuid = "6695eb01-f6a4-8304-79aa-97f2502e193e"
        node = os.path.join(self.directory, "node.xml")
        with open(node, "w", encoding="utf-8") as file:
            file.write(NODE.format(uuid=uuid))
        self.write_config('[[rule]]\nname = "*"\nmin-mem = "64MiB"\nmax-mem = "128MiB"\nmode = "auto"\n')
        with open(self.config, "r+", encoding="utf-8") as file:
            rest = file.read()
            file.seek(0)
            file.write(config + rest)
        command = [sys.executable, "-c", RAM.format(mib=180), "-uuid", uuid]
        guest = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.daemons.append(guest)
        guest.stdout.readline()
        guest.stdout.close()
        return self.launch([CONTROLLER, "--config", self.config, "--connect", f"test://{node}", "--socket", self.socket])

    def test_is_held_and_let_go_when_the_controller_ends(self):
        daemon = self.start_holding("hold-with-memory-high = true\n")
        self.until(lambda: "held_bytes" in self.show())
        vm = self.show()
        room = vm["held_bytes"] - vm["balloon_target_bytes"] - vm["qemu_own_bytes"]
        self.assertTrue(128 << 20 <= room <= 129 << 20, vm)
        self.assertIn("held", [mark["what"] for mark in vm["marks"]])
        self.assertIn("hold: the host holds", self.ctl("explain", "test").stdout)
        daemon.terminate()
        self.assertEqual(daemon.wait(10), 0)
        self.assertTrue(self.says("test: it is held no more: the controller ends"))

    def test_is_not_held_unless_the_operator_allows_it(self):
        self.start_holding("")
        self.until(lambda: self.show()["host_bytes"] > 0)
        time.sleep(15)
        self.assertNotIn("held_bytes", self.show())
        self.assertEqual(self.check_config("hold-with-memory-high = 1\n").returncode, 1)


class Crashes(WithADaemon):
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
        self.until(lambda: self.says("metering: usage of 1 VM is missing from"))
        csv = self.ctl("usage", "--csv", "--since", "1d").stdout.splitlines()
        self.assertEqual(len(csv), 2)
        self.assertIn('"test","6695eb01', csv[1])
        self.assertEqual(self.ctl("usage", "nope").returncode, 3)
        self.assertEqual(self.ctl("usage", "--since", "1h", "--until", "2h").returncode, 1)
        for arguments in (["--since", "yesterday"], ["--json", "--csv"], ["--until", ""]):
            self.assertEqual(self.ctl("usage", *arguments).returncode, 2, arguments)

    def test_killed_at_any_moment_it_comes_back_at_once_and_loses_only_seconds(self):
        begun = time.monotonic()
        moments = random.Random(20)
        restarts = 8
        for _ in range(restarts):
            with open(self.log, "ab") as log:
                daemon = subprocess.Popen(self.command(), stderr=log)
            self.daemons.append(daemon)
            started = time.monotonic()
            if moments.random() < 0.5:
                self.until(lambda: self.ctl("list").returncode == 0)
                self.assertLess(time.monotonic() - started, 5)
            time.sleep(moments.uniform(0, 1.5))
            daemon.kill()
            daemon.wait()
        self.start()
        self.until(lambda: self.usage_of_test() is not None)
        told = self.usage_of_test()
        elapsed = (time.monotonic() - begun) * 1e6
        self.assertEqual(told["measured_us"], 0)
        self.assertLess(told["missing_us"], elapsed + 1_000_000, "counted twice")
        self.assertGreater(told["missing_us"], elapsed / 2, "not counted")
        for bad in ("cannot be written", "malformed", "another acma-controller"):
            self.assertFalse(self.says(bad), bad)

    def test_a_clock_that_jumps_counts_no_second_twice_and_loses_none(self):
        if "libasan" in subprocess.run(["ldd", CONTROLLER], capture_output=True, text=True, check=False).stdout:
            self.skipTest("the sanitizer wants to be loaded first")
        clock = os.path.join(self.directory, "clock")

        def jump(days):
            with open(clock + ".new", "w", encoding="ascii") as file:
                file.write(f"{days * 86_400}\n")
            os.rename(clock + ".new", clock)

        jump(0)
        fake = ["env", "LD_PRELOAD=" + SET_CLOCK, "ACMA_SET_CLOCK=" + clock]

        def missing():
            done = self.ctl("usage", "test", "--json", "--since", "2001-01-01", "--until", "2120-01-01")
            return json.loads(done.stdout)["vms"][0]["missing_us"] if done.returncode == 0 else 0

        daemon = self.launch([*fake, *self.command()])
        begun = time.monotonic()
        self.until(lambda: missing() >= 1_000_000)
        for days in (30, -30, 0):
            jump(days)
            before = missing()
            self.until(lambda: missing() >= before + 2_000_000)
        self.assertLess(missing(), (time.monotonic() - begun + 2) * 1e6)
        self.assertEqual(self.ctl("set", "test", "--min-mem", "512MiB", "--max-mem", "1GiB").returncode, 0)
        self.until(lambda: self.show()["balloon_actual_bytes"] == 1 << 30)
        # And across a crash, where the wall clock says that the next run began before the last one.
        daemon.kill()
        daemon.wait()
        jump(-365)
        time.sleep(1)
        self.launch([*fake, *self.command()])
        self.until(lambda: self.says("metering: usage of 1 VM is missing from"))
        self.until(lambda: missing() >= 8_000_000)
        self.assertLess(missing(), (time.monotonic() - begun + 2) * 1e6, "counted twice")

    def test_a_crash_is_no_obstacle_to_the_next_start(self):
        daemon = self.start()
        daemon.kill()
        daemon.wait()
        self.assertTrue(os.path.exists(self.socket))
        self.start()


class Disks(WithADaemon):
    def in_a_disk_of_its_own(self):
        """A command's words that give it a file system at DIRECTORY/disk, which needs root and goes with it."""
        mount = f'mount -t tmpfs -o size=1m none "{self.directory}/disk" && exec "$@"'
        inside = ["unshare", "--mount", "sh", "-c", mount, "sh"]
        os.mkdir(os.path.join(self.directory, "disk"))
        if os.geteuid() != 0 or subprocess.run([*inside, "true"], capture_output=True, check=False).returncode != 0:
            self.skipTest("needs root and a mount namespace")
        return inside

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
        inside = self.in_a_disk_of_its_own()
        self.usage = os.path.join(self.directory, "disk", "usage.db")
        self.write_config("")
        fill = f'head -c 2M /dev/zero >"{self.directory}/disk/fill" 2>/dev/null; exec "$@"'
        daemon = self.launch([*inside, "sh", "-c", fill, "sh", *self.command()])
        self.until(lambda: self.says("metering: usage cannot be written: " + self.usage + ": database or disk is full"))
        self.until(lambda: (self.usage_of_test() or {"missing_us": 0})["missing_us"] >= 1_000_000)
        os.unlink(f"/proc/{daemon.pid}/root{self.directory}/disk/fill")
        self.until(lambda: self.says("metering: usage is written again"))
        self.assertEqual(self.ctl("usage").stderr, "")

    def test_a_disk_that_is_read_only_after_a_crash_stops_nothing(self):
        inside = self.in_a_disk_of_its_own()
        disk = os.path.join(self.directory, "disk")
        self.usage = os.path.join(disk, "usage.db")
        self.write_config(f'decision-log = "{disk}/decisions"\n')
        holder = subprocess.Popen([*inside, "sh", "-c", "echo ready; exec sleep 300"], stdout=subprocess.PIPE)
        self.daemons.append(holder)
        holder.stdout.readline()
        holder.stdout.close()
        there = ["nsenter", "-t", str(holder.pid), "-m"]
        daemon = self.launch([*there, *self.command()])
        self.until(lambda: (self.usage_of_test() or {"missing_us": 0})["missing_us"] >= 1_000_000)
        daemon.kill()
        daemon.wait()
        read_only = f'mount --bind "{disk}" "{disk}" && mount -o remount,bind,ro "{disk}"'
        subprocess.run([*there, "sh", "-c", read_only], check=True)
        self.launch([*there, *self.command()])
        self.until(lambda: self.says("metering: usage cannot be written"))
        self.until(lambda: self.says("decisions: Read-only file system; decisions are dropped"))
        self.until(lambda: (self.usage_of_test() or {"missing_us": 0})["missing_us"] >= 1_000_000)
        self.assertNotEqual(self.ctl("usage").stderr, "")
        subprocess.run([*there, "umount", "--lazy", disk], check=True)
        self.until(lambda: self.says("metering: usage is written again"))
        self.until(lambda: self.says("decisions were dropped"))
        self.assertEqual(self.ctl("usage").stderr, "")

    def test_a_damaged_database_is_left_as_it_is_and_stops_nothing(self):
        junk = b"SQLite format 3\0" + b"\xff" * 8176
        with open(self.usage, "wb") as file:
            file.write(junk)
        self.start()
        self.until(lambda: self.says("metering: usage cannot be written: " + self.usage))
        self.assertEqual(self.ctl("show", "test").returncode, 0)
        self.until(lambda: (self.usage_of_test() or {"missing_us": 0})["missing_us"] >= 1_000_000)
        with open(self.usage, "rb") as file:
            self.assertEqual(file.read(), junk)
        os.unlink(self.usage)
        self.until(lambda: self.says("metering: usage is written again"))
        self.assertEqual(self.ctl("usage").stderr, "")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
