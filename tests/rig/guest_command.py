# SPDX-License-Identifier: Apache-2.0
"""scripts/guest: boots a throw-away guest, runs shell commands in it, prints their output."""

import argparse
import signal
import sys
import time

from .errors import RigError
from .qemu import Guest, Options

_EPILOG = """
examples:
  scripts/guest -- uname -r
  scripts/guest --kernel 7.3 -- 'cat /sys/module/damon_stat/parameters/enabled; ls /sys/kernel/mm/damon/admin'
  scripts/guest --kernel 6.12 --memory 2048 --swap disk:2048 --add build/guest-agent/acma-agent \\
      --add build/tests/workload/acma-workload -- 'acma-agent --version; acma-workload spike --mib 200'
  scripts/guest --shim --add build/tests/workload/acma-blocks -- 'acma-blocks take 100; acma-blocks state'
  scripts/guest --cmdline 'init_on_alloc=0 damon_stat.enabled=N' --kernel 7.3 -- 'dmesg | tail -5'

In the guest: busybox only, root, no network; programs given with --add (with their libraries) are in /usr/bin, other
files in /root unless PATH:DESTINATION says otherwise; the stock virtio_balloon is loaded with free page reporting.
Several commands after -- are joined with spaces into one script for busybox sh. The exit status is the script's; 125
means that the guest itself failed. The guest never outlives this command.
"""


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="scripts/guest",
        description=__doc__.split(": ", 1)[1],
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = Options()
    parser.add_argument("--kernel", default=defaults.kernel, help="6.12, 7.3 or a directory with vmlinuz and modules/")
    parser.add_argument("--memory", type=int, default=defaults.memory_mib, metavar="MIB")
    parser.add_argument("--smp", type=int, default=defaults.smp)
    parser.add_argument("--swap", default="", metavar="disk:MIB|rotating:MIB|zram:MIB[:ALG]")
    parser.add_argument("--add", action="append", default=[], metavar="PATH[:DESTINATION]", help="may be repeated")
    parser.add_argument("--module", action="append", default=[], help="a module of the kernel to load at boot")
    parser.add_argument("--cmdline", default="", help="more words for the kernel's command line")
    parser.add_argument("--no-balloon", action="store_true", help="no balloon device")
    parser.add_argument("--no-balloon-driver", action="store_true", help="load no driver for it")
    parser.add_argument("--shim", action="store_true", help="load the balloon shim (scripts/test build) instead of the stock driver")
    parser.add_argument("--channel", action="append", default=[], help="a virtio port of this name")
    parser.add_argument("--accel", choices=("tcg", "kvm", "auto"), default=defaults.accel)
    parser.add_argument("--icount", action="store_true", help="guest time counts instructions (with --smp 1)")
    parser.add_argument("--qemu-arg", action="append", default=[], help="passed to QEMU as it is")
    parser.add_argument("--timeout", type=int, default=300, metavar="SECONDS", help="for the commands (default 300)")
    parser.add_argument("--console", action="store_true", help="print the guest's console at the end")
    parser.add_argument("--host-bytes", action="store_true", help="print what the guest's RAM costs the host, each second")
    parser.add_argument("script", nargs="+", help="shell commands")
    return parser.parse_args(arguments)


def options_of(given):
    return Options(
        kernel=given.kernel,
        memory_mib=given.memory,
        smp=given.smp,
        swap=given.swap,
        add=given.add,
        modules=given.module,
        cmdline=given.cmdline,
        balloon=not given.no_balloon,
        balloon_driver="" if given.no_balloon_driver else "shim" if given.shim else "stock",
        channels=given.channel,
        accel=given.accel,
        icount=given.icount,
        qemu_args=given.qemu_arg,
    )


def watch_host_bytes(guest):
    import threading

    start = time.monotonic()

    def loop():
        while True:
            memory = guest.host_memory()
            seconds = time.monotonic() - start
            print(f"host {seconds:6.1f} s: guest {memory.ram_bytes >> 20} MiB, QEMU {memory.qemu_bytes >> 20} MiB", file=sys.stderr)
            time.sleep(1)

    threading.Thread(target=loop, daemon=True).start()


def main(arguments):
    given = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with Guest(options_of(given)) as guest:
            if given.host_bytes:
                watch_host_bytes(guest)
            result = guest.run(" ".join(given.script), timeout=given.timeout, check=False)
            sys.stdout.write(result.output)
            if given.console:
                sys.stdout.write(guest.console())
            return result.status
    except RigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 125
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
