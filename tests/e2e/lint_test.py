# SPDX-License-Identifier: Apache-2.0
"""scripts/check finds what it is there to find, and scripts/test counts rightly. No guest needed."""

import importlib.util
import os
from unittest import mock

from . import run
from .harness import TOP, Case, case, expect
from .run import SKIPPED


def _load(name):
    spec = importlib.util.spec_from_file_location(name, os.path.join(TOP, "scripts", "lib", name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@case()
def includes_against_the_arrows_are_found():
    errors = _load("checks").include_errors
    wrong = [
        ("engine/base/units.h", '#include "engine/damon/model.h"'),
        ("engine/damon/model.h", '#include "proto/json.h"'),
        ("engine/damon/model.cpp", "#include <thread>"),
        ("proto/json.cpp", '#include "platform/proc.h"'),
        ("platform/proc.cpp", '#include "proto/json.h"'),
        ("platform/proc.cpp", "#include <json/json.h>"),
        ("guest-agent/main.cpp", '#include "host-controller/vm/vm.h"'),
        ("host-controller/vm/vm.cpp", '#include "guest-agent/loop.h"'),
        ("host-controller/vm/vm.cpp", "#include <libvirt/libvirt.h>"),
        ("host-controller/vm/vm.cpp", "# include <boost/asio/post.hpp>"),
    ]
    right = [
        ("engine/damon/model.cpp", '#include <vector>\n#include "engine/base/units.h"'),
        ("proto/json.cpp", '#include <json/json.h>\n#include "engine/policy/policy.h"'),
        ("host-controller/libvirt/domain.cpp", "#include <libvirt/libvirt.h>\n#include <boost/asio/post.hpp>"),
        ("guest-agent/loop_asio.cpp", '#include <boost/asio/post.hpp>\n#include "proto/json.h"'),
        ("tests/unit/x.cpp", '#include "host-controller/vm/vm.h"\n#include <json/json.h>'),
    ]
    for name, text in wrong:
        expect(len(errors(name, text)) == 1, f"not found: {text} in {name}: {errors(name, text)}")
    for name, text in right:
        expect(not errors(name, text), f"wrongly found: {errors(name, text)}")


@case()
def googletest_cases_and_other_tests_are_counted():
    count = _load("meson_tally").count
    output = (
        "[ RUN      ] A.B\n[       OK ] A.B (0 ms)\n[  FAILED  ] A.C (3 ms)\n[  SKIPPED ] A.D (0 ms)\n"
        "[==========] 3 tests ran.\n[  PASSED  ] 1 test.\n[  FAILED  ] 1 test, listed below:\n[  FAILED  ] A.C\n"
    )
    expect(count({"result": "FAIL", "stdout": output}) == (1, 1, 1), "a googletest program")
    expect(count({"result": "OK", "stdout": "hello"}) == (1, 0, 0), "another program")
    expect(count({"result": "FAIL"}) == (0, 1, 0), "another program that failed")
    expect(count({"result": "SKIP", "stdout": ""}) == (0, 0, 1), "a skipped program")
    crashed = "[       OK ] A.B (0 ms)\n[ RUN      ] A.C\n"
    expect(count({"result": "FAIL", "stdout": crashed}) == (1, 1, 0), "a program that crashed half-way")
    expect(count({"result": "TIMEOUT", "stdout": crashed}) == (1, 1, 0), "a program that hung")


@case()
def a_test_that_skips_has_failed_where_qemu_starts():
    cases = [Case("a.skips", None, {}, 1), Case("a.passes", None, {}, 1)]
    outcomes = {"a.skips": ("skipped: no QEMU\n", SKIPPED), "a.passes": ("", 0)}
    for starts, counts in [(True, {"PASS": 1, "FAIL": 1, "SKIP": 0}), (False, {"PASS": 1, "FAIL": 0, "SKIP": 1})]:
        with (
            mock.patch.object(run, "qemu_starts", lambda starts=starts: starts),
            mock.patch.object(run, "run_apart", lambda each, _: outcomes[each.name]),
        ):
            expect(run.run_all(cases, False) == counts, f"QEMU starts: {starts}")
