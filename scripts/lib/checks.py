# SPDX-License-Identifier: Apache-2.0
"""The lint checks: format, tidy, includes, shell, licences, python, checkpatch. Run by scripts/check."""

import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import time

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))

# Folders whose C is the kernel's business (its own style and licence).
KERNEL = "kmod-balloon-shim/"


def tracked(*patterns):
    """Files of the repository, new ones included, that match shell patterns."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(name for name in set(names) if os.path.exists(os.path.join(TOP, name)))


def read(name):
    with open(os.path.join(TOP, name), encoding="utf-8", errors="replace") as file:
        return file.read()


def cpp_files():
    return [name for name in tracked("*.cpp", "*.h") if not name.startswith(KERNEL)]


def shell_files():
    scripts = [name for name in tracked("scripts/*", ".ci/*") if read(name).startswith(("#!/bin/bash", "#!/bin/sh"))]
    return sorted(set(scripts) | set(tracked("*.sh")))


# --- format -----------------------------------------------------------------------------------------------------------


def check_format(_):
    files = cpp_files()
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], cwd=TOP, capture_output=True, text=True)
    wrong = sorted({line.split(":")[0] for line in done.stderr.splitlines() if " error: code should be" in line})
    return [f"{name}: run clang-format -i on it" for name in wrong]


# --- includes ---------------------------------------------------------------------------------------------------------

# Who may include whom (docs/design.md, "Layout"). The first folder that a file is under gives its rule; a folder always
# may include itself.
ARROWS = [
    ("engine/base/", []),
    ("engine/policy/", ["engine/base/"]),
    ("engine/", ["engine/"]),
    ("proto/", ["engine/"]),
    ("platform/", ["engine/"]),
    ("guest-agent/", ["engine/", "proto/", "platform/"]),
    ("host-controller/", ["engine/", "proto/", "platform/"]),
]
# Which parts of others' code are allowed where: (what is included, files that may, what to say).
ASIO_FILES = r"_asio\.(h|cpp)$|(^|/)asio\.h$|(^|/)\w*main\.cpp$|^host-controller/libvirt/"
CONFINED = [
    (r"^libvirt/", r"^host-controller/libvirt/", "libvirt stays in host-controller/libvirt/"),
    (r"^json/", r"^proto/", "jsoncpp stays in proto/"),
    (r"^sqlite3", r"^host-controller/meter/sqlite\.cpp$", "SQLite stays in host-controller/meter/sqlite.cpp"),
    (r"^boost/(asio|beast)", ASIO_FILES, "Asio stays in *_asio.*, main and host-controller/libvirt/"),
]
# The engine decides and nothing else: no I/O, no clock of its own, no threads.
IMPURE = re.compile(
    r"^(f?stream|iostream|fstream|filesystem|thread|mutex|shared_mutex|future|condition_variable|random|ctime|time\.h"
    r"|unistd\.h|fcntl\.h|sys/.*|linux/.*|spdlog/.*|systemd/.*)$"
)
_INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.MULTILINE)


def include_errors(name, text):
    rule = next(((folder, allowed) for folder, allowed in ARROWS if name.startswith(folder)), None)
    if rule is None:
        return []
    folder, allowed = rule
    errors = []
    for kind, path in _INCLUDE.findall(text):
        if kind == '"':
            if not path.startswith((folder, *allowed)):
                if path.startswith(KERNEL) or os.path.exists(os.path.join(TOP, KERNEL, path)):
                    continue  # counted in uapi_errors
                errors.append(f'{name}: may not include "{path}"')
            continue
        if folder.startswith("engine/") and IMPURE.match(path):
            errors.append(f"{name}: the engine is pure and may not include <{path}>")
        for what, where, message in CONFINED:
            if re.search(what, path) and not re.search(where, name):
                errors.append(f"{name}: <{path}>: {message}")
    return errors


def uapi_errors(files):
    """The shim's user-space header is included by one client file."""
    users = [
        name
        for name in files
        if name.startswith(("guest-agent/", "platform/", "proto/", "engine/", "host-controller/"))
        and any(path.startswith(KERNEL) for kind, path in _INCLUDE.findall(read(name)) if kind == '"')
    ]
    return [f"{name}: the shim's header is for one client file only ({', '.join(users)})" for name in users[1:]]


