# SPDX-License-Identifier: Apache-2.0
"""Runs a command inside the namespaces of a private libvirt: enter.py [--host-network] PID COMMAND...

Unlike nsenter it passes signals on to the command and takes it along when it dies itself.
"""

import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
from tests.rig import system  # noqa: E402  (this file runs as a script)


def main(arguments):
    names = ["net", "pid", "mnt"]
    if arguments[0] == "--host-network":
        names.remove("net")
        arguments = arguments[1:]
    pid, command = int(arguments[0]), arguments[1:]
    directory = os.getcwd()
    for name in names:
        system.enter_namespace(pid, name)
    os.chdir(directory)
    child = os.fork()
    if child == 0:
        system.die_with_parent()
        try:
            os.execvp(command[0], command)
        except OSError as error:
            print(f"cannot run {command[0]}: {error}", file=sys.stderr)
            os._exit(127)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda received, _: os.kill(child, received))
    status = os.waitpid(child, 0)[1]
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