def check_includes(_):
    files = cpp_files()
    return [error for name in files for error in include_errors(name, read(name))] + uapi_errors(files)


# --- tidy -------------------------------------------------------------------------------------------------------------

# clang 14 does not know that gcc 12's coroutines are there.
_ASIO_DEFINES = ["-D__cpp_impl_coroutine=201902L", "-DBOOST_ASIO_HAS_CO_AWAIT=1", "-DBOOST_ASIO_HAS_STD_COROUTINE=1"]
_TIDY_FOLDERS = ("engine/", "proto/", "platform/", "guest-agent/", "host-controller/", "tests/workload/")


class Tidy:
    """clang-tidy over the compilation database; a file that passed is not looked at again until it, a header of ours
    that it includes, its flags, the checks or clang-tidy change."""

    def __init__(self, build, cache, quick):
        self._quick = quick
        self._cache = os.path.join(cache, "tidy")
        os.makedirs(self._cache, exist_ok=True)
        with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
            self._entries = {}
            for entry in json.load(file):
                name = os.path.relpath(os.path.join(entry["directory"], entry["file"]), TOP)
                if name.startswith(_TIDY_FOLDERS):
                    self._entries.setdefault(name, entry)
        version = subprocess.run(["clang-tidy", "--version"], capture_output=True, text=True, check=True).stdout
        self._base = version + read(".clang-tidy") + " ".join(_ASIO_DEFINES)
        self._build = build
        self._texts = {}

    def names(self):
        return sorted(self._entries)

    def check(self, name):
        """Errors in one file; [] if there are none."""
        whole = os.path.join(self._cache, self._key(name))
        mark = whole + "-quick" if self._quick else whole
        if os.path.exists(whole) or os.path.exists(mark):
            return []
        command = ["clang-tidy", "--quiet", "-p", self._build]
        command += ["--checks=-clang-analyzer-*"] if self._quick else []
        command += [f"--extra-arg={define}" for define in _ASIO_DEFINES if self._uses_asio(name)]
        # gcc's warning flags that clang does not know are not findings.
        command += ["--extra-arg=-Wno-unknown-warning-option", "--extra-arg=-Wno-ignored-optimization-argument"]
        done = subprocess.run([*command, os.path.join(TOP, name)], cwd=TOP, capture_output=True, text=True)
        if done.returncode == 0:
            with open(mark, "w", encoding="ascii"):
                pass
            return []
        found = [line.replace(TOP + "/", "") for line in done.stdout.splitlines() if re.search(r"(error|warning): ", line)]
        return sorted(set(found)) or [f"{name}: clang-tidy failed: {done.stderr.strip()[-500:]}"]

    def _text(self, name):
        if name not in self._texts:
            path = os.path.join(TOP, name)
            self._texts[name] = read(name) if os.path.isfile(path) else ""
        return self._texts[name]

    def _closure(self, name):
        """The file and all headers of ours below it."""
        seen, todo = set(), [name]
        while todo:
            current = todo.pop()
            if current in seen:
                continue
            seen.add(current)
            todo += [path for _, path in _INCLUDE.findall(self._text(current)) if self._text(path)]
        return sorted(seen)

    def _uses_asio(self, name):
        return any(re.search(r"<boost/(asio|beast)", self._text(part)) for part in self._closure(name))

    def _key(self, name):
        entry = self._entries[name]
        command = entry.get("command") or shlex.join(entry["arguments"])
        digest = hashlib.sha256((self._base + command.replace(TOP, "")).encode())
        for part in self._closure(name):
            digest.update(part.encode() + b"\0" + self._text(part).encode() + b"\0")
        return digest.hexdigest()


def check_tidy(given):
    tidy = Tidy(given.build, given.cache, given.quick)
    errors = []
    # Headers are reported once for each file that includes them.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for found in pool.map(tidy.check, tidy.names()):
            errors += [error for error in found if error not in errors]
    return errors


# --- checkpatch -------------------------------------------------------------------------------------------------------

# What checkpatch says that is not for a module beside the kernel's tree.
_CHECKPATCH_IGNORED = [
    "LINUX_VERSION_CODE",  # for the kernel's tree, which is one version: compat.h is for two
    "CONSTANT_COMPARISON",  # "LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)" looks to it like a constant on the left
    "ALLOC_WITH_SIZEOF",  # 6.12 has no kzalloc_obj()
    "CAMELCASE",  # it does not know the kernel's names that macros make, like __SetPageOffline()
]


def check_checkpatch(given):
    """The kernel's own checker over the module; what builds in user space only is not the kernel's business."""
    # In the cache: there it may leave its list of the names in include/.
    where = os.path.join(given.cache, "checkpatch")
    os.makedirs(os.path.join(where, "include"), exist_ok=True)
    files = [os.path.join(TOP, name) for name in tracked(f"{KERNEL}*.[ch]") if not name.startswith(f"{KERNEL}tests/")]
    options = ["--strict", "--no-tree", "--root=.", "--terse", "--show-types", "--no-summary"]
    command = ["perl", "scripts/checkpatch.pl", *options, "--ignore", ",".join(_CHECKPATCH_IGNORED), "-f", *files]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True)
    found = [line.replace(TOP + "/", "") for line in (done.stdout + done.stderr).splitlines()]
    return found or ([f"checkpatch failed with status {done.returncode}"] if done.returncode != 0 else [])


# --- shell, python, licences ------------------------------------------------------------------------------------------


def check_shell(_):
    done = subprocess.run(["shellcheck", "-S", "warning", "-f", "gcc", *shell_files()], cwd=TOP, capture_output=True, text=True)
    return done.stdout.splitlines()


def check_python(_):
    errors = []
    for name in tracked("*.py"):
        try:
            compile(read(name), name, "exec")
        except SyntaxError as error:
            errors.append(f"{name}:{error.lineno}: {error.msg}")
    return errors


def check_licences(_):
    """The first line, or the second after a "#!" line, names the licence."""
    code = tracked("*.cpp", "*.h", "*.c", "*.py", "*.sh") + shell_files()
    errors = []
    for name in sorted(set(code)):
        lines = read(name).splitlines()[:2]
        head = lines[1:] if lines and lines[0].startswith("#!") else lines[:1]
        licence = "GPL-2.0" if name.startswith(KERNEL) else "Apache-2.0"
        if not any("SPDX-License-Identifier: " in line and licence in line for line in head):
            errors.append(f"{name}: its first line must be the SPDX identifier of {licence}")
    return errors


CHECKS = {
    "format": check_format,
    "includes": check_includes,
    "licences": check_licences,
    "shell": check_shell,
    "python": check_python,
    "checkpatch": check_checkpatch,
    "tidy": check_tidy,
}


def main(arguments):
    parser = argparse.ArgumentParser(prog="scripts/check", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}; all without one")
    parser.add_argument("--quick", action="store_true", help="tidy without the path analyzer, which takes most of its time")
    # Given by scripts/check: the build directory, and one for tidy's results and the kernel's checkpatch.
    parser.add_argument("--build", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--cache", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--tally", help="append 'PASSED FAILED SKIPPED' to this file")
    given = parser.parse_args(arguments)
    unknown = set(given.names) - set(CHECKS)
    if unknown:
        parser.error(f"no check is called {', '.join(sorted(unknown))}")
    names = [name for name in CHECKS if not given.names or name in given.names]
    failed = 0
    for name in names:
        start = time.monotonic()
        errors = CHECKS[name](given)
        failed += bool(errors)
        print(f"{'FAIL' if errors else 'PASS'} lint {name} ({time.monotonic() - start:.1f} s)", flush=True)
        for error in errors:
            print(f"    {error}")
    print(f"lint: {len(names) - failed} passed, {failed} failed")
    if given.tally:
        with open(given.tally, "a", encoding="ascii") as file:
            file.write(f"{len(names) - failed} {failed} 0\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
